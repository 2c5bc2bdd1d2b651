package external

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/receiver/ingest"
)

// Broker is one client of an external broker. Its methods are safe for
// concurrent use.
type Broker struct {
	cfg      Config
	hostPort string
	secure   bool

	out       chan message  // to the session's writer
	connected atomic.Bool   // a writer reads out
	want      atomic.Bool   // the instance takes its share
	changed   chan struct{} // capacity 1: want has changed
	cars      presence
	ran       atomic.Bool
	n         counts

	mu      sync.Mutex
	state   State     // guarded by mu
	since   time.Time // guarded by mu: of the state
	fault   error     // guarded by mu: why there is no connection, or what it lacks
	sharing bool      // guarded by mu: a member of the group
}

// message is one PUBLISH on its way out.
type message struct {
	topic   string
	payload []byte
}

var (
	_ ingest.Broker = (*Broker)(nil)
	_ ingest.Sharer = (*Broker)(nil)
)

// New returns a broker that has not dialled yet. The error reports every fault
// of cfg.
func New(cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, out: make(chan message, outboundQueue), changed: make(chan struct{}, 1),
		cars: presence{cars: map[string]*seen{}}, state: StateConnecting, since: time.Now(),
	}
	b.hostPort, b.secure, err = parseAddress(cfg.Address)
	b.want.Store(true)
	return b, err
}

// Run implements [ingest.Broker]: it connects, serves, and connects again until
// ctx ends; no fault of the broker ends it. It can run once.
func (b *Broker) Run(ctx context.Context, h ingest.Handler) error {
	if b.ran.Swap(true) {
		return errors.New("external: broker cannot run twice")
	}
	defer b.enter(StateStopped, nil)
	wait := firstWait
	for ctx.Err() == nil {
		b.enter(StateConnecting, nil)
		began := time.Now()
		err := b.once(ctx, h)
		if ctx.Err() != nil {
			break
		}
		limit, refused := lostWait, b.failed(err)
		if refused {
			limit = refusedWait
		}
		if time.Since(began) > limit {
			wait = firstWait // it had worked for a while
		}
		pause := wait/2 + rand.N(wait/2)
		wait = min(2*wait, limit)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// once makes one connection and serves it to its end.
func (b *Broker) once(ctx context.Context, h ingest.Handler) error {
	s, err := b.open(ctx, h)
	if err != nil {
		return err
	}
	b.n.connections.Add(1)
	b.enter(StateConnected, nil)
	b.cfg.Log.Info("connected to the mqtt broker", "address", b.cfg.Address, "group", b.cfg.Group, "client_id", b.cfg.ClientID)
	return s.serve(ctx)
}

// failed counts and tells the end of a connection or of a try, once for each
// reason, and reports whether trying again soon is pointless.
func (b *Broker) failed(err error) (refused bool) {
	var f *Fault
	refused = errors.As(err, &f) && f.Refused
	switch {
	case refused:
		b.n.refused.Add(1)
	case f != nil && f.Step == "serve":
		b.n.lost.Add(1)
	default:
		b.n.failed.Add(1)
	}
	b.mu.Lock()
	known := b.fault != nil && b.fault.Error() == err.Error()
	b.mu.Unlock()
	b.enter(StateWaiting, err)
	if known {
		b.cfg.Log.Debug("mqtt broker still not usable, trying again", "error", err)
	} else {
		b.cfg.Log.Warn("mqtt broker not usable, trying again; the cars keep their data", "error", err)
	}
	return refused
}

// enter notes a state. While it dials again, the last fault stays to be seen.
func (b *Broker) enter(s State, fault error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s != b.state {
		b.state, b.since = s, time.Now()
	}
	if fault != nil || s == StateConnected {
		b.fault = fault
	}
	if s != StateConnected {
		b.sharing = false
	}
}

// Publish implements [ingest.Broker]: without a connection, or when the socket
// is behind, messages are dropped and counted, the oldest first.
func (b *Broker) Publish(topic string, payload []byte) error {
	m := message{topic, payload}
	for b.connected.Load() {
		select {
		case b.out <- m:
			return nil
		default:
		}
		select {
		case <-b.out:
			b.n.dropped.Add(1)
		default:
		}
	}
	b.n.dropped.Add(1)
	return nil
}

// Share implements [ingest.Sharer].
func (b *Broker) Share(take bool) {
	if b.want.Swap(take) == take {
		return
	}
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
