package ca

import (
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
	"testing"
	"time"
)

func authority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := Init(dir, "Team CA", DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func issue(t *testing.T, a *Authority, r Request) Issued {
	t.Helper()
	i, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// server accepts clients of the authority that are not revoked, and greets them.
func server(t *testing.T, dir string) string {
	t.Helper()
	issued := filepath.Join(dir, issuedDir)
	cert, err := tls.LoadX509KeyPair(filepath.Join(issued, "receiver.crt"), filepath.Join(issued, "receiver.key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientCAs: pool(t, dir), ClientAuth: tls.RequireAndVerifyClientCert}
	rev, err := NewRevocations(filepath.Join(dir, CRLFile), filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rev.Guard(cfg)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends when the listener closes
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.WriteString(c, "hello"); _ = c.Close() }() // ends with the write
		}
	}()
	return ln.Addr().String()
}

func pool(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		t.Fatal("no certificate")
	}
	return p
}

// greeted reports whether a client with the certificate of name in folder from
// gets through; name "" has none.
func greeted(t *testing.T, addr, dir, from, name string, sessions tls.ClientSessionCache) bool {
	t.Helper()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool(t, dir), ServerName: "127.0.0.1", ClientSessionCache: sessions}
	if name != "" {
		cert, err := tls.LoadX509KeyPair(filepath.Join(from, name+".crt"), filepath.Join(from, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, cfg)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	b, _ := io.ReadAll(c)
	return string(b) == "hello"
}

func TestWhoGetsThrough(t *testing.T) {
	a, dir := authority(t)
	other, otherDir := authority(t)
	issue(t, a, Request{Name: "receiver", Hosts: []string{"127.0.0.1", "receiver.example"}})
	addr := server(t, dir)
	issued, foreign := filepath.Join(dir, issuedDir), filepath.Join(otherDir, issuedDir)
	issue(t, a, Request{Name: "car-7"})
	issue(t, a, Request{Name: "car-8"})
	issue(t, a, Request{Name: "car-old", Life: -time.Minute})
	issue(t, other, Request{Name: "car-9"})
	sessions := tls.NewLRUClientSessionCache(4)
	if !greeted(t, addr, dir, issued, "car-7", nil) || !greeted(t, addr, dir, issued, "car-8", sessions) {
		t.Error("a car with its certificate was turned away")
	}
	for name, from := range map[string]string{"": issued, "car-old": issued, "car-9": foreign, "receiver": issued} {
		if greeted(t, addr, dir, from, name, nil) {
			t.Errorf("%q got through", name)
		}
	}
	revoked, err := a.Revoke("car-8")
	if err != nil || len(revoked) != 1 {
		t.Fatalf("revoke: %v, %v", revoked, err)
	}
	if greeted(t, addr, dir, issued, "car-8", nil) {
		t.Error("a revoked car got through")
	}
	if greeted(t, addr, dir, issued, "car-8", sessions) {
		t.Error("a revoked car got through with a resumed session")
	}
	if !greeted(t, addr, dir, issued, "car-7", nil) {
		t.Error("another car was turned away with it")
	}
	issue(t, a, Request{Name: "car-8"})
	if !greeted(t, addr, dir, issued, "car-8", nil) {
		t.Error("a car with a new certificate was turned away")
	}
}

func TestAuthorityOutlivesItsProcess(t *testing.T) {
	a, dir := authority(t)
	first := issue(t, a, Request{Name: "car-7"})
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	issue(t, again, Request{Name: "car-8", Out: t.TempDir()})
	if _, err := again.Revoke(strings.ToUpper(first.Serial)); err != nil {
		t.Fatal(err)
	}
	list := again.List()
	if len(list) != 2 || list[0].State(time.Now()) != "revoked" || list[1].State(time.Now()) != "valid" || list[1].State(time.Now().Add(DefaultFor+time.Hour)) != "expired" {
		t.Errorf("got %+v", list)
	}
	if _, err := again.Revoke("car-7"); err == nil {
		t.Error("revoked twice")
	}
	if _, err := Init(dir, "x", DefaultCA); err == nil {
		t.Error("an authority was overwritten")
	}
	if _, err := again.Issue(Request{Name: "../evil"}); err == nil {
		t.Error("a name with a path was issued")
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "ca init") {
		t.Errorf("no authority: got %v", err)
	}
	st, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key: mode %v, %v", st.Mode(), err)
	}
}

func TestABrokenListLeavesTheLastGoodOneInForce(t *testing.T) {
	a, dir := authority(t)
	issue(t, a, Request{Name: "car-7"})
	if _, err := a.Revoke("car-7"); err != nil {
		t.Fatal(err)
	}
	crl := filepath.Join(dir, CRLFile)
	rev, err := NewRevocations(crl, filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, issuedDir, "car-7.crt"), filepath.Join(dir, issuedDir, "car-7.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	var re *RevokedError
	for name, content := range map[string]string{"garbage": "garbage", "empty": ""} {
		if err := os.WriteFile(crl, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rev.Check(cert); !errors.As(err, &re) || re.Name != "car-7" {
			t.Errorf("%s: got %v, want revoked", name, err)
		}
		if _, err := NewRevocations(crl, filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: was taken at the start", name)
		}
	}
	_, otherDir := authority(t)
	if _, err := NewRevocations(filepath.Join(otherDir, CRLFile), filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("another authority's list was taken")
	}
}

// counter counts the lines of a log.
type counter struct {
	slog.Handler
	errors, infos int
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }

func (c *counter) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		c.errors++
	} else {
		c.infos++
	}
	return nil
}

// A flood of strangers meets a broken list: it is read once a second, and logged
// once a minute.
func TestABrokenListIsToldWithMeasure(t *testing.T) {
	a, dir := authority(t)
	issue(t, a, Request{Name: "car-7"})
	crl := filepath.Join(dir, CRLFile)
	said := &counter{Handler: slog.DiscardHandler}
	rev, err := NewRevocations(crl, filepath.Join(dir, CertFile), slog.New(said))
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(crl)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, issuedDir, "car-7.crt"), filepath.Join(dir, issuedDir, "car-7.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func() error{
		"garbage": func() error { return os.WriteFile(crl, []byte("garbage"), 0o600) },
		"gone":    func() error { return os.Remove(crl) },
	} {
		t.Run(name, func(t *testing.T) {
			said.errors, said.infos = 0, 0
			if err := breakIt(); err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				if err := rev.Check(cert); err != nil {
					t.Fatal(err)
				}
			}
			if said.errors != 1 || rev.Err() == nil {
				t.Errorf("%d lines for 1000 connections, error %v", said.errors, rev.Err())
			}
			if err := os.WriteFile(crl, good, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := rev.Err(); err != nil || said.infos != 1 {
				t.Errorf("afterwards: %v, %d lines", err, said.infos)
			}
		})
	}
}

func TestAListPastItsTimeIsTold(t *testing.T) {
	_, dir := authority(t)
	rev, err := NewRevocations(filepath.Join(dir, CRLFile), filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := rev.trouble(time.Now()); err != nil {
		t.Errorf("fresh: %v", err)
	}
	if err := rev.trouble(time.Now().Add(crlLife + time.Hour)); err == nil || !strings.Contains(err.Error(), "was to be replaced") {
		t.Errorf("late: %v", err)
	}
}

func TestManyAreCheckedWithOneLook(t *testing.T) {
	a, dir := authority(t)
	var certs []*x509.Certificate
	for _, name := range []string{"car-7", "car-8"} {
		issue(t, a, Request{Name: name})
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, issuedDir, name+".crt"), filepath.Join(dir, issuedDir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	rev, err := NewRevocations(filepath.Join(dir, CRLFile), filepath.Join(dir, CertFile), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke("car-8"); err != nil {
		t.Fatal(err)
	}
	errs := rev.CheckAll(certs)
	var re *RevokedError
	if len(errs) != 2 || errs[0] != nil || !errors.As(errs[1], &re) || re.Name != "car-8" {
		t.Errorf("got %v", errs)
	}
}
