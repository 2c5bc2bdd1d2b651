//go:build !linux

package mqtt

import (
	"errors"
	"net"
	"syscall"
)

// tuner watches one connection; there is nothing to watch here.
type tuner struct{}

func (*tuner) look() {}

// tune does what the system's defaults don't: Go sets TCP_NODELAY by itself.
func tune(net.Conn, string) *tuner { return nil }

func unacked(net.Conn) (int64, bool) { return 0, false }

func pace(net.Conn, int64) {}

// canTry says that tryWrite works here.
const canTry = false

func tryWrite(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }

func writeSome(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
