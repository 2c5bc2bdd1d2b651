package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"telemetry/board"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/modem/at"
	"telemetry/modem/fade"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
	"telemetry/modem/mm"
	"telemetry/wire"
)

// caretaker looks after the modems of the links that ask for it: their keepers,
// and the addresses that their networks gave them.
type caretaker struct {
	group  *keeper.Group
	kept   []kept
	used   *usage
	now    func() time.Duration // boot clock
	log    func(msg string, args ...any)
	around func() keeper.Around
	limit  func(link int, lanes []wire.Lane) // what a link may carry
}

// kept is one modem that is looked after.
type kept struct {
	link   int
	cfg    *config.Modem
	name   string
	iface  *modem.Interface
	net    netcare
	keeper *keeper.Keeper
	fade   fade.Predictor
	faded  time.Duration // boot clock of the last reading that fade has seen
	fading bool
}

// modemFaults checks what of the modems' configuration only their packages know.
func modemFaults(cfg *config.Agent, p board.Profile) config.Faults {
	var out config.Faults
	for i, l := range cfg.Links {
		if l.Modem == nil {
			continue
		}
		where := fmt.Sprintf("links[%d].modem", i)
		if l.Modem.Profile != "" {
			if _, err := at.FindProfile(l.Modem.Profile); err != nil {
				out = append(out, cfg.Fault(where+".profile", "%s", strings.TrimPrefix(err.Error(), "at: ")))
			}
		}
		if _, err := slotOf(p, l.Modem); err != nil {
			out = append(out, cfg.Fault(where+".slot", "%v", err))
		}
	}
	return out
}

// slotOf returns where a modem is plugged in; its own place wins over its slot's.
func slotOf(p board.Profile, m *config.Modem) (board.Slot, error) {
	if m.Slot == "" {
		return board.Slot{USBPath: m.USB}, nil
	}
	s, err := p.Slot(m.Slot)
	if m.USB != "" {
		s.USBPath = m.USB
	}
	return s, err
}

// isKept reports whether the agent looks after the link's modem.
func isKept(l config.Link) bool { return l.Modem != nil && l.Modem.Driver != "net" }

// newCaretaker makes the keepers of the links that have a modem, and counts what
// the links' interfaces carry; nil if there is nothing to look after.
func (a *Agent) newCaretaker(r *running) *caretaker {
	now := func() time.Duration { return time.Duration(a.clock.BootNS()) }
	log := a.log.With("component", "modem")
	c := &caretaker{group: keeper.NewGroup(now), now: now, log: log.Warn, used: newUsage(filepath.Join(a.cfg.Spool.Dir, usageName), log.Warn)}
	c.used.write = r.write
	restart := newRestarter(now, func(ctx context.Context) error { return mm.Restart(ctx, "") })
	for i, l := range a.cfg.Links {
		iface := r.modems[i].(*modem.Interface)
		if l.Interface != "" {
			c.used.watch(l.Name, iface.Status)
		}
		if !isKept(l) {
			continue
		}
		slot, _ := slotOf(a.board.Profile(), l.Modem) // checked by modemFaults
		m := &minder{board: a.board, cfg: l.Modem, slot: slot}
		state := filepath.Join(a.cfg.Spool.Dir, "modem-"+l.Name+".json")
		parts := keeper.Parts{
			Name: l.Name, Open: m.open, Present: m.present,
			Proof: func() time.Duration { return r.proof(i) }, Nobody: func() bool { return a.nobody(r, i) },
			Save: func(b []byte) error { return r.write(state, b) },
			Load: func() ([]byte, error) { return readIfThere(state) },
			Config: keeper.Config{
				PIN: l.Modem.PIN, Poll: l.Modem.Poll.D(), Off: l.Modem.WatchOnly, Timings: timingsOf(l.Modem),
				Ladder: ladder.Config{Seed: r.spool.Epoch().Nonce + uint64(i) + 1},
			},
			Log: log,
		}
		if l.Modem.Driver == "mm" {
			parts.Service = restart
		}
		m.lines(&parts)
		c.kept = append(c.kept, kept{
			link: i, cfg: l.Modem, name: l.Name, iface: iface, keeper: c.group.Add(parts),
			net: netcare{device: l.Interface, table: l.Modem.Table, on: l.Modem.Configure, apply: modem.NetConfig.Apply},
		})
	}
	if c.kept == nil && c.used.empty() {
		return nil
	}
	c.around = func() keeper.Around { return keeper.Around{Stalled: r.snapshot().Held, Moving: a.moving()} }
	c.limit = func(int, []wire.Lane) {}
	if r.uplink != nil {
		c.limit = r.uplink.Restrict
	}
	return c
}

// timingsOf are the lines' timings of the configured module: until its port has
// answered nothing else is known of it.
func timingsOf(m *config.Modem) keeper.Timings {
	p, err := at.FindProfile(m.Profile)
	if err != nil {
		return keeper.Timings{}
	}
	return p.Timings.Keeper()
}

// Run keeps the modems until ctx ends.
func (c *caretaker) Run(ctx context.Context) error {
	done := make(chan error)
	for i := range c.kept {
		k := c.kept[i].keeper
		go func() { done <- k.Run(ctx) }() // ends with ctx
	}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for ctx.Err() == nil {
		c.group.SetAround(c.around())
		for i := range c.kept {
			k := &c.kept[i]
			st := k.keeper.Status()
			k.iface.SetNameServers(addresses(st.Info.NameServers))
			dev, _ := k.iface.Status() // a missing one has no index
			k.net.step(c.now(), st, dev.Index, c.log)
		}
		c.followSignals()
		c.used.step(c.now())
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	for range c.kept {
		<-done
	}
	c.used.save()
	return ctx.Err()
}

// whileFading is what a link carries whose signal is about to go: what is small
// and cannot wait, never the backlog.
var whileFading = []wire.Lane{wire.LaneCritical, wire.LaneLive}

// followSignals keeps the full lane off links that are about to fade, as long as
// there is another one.
func (c *caretaker) followSignals() {
	good := 0
	fading := make([]bool, len(c.kept))
	for i := range c.kept {
		k := &c.kept[i]
		st := k.keeper.Status()
		r := fade.Reading{Now: c.now()}
		if st.Read != k.faded { // the same one again would weigh twice
			k.faded = st.Read
			r = signalOf(st, r.Now)
		}
		fading[i] = k.cfg.Fade && k.fade.Step(r)
		if !fading[i] && st.State == ladder.Verified {
			good++
		}
	}
	for i := range c.kept {
		k := &c.kept[i]
		if now := fading[i] && good > 0; now != k.fading {
			k.fading = now
			if now {
				c.limit(k.link, whileFading)
			} else {
				c.limit(k.link, nil)
			}
		}
	}
}

// signalOf is what a modem says of its signal; what it does not say is no number.
func signalOf(st keeper.Status, now time.Duration) fade.Reading {
	r := fade.Reading{Now: now, RSRPdBm: st.Info.Numbers["rsrp_dbm"], SINRdB: math.NaN(), Cell: st.Info.Cell}
	if v, ok := st.Info.Numbers["sinr_db"]; ok {
		r.SINRdB = v
	}
	return r
}

func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// of returns the keeper of the link called name, nil if there is none.
func (c *caretaker) of(name string) *keeper.Keeper {
	if c == nil {
		return nil
	}
	for i := range c.kept { // not by value: Run changes what is not read here
		if k := &c.kept[i]; k.name == name {
			return k.keeper
		}
	}
	return nil
}

// usage returns what the interface of the link called name carried; false if it
// has none.
func (c *caretaker) usage(name string) (DataUse, bool) {
	if c == nil {
		return DataUse{}, false
	}
	return c.used.of(name)
}

// status returns the state of the modem of the link called name.
func (c *caretaker) status(name string) keeper.Status {
	if k := c.of(name); k != nil {
		return k.Status()
	}
	return keeper.Status{}
}

func (a *Agent) keeperOf(link string) (*keeper.Keeper, error) {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	if r == nil {
		return nil, errors.New("agent: not running")
	}
	if k := r.care.of(link); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("agent: no modem is kept for link %q (edgeagent modem list shows those that are)", link)
}

// operator bounds what an operator waits for.
const operator = 3 * time.Minute

func (a *Agent) modemCommand(ctx context.Context, link, command string) ([]string, error) {
	k, err := a.keeperOf(link)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, operator)
	defer cancel()
	return k.Command(ctx, command)
}

func (a *Agent) modemReset(ctx context.Context, link, rung string) error {
	k, err := a.keeperOf(link)
	if err != nil {
		return err
	}
	r, err := ladder.ParseRung(rung)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, operator)
	defer cancel()
	return k.Force(ctx, r)
}
