package modem

import "net/netip"

// Path is how the kernel would send a packet.
type Path struct {
	Interface string
	Gateway   netip.Addr // invalid: none
	Source    netip.Addr // invalid: not chosen
	Table     int        // 0 = not told
}

// Steering is what leads a link's sockets to a routing table of its own.
type Steering struct {
	Rules   int  // that lead sockets of the interface there
	Default bool // the table has a default route over the interface
}
