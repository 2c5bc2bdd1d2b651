package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// Available returns nil if namespaces with TUN devices can be made here, and
// what is missing otherwise.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("netns: needs root")
	}
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("netns: open %s: %w", tunPath, err)
	}
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("netns: close %s: %w", tunPath, err)
	}
	s, err := NewSpace() // a container's root may not have the right to
	if err != nil {
		return err
	}
	return s.Close()
}

// tun is a TUN device, which lives as long as its descriptor. It carries bare IP
// packets, as a modem in raw-IP mode does.
type tun struct {
	fd    int
	name  string
	index int
}

// tunQueue is how many packets wait for the carrier, 4 ms at its best: the
// kernel's 500 overflow when a shared machine takes the processor away.
const tunQueue = 8192

// openTUN makes a device in the calling thread's namespace and brings it up; a
// name with %d gets the next free number. IPv6 is off: its neighbour discovery
// would only disturb counts.
func openTUN(name string) (t *tun, err error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("netns: open %s: %w", tunPath, err)
	}
	t = &tun{fd: fd}
	if err := t.setup(name); err != nil {
		_ = t.close()
		return nil, fmt.Errorf("netns: device %s: %w", name, err)
	}
	return t, nil
}

func (t *tun) setup(name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	t.name = req.Name()
	dev, err := net.InterfaceByName(t.name)
	if err != nil {
		return err
	}
	t.index = dev.Index
	// 2 = loose: several devices lead to the same place.
	if err := sysctl(filepath.Join("ipv4/conf", t.name, "rp_filter"), "2"); err != nil {
		return err
	}
	if err := sysctl(filepath.Join("ipv6/conf", t.name, "disable_ipv6"), "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return withNetlink(func(n *netlink) error {
		if err := n.setQueue(t.index, tunQueue); err != nil {
			return err
		}
		return n.setUp(t.index, true)
	})
}

func (t *tun) close() error { return unix.Close(t.fd) }
