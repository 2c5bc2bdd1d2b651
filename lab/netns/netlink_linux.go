package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// netlink asks the kernel of the namespace in which it was opened for addresses,
// routes and devices. Not safe for concurrent use.
type netlink struct {
	fd  int
	seq uint32
}

// withNetlink opens a netlink in the calling thread's namespace for fn.
func withNetlink(fn func(*netlink) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	return fn(&netlink{fd: fd})
}

// setUp sets or clears a device's up flag. The kernel drops the routes of a
// device that goes down.
func (n *netlink) setUp(index int, up bool) error {
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	_, err := n.ask(unix.RTM_NEWLINK, 0, linkMessage(index, flags, unix.IFF_UP))
	return err
}

// remove deletes a device at once, whoever has it open.
func (n *netlink) remove(index int) error {
	_, err := n.ask(unix.RTM_DELLINK, 0, linkMessage(index, 0, 0))
	return err
}

// setQueue sets how many packets wait for a reader of a TUN device.
func (n *netlink) setQueue(index int, packets uint32) error {
	_, err := n.ask(unix.RTM_NEWLINK, 0, attr(linkMessage(index, 0, 0), unix.IFLA_TXQLEN, binary.NativeEndian.AppendUint32(nil, packets)))
	return err
}

// address adds or deletes a device's address, alone in its network.
func (n *netlink) address(index int, a netip.Addr, add bool) error {
	b := []byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_UNIVERSE}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = attr(b, unix.IFA_LOCAL, a.AsSlice())
	b = attr(b, unix.IFA_ADDRESS, a.AsSlice())
	kind, flags := uint16(unix.RTM_DELADDR), uint16(0)
	if add {
		kind, flags = unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE
	}
	_, err := n.ask(kind, flags, b)
	return err
}

// route adds a route over a device to the main table: EEXIST if there is one to
// the same network with the same metric.
func (n *netlink) route(index int, to netip.Prefix, metric uint32) error {
	b := []byte{
		unix.AF_INET, byte(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST,
		0, 0, 0, 0,
	}
	if to.Bits() > 0 {
		b = attr(b, unix.RTA_DST, to.Addr().AsSlice())
	}
	b = attr(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index)))
	if metric > 0 {
		b = attr(b, unix.RTA_PRIORITY, binary.NativeEndian.AppendUint32(nil, metric))
	}
	_, err := n.ask(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b)
	return err
}

// txDropped returns how many packets the kernel dropped on their way out of a
// device.
func (n *netlink) txDropped(index int) (int64, error) {
	m, err := n.ask(unix.RTM_GETLINK, 0, linkMessage(index, 0, 0))
	if err != nil {
		return 0, err
	}
	if m == nil {
		return 0, errors.New("netlink: no answer about the device")
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return 0, fmt.Errorf("netlink: device: %w", err)
	}
	const at = 7 * 8 // struct rtnl_link_stats64: rx and tx packets, bytes, errors, rx_dropped
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_STATS64 && len(a.Value) >= at+8 {
			return int64(binary.NativeEndian.Uint64(a.Value[at:])), nil
		}
	}
	return 0, errors.New("netlink: the device has no counters")
}

// linkMessage returns the head of a message about a device.
func linkMessage(index int, flags, change uint32) []byte {
	b := []byte{unix.AF_UNSPEC, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	return binary.NativeEndian.AppendUint32(b, change)
}

// attr appends an attribute with its padding.
func attr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// answerBytes holds one answer about a device, with room to spare.
const answerBytes = 16 << 10

// ask sends a request and returns the message that answers it, if any, when the
// kernel has acknowledged it.
func (n *netlink) ask(kind, flags uint16, body []byte) (answer *syscall.NetlinkMessage, err error) {
	n.seq++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, n.seq)
	b = append(binary.NativeEndian.AppendUint32(b, 0), body...)
	if err := unix.Sendto(n.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("netlink: send: %w", err)
	}
	for {
		in := make([]byte, answerBytes)
		k, _, err := unix.Recvfrom(n.fd, in, 0)
		if err != nil {
			return nil, fmt.Errorf("netlink: receive: %w", err)
		}
		ms, err := syscall.ParseNetlinkMessage(in[:k])
		if err != nil {
			return nil, fmt.Errorf("netlink: answer: %w", err)
		}
		for _, m := range ms {
			if m.Header.Type != unix.NLMSG_ERROR {
				answer = &m
				continue
			}
			if len(m.Data) < 4 {
				return nil, errors.New("netlink: a short acknowledgement")
			}
			if e := int32(binary.NativeEndian.Uint32(m.Data)); e != 0 {
				return nil, fmt.Errorf("netlink: %w", syscall.Errno(-e))
			}
			return answer, nil
		}
	}
}
