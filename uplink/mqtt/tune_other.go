//go:build !linux

package mqtt

import "net"

// tune turns Nagle's delay off; the rest exists only on Linux.
func tune(c net.Conn) {
	if t, ok := c.(interface{ SetNoDelay(bool) error }); ok {
		_ = t.SetNoDelay(true)
	}
}
