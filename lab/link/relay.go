package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// State is what a relay does with its connections.
type State int

// States.
const (
	Up     State = iota // bytes flow as the specs say
	Silent              // connections stay, nothing moves in either direction
	Down                // connections are reset, new ones are refused
)

// String returns the state's name.
func (s State) String() string { return [...]string{"up", "silent", "down"}[s] }

// Relay carries TCP connections to one target through a bad link. It is safe
// for concurrent use.
type Relay struct {
	ln     net.Listener
	target string
	up     *shared
	down   *shared

	mu      sync.Mutex
	state   State             // guarded by mu
	changed chan struct{}     // guarded by mu: closed at every change of state
	conns   map[net.Conn]bool // guarded by mu
}

// shared is one direction that all connections of a relay pass through.
type shared struct {
	mu    sync.Mutex
	dir   *Direction // guarded by mu
	bytes atomic.Int64
}

// chunk bounds one read: small enough that a slow link still trickles.
const chunk = 1448

// NewRelay listens on an own loopback port and relays to target. Nothing flows
// until Run. up is from the connecting side to the target.
func NewRelay(target string, up, down Spec, seed uint64) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("link: listen: %w", err)
	}
	return &Relay{
		ln: ln, target: target,
		up:      &shared{dir: NewDirection(up, seed)},
		down:    &shared{dir: NewDirection(down, seed+1)},
		changed: make(chan struct{}),
		conns:   map[net.Conn]bool{},
	}, nil
}

// Addr returns host:port of the relay's near end.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Carried returns the bytes that came out so far, towards the target and back.
func (r *Relay) Carried() (up, down int64) { return r.up.bytes.Load(), r.down.bytes.Load() }

// State returns what the relay does now.
func (r *Relay) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Set changes what the relay does, at once. Bytes on their way stay there while
// it is Silent, and are gone when it is Down.
func (r *Relay) Set(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = s
	close(r.changed)
	r.changed = make(chan struct{})
	if s == Down {
		for c := range r.conns {
			reset(c)
		}
	}
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
	for {
		c, err := r.ln.Accept()
		if err != nil {
			cancel()
			if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("link: accept: %w", err)
		}
		if r.State() == Down {
			reset(c)
			continue
		}
		wg.Go(func() { r.carry(ctx, c) })
	}
}

// reset closes a connection without a farewell, as a lost bearer does.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

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
	var wg sync.WaitGroup
	wg.Go(func() { defer cancel(); r.pump(ctx, far, near, r.up) })
	wg.Go(func() { defer cancel(); r.pump(ctx, near, far, r.down) })
	wg.Wait()
}

// register notes a connection so that Set(Down) reaches it; it refuses one that
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

// parcel is a run of bytes with the time at which it comes out.
type parcel struct {
	b   []byte
	out int64
}

// pump moves bytes from src to dst through s. The channel's length is the
// link's queue: a full one holds the sender back, as a modem's does.
func (r *Relay) pump(ctx context.Context, dst, src net.Conn, s *shared) {
	s.mu.Lock()
	depth := max(1, s.dir.Spec().Queue/chunk)
	s.mu.Unlock()
	queue := make(chan parcel, depth)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, chunk)
			n, err := src.Read(b)
			if n > 0 {
				s.mu.Lock()
				out := s.dir.Take(time.Now().UnixNano(), n)
				s.mu.Unlock()
				select {
				case queue <- parcel{b[:n], out}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range queue {
		if !r.wait(ctx, p.out) {
			break
		}
		s.bytes.Add(int64(len(p.b)))
		if _, err := dst.Write(p.b); err != nil {
			break
		}
	}
	_ = src.Close()   // ends the reader
	for range queue { // drain, so that the reader ends
	}
	wg.Wait()
}

// wait returns true at the time out, or later when the relay was silent then.
func (r *Relay) wait(ctx context.Context, out int64) bool {
	t := time.NewTimer(time.Until(time.Unix(0, out)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	for {
		r.mu.Lock()
		state, changed := r.state, r.changed
		r.mu.Unlock()
		switch state {
		case Up:
			return true
		case Down:
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
