package crash

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Victim is a program. All functions but Rest are needed.
type Victim struct {
	Name string
	Kill func() error                    // SIGKILL; returns when the program is gone
	Stop func() error                    // SIGSTOP
	Cont func() error                    // SIGCONT
	PID  func() int                      // of the latest process; 0: none
	Run  func(ctx context.Context) error // starts the program; returns when it is ready
	// Rest waits between the program's end and its new start for whatever must
	// have noticed the end. nil: nothing must.
	Rest func(ctx context.Context) error
}

// Clock is a clock that never jumps.
type Clock interface{ BootNS() int64 }

// Outage is a strike that was carried out. Times are ns since boot.
type Outage struct {
	Strike
	AskedNS int64 // just before the signal
	GoneNS  int64 // the program had ended, or had been sent SIGSTOP
	BackNS  int64 // it was started anew and ready, or had been sent SIGCONT; 0: killed before it was ready
	Early   bool  // a kill that came before the program was ready
}

// pollEvery is how often a new process is looked for.
const pollEvery = time.Millisecond

// runner strikes one victim.
type runner struct {
	Victim
	clock    Clock
	tell     func(o Outage)
	out      []Outage
	starting chan error // of the start under way; nil: none
}

// Run carries out strikes, whose times count from begun, and returns what was
// done when the victim runs again. tell is called with each strike right after
// its signal.
func Run(ctx context.Context, v Victim, begun time.Time, strikes []Strike, clock Clock, tell func(Outage)) ([]Outage, error) {
	r := &runner{Victim: v, clock: clock, tell: tell}
	for _, s := range strikes {
		if err := r.until(ctx, begun.Add(s.At)); err != nil {
			return r.out, err
		}
		strike := r.kill
		if s.Kind == Freeze {
			strike = r.freeze
		}
		if err := strike(ctx, s); err != nil {
			return r.out, fmt.Errorf("crash: %s of %s: %w", s.Kind, v.Name, err)
		}
	}
	return r.out, r.ready(ctx)
}

// until waits for a moment. A start that fails meanwhile is an error.
func (r *runner) until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-r.starting: // nil blocks
			if err := r.started(err); err != nil {
				return err
			}
		case <-timer.C:
			return nil
		}
	}
}

// started notes the end of a start.
func (r *runner) started(err error) error {
	r.starting = nil
	if err != nil {
		return fmt.Errorf("crash: start %s after a kill: %w", r.Name, err)
	}
	r.out[len(r.out)-1].BackNS = r.clock.BootNS()
	return nil
}

// ready waits for the start under way.
func (r *runner) ready(ctx context.Context) error {
	if r.starting == nil {
		return nil
	}
	select {
	case err := <-r.starting:
		return r.started(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) kill(ctx context.Context, s Strike) error {
	o := Outage{Strike: s, Early: r.starting != nil, AskedNS: r.clock.BootNS()}
	if err := r.Kill(); err != nil {
		return err
	}
	o.GoneNS = r.clock.BootNS()
	if r.starting != nil {
		<-r.starting // it was killed: what it says is of no interest
		r.starting = nil
	}
	r.out = append(r.out, o)
	r.tell(o)
	if err := r.until(ctx, time.Now().Add(s.For)); err != nil {
		return err
	}
	if r.Rest != nil {
		if err := r.Rest(ctx); err != nil {
			return err
		}
	}
	before, done := r.PID(), make(chan error, 1)
	r.starting = done
	go func() { done <- r.Run(ctx) }() // ends with the start, which ctx bounds
	return r.placed(ctx, before)
}

// placed waits until the new process is there, so that the next kill meets it.
func (r *runner) placed(ctx context.Context, before int) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for r.PID() == before {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-r.starting:
			if err == nil && r.PID() == before {
				err = errors.New("it is ready, but no process is new")
			}
			return r.started(err)
		case <-t.C:
		}
	}
	return nil
}

// freeze waits for a start under way first.
func (r *runner) freeze(ctx context.Context, s Strike) error {
	if err := r.ready(ctx); err != nil {
		return err
	}
	o := Outage{Strike: s, AskedNS: r.clock.BootNS()}
	if err := r.Stop(); err != nil {
		return err
	}
	o.GoneNS = r.clock.BootNS()
	r.tell(o)
	wait := r.until(ctx, time.Now().Add(s.For))
	err := errors.Join(wait, r.Cont()) // a frozen program cannot be stopped in order
	o.BackNS = r.clock.BootNS()
	r.out = append(r.out, o)
	return err
}
