// Package keeper keeps modems carrying data: it talks to a modem's
// control, watches for proof of delivery on its link, and climbs the recovery
// ladder when there is none.
//
// The entry point is [NewGroup]: the modems of one car know of each other, so
// that never more than one is reset while another carries data. The package
// opens no port, pin or socket itself, and never judges a modem by its
// registration alone.
package keeper

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"telemetry/modem"
	"telemetry/modem/ladder"
)

// Parts are what a keeper works with; all functions may be called from its
// goroutine only. Those that are nil are things the modem or board cannot do.
type Parts struct {
	Name    string
	Open    func(ctx context.Context) (Control, error)          // its control; nil: the modem has none
	Present func() bool                                         // on its bus; nil: always
	Proof   func() time.Duration                                // boot clock of the newest proof of delivery on its link; 0 = never
	Nobody  func() bool                                         // packets pass on its link, but no receiver answers there: not the modem's fault
	Service func(ctx context.Context) error                     // starts the service that owns the control again, as often as that makes sense
	USB     func(ctx context.Context) error                     // takes the device off its bus and back
	Reset   func(ctx context.Context, hold time.Duration) error // holds the reset line
	Power   func(ctx context.Context, hold time.Duration) error // holds the power key
	Save    func(b []byte) error                                // keeps durably what must outlive the process; nil: it dies with it
	Load    func() ([]byte, error)
	Config  Config
	Log     *slog.Logger
}

// Control is how a modem is spoken to: its AT port, or the service that owns
// it. Run serves it until ctx ends or it breaks; the other methods are called
// while Run is under way, one at a time. ErrGone, wrapped or not, says that it
// is of no use any more; any other error that the modem did not answer.
type Control interface {
	Run(ctx context.Context) error
	// BringUp identifies the modem and gives it access point and radio.
	BringUp(ctx context.Context) error
	// Poll reads its state.
	Poll(ctx context.Context) (modem.Info, error)
	// Unlock gives the card its PIN; ErrRefused, wrapped or not, says that it is
	// the wrong one.
	Unlock(ctx context.Context, pin string) error
	// Dial attaches and activates the data context.
	Dial(ctx context.Context) error
	// Do does the rung called name, one of "redial", "reattach", "radio", "reset".
	Do(ctx context.Context, rung string) error
	// Timings of the module's lines; zero where unknown.
	Timings() Timings
	// Changed receives a value when something happened that is worth a Poll.
	Changed() <-chan struct{}
	// Transcript returns the newest exchanges, for diagnosis.
	Transcript() []string
	// Counters of the connection.
	Counters() map[string]uint64
}

// Timings of a module's lines, from its hardware manual.
type Timings struct {
	PowerOn  time.Duration // power key held to switch on
	PowerOff time.Duration // power key held to switch off
	OffWait  time.Duration // at most until it has logged out and is off
	Reset    time.Duration // reset line held
	Boot     time.Duration // at most until it is on its bus
}

// Errors of a [Control].
var (
	// ErrGone says that it cannot be used any more.
	ErrGone = errors.New("keeper: control is gone")
	// ErrNoService says that the service that owns the modem does not run or does
	// not answer: nothing is known of the modem, and nothing of it is to be mended.
	ErrNoService = errors.New("keeper: the modem's service does not run")
	// ErrRefused says that the card does not take the PIN.
	ErrRefused = errors.New("keeper: the card refuses the PIN")
)

// Config of one modem.
type Config struct {
	PIN     string        // tried once for each card
	Poll    time.Duration // between two readings; 0 means 1 s
	Ladder  ladder.Config
	Timings Timings // of the lines, where the control does not know them; zero fields mean the defaults
	Off     bool    // watch only: nothing is done to the modem
}

// Around is what a group's owner knows of the world; all zero is fine.
type Around struct {
	Stalled bool // the receiver says that it can take nothing
	Moving  bool // the car is at speed
}

// Status of one modem at one moment.
type Status struct {
	Name      string            `json:"name"`
	State     ladder.State      `json:"state"`
	Rung      ladder.Rung       `json:"rung"`
	Acting    bool              `json:"acting"`
	Busy      string            `json:"busy,omitempty"` // what its control is occupied with
	Resting   bool              `json:"resting"`
	Reason    string            `json:"reason"`
	Since     time.Duration     `json:"since_ns"` // boot clock at which state and reason last changed
	Read      time.Duration     `json:"read_ns"`  // boot clock of the last reading of the modem
	Info      modem.Info        `json:"info"`
	Port      map[string]uint64 `json:"port,omitempty"`
	PortError string            `json:"port_error,omitempty"`
	NoPIN     bool              `json:"pin_refused,omitempty"` // the configured PIN is not tried any more for this card
	Stats     ladder.Stats      `json:"stats"`
	Last      []string          `json:"-"` // newest lines of the control port
	obs       ladder.Observation
}

// Group is the modems of one car.
type Group struct {
	now func() time.Duration

	mu      sync.Mutex
	keepers []*Keeper
	around  Around        // guarded by mu
	cycling *Keeper       // guarded by mu: the one that may reset its modem
	claimed time.Duration // guarded by mu: since when
}

// NewGroup returns a group without modems. now is the boot clock.
func NewGroup(now func() time.Duration) *Group { return &Group{now: now} }

// SetAround tells the group what its owner knows. It is safe for concurrent use.
func (g *Group) SetAround(a Around) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.around = a
}

// Add returns the keeper of one more modem; its Run does the work.
func (g *Group) Add(p Parts) *Keeper {
	if p.Config.Poll <= 0 {
		p.Config.Poll = time.Second
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{group: g, parts: p, log: p.Log.With("modem", p.Name), asks: make(chan ask)}
	k.status.Name = p.Name
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keepers = append(g.keepers, k)
	return k
}

// Statuses returns the status of each modem, in the order of Add.
func (g *Group) Statuses() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Status
	for _, k := range g.keepers {
		out = append(out, k.Status())
	}
	return out
}

// claim asks for the right to take a modem off its bus. It is held until
// release: until data flows again, or the next gentle step.
func (g *Group) claim(k *Keeper) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken(k) {
		return false
	}
	g.cycling, g.claimed = k, g.now()
	return true
}

// claimFor is how long a claim holds: the longest proof of the ladder. A modem
// that is dead for good must not keep the others from their turn.
const claimFor = 2 * time.Minute

// taken reports whether another modem is off its bus. Called with mu held.
func (g *Group) taken(k *Keeper) bool {
	return g.cycling != nil && g.cycling != k && g.now()-g.claimed < claimFor
}

func (g *Group) release(k *Keeper) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cycling == k {
		g.cycling = nil
	}
}

// see completes k's observation with what is known of the others.
func (g *Group) see(k *Keeper, o *ladder.Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o.Stalled, o.Moving = g.around.Stalled, g.around.Moving
	o.NoReceiver = k.parts.Nobody != nil && k.parts.Nobody()
	o.OtherCycling = g.taken(k)
	weak, others := o.RSRPdBm != 0 && o.RSRPdBm < tunnelDBm, 0
	for _, other := range g.keepers {
		if other == k {
			continue
		}
		st := other.Status()
		if st.State == ladder.Verified {
			o.OtherCarries = true
		}
		if st.State == ladder.Absent || st.State == ladder.SIMFault {
			continue // says nothing about the coverage here
		}
		others++
		weak = weak && st.obs.RSRPdBm != 0 && st.obs.RSRPdBm < tunnelDBm
	}
	o.AllWeak = weak && others > 0
}

// tunnelDBm is the RSRP below which a signal counts as gone when all lose it.
const tunnelDBm = -115

// Keeper keeps one modem.
type Keeper struct {
	group *Group
	parts Parts
	log   *slog.Logger
	asks  chan ask // to the run loop

	mu     sync.Mutex
	status Status // guarded by mu
}

// Status returns the present state. It is safe for concurrent use.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

func (k *Keeper) update(f func(*Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.status)
}
