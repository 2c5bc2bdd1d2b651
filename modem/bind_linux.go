package modem

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindControl returns a control function that binds a socket to a device. The
// kernel allows it without privileges since Linux 5.7 for a socket that is not
// yet bound; a device that is missing is ENODEV at once.
func bindControl(iface string) func(network, address string, c syscall.RawConn) error {
	if iface == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.BindToDevice(int(fd), iface)
		}); cerr != nil {
			return cerr
		}
		if err != nil {
			return fmt.Errorf("bind socket to %s: %w", iface, err)
		}
		return nil
	}
}
