package doctor_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/receiver"
	"telemetry/receiver/ca"
	"telemetry/receiver/doctor"
	"telemetry/receiver/live/guard"
)

// read writes and reads a configuration with a good CA, certificate and list beside
// it, and an embedded cluster.
func read(t *testing.T, more string) *config.Receiver {
	t.Helper()
	dir := t.TempDir()
	a, err := ca.Init(filepath.Join(dir, "ca"), "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(ca.Request{Name: "receiver", Hosts: []string{"localhost"}, Out: dir}); err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nname: test\nsocket: s\nkafka: {embedded: {dir: kafka, port: 0}" + more
	if err := os.WriteFile(filepath.Join(dir, "r.yaml"), []byte(strings.NewReplacer("CA", "ca/"+ca.CertFile, "CRL", "ca/"+ca.CRLFile).Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.ReadReceiver(filepath.Join(dir, "r.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const identity = "}\nmqtt: {listen: '127.0.0.1:0', tls: {ca: CA, cert: receiver.crt, key: receiver.key, crl: CRL}}\nlive: {listen: 'off'}\n"

// find returns the first finding about something.
func find(t *testing.T, fs []checkup.Finding, what string) checkup.Finding {
	t.Helper()
	for _, f := range fs {
		if f.What == what {
			return f
		}
	}
	t.Fatalf("nothing about %s in %+v", what, fs)
	return checkup.Finding{}
}

func TestAgesOfCertificatesAndLists(t *testing.T) {
	c := read(t, identity)
	now := time.Now()
	cases := []struct {
		name                        string
		now                         time.Time
		certificate, authority, crl checkup.Level
	}{
		{"new", now, checkup.OK, checkup.OK, checkup.OK},
		{"before all", now.AddDate(-1, 0, 0), checkup.Fail, checkup.Fail, checkup.Warn},
		{"after all", now.AddDate(50, 0, 0), checkup.Fail, checkup.Fail, checkup.Warn},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			fs := doctor.Examine(t.Context(), c, doctor.Options{Now: tt.now}, nil)
			for what, want := range map[string]checkup.Level{"certificate of mqtt": tt.certificate, "CA of the cars": tt.authority, "revocation list": tt.crl} {
				if f := find(t, fs, what); f.Level != want || want != checkup.OK && f.Do == "" {
					t.Errorf("%+v, want %s", f, want)
				}
			}
		})
	}
}

func TestAnExpiringCertificateIsAWarning(t *testing.T) {
	c := read(t, identity)
	a, err := ca.Open(filepath.Dir(c.MQTT.TLS.CA))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := a.Issue(ca.Request{Name: "soon", Hosts: []string{"localhost"}, Life: 72 * time.Hour, Out: dir}); err != nil {
		t.Fatal(err)
	}
	c.MQTT.TLS.Cert, c.MQTT.TLS.Key, c.MQTT.TLS.CRL = filepath.Join(dir, "soon.crt"), filepath.Join(dir, "soon.key"), ""
	fs := doctor.Examine(t.Context(), c, doctor.Options{}, nil)
	if f := find(t, fs, "certificate of mqtt"); f.Level != checkup.Warn || !strings.Contains(f.Why, "expires in 2 days") {
		t.Errorf("%+v", f)
	}
	if f := find(t, fs, "revocation list"); f.Level != checkup.Warn || !strings.Contains(f.Why, "none is configured") {
		t.Errorf("%+v", f)
	}
}

func TestPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	runs := &receiver.Status{Name: "test"}
	cases := []struct {
		name, addr string
		running    *receiver.Status
		want       checkup.Level
		why        string
	}{
		{"taken by a stranger", taken, nil, checkup.Fail, "in use"},
		{"taken by the receiver", taken, runs, checkup.OK, "answers"},
		{"free", free, nil, checkup.OK, "is free"},
		{"free though it runs", free, runs, checkup.Fail, "nobody listens"},
		{"not of this machine", "192.0.2.1:80", nil, checkup.Fail, ""},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			c := read(t, fmt.Sprintf("}\nmqtt: {insecure: true, listen: '%s'}\nlive: {listen: 'off'}\n", tt.addr))
			c.Kafka.Brokers = []string{"127.0.0.1:1"} // not asked: see Unreachable
			fs := doctor.Examine(t.Context(), c, doctor.Options{Running: tt.running, Unreachable: net.ErrClosed}, nil)
			if f := find(t, fs, "mqtt port"); f.Level != tt.want || !strings.Contains(f.Why, tt.why) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestRegistry(t *testing.T) {
	answer := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/subjects" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(answer)
	}))
	defer s.Close()
	c := read(t, ", registry: {url: '"+s.URL+"'}}\nmqtt: {insecure: true, listen: '127.0.0.1:0'}\nlive: {listen: 'off'}\n")
	for code, want := range map[int]checkup.Level{http.StatusOK: checkup.OK, http.StatusUnauthorized: checkup.Fail} {
		answer = code
		if f := find(t, doctor.Examine(t.Context(), c, doctor.Options{}, nil), "schema registry"); f.Level != want {
			t.Errorf("%d: %+v", code, f)
		}
	}
}

func TestWhatTheReceiverSaysIsPassedOn(t *testing.T) {
	c := read(t, identity)
	s := &receiver.Status{Waits: []string{"ingest is stalled"}, Degraded: []string{"output models: waits"}}
	fs := doctor.Examine(t.Context(), c, doctor.Options{Running: s, Unreachable: net.ErrClosed}, nil)
	if f := find(t, fs, "receiver"); f.Level != checkup.Fail || !strings.Contains(f.Why, "ingest is stalled") {
		t.Errorf("%+v", f)
	}
	if f := find(t, fs, "kafka"); f.Level != checkup.Fail {
		t.Errorf("%+v", f)
	}
	if checkup.Worst(fs) != checkup.Fail || checkup.Worst(nil) != checkup.OK || checkup.Worst([]checkup.Finding{{Level: checkup.OK}, {Level: checkup.Warn}}) != checkup.Warn {
		t.Error("the gravest level is not found")
	}
}

// The page's certificate and tokens are looked at where the page is.
func TestDoorOfThePage(t *testing.T) {
	c := read(t, "}\nmqtt: {listen: '127.0.0.1:0', tls: {ca: CA, cert: receiver.crt, key: receiver.key, crl: CRL}}\n"+
		"live: {listen: '127.0.0.1:0', tls: {cert: receiver.crt, key: receiver.key}, login: {tokens: tokens}}\n")
	examine := func(now time.Time) []checkup.Finding {
		return doctor.Examine(t.Context(), c, doctor.Options{Now: now}, nil)
	}
	if f := find(t, examine(time.Now()), "tokens of the page"); f.Level != checkup.Fail || !strings.Contains(f.Do, "receiver page token add") {
		t.Errorf("no file: %+v", f)
	}
	if _, _, err := guard.AddToken(c.Live.Login.Tokens, "anna", guard.Viewer, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		now          time.Time
		tokens, cert checkup.Level
	}{
		"today":          {time.Now(), checkup.OK, checkup.OK},
		"in two days":    {time.Now().AddDate(0, 0, 2), checkup.Fail, checkup.OK},
		"in fifty years": {time.Now().AddDate(50, 0, 0), checkup.Fail, checkup.Fail},
	} {
		fs := examine(tt.now)
		if got := find(t, fs, "tokens of the page"); got.Level != tt.tokens {
			t.Errorf("%s: %+v", name, got)
		}
		if got := find(t, fs, "certificate of the page"); got.Level != tt.cert {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
