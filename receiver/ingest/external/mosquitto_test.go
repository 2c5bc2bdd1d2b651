//go:build foreign

package external_test

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"telemetry/lab/pki"
	"telemetry/receiver/ingest/external"
)

// mosquitto is a real one with mTLS and access rules, until the test ends.
type mosquitto struct {
	dir  string
	port int
	ca   *pki.Authority
}

// startMosquitto starts one on a free port; the script installs it where it is
// missing.
func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{dir: t.TempDir()}
	var err error
	if m.ca, err = pki.Write(filepath.Join(m.dir, "certs"), []string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	m.script(t, "start", m.dir, strconv.Itoa(m.port))
	t.Cleanup(func() {
		m.script(t, "stop", m.dir)
		if b, err := os.ReadFile(filepath.Join(m.dir, "log")); err == nil {
			t.Logf("mosquitto said:\n%s", b)
		}
	})
	return m
}

func (m *mosquitto) script(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("../../../scripts/mosquitto.sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto.sh %v: %v\n%s", args, err, out)
	}
}

// kill ends it as a crash does.
func (m *mosquitto) kill(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (m *mosquitto) place() place {
	return place{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)), scheme: "tls://", tls: func(t *testing.T, name string) *tls.Config {
		c, err := m.ca.ClientTLS(name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}}
}

func TestMosquittoTwoInstancesShareACar(t *testing.T) {
	m := startMosquitto(t)
	everything(t, m.place(), func() {
		m.kill(t)
		m.script(t, "stop", m.dir) // waits for its end
		m.script(t, "start", m.dir, strconv.Itoa(m.port))
	})
}

// client is a plain MQTT client that keeps what it hears.
type client struct {
	*paho.Client
	mu    sync.Mutex
	heard []string // topics; guarded by mu
}

func (c *client) topics() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.heard, " ")
}

func dialPlain(t *testing.T, p place, cfg *tls.Config, id string) (*client, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", p.addr, cfg)
	if err != nil {
		return nil, err
	}
	c := &client{}
	c.Client = paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: packets.NewThreadSafeConn(conn), PacketTimeout: 5 * time.Second,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.heard = append(c.heard, m.Packet.Topic)
			return true, nil
		}},
	})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 30}); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c, nil
}

func (c *client) mustSubscribe(t *testing.T, filters ...string) {
	t.Helper()
	for _, f := range filters {
		// Mosquitto grants every subscription and checks each message instead.
		if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			t.Fatalf("subscribe to %s: %v", f, err)
		}
	}
}

// publish returns the broker's word.
func (c *client) publish(t *testing.T, topic string) byte {
	t.Helper()
	ack, err := c.Publish(t.Context(), &paho.Publish{Topic: topic, Payload: []byte("x"), QoS: 1})
	if ack == nil {
		t.Fatalf("publish on %s: %v", topic, err)
	}
	return ack.ReasonCode
}

// TestMosquittoAccessRules: a certificate is one car and nothing else.
func TestMosquittoAccessRules(t *testing.T) {
	p := startMosquitto(t).place()
	pit, err := dialPlain(t, p, p.client(t, "receiver"), "pit")
	if err != nil {
		t.Fatal(err)
	}
	pit.mustSubscribe(t, "tele/#")
	one, err := dialPlain(t, p, p.client(t, "car-1"), "one")
	if err != nil {
		t.Fatal(err)
	}
	one.mustSubscribe(t, "ctl/car-1/0")
	two, err := dialPlain(t, p, p.client(t, "car-2"), "two")
	if err != nil {
		t.Fatal(err)
	}
	two.mustSubscribe(t, "ctl/car-1/0", "ctl/car-2/0", "ctl/#", "tele/#")

	const denied = 0x87
	tests := []struct {
		name  string
		who   *client
		topic string
		ok    bool
	}{
		{"a car on its own topic", one, "tele/car-1/full", true},
		{"a car on another's topic", two, "tele/car-1/full", false},
		{"a car as another's pit", two, "ctl/car-1/0", false},
		{"a car as its own pit", one, "ctl/car-1/0", false},
		{"the pit to a car", pit, "ctl/car-1/0", true},
		{"the pit as a car", pit, "tele/car-1/full", false},
		{"another car on its own topic", two, "tele/car-2/live", true},
		{"the pit to another car", pit, "ctl/car-2/0", true},
	}
	for _, tt := range tests {
		if code := tt.who.publish(t, tt.topic); code == denied == tt.ok {
			t.Errorf("%s: code 0x%02x", tt.name, code)
		}
	}
	// The last message to each comes after what it must not get.
	eventually(t, "each heard its last message", func() bool {
		return strings.Contains(one.topics(), "ctl/car-1/0") && strings.Contains(two.topics(), "ctl/car-2/0") && strings.Contains(pit.topics(), "tele/car-2/live")
	})
	for name, got := range map[string][2]string{
		"car-1":    {one.topics(), "ctl/car-1/0"},
		"receiver": {pit.topics(), "tele/car-1/full tele/car-2/live"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s heard %q, want %q", name, got[0], got[1])
		}
	}
	if strings.Contains(two.topics(), "car-1") {
		t.Errorf("car-2 heard %q", two.topics())
	}
}

func TestMosquittoRefusesStrangers(t *testing.T) {
	m := startMosquitto(t)
	p := m.place()
	strangers, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := strangers.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	foreign.RootCAs = m.ca.Pool()
	mistrusting := p.client(t, "receiver")
	mistrusting.RootCAs = strangers.Pool()
	misnamed := p.client(t, "receiver")
	misnamed.ServerName = "broker.example"
	tests := []struct {
		name string
		tls  *tls.Config
		want string
	}{
		{"no certificate", p.client(t, ""), "does not accept our certificate"},
		{"a certificate of another authority", foreign, "does not accept our certificate"},
		{"we don't know its authority", mistrusting, "set client.ca"},
		{"its certificate has another name", misnamed, "set client.server_name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := run(t, external.Config{Address: "tls://" + p.addr, TLS: tt.tls})
			eventually(t, "it says "+tt.want, func() bool { return strings.Contains(b.Status().Error, tt.want) }, func() any { return b.Status() })
			eventually(t, "it tries again", func() bool { return b.Status().Counters.Refused >= 2 }, func() any { return b.Status() })
			if _, err := dialPlain(t, p, tt.tls, "stranger"); err == nil {
				t.Error("a plain client was let in")
			}
		})
	}
	t.Run("a car's certificate", func(t *testing.T) {
		b := run(t, external.Config{Address: "tls://" + p.addr, TLS: p.client(t, "car-1")})
		eventually(t, "it says that acks are denied", func() bool {
			s := b.Status()
			return s.State == external.StateConnected && s.Counters.Denied == 1 && strings.Contains(s.Error, "write ctl/#")
		}, func() any { return b.Status() })
	})
}
