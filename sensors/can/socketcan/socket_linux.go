package socketcan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is an open raw socket, or what stands for one in a test. It is kept
// from the runtime's poller, which would wake up for each frame: its reader
// sleeps while frames gather.
type socket struct {
	fd      int
	single  bool // the kernel has no recvmmsg
	buffer  int  // bytes of the receive buffer as the kernel counts them
	classic bool // the kernel knows no CAN FD
	stamps  bool // it stamps frames
	drops   bool // it counts what it drops
}

// received is what one read gave of one frame.
type received struct {
	data     []byte
	utc      int64 // stamp of the kernel, ns; 0: none
	hard     int64 // stamp of the controller, ns; 0: none
	drops    uint32
	hasDrops bool
	sent     bool // by this machine
}

// openSocket opens a raw socket on the interface of an index.
func openSocket(index int, filters []filter, buffer int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.CAN_RAW)
	if err != nil {
		if errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, fmt.Errorf("socketcan: open socket: %w: this kernel has no CAN: load the modules can and can_raw", err)
		}
		return nil, fmt.Errorf("socketcan: open socket: %w", err)
	}
	s := &socket{fd: fd}
	if err := s.tune(filters, buffer); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := unix.Bind(fd, &unix.SockaddrCAN{Ifindex: index}); err != nil {
		return nil, errors.Join(fmt.Errorf("socketcan: bind socket: %w", err), s.close())
	}
	return s, nil
}

// tune sets the options before the socket is bound, so that no frame comes in
// without them.
func (s *socket) tune(filters []filter, buffer int) error {
	fd := s.fd
	s.classic = unix.SetsockoptInt(fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FD_FRAMES, 1) != nil
	const allErrors = idMask
	if err := unix.SetsockoptInt(fd, unix.SOL_CAN_RAW, unix.CAN_RAW_ERR_FILTER, allErrors); err != nil {
		return fmt.Errorf("socketcan: ask for error frames: %w", err)
	}
	if len(filters) > 0 {
		list := make([]unix.CanFilter, len(filters))
		for i, f := range filters {
			list[i] = unix.CanFilter{Id: f.ID, Mask: f.Mask}
		}
		if err := unix.SetsockoptCanRawFilter(fd, unix.SOL_CAN_RAW, unix.CAN_RAW_FILTER, list); err != nil {
			return fmt.Errorf("socketcan: set %d filters: %w", len(filters), err)
		}
	}
	s.options(buffer)
	return nil
}

// options sets what any kind of socket may have. None of it is necessary: what
// the kernel refuses is seen in the counters.
func (s *socket) options(buffer int) {
	fd := s.fd
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // as far as net.core.rmem_max lets
	}
	s.buffer, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	const stamping = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE |
		unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	s.stamps = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamping) == nil ||
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamping) == nil
	s.drops = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) == nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// dropped asks for the count of dropped frames, which frames carry only once
// another one has been queued.
func (s *socket) dropped() (n uint32, ok bool) {
	const dropsAt, words = 8, 9 // SK_MEMINFO_DROPS of SK_MEMINFO_VARS
	var info [words]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[dropsAt], errno == 0 && int(size) >= 4*words
}

// batchFrames is how many frames one read takes at most.
const batchFrames = 128

// Room for one frame's control messages: the drop counter and three stamps.
const controlBytes = 128

// messageHeader is the kernel's struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	size uint32
}

// batch is the memory that one read fills. It must not be copied.
type batch struct {
	headers [batchFrames]messageHeader
	vectors [batchFrames]unix.Iovec
	data    [batchFrames][fdSize]byte
	control [batchFrames][controlBytes]byte
	out     [batchFrames]received
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.headers {
		b.vectors[i].Base = &b.data[i][0]
		b.vectors[i].SetLen(fdSize)
		b.headers[i].Iov = &b.vectors[i]
		b.headers[i].SetIovlen(1)
		b.headers[i].Control = &b.control[i][0]
		b.headers[i].SetControllen(controlBytes)
	}
	return b
}

// read waits for frames for at most d and returns those that are there, valid
// until the next read. No frames and no error means that none came.
func (s *socket) read(b *batch, d time.Duration) ([]received, error) {
	n, err := s.receive(s.fd, b)
	if errors.Is(err, unix.EAGAIN) {
		ready := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if n, err = unix.Poll(ready, int(d.Milliseconds())); n > 0 {
			n, err = s.receive(s.fd, b)
		}
	}
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("socketcan: read: %w", err)
	}
	for i := range n {
		b.out[i] = b.take(i)
	}
	return b.out[:n], nil
}

// receive takes what is queued, in one call if the kernel has it.
func (s *socket) receive(fd int, b *batch) (int, error) {
	for !s.single {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), batchFrames, unix.MSG_DONTWAIT, 0, 0)
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
	for n := range batchFrames {
		size, controlSize, flags, _, err := unix.Recvmsg(fd, b.data[n][:], b.control[n][:], unix.MSG_DONTWAIT)
		if err != nil {
			if n > 0 {
				return n, nil // an error shows again at the next read, or is a mere lack of frames
			}
			return 0, err
		}
		b.headers[n].size, b.headers[n].Flags = uint32(size), int32(flags)
		b.headers[n].SetControllen(controlSize)
	}
	return batchFrames, nil
}

// take reads message i and makes its header ready for the next read.
func (b *batch) take(i int) received {
	h := &b.headers[i]
	r := received{data: b.data[i][:min(h.size, fdSize)], sent: h.Flags&unix.MSG_DONTROUTE != 0}
	if h.Flags&unix.MSG_TRUNC != 0 {
		r.data = nil // longer than any frame that is known here
	}
	parseControl(b.control[i][:min(int(h.Controllen), controlBytes)], &r)
	h.SetControllen(controlBytes)
	return r
}

// Kinds of control messages that older headers lack.
const wordBytes = int(unsafe.Sizeof(uintptr(0)))

// parseControl reads the stamps and the drop counter. What it does not know it
// passes.
func parseControl(b []byte, r *received) {
	for len(b) >= unix.SizeofCmsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if wordBytes == 8 {
			size = int(min(binary.NativeEndian.Uint64(b), 1<<20))
		}
		level := binary.NativeEndian.Uint32(b[wordBytes:])
		kind := binary.NativeEndian.Uint32(b[wordBytes+4:])
		if size < unix.SizeofCmsghdr || size > len(b) {
			return
		}
		body := b[unix.SizeofCmsghdr:size]
		b = b[min(len(b), (size+wordBytes-1)&^(wordBytes-1)):]
		if level != unix.SOL_SOCKET {
			continue
		}
		switch kind {
		case unix.SO_TIMESTAMPING_NEW:
			r.stamp(body, 8)
		case unix.SO_TIMESTAMPING:
			r.stamp(body, wordBytes)
		case unix.SO_RXQ_OVFL:
			if len(body) >= 4 {
				r.drops, r.hasDrops = binary.NativeEndian.Uint32(body), true
			}
		}
	}
}

// stamp reads three times of two numbers each: the kernel's, none, the
// controller's.
func (r *received) stamp(b []byte, width int) {
	if len(b) < 6*width {
		return
	}
	number := func(i int) int64 {
		if width == 8 {
			return int64(binary.NativeEndian.Uint64(b[i*8:]))
		}
		return int64(int32(binary.NativeEndian.Uint32(b[i*4:])))
	}
	at := func(i int) int64 {
		sec, nsec := number(i), number(i+1)
		if sec < 0 || sec > 1<<33 || nsec < 0 || nsec >= 1e9 {
			return 0
		}
		return sec*1e9 + nsec
	}
	r.utc, r.hard = at(0), at(4)
}
