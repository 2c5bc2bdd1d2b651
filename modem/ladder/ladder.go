// Package ladder decides how a modem that carries no data is brought back:
// first by waiting, then with ever stronger means, each with a budget and a
// proof that it helped, and not at all where nothing would help.
//
// The entry point is [Ladder.Step], a pure function of what is observed and of
// time: the package holds no goroutine, lock, clock or I/O.
package ladder

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rung is one means of recovery, the gentlest first.
type Rung uint8

// Rungs.
const (
	Wait     Rung = iota // hysteresis: most outages end by themselves
	Redial               // PDP context down and up
	Reattach             // detach from the network and attach
	Radio                // radio off and on (CFUN 4, then 1)
	Reset                // the module's own reset (CFUN=1,1)
	USB                  // USB de-authorise and authorise
	ResetPin             // the board's reset line
	PowerKey             // the module's power key, or its supply
	rungs
)

var rungNames = [rungs]string{"wait", "redial", "reattach", "radio", "reset", "usb", "reset_pin", "power_key"}

// String returns the rung's name as logs and status show it.
func (r Rung) String() string {
	if r >= rungs {
		return fmt.Sprintf("rung(%d)", uint8(r))
	}
	return rungNames[r]
}

// MarshalText writes the rung's name.
func (r Rung) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rung's name.
func (r *Rung) UnmarshalText(b []byte) error {
	got, err := ParseRung(string(b))
	*r = got
	return err
}

// ParseRung returns the rung called name.
func ParseRung(name string) (Rung, error) {
	if i := slices.Index(rungNames[:], name); i >= 0 {
		return Rung(i), nil
	}
	return Wait, fmt.Errorf("ladder: no rung is called %q (want one of %s)", name, strings.Join(rungNames[:], ", "))
}

// Disruptive reports whether the rung takes the module off its bus.
func (r Rung) Disruptive() bool { return r >= Reset }

// SIM is the state of the card.
type SIM uint8

// States of the SIM.
const (
	SIMUnknown SIM = iota
	SIMReady
	SIMAbsent
	SIMLocked // PIN or PUK wanted
	SIMFailed // present, but does not answer
)

// Registration as of +CREG, +CGREG, +CEREG and +C5GREG (3GPP TS 27.007).
type Registration uint8

// States of registration, with the numbers of the standard.
const (
	Idle Registration = iota
	Home
	Searching
	Denied
	Unknown
	Roaming
)

// Registered reports whether the network has taken the modem in.
func (r Registration) Registered() bool { return r == Home || r == Roaming }

// Observation is what is known of one modem, and of its neighbours, at one
// moment. The zero value is a modem that is not there.
type Observation struct {
	Now      time.Duration // boot clock
	Proof    time.Duration // boot clock of the newest proof of delivery on its link; 0 = never
	Present  bool          // on its bus
	AT       bool          // answers commands; a modem without a control port is always true
	SIM      SIM
	Reg      Registration
	Cause    int  // of the network's rejection (3GPP TS 24.301); 0 = none
	PDP      bool // has a context with an address
	RSRPdBm  int  // 0 = unknown
	HotC     int  // module temperature in °C; 0 = unknown
	Busy     bool // its control is occupied, as by a dial: what needs it waits
	Unserved bool // the service that owns its control does not run

	OtherCarries bool // another link has had proof lately
	OtherCycling bool // another modem is being reset or power-cycled
	AllWeak      bool // every modem lost its signal at once: a tunnel
	NoReceiver   bool // packets pass on its link, but no receiver answers there
	Stalled      bool // the receiver says itself that it can take nothing
	Moving       bool // the car is at speed
}

// State is where a modem stands on its way to data.
type State uint8

// States, in the order of the way up; the last ones are faults.
const (
	Absent State = iota
	Enumerated
	SIMWait
	Registering
	Attaching
	NetUp
	Verified
	Degraded // was verified, carries nothing now
	SIMFault
	Rejected
	Wedged
	Unserved // the service that owns its control does not run
	states
)

var stateNames = [states]string{"absent", "enumerated", "sim_wait", "registering", "attaching", "net_up", "verified", "degraded", "sim_fault", "denied", "wedged", "no_service"}

// States returns all states, in the order of their numbers: names are only
// appended to.
func States() []State {
	var out []State
	for s := range states {
		out = append(out, s)
	}
	return out
}

// String returns the state's name as logs and status show it.
func (s State) String() string { return stateNames[s] }

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	i := slices.Index(stateNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("ladder: no state is called %q", b)
	}
	*s = State(i)
	return nil
}

// Decision is what a step came to.
type Decision struct {
	State   State
	Act     bool   // do Rung now, then call Done
	Rung    Rung   // the rung to do, or the one whose proof is awaited
	Resting bool   // nothing will be tried until something outside changes
	Reason  string // why, for status and log
}

// Ladder is the recovery of one modem. It is not safe for concurrent use.
type Ladder struct {
	cfg      Config
	level    Rung          // the next rung to try
	proof    time.Duration // newest that was seen
	acting   bool          // between Act and Done
	acted    time.Duration // when the last action ended
	since    time.Duration // when the trouble began; 0 = none
	verified time.Duration // when proof began to flow without a break; 0 = it does not
	denied   time.Duration // when the network began to say no; 0 = it does not
	nobody   time.Duration // when the receiver began to be missing; 0 = it is not
	began    bool
	wasUp    bool
	credited bool                   // the last action's recovery is counted
	rounds   int                    // times that the climb began anew from the bottom without success
	acts     uint64                 // actions so far, for the jitter
	undo     func()                 // takes the last Act back; nil after Done
	used     [rungs][]time.Duration // times of actions within the last hour
	Stats    Stats
}

// Stats counts what a ladder did.
type Stats struct {
	Tried      [rungs]uint64 `json:"tried"`      // actions begun
	Helped     [rungs]uint64 `json:"helped"`     // recoveries after which proof flowed
	Suppressed uint64        `json:"suppressed"` // steps at which an action was due and held back
}

// New returns a ladder at its lowest rung.
func New(cfg Config) *Ladder { return &Ladder{cfg: cfg.withDefaults()} }

// saved is what outlives a restart: how much of each budget is spent.
type saved struct {
	Used map[string][]int64 `json:"used"` // rung → Unix seconds of its actions within the last hour
}

// Save returns the spent budgets, for Load after a restart. wall is the present
// wall-clock time, now the boot clock.
func (l *Ladder) Save(wall time.Time, now time.Duration) ([]byte, error) {
	s := saved{Used: map[string][]int64{}}
	for r := range rungs {
		for _, t := range l.recent(r, now) {
			s.Used[r.String()] = append(s.Used[r.String()], wall.Add(t-now).Unix())
		}
	}
	return json.Marshal(s)
}

// Load takes over budgets saved before a restart. A clock that was set back
// makes actions look like future ones: they count as done now.
func (l *Ladder) Load(b []byte, wall time.Time, now time.Duration) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("ladder: saved budgets: %w", err)
	}
	for r := range rungs {
		l.used[r] = nil
		for _, u := range s.Used[r.String()] {
			ago := max(wall.Sub(time.Unix(u, 0)), 0)
			if ago < budgetWindow && len(l.used[r]) < 64 {
				l.used[r] = append(l.used[r], now-ago)
			}
		}
	}
	return nil
}
