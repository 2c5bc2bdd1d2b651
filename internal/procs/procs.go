// Package procs gives the Go scheduler as many processors as the process needs,
// and no more. [Follow] is the entry point.
//
// A process that does a little very often (packets, acks, timers) pays for idle
// processors: each wake-up makes another one look for work, and the runtime's
// monitor thread polls in between. With one processor the edge agent needs a third
// less CPU at 20 Mbit/s over three links. A car at full rate needs several, so the
// number follows the use: up at once, down slowly.
//
// It touches a setting of the whole process: only a main program may follow, and
// not where somebody has set GOMAXPROCS.
package procs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"telemetry/internal/clock"
)

// Pace and thresholds. Use is CPU time per time, in processors.
const (
	every     = 100 * time.Millisecond
	enough    = 0.7 // of the processors in use: more are given
	little    = 0.4 // of half the processors, for all of calm: half are taken
	calm      = 100 // looks
	firstStep = 1   // processors at the start
)

// Follow adjusts GOMAXPROCS until ctx ends and then sets what was there before.
// It does nothing if the environment variable GOMAXPROCS is set or there is one
// processor.
func Follow(ctx context.Context) error {
	most := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") != "" || most == 1 {
		return nil
	}
	defer runtime.GOMAXPROCS(most)
	c := control{most: most, procs: firstStep}
	runtime.GOMAXPROCS(c.procs)
	at, used := time.Now(), time.Duration(0)
	for {
		now, err := cpuTime()
		if err != nil {
			return err
		}
		if past := time.Since(at); past > 0 && used > 0 {
			if n := c.look(float64(now-used) / float64(past)); n != runtime.GOMAXPROCS(0) {
				runtime.GOMAXPROCS(n)
			}
		}
		at, used = time.Now(), now
		if clock.Sleep(ctx, every) != nil {
			return nil // that is how it ends
		}
	}
}

// Keep is [Follow] for a main program: an error is logged, and the process keeps
// the number that it has.
func Keep(ctx context.Context, log *slog.Logger) {
	if err := Follow(ctx); err != nil {
		log.Warn("number of processors is not adjusted", "err", err)
	}
}

// cpuTime returns the CPU time of the process.
func cpuTime() (time.Duration, error) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0, fmt.Errorf("procs: use of the processors: %w", err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), nil
}

// control decides how many processors there should be.
type control struct {
	most, procs int
	calm        int // looks with little use, in a row
}

// look takes the use since the last look and returns the number from now on.
func (c *control) look(use float64) int {
	switch n := float64(c.procs); {
	case use >= enough*n && c.procs < c.most:
		c.procs, c.calm = min(2*c.procs, c.most), 0
	case c.procs > 1 && use < little*n/2:
		if c.calm++; c.calm >= calm {
			c.procs, c.calm = (c.procs+1)/2, 0
		}
	default:
		c.calm = 0
	}
	return c.procs
}
