// Package pki makes certificates for tests, demos and benches: an authority, a
// server and any number of clients, whose common name says who they are.
//
// The entry point is [New], or [Write] for a folder of PEM files. The keys lie
// unprotected and the authority is thrown away with the process: nothing here
// is fit to guard anything.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// life is how long a certificate is valid; it begins an hour ago, for peers
// whose clock is slow.
const (
	life   = 365 * 24 * time.Hour
	before = time.Hour
)

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// Pair is a certificate and its key, both PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// New makes an authority with a fresh key.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: key of the authority: %w", err)
	}
	t, err := template("test authority")
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: certificate of the authority: %w", err)
	}
	return &Authority{cert: cert, key: key, pem: block("CERTIFICATE", der)}, nil
}

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("pki: serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-before), NotAfter: now.Add(life),
	}, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Pool returns a pool of the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Server returns the identity of a server with these host names or addresses.
func (a *Authority) Server(hosts ...string) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("pki: a server needs at least one host name or address")
	}
	return a.issue(hosts[0], func(t *x509.Certificate) {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, h)
			}
		}
	})
}

// Client returns the identity of a client: a car, or the receiver.
func (a *Authority) Client(name string) (Pair, error) {
	return a.issue(name, func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
}

func (a *Authority) issue(name string, change func(*x509.Certificate)) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: key of %s: %w", name, err)
	}
	t, err := template(name)
	if err != nil {
		return Pair{}, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	change(t)
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: key of %s: %w", name, err)
	}
	return Pair{Cert: block("CERTIFICATE", der), Key: block("EC PRIVATE KEY", secret)}, nil
}

// ServerTLS returns the configuration of a server that asks for and verifies
// clients of this authority.
func (a *Authority) ServerTLS(hosts ...string) (*tls.Config, error) {
	p, err := a.Server(hosts...)
	if err != nil {
		return nil, err
	}
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	c.ClientCAs, c.ClientAuth = a.Pool(), tls.RequireAndVerifyClientCert
	return c, nil
}

// ClientTLS returns the configuration of a client that trusts this authority.
// With an empty name it has no certificate.
func (a *Authority) ClientTLS(name string) (*tls.Config, error) {
	if name == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool()}, nil
	}
	p, err := a.Client(name)
	if err != nil {
		return nil, err
	}
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	c.RootCAs = a.Pool()
	return c, nil
}

func (p Pair) config() (*tls.Config, error) {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil
}

// Write puts the authority's certificate into ca.crt below dir, a server's identity for hosts into
// server.crt and server.key, and that of each client into <client>.crt and
// <client>.key. dir is made if it is missing; what is there is replaced.
func (a *Authority) Write(dir string, hosts []string, clients ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("pki: folder for certificates: %w", err)
	}
	if err := write(dir, "ca.crt", a.pem); err != nil {
		return err
	}
	server, err := a.Server(hosts...)
	if err != nil {
		return err
	}
	if err := server.write(dir, "server"); err != nil {
		return err
	}
	for _, name := range clients {
		p, err := a.Client(name)
		if err != nil {
			return err
		}
		if err := p.write(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// Write makes an authority and everything that [Authority.Write] writes.
func Write(dir string, hosts []string, clients ...string) (*Authority, error) {
	a, err := New()
	if err != nil {
		return nil, err
	}
	return a, a.Write(dir, hosts, clients...)
}

func (p Pair) write(dir, name string) error {
	if name != filepath.Base(name) || name == "ca" || name == "." || name == ".." {
		return fmt.Errorf("pki: %q cannot be the name of a file", name)
	}
	return errors.Join(write(dir, name+".crt", p.Cert), write(dir, name+".key", p.Key))
}

func write(dir, name string, b []byte) error {
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return nil
}
