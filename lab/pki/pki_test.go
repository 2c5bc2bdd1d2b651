package pki_test

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"

	"telemetry/lab/pki"
)

// handshake lets a client and a server meet, and returns what the server knows
// of the client.
func handshake(t *testing.T, server, client *tls.Config) (name string, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() { // ends with the server's end of the connection
		defer close(done)
		c, err := tls.Dial("tcp", l.Addr().String(), client)
		if err == nil {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := tls.Server(raw, server)
	if err = s.Handshake(); err == nil {
		name = s.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	_ = raw.Close()
	<-done
	return name, err
}

func TestWhoMayConnect(t *testing.T) {
	ours, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	server, err := ours.ServerTLS("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		of   *pki.Authority
		who  string
		ok   bool
	}{
		{"a client of the authority", ours, "car-1", true},
		{"a client without a certificate", ours, "", false},
		{"a client of another authority", theirs, "car-1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := tt.of.ClientTLS(tt.who)
			if err != nil {
				t.Fatal(err)
			}
			client.RootCAs = ours.Pool() // only the client's side is on trial
			got, err := handshake(t, server, client)
			if (err == nil) != tt.ok || tt.ok && got != tt.who {
				t.Errorf("server saw %q, %v", got, err)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Write(dir, []string{"127.0.0.1"}, "car-1", "receiver"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server", "car-1", "receiver"} {
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"../car", "ca", "a/b"} {
		if _, err := pki.Write(dir, []string{"127.0.0.1"}, name); err == nil {
			t.Errorf("client %q was written", name)
		}
	}
}
