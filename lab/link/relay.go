package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Relay carries TCP connections to one target through a bad link. It is safe
// for concurrent use.
//
// A relay sits above TCP, so it cannot lose bytes: it plays the TCP below it.
// What the model loses at random it offers again one round trip later, with all
// that follows waiting; a full queue holds the sender back. Spec.MaxWait has no
// meaning for it.
type Relay struct {
	ln       net.Listener
	target   string
	up, down *lane

	mu      sync.Mutex
	state   State             // guarded by mu
	changed chan struct{}     // guarded by mu: closed at every change of state
	conns   map[net.Conn]bool // guarded by mu
	pairs   map[*pair]bool    // guarded by mu: those of the present address
	flows   uint64            // guarded by mu: numbers given
}

// pair is one connection from the near end with its own to the target.
type pair struct {
	near, far net.Conn
	gone      chan struct{} // closed when the address they were made from is no more
}

// NewRelay listens on an own loopback port and relays to target. Nothing flows
// until Run. up is from the connecting side to the target.
func NewRelay(target string, up, down Spec, seed uint64) (*Relay, error) {
	if err := errors.Join(up.Validate(), down.Validate()); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link: listen: %w", err)
	}
	trip := max(up.Delay+down.Delay, minRoundTrip)
	return &Relay{
		ln: ln, target: target,
		up:      newLane(up, seed, trip),
		down:    newLane(down, seed+1, trip),
		changed: make(chan struct{}),
		conns:   map[net.Conn]bool{},
		pairs:   map[*pair]bool{},
	}, nil
}

// minRoundTrip bounds how soon lost bytes are offered again.
const minRoundTrip = 10 * time.Millisecond

// Addr returns host:port of the relay's near end.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Carried returns the bytes that came out so far, towards the target and back.
func (r *Relay) Carried() (up, down int64) { return r.up.bytes.Load(), r.down.bytes.Load() }

// Counters returns what the model of each direction did.
func (r *Relay) Counters() (up, down Counters) { return r.up.counters(), r.down.counters() }

// Lateness returns how late bytes came out of both directions, apart from those
// that a state kept.
func (r *Relay) Lateness() (up, down Lateness) { return r.up.lateness(), r.down.lateness() }

// State returns what the relay does now.
func (r *Relay) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Set changes what the relay does, at once. Bytes on their way stay there while
// it is Silent or in Drop, and are gone when it is Down: then connections are
// reset and new ones refused. On Hold the queue stands, and what flies arrives.
func (r *Relay) Set(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = s
	r.up.set(s)
	r.down.set(s)
	close(r.changed)
	r.changed = make(chan struct{})
	if s == Down {
		for c := range r.conns {
			reset(c)
		}
	}
}

// Readdress gives the near end another address: what is on its way is lost, and
// present connections stay open at both ends but carry nothing any more.
func (r *Relay) Readdress() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		close(p.gone)
		delete(r.pairs, p)
	}
	r.up.readdress()
	r.down.readdress()
}

// Run accepts connections until ctx ends; all of them are closed when it
// returns.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = r.ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.up.run(ctx) })   // ends with ctx
	wg.Go(func() { r.down.run(ctx) }) // ends with ctx
	for {
		c, err := r.ln.Accept()
		if err != nil {
			wasAsked := ctx.Err() != nil
			cancel()
			if wasAsked && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("link: accept: %w", err)
		}
		wg.Go(func() { r.carry(ctx, c) }) // ends with ctx or its connection
	}
}

// reset closes a connection without a farewell, as a lost bearer does.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// carry carries one connection until it or ctx ends.
func (r *Relay) carry(ctx context.Context, near net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !r.register(near) {
		return
	}
	defer r.forget(near)
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.target)
	if err != nil || !r.register(far) {
		return
	}
	defer r.forget(far)
	stop := context.AfterFunc(ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})
	defer stop()
	p := &pair{near: near, far: far, gone: make(chan struct{})}
	id := r.join(p)
	defer r.leave(p)
	up, down := r.up.open(id, far, near), r.down.open(id, near, far)
	defer r.up.shut(id)
	defer r.down.shut(id)
	var wg sync.WaitGroup
	for _, f := range []*flow{up, down} {
		wg.Go(func() { f.read(ctx, r, p.gone, cancel) }) // ends with its connection
		wg.Go(func() { f.write(ctx, p.gone, cancel) })   // ends with the reader or ctx
	}
	wg.Wait()
}

func (r *Relay) join(p *pair) (id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs[p] = true
	r.flows++
	return r.flows
}

func (r *Relay) leave(p *pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, p)
}

// register notes a connection so that Set(Down) reaches it; it resets one that
// comes while the relay is down.
func (r *Relay) register(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == Down {
		reset(c)
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Relay) forget(c net.Conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	_ = c.Close()
}

// change returns a channel that is closed at the next change of state.
func (r *Relay) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
