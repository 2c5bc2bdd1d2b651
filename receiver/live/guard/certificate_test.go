package guard

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/ca"
)

// pages makes certificates of a page.
func pages(t *testing.T) (issue func(life time.Duration) (cert, key []byte)) {
	t.Helper()
	dir := t.TempDir()
	team, err := ca.Init(filepath.Join(dir, "ca"), "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	return func(life time.Duration) ([]byte, []byte) {
		t.Helper()
		out := t.TempDir()
		if _, err := team.Issue(ca.Request{Name: "page", Hosts: []string{"localhost"}, Life: life, Out: out}); err != nil {
			t.Fatal(err)
		}
		cert, err := os.ReadFile(filepath.Join(out, "page.crt"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(out, "page.key"))
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
}

// serial is that of the certificate which a server shows now.
func serial(t *testing.T, c *Certificate, versions ...uint16) (string, error) {
	t.Helper()
	a, b := net.Pipe()
	server := tls.Server(a, c.Config())
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	conf := &tls.Config{InsecureSkipVerify: true} // who it is, is what is asked
	if len(versions) > 0 {
		conf.MinVersion, conf.MaxVersion = versions[0], versions[0]
	}
	client := tls.Client(b, conf)
	err := client.Handshake()
	_ = b.Close()
	<-done
	if err != nil {
		return "", err
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

func TestCertificateFollowsItsFiles(t *testing.T) {
	issue := pages(t)
	cert1, key1 := issue(24 * time.Hour)
	cert2, key2 := issue(24 * time.Hour)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	put := func(cert, key []byte) {
		t.Helper()
		if err := os.WriteFile(certFile, cert, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(cert1, key1)
	said := &logbook{}
	c, err := NewCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := func() string {
		t.Helper()
		s, err := serial(t, c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := now()
	put(cert2, key1) // half of the new one
	eventually(t, "it is told that the pair does not fit", func() bool { return c.Err() != nil })
	if now() != first {
		t.Error("the last good one is not in use")
	}
	put(cert2, key2)
	eventually(t, "the new one is in use", func() bool { return now() != first })
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"the last good one stays in use", "was read again"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the log lacks %q: %s", want, said)
		}
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told that the key is gone", func() bool { return c.Err() != nil })
	if now() == first {
		t.Error("the last good one is not in use")
	}
}

func TestCertificateRefuses(t *testing.T) {
	issue := pages(t)
	cert, key := issue(24 * time.Hour)
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	log := slog.New(slog.DiscardHandler)
	good, goodKey := file("c", cert), file("k", key)
	for name, pair := range map[string][2]string{
		"no file": {filepath.Join(dir, "none"), goodKey}, "no key": {good, filepath.Join(dir, "none")}, "no PEM": {good, file("x", []byte("x"))},
		"the other way round": {goodKey, good},
	} {
		if _, err := NewCertificate(pair[0], pair[1], log); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	c, err := NewCertificate(good, goodKey, log)
	if err != nil {
		t.Fatal(err)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		if _, err := serial(t, c, version); (err == nil) != ok {
			t.Errorf("TLS %x: %v", version, err)
		}
	}
	block, _ := tls.X509KeyPair(cert, key)
	leaf, err := x509.ParseCertificate(block.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(leaf.NotAfter) + time.Minute)
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "browsers refuse it") {
			t.Errorf("expired: %v", err)
		}
	})
}
