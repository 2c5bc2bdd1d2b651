// Package modemsim is a cellular modem without radio: it speaks AT on any
// number of ports (pipes for tests under virtual time, pseudo terminals for
// real programs), has a SIM, a network, a data path, a bus and the two lines
// of a board, and breaks as a script says.
//
// The entry point is [New]. Its time is the package time's, so that a test in a
// synctest bubble runs hours of faults in milliseconds.
package modemsim

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Strength of what was done to a modem; each mends the faults of those below.
type Strength uint8

// Strengths, in the order of the recovery ladder.
const (
	Nothing  Strength = iota
	Redial            // context down and up
	Reattach          // detached and attached, or operator chosen again
	Radio             // CFUN 4 or 0, then 1
	Reset             // CFUN=1,1
	USB               // bus reset
	ResetPin          // reset line
	PowerKey          // power key
	Never             // nothing helps
)

// Fault is one thing that is wrong. The zero value is none.
type Fault struct {
	Name string
	Cure Strength      // the weakest action that mends it
	For  time.Duration // mends itself after this; 0 = never

	NoData       bool // context and registration look fine, nothing passes
	NoContext    bool // the network closed the context and refuses new ones
	Unregistered bool // searching
	Denied       bool
	SIM          string // "absent", "SIM PIN", "SIM PUK", "failed"
	Deaf         bool   // the control port takes bytes and answers nothing
	Garbage      bool   // lines of noise between answers
	Storm        bool   // unsolicited codes without end
	Echo         bool   // echo switched on
	Late         time.Duration
	Pieces       bool // answers come byte by byte
	Errors       bool // every command but plain AT is an ERROR
	OffBus       bool
	OffPower     bool // off its bus because it is switched off
	NoSignal     bool // says nothing of its signal: it searches
	HotC         int
	RSRPdBm      int
	Cause        int // of the network's rejection, told while it searches
}

// Config of a [Modem]; zero fields mean the defaults.
type Config struct {
	Manufacturer string        // "Quectel"
	Model        string        // "EC25"
	Boot         time.Duration // from power to the bus (8 s)
	Register     time.Duration // from radio on to registration (4 s)
	Attach       time.Duration // of one CGATT or CGACT (1 s)
	Seed         uint64
	PIN          string        // of the card; empty: none
	Logout       time.Duration // from the power key to off (2 s)
	IPv6         bool          // a carrier without IPv4
}

// Modem is one modem. It is safe for concurrent use.
type Modem struct {
	cfg Config
	rng *rand.Rand

	mu       sync.Mutex
	fault    Fault
	faultEnd time.Time
	onBus    bool
	backAt   time.Time // when it is on its bus again
	regAt    time.Time // when it is registered
	radio    bool
	attached bool
	context  bool
	unlocked bool
	off      bool // switched off
	pinLeft  int  // tries that the card still takes
	ports    map[*port]bool
	did      []Strength // actions seen, in order
	wg       sync.WaitGroup
	address  byte
}

// New returns a modem that is on its bus, registered and has a context.
func New(c Config) *Modem {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Boot, 8*time.Second)
	def(&c.Register, 4*time.Second)
	def(&c.Attach, time.Second)
	def(&c.Logout, 2*time.Second)
	if c.Manufacturer == "" {
		c.Manufacturer, c.Model = "Quectel", "EC25"
	}
	m := &Modem{
		cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), ports: map[*port]bool{},
		onBus: true, radio: true, attached: true, context: true, unlocked: c.PIN == "", address: 2, pinLeft: 3,
	}
	return m
}

// Break starts a fault, in place of any other.
func (m *Modem) Break(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
	m.faultEnd = time.Time{}
	if f.For > 0 {
		m.faultEnd = time.Now().Add(f.For)
	}
	if f.NoContext || f.Unregistered || f.Denied || f.SIM != "" || f.Cause != 0 {
		m.context = false
	}
	if f.OffBus || f.OffPower {
		m.off = f.OffPower
		m.leaveBus(0)
	}
	if f.NoContext {
		m.say("+CGEV: NW PDN DEACT 1")
	}
	if f.Unregistered || f.Denied {
		m.say("+CEREG: 2", "+CGEV: NW DETACH")
	}
}

// heal ends a fault whose time has come. The lock is held.
func (m *Modem) heal() {
	if !m.faultEnd.IsZero() && !time.Now().Before(m.faultEnd) {
		m.clear()
	}
	if !m.onBus && !m.backAt.IsZero() && !time.Now().Before(m.backAt) {
		m.onBus, m.backAt = true, time.Time{}
		m.regAt = time.Now().Add(m.cfg.Register)
		m.radio, m.attached, m.context = true, true, true
		m.unlocked = m.cfg.PIN == ""
	}
}

func (m *Modem) clear() {
	off := m.fault.OffBus
	m.fault, m.faultEnd = Fault{}, time.Time{}
	if off && !m.off && !m.onBus && m.backAt.IsZero() {
		m.backAt = time.Now().Add(m.cfg.Boot)
	}
}

// act notes an action and mends what it can. The lock is held.
func (m *Modem) act(s Strength) {
	m.did = append(m.did, s)
	if m.fault.Cure != Nothing && s >= m.fault.Cure {
		m.clear()
	}
}

// leaveBus closes all ports; back is when the modem returns, 0 for never.
func (m *Modem) leaveBus(back time.Duration) {
	m.onBus, m.backAt = false, time.Time{}
	if back > 0 {
		m.backAt = time.Now().Add(back)
	}
	for p := range m.ports {
		p.hangUp()
	}
	clear(m.ports)
}

// Present reports whether the modem is on its bus.
func (m *Modem) Present() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	return m.onBus
}

// Data reports whether packets pass at this moment.
func (m *Modem) Data() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	return m.onBus && m.registered() && m.attached && m.context && !m.fault.NoData && !m.fault.NoContext
}

func (m *Modem) registered() bool {
	return m.radio && m.unlocked && m.fault.SIM == "" && !m.fault.Unregistered && !m.fault.Denied && m.fault.Cause == 0 && !time.Now().Before(m.regAt)
}

// Actions returns what was done to the modem so far, in order.
func (m *Modem) Actions() []Strength {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Strength{}, m.did...)
}

// BusReset is what de-authorising its USB device does.
func (m *Modem) BusReset() { m.restart(USB) }

// HoldReset is the reset line, held for d: shorter than 150 ms does nothing.
func (m *Modem) HoldReset(d time.Duration) {
	if d >= 150*time.Millisecond {
		m.restart(ResetPin)
	}
}

// Holds of the power key, as most modules' manuals have them.
const (
	powerOn  = 500 * time.Millisecond
	powerOff = 650 * time.Millisecond
)

// HoldPower is the power key, held for d. It is a toggle: a module that is off
// is switched on, one that is on (hung or not) logs out and is off. What is too
// short does nothing.
func (m *Modem) HoldPower(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	switch {
	case m.off && d >= powerOn:
		m.off = false
		m.act(PowerKey)
		if m.fault.OffBus {
			m.leaveBus(0) // dead
			return
		}
		m.leaveBus(m.cfg.Boot)
	case !m.off && d >= powerOff:
		m.off = true
		time.AfterFunc(m.cfg.Logout, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.off {
				m.leaveBus(0)
			}
		})
	}
}

// restart is what a bus reset or the reset line does; a module that is switched
// off stays so.
func (m *Modem) restart(s Strength) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	if m.off {
		m.did = append(m.did, s)
		return
	}
	gone := m.fault.OffBus && s < m.fault.Cure
	m.act(s)
	if gone {
		return
	}
	m.leaveBus(m.cfg.Boot)
}

// Open returns a new connection to the control port; it fails while the modem
// is off its bus.
func (m *Modem) Open() (io.ReadWriteCloser, error) {
	near, far := net.Pipe()
	if err := m.Serve(far); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}

// Close hangs up all ports and waits until what served them has ended.
func (m *Modem) Close() {
	m.mu.Lock()
	m.leaveBus(0)
	m.mu.Unlock()
	m.wg.Wait()
}

// say sends unsolicited lines to all ports. The lock is held.
func (m *Modem) say(lines ...string) {
	for p := range m.ports {
		p.send(lines...)
	}
}
