//go:build !linux

package modem

import (
	"errors"
	"syscall"
)

// bindControl refuses every connection that asks for a device: only Linux binds
// a socket to one.
func bindControl(iface string) func(network, address string, c syscall.RawConn) error {
	if iface == "" {
		return nil
	}
	return func(_, _ string, _ syscall.RawConn) error {
		return errors.New("bind socket to a device: only Linux can (leave the link's interface empty)")
	}
}
