//go:build !linux

package udp

import (
	"errors"
	"net/netip"
	"time"
)

// batchSize is how many datagrams one read takes at most.
const batchSize = 64

type socket struct{ buffer int }

type datagram struct {
	data []byte
	from netip.Addr
	long bool
}

func open(*Config) (*socket, error) { return nil, errors.New("udp: the source runs on Linux only") }

func (*socket) close() error                    { return nil }
func (*socket) read(time.Duration) (int, error) { return 0, errors.ErrUnsupported }
func (*socket) datagram(int) datagram           { return datagram{} }
func (*socket) newDrops() uint32                { return 0 }
