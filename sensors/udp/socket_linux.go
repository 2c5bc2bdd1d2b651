package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams one read takes at most.
const batchSize = 64

// messageHeader is the kernel's struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	size uint32
}

// socket is an open socket with the memory that one read fills. It is kept from
// the runtime's poller, which would wake up for each datagram. It must not be
// copied.
type socket struct {
	fd      int
	buffer  int  // bytes of the receive buffer
	single  bool // the kernel has no recvmmsg
	drops   uint32
	headers [batchSize]messageHeader
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrAny
	memory  []byte // MaxDatagram for each; pages that are never reached are never there
}

// datagram is one that was read, valid until the next read.
type datagram struct {
	data []byte
	from netip.Addr
	long bool
}

func open(cfg *Config) (*socket, error) {
	domain := unix.AF_INET
	if cfg.Listen.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udp: open socket: %w", err)
	}
	s := &socket{fd: fd, memory: make([]byte, batchSize*MaxDatagram)}
	if err := s.setUp(cfg); err != nil {
		return nil, errors.Join(err, s.close())
	}
	for i := range s.headers {
		s.vectors[i].Base = &s.memory[i*MaxDatagram]
		s.vectors[i].SetLen(MaxDatagram)
		s.headers[i].Iov = &s.vectors[i]
		s.headers[i].SetIovlen(1)
		s.headers[i].Name = (*byte)(unsafe.Pointer(&s.names[i]))
	}
	s.drops, _ = s.dropped()
	return s, nil
}

func (s *socket) setUp(cfg *Config) error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.ReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.ReceiveBuffer) // as far as net.core.rmem_max lets
	}
	size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return fmt.Errorf("udp: ask for the receive buffer: %w", err)
	}
	s.buffer = size / 2 // the kernel doubles what it is told
	index := 0
	if cfg.Interface != "" {
		i, err := net.InterfaceByName(cfg.Interface)
		if err != nil {
			return fmt.Errorf("udp: interface %s: %w", cfg.Interface, err)
		}
		index = i.Index
	}
	if cfg.Group.IsValid() {
		// Several programs may listen to one group.
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("udp: share the port: %w", err)
		}
	}
	port := int(cfg.Listen.Port())
	var addr unix.Sockaddr = &unix.SockaddrInet6{Port: port, Addr: cfg.Listen.Addr().As16()}
	if cfg.Listen.Addr().Is4() {
		addr = &unix.SockaddrInet4{Port: port, Addr: cfg.Listen.Addr().As4()}
	}
	if err := unix.Bind(s.fd, addr); err != nil {
		return fmt.Errorf("udp: listen to %v: %w: does another program use the port?", cfg.Listen, err)
	}
	return s.join(cfg.Group, index)
}

// join makes the socket take one group, and none that another socket of this
// machine has joined: by default every socket of a port has the datagrams of all.
func (s *socket) join(group netip.Addr, index int) (err error) {
	switch {
	case !group.IsValid():
		return nil
	case group.Is4():
		err = errors.Join(
			unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0),
			unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}),
		)
	default:
		// A kernel before 4.20 does not know the first.
		if err = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0); errors.Is(err, unix.ENOPROTOOPT) {
			err = nil
		}
		err = errors.Join(err, unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}))
	}
	if err != nil {
		return fmt.Errorf("udp: join %v: %w: has the interface a route for multicast?", group, err)
	}
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// read waits for datagrams for at most d and returns how many there are. None
// and no error means that none came.
func (s *socket) read(d time.Duration) (int, error) {
	n, err := s.receive()
	if errors.Is(err, unix.EAGAIN) {
		ready := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if n, err = unix.Poll(ready, int(d.Milliseconds())); n > 0 {
			n, err = s.receive()
		}
	}
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("udp: read: %w", err)
	}
	return n, nil
}

// receive takes what is queued, in one call if the kernel has it.
func (s *socket) receive() (int, error) {
	for i := range s.headers {
		s.headers[i].Namelen = unix.SizeofSockaddrAny
	}
	for !s.single {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.ENOSYS:
			s.single = true
		default:
			return 0, errno
		}
	}
	for n := range batchSize {
		h := &s.headers[n]
		size, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&h.Msghdr)), unix.MSG_DONTWAIT)
		if errno != 0 {
			if n > 0 {
				return n, nil // an error shows again at the next read, or is a mere lack of datagrams
			}
			return 0, errno
		}
		h.size = uint32(size)
	}
	return batchSize, nil
}

// datagram returns number i of the latest read.
func (s *socket) datagram(i int) datagram {
	h := &s.headers[i]
	d := datagram{data: s.memory[i*MaxDatagram:][:min(h.size, MaxDatagram)], long: h.Flags&unix.MSG_TRUNC != 0}
	switch a := &s.names[i]; a.Addr.Family {
	case unix.AF_INET:
		d.from = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr)
	case unix.AF_INET6:
		d.from = netip.AddrFrom16((*unix.RawSockaddrInet6)(unsafe.Pointer(a)).Addr).Unmap()
	}
	return d
}

// dropped asks how many datagrams found the buffer full.
func (s *socket) dropped() (n uint32, ok bool) {
	const dropsAt, words = 8, 9 // SK_MEMINFO_DROPS of SK_MEMINFO_VARS
	var info [4 * words]byte
	size := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return binary.NativeEndian.Uint32(info[4*dropsAt:]), errno == 0 && int(size) >= len(info)
}

// newDrops returns how many have been dropped since it was asked before.
func (s *socket) newDrops() uint32 {
	now, ok := s.dropped()
	if !ok {
		return 0
	}
	d := now - s.drops // it turns over at 32 bits
	s.drops = now
	return d
}
