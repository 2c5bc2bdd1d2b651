package embedded_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"telemetry/receiver/ca"
	"telemetry/receiver/ingest/embedded"
)

// authority makes a CA with a receiver and car-1, and the receiver's TLS.
func authority(t *testing.T) (issued, caFile string, server *tls.Config) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	team, err := ca.Init(dir, "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []ca.Request{{Name: "receiver", Hosts: []string{"127.0.0.1"}}, {Name: "car-1"}} {
		if _, err := team.Issue(r); err != nil {
			t.Fatal(err)
		}
	}
	issued, caFile = filepath.Join(dir, "issued"), filepath.Join(dir, ca.CertFile)
	pair, err := tls.LoadX509KeyPair(filepath.Join(issued, "receiver.crt"), filepath.Join(issued, "receiver.key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return issued, caFile, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// serving runs a broker until the test ends.
func serving(t *testing.T, b *embedded.Broker) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, nobody{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pinged reports whether a connection of a car still is served.
func pinged(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte{0xc0, 0}); err != nil {
		return false
	}
	var got []byte // what is left of CONNACK comes first
	for one := make([]byte, 1); !bytes.HasSuffix(got, []byte{0xd0, 0}); got = append(got, one[0]) {
		if _, err := io.ReadFull(c, one); err != nil {
			return false
		}
	}
	return true
}

// Strangers that open a thousand connections and say nothing keep no car out, and
// end no car's connection.
func TestSilentStrangersKeepNobodyOut(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs the whole of 127.0.0.0/8 on loopback, as Linux has it")
	}
	issued, caFile, server := authority(t)
	b, err := embedded.Listen(embedded.Config{
		Address: "127.0.0.1:0", TLS: server, MaxConnections: 64, MaxHandshakes: 32, MaxPerAddress: 16, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	serving(t, b)
	early, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-0-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Close() }()
	const strangers = 1000
	for i := range strangers {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%4))}, Timeout: 20 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp", b.Addr())
		if err != nil {
			t.Fatalf("stranger %d: %v", i, err)
		}
		defer func() { _ = c.Close() }()
	}
	await(t, "all strangers were accepted", func() bool { return b.Counters().Connections > strangers })
	if n := b.Counters(); n.Handshakes > 32 || n.Crowded < strangers-32 {
		t.Errorf("%d silent ones are in, %d were driven out", n.Handshakes, n.Crowded)
	}
	for i, id := range []string{"car-1-1-00000abc-0-2", "car-1-1-00000abc-1-1"} {
		c, err := connect(t, b.Addr(), caFile, issued, "car-1", id)
		if err != nil {
			t.Fatalf("car's connection %d among strangers: %v", i, err)
		}
		defer func() { _ = c.Close() }()
		if !pinged(t, c) {
			t.Errorf("car's connection %d is not served", i)
		}
	}
	if !pinged(t, early) {
		t.Error("the connection that was there before is not served any more")
	}
}

// short is a listener to which the system gives nothing for a while.
type short struct {
	net.Listener
	failures atomic.Int32
	err      error
}

func (s *short) Accept() (net.Conn, error) {
	if s.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", s.err)}
	}
	return s.Listener.Accept()
}

// An Accept that fails ends nothing: cars connect when the system has connections
// again, and meanwhile health and log say why.
func TestAcceptThatFailsIsTriedAgain(t *testing.T) {
	issued, caFile, server := authority(t)
	for _, why := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ECONNABORTED} {
		for name, conf := range map[string]*tls.Config{"plain": nil, "tls": server} {
			t.Run(name+" "+why.Error(), func(t *testing.T) {
				inner, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				l := &short{Listener: inner, err: why}
				l.failures.Store(1 << 30)
				said := &logbook{}
				b, err := embedded.Serve(embedded.Config{
					TLS: conf, Insecure: conf == nil, MaxConnections: 8, MaxPerCar: 8, MaxHandshakes: 8, MaxPerAddress: 8,
					Log: slog.New(slog.NewTextHandler(said, nil)),
				}, l)
				if err != nil {
					t.Fatal(err)
				}
				serving(t, b)
				await(t, "health says why", func() bool { return errors.Is(b.Err(), why) })
				await(t, "the log says why", func() bool { return strings.Contains(said.text(), why.Error()) })
				await(t, "it is tried again", func() bool { return b.Counters().AcceptErrors > 2 })
				l.failures.Store(0)
				dial := func() (net.Conn, error) {
					if conf != nil {
						return connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-0-1")
					}
					c, err := net.Dial("tcp", b.Addr())
					if err != nil {
						return nil, err
					}
					return login(t, c, "car-1-1-00000abc-0-1")
				}
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				if err := b.Err(); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}
