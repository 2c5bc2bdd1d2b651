package mqtt

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Small queues in the kernel: what waits there can't be sent over another link.
const (
	notSentBytes  = 8 << 10
	userTimeoutMS = 15_000 // the undertaker for sent data that nobody confirms
)

// tune sets what the kernel offers; a refused option costs latency, not
// correctness, so errors are of no use here.
func tune(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeoutMS)
	})
}
