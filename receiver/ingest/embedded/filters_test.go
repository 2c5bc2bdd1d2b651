package embedded_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
)

// attachments counts the links that are attached.
type attachments struct {
	ingest.Handler
	mu sync.Mutex
	n  int
}

func (a *attachments) Attached(string, uint8, bool) {
	a.mu.Lock()
	a.n++
	a.mu.Unlock()
}

// subscribe asks for filters in one SUBSCRIBE and returns how many were granted.
func subscribe(t *testing.T, c net.Conn, filters []string) (granted int) {
	t.Helper()
	body := []byte{0, 7, 0} // packet id, no properties
	for _, f := range filters {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(f))), f...)
		body = append(body, 0)
	}
	packet := append(binary.AppendUvarint([]byte{0x82}, uint64(len(body))), body...)
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
	for {
		head, rest := receive(t, c)
		if head != 0x90 { // SUBACK
			continue
		}
		for _, code := range rest[len(rest)-len(filters):] {
			if code == 0 {
				granted++
			}
		}
		return granted
	}
}

// receive reads one packet.
func receive(t *testing.T, c net.Conn) (head byte, body []byte) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head, err := reader{c}.ReadByte()
	if err != nil {
		t.Fatal(err)
	}
	n, err := binary.ReadUvarint(reader{c})
	if err != nil {
		t.Fatal(err)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return head, body
}

type reader struct{ net.Conn }

func (r reader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.Conn, b[:])
	return b[0], err
}

// Whatever a connection subscribes to, the broker keeps a few filters of it.
func TestFiltersOfOneConnectionAreBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		filter  func(i int) string
		granted int
	}{
		{"one link under many names", func(i int) string { return fmt.Sprintf("ctl/car-1/%0*d", i+1, 1) }, 1},
		{"links that no car has", func(i int) string { return fmt.Sprintf("ctl/car-1/%d", i) }, ingest.MaxLinks},
		{"links of everybody", func(i int) string { return fmt.Sprintf("ctl/car-%d/1", i) }, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := embedded.Listen(embedded.Config{Address: "127.0.0.1:0", Insecure: true, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			a := &attachments{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- b.Run(ctx, a) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			conn, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			hello := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 20}, "car-1-1-00000abc-0-1"...)
			if _, err := conn.Write(append([]byte{0x10, byte(len(hello))}, hello...)); err != nil {
				t.Fatal(err)
			}
			if head, body := receive(t, conn); head != 0x20 || body[1] != 0 {
				t.Fatalf("CONNACK %x %x", head, body)
			}
			granted := 0
			for round := range 4 {
				var filters []string
				for i := range 100 {
					filters = append(filters, c.filter(100*round+i))
				}
				granted += subscribe(t, conn, filters)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if granted != c.granted || a.n != c.granted || b.Counters().Forbidden != uint64(400-c.granted) {
				t.Errorf("%d filters granted, %d links attached, %d forbidden; want %d granted", granted, a.n, b.Counters().Forbidden, c.granted)
			}
		})
	}
}
