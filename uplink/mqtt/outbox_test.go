package mqtt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"telemetry/uplink"
)

// pair returns a socket over a loopback connection with small buffers, and the
// other end, with or without TLS.
func pair(t *testing.T, secure bool) (*socket, net.Conn) {
	t.Helper()
	if !canTry {
		t.Skip("sockets are not written without waiting here")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close(); _ = far.Close() })
	_ = raw.(*net.TCPConn).SetWriteBuffer(16 << 10)
	_ = far.(*net.TCPConn).SetReadBuffer(16 << 10)
	out := newOutbox(raw)
	s := &socket{Conn: out, raw: raw, out: out, timeout: 20 * time.Second}
	if secure {
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}})
		client := tls.Client(out, &tls.Config{InsecureSkipVerify: true})
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }() // ends with the handshake
		if err := errors.Join(client.Handshake(), <-done); err != nil {
			t.Fatal(err)
		}
		s.Conn, far = client, server
	}
	out.keep = true
	return s, far
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// message returns the n-th payload: no two are alike.
func message(n int) []byte {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), 0xa5}, 5000)
	return b[:14000+n%97]
}

// TestFullSocketTakesPartAndRest: while nobody reads, try never waits; what the
// socket has no room for goes out with rest, and no byte is lost or out of place.
func TestFullSocketTakesPartAndRest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secure bool
	}{{"plain", false}, {"TLS", true}} {
		t.Run(tt.name, func(t *testing.T) {
			s, far := pair(t, tt.secure)
			const most = 10_000
			n := 0
			took := uplink.Whole
			for ; took == uplink.Whole && n < most; n++ {
				var err error
				if took, err = s.try("tele/car/full", message(n)); err != nil {
					t.Fatalf("message %d: %v", n, err)
				}
			}
			if took != uplink.Partly {
				t.Fatalf("after %d messages that nobody reads: %v, want Partly", n, took)
			}
			read := make(chan error, 1)
			go func() { read <- readAll(far, n) }() // ends with the last message or the connection
			if err := s.rest(); err != nil {
				t.Fatalf("rest: %v", err)
			}
			if s.out.size() != 0 {
				t.Error("something is left after rest")
			}
			if err := <-read; err != nil {
				t.Error(err)
			}
			if took, err := s.try("tele/car/full", message(n)); took != uplink.Whole || err != nil {
				t.Errorf("after everything was read: %v, %v, want Whole", took, err)
			}
		})
	}
}

// TestUnackedCountsEachByteOnce: while a great message is flushed, what the kernel has
// taken of it does not count as waiting as well.
func TestUnackedCountsEachByteOnce(t *testing.T) {
	const whole = 4 << 20 // more than any buffer of the two takes
	for _, tt := range []struct {
		name string
		give func(c *conn, payload []byte) error
	}{
		{"the rest of a message that was tried", func(c *conn, payload []byte) error {
			if took, err := c.Try("t", payload); took != uplink.Partly || err != nil {
				return fmt.Errorf("%v, %w, want Partly", took, err)
			}
			return c.Flush()
		}},
		{"a message that waits", func(c *conn, payload []byte) error {
			c.sock.out.announce(len(payload))
			defer c.sock.out.announce(0)
			c.sock.Lock()
			if _, err := c.sock.Write(appendPublish(nil, "t", payload)); err != nil {
				return err
			}
			c.sock.Unlock()
			return c.sock.failure()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, far := pair(t, false)
			c := &conn{sock: s, pinger: paho.NewDefaultPinger()}
			given := int64(len(appendPublish(nil, "t", make([]byte, whole))))
			done := make(chan error, 1)
			go func() { done <- tt.give(c, make([]byte, whole)) }() // ends when all is read
			var read int64
			for _, at := range []int64{given / 4, given / 2, given} {
				n, err := io.CopyN(io.Discard, far, at-read)
				if read += n; err != nil {
					t.Fatal(err)
				}
				for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
					n, ok := c.Unacked()
					if !ok || n > given {
						t.Fatalf("%d bytes are unconfirmed of %d (%v)", n, given, ok)
					}
					if n <= given-read {
						break
					}
					if time.Now().After(end) {
						t.Fatalf("%d bytes are unconfirmed, of %d all but %d were read", n, given, given-read)
					}
				}
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnAnnouncedMessageCountsOnce: from its announcement on, wherever it is.
func TestAnAnnouncedMessageCountsOnce(t *testing.T) {
	s, _ := pair(t, false)
	waits := func() int64 {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		return s.out.coming + int64(len(s.out.left))
	}
	s.out.announce(1000)
	if n := waits(); n != 1000 {
		t.Errorf("announced: %d, want 1000", n)
	}
	if _, err := s.out.Write(make([]byte, 600)); err != nil {
		t.Fatal(err)
	}
	if n := waits(); n != 400 {
		t.Errorf("the socket has a part: %d, want 400", n)
	}
	if _, err := s.out.Write(make([]byte, 500)); err != nil {
		t.Fatal(err)
	}
	if n := waits(); n != 0 {
		t.Errorf("the socket has all: %d, want 0", n)
	}
}

// readAll reads n messages with paho's own decoder and compares them.
func readAll(r io.Reader, n int) error {
	for i := range n {
		p, err := packets.ReadPacket(r)
		if err != nil {
			return err
		}
		pub, ok := p.Content.(*packets.Publish)
		if !ok || pub.Topic != "tele/car/full" || pub.QoS != 0 || !bytes.Equal(pub.Payload, message(i)) {
			return errors.New("a message is not what was sent")
		}
	}
	return nil
}

// TestRestGivesUpAtTheDeadline: a socket that stays full fails, and stays failed.
func TestRestGivesUpAtTheDeadline(t *testing.T) {
	s, _ := pair(t, false)
	s.timeout = 20 * time.Millisecond
	for took := uplink.Whole; took == uplink.Whole; {
		var err error
		if took, err = s.try("t", message(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.rest(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("rest: %v, want a timeout", err)
	}
	if took, err := s.try("t", message(2)); took != uplink.NotTaken || err == nil {
		t.Errorf("try on a failed connection: %v, %v, want NotTaken and an error", took, err)
	}
}

// TestTryLeavesAPacketUnderWayAlone: while another packet is being written nothing
// is taken; nor by a connection that cannot be asked without waiting.
func TestTryLeavesAPacketUnderWayAlone(t *testing.T) {
	s, _ := pair(t, false)
	s.Lock()
	if took, err := s.try("t", message(1)); took != uplink.NotTaken || err != nil {
		t.Errorf("beside another packet: %v, %v, want NotTaken", took, err)
	}
	s.Unlock()
	s.out.keep = false
	if took, err := s.try("t", message(1)); took != uplink.NotTaken || err != nil {
		t.Errorf("without a socket of the system: %v, %v, want NotTaken", took, err)
	}
}

// TestTryOnAClosedSocket reports what broke, so that the link is dialled again.
func TestTryOnAClosedSocket(t *testing.T) {
	s, _ := pair(t, false)
	_ = s.Close()
	if took, err := s.try("t", message(1)); took != uplink.NotTaken || err == nil {
		t.Errorf("%v, %v, want NotTaken and an error", took, err)
	}
}
