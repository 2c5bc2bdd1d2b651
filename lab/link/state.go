package link

import "fmt"

// State is what a link does with the packets given to it.
type State int

// States. A stream relay cannot lose bytes: see [Relay.Set] for what it makes of
// those that lose packets.
const (
	Up     State = iota // packets flow as the specs say
	Silent              // a black hole: the interface stays up; what waits, flies or comes is lost
	Down                // no interface: as Silent, and the near end sees it
	Hold                // nothing leaves the queue; what waits is released later, what flies arrives
	Drop                // radio link failure: the queue is flushed and nothing enters it; what flies arrives
)

var stateNames = [...]string{"up", "silent", "down", "hold", "drop"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// ParseState is the reverse of String.
func ParseState(name string) (State, error) {
	for i, n := range stateNames {
		if n == name {
			return State(i), nil
		}
	}
	return 0, fmt.Errorf("link: state %q, want one of %v", name, stateNames)
}

// Cause says why a packet was lost; the zero value is that it was not.
type Cause int

// Causes. The first five are states or limits of the spec.
const (
	Kept          Cause = iota
	LostQueue           // the queue was full: tail drop
	LostRandom          // Spec.Loss
	LostWait            // waited longer than Spec.MaxWait
	LostSilent          // a black hole
	LostDrop            // radio link failure
	LostDown            // no interface
	LostReaddress       // on its way when the address changed
)

var causeNames = [...]string{"kept", "queue", "random", "wait", "silent", "drop", "down", "readdress"}

// String returns the cause's name.
func (c Cause) String() string { return causeNames[c] }

// stateCause is why a packet is lost that comes in a state which takes none.
func stateCause(s State) Cause {
	switch s {
	case Silent:
		return LostSilent
	case Drop:
		return LostDrop
	case Down:
		return LostDown
	default:
		return Kept
	}
}

// Drops counts lost packets by cause.
type Drops struct {
	Queue     int64 `json:"queue"`
	Random    int64 `json:"random"`
	Wait      int64 `json:"wait"`
	Silent    int64 `json:"silent"`
	Drop      int64 `json:"drop"`
	Down      int64 `json:"down"`
	Readdress int64 `json:"readdress"`
}

func (d *Drops) add(c Cause, n int64) {
	switch c {
	case LostQueue:
		d.Queue += n
	case LostRandom:
		d.Random += n
	case LostWait:
		d.Wait += n
	case LostSilent:
		d.Silent += n
	case LostDrop:
		d.Drop += n
	case LostDown:
		d.Down += n
	case LostReaddress:
		d.Readdress += n
	case Kept:
	}
}

// Total returns the packets lost for any cause.
func (d Drops) Total() int64 {
	return d.Queue + d.Random + d.Wait + d.Silent + d.Drop + d.Down + d.Readdress
}

// Counters are what one direction did since its begin. In = Out + Dropped.Total
// + Inside, always.
type Counters struct {
	InPackets     int64 `json:"in_packets"`
	InBytes       int64 `json:"in_bytes"`
	OutPackets    int64 `json:"out_packets"`
	OutBytes      int64 `json:"out_bytes"`
	Inside        int64 `json:"inside"`         // packets that wait or fly now
	CapacityBytes int64 `json:"capacity_bytes"` // what could have left while the link was Up; 0 without a rate
	MaxWaitNS     int64 `json:"max_wait_ns"`    // longest stay in the queue, of packets that left it
	Dropped       Drops `json:"dropped"`
}
