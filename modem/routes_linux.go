package modem

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoRoute says that the kernel has no way there.
var ErrNoRoute = errors.New("modem: no route")

// PathTo asks the kernel how a packet to dst leaves from a socket that is bound
// to iface; "" is a socket that is not bound. It sends nothing.
func PathTo(iface string, dst netip.Addr) (Path, error) {
	rs, err := netlink.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{Oif: iface})
	switch {
	case errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || (err == nil && len(rs) == 0):
		return Path{}, fmt.Errorf("%w to %v", ErrNoRoute, dst)
	case err != nil:
		return Path{}, fmt.Errorf("modem: route to %v: %w", dst, err)
	}
	p := Path{Gateway: addrOf(rs[0].Gw), Source: addrOf(rs[0].Src), Table: rs[0].Table}
	if l, err := netlink.LinkByIndex(rs[0].LinkIndex); err == nil {
		p.Interface = l.Attrs().Name
	}
	return p, nil
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip) // none is the invalid address
	return a.Unmap()
}

// SteeringOf reads what leads the sockets of iface to a routing table.
func SteeringOf(iface string, table int) (Steering, error) {
	var s Steering
	rules, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return s, fmt.Errorf("modem: rules of table %d: %w", table, err)
	}
	for _, r := range rules {
		if r.OifName == iface {
			s.Rules++
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return s, nil // a table that nobody has written to does not exist
	}
	for _, r := range routes {
		bits := 0
		if r.Dst != nil {
			bits, _ = r.Dst.Mask.Size()
		}
		l, err := netlink.LinkByIndex(r.LinkIndex)
		s.Default = s.Default || (bits == 0 && err == nil && l.Attrs().Name == iface)
	}
	return s, nil
}
