package modem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Times of one connection attempt.
const (
	// dialTimeout bounds one attempt: a link is redialled with back-off by its
	// owner, so a long wait only hides a dead path.
	dialTimeout = 5 * time.Second
	// stagger is the head start of an address before the next is tried beside it
	// (RFC 8305, connection attempt delay).
	stagger = 250 * time.Millisecond
	// lookupTry bounds one look-up: a query that is lost is asked again after it.
	lookupTry = 1500 * time.Millisecond
	// lookupPatience is how long a look-up is waited for whose last good answer is
	// known: the name server may be black-holed while the receiver is not.
	lookupPatience = 400 * time.Millisecond
)

// Dial connects over this interface: the socket is bound to the device, and
// names are resolved over it too. When a look-up fails, the addresses of the
// last good one are used: a name server may be unreachable while the receiver
// is not. Addresses of both families are tried side by side; on a carrier
// without IPv4 an IPv4 address is reached through the network's NAT64.
func (m *Interface) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("modem: dial %s over %s: %w", address, m, err)
	}
	d := &net.Dialer{Timeout: dialTimeout, Control: bindControl(m.iface), KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}
	addrs, err := m.resolve(ctx, d, host)
	if err != nil {
		return nil, fmt.Errorf("modem: resolve %s over %s: %w", host, m, err)
	}
	c, err := race(ctx, interleave(m.reachable(ctx, d, addrs)), func(ctx context.Context, a netip.Addr) (net.Conn, error) {
		return d.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
	})
	if err != nil {
		return nil, fmt.Errorf("modem: dial %s over %s: %w", address, m, err)
	}
	return c, nil
}

// SetNameServers makes look-ups over this modem ask these servers, as the
// network gave them with the data context; none means the system's.
func (m *Interface) SetNameServers(servers []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers = m.servers[:0]
	for _, s := range servers {
		m.servers = append(m.servers, netip.AddrPortFrom(s, 53).String())
	}
}

// resolver asks this link's name servers, over this link.
func (m *Interface) resolver(d *net.Dialer) *net.Resolver {
	m.mu.Lock()
	servers := slices.Clone(m.servers)
	m.mu.Unlock()
	if m.iface == "" && len(servers) == 0 {
		return net.DefaultResolver
	}
	var next atomic.Uint32 // both families are asked at once
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(servers) > 0 {
			address = servers[int(next.Add(1)-1)%len(servers)]
		}
		return d.DialContext(ctx, network, address)
	}}
}

// resolve returns the addresses of host: those of the last good look-up, if a
// new one fails or takes long.
func (m *Interface) resolve(ctx context.Context, d *net.Dialer, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	look := func(ctx context.Context) ([]netip.Addr, error) {
		addrs, err := m.lookup(ctx, d, "ip", host)
		if err == nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.cache[host] = addrs
		}
		return addrs, err
	}
	m.mu.Lock()
	last := m.cache[host]
	m.mu.Unlock()
	if len(last) == 0 {
		return look(ctx)
	}
	return patiently(ctx, last, look)
}

// patiently returns what ask brings, or last if that fails or takes longer than
// lookupPatience; ask then goes on for its own sake, for at most lookupTry.
func patiently[T any](ctx context.Context, last T, ask func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		v   T
		err error
	}
	done := make(chan outcome, 1)
	go func() { // ends with lookupTry
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTry)
		defer cancel()
		v, err := ask(ctx)
		done <- outcome{v, err}
	}()
	t := time.NewTimer(lookupPatience)
	defer t.Stop()
	select {
	case o := <-done:
		if o.err == nil {
			return o.v, nil
		}
	case <-t.C:
	case <-ctx.Done():
	}
	return last, ctx.Err()
}

// lookup asks for the addresses of host until ctx ends: a query without an
// answer is asked again, any other failure is final.
func (m *Interface) lookup(ctx context.Context, d *net.Dialer, network, host string) ([]netip.Addr, error) {
	for {
		try, cancel := context.WithTimeout(ctx, lookupTry)
		addrs, err := m.resolver(d).LookupNetIP(try, network, host)
		late := try.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return addrs, err
		}
	}
}

// reachable replaces IPv4 addresses by their NAT64 form on a link that has IPv6
// only.
func (m *Interface) reachable(ctx context.Context, d *net.Dialer, addrs []netip.Addr) []netip.Addr {
	st, err := m.Status()
	if m.iface == "" || err != nil || !ipv6Only(st.Addresses) || !slices.ContainsFunc(addrs, netip.Addr.Is4) {
		return addrs
	}
	prefix, ok := m.discoverNAT64(ctx, d)
	if !ok {
		return addrs
	}
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			a = synthesise(prefix, a)
		}
		out = append(out, a)
	}
	return out
}

// ipv6Only reports whether there is a global IPv6 address and no IPv4 one.
func ipv6Only(ps []netip.Prefix) bool {
	six := false
	for _, p := range ps {
		a := p.Addr().Unmap()
		if a.Is4() {
			return false
		}
		six = six || (a.IsGlobalUnicast() && !a.IsLinkLocalUnicast())
	}
	return six
}

// wellKnown are the IPv4 addresses of ipv4only.arpa (RFC 7050, 8).
var wellKnown = []netip.Addr{netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")}

// discoverNAT64 asks for the IPv6 address of a name that has none: what comes is
// made by the network's DNS64 and holds its prefix. Only prefixes of 96 bits,
// which all known carriers use, are recognised.
func (m *Interface) discoverNAT64(ctx context.Context, d *net.Dialer) (netip.Prefix, bool) {
	look := func(ctx context.Context) (netip.Prefix, error) {
		addrs, err := m.lookup(ctx, d, "ip6", "ipv4only.arpa")
		if err != nil {
			return netip.Prefix{}, err
		}
		for _, a := range addrs {
			b := a.As16()
			if slices.Contains(wellKnown, netip.AddrFrom4([4]byte(b[12:]))) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.nat64 = netip.PrefixFrom(a, 96).Masked()
				return m.nat64, nil
			}
		}
		return netip.Prefix{}, errors.New("no NAT64 here")
	}
	m.mu.Lock()
	last := m.nat64
	m.mu.Unlock()
	var p netip.Prefix
	var err error
	if last.IsValid() {
		p, err = patiently(ctx, last, look)
	} else {
		p, err = look(ctx)
	}
	return p, err == nil && p.IsValid()
}

// synthesise puts an IPv4 address behind a prefix of 96 bits (RFC 6052, 2.2).
func synthesise(p netip.Prefix, a netip.Addr) netip.Addr {
	b, four := p.Addr().As16(), a.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}

// interleave orders addresses so that the families alternate, the first one's
// leading (RFC 8305, 4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var a, b []netip.Addr
	for _, x := range addrs {
		if x = x.Unmap(); x.Is4() == addrs[0].Unmap().Is4() {
			a = append(a, x)
		} else {
			b = append(b, x)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}

// race dials the addresses in order, each with a head start before the next,
// and keeps the first that connects.
func race(ctx context.Context, addrs []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 0 {
		return nil, errors.New("name has no address")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c   net.Conn
		err error
	}
	results := make(chan result)
	running := 0
	start := func(a netip.Addr) {
		running++
		go func() { // ends when its attempt does, at the latest with dialTimeout; its result is always taken
			c, err := dial(ctx, a)
			results <- result{c, err}
		}()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var errs []error
	for next := 0; next < len(addrs) || running > 0; {
		var due <-chan time.Time
		if next < len(addrs) {
			due = timer.C
		}
		select {
		case <-due:
			start(addrs[next])
			next++
			timer.Reset(stagger)
		case r := <-results:
			running--
			if r.err != nil {
				errs = append(errs, r.err)
				timer.Reset(0) // the next one need not wait
				continue
			}
			cancel()
			go func() { // ends when the losers have
				for range running {
					if late := <-results; late.c != nil {
						_ = late.c.Close()
					}
				}
			}()
			return r.c, nil
		}
	}
	return nil, errors.Join(errs...)
}
