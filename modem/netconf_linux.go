package modem

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rulePriority stands before the main table's rule (32766): a socket bound to
// the link, or one with its address, uses its table.
const rulePriority = 20000

// Apply brings the interface up with these addresses, its own default route and
// the rules that lead there, and removes addresses and rules of an earlier call
// that are not wanted any more. It may be called again at any time. With
// [ErrStrictFilter] all of this stands.
func (c NetConfig) Apply() error {
	if c.Table < 1 || (c.Table >= 253 && c.Table <= 255) {
		return fmt.Errorf("modem: routing table %d of %s is the system's (want 1 to 252 or above 255)", c.Table, c.Interface)
	}
	link, err := netlink.LinkByName(c.Interface)
	if err != nil {
		return fmt.Errorf("modem: configure %s: %w", c.Interface, err)
	}
	if c.MTU > 0 && link.Attrs().MTU != c.MTU {
		if err := netlink.LinkSetMTU(link, c.MTU); err != nil {
			return fmt.Errorf("modem: set MTU %d of %s: %w", c.MTU, c.Interface, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("modem: bring %s up: %w (needs CAP_NET_ADMIN)", c.Interface, err)
	}
	if err := c.addresses(link); err != nil {
		return err
	}
	if err := c.routes(link); err != nil {
		return err
	}
	if err := c.rules(); err != nil {
		return err
	}
	return c.looseFilter()
}

// looseFilter lets packets in that come by this interface although the system's
// own route to their sender is another one: with the strict reverse path filter
// the kernel drops them. The greater of two settings counts, and 2 is the loose
// one: the other interfaces' stay as they are. Where it does not matter nothing is
// written: a container's /proc/sys is read-only.
func (c NetConfig) looseFilter() error {
	const strict = "1"
	if !c.has(net.IPv4len) {
		return nil
	}
	all, own := rpFilter("all"), rpFilter(c.Interface)
	if own == "" || own == "2" || all == "2" || (own != strict && all == "0") {
		return nil
	}
	if err := os.WriteFile(rpFilterPath(c.Interface), []byte("2"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("modem: loosen the reverse path filter of %s: %w: %w", c.Interface, ErrStrictFilter, err)
	}
	return nil
}

func rpFilterPath(device string) string { return "/proc/sys/net/ipv4/conf/" + device + "/rp_filter" }

// rpFilter returns a device's setting; empty where the kernel has none.
func rpFilter(device string) string {
	b, err := os.ReadFile(rpFilterPath(device))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (c NetConfig) addresses(link netlink.Link) error {
	want := map[string]bool{}
	for _, p := range c.Addresses {
		want[ipNet(p).String()] = true
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NOPREFIXROUTE}); err != nil {
			return fmt.Errorf("modem: add address %v to %s: %w", p, c.Interface, err)
		}
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("modem: addresses of %s: %w", c.Interface, err)
	}
	for _, a := range have {
		if a.Scope != int(netlink.SCOPE_UNIVERSE) || want[a.IPNet.String()] || a.Flags&unix.IFA_F_PERMANENT == 0 {
			continue // not ours: link-local, wanted, or given by the network for a time (SLAAC, DHCP)
		}
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("modem: remove stale address %v of %s: %w", a.IPNet, c.Interface, err)
		}
	}
	return nil
}

func (c NetConfig) routes(link netlink.Link) error {
	for _, family := range []int{net.IPv4len, net.IPv6len} {
		if !c.has(family) {
			if err := c.dropRoutes(family); err != nil {
				return err
			}
			continue
		}
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Table: c.Table, Dst: &net.IPNet{IP: make(net.IP, family), Mask: net.CIDRMask(0, family*8)}}
		if c.Gateway.IsValid() && len(c.Gateway.AsSlice()) == family {
			r.Gw, r.Flags = c.Gateway.AsSlice(), int(netlink.FLAG_ONLINK)
		}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("modem: default route of %s in table %d: %w", c.Interface, c.Table, err)
		}
	}
	return nil
}

// dropRoutes takes the table's routes of a family away that the network does not
// give any more. A kernel without the family has none.
func (c NetConfig) dropRoutes(bytes int) error {
	family := netlink.FAMILY_V4
	if bytes == net.IPv6len {
		family = netlink.FAMILY_V6
	}
	rs, err := netlink.RouteListFiltered(family, &netlink.Route{Table: c.Table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil // no such family, or no such table
	}
	for _, r := range rs {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("modem: remove stale route of table %d: %w", c.Table, err)
		}
	}
	return nil
}

// has reports whether the network gave an address of so many bytes.
func (c NetConfig) has(bytes int) bool {
	for _, p := range c.Addresses {
		if len(p.Addr().AsSlice()) == bytes {
			return true
		}
	}
	return false
}

// rules leads sockets bound to the interface, or to one of its addresses, to
// the table. Rules of the table that are not wanted any more are removed.
func (c NetConfig) rules() error {
	want := map[string]*netlink.Rule{}
	for bytes, family := range map[int]int{net.IPv4len: netlink.FAMILY_V4, net.IPv6len: netlink.FAMILY_V6} {
		if !c.has(bytes) {
			continue // a kernel without the family would refuse its rule
		}
		r := c.rule(family)
		r.OifName = c.Interface
		want[key(*r)] = r
	}
	for _, p := range c.Addresses {
		family := netlink.FAMILY_V4
		if p.Addr().Is6() {
			family = netlink.FAMILY_V6
		}
		r := c.rule(family)
		r.Src = ipNet(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		want[key(*r)] = r
	}
	have, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Table: c.Table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("modem: rules of table %d: %w", c.Table, err)
	}
	for _, r := range have {
		if _, ok := want[key(r)]; ok {
			delete(want, key(r))
			continue
		}
		if err := netlink.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("modem: remove stale rule of table %d: %w", c.Table, err)
		}
	}
	for _, r := range want {
		if err := netlink.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("modem: rule of table %d for %s: %w", c.Table, c.Interface, err)
		}
	}
	return nil
}

func (c NetConfig) rule(family int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Table, r.Priority = family, c.Table, rulePriority
	return r
}

func key(r netlink.Rule) string {
	src := ""
	if r.Src != nil {
		src = r.Src.String()
	}
	return fmt.Sprint(r.Family, " ", r.OifName, " ", src)
}

// Remove takes rules and routes of the table away; addresses stay.
func (c NetConfig) Remove() error {
	have, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Table: c.Table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("modem: rules of table %d: %w", c.Table, err)
	}
	var errs []error
	for _, r := range have {
		errs = append(errs, netlink.RuleDel(&r))
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: c.Table}, netlink.RT_FILTER_TABLE)
	errs = append(errs, err)
	for _, r := range routes {
		errs = append(errs, netlink.RouteDel(&r))
	}
	return errors.Join(errs...)
}
