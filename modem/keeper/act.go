package keeper

import (
	"context"
	"fmt"
	"time"

	"telemetry/modem/ladder"
)

// step asks the ladder and does what it says.
func (l *loop) step(ctx context.Context) error {
	o := l.observe()
	d := l.lad.Step(o)
	if d.State == ladder.Verified {
		l.k.group.release(l.k)
	}
	if d.Act && d.Rung.Disruptive() && !l.k.group.claim(l.k) {
		l.lad.Cancel() // taken by another between observation and now: its turn comes
		d.Act, d.Reason = false, "another modem is being reset: one at a time"
	}
	l.show(o, d)
	if !d.Act {
		return nil
	}
	if !d.Rung.Disruptive() {
		l.k.group.release(l.k)
	}
	l.k.log.Warn("modem recovery", "rung", d.Rung.String(), "state", d.State.String(), "reason", d.Reason)
	if err := l.perform(ctx, d.Rung); err != nil {
		l.k.log.Warn("modem recovery step ended with an error", "rung", d.Rung.String(), "error", err)
	}
	return ctx.Err()
}

func (l *loop) show(o ladder.Observation, d ladder.Decision) {
	var changed bool
	l.k.update(func(s *Status) {
		if changed = s.State != d.State || s.Reason != d.Reason; changed {
			s.Since = o.Now
		}
		s.State, s.Rung, s.Resting, s.Reason, s.Stats, s.obs = d.State, d.Rung, d.Resting, d.Reason, l.lad.Stats, o
	})
	if changed {
		l.k.log.Info("modem state", "state", d.State.String(), "reason", d.Reason)
	}
}

// perform does rung r, which the ladder has noted, and tells it the end. Lines
// of the board are worked under Run's context: the control ends with the modem,
// and a line must not be let go early because of that.
func (l *loop) perform(ctx context.Context, r ladder.Rung) error {
	l.save()
	l.acting = true
	l.k.update(func(s *Status) { s.Acting = true })
	if r >= ladder.USB {
		ctx = l.run
	}
	ctl, hold := l.ctl, l.holds()
	err := l.during(ctx, "recovery: "+r.String(), func(ctx context.Context) error { return l.k.act(ctx, r, ctl, hold) })
	l.acting = false
	l.k.update(func(s *Status) { s.Acting = false })
	if r.Disruptive() {
		l.up = false
		l.k.group.claim(l.k) // it comes up now: the others' turn is after that
	}
	l.lad.Done(l.k.group.now())
	return err
}

// Timings of modules whose manual is not known.
var defaultTimings = Timings{
	PowerOn: 600 * time.Millisecond, PowerOff: 1200 * time.Millisecond, OffWait: 12 * time.Second,
	Reset: 300 * time.Millisecond, Boot: 30 * time.Second,
}

// holds returns the timings in force: the module's, else the configuration's,
// else the defaults.
func (l *loop) holds() Timings {
	pick := func(of func(*Timings) *time.Duration) time.Duration {
		for _, t := range []Timings{l.timings, l.k.parts.Config.Timings} {
			if d := *of(&t); d > 0 {
				return d
			}
		}
		return *of(&defaultTimings)
	}
	return Timings{
		PowerOn:  pick(func(t *Timings) *time.Duration { return &t.PowerOn }),
		PowerOff: pick(func(t *Timings) *time.Duration { return &t.PowerOff }),
		OffWait:  pick(func(t *Timings) *time.Duration { return &t.OffWait }),
		Reset:    pick(func(t *Timings) *time.Duration { return &t.Reset }),
		Boot:     pick(func(t *Timings) *time.Duration { return &t.Boot }),
	}
}

// act does one rung. It runs beside the loop and shares nothing with it.
func (k *Keeper) act(ctx context.Context, r ladder.Rung, ctl Control, t Timings) error {
	switch r {
	case ladder.USB:
		return k.parts.USB(ctx)
	case ladder.ResetPin:
		return k.parts.Reset(ctx, t.Reset)
	case ladder.PowerKey:
		return k.powerCycle(ctx, t)
	}
	if ctl == nil {
		return fmt.Errorf("keeper: %s needs the modem's control, which is not open", r)
	}
	if err := ctl.Do(ctx, r.String()); err != nil {
		return err
	}
	if !r.Disruptive() {
		return ctl.Dial(ctx)
	}
	return nil
}

// settleOff is how long a module that has left its bus is given before its power
// key is pressed again.
const settleOff = time.Second

// cycleSlack is what a power cycle may take beside the module's own times.
const cycleSlack = 5 * time.Second

// powerCycle works the power key, which is a toggle: a module that is on its bus
// is switched off, has its time to log out, and is switched on again. One that
// is not on its bus is most likely off: it is switched on, and cycled if that
// did not bring it. One that was switched off is switched on again although ctx
// ends: nobody else would.
func (k *Keeper) powerCycle(ctx context.Context, t Timings) error {
	if !k.present() {
		if err := k.parts.Power(ctx, t.PowerOn); err != nil {
			return err
		}
		if there, err := k.await(ctx, t.Boot, true); there || err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.PowerOff+t.OffWait+settleOff+t.PowerOn+cycleSlack)
	defer cancel()
	seen := k.parts.Present != nil && k.parts.Present()
	if err := k.parts.Power(ctx, t.PowerOff); err != nil {
		return err
	}
	// One that hangs may stay on its bus, and one that is not there cannot be seen
	// to go: they get all the time that a module may take.
	if !seen {
		if err := sleep(ctx, t.OffWait); err != nil {
			return err
		}
	} else if _, err := k.await(ctx, t.OffWait, false); err != nil {
		return err
	}
	if err := sleep(ctx, settleOff); err != nil {
		return err
	}
	return k.parts.Power(ctx, t.PowerOn)
}

func (k *Keeper) present() bool { return k.parts.Present == nil || k.parts.Present() }

// await looks four times a second whether the module is on its bus, or is not,
// for at most d.
func (k *Keeper) await(ctx context.Context, d time.Duration, there bool) (bool, error) {
	for end := k.group.now() + d; k.group.now() < end; {
		if k.parts.Present != nil && k.parts.Present() == there {
			return true, nil
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
