package replay

import (
	"context"
	"sync"
	"time"
)

// Max is the speed of a pace that waits for nothing.
const Max = 0

// Pace is the clock of a replay: it says when an item is due. Its methods are safe
// for concurrent use.
type Pace struct {
	mu     sync.Mutex
	speed  float64       // times as fast as it was; Max
	paused bool          //
	begun  bool          // atNS and at count
	atNS   int64         // the recording's clock ...
	at     time.Time     // ... at this moment
	seek   bool          // an item before fromNS is of no use any more
	fromNS int64         // where to go on
	turned chan struct{} // closed and replaced when anything above changes

	nap func(time.Duration) // waits for less than fine
}

// NewPace returns a pace; speed is how many times as fast as it was, or [Max].
func NewPace(speed float64) *Pace {
	return &Pace{speed: max(speed, Max), turned: make(chan struct{}), nap: nap}
}

// change does f under the lock and wakes who waits.
func (p *Pace) change(f func(now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(time.Now())
	close(p.turned)
	p.turned = make(chan struct{})
}

// rebase moves the pair of clocks to now; the lock is held.
func (p *Pace) rebase(now time.Time) {
	p.atNS, p.at = p.now(now), now
}

// now returns the recording's clock; the lock is held.
func (p *Pace) now(now time.Time) int64 {
	if !p.begun || p.paused || p.speed == Max {
		return p.atNS
	}
	return p.atNS + int64(float64(now.Sub(p.at))*p.speed)
}

// SetSpeed changes the speed from now on.
func (p *Pace) SetSpeed(speed float64) {
	p.change(func(now time.Time) {
		p.rebase(now)
		p.speed = max(speed, Max)
	})
}

// Pause stops the clock, or lets it go on.
func (p *Pace) Pause(paused bool) {
	p.change(func(now time.Time) {
		p.rebase(now)
		p.paused = paused
	})
}

// GoTo goes on at another time of the recording.
func (p *Pace) GoTo(atNS int64) {
	p.change(func(now time.Time) {
		p.seek, p.fromNS, p.atNS, p.at, p.begun = true, atNS, atNS, now, true
	})
}

// State returns the recording's clock, 0 before the first item, the speed and whether it is paused.
func (p *Pace) State() (nowNS int64, speed float64, paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now(time.Now()), p.speed, p.paused
}

// begin returns where the source is to begin.
func (p *Pace) begin() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seek = false
	return p.fromNS
}

// fine is the time before a moment that is waited for with the kernel's timer: the
// runtime's own wakes up to a millisecond late.
const fine = 1500 * time.Microsecond

// Wait returns when an item is due. [ErrSeek] says that the pace was told to go on
// elsewhere: at From.
func (p *Pace) Wait(ctx context.Context, atNS int64) error {
	_, err := p.wait(ctx, atNS)
	return err
}

// From returns where to go on after [ErrSeek], ns since 1970, and notes that it is
// known; 0 is the beginning.
func (p *Pace) From() int64 { return p.begin() }

// wait returns when an item is due, with its moment; zero at full speed. The first
// item is due at once.
func (p *Pace) wait(ctx context.Context, atNS int64) (due time.Time, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return due, err
		}
		p.mu.Lock()
		if p.seek {
			p.mu.Unlock()
			return due, ErrSeek
		}
		now := time.Now()
		if !p.begun {
			p.begun, p.atNS, p.at = true, atNS, now
		}
		if p.speed == Max && !p.paused {
			p.atNS, p.at = max(p.atNS, atNS), now
			p.mu.Unlock()
			return time.Time{}, nil
		}
		turned, paused := p.turned, p.paused
		due = p.at.Add(time.Duration(float64(atNS-p.atNS) / max(p.speed, 1e-9)))
		p.mu.Unlock()
		left := due.Sub(now)
		switch {
		case paused:
			select {
			case <-turned:
			case <-ctx.Done():
			}
		case left <= 0:
			return due, nil
		case left <= fine:
			p.nap(left)
		default:
			t := time.NewTimer(left - fine)
			select {
			case <-t.C:
			case <-turned:
			case <-ctx.Done():
			}
			t.Stop()
		}
	}
}
