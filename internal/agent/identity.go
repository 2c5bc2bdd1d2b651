package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"telemetry/internal/config"
)

// ClientTLS reads the identity that the car shows to its receivers.
func ClientTLS(c *config.ClientTLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the car: %w", err)
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("CA of the receiver: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate (want PEM)", c.CA)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: c.ServerName}, nil
}

// WrongIdentity returns why no receiver believes that the owner of cert is car at
// the time now, and what helps; nothing when it may.
func WrongIdentity(cert *x509.Certificate, car string, now time.Time) (why, remedy string) {
	switch {
	case cert.Subject.CommonName != car:
		return fmt.Sprintf("speaks for %q, the car is %q", cert.Subject.CommonName, car), "use the certificate of this car"
	case now.After(cert.NotAfter):
		return "expired on " + cert.NotAfter.Format(time.DateOnly), "receiver ca issue " + car + " makes a new one"
	case now.Before(cert.NotBefore):
		return fmt.Sprintf("not valid before %s: is the board's clock right?", cert.NotBefore.Format(time.DateOnly)), "set the clock"
	}
	return "", ""
}
