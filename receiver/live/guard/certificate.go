package guard

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Certificate is a server's identity that follows its files: what a tool renews
// is used from the next connection on. It is safe for concurrent use.
type Certificate struct {
	cert, key string
	log       *slog.Logger

	mu    sync.Mutex
	files follower         // guarded by mu
	now   *tls.Certificate // guarded by mu: the last good one
	until time.Time        // guarded by mu: of now
	err   error            // guarded by mu: why the files cannot be used as they are
}

// NewCertificate reads both files, which hold PEM.
func NewCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log, files: follower{paths: []string{cert, key}}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files.changed(time.Now())
	return c, c.load()
}

// load reads the files; the caller holds mu.
func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("guard: certificate of the page: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Errorf("guard: certificate of the page: %w", err)
	}
	c.now, c.until = &pair, leaf.NotAfter
	return nil
}

// current returns the newest certificate that could be read; the caller holds mu.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	if c.files.changed(now) {
		// A tool that writes one file after the other is seen in between too.
		if c.err = c.load(); c.err != nil {
			c.log.Error("certificate of the page cannot be read again, the last good one stays in use", "error", c.err)
		} else {
			c.log.Info("certificate of the page was read again", "until", c.until.UTC().Format(time.RFC3339))
		}
	}
	return c.now
}

// Config returns a server's configuration with the certificate.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.current(time.Now()), nil
		},
	}
}

// Err returns what is wrong with the files, or with the certificate in use; nil
// when nothing is.
func (c *Certificate) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.current(now)
	if c.err == nil && now.After(c.until) {
		return fmt.Errorf("guard: certificate of the page %s expired on %s: browsers refuse it", c.cert, c.until.UTC().Format(time.DateOnly))
	}
	return c.err
}
