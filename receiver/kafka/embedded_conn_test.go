package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What speaks something else is turned away, costs nothing, and harms nobody.
func TestEmbeddedTurnsStrangersAway(t *testing.T) {
	c := openEmbedded(t, t.TempDir())
	request := func(size uint32, key, version uint16) string {
		b := binary.BigEndian.AppendUint32(nil, size)
		return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, key), version))
	}
	for name, words := range map[string]string{
		"http":                   "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
		"tls":                    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a negative length":      request(1<<31, 3, 9),
		"too long a request":     request(maxRequest+1, 3, 9),
		"too short a request":    request(7, 3, 9),
		"a key that nobody has":  request(100, 9999, 0) + strings.Repeat("x", 96),
		"a version of no client": request(100, 3, 999) + strings.Repeat("x", 96),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			conn, err := net.Dial("tcp", c.Brokers()[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, words); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, conn); n != 0 || isTimeout(err) {
				t.Errorf("answered with %d bytes, %v", n, err)
			}
			if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 {
				t.Errorf("it cost %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20)
			}
		})
	}
	produce(t, c, batchRecord(c, "car-1", 1))
	if n := len(readAll(t, c, c.names.Batches)); n != 1 {
		t.Errorf("%d records afterwards", n)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
