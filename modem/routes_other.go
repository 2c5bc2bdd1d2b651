//go:build !linux

package modem

import (
	"errors"
	"net/netip"
)

// ErrNoRoute says that the kernel has no way there.
var ErrNoRoute = errors.New("modem: no route")

var errNotLinux = errors.New("modem: routes are read on Linux only")

// PathTo always fails here.
func PathTo(string, netip.Addr) (Path, error) { return Path{}, errNotLinux }

// SteeringOf always fails here.
func SteeringOf(string, int) (Steering, error) { return Steering{}, errNotLinux }
