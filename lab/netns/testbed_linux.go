package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/link"
)

// Addresses come from 198.18.0.0/15, which RFC 2544 keeps for benchmarks. A
// testbed takes a /20 of it: the first /24 has the far end's address, each link
// the next one.
const (
	testbeds  = 32
	perBed    = 16 // networks of 256 addresses
	carMetric = 100
)

// Testbed is a car behind bad links. It is safe for concurrent use.
type Testbed struct {
	Car *Space // has the devices of the links and nothing else
	Far *Space // has the address that the car reaches over every link

	far   netip.Addr
	net   netip.Prefix // of all links
	links []*Path
	event int       // descriptor that wakes the carrier
	start time.Time // of the carrier's clock

	// guarded by mu, which the carrier holds for one round at a time, in which it
	// reads and writes packets without waiting: so the paths' guarded fields
	mu   sync.Mutex
	late link.Lateness
	cpu  time.Duration
}

// New makes namespaces, devices, addresses and routes. Nothing is carried until
// Run.
func New(cfg Config) (*Testbed, error) {
	if err := errors.Join(cfg.Validate(), Available()); err != nil {
		return nil, err
	}
	t := &Testbed{Far: ourSpace(), event: -1, start: time.Now()}
	if err := t.build(cfg); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Testbed) build(cfg Config) (err error) {
	if t.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("netns: eventfd: %w", err)
	}
	if t.Car, err = NewSpace(); err != nil {
		return err
	}
	if cfg.FarSpace {
		if t.Far, err = NewSpace(); err != nil {
			return err
		}
	}
	for i, l := range cfg.Links {
		p := &Path{bed: t, index: i, device: l.Device}
		p.up.dir = link.NewDirection(l.Up, cfg.Seed+2*uint64(i))
		p.down.dir = link.NewDirection(l.Down, cfg.Seed+2*uint64(i)+1)
		t.links = append(t.links, p)
		if err := t.Far.Do(func() (err error) { p.far, err = openTUN("bed%d"); return err }); err != nil {
			return err
		}
		if err := t.Car.Do(func() (err error) { p.near, err = openTUN(l.Device); return err }); err != nil {
			return err
		}
	}
	if err := t.Far.Do(t.claim); err != nil {
		return err
	}
	for _, p := range t.links {
		p.addr = p.network().Addr().Next()
		if err := t.Car.Do(func() error { return withNetlink(p.attach) }); err != nil {
			return fmt.Errorf("netns: address of %s: %w", p.device, err)
		}
	}
	return nil
}

// claim takes a range of addresses that nobody uses and routes it to the far
// ends. The routes are what keeps two testbeds apart.
func (t *Testbed) claim() error {
	first := rand.IntN(testbeds)
	for i := range testbeds {
		n := (first + i) % testbeds * perBed
		t.net = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(n>>8), byte(n), 0}), 20)
		t.far = t.net.Addr().Next()
		taken, err := inUse(t.net)
		if err != nil {
			return err
		}
		if taken {
			continue
		}
		err = withNetlink(t.routeFar)
		if err == nil || !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return fmt.Errorf("netns: all %d address ranges of 198.18.0.0/15 are in use", testbeds)
}

// routeFar gives every far device its route and the far end's address. Another
// testbed may have been faster with the first route: EEXIST.
func (t *Testbed) routeFar(n *netlink) error {
	for _, p := range t.links {
		if err := n.route(p.far.index, p.network(), 0); err != nil {
			return fmt.Errorf("netns: route to %v: %w", p.network(), err)
		}
	}
	for _, p := range t.links {
		if err := n.address(p.far.index, t.far, true); err != nil {
			return fmt.Errorf("netns: far end's address: %w", err)
		}
	}
	return nil
}

func inUse(p netip.Prefix) (bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("netns: addresses in use: %w", err)
	}
	for _, a := range addrs {
		if q, err := netip.ParsePrefix(a.String()); err == nil && q.Overlaps(p) {
			return true, nil
		}
	}
	return false, nil
}

// FarAddr returns the address at which the car reaches Far over every link.
func (t *Testbed) FarAddr() netip.Addr { return t.far }

// Paths returns the links in the configuration's order.
func (t *Testbed) Paths() []*Path { return t.links }

// Close removes all that New made and kills the children of its namespaces. Run
// must have returned.
func (t *Testbed) Close() error {
	var errs []error
	for _, s := range []*Space{t.Car, t.Far} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	for _, p := range t.links {
		for _, d := range []*tun{p.near, p.far} {
			if d != nil {
				errs = append(errs, d.close())
			}
		}
	}
	t.links = nil
	if t.event >= 0 {
		errs = append(errs, unix.Close(t.event))
		t.event = -1
	}
	return errors.Join(errs...)
}
