// Package ca is a team's own certificate authority in a folder: it gives cars
// and receivers their identity and takes it back.
//
// The entry points are [Init] and [Open]. The key of the authority never leaves
// its folder and is needed only to issue and revoke; a receiver needs the
// certificate and the list of revocations (see [Revocations]).
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"telemetry/wire"
)

// Files of an authority's folder.
const (
	CertFile  = "ca.crt"
	KeyFile   = "ca.key"
	CRLFile   = "crl.pem"
	indexFile = "index.json"
	issuedDir = "issued"
)

// Times of certificates.
const (
	before     = time.Hour                 // certificates begin this long ago, for peers whose clock is slow
	crlLife    = 30 * 365 * 24 * time.Hour // the list is read from a file, not fetched: it never goes stale by time
	DefaultCA  = 10 * 365 * 24 * time.Hour
	DefaultFor = 2 * 365 * 24 * time.Hour
)

// Kinds of certificates.
const (
	Client = "client" // a car, or a receiver towards a broker; its common name says who it is
	Server = "server" // a receiver or broker
)

// Issued is one certificate that the authority gave out.
type Issued struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Serial  string     `json:"serial"` // hexadecimal
	From    time.Time  `json:"from"`
	Until   time.Time  `json:"until"`
	Revoked *time.Time `json:"revoked,omitempty"`
}

// State is "valid", "expired" or "revoked" at a moment.
func (i Issued) State(now time.Time) string {
	switch {
	case i.Revoked != nil:
		return "revoked"
	case now.After(i.Until):
		return "expired"
	}
	return "valid"
}

// Authority is an authority whose key is at hand. One process at a time may
// change it.
type Authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued []Issued
}

// Init makes an authority in dir, which must not hold one.
func Init(dir, name string, life time.Duration) (*Authority, error) {
	if _, err := os.Stat(filepath.Join(dir, KeyFile)); err == nil {
		return nil, fmt.Errorf("ca: %s holds an authority already: a new one would turn every car away (remove it by hand if that is meant)", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, issuedDir), 0o700); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ca: key: %w", err)
	}
	t, err := template(name, life)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("ca: certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("ca: certificate: %w", err)
	}
	a := &Authority{dir: dir, cert: cert, key: key}
	if err := a.writeKey(filepath.Join(dir, KeyFile), key); err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(dir, CertFile), block("CERTIFICATE", der), 0o644); err != nil {
		return nil, err
	}
	return a, a.save()
}

// Open opens the authority in dir.
func Open(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	pair, err := os.ReadFile(filepath.Join(dir, KeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ca: %s holds no authority (receiver ca init makes one): %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	b, _ := pem.Decode(pair)
	if b == nil {
		return nil, fmt.Errorf("ca: %s is no PEM file", KeyFile)
	}
	if a.key, err = x509.ParseECPrivateKey(b.Bytes); err != nil {
		return nil, fmt.Errorf("ca: %s: %w", KeyFile, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if b, _ = pem.Decode(raw); b == nil {
		return nil, fmt.Errorf("ca: %s is no PEM file", CertFile)
	}
	if a.cert, err = x509.ParseCertificate(b.Bytes); err != nil {
		return nil, fmt.Errorf("ca: %s: %w", CertFile, err)
	}
	raw, err = os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if err := json.Unmarshal(raw, &a.issued); err != nil {
		return nil, fmt.Errorf("ca: %s: %w", indexFile, err)
	}
	return a, nil
}

// List returns what was issued, oldest first.
func (a *Authority) List() []Issued { return slices.Clone(a.issued) }

func template(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("ca: serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-before), NotAfter: now.Add(life)}, nil
}

// Request is a certificate to be issued.
type Request struct {
	Name  string        // of the car, or of the server
	Hosts []string      // a server's names and addresses; empty: a client
	Life  time.Duration // 0 means DefaultFor
	Out   string        // folder for NAME.crt and NAME.key; empty: the authority's own
}

// Issue makes a key and a certificate. A name may be issued again: the older
// certificate stays valid until it is revoked or ends.
func (a *Authority) Issue(r Request) (Issued, error) {
	if err := wire.ValidCar(r.Name); err != nil {
		return Issued{}, fmt.Errorf("ca: %q cannot be a name: %w", r.Name, err)
	}
	if r.Life == 0 {
		r.Life = DefaultFor
	}
	if r.Out == "" {
		r.Out = filepath.Join(a.dir, issuedDir)
	}
	if err := os.MkdirAll(r.Out, 0o700); err != nil {
		return Issued{}, fmt.Errorf("ca: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Issued{}, fmt.Errorf("ca: key of %s: %w", r.Name, err)
	}
	t, err := template(r.Name, r.Life)
	if err != nil {
		return Issued{}, err
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	i := Issued{Name: r.Name, Kind: Client, Serial: t.SerialNumber.Text(16), From: t.NotBefore, Until: t.NotAfter}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(r.Hosts) > 0 {
		i.Kind, t.ExtKeyUsage = Server, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, h := range r.Hosts {
			if ip := net.ParseIP(h); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, h)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return Issued{}, fmt.Errorf("ca: certificate of %s: %w", r.Name, err)
	}
	a.issued = append(a.issued, i) // noted before it exists: what was given out can be revoked
	if err := a.save(); err != nil {
		return Issued{}, err
	}
	if err := a.writeKey(filepath.Join(r.Out, r.Name+".key"), key); err != nil {
		return Issued{}, err
	}
	return i, replace(filepath.Join(r.Out, r.Name+".crt"), block("CERTIFICATE", der), 0o644)
}

// Revoke takes back every valid certificate of a name, or the one with a serial
// number, and returns them. The list of revocations must be brought to the
// receivers if they do not read this folder.
func (a *Authority) Revoke(nameOrSerial string) ([]Issued, error) {
	now := time.Now()
	var out []Issued
	for i := range a.issued {
		x := &a.issued[i]
		if x.Revoked == nil && (x.Name == nameOrSerial || strings.EqualFold(x.Serial, nameOrSerial)) {
			x.Revoked = &now
			out = append(out, *x)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("ca: nothing that is not revoked was issued to %q (receiver ca list shows what was)", nameOrSerial)
	}
	return out, a.save()
}

// save writes the index and then the list of revocations.
func (a *Authority) save() error {
	b, err := json.MarshalIndent(a.issued, "", "  ")
	if err != nil {
		return fmt.Errorf("ca: index: %w", err)
	}
	if a.issued == nil {
		b = []byte("[]")
	}
	if err := replace(filepath.Join(a.dir, indexFile), append(b, '\n'), 0o600); err != nil {
		return err
	}
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-before), NextUpdate: time.Now().Add(crlLife)}
	for _, i := range a.issued {
		if i.Revoked == nil {
			continue
		}
		serial, ok := new(big.Int).SetString(i.Serial, 16)
		if !ok {
			return fmt.Errorf("ca: index: %q is no serial number", i.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: *i.Revoked})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return fmt.Errorf("ca: list of revocations: %w", err)
	}
	return replace(filepath.Join(a.dir, CRLFile), block("X509 CRL", der), 0o644)
}

func (a *Authority) writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("ca: key: %w", err)
	}
	return replace(path, block("EC PRIVATE KEY", der), 0o600)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// replace writes a file so that a crash leaves the old or the new one, and never
// with wider rights than mode.
func replace(path string, b []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("ca: write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	return nil
}
