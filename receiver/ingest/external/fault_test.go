package external_test

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"telemetry/lab/pki"
	"telemetry/receiver/ingest/external"
)

// startDumb listens and answers each connection with the same bytes, after it
// has heard something.
func startDumb(t *testing.T, answer []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Read(make([]byte, 1024)); err == nil {
				_, _ = c.Write(answer)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// TestFaultsAreExplained: whatever a broker says or does, the client says why it
// is not served and what to do, and goes on trying.
func TestFaultsAreExplained(t *testing.T) {
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ca.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(r rules) func(t *testing.T) string {
		return func(t *testing.T) string { at, _ := startMochi(t, "", r); return "tcp://" + at }
	}
	dumb := func(scheme string, answer ...byte) func(t *testing.T) string {
		return func(t *testing.T) string { return scheme + startDumb(t, answer) }
	}
	tests := []struct {
		name    string
		start   func(t *testing.T) string
		want    []string
		refused bool
	}{
		{"unknown user", serve(rules{login: func(string) bool { return false }}), []string{"connect", "code 0x86", "user and password"}, true},
		{"subscriptions forbidden", serve(rules{acl: func(_ string, write bool) bool { return write }}), []string{"subscribe", "tele/+/catalogue", "code 0x87", "read tele/#"}, true},
		{"shares forbidden", serve(rules{acl: func(topic string, _ bool) bool { return !strings.Contains(topic, "full") }}), []string{"subscribe", "/tele/+/full", "code 0x87"}, true},
		{"no shared subscriptions", dumb("tcp://", 0x20, 0x05, 0x00, 0x00, 0x02, 0x2a, 0x00), []string{"no shared subscriptions", "enable them"}, true},
		{"no wildcards", dumb("tcp://", 0x20, 0x05, 0x00, 0x00, 0x02, 0x28, 0x00), []string{"no wildcards", "enable them"}, true},
		{"speaks MQTT 3 only", dumb("tcp://", 0x20, 0x02, 0x00, 0x01), []string{"does not speak MQTT 5", "Mosquitto 1.6"}, true},
		{"hangs up", dumb("tcp://"), []string{"hung up without a word", "MQTT 5"}, false},
		{"speaks no TLS", dumb("tls://", []byte("HTTP/1.1 400 Bad Request\r\n\r\n")...), []string{"does not speak TLS", "tcp://"}, true},
		{"is not there", func(t *testing.T) string {
			at, stop := startMochi(t, "", rules{})
			stop()
			return "tcp://" + at
		}, []string{"dial", "refused", "is it running"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := external.Config{Address: tt.start(t)}
			if strings.HasPrefix(cfg.Address, "tls") {
				cfg.TLS = secret
			}
			b := run(t, cfg)
			again := func() bool {
				n := b.Status().Counters
				return tt.refused && n.Refused >= 2 || !tt.refused && n.Failed >= 2
			}
			eventually(t, "it tries again", again, func() any { return b.Status() })
			s := b.Status()
			for _, w := range append(tt.want, strings.TrimPrefix(cfg.Address, "tcp://")) {
				if !strings.Contains(s.Error, w) {
					t.Errorf("error %q lacks %q", s.Error, w)
				}
			}
			if s.State == external.StateConnected || s.Sharing || s.Counters.Connections != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestConnectsWhenTheBrokerComes(t *testing.T) {
	at, stop := startMochi(t, "", rules{})
	stop()
	b := run(t, external.Config{Address: "tcp://" + at})
	eventually(t, "it fails", func() bool { return b.Status().Counters.Failed > 0 })
	startMochi(t, at, rules{})
	eventually(t, "it connects", func() bool {
		s := b.Status()
		return s.State == external.StateConnected && s.Error == "" && s.Sharing
	}, func() any { return b.Status() })
}

func TestConfigFaults(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	ca, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  external.Config
		want string // "" = none
	}{
		{"good", external.Config{Address: "tls://b:8883", TLS: identity, Log: log}, ""},
		{"no log", external.Config{Address: "tcp://b:1883"}, "a log is needed"},
		{"no scheme", external.Config{Address: "b:1883", Log: log}, "want tcp://host:port"},
		{"no port", external.Config{Address: "tcp://b", Log: log}, "want tcp://host:port"},
		{"identity without TLS", external.Config{Address: "tcp://b:1883", TLS: identity, Log: log}, "use tls://"},
		{"wildcard group", external.Config{Address: "tcp://b:1883", Group: "a/+", Log: log}, "cannot name a shared subscription"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := external.New(tt.cfg)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
