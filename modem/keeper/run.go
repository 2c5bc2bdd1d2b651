package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/modem/at"
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
	drv     *at.Driver    // nil while the port is not open and identified
	pinUsed string        // card at which the PIN was tried
	deaf    time.Duration // when the port began not to answer; 0 = it answers
	dialled bool          // since registration was last gained or the context last lost
	urc     chan at.Line
}

// Run keeps the modem until ctx ends, and returns ctx's error.
func (k *Keeper) Run(ctx context.Context) error {
	l := &loop{k: k, lad: ladder.New(k.ladderConfig()), urc: make(chan at.Line, 64)}
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
		k.update(func(s *Status) { s.PortError = errText(err) })
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

// session opens the control port, if there is one and it can be, and goes round
// until the port ends. Without a port it goes round for a while and returns.
func (l *loop) session(ctx context.Context) error {
	var port io.ReadWriteCloser
	var err error
	if l.k.parts.Open != nil && l.present() {
		port, err = l.k.parts.Open(ctx)
	}
	if port == nil {
		return errors.Join(err, l.rounds(ctx, reopen))
	}
	eng := at.New(port, at.Config{URC: func(line at.Line) {
		select {
		case l.urc <- line:
		default: // only hints: the next poll reads the state itself
		}
	}})
	g, sctx := errgroup.WithContext(ctx)
	g.Go(func() error { return eng.Run(sctx) })
	g.Go(func() error {
		l.drv = at.NewDriver(eng, l.k.parts.Config.CID, l.profile())
		defer func() { l.drv = nil }()
		if err := l.bringUp(sctx, eng); err != nil && (errors.Is(err, at.ErrClosed) || sctx.Err() != nil) {
			return err
		}
		return l.polls(sctx, eng)
	})
	return g.Wait()
}

func (l *loop) profile() at.Profile {
	if l.k.parts.Config.Profile == "" {
		return at.Profile{}
	}
	p, err := at.FindProfile(l.k.parts.Config.Profile)
	if err != nil {
		l.k.log.Error("modem profile not found", "error", err)
	}
	return p
}

func (l *loop) present() bool { return l.k.parts.Present == nil || l.k.parts.Present() }

// polls reads the modem and steps the ladder until the port ends.
func (l *loop) polls(ctx context.Context, eng *at.Engine) error {
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	for {
		info, err := l.drv.Poll(ctx)
		l.k.update(func(s *Status) {
			s.Info, s.Port, s.Last, s.PortError = info, eng.Counters(), eng.Transcript(), errText(err)
		})
		switch {
		case errors.Is(err, at.ErrClosed) || ctx.Err() != nil:
			return err
		case err == nil:
			if !l.answering() {
				l.k.log.Info("control port answers again")
			}
			l.deaf = 0
			l.tend(ctx, eng, info)
		default:
			l.unanswered()
		}
		if err := l.step(ctx, eng, info); err != nil {
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

// pause waits for the next poll, or for a code that says that the bearer is
// gone, which is worth a poll at once.
func (l *loop) pause(ctx context.Context, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
			return nil
		case line := <-l.urc:
			if line.Prefix == "+CGEV" && (strings.HasPrefix(line.String(0), "NW") || strings.HasPrefix(line.String(0), "ME")) {
				return nil
			}
		}
	}
}

// rounds steps the ladder without a control port for d.
func (l *loop) rounds(ctx context.Context, d time.Duration) error {
	t := time.NewTicker(l.k.parts.Config.Poll)
	defer t.Stop()
	for end := l.k.group.now() + d; l.k.group.now() < end; {
		l.unanswered()
		if err := l.step(ctx, nil, at.Info{Access: -1}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
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
func (l *loop) observe(info at.Info) ladder.Observation {
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
func (l *loop) step(ctx context.Context, eng *at.Engine, info at.Info) error {
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
	err := l.act(ctx, eng, d.Rung)
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

// act does one rung.
func (l *loop) act(ctx context.Context, eng *at.Engine, r ladder.Rung) error {
	timings := at.Profile{}.Timings
	if l.drv != nil {
		timings = l.drv.Profile().Timings
	}
	hold := func(ms, def int) time.Duration {
		if ms == 0 {
			ms = def
		}
		return time.Duration(ms) * time.Millisecond
	}
	switch r {
	case ladder.USB:
		return l.k.parts.USB(ctx)
	case ladder.ResetPin:
		return l.k.parts.Reset(ctx, hold(timings.ResetMS, 300))
	case ladder.PowerKey:
		return l.k.parts.Power(ctx, hold(timings.PowerOnMS, 600))
	}
	if l.drv == nil || eng == nil {
		return fmt.Errorf("keeper: %s needs the control port, which is not open", r)
	}
	if err := l.drv.Do(ctx, r.String()); err != nil {
		return err
	}
	if !r.Disruptive() {
		return l.dial(ctx, eng)
	}
	return nil
}
