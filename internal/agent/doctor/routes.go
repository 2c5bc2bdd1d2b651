package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/modem"
)

// Places of the Internet that stand for any when a receiver has a name (RFC 5737
// and 3849): nothing is sent there.
var (
	somewhere4 = netip.MustParseAddr("192.0.2.1")
	somewhere6 = netip.MustParseAddr("2001:db8::1")
)

// destinations are what a link must reach: its receivers' addresses, or any
// place where they have names.
func destinations(l config.Link, st modem.Status) (out []netip.Addr) {
	seen := map[netip.Addr]bool{}
	for _, a := range l.Addresses {
		dst := somewhere4
		if u, err := url.Parse(a); err == nil {
			if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
				dst = ip.Unmap()
			} else if !hasIPv4(st) {
				dst = somewhere6
			}
		}
		if !seen[dst] {
			seen[dst] = true
			out = append(out, dst)
		}
	}
	return out
}

func hasIPv4(st modem.Status) bool {
	for _, p := range st.Addresses {
		if p.Addr().Unmap().Is4() {
			return true
		}
	}
	return false
}

// routes looks at how packets of a link leave, and whether answers may come
// back the same way.
func (r *report) routes(what string, l config.Link, st modem.Status) {
	what += ": routes"
	for _, dst := range destinations(l, st) {
		before := len(r.Findings)
		p, err := modem.PathTo(l.Interface, dst)
		switch {
		case errors.Is(err, modem.ErrNoRoute):
			r.Add(checkup.Fail, what, fmt.Sprintf("no way to %v over %s: sockets that are bound to it reach nobody", dst, l.Interface), howToRoute(l))
			continue
		case err != nil:
			r.Add(checkup.Warn, what, err.Error(), "")
			continue
		}
		r.reverse(what, l.Interface, dst)
		if len(r.Findings) == before {
			r.OK(what, "%s", describe(dst, p))
		}
	}
	if l.Modem != nil && l.Modem.Configure {
		r.steering(what, l)
	}
}

func describe(dst netip.Addr, p modem.Path) string {
	s := fmt.Sprintf("packets to %v leave by %s", dst, p.Interface)
	if p.Gateway.IsValid() {
		s += " over " + p.Gateway.String()
	}
	if p.Source.IsValid() {
		s += " from " + p.Source.String()
	}
	if p.Table != 0 {
		s += ", table " + strconv.Itoa(p.Table)
	}
	return s
}

func howToRoute(l config.Link) string {
	if l.Modem != nil && l.Modem.Configure {
		return "the agent sets the route once the network has given the modem an address: edgeagent modem info " + l.Name
	}
	return fmt.Sprintf("set modem.configure, or give it a route that others do not use: ip route add default dev %s metric 1000", l.Interface)
}

// reverse looks at the filter that drops packets which come by another interface
// than the system's own route to their sender.
func (r *report) reverse(what, iface string, dst netip.Addr) {
	if !dst.Is4() || max(r.filter("all"), r.filter(iface)) != 1 {
		return
	}
	if p, err := modem.PathTo("", dst); err == nil && p.Interface == iface {
		return
	}
	r.Add(checkup.Fail, what, fmt.Sprintf("the strict reverse path filter drops what comes from %v by %s", dst, iface),
		fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2", iface))
}

// filter returns rp_filter of an interface: 0 off, 1 strict, 2 loose.
func (r *report) filter(iface string) int {
	b, err := fs.ReadFile(r.opt.Root, "proc/sys/net/ipv4/conf/"+iface+"/rp_filter")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// steering looks at the link's own table, which the agent keeps while it runs.
func (r *report) steering(what string, l config.Link) {
	s, err := modem.SteeringOf(l.Interface, l.Modem.Table)
	level, do := checkup.Warn, "run the agent: it sets them"
	if r.opt.Running {
		level, do = checkup.Fail, "the agent needs CAP_NET_ADMIN (AmbientCapabilities in its unit); its log says what it was refused"
	}
	switch {
	case err != nil:
		r.Add(checkup.Warn, what, err.Error(), "")
	case s.Rules == 0:
		r.Add(level, what, fmt.Sprintf("no rule leads sockets of %s to table %d", l.Interface, l.Modem.Table), do)
	case !s.Default:
		r.Add(level, what, fmt.Sprintf("table %d has no default route over %s", l.Modem.Table, l.Interface), do)
	default:
		r.OK(what, "table %d has a default route, %d rules lead there", l.Modem.Table, s.Rules)
	}
}
