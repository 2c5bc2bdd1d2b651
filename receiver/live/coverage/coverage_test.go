package coverage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// batch says that batch seq is seen; batch n is 100 ms of event time from 100·n on.
func batch(l *Lane, seq uint64, nowMS int64) {
	l.Seen(seq, int64(seq)*100, nowMS)
	l.Seen(seq, int64(seq)*100+99, nowMS)
}

func show(hs []Hole) string {
	var b strings.Builder
	for _, h := range hs {
		fmt.Fprintf(&b, "[%d %d %s %s]", h.FromMS, h.ToMS, h.State, h.Reason)
	}
	return b.String()
}

const soon, later = int64(1000), int64(5000)

func holes(l *Lane) string { return show(l.Holes(nil, 0, 1e9, later)) }

func TestHoles(t *testing.T) {
	cases := []struct {
		name string
		do   func(l *Lane)
		want string
	}{
		{"nothing", func(*Lane) {}, ""},
		{"all there", func(l *Lane) {
			for n := range uint64(50) {
				batch(l, 10+n, soon)
			}
		}, ""},
		{"one waited for", func(l *Lane) { batch(l, 10, soon); batch(l, 12, soon) }, "[1099 1200 open ]"},
		{"filled", func(l *Lane) { batch(l, 10, soon); batch(l, 12, soon); batch(l, 11, soon) }, ""},
		{"filled from behind", func(l *Lane) { batch(l, 10, soon); batch(l, 13, soon); batch(l, 12, soon) }, "[1099 1200 open ]"},
		{"filled from the middle", func(l *Lane) { batch(l, 10, soon); batch(l, 14, soon); batch(l, 12, soon) }, "[1099 1200 open ][1299 1400 open ]"},
		{"what was before the first is not known", func(l *Lane) { batch(l, 10, soon); batch(l, 5, soon) }, ""},
		{"seen again", func(l *Lane) { batch(l, 10, soon); batch(l, 12, soon); batch(l, 10, soon); batch(l, 12, soon) }, "[1099 1200 open ]"},
		{"the window ran out", func(l *Lane) { batch(l, 10, soon); batch(l, 12, soon); l.Settle(11, 11, Late, "") }, "[1099 1200 late ]"},
		{"then it came", func(l *Lane) {
			batch(l, 10, soon)
			batch(l, 12, soon)
			l.Settle(11, 11, Late, "")
			batch(l, 11, soon)
			l.Withdraw(11, 11)
		}, ""},
		{"lost in the middle", func(l *Lane) { batch(l, 10, soon); batch(l, 15, soon); l.Settle(12, 13, Lost, "quota") }, "[1099 1199 open ][1199 1399 lost quota][1399 1500 open ]"},
		{"settled before it is a hole", func(l *Lane) { l.Settle(8, 20, Lost, "disk"); batch(l, 10, soon); batch(l, 12, soon) }, "[1099 1200 lost disk]"},
		{"the latest word holds", func(l *Lane) {
			batch(l, 10, soon)
			batch(l, 14, soon)
			l.Settle(11, 13, Late, "")
			l.Settle(12, 12, Lost, "quota")
		}, "[1099 1199 late ][1199 1299 lost quota][1299 1400 late ]"},
		{"partly withdrawn", func(l *Lane) {
			batch(l, 10, soon)
			batch(l, 14, soon)
			l.Settle(11, 13, Late, "")
			l.Withdraw(13, 20)
			l.Withdraw(1, 11)
		}, "[1099 1199 open ][1199 1299 late ][1299 1400 open ]"},
		{"just noticed", func(l *Lane) { batch(l, 10, later); batch(l, 12, later) }, ""},
		{"a hole that is divided keeps its age", func(l *Lane) { batch(l, 10, soon); batch(l, 14, soon); batch(l, 12, later) }, "[1099 1200 open ][1299 1400 open ]"},
		{"batches that overlap in time", func(l *Lane) {
			l.Seen(10, 1000, soon)
			l.Seen(10, 1500, soon)
			l.Seen(12, 1400, soon)
		}, "[1500 1501 open ]"},
		{"passed over", func(l *Lane) { batch(l, 10, soon); l.Reset(); batch(l, 500, soon); batch(l, 501, soon) }, ""},
		{"nonsense", func(l *Lane) { batch(l, 10, soon); batch(l, 12, soon); l.Settle(12, 11, Lost, "x"); l.Seen(0, 0, soon) }, "[1099 1200 open ]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var l Lane
			c.do(&l)
			if got := holes(&l); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestOnlyWhatIsShownIsTold(t *testing.T) {
	var l Lane
	for _, n := range []uint64{10, 20, 30, 40} {
		batch(&l, n, soon)
	}
	if got := show(l.Holes(nil, 2150, 2900, later)); got != "[2099 3000 open ]" {
		t.Errorf("got %s", got)
	}
}

// Rows of one lane may come by several partitions, whose last records reach back
// differently far.
func TestWhatIsKnownBeginsWithTheLastSource(t *testing.T) {
	cases := []struct {
		name string
		do   func(l *Lane)
		want string
	}{
		{"a sparse source reaches back further", func(l *Lane) {
			l.Begin(1, 10, soon)
			batch(l, 10, soon)
			batch(l, 20, soon)
			batch(l, 30, soon)
			l.Begin(2, 28, soon)
			for n := uint64(28); n < 33; n++ {
				batch(l, n, soon)
			}
		}, ""},
		{"one within a run", func(l *Lane) {
			l.Begin(1, 10, soon)
			for n := uint64(10); n < 20; n++ {
				batch(l, n, soon)
			}
			l.Begin(2, 15, soon)
			batch(l, 22, soon)
		}, "[1999 2200 open ]"},
		{"a source that begins much later has no say", func(l *Lane) {
			l.Begin(1, 10, soon)
			batch(l, 10, soon)
			batch(l, 12, soon)
			l.Begin(2, 14, soon+beginMS+1)
		}, "[1099 1200 open ]"},
		{"a preview came first", func(l *Lane) {
			batch(l, 15, soon)
			l.Begin(1, 10, soon)
			batch(l, 10, soon)
			batch(l, 11, soon)
		}, "[1199 1500 open ]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var l Lane
			c.do(&l)
			if got := holes(&l); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestAnyOrder sees batches in random order and compares with a plain set.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var l Lane
		l.Begin(1, 1, soon)
		seen := map[uint64]bool{}
		for range 150 {
			n := 1 + rng.Uint64N(200)
			batch(&l, n, soon)
			seen[n] = true
			var want []Hole
			lastSeen := uint64(0)
			for k := range uint64(201) {
				if !seen[k] {
					continue
				}
				if lastSeen > 0 && k > lastSeen+1 {
					want = append(want, Hole{FromMS: int64(lastSeen)*100 + 99, ToMS: int64(k) * 100})
				}
				lastSeen = k
			}
			if got := holes(&l); got != show(want) {
				t.Fatalf("seed %d: got %s, want %s", seed, got, show(want))
			}
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var l Lane
	for n := range uint64(10_000) {
		batch(&l, 1+2*n, soon)
		l.Settle(2+2*n, 2+2*n, Lost, fmt.Sprint(n%2))
	}
	if len(l.runs) > maxRuns || len(l.settled) > maxSettled {
		t.Fatalf("%d runs, %d settled", len(l.runs), len(l.settled))
	}
	hs := l.Holes(nil, 0, 1e9, later)
	if newest := hs[len(hs)-1]; newest != (Hole{1999799, 1999900, Lost, "0"}) {
		t.Errorf("newest hole %+v", newest)
	}
	var c Car
	for n := range 10 {
		batch(c.Epoch(fmt.Sprint(n)), 1, soon)
		batch(c.Epoch(fmt.Sprint(n)), 3, soon)
	}
	if hs := c.Holes(nil, 0, 1e9, later); len(hs) != maxEpochs {
		t.Errorf("holes of %d epochs", len(hs))
	}
	c.Reset()
	if hs := c.Holes(nil, 0, 1e9, later); len(hs) != 0 {
		t.Errorf("after a reset: %v", hs)
	}
}

func BenchmarkSeen(b *testing.B) {
	var l Lane
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		l.Seen(1+n/150, int64(n), 1)
	}
}
