package external

import (
	"sync/atomic"
	"time"
)

// State is what a broker's client is doing.
type State string

// States.
const (
	StateConnecting State = "connecting"
	StateConnected  State = "connected"
	StateWaiting    State = "waiting" // to try again
	StateStopped    State = "stopped"
)

// Counters counts events since the start.
type Counters struct {
	Connections uint64 `json:"connections"` // established, with all subscriptions
	Lost        uint64 `json:"lost"`        // of them, ended by the broker or the way
	Failed      uint64 `json:"failed"`      // tries that found no working broker
	Refused     uint64 `json:"refused"`     // tries and connections that the broker said no to
	Messages    uint64 `json:"messages"`    // heard
	Retained    uint64 `json:"retained"`    // of them, ignored: kept by the broker from another time
	Sent        uint64 `json:"sent"`        // acks and commands
	Dropped     uint64 `json:"dropped"`     // acks and commands without a connection or room
	TooLarge    uint64 `json:"too_large"`   // acks and commands above the broker's packet limit
	Denied      uint64 `json:"denied"`      // topics of cars that the broker does not let us write to
}

type counts struct {
	connections, lost, failed, refused, messages, retained, sent, dropped, tooLarge, denied atomic.Uint64
}

// Status is a broker's client at one time.
type Status struct {
	State    State    `json:"state"`
	SinceMS  int64    `json:"since_ms"` // how long it has been in this state
	Address  string   `json:"address"`
	Group    string   `json:"group"`
	ClientID string   `json:"client_id"`
	Sharing  bool     `json:"sharing"`         // it gets its share of the cars' batches
	Error    string   `json:"error,omitempty"` // why it is not connected, or what its connection lacks, and the remedy
	Cars     int      `json:"cars"`            // heard lately
	Counters Counters `json:"counters"`
}

// Status returns the present state.
func (b *Broker) Status() Status {
	b.mu.Lock()
	s := Status{
		State: b.state, SinceMS: time.Since(b.since).Milliseconds(),
		Address: b.cfg.Address, Group: b.cfg.Group, ClientID: b.cfg.ClientID, Sharing: b.sharing,
	}
	if b.fault != nil {
		s.Error = b.fault.Error()
	}
	b.mu.Unlock()
	s.Cars = b.cars.count()
	n := &b.n
	s.Counters = Counters{
		Connections: n.connections.Load(), Lost: n.lost.Load(), Failed: n.failed.Load(), Refused: n.refused.Load(),
		Messages: n.messages.Load(), Retained: n.retained.Load(), Sent: n.sent.Load(), Dropped: n.dropped.Load(),
		TooLarge: n.tooLarge.Load(), Denied: n.denied.Load(),
	}
	return s
}

func (b *Broker) share(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sharing = is
}
