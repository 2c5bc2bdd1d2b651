package udp

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// sendBy makes a socket send to groups by an interface.
func sendBy(c *net.UDPConn, index int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
	})
	return errors.Join(err, setErr)
}
