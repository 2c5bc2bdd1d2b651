package ca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Revocations turns away peers whose certificate was taken back. It reads its
// file again when that changes. It is safe for concurrent use.
type Revocations struct {
	path   string
	issuer *x509.Certificate
	log    *slog.Logger

	mu      sync.Mutex
	changed time.Time // guarded by mu: of the file as read
	size    int64     // guarded by mu
	serials map[string]bool
}

// RevokedError says whose certificate was taken back.
type RevokedError struct{ Name, Serial string }

func (e *RevokedError) Error() string {
	return fmt.Sprintf("ca: the certificate of %q with serial %s is revoked", e.Name, e.Serial)
}

// NewRevocations reads the list at path, which the authority in the PEM file
// caFile must have signed.
func NewRevocations(path, caFile string, log *slog.Logger) (*Revocations, error) {
	raw, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	b, _ := pem.Decode(raw)
	if b == nil {
		return nil, fmt.Errorf("ca: %s is no PEM file", caFile)
	}
	issuer, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca: %s: %w", caFile, err)
	}
	r := &Revocations{path: path, issuer: issuer, log: log}
	return r, r.reload()
}

// reload reads the file if it changed.
func (r *Revocations) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, err := os.Stat(r.path)
	if err != nil {
		return fmt.Errorf("ca: list of revocations: %w", err)
	}
	if r.serials != nil && st.ModTime().Equal(r.changed) && st.Size() == r.size {
		return nil
	}
	raw, err := os.ReadFile(r.path)
	if err != nil {
		return fmt.Errorf("ca: list of revocations: %w", err)
	}
	b, _ := pem.Decode(raw)
	if b == nil {
		return fmt.Errorf("ca: list of revocations %s is no PEM file", r.path)
	}
	list, err := x509.ParseRevocationList(b.Bytes)
	if err != nil {
		return fmt.Errorf("ca: list of revocations %s: %w", r.path, err)
	}
	if err := list.CheckSignatureFrom(r.issuer); err != nil {
		return fmt.Errorf("ca: list of revocations %s is not this authority's: %w", r.path, err)
	}
	serials := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		serials[e.SerialNumber.Text(16)] = true
	}
	r.serials, r.changed, r.size = serials, st.ModTime(), st.Size()
	return nil
}

// Check returns a [*RevokedError] if cert was taken back. A list that cannot be
// read any more leaves the last good one in force, and is logged.
func (r *Revocations) Check(cert *x509.Certificate) error {
	if err := r.reload(); err != nil {
		r.log.Error("list of revocations not read, the last good one stays in force", "error", err)
	}
	serial := cert.SerialNumber.Text(16)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serials[serial] {
		return &RevokedError{Name: cert.Subject.CommonName, Serial: serial}
	}
	return nil
}

// Guard adds the check to a server's configuration, for resumed sessions too.
func (r *Revocations) Guard(c *tls.Config) {
	next := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("ca: peer has no certificate")
		}
		if err := r.Check(s.PeerCertificates[0]); err != nil {
			return err
		}
		if next != nil {
			return next(s)
		}
		return nil
	}
}
