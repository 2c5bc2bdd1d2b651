package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWhatMayPassWithTime(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	cases := map[string]struct {
		err  error
		want bool
	}{
		"refused":             {fmt.Errorf("ping: %w", dial), true},
		"no such host yet":    {&net.DNSError{IsNotFound: true}, true},
		"swallowed":           {context.DeadlineExceeded, true},
		"hung up":             {io.EOF, true},
		"hung up at first":    {&kgo.ErrFirstReadEOF{}, true},
		"no leader yet":       {kerr.LeaderNotAvailable, true},
		"login":               {kerr.SaslAuthenticationFailed, false},
		"authorization":       {kerr.TopicAuthorizationFailed, false},
		"replication":         {kerr.InvalidReplicationFactor, false},
		"topic":               {fmt.Errorf("%w: %w", ErrTopic, kerr.LeaderNotAvailable), false},
		"unknown certificate": {&tls.CertificateVerificationError{Err: errors.New("x")}, false},
		"refused certificate": {&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, false},
		"no TLS there":        {tls.RecordHeaderError{}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := unanswered(tc.err); got != tc.want {
				t.Errorf("%v: may pass is %v", tc.err, got)
			}
		})
	}
}

// A broker that ends every connection is waited for only so long: it wants
// another login.
func TestBrokerThatHangsUp(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	for name, login := range map[string]SASL{"no login": {}, "wrong password": {Mechanism: "PLAIN", User: "user", Password: "wrong"}} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			cfg := Config{Brokers: fake.ListenAddrs(), SASL: login, AllowWeak: true, Log: quietLog(), closedPatience: 100 * time.Millisecond}
			_, err := OpenPatiently(t.Context(), cfg, func(error) { tries++ })
			if err == nil || !strings.Contains(err.Error(), "check address, TLS and SASL") || tries == 0 || t.Context().Err() != nil {
				t.Errorf("%d tries: %v", tries, err)
			}
		})
	}
}
