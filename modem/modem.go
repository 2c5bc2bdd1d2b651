// Package modem gives the car its paths to the network: what a modem is, what
// state it is in, and connections that leave by that modem and no other.
//
// The entry point is [NewInterface], the modem that is only a named network
// interface. The package never decides what is sent, imports nothing of the
// module, and never changes a route, an address or a name server of the system.
package modem

import (
	"context"
	"net"
	"net/netip"
)

// Modem is a device that a link runs over.
type Modem interface {
	// Name returns the name from the configuration.
	Name() string
	// Status reads the device's present state; an error says what could not be
	// read, the rest of the Status stays valid.
	Status() (Status, error)
	// Dial connects over this modem only. It fails at once while the device is
	// missing.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Status is what is known of a modem at one moment.
type Status struct {
	Interface string // kernel name; may be empty for the system's own routing
	Index     int    // kernel index; changes when a USB modem re-enumerates; 0 = missing
	Present   bool
	Up        bool // administratively up and with carrier
	MTU       int
	Addresses []netip.Prefix
	RxBytes   uint64 // of the kernel since the interface appeared
	TxBytes   uint64
}
