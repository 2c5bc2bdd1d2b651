package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"periph.io/x/conn/v3/gpio"

	"telemetry/board"
	"telemetry/uplink"
	"telemetry/wire"
)

// boardCare follows the board's own lines and limits: ignition, power fail,
// heat, and the watchdogs that are fed while the car's pipeline moves.
type boardCare struct {
	a     *Agent
	r     *running
	alive board.Alive
	heat  board.Heat
	key   board.Ignition
	shed  atomic.Int32 // board.Shed in force
	power atomic.Int32 // board.Power in force

	ignition gpio.PinIn    // nil: not followed
	unseen   time.Duration // boot clock until which the ignition may be off at first; 0 = told
	fail     gpio.PinIn    // nil: not followed
	lamps    []lamp
	feeders  []board.Feeder
	service  board.Service
}

// ErrPower says that Run ended because the board's power ends.
var ErrPower = errors.New("agent: power goes: everything is durable, nothing more is written")

// carePeriod is how often lines and temperatures are looked at.
const carePeriod = 250 * time.Millisecond

// How long parts of the pipeline may stand still while they have work.
const (
	stuckSampling = 20 * time.Second // the agent's own channels come once a second
	stuckSpool    = 30 * time.Second // a dying card may take this long for a sync
	stuckUplink   = 20 * time.Second
)

// newBoardCare opens what the configuration asks for. What cannot be opened is
// told and left out: a board without its pins still samples.
func (a *Agent) newBoardCare(r *running) *boardCare {
	b := &boardCare{a: a, r: r, heat: board.Heat{ShedMilliC: int64(a.cfg.Thermal.Shed) * 1000}, key: board.Ignition{Drain: a.cfg.Power.Drain.D()}}
	p := a.board.Profile()
	pin := func(what string, p *board.Pin) gpio.PinIn {
		if p == nil {
			a.log.Error("board has no such line", "line", what, "board", a.cfg.Board)
			return nil
		}
		in, err := a.openPin(*p)
		if err == nil && what == "ignition" {
			err = in.In(gpio.Float, gpio.NoEdge)
		}
		if err != nil {
			a.log.Error("board line cannot be used", "line", what, "error", err)
			return nil
		}
		return in
	}
	if a.cfg.Power.Ignition {
		b.ignition = pin("ignition", p.Ignition)
		b.recallIgnition()
	}
	if a.cfg.Power.Fail {
		b.fail = pin("power_fail", p.PowerFail)
	}
	if a.cfg.LEDs {
		b.openLamps()
	}
	b.watch()
	return b
}

// ignitionName is the file beside the spool that names the ignition line once it
// was seen on: from then on its being off is to be believed.
const ignitionName = "ignition"

// unseenFor is how long an ignition that was never seen on is waited for before
// that is told.
const unseenFor = 10 * time.Second

// recallIgnition notes whether an earlier process saw the line on.
func (b *boardCare) recallIgnition() {
	if b.ignition == nil {
		return
	}
	line, err := readIfThere(filepath.Join(b.a.cfg.Spool.Dir, ignitionName))
	if err != nil {
		b.a.log.Warn("ignition of earlier starts not read", "error", err)
	}
	b.key.Seen = string(line) == b.a.board.Profile().Ignition.Line
	b.unseen = time.Duration(b.a.clock.BootNS()) + unseenFor
}

// follow steps the ignition and remembers that its line works.
func (b *boardCare) follow(now time.Duration, backlog int64) board.Power {
	line := *b.a.board.Profile().Ignition
	seen := b.key.Seen
	p := b.key.Step(now, board.Active(b.ignition, line), backlog)
	switch {
	case b.key.Seen && !seen:
		if err := b.r.write(filepath.Join(b.a.cfg.Spool.Dir, ignitionName), []byte(line.Line)); err != nil {
			b.a.log.Warn("that the ignition works is not kept", "error", err)
		}
	case !b.key.Seen && b.unseen != 0 && now > b.unseen:
		b.unseen = 0
		b.a.log.Error("ignition was never seen on: it is not followed until it is (look at its wire, active_low, and the group gpio)", "line", line.Line)
	}
	return p
}

// watch lists what must move for a watchdog to be fed.
func (b *boardCare) watch() {
	b.alive.Watch("sampling", stuckSampling, func() (uint64, bool) {
		var n uint64
		for _, l := range wire.Lanes {
			n += b.a.taken.Samples[l].Load()
		}
		return n + b.a.taken.Dropped.Load(), !b.r.draining.Load()
	})
	b.alive.Watch("spool", stuckSpool, func() (uint64, bool) {
		s := b.r.spool.Stats()
		return s.Commits, !s.Degraded && !b.r.draining.Load()
	})
	if b.r.uplink != nil {
		b.alive.Watch("uplink", stuckUplink, func() (uint64, bool) { return uint64(b.r.snapshot().NowNS), true })
	}
}

// watchdogs arms what the configuration asks for.
func (b *boardCare) watchdogs() {
	p := b.a.board.Profile()
	w := b.a.cfg.Watchdog
	service, err := board.NewService()
	if err != nil {
		b.a.log.Error("service watchdog cannot be used", "error", err)
	}
	b.service = service
	if w.Kind != "off" && service.Interval() > 0 {
		b.feeders = append(b.feeders, service)
	}
	if w.Kind != "device" {
		return
	}
	d, err := board.OpenDevice(p.Watchdog, w.Timeout.D())
	if err != nil {
		b.a.log.Error("watchdog cannot be used", "error", err)
		return
	}
	if d.Boot.CardReset() {
		b.a.log.Warn("the last reset was the watchdog's")
	}
	b.feeders = append(b.feeders, d)
}

// Run follows the board until ctx ends, or until its power ends: then the error
// is ErrPower.
func (b *boardCare) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.watchdogs()
	ended := make(chan struct{}, len(b.feeders)+1)
	n := 0
	for _, f := range b.feeders {
		n++
		go func() { // ends with ctx
			if err := board.Guard(ctx, f, func() error { return b.alive.Check(time.Duration(b.a.clock.BootNS())) }, b.a.log); err != nil {
				b.a.log.Error("watchdog", "error", err)
			}
			ended <- struct{}{}
		}()
	}
	if b.fail != nil {
		n++
		go func() { // ends with ctx
			defer func() { ended <- struct{}{} }()
			err := board.WatchPowerFail(ctx, b.fail, *b.a.board.Profile().PowerFail)
			switch {
			case err == nil:
				cancel(errors.Join(ErrPower, b.a.LosePower(ctx)))
			case ctx.Err() == nil:
				b.a.log.Error("power-fail line is not watched: a power cut costs what is not yet durable", "error", err)
			}
		}()
	}
	b.tell(b.service.Ready(fmt.Sprintf("car %s, epoch %s", b.a.cfg.Car, b.r.spool.Epoch())))
	t := time.NewTicker(carePeriod)
	defer t.Stop()
	for ctx.Err() == nil {
		b.look(ctx, cancel)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	for range n {
		<-ended
	}
	b.darken()
	return context.Cause(ctx)
}

func (b *boardCare) tell(err error) {
	if err != nil {
		b.a.log.Debug("service manager not told", "error", err)
	}
}

// look reads lines and temperatures once.
func (b *boardCare) look(ctx context.Context, end context.CancelCauseFunc) {
	now := time.Duration(b.a.clock.BootNS())
	if b.a.cfg.Thermal.Shed > 0 {
		var hottest int64
		ts, _ := b.a.board.Temperatures() // a board without sensors is never too hot
		for _, t := range ts {
			hottest = max(hottest, t.MilliC)
		}
		if s := b.heat.Step(now, hottest); int32(s) != b.shed.Swap(int32(s)) {
			b.a.log.Warn("board temperature changes what is sent", "shed", s.String(), "milli_c", hottest)
			b.a.shed(b.r, s)
		}
	}
	st := b.r.spool.Stats()
	b.light(now, st)
	if b.ignition == nil {
		return
	}
	backlog := st.Lanes[wire.LaneCritical].PendingBytes + st.Lanes[wire.LaneFull].PendingBytes
	p := b.follow(now, backlog)
	if int32(p) == b.power.Swap(int32(p)) {
		return
	}
	b.a.log.Info("ignition", "now", [...]string{"on", "off: sending the backlog", "off: stopping"}[p])
	switch p {
	case board.Drain:
		b.r.draining.Store(true)
		b.r.stopSources()
		b.tell(b.service.Status("ignition off: sending the backlog"))
	case board.Stop:
		err := b.a.LosePower(ctx)
		b.switchOff()
		end(errors.Join(ErrPower, err))
	case board.Run:
		if b.r.draining.Load() { // on again: a new epoch samples
			end(errKeyBack)
		}
	}
}

// errKeyBack ends a run whose sources were stopped by the ignition, so that the
// service manager starts a new one.
var errKeyBack = errors.New("agent: ignition is on again: starting anew")

// switchOff runs the configured program; what it does to the board is its own.
func (b *boardCare) switchOff() {
	args := b.a.cfg.Power.OffBy
	if len(args) == 0 {
		return
	}
	if err := exec.Command(args[0], args[1:]...).Start(); err != nil {
		b.a.log.Error("board not switched off", "program", args[0], "error", err)
	}
}

// shed makes the uplink wait with what the board is too hot for. Samples are
// taken and spooled all the same.
func (a *Agent) shed(r *running, s board.Shed) {
	if r.uplink == nil {
		return
	}
	var keep []wire.Lane
	switch s {
	case board.ShedLive:
		keep = []wire.Lane{wire.LaneCritical, wire.LaneFull}
	case board.ShedFull:
		keep = []wire.Lane{wire.LaneCritical}
	}
	r.uplink.Restrict(uplink.AllLinks, keep)
}
