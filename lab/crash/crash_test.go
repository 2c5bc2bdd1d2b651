package crash

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlanIsSeededAndInOrder(t *testing.T) {
	cases := []struct {
		name string
		spec Spec
	}{
		{"nothing", Spec{To: time.Minute}},
		{"five kills and a freeze", Spec{Kills: 5, Freezes: 1, From: 2 * time.Second, To: 80 * time.Second, Dead: 2 * time.Second, Frozen: 6 * time.Second}},
		{"in a hurry", Spec{Kills: 5, Freezes: 1, From: time.Second, To: 3 * time.Second, Dead: 2 * time.Second, Frozen: 6 * time.Second}},
		{"freezes only", Spec{Freezes: 3, To: time.Minute, Frozen: time.Second}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(200) {
				got := Plan(seed, c.spec)
				if !slices.Equal(got, Plan(seed, c.spec)) {
					t.Fatalf("seed %d: two plans differ", seed)
				}
				count := map[Kind]int{}
				quickOnes, end := 0, time.Duration(0)
				for i, k := range got {
					count[k.Kind]++
					if k.At < end || k.At < c.spec.From || k.At+k.For > c.spec.To {
						t.Errorf("seed %d: strike %d %+v lies outside or before the end of the one before, %v", seed, i, k, end)
					}
					if i > 0 && k.Kind == Kill && got[i-1].Kind == Kill && k.At-end <= quick {
						quickOnes++
					}
					end = k.At + k.For
				}
				if count[Kill] != c.spec.Kills || count[Freeze] != c.spec.Freezes {
					t.Errorf("seed %d: %v", seed, count)
				}
				if c.spec.Kills >= 3 && quickOnes == 0 {
					t.Errorf("seed %d: no kill comes right after a start", seed)
				}
			}
		})
	}
	spec := cases[1].spec
	if slices.Equal(Plan(1, spec), Plan(2, spec)) {
		t.Error("two seeds give one plan")
	}
}

// fake is a program that takes a while to be ready.
type fake struct {
	pid    atomic.Int64
	starts int
	killed chan struct{}
	frozen bool
	slow   time.Duration
	rested int
	fails  error
}

func (f *fake) victim() Victim {
	return Victim{
		Name: "fake", PID: func() int { return int(f.pid.Load()) },
		Kill: func() error { close(f.killed); return nil },
		Stop: func() error { f.frozen = true; return nil },
		Cont: func() error { f.frozen = false; return nil },
		Rest: func(context.Context) error { f.rested++; return nil },
		Run: func(ctx context.Context) error {
			if f.fails != nil {
				return f.fails
			}
			f.killed = make(chan struct{})
			killed := f.killed
			f.starts++
			f.pid.Add(1) // the last, as whoever looks at it goes on
			select {
			case <-time.After(f.slow):
				return nil
			case <-killed:
				return errors.New("it died")
			}
		},
	}
}

type clock struct{}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (clock) BootNS() int64 { return int64(time.Since(epoch)) }

func TestRunKillsFreezesAndTellsWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{killed: make(chan struct{}), slow: 500 * time.Millisecond}
		begun := time.Now()
		at := int64(begun.Sub(epoch))
		ms := func(n int64) int64 { return at + n*1e6 }
		strikes := []Strike{
			{At: 1 * time.Second, Kind: Kill, For: 100 * time.Millisecond},
			{At: 1200 * time.Millisecond, Kind: Kill},
			{At: 1300 * time.Millisecond, Kind: Freeze, For: time.Second},
			{At: 4 * time.Second, Kind: Kill, For: time.Second},
		}
		told := 0
		got, err := Run(t.Context(), f.victim(), begun, strikes, clock{}, func(Outage) { told++ })
		if err != nil {
			t.Fatal(err)
		}
		want := []struct {
			asked, back int64
			early       bool
		}{{1000, 0, false}, {1200, 1701, true}, {1701, 2701, false}, {4000, 5501, false}}
		if len(got) != len(want) || told != len(want) || f.starts != 3 || f.rested != 3 || f.frozen {
			t.Fatalf("got %+v, told %d, %+v", got, told, f)
		}
		for i, w := range want {
			o := got[i]
			near := func(got, want int64) bool {
				return want == 0 && got == 0 || want != 0 && got > ms(want)-2e6 && got < ms(want)+2e6
			}
			if !near(o.AskedNS, w.asked) || !near(o.BackNS, w.back) || o.Early != w.early || o.GoneNS < o.AskedNS {
				t.Errorf("strike %d: %+v, want %+v", i, o, w)
			}
		}
	})
}

func TestRunTellsAStartThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{killed: make(chan struct{}), fails: errors.New("the disk is on fire")}
		_, err := Run(t.Context(), f.victim(), time.Now(), []Strike{{Kind: Kill}, {At: time.Hour, Kind: Kill}}, clock{}, func(Outage) {})
		if err == nil || !strings.Contains(err.Error(), "on fire") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{killed: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		strikes := []Strike{{At: 500 * time.Millisecond, Kind: Freeze, For: time.Hour}}
		got, err := Run(ctx, f.victim(), time.Now(), strikes, clock{}, func(Outage) {})
		if !errors.Is(err, context.DeadlineExceeded) || len(got) != 1 || f.frozen {
			t.Errorf("got %+v, %v, frozen %v: want it thawed", got, err, f.frozen)
		}
	})
}
