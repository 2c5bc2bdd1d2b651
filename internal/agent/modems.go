package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
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
	"telemetry/sensors/serialport"
	"telemetry/wire"
)

// caretaker looks after the modems of the links that ask for it: their keepers,
// and the addresses that their networks gave them.
type caretaker struct {
	group  *keeper.Group
	kept   []kept
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
	device string // network interface
	keeper *keeper.Keeper
	last   string // what was configured last
	fade   fade.Predictor
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

// newCaretaker makes the keepers of the links that have a modem; nil if none has.
func (a *Agent) newCaretaker(r *running) *caretaker {
	c := &caretaker{
		group: keeper.NewGroup(func() time.Duration { return time.Duration(a.clock.BootNS()) }),
		log:   a.log.With("component", "modem").Warn,
	}
	for i, l := range a.cfg.Links {
		if !isKept(l) {
			continue
		}
		slot, _ := slotOf(a.board.Profile(), l.Modem) // checked by modemFaults
		m := &minder{board: a.board, cfg: l.Modem, slot: slot}
		state := filepath.Join(a.cfg.Spool.Dir, "modem-"+l.Name+".json")
		parts := keeper.Parts{
			Name: l.Name, Open: m.open, Present: m.present, Proof: func() time.Duration { return r.proof(i) },
			Save:   func(b []byte) error { return writeDurably(state, b) },
			Load:   func() ([]byte, error) { return readIfThere(state) },
			Config: keeper.Config{PIN: l.Modem.PIN, Poll: l.Modem.Poll.D(), Off: l.Modem.WatchOnly},
			Log:    a.log.With("component", "modem"),
		}
		m.lines(&parts)
		c.kept = append(c.kept, kept{
			link: i, cfg: l.Modem, name: l.Name, iface: r.modems[i].(*modem.Interface), device: l.Interface, keeper: c.group.Add(parts),
		})
	}
	if c.kept == nil {
		return nil
	}
	c.around = r.around
	c.limit = func(int, []wire.Lane) {}
	if r.uplink != nil {
		c.limit = r.uplink.Restrict
	}
	return c
}

// proof is when link i last proved that it carries data both ways.
func (r *running) proof(i int) time.Duration {
	s := r.snapshot()
	if i >= len(s.Links) {
		return 0
	}
	switch s.Links[i].State {
	case "up", "held", "quiet":
		return time.Duration(s.Links[i].HeardNS)
	}
	return 0
}

// around is what the uplink knows of receivers.
func (r *running) around() keeper.Around {
	s := r.snapshot()
	refused := false
	for _, l := range s.Links {
		refused = refused || l.Refused > 0 && l.State == "down"
	}
	return keeper.Around{Stalled: s.Held, NoReceiver: refused && len(s.Instances) == 0}
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
			c.kept[i].configure(c.log)
		}
		c.followSignals()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	for range c.kept {
		<-done
	}
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
		fading[i] = k.cfg.Fade && k.fade.Step(fade.Reading{
			Now: st.Read, RSRPdBm: st.Info.Numbers["rsrp_dbm"], SINRdB: st.Info.Numbers["sinr_db"], Cell: st.Info.Cell,
		})
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

// configure gives the interface what the network gave the modem, when that has
// changed.
func (k *kept) configure(warn func(msg string, args ...any)) {
	info := k.keeper.Status().Info
	var servers []netip.Addr
	for _, s := range info.NameServers {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, a)
		}
	}
	k.iface.SetNameServers(servers)
	if !k.cfg.Configure {
		return
	}
	nc := modem.NetConfig{Interface: k.device, MTU: info.MTU, Table: k.cfg.Table}
	for _, s := range info.Addresses {
		if p, err := netip.ParsePrefix(s); err == nil {
			nc.Addresses = append(nc.Addresses, p)
		} else if a, err := netip.ParseAddr(s); err == nil {
			nc.Addresses = append(nc.Addresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	want := fmt.Sprint(nc)
	if len(nc.Addresses) == 0 || want == k.last {
		return
	}
	if err := nc.Apply(); err != nil {
		warn("network interface not configured", "modem", k.name, "error", err)
		return
	}
	k.last = want
}

// minder opens one modem's control and works its lines.
type minder struct {
	board *board.Board
	cfg   *config.Modem
	slot  board.Slot
}

func (m *minder) present() bool {
	switch {
	case m.slot.USBPath != "":
		return m.board.USBDevice(m.slot.USBPath).Present
	case m.cfg.Port != "":
		_, err := os.Stat(m.cfg.Port)
		return err == nil
	}
	return true
}

// portPath is the AT port: as configured, or the USB device's.
func (m *minder) portPath() (string, error) {
	if m.cfg.Port != "" {
		return m.cfg.Port, nil
	}
	tty, ok := m.board.USBDevice(m.slot.USBPath).TTYs[m.cfg.Interface]
	if !ok {
		return "", fmt.Errorf("agent: USB device %s has no tty on its interface %d (set at_interface)", m.slot.USBPath, m.cfg.Interface)
	}
	return "/dev/" + tty, nil
}

func (m *minder) open(ctx context.Context) (keeper.Control, error) {
	if m.cfg.Driver == "mm" {
		bus, err := mm.Connect(ctx, "")
		if err != nil {
			return nil, err
		}
		return mm.NewControl(bus, mm.Settings{Device: m.slot.USBPath, APN: m.cfg.APN, PDPType: m.cfg.PDP, User: m.cfg.User, Pass: m.cfg.Password}), nil
	}
	path, err := m.portPath()
	if err != nil {
		return nil, err
	}
	port, err := openPort(path, m.cfg.Baud)
	if err != nil {
		return nil, err
	}
	return at.NewControl(port, at.Settings{Profile: m.cfg.Profile, CID: m.cfg.CID, APN: m.cfg.APN, PDPType: m.cfg.PDP, User: m.cfg.User, Pass: m.cfg.Password})
}

// lines adds what the board can do to the modem.
func (m *minder) lines(p *keeper.Parts) {
	if m.slot.USBPath != "" {
		p.USB = func(ctx context.Context) error { return board.ReauthoriseUSB(ctx, m.slot.USBPath, writeSys) }
	}
	hold := func(pin *board.Pin) func(context.Context, time.Duration) error {
		if pin == nil {
			return nil
		}
		return func(ctx context.Context, d time.Duration) error {
			line, err := board.OpenPin(*pin)
			if err != nil {
				return err
			}
			return board.Hold(ctx, line, *pin, d)
		}
	}
	p.Reset, p.Power = hold(m.slot.Reset), hold(m.slot.PowerKey)
}

// writeSys writes a file of the kernel's.
func writeSys(name string, b []byte) error { return os.WriteFile("/"+name, b, 0) }

// portWait bounds one read of a modem's port, so that closing it never hangs.
const portWait = 200 * time.Millisecond

// atPort is a serial port as the AT engine reads it.
type atPort struct{ *serialport.Port }

func openPort(path string, baud int) (io.ReadWriteCloser, error) {
	p, err := serialport.Open(path, baud)
	if err != nil {
		return nil, err
	}
	return atPort{p}, nil
}

func (p atPort) Read(b []byte) (int, error) { return p.Port.Read(b, portWait) }

func (p atPort) Write(b []byte) (int, error) {
	if err := p.Port.Write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// addModem adds a kept modem's figures to the agent's own channels.
func (h *health) addModem(name string) {
	p := "modem_" + name
	h.kept = append(h.kept, name)
	number := func(key, unit, what string, scale float64) {
		h.add(p+"_"+key, unit, what, scale, func(r *reading) int64 { return int64(math.Round(r.modems[name].Info.Numbers[key] / scale)) })
	}
	number("rsrp_dbm", "dBm", "reference signal power", 0.1)
	number("rsrq_db", "dB", "reference signal quality", 0.1)
	number("sinr_db", "dB", "signal to noise", 0.1)
	number("temp_c", "degC", "module temperature", 1)
	number("rx_bytes", "B", "received over the radio, as the module counts", 1)
	number("tx_bytes", "B", "sent over the radio, as the module counts", 1)
	h.add(p+"_cell", "", "cell id", 1, func(r *reading) int64 { return int64(r.modems[name].Info.Cell) })
	h.add(p+"_state", "", "where the modem stands", 1, func(r *reading) int64 { return int64(r.modems[name].State) })
	c := &h.channels[len(h.channels)-1].channel
	for st := ladder.Absent; st <= ladder.Wedged; st++ {
		c.Enum = append(c.Enum, wire.EnumValue{Raw: int64(st), Name: st.String()})
	}
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
