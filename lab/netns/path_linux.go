package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/link"
)

// Path is one link of a testbed: a device in the car, one at the far end, and
// the model of each direction between them.
type Path struct {
	bed    *Testbed
	index  int
	device string
	far    *tun

	change sync.Mutex // one change at a time: devices, addresses and routes
	unread int64      // guarded by change: of devices that were unplugged

	// guarded by bed.mu
	near     *tun // nil while unplugged; changed under change as well
	up, down direction
	addr     netip.Addr
	state    link.State
}

// direction is a model with what the carrier itself counts.
type direction struct {
	dir   *link.Direction
	stray int64 // packets that are not from or for the link's address
	err   int64 // packets that the kernel did not take
}

// Errors of changes to a path.
var (
	ErrAddress   = errors.New("netns: not an address of this link")
	ErrUnplugged = errors.New("netns: the modem is unplugged")
)

// Device returns the name of the device in the car.
func (p *Path) Device() string { return p.device }

// network returns the addresses that the car may have on this link.
func (p *Path) network() netip.Prefix {
	a := p.bed.net.Addr().As4()
	a[2] += byte(1 + p.index)
	return netip.PrefixFrom(netip.AddrFrom4(a), 24)
}

// attach gives the car's device its address and a default route, which sockets
// bound to the device leave by; others take the first link that is not Down.
func (p *Path) attach(n *netlink) error {
	if err := n.address(p.near.index, p.addr, true); err != nil {
		return err
	}
	return n.route(p.near.index, netip.PrefixFrom(netip.IPv4Unspecified(), 0), carMetric+uint32(p.index))
}

// Addr returns the car's present address on this link.
func (p *Path) Addr() netip.Addr {
	p.bed.mu.Lock()
	defer p.bed.mu.Unlock()
	return p.addr
}

// State returns what the link does.
func (p *Path) State() link.State {
	p.bed.mu.Lock()
	defer p.bed.mu.Unlock()
	return p.state
}

// Set changes what both directions do from now on. Down also takes the car's
// device down, and its route with it; any other state brings it up again.
func (p *Path) Set(s link.State) error {
	p.change.Lock()
	defer p.change.Unlock()
	if p.near == nil {
		return fmt.Errorf("%w: %s", ErrUnplugged, p.device)
	}
	return p.set(s)
}

func (p *Path) set(s link.State) error {
	was := p.State()
	if s != link.Down && was == link.Down {
		if err := p.ifUp(); err != nil {
			return err
		}
	}
	p.bed.mu.Lock()
	now := p.bed.now()
	p.up.dir.Set(now, s)
	p.down.dir.Set(now, s)
	p.state = s
	p.bed.mu.Unlock()
	if s == link.Down && was != link.Down {
		if err := p.inCar(func(n *netlink) error { return n.setUp(p.near.index, false) }); err != nil {
			return fmt.Errorf("netns: take %s down: %w", p.device, err)
		}
	}
	return p.bed.wake()
}

func (p *Path) ifUp() error {
	err := p.inCar(func(n *netlink) error {
		if err := n.setUp(p.near.index, true); err != nil {
			return err
		}
		return p.attach(n)
	})
	if err != nil {
		return fmt.Errorf("netns: bring %s up: %w", p.device, err)
	}
	return nil
}

func (p *Path) inCar(fn func(*netlink) error) error {
	return p.bed.Car.Do(func() error { return withNetlink(fn) })
}

// Readdress gives the car another address on this link, as a network does when a
// modem attaches anew: the old one vanishes, what is on its way is lost, and
// connections made from it die without a word. The zero address means the next
// free one.
func (p *Path) Readdress(to netip.Addr) (netip.Addr, error) {
	p.change.Lock()
	defer p.change.Unlock()
	old, state := p.Addr(), p.State()
	if !to.IsValid() {
		if to = old.Next(); !p.mayHave(to.Next()) {
			to = p.network().Addr().Next()
		}
	}
	if !p.mayHave(to) || to == old {
		return old, fmt.Errorf("%w: %v, now %v of %v", ErrAddress, to, old, p.network())
	}
	p.bed.mu.Lock()
	now := p.bed.now()
	p.up.dir.Readdress(now)
	p.down.dir.Readdress(now)
	p.addr = to
	p.bed.mu.Unlock()
	if p.near == nil { // it gets the address when it is plugged in
		return to, nil
	}
	err := p.inCar(func(n *netlink) error {
		// The last address takes the device's routes with it.
		if err := n.address(p.near.index, old, false); err != nil {
			return err
		}
		if state == link.Down { // it gets the address with the route when it comes up
			return nil
		}
		return p.attach(n)
	})
	if err != nil {
		return to, fmt.Errorf("netns: address of %s from %v to %v: %w", p.device, old, to, err)
	}
	return to, p.bed.wake()
}

// mayHave keeps the network's first and last address out.
func (p *Path) mayHave(a netip.Addr) bool {
	net := p.network()
	return net.Contains(a) && a != net.Addr() && net.Contains(a.Next())
}

// Counters returns what the link did until now.
func (p *Path) Counters() (Counters, error) {
	p.change.Lock()
	defer p.change.Unlock()
	c := Counters{Device: p.device, Unread: p.unread}
	for _, count := range []func() (int64, error){p.unreadNear, func() (int64, error) { return unread(p.bed.Far, p.far) }} {
		n, err := count()
		if err != nil {
			return c, fmt.Errorf("netns: counters of %s: %w", p.device, err)
		}
		c.Unread += n
	}
	p.bed.mu.Lock()
	defer p.bed.mu.Unlock()
	now := p.bed.now()
	c.At = time.Duration(now)
	c.Up, c.Down = p.up.dir.Counters(now), p.down.dir.Counters(now)
	c.Stray = p.up.stray + p.down.stray
	c.Failed = p.up.err + p.down.err
	return c, nil
}

// Model returns what the model of the direction from the car did until now, and
// when that was: cheap enough to be asked a hundred times a second.
func (p *Path) Model() (at time.Duration, up link.Counters) {
	p.bed.mu.Lock()
	defer p.bed.mu.Unlock()
	now := p.bed.now()
	return time.Duration(now), p.up.dir.Counters(now)
}

func (p *Path) unreadNear() (int64, error) {
	if p.near == nil {
		return 0, nil
	}
	return unread(p.bed.Car, p.near)
}

// unread returns how many packets the kernel dropped before the carrier read
// them.
func unread(s *Space, dev *tun) (lost int64, err error) {
	err = s.Do(func() error {
		return withNetlink(func(n *netlink) (err error) { lost, err = n.txDropped(dev.index); return err })
	})
	return lost, err
}

// wake makes the carrier look at its links again.
func (t *Testbed) wake() error {
	if _, err := unix.Write(t.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("netns: wake the carrier: %w", err)
	}
	return nil
}
