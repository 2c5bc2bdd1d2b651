package imagefire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"telemetry/lab/simcar"
	"telemetry/receiver/ca"
)

// stranger is a car that must get nothing through, and what the log says of it.
type stranger struct {
	name, certificate string // "": none
	said              []string
}

// strangers lists them. They make data like any other car.
func strangers() []stranger {
	return []stranger{
		{"car-other", "car-00", []string{"certificate and client id do not name one car", "certificate=car-00", "client_id=car-other-"}},
		{"car-revoked", "car-revoked", []string{"it does not prove who it is", "revoked"}},
		{"car-expired", "car-expired", []string{"it does not prove who it is", "certificate expired"}},
		{"car-none", "", []string{"it does not prove who it is", "didn't provide a certificate"}},
	}
}

// identities makes the team's authority in a folder, and what the containers need of it
// in another, which they can read though they are not the caller.
func identities(dir, etc string, cars int) error {
	team, err := ca.Init(dir, "Team CA", ca.DefaultCA)
	if err != nil {
		return err
	}
	requests := []ca.Request{{Name: "receiver", Hosts: []string{"127.0.0.1"}}, {Name: "car-revoked"}, {Name: "car-expired", Life: -time.Minute}}
	for i := range cars {
		requests = append(requests, ca.Request{Name: carName(i)})
	}
	for _, r := range requests {
		if _, err := team.Issue(r); err != nil {
			return err
		}
	}
	if _, err := team.Revoke("car-revoked"); err != nil {
		return err
	}
	for from, to := range map[string]string{
		ca.CertFile: "ca.crt", ca.CRLFile: "crl.pem", "issued/receiver.crt": "receiver.crt", "issued/receiver.key": "receiver.key",
	} {
		b, err := os.ReadFile(filepath.Join(dir, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(etc, to), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("imagefire: %w", err)
		}
	}
	return nil
}

func carName(i int) string { return fmt.Sprintf("car-%02d", i) }

// clientTLS is what a car with a certificate dials with; "" has none.
func clientTLS(dir, certificate string) (*tls.Config, error) {
	b, err := os.ReadFile(filepath.Join(dir, ca.CertFile))
	if err != nil {
		return nil, fmt.Errorf("imagefire: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(b)
	if certificate == "" {
		return c, nil
	}
	stem := filepath.Join(dir, "issued", certificate)
	pair, err := tls.LoadX509KeyPair(stem+".crt", stem+".key")
	if err != nil {
		return nil, fmt.Errorf("imagefire: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// check fails unless the car has all of its batches left, and the logs say why.
func (s *stranger) check(car *simcar.Car, appended int64, logs string) error {
	var errs []error
	if n := int64(car.Pending()); n < appended || n == 0 {
		errs = append(errs, fmt.Errorf("imagefire: %s got rid of batches: %d are left of %d and more", s.name, n, appended))
	}
	for line := range strings.Lines(logs) {
		all := true
		for _, w := range s.said {
			all = all && strings.Contains(line, w)
		}
		if all {
			return errors.Join(errs...)
		}
	}
	return errors.Join(append(errs, fmt.Errorf("imagefire: no log says of %s: %q", s.name, s.said))...)
}

// knock lets the strangers try until load ends.
func (r *run) knock(load context.Context) error {
	for _, s := range strangers() {
		c, err := r.openCar(s.name, s.certificate)
		if err != nil {
			return err
		}
		g := &guest{stranger: s, car: c}
		r.guests = append(r.guests, g)
		g.drive(load, r.Seed)
	}
	return nil
}
