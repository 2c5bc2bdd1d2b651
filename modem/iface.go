package modem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// dialTimeout bounds one connection attempt: a link is redialled with back-off
// by its owner, so a long wait only hides a dead path.
const dialTimeout = 5 * time.Second

// Interface is a modem that is only a named network interface: something else
// brings it up. The empty interface name means the system's own routing.
type Interface struct {
	name  string
	iface string
	sys   fs.FS // /sys

	mu    sync.Mutex
	cache map[string][]string // guarded by mu: host → addresses of the last good look-up
}

var _ Modem = (*Interface)(nil)

// NewInterface returns the modem called name on network interface iface. sys is
// the /sys file system, for byte counters.
func NewInterface(name, iface string, sys fs.FS) *Interface {
	return &Interface{name: name, iface: iface, sys: sys, cache: map[string][]string{}}
}

// Name returns the configured name.
func (m *Interface) Name() string { return m.name }

// Status reads the interface from the kernel.
func (m *Interface) Status() (Status, error) {
	st := Status{Interface: m.iface}
	if m.iface == "" {
		st.Present, st.Up = true, true
		return st, nil
	}
	ifi, err := net.InterfaceByName(m.iface)
	if err != nil {
		return st, fmt.Errorf("modem: interface %s: %w", m.iface, err)
	}
	st.Present, st.Index, st.MTU = true, ifi.Index, ifi.MTU
	st.Up = ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagRunning != 0
	addrs, err := ifi.Addrs()
	if err != nil {
		return st, fmt.Errorf("modem: addresses of %s: %w", m.iface, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			st.Addresses = append(st.Addresses, p)
		}
	}
	st.RxBytes, err = m.counter("rx_bytes")
	if err == nil {
		st.TxBytes, err = m.counter("tx_bytes")
	}
	return st, err
}

func (m *Interface) counter(name string) (uint64, error) {
	p := "class/net/" + m.iface + "/statistics/" + name
	b, err := fs.ReadFile(m.sys, p)
	if err != nil {
		return 0, fmt.Errorf("modem: read %s: %w", p, err)
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("modem: %s: %w", p, err)
	}
	return v, nil
}

// Dial connects over this interface: the socket is bound to the device, and
// names are resolved over it too. When a look-up fails, the addresses of the
// last good one are used: a name server may be unreachable while the receiver
// is not.
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
	var errs []error
	for _, a := range addrs {
		c, err := d.DialContext(ctx, network, net.JoinHostPort(a, port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("modem: dial %s over %s: %w", address, m, errors.Join(errs...))
}

// String returns the interface's name, or "the system's routing".
func (m *Interface) String() string {
	if m.iface == "" {
		return "the system's routing"
	}
	return m.iface
}

func (m *Interface) resolve(ctx context.Context, d *net.Dialer, host string) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	r := &net.Resolver{PreferGo: true, Dial: d.DialContext}
	if m.iface == "" {
		r = net.DefaultResolver
	}
	addrs, err := r.LookupHost(ctx, host)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if last := m.cache[host]; len(last) > 0 {
			return last, nil
		}
		return nil, err
	}
	m.cache[host] = addrs
	return addrs, nil
}
