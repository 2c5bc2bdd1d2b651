package procs

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestProcessorsFollowTheUse(t *testing.T) {
	c := control{most: 6, procs: 1}
	feed := func(use float64, looks int) (n int) {
		for range looks {
			n = c.look(use)
		}
		return n
	}
	for _, step := range []struct {
		name  string
		use   float64
		looks int
		want  int
	}{
		{"a little work needs one", 0.1, 1000, 1},
		{"nearly one: two at once", 0.8, 1, 2},
		{"use of one is no reason for four", 1, 1000, 2},
		{"two are used up", 1.9, 1, 4},
		{"never more than there are", 3.9, 10, 6},
		{"a short calm changes nothing", 0.1, calm - 1, 6},
		{"use begins the calm anew", 3, 1, 6},
		{"", 0.1, calm - 1, 6},
		{"after a calm half are taken", 0.1, 1, 3},
		{"and again", 0.1, calm, 2},
		{"down to one", 0.1, calm, 1},
		{"one stays", 0, 1000, 1},
	} {
		if got := feed(step.use, step.looks); got != step.want {
			t.Errorf("%s: %d processors after %d looks at %g, want %d", step.name, got, step.looks, step.use, step.want)
		}
	}
}

// Follow begins with one processor, gives more to who works, and leaves what it found.
func TestFollow(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	if before == 1 {
		t.Skip("one processor: there is nothing to follow")
	}
	t.Setenv("GOMAXPROCS", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- Follow(ctx) }() // ends with cancel
	reached := func(want func(n int) bool) bool {
		for ctx.Err() == nil {
			if want(runtime.GOMAXPROCS(0)) {
				return true
			}
			runtime.Gosched() // work, as far as the control can see
		}
		return false
	}
	if !reached(func(n int) bool { return n == 1 }) || !reached(func(n int) bool { return n > 1 }) {
		t.Errorf("%d processors after a minute", runtime.GOMAXPROCS(0))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors afterwards, there were %d", n, before)
	}
}

// Who has set GOMAXPROCS knows better.
func TestSetByHand(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "7")
	if err := Follow(t.Context()); err != nil || runtime.GOMAXPROCS(0) != before {
		t.Errorf("%v, %d processors", err, runtime.GOMAXPROCS(0))
	}
}
