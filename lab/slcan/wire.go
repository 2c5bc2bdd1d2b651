package slcan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"telemetry/sensors/can"
)

// timerSlack is how short a wait must be to be slept through in the kernel: timers
// of the runtime are late by up to a millisecond, which hosts would see as a delay
// of the adapter.
const timerSlack = 2 * time.Millisecond

// fullBuffer is how much of the buffer frames leave free for answers.
const fullBuffer = 200

// bus plays the feed until ctx ends. Its thread is not unlocked, so it ends with
// the goroutine and takes the priority with it.
func (a *Adapter) bus(ctx context.Context) error {
	runtime.LockOSThread()
	a.prioritize()
	for {
		if err := a.fill(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wait := a.step()
		if wait < timerSlack {
			pause(wait)
			continue
		}
		timer := time.NewTimer(wait - timerSlack/2)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.busWake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// fill sees to it that a frame is in the queue, unless the feed is at its end.
func (a *Adapter) fill(ctx context.Context) error {
	a.mu.Lock()
	want := len(a.queue) == 0 && !a.fed
	a.mu.Unlock()
	if !want {
		return nil
	}
	var f can.Frame
	err := io.EOF
	if a.cfg.Feed != nil {
		err = a.cfg.Feed.Next(ctx, &f)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.queue = append(a.queue, f)
	case errors.Is(err, io.EOF):
		a.fed = true
	default:
		return fmt.Errorf("slcan: feed: %w", err)
	}
	return nil
}

// step puts the next frame on the bus if it is due and may, and returns how long
// to wait otherwise, unless woken; 0 means that it did.
func (a *Adapter) step() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return time.Hour
	}
	f := &a.queue[0]
	now := a.cfg.Clock.BootNS()
	if !a.begun {
		a.begun, a.first, a.origin = true, f.StampNS, now
	}
	due := now
	if a.cfg.Speed > 0 {
		due = a.origin + int64(math.Round(float64(f.StampNS-a.first)/a.cfg.Speed))
	}
	if due > now && !a.blocked {
		return time.Duration(due - now)
	}
	if !a.cfg.BusRuns && !a.ready() {
		a.blocked = true
		return time.Hour
	}
	if a.blocked {
		a.blocked = false
		if due < now {
			a.origin += now - due
			a.stats.PausedNS += now - due
			due = now
		}
		if due > now {
			return time.Duration(due - now)
		}
	}
	a.stats.MaxLatenessNS = max(a.stats.MaxLatenessNS, now-due)
	a.put(f, due)
	a.queue = a.queue[:copy(a.queue, a.queue[1:])]
	wake(a.pumpWake)
	return 0
}

// ready reports whether a frame would get through to a host.
func (a *Adapter) ready() bool {
	return a.plug != nil && a.reading && a.hears() && len(a.fifo) < a.cfg.Buffer-fullBuffer
}

// hears reports whether the adapter takes frames from the bus.
func (a *Adapter) hears() bool {
	if !a.dev.open {
		return false
	}
	if a.cfg.Rate != 0 && a.dev.rate > 0 && a.dev.rate != a.cfg.Rate {
		a.dev.status |= statusBusError | statusPassive
		return false
	}
	return true
}

// put lets the adapter hear a frame that is on the bus at a boot time.
func (a *Adapter) put(f *can.Frame, due int64) {
	s := Sent{Frame: *f, BootNS: due, Fate: Unheard}
	defer func() { a.truth = append(a.truth, s) }()
	if a.plug == nil || !a.hears() {
		return
	}
	deviceNS := a.cfg.StartNS + int64(float64(due-a.powered)*(1+a.cfg.DriftPPM/1e6))
	line, good := a.dev.encode(nil, f, max(0, deviceNS))
	if !good {
		return
	}
	if len(a.fifo)+len(line) > a.cfg.Buffer {
		s.Fate = Dropped
		a.dev.status |= statusRXFull | statusOverrun
		return
	}
	n := &a.cfg.Noise
	if a.rng.Float64() < n.Bell {
		a.stats.Bells++
		a.append([]byte{'\a'})
	}
	if line, s.Hit = n.hit(a.rng, line); s.Hit {
		a.stats.Hits++
	}
	if a.rng.Float64() < n.Stall {
		a.stats.Stalls++
		a.stalled = a.cfg.Clock.BootNS() + int64(n.StallFor)
	}
	a.append(line)
	s.Fate, s.end = Buffered, a.appended
}
