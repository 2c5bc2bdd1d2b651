package keeper

import (
	"context"
	"errors"
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
	// hotHold is how long a temperature counts after it was last read: a module
	// that was hot and is silent now is left to cool for a while, not for ever.
	hotHold = 2 * time.Minute
	// servedAfter is how long a service may be missing, or silent, before it is started again.
	servedAfter = 20 * time.Second
	// askPatience is how long an operator's wish waits for something else to end
	// before it is refused.
	askPatience = 5 * time.Second
	// upAgain is waited between two attempts to bring a modem up that answers.
	upAgain = 10 * time.Second
)

// loop is the state of Run, owned by its goroutine.
type loop struct {
	k        *Keeper
	run      context.Context // Run's: outlives the session of one control
	lad      *ladder.Ladder
	ctl      Control // nil while there is none
	timings  Timings // of the last control that knew them
	info     modem.Info
	fresh    bool // info's numbers are of the last poll
	hotC     int  // newest temperature
	hotAt    time.Duration
	pin      pinMark       // what was tried at the card
	pinAt    time.Duration // when; 0 = not since the start
	deaf     time.Duration // when the port began not to answer; 0 = it answers
	unserved time.Duration // when the service was first found missing; 0 = it is there
	up       bool          // brought up since the control was opened and the module last began
	upAt     time.Duration // boot clock of the last attempt; 0 = not since the control was opened
	dialled  bool          // since registration was last gained or the context last lost
	busy     string        // what during waits for; empty = nothing
	acting   bool          // it is a rung
}

// Run keeps the modem until ctx ends, and returns ctx's error.
func (k *Keeper) Run(ctx context.Context) error {
	l := &loop{k: k, run: ctx, lad: ladder.New(k.ladderConfig()), info: modem.Info{Access: -1}}
	l.load()
	for ctx.Err() == nil {
		err := l.session(ctx)
		l.info, l.fresh = modem.Info{Access: -1}, false // what was true is not any more
		k.update(func(s *Status) { s.Info, s.PortError = l.info, errText(err) })
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
	c.Off = c.Off || k.parts.Config.Off
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
		l.serviceFound(ctx, err)
		return errors.Join(err, l.rounds(ctx, reopen))
	}
	g, sctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ctl.Run(sctx) })
	g.Go(func() error {
		l.ctl, l.up, l.upAt = ctl, false, 0
		defer func() { l.ctl = nil }()
		return l.polls(sctx)
	})
	return g.Wait()
}

func (l *loop) present() bool { return l.k.parts.Present == nil || l.k.parts.Present() }

// serviceFound notes whether err says that the service is missing, and has it
// started again.
func (l *loop) serviceFound(ctx context.Context, err error) {
	now := l.k.group.now()
	switch {
	case !errors.Is(err, ErrNoService):
		l.unserved = 0
		return
	case l.unserved == 0:
		l.unserved, l.up = max(now, 1), false
	}
	if l.k.parts.Service == nil || l.k.parts.Config.Off || now-l.unserved < servedAfter {
		return
	}
	if err := l.k.parts.Service(ctx); err != nil && ctx.Err() == nil {
		l.k.log.Warn("the modem's service was not started again", "error", err)
	}
}

// polls reads the modem and steps the ladder until the port ends.
func (l *loop) polls(ctx context.Context) error {
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	for {
		if err := l.poll(ctx); err != nil {
			return err
		}
		if err := l.step(ctx); err != nil {
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

// bringUp gives the modem what it needs, at first and whenever it has lost it: a
// module that was deaf at first or began anew, a service that was started again.
// What fails is tried again once the modem answers.
func (l *loop) bringUp(ctx context.Context) error {
	now := l.k.group.now()
	if l.up || (l.upAt != 0 && (!l.fresh || now-l.upAt < upAgain)) {
		return nil
	}
	l.upAt = max(now, 1)
	err := l.during(ctx, "the modem is being brought up", l.ctl.BringUp)
	l.up = err == nil
	if errors.Is(err, ErrGone) || ctx.Err() != nil {
		return err
	}
	return nil
}

// poll reads the modem once. An error ends the session.
func (l *loop) poll(ctx context.Context) error {
	if err := l.bringUp(ctx); err != nil {
		return err
	}
	info, err := l.ctl.Poll(ctx)
	l.serviceFound(ctx, err)
	if l.fresh = err == nil; l.fresh {
		l.info = info
		if c, ok := info.Numbers["temp_c"]; ok {
			l.hotC, l.hotAt = int(c), l.k.group.now()
		}
	} else {
		l.info = l.info.WithoutReadings()
	}
	l.timings = l.ctl.Timings()
	l.k.update(func(s *Status) {
		s.Read, s.Info, s.Port, s.Last, s.PortError = l.k.group.now(), l.info, l.ctl.Counters(), l.ctl.Transcript(), errText(err)
	})
	switch {
	case errors.Is(err, ErrGone) || ctx.Err() != nil:
		return err
	case err == nil:
		if !l.answering() {
			l.k.log.Info("control port answers again")
		}
		l.deaf = 0
		l.tend(ctx)
	case l.unserved == 0:
		l.unanswered()
	}
	return ctx.Err()
}

// pause waits for the next poll, or for what makes one worth while at once.
func (l *loop) pause(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-tick:
		return nil
	case a := <-l.k.asks:
		l.serve(ctx, a)
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
		if l.unserved == 0 {
			l.unanswered()
		}
		if err := l.step(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-l.k.asks:
			l.serve(ctx, a)
		case <-t.C:
		}
	}
	return nil
}

// during waits for work that may take minutes, as a dial does, and goes on
// deciding meanwhile: work must not touch l.
func (l *loop) during(ctx context.Context, what string, work func(context.Context) error) error {
	was := l.busy
	l.setBusy(what)
	defer func() { l.setBusy(was) }()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }() // ends when the modem has answered, or with ctx
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	patience := time.NewTimer(askPatience)
	defer patience.Stop()
	var asks chan ask // nil at first: what is over soon is waited for
	for {
		select {
		case err := <-done:
			return err
		case <-patience.C:
			asks = l.k.asks
		case a := <-asks:
			l.serve(ctx, a)
		case <-t.C:
			if ctx.Err() == nil {
				_ = l.step(ctx) // its only error is ctx's, which work returns too
			}
		}
	}
}

func (l *loop) setBusy(what string) {
	l.busy = what
	l.k.update(func(s *Status) { s.Busy = what })
}

func (l *loop) answering() bool { return l.deaf == 0 || l.k.group.now()-l.deaf < deafAfter }

// unanswered notes that the port is silent or not there.
func (l *loop) unanswered() {
	if l.deaf == 0 {
		l.deaf = max(l.k.group.now(), 1)
	}
}

// observe puts together what the ladder decides by.
func (l *loop) observe() ladder.Observation {
	now := l.k.group.now()
	o := ladder.Observation{
		Now: now, Present: l.present(), AT: l.k.parts.Open == nil || l.answering(), Unserved: l.unserved != 0,
		Reg: ladder.Registration(l.info.Registration), Cause: l.info.Cause, PDP: len(l.info.Addresses) > 0,
		Busy: l.busy != "" && !l.acting,
	}
	if l.fresh {
		o.RSRPdBm = int(l.info.Numbers["rsrp_dbm"])
	}
	if l.hotAt != 0 && now-l.hotAt < hotHold {
		o.HotC = l.hotC
	}
	if l.k.parts.Proof != nil {
		o.Proof = l.k.parts.Proof()
	}
	switch {
	case l.info.SIM == "READY":
		o.SIM = ladder.SIMReady
	case l.info.SIM == "absent":
		o.SIM = ladder.SIMAbsent
	case l.info.SIM == "failed":
		o.SIM = ladder.SIMFailed
	case strings.HasPrefix(l.info.SIM, "SIM P") || strings.HasPrefix(l.info.SIM, "PH-"):
		o.SIM = ladder.SIMLocked
	}
	if l.k.parts.Open == nil { // nothing is known: do not hold that against it
		o.SIM, o.Reg, o.PDP = ladder.SIMReady, ladder.Home, true
	}
	l.k.group.see(l.k, &o)
	return o
}
