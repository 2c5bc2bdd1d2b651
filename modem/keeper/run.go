package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/modem"
	"telemetry/modem/ladder"
)

// Pauses of the loop.
const (
	// reopen is waited between two attempts to open a control port.
	reopen = 2 * time.Second
	// deafAfter is how long a port may leave commands unanswered before its
	// modem counts as wedged; a slow attach is covered by the commands' own
	// timeouts.
	deafAfter = 8 * time.Second
)

// loop is the state of Run, owned by its goroutine.
type loop struct {
	k       *Keeper
	lad     *ladder.Ladder
	ctl     Control       // nil while there is none
	pinUsed string        // card at which the PIN was tried
	deaf    time.Duration // when the port began not to answer; 0 = it answers
	dialled bool          // since registration was last gained or the context last lost
}

// Run keeps the modem until ctx ends, and returns ctx's error.
func (k *Keeper) Run(ctx context.Context) error {
	l := &loop{k: k, lad: ladder.New(k.ladderConfig())}
	if k.parts.Load != nil {
		if b, err := k.parts.Load(); err != nil {
			k.log.Warn("spent budgets of the recovery ladder not read", "error", err)
		} else if len(b) > 0 {
			if err := l.lad.Load(b, time.Now(), k.group.now()); err != nil {
				k.log.Warn("spent budgets of the recovery ladder not taken over", "error", err)
			}
		}
	}
	for ctx.Err() == nil {
		err := l.session(ctx)
		k.update(func(s *Status) { s.Info, s.PortError = modem.Info{Access: -1}, errText(err) }) // what was true is not any more
	}
	k.group.release(k)
	return ctx.Err()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ladderConfig masks what this modem and board cannot do.
func (k *Keeper) ladderConfig() ladder.Config {
	c := k.parts.Config.Ladder
	for r := ladder.Wait; r <= ladder.PowerKey; r++ {
		c.Can[r] = k.can(r)
	}
	return c
}

func (k *Keeper) can(r ladder.Rung) bool {
	switch r {
	case ladder.Wait:
		return true
	case ladder.USB:
		return k.parts.USB != nil
	case ladder.ResetPin:
		return k.parts.Reset != nil
	case ladder.PowerKey:
		return k.parts.Power != nil
	}
	return k.parts.Open != nil
}

// session opens the control, if there is one and it can be, and goes round
// until it ends. Without one it goes round for a while and returns.
func (l *loop) session(ctx context.Context) error {
	var ctl Control
	var err error
	if l.k.parts.Open != nil && l.present() {
		ctl, err = l.k.parts.Open(ctx)
	}
	if ctl == nil || err != nil {
		return errors.Join(err, l.rounds(ctx, reopen))
	}
	g, sctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ctl.Run(sctx) })
	g.Go(func() error {
		l.ctl = ctl
		defer func() { l.ctl = nil }()
		if err := ctl.BringUp(sctx); err != nil && (errors.Is(err, ErrGone) || sctx.Err() != nil) {
			return err
		}
		return l.polls(sctx)
	})
	return g.Wait()
}

func (l *loop) present() bool { return l.k.parts.Present == nil || l.k.parts.Present() }

// polls reads the modem and steps the ladder until the port ends.
func (l *loop) polls(ctx context.Context) error {
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	for {
		info, err := l.ctl.Poll(ctx)
		l.k.update(func(s *Status) {
			s.Read, s.Info, s.Port, s.Last, s.PortError = l.k.group.now(), info, l.ctl.Counters(), l.ctl.Transcript(), errText(err)
		})
		switch {
		case errors.Is(err, ErrGone) || ctx.Err() != nil:
			return err
		case err == nil:
			if !l.answering() {
				l.k.log.Info("control port answers again")
			}
			l.deaf = 0
			l.tend(ctx, info)
		default:
			l.unanswered()
		}
		if err := l.step(ctx, info); err != nil {
			return err
		}
		if err := l.pause(ctx, t.C); err != nil {
			return err
		}
		if !l.present() {
			return errors.New("keeper: modem left its bus")
		}
	}
}

// pause waits for the next poll, or for what makes one worth while at once.
func (l *loop) pause(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-tick:
		return nil
	case ask := <-l.k.asks:
		ask(ctx, l)
		return nil
	case <-l.ctl.Changed():
	}
	soon := time.NewTimer(l.k.parts.Config.Poll / 4) // a storm of changes is no reason for a storm of polls
	defer soon.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-soon.C:
	}
	return nil
}

// rounds steps the ladder without a control port for d.
func (l *loop) rounds(ctx context.Context, d time.Duration) error {
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	for end := l.k.group.now() + d; l.k.group.now() < end; {
		l.unanswered()
		if err := l.step(ctx, modem.Info{Access: -1}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ask := <-l.k.asks:
			ask(ctx, l)
		case <-t.C:
		}
	}
	return nil
}

func (l *loop) answering() bool { return l.deaf == 0 || l.k.group.now()-l.deaf < deafAfter }

// unanswered notes that the port is silent or not there.
func (l *loop) unanswered() {
	if l.deaf == 0 {
		l.deaf = max(l.k.group.now(), 1)
	}
}

// observe puts together what the ladder decides by.
func (l *loop) observe(info modem.Info) ladder.Observation {
	o := ladder.Observation{
		Now: l.k.group.now(), Present: l.present(), AT: l.k.parts.Open == nil || l.answering(),
		Reg: ladder.Registration(info.Registration), PDP: len(info.Addresses) > 0,
		RSRPdBm: int(info.Numbers["rsrp_dbm"]), HotC: int(info.Numbers["temp_c"]),
	}
	if l.k.parts.Proof != nil {
		o.Proof = l.k.parts.Proof()
	}
	switch {
	case info.SIM == "READY":
		o.SIM = ladder.SIMReady
	case info.SIM == "absent":
		o.SIM = ladder.SIMAbsent
	case info.SIM == "failed":
		o.SIM = ladder.SIMFailed
	case strings.HasPrefix(info.SIM, "SIM P") || strings.HasPrefix(info.SIM, "PH-"):
		o.SIM = ladder.SIMLocked
	}
	if l.k.parts.Open == nil { // nothing is known: do not hold that against it
		o.SIM, o.Reg, o.PDP = ladder.SIMReady, ladder.Home, true
	}
	l.k.group.see(l.k, &o)
	return o
}

// step asks the ladder and does what it says.
func (l *loop) step(ctx context.Context, info modem.Info) error {
	o := l.observe(info)
	d := l.lad.Step(o)
	if d.State == ladder.Verified {
		l.k.group.release(l.k)
	}
	l.show(o, d)
	if !d.Act {
		return nil
	}
	defer func() {
		l.lad.Done(l.k.group.now())
		l.save()
	}()
	if l.k.parts.Config.Off {
		return nil
	}
	if d.Rung.Disruptive() {
		if !l.k.group.claim(l.k) {
			return nil // taken by another between observation and now: its turn comes
		}
	} else {
		l.k.group.release(l.k)
	}
	l.k.log.Warn("modem recovery", "rung", d.Rung.String(), "state", d.State.String(), "reason", d.Reason)
	l.k.update(func(s *Status) { s.Acting = true })
	err := l.act(ctx, d.Rung)
	l.k.update(func(s *Status) { s.Acting = false })
	if err != nil {
		l.k.log.Warn("modem recovery step ended with an error", "rung", d.Rung.String(), "error", err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
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

func (l *loop) save() {
	if l.k.parts.Save == nil {
		return
	}
	b, err := l.lad.Save(time.Now(), l.k.group.now())
	if err == nil {
		err = l.k.parts.Save(b)
	}
	if err != nil {
		l.k.log.Warn("spent budgets of the recovery ladder not kept", "error", err)
	}
}

// Holds of the board's lines where the control knows none.
const (
	defaultReset    = 300 * time.Millisecond
	defaultPowerKey = 600 * time.Millisecond
)

// act does one rung.
func (l *loop) act(ctx context.Context, r ladder.Rung) error {
	hold := Timings{Reset: defaultReset, PowerKey: defaultPowerKey}
	if l.ctl != nil {
		t := l.ctl.Timings()
		hold.Reset, hold.PowerKey = max(hold.Reset, t.Reset), max(hold.PowerKey, t.PowerKey)
	}
	switch r {
	case ladder.USB:
		return l.k.parts.USB(ctx)
	case ladder.ResetPin:
		return l.k.parts.Reset(ctx, hold.Reset)
	case ladder.PowerKey:
		return l.k.parts.Power(ctx, hold.PowerKey)
	}
	if l.ctl == nil {
		return fmt.Errorf("keeper: %s needs the modem's control, which is not open", r)
	}
	if err := l.ctl.Do(ctx, r.String()); err != nil {
		return err
	}
	if !r.Disruptive() {
		return l.ctl.Dial(ctx)
	}
	return nil
}
