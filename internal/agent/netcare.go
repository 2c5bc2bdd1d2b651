package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

// reapply is how often an interface is configured again while no data flows:
// somebody may have taken away what it was given.
const reapply = 30 * time.Second

// smallMTU passes every carrier's tunnels; it is for networks that say none,
// where packets of 1500 bytes may vanish without a word.
const smallMTU = 1358

// netcare gives one interface what the network gave its modem.
type netcare struct {
	device string
	table  int
	on     bool // the configuration asks for it
	apply  func(modem.NetConfig) error

	last string        // what stands; empty = nothing for certain
	at   time.Duration // boot clock of the last attempt
	said string        // the last error, told once
}

// step configures the interface when what it should have has changed, when it
// is another one of the same name (index), or when no data flows for long.
func (n *netcare) step(now time.Duration, st keeper.Status, index int, warn func(msg string, args ...any)) {
	nc := modem.NetConfig{Interface: n.device, MTU: st.Info.MTU, Table: n.table}
	if nc.MTU == 0 {
		nc.MTU = smallMTU
	}
	for _, s := range st.Info.Addresses {
		if p, err := netip.ParsePrefix(s); err == nil {
			nc.Addresses = append(nc.Addresses, p)
		} else if a, err := netip.ParseAddr(s); err == nil {
			nc.Addresses = append(nc.Addresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	if len(nc.Addresses) == 0 || index == 0 {
		n.last = "" // it will have to be done again
		return
	}
	want := fmt.Sprint(nc, index)
	fresh := now-n.at < reapply
	if !n.on || (want == n.last && (fresh || st.State == ladder.Verified)) || (n.said != "" && fresh && n.last == "") {
		return
	}
	n.at = now
	if err := n.apply(nc); err != nil {
		n.last = ""
		if errors.Is(err, modem.ErrStrictFilter) {
			n.last = want // all else stands
		}
		if err.Error() != n.said {
			n.said = err.Error()
			warn("network interface not configured as it should be", "modem", st.Name, "error", err)
		}
		return
	}
	n.last, n.said = want, ""
}

// addresses reads those of ss that are addresses.
func addresses(ss []string) (out []netip.Addr) {
	for _, s := range ss {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}
