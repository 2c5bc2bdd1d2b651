package mqtt

import (
	"errors"
	"math"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Small queues in the kernel: what waits there can't be sent over another link.
const (
	notSentBytes  = 8 << 10
	userTimeoutMS = 15_000 // the undertaker for sent data that nobody confirms
)

// Congestion control. How much may be on its way is the engine's decision, from
// end-to-end proofs; so one that fills what it is allowed to is best, and BBR's
// own pacing and probing cost 4 % of a link. But where packets are lost without
// a queue, Cubic and Reno collapse and BBR does not: a connection that loses much
// changes over.
const (
	lossyCongestion = "bbr"
	lossyPerMille   = 10 // segments sent again
	lossyWindows    = 2  // one after the other
	lossySegments   = 200
	lookEvery       = 16 // MQTT packets
)

// steadyCongestion lists what a connection begins with, the best first.
var steadyCongestion = [...]string{"cubic", "reno"}

// tune sets what the kernel offers; a refused option costs latency, not
// correctness, so errors are of no use here. It returns nil if nothing is left
// to be done later.
func tune(c net.Conn, congestion string) *tuner {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	t := &tuner{raw: raw}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeoutMS)
		if congestion != "" && unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion) == nil {
			t = nil
			return
		}
		for _, name := range steadyCongestion {
			if unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil {
				return
			}
		}
	})
	return t
}

// tuner watches one connection for losses. One goroutine at a time uses it.
type tuner struct {
	raw           syscall.RawConn
	segs, retrans uint32 // at the last look that counted
	lossy         int    // windows in a row
	calls         uint32
	done          bool
}

// look reads the socket's counters now and then; it is called for every packet.
func (t *tuner) look() {
	if t == nil || t.done {
		return
	}
	if t.calls++; t.calls%lookEvery != 0 {
		return
	}
	_ = t.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || !t.window(info.Segs_out, info.Total_retrans) {
			return
		}
		t.done = true
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, lossyCongestion)
	})
}

// window takes the counters and reports whether the connection has lost much for
// long enough.
func (t *tuner) window(segs, retrans uint32) bool {
	n := segs - t.segs
	if n < lossySegments {
		return false
	}
	if lost := retrans - t.retrans; uint64(lost)*1000 >= uint64(n)*lossyPerMille {
		t.lossy++
	} else {
		t.lossy = 0
	}
	t.segs, t.retrans = segs, retrans
	return t.lossy >= lossyWindows
}

// unacked returns how many bytes the socket holds that the other end has not
// confirmed, with those that were not sent yet.
func unacked(c net.Conn) (n int64, ok bool) {
	sc, is := c.(syscall.Conn)
	if !is {
		return 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) { // fails only when closed
		v, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		n, ok = int64(v), err == nil
	})
	return n, ok
}

// pace bounds the rate at which the socket sends; 0 takes the bound away. TCP does
// not stop pacing then: the kernel has no way back. From the next ack on the socket
// sends at its own pace, 120 % of a window in each round trip (200 % while the
// window doubles; sysctl net.ipv4.tcp_pacing_{ca,ss}_ratio).
func pace(c net.Conn, bytesPerS int64) {
	sc, is := c.(syscall.Conn)
	if !is {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	rate := -1 // the greatest rate: no bound
	if bytesPerS > 0 {
		rate = int(min(bytesPerS, math.MaxInt32))
	}
	_ = raw.Control(func(fd uintptr) { // refused, the batch stands in the modem
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate)
	})
}

// canTry says that tryWrite works here.
const canTry = true

// tryWrite gives the socket what it takes without waiting.
func tryWrite(c syscall.RawConn, p []byte) (n int, err error) {
	cerr := c.Control(func(fd uintptr) { n, err = writeSome(fd, p) })
	return n, errors.Join(cerr, err)
}

// writeSome is tryWrite inside of a call of the socket's.
func writeSome(fd uintptr, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(fd), p[n:]) // Go's sockets never block
		switch {
		case err == nil:
			n += m
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		default:
			return n, os.NewSyscallError("write", err)
		}
	}
	return n, nil
}
