package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pauses of a listener that the system gives no connection, and how often that is
// logged.
const (
	acceptPauseLeast = 5 * time.Millisecond
	acceptPauseMost  = time.Second
	acceptSaidEvery  = 10 * time.Second
)

// patient is a listener that no error but its own end stops: without free file
// descriptors or memory it waits for some.
type patient struct {
	net.Listener
	log      *slog.Logger
	accepted atomic.Uint64
	failed   atomic.Uint64
	done     chan struct{} // closed by Close
	end      sync.Once

	mu  sync.Mutex
	err error // guarded by mu; of the last try
}

func newPatient(l net.Listener, log *slog.Logger) *patient {
	return &patient{Listener: l, log: log, done: make(chan struct{})}
}

// Accept waits for a connection. One goroutine calls it.
func (p *patient) Accept() (net.Conn, error) {
	var pause time.Duration
	var said time.Time
	for {
		c, err := p.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		p.set(err)
		if err == nil {
			p.accepted.Add(1)
			if pause > 0 {
				p.log.Info("connections are accepted again")
			}
			return c, nil
		}
		p.failed.Add(1)
		if now := time.Now(); now.Sub(said) >= acceptSaidEvery {
			said = now
			p.log.Error("no connection of a car can be accepted, will retry (are there too few file descriptors for this process?)", "error", err)
		}
		pause = min(max(2*pause, acceptPauseLeast), acceptPauseMost)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.done:
			t.Stop()
			return nil, net.ErrClosed
		}
	}
}

func (p *patient) set(err error) {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
}

func (p *patient) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("embedded: no connection can be accepted: %w", p.err)
	}
	return nil
}

// Close ends Accept.
func (p *patient) Close() error {
	p.end.Do(func() { close(p.done) })
	return p.Listener.Close()
}

// places are what connections take that may stay.
type places struct {
	max, perCar int

	mu         sync.Mutex
	open       int            // guarded by mu
	of         map[string]int // guarded by mu; by car
	turnedAway uint64         // guarded by mu
}

// take takes a place for a connection of a car, "" when that is not known; it is
// given back when the connection closes.
func (p *places) take(c *counted, car string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.max || car != "" && p.of[car] >= p.perCar {
		p.turnedAway++
		return false
	}
	p.open++
	p.of[car]++
	return c.atEnd(func() { p.give(car) })
}

func (p *places) give(car string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if p.of[car]--; p.of[car] == 0 {
		delete(p.of, car)
	}
}

func (p *places) counts() (open int, turnedAway uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.turnedAway
}

// limited is a listener whose connections all take places.
type limited struct {
	*patient
	places *places
}

// Accept waits for a connection for which there is room.
func (l *limited) Accept() (net.Conn, error) {
	for {
		raw, err := l.patient.Accept()
		if err != nil {
			return nil, err
		}
		c := &counted{Conn: raw}
		if l.places.take(c, "") {
			return c, nil
		}
		_ = c.Close() // nothing was promised to it
	}
}

// counted is a connection that gives its places back when it closes.
type counted struct {
	net.Conn

	mu     sync.Mutex
	closed bool     // guarded by mu
	after  []func() // guarded by mu
}

// atEnd has f called when the connection closes; it is false, and f is called at
// once, when it has closed.
func (c *counted) atEnd(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.after = append(c.after, f)
		return true
	}
	go f() // the caller holds what f needs
	return false
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.mu.Lock()
	after := c.after
	c.closed, c.after = true, nil
	c.mu.Unlock()
	for _, f := range after {
		f()
	}
	return c.Conn.Close()
}

// crowd holds the connections that have proved nothing yet. A new one always gets
// in; where there is no room, the oldest goes, since whoever has something to
// prove does so soon: that of the same address if it has too many, else that of
// the network, and in it of the address, which has most. Those that have a fair
// share at most count as equal: of them the oldest of all goes, however many they
// are. So strangers are in their own way before they are in that of cars elsewhere.
type crowd struct {
	max, perAddress int

	mu     sync.Mutex
	in     []stranger         // guarded by mu; oldest first
	hosts  map[netip.Addr]int // guarded by mu: how many are in, by address
	nets   map[netip.Addr]int // guarded by mu: by network
	driven uint64             // guarded by mu: ended for newer ones
}

// stranger is a connection in a crowd.
type stranger struct {
	c         *counted
	host, net netip.Addr
}

// fairParts of all places are what an address or a network may take before it
// counts as a crowd of its own: cars behind one address of their carrier.
const fairParts = 64

func newCrowd(most, perAddress int) crowd {
	return crowd{max: most, perAddress: perAddress, hosts: map[netip.Addr]int{}, nets: map[netip.Addr]int{}}
}

// enter lets a connection in; the one that it returns must be closed.
func (w *crowd) enter(c *counted) (oldest *counted) {
	host := address(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := stranger{c, host, network(host)}
	w.in = append(w.in, s)
	w.hosts[s.host]++
	w.nets[s.net]++
	i := 0
	switch {
	case w.hosts[host] > w.perAddress:
		i = slices.IndexFunc(w.in, func(o stranger) bool { return o.host == host })
	case len(w.in) > w.max:
		i = w.oldestOfMost()
	default:
		return nil
	}
	oldest = w.in[i].c
	w.remove(i)
	w.driven++
	return oldest
}

// oldestOfMost returns the place of who goes when all are taken; the caller holds
// mu.
func (w *crowd) oldestOfMost() (place int) {
	fair := max(1, w.max/fairParts)
	most, mostHost := fair, fair
	for _, n := range w.nets {
		most = max(most, n)
	}
	greatest := func(s stranger) bool { return most == fair || w.nets[s.net] == most }
	for _, s := range w.in {
		if greatest(s) {
			mostHost = max(mostHost, w.hosts[s.host])
		}
	}
	return slices.IndexFunc(w.in, func(s stranger) bool { return greatest(s) && (mostHost == fair || w.hosts[s.host] == mostHost) })
}

// leave lets a connection out; it is false when it had to go before.
func (w *crowd) leave(c *counted) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.in, func(s stranger) bool { return s.c == c })
	if i < 0 {
		return false
	}
	w.remove(i)
	return true
}

// remove takes one out; the caller holds mu.
func (w *crowd) remove(i int) {
	s := w.in[i]
	w.in = slices.Delete(w.in, i, i+1)
	if w.hosts[s.host]--; w.hosts[s.host] == 0 {
		delete(w.hosts, s.host)
	}
	if w.nets[s.net]--; w.nets[s.net] == 0 {
		delete(w.nets, s.net)
	}
}

// all returns who is in.
func (w *crowd) all() (list []*counted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.in {
		list = append(list, s.c)
	}
	return list
}

func (w *crowd) counts() (n int, driven uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.in), w.driven
}

// address is a connection's remote one; of IPv6 the network, of which one host
// has all.
func address(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	a := at.Addr().Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// network is what one customer may have of IPv6, 65,536 of [address]'s; of IPv4
// the address itself.
func network(host netip.Addr) netip.Addr {
	if host.Is6() {
		if p, err := host.Prefix(48); err == nil {
			return p.Addr()
		}
	}
	return host
}
