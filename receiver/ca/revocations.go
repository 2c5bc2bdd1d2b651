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
	seen    stamp           // guarded by mu: of the file as tried last
	triedAt time.Time       // guarded by mu
	err     error           // guarded by mu: why it cannot be used as it is now
	saidAt  time.Time       // guarded by mu: when err was logged
	serials map[string]bool // guarded by mu: of the last good list
	until   time.Time       // guarded by mu: when that is to be replaced
}

// stamp tells one state of a file from another.
type stamp struct {
	changed time.Time
	size    int64
}

const (
	// brokenAgain is when a broken file that has not changed is read again.
	brokenAgain = time.Second
	// revocationsSaid is how often a list that cannot be used is logged.
	revocationsSaid = time.Minute
)

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
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.refresh(time.Now())
}

// refresh reads the file if it changed; the caller holds mu. A file that is broken
// is not read again for each connection of a stranger.
func (r *Revocations) refresh(now time.Time) error {
	st, err := os.Stat(r.path)
	if err != nil {
		r.seen, r.err = stamp{}, fmt.Errorf("ca: list of revocations: %w", err)
		return r.err
	}
	at := stamp{st.ModTime(), st.Size()}
	if at == r.seen && (r.err == nil || now.Sub(r.triedAt) < brokenAgain) {
		return r.err
	}
	r.seen, r.triedAt = at, now
	list, err := r.read()
	if r.err = err; err != nil {
		return err
	}
	r.serials, r.until = map[string]bool{}, list.NextUpdate
	for _, e := range list.RevokedCertificateEntries {
		r.serials[e.SerialNumber.Text(16)] = true
	}
	return nil
}

func (r *Revocations) read() (*x509.RevocationList, error) {
	raw, err := os.ReadFile(r.path)
	if err != nil {
		return nil, fmt.Errorf("ca: list of revocations: %w", err)
	}
	b, _ := pem.Decode(raw)
	if b == nil {
		return nil, fmt.Errorf("ca: list of revocations %s is no PEM file", r.path)
	}
	list, err := x509.ParseRevocationList(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("ca: list of revocations %s: %w", r.path, err)
	}
	if err := list.CheckSignatureFrom(r.issuer); err != nil {
		return nil, fmt.Errorf("ca: list of revocations %s is not this authority's: %w", r.path, err)
	}
	return list, nil
}

// trouble says what is wrong with the list in force; the caller holds mu.
func (r *Revocations) trouble(now time.Time) error {
	if r.err == nil && !r.until.IsZero() && now.After(r.until) {
		return fmt.Errorf("ca: list of revocations %s was to be replaced by %s (revoke something, or copy the authority's list again)",
			r.path, r.until.UTC().Format(time.RFC3339))
	}
	return r.err
}

// update refreshes the list and logs its trouble with measure; the caller holds mu.
func (r *Revocations) update(now time.Time) {
	_ = r.refresh(now) // kept, and told by trouble
	err := r.trouble(now)
	switch {
	case err == nil && !r.saidAt.IsZero():
		r.saidAt = time.Time{}
		r.log.Info("list of revocations is well again")
	case err != nil && (r.saidAt.IsZero() || now.Sub(r.saidAt) >= revocationsSaid):
		r.saidAt = now
		r.log.Error("list of revocations cannot be relied on, the last good one stays in force", "error", err)
	}
}

// Err refreshes the list and returns what is wrong with it; nil when nothing is.
// The last good list stays in force.
func (r *Revocations) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.update(now)
	return r.trouble(now)
}

// Check returns a [*RevokedError] if cert was taken back. A list that cannot be
// read any more leaves the last good one in force, and is logged.
func (r *Revocations) Check(cert *x509.Certificate) error {
	return r.CheckAll([]*x509.Certificate{cert})[0]
}

// CheckAll is [Revocations.Check] of many certificates, with one look at the file.
func (r *Revocations) CheckAll(certs []*x509.Certificate) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.update(time.Now())
	errs := make([]error, len(certs))
	for i, c := range certs {
		if serial := c.SerialNumber.Text(16); r.serials[serial] {
			errs[i] = &RevokedError{Name: c.Subject.CommonName, Serial: serial}
		}
	}
	return errs
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
