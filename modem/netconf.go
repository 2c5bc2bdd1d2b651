package modem

import (
	"errors"
	"net/netip"
)

// ErrStrictFilter says that an interface is configured, but that its strict
// reverse path filter (rp_filter 1) could not be loosened: where the system's own
// route is another one, the kernel drops what comes in.
var ErrStrictFilter = errors.New("its strict reverse path filter stays: set net.ipv4.conf.all.rp_filter to 2 on the host")

// NetConfig is what a network gave a modem and the kernel must know. It needs
// CAP_NET_ADMIN; the system's own routes, addresses and name servers are never
// touched: everything stands in a table of the link's own.
type NetConfig struct {
	Interface string
	Addresses []netip.Prefix
	Gateway   netip.Addr // invalid: the interface is point to point
	MTU       int        // 0 = leave
	Table     int        // routing table of this link, 1 to 252 or above 255
}
