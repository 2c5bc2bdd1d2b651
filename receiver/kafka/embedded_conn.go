package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxRequest bounds one request to the embedded broker, as Apache Kafka does
// (socket.request.max.bytes).
const maxRequest = 100 << 20

// errNoRequest marks what no Kafka client sends.
var errNoRequest = errors.New("kafka: not a request of Kafka's protocol")

// checkedListener checks what comes to the embedded broker, which believes the lengths
// that it reads: any process of this machine that speaks something else, as HTTP, would
// cost gigabytes or end the process.
type checkedListener struct {
	net.Listener
	log *slog.Logger
}

// Accept implements [net.Listener].
func (l checkedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &checkedConn{Conn: c, log: l.log}, nil
}

// checkedConn fails a read where no request begins.
type checkedConn struct {
	net.Conn
	log  *slog.Logger
	head [8]byte // length, key and version of the request that is being read
	told int     // bytes of head that were given to the reader
	left int64   // bytes of the request behind head
	in   bool    // head is that of a request
}

// Read implements [net.Conn].
func (c *checkedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !c.in || c.told == len(c.head) && c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.told < len(c.head) {
		n := copy(p, c.head[c.told:])
		c.told += n
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// next reads the head of the next request.
func (c *checkedConn) next() error {
	c.in = false
	if _, err := io.ReadFull(c.Conn, c.head[:]); err != nil {
		return err
	}
	size, key, version := int32(binary.BigEndian.Uint32(c.head[:])), int16(binary.BigEndian.Uint16(c.head[4:])), int16(binary.BigEndian.Uint16(c.head[6:]))
	req := kmsg.RequestForKey(key)
	newer := req != nil && version > req.MaxVersion() && key != int16(kmsg.ApiVersions) // of these a client may ask for any
	if size < int32(len(c.head)) || size > maxRequest || req == nil || version < 0 || newer {
		err := fmt.Errorf("%w: it begins with %q", errNoRequest, c.head[:])
		c.log.Debug("connection to the embedded kafka ended", "remote", c.RemoteAddr().String(), "error", err)
		return err
	}
	c.in, c.told, c.left = true, 0, int64(size)-4
	return nil
}
