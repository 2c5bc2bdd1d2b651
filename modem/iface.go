package modem

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

// Interface is a modem that is only a named network interface: something else
// brings it up. The empty interface name means the system's own routing.
type Interface struct {
	name  string
	iface string
	sys   fs.FS // /sys

	mu      sync.Mutex
	cache   map[string][]netip.Addr // guarded by mu: host → addresses of the last good look-up
	servers []string                // guarded by mu: name servers of this link, host:port; empty = the system's
	nat64   netip.Prefix            // guarded by mu: of the last good discovery (RFC 7050)
}

var _ Modem = (*Interface)(nil)

// NewInterface returns the modem called name on network interface iface. sys is
// the /sys file system, for byte counters.
func NewInterface(name, iface string, sys fs.FS) *Interface {
	return &Interface{name: name, iface: iface, sys: sys, cache: map[string][]netip.Addr{}}
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

// String returns the interface's name, or "the system's routing".
func (m *Interface) String() string {
	if m.iface == "" {
		return "the system's routing"
	}
	return m.iface
}
