package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/topic"
)

// list is a source of items at some moments.
type list []int64 // ms

// Each implements Source.
func (l list) Each(_ context.Context, fromNS int64, fn func(*Item) error) error {
	for i, ms := range l {
		if ms*1e6 < fromNS {
			continue
		}
		if err := fn(&Item{AtNS: ms * 1e6, Record: topic.Record{Offset: int64(i)}}); err != nil {
			return err
		}
	}
	return nil
}

// virtual returns a pace that waits by the test's clock alone.
func virtual(speed float64) *Pace {
	p := NewPace(speed)
	p.nap = time.Sleep
	return p
}

// played plays a list and returns when each item came, in ms since the first.
func played(t *testing.T, l list, p *Pace, during func(n int, began time.Time)) (at []int64, st Stats) {
	t.Helper()
	var began time.Time
	st, err := Play(t.Context(), l, p, SinkFunc(func(context.Context, *Item) error {
		if began.IsZero() {
			began = time.Now()
		}
		at = append(at, time.Since(began).Milliseconds())
		if during != nil {
			during(len(at), began)
		}
		return nil
	}))
	if err != nil {
		t.Error(err)
	}
	return at, st
}

func TestSpacing(t *testing.T) {
	l := list{1000, 1000, 1010, 1500, 61_500}
	cases := []struct {
		speed float64
		want  []int64
	}{
		{1, []int64{0, 0, 10, 500, 60_500}},
		{10, []int64{0, 0, 1, 50, 6050}},
		{0.5, []int64{0, 0, 20, 1000, 121_000}},
		{Max, []int64{0, 0, 0, 0, 0}},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.speed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at, st := played(t, l, virtual(c.speed), nil)
				if !slices.Equal(at, c.want) || st.Items != 5 || st.FirstNS != 1000e6 || st.LastNS != 61_500e6 || st.Same != 1 || st.Took.Milliseconds() != c.want[4] {
					t.Errorf("%v, want %v; %+v", at, c.want, st)
				}
				if st.Late.Max() > time.Millisecond || (c.speed == Max) != (st.Late.Count() == 0) {
					t.Errorf("late: %d, at most %v", st.Late.Count(), st.Late.Max())
				}
			})
		})
	}
}

// A sink that blocks makes what follows late, and nothing else: the pace catches up.
func TestSlowSinkIsCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, st := played(t, list{0, 100, 200, 300, 1000}, virtual(1), func(n int, _ time.Time) {
			if n == 2 {
				time.Sleep(150 * time.Millisecond)
			}
		})
		if !slices.Equal(at, []int64{0, 100, 250, 300, 1000}) || st.Late.Max() != 50*time.Millisecond {
			t.Errorf("%v, late at most %v", at, st.Late.Max())
		}
	})
}

func TestPaceIsTurned(t *testing.T) {
	cases := []struct {
		name string
		turn func(p *Pace)
		want []int64 // of items at 0, 1000 … 5000 ms; turned at 1500 ms
	}{
		{"faster", func(p *Pace) { p.SetSpeed(10) }, []int64{0, 1000, 1550, 1650, 1750, 1850}},
		{"at full speed", func(p *Pace) { p.SetSpeed(Max) }, []int64{0, 1000, 1500, 1500, 1500, 1500}},
		{"paused for a second", func(p *Pace) {
			p.Pause(true)
			time.Sleep(time.Second)
			p.Pause(false)
		}, []int64{0, 1000, 3000, 4000, 5000, 6000}},
		{"forward", func(p *Pace) { p.GoTo(4000e6) }, []int64{0, 1000, 1500, 2500}},
		{"back", func(p *Pace) { p.GoTo(1000e6) }, []int64{0, 1000, 1500, 2500, 3500, 4500, 5500}},
		{"forward while paused", func(p *Pace) {
			p.Pause(true)
			p.GoTo(5000e6)
			time.Sleep(time.Second)
			p.Pause(false)
		}, []int64{0, 1000, 2500}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := virtual(1)
				go func() { // ends after the turn
					time.Sleep(1500 * time.Millisecond)
					if now, speed, paused := p.State(); now != 1500e6 || speed != 1 || paused {
						t.Errorf("state %d, %v, %v", now, speed, paused)
					}
					c.turn(p)
				}()
				if at, _ := played(t, list{0, 1000, 2000, 3000, 4000, 5000}, p, nil); !slices.Equal(at, c.want) {
					t.Errorf("%v, want %v", at, c.want)
				}
			})
		})
	}
}

func TestPlayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		n := 0
		sink := SinkFunc(func(context.Context, *Item) error { n++; return nil })
		st, err := Play(ctx, list{0, 1000, 2000, 3000}, virtual(1), sink)
		if !errors.Is(err, context.DeadlineExceeded) || n != 3 || st.LastNS != 2000e6 || st.Took != 2500*time.Millisecond {
			t.Errorf("%v after %d: %+v", err, n, st)
		}
	})
	full := errors.New("full")
	st, err := Play(t.Context(), list{0, 1, 1, 1}, NewPace(Max), SinkFunc(func(_ context.Context, it *Item) error {
		if it.Record.Offset == 3 {
			return full
		}
		return nil
	}))
	if !errors.Is(err, full) || st.Items != 3 || st.Same != 2 {
		t.Errorf("%v, %+v", err, st)
	}
}

func TestResumedGoesOnBehindAPlace(t *testing.T) {
	l := list{1, 5, 5, 5, 9}
	for skip, want := range [][]int64{{1, 2, 3, 4}, {2, 3, 4}, {3, 4}, {4}} {
		var got []int64
		if _, err := Play(t.Context(), Resumed{Source: l, AtNS: 5e6, Skip: uint64(skip)}, NewPace(Max), SinkFunc(func(_ context.Context, it *Item) error {
			got = append(got, it.Record.Offset)
			return nil
		})); err != nil || !slices.Equal(got, want) {
			t.Errorf("without %d: %v, want %v (%v)", skip, got, want, err)
		}
	}
}

func TestDelays(t *testing.T) {
	var d Delays
	if d.Quantile(0.5) != 0 {
		t.Error("of nothing")
	}
	for i := 1; i <= 1000; i++ {
		d.Add(time.Duration(i) * time.Millisecond)
	}
	d.Add(-time.Second)
	for share, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 0: 0} {
		if got := d.Quantile(share); got > want || got < want-want/1000 {
			t.Errorf("quantile %v is %v, want %v", share, got, want)
		}
	}
	if d.Count() != 1001 || d.Max() != time.Second || d.Quantile(1) != time.Second {
		t.Errorf("%d, %v, %v", d.Count(), d.Max(), d.Quantile(1))
	}
	for us := int64(0); us < 1<<40; us += us/777 + 1 {
		if b := value(bucket(us)); b > us || us-b > us/2048 {
			t.Fatalf("%d µs is in the bucket of %d", us, b)
		}
	}
}
