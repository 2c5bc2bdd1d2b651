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
	"strings"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/ca"
	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
)

// logbook is a log that a test reads while it is written.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logbook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// connect opens a connection with the certificate of name below dir, says CONNECT
// and returns it with the answer's first byte.
func connect(t *testing.T, addr, caFile, dir, name, clientID string) (net.Conn, error) {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "127.0.0.1"}
	if name != "" {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		// Also where the server's request does not name its authority.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", addr, cfg)
	if err != nil {
		return nil, err
	}
	return login(t, c, clientID)
}

// login says CONNECT on a connection and returns it, or ends it.
func login(t *testing.T, c net.Conn, clientID string) (net.Conn, error) {
	t.Helper()
	// CONNECT of MQTT 5, clean start, no properties.
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, byte(len(clientID))}, clientID...)
	if _, err := c.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if head[0] != 0x20 || head[3] != 0 { // CONNACK, success
		return nil, errors.Join(errors.New("refused by MQTT"), c.Close())
	}
	return c, nil
}

func TestTheLogSaysWhyACarIsTurnedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	team, err := ca.Init(dir, "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	otherDir := filepath.Join(t.TempDir(), "other")
	other, err := ca.Init(otherDir, "Other CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []ca.Request{{Name: "receiver", Hosts: []string{"127.0.0.1"}}, {Name: "car-1"}, {Name: "car-2"}, {Name: "car-old", Life: -time.Minute}} {
		if _, err := team.Issue(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Issue(ca.Request{Name: "car-1"}); err != nil {
		t.Fatal(err)
	}
	issued, foreign, caFile := filepath.Join(dir, "issued"), filepath.Join(otherDir, "issued"), filepath.Join(dir, ca.CertFile)
	said := &logbook{}
	log := slog.New(slog.NewTextHandler(said, nil))
	revoked, err := ca.NewRevocations(filepath.Join(dir, ca.CRLFile), caFile, log)
	if err != nil {
		t.Fatal(err)
	}
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
	serverTLS := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	revoked.Guard(serverTLS)
	b, err := embedded.Listen(embedded.Config{Address: "127.0.0.1:0", TLS: serverTLS, Revoked: revoked.CheckAll, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, nobody{}) }()
	defer func() { cancel(); <-done }()

	own, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-0-1")
	if err != nil {
		t.Fatalf("a car with its certificate: %v", err)
	}
	defer func() { _ = own.Close() }()
	for name, c := range map[string]struct{ dir, cert, id, why string }{
		"another car's":       {issued, "car-2", "car-1-1-00000abc-0-2", "do not name one car"},
		"expired":             {issued, "car-old", "car-old-1-00000abc-0-1", "certificate expired"},
		"another authority's": {foreign, "car-1", "car-1-1-00000abc-0-3", "certificate of another authority"},
		"none":                {issued, "", "car-1-1-00000abc-0-4", "no valid certificate"},
		"a server's":          {issued, "receiver", "receiver-1-00000abc-0-1", "certificate not valid for a client"},
	} {
		if conn, err := connect(t, b.Addr(), caFile, c.dir, c.cert, c.id); err == nil {
			_ = conn.Close()
			t.Errorf("%s: got through", name)
		}
		await(t, name+": the log says why: "+said.text(), func() bool { return strings.Contains(said.text(), c.why) })
	}
	if _, err := team.Revoke("car-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, own); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the open connection of a revoked car was not ended")
	}
	if conn, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-0-5"); err == nil {
		_ = conn.Close()
		t.Error("a revoked car got through")
	}
	await(t, "the log names the revoked car", func() bool { return strings.Contains(said.text(), `is revoked`) })
}

// nobody takes nothing.
type nobody struct{ ingest.Handler }
