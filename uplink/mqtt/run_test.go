package mqtt_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

// start runs an uplink over n links with one tap each until the test ends.
func start(t *testing.T, st *memStore, n int, addr string, change func(i int, d *mqtt.Dialer)) (*uplink.Uplink, []*taps, func() error) {
	t.Helper()
	var links []uplink.Link
	var tap []*taps
	for i := range n {
		p := &taps{}
		d := &mqtt.Dialer{Net: p.dial}
		if change != nil {
			change(i, d)
		}
		tap = append(tap, p)
		links = append(links, uplink.Link{Name: "modem" + string(rune('0'+i)), Addrs: []string{addr}, Dialer: d})
	}
	u, err := uplink.New(uplink.Config{Car: car, Epoch: epoch}, st, links, bootClock{time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }() // ends with stop
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return u, tap, stop
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition of the snapshot, which the uplink renews.
func eventually(ctx context.Context, t *testing.T, u *uplink.Uplink, what string, ok func(uplink.Snapshot) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(u.Snapshot()) {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s; %+v", what, u.Snapshot())
		case <-tick.C:
		}
	}
}

func TestThreeLinksOneKilledAllDelivered(t *testing.T) {
	in := newIngest(t, nil, nil)
	st := newMemStore()
	u, tap, stop := start(t, st, 3, "tcp://"+in.addr, nil)
	ctx := limit(t)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 200)
	state := func() any { return u.Snapshot() }
	for i := range 100 {
		st.add(t, wire.LaneFull, append([]byte{byte(i)}, payload...))
	}
	st.add(t, wire.LaneCritical, []byte{1, 2, 3})
	st.add(t, wire.LaneLive, []byte{1, 2, 3})
	st.waitSettled(ctx, t, 102, state)
	eventually(ctx, t, u, "three links up", func(s uplink.Snapshot) bool {
		n := 0
		for _, l := range s.Links {
			if l.State == "up" {
				n++
			}
		}
		return n == 3
	})
	for i := range 300 {
		st.add(t, wire.LaneFull, append([]byte{byte(i)}, payload...))
		if i == 100 {
			tap[0].kill()
		}
	}
	st.waitSettled(ctx, t, 402, state)
	eventually(ctx, t, u, "the killed link is back", func(s uplink.Snapshot) bool {
		return s.Links[0].State == "up" && s.Links[0].Dials >= 2
	})
	s := u.Snapshot()
	if s.Totals.Durable == 0 || s.Totals.BadEchoes != 0 || s.Totals.BadMessages != 0 {
		t.Errorf("totals %+v", s.Totals)
	}
	for _, l := range s.Links {
		if l.Messages == 0 {
			t.Errorf("link %s carried nothing: %+v", l.Name, l)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStuckSocketBlocksNobody: one link's receiver stops reading, its writer
// hangs in the socket; the others carry everything, and Run still ends.
func TestStuckSocketBlocksNobody(t *testing.T) {
	in := newIngest(t, nil, nil)
	st := newMemStore()
	stuck := make(chan struct{})
	u, _, stop := start(t, st, 3, "tcp://"+in.addr, func(i int, d *mqtt.Dialer) {
		if i == 1 {
			p := &taps{wrap: func(c net.Conn) net.Conn { return &stickyConn{Conn: c, stuck: stuck, over: make(chan struct{})} }}
			d.Net = p.dial
		}
	})
	ctx := limit(t)
	for range 50 {
		st.add(t, wire.LaneFull, bytes.Repeat([]byte{7}, 3000))
	}
	st.waitSettled(ctx, t, 50, func() any { return u.Snapshot() })
	close(stuck)
	for i := range 500 {
		st.add(t, wire.LaneFull, bytes.Repeat([]byte{byte(i), 3, 1}, 1000))
	}
	st.waitSettled(ctx, t, 550, func() any { return u.Snapshot() })
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("Run doesn't end while a socket is stuck")
	}
}

// stickyConn is a connection whose writes hang from a moment on, as on a modem
// that went silent with a full buffer, until a deadline or Close.
type stickyConn struct {
	net.Conn
	stuck <-chan struct{}
	mu    sync.Mutex
	limit *time.Timer
	over  chan struct{}
	once  sync.Once
}

func (c *stickyConn) Write(p []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.over
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(p)
	}
}

func (c *stickyConn) end() { c.once.Do(func() { close(c.over) }) }

func (c *stickyConn) SetWriteDeadline(d time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit != nil {
		c.limit.Stop()
	}
	c.limit = time.AfterFunc(time.Until(d), func() {
		select {
		case <-c.stuck:
			c.end()
		default:
		}
	})
	return c.Conn.SetWriteDeadline(d)
}

func (c *stickyConn) Close() error {
	c.end()
	return c.Conn.Close()
}

func TestRefusedByTheBroker(t *testing.T) {
	tests := []struct {
		name string
		hook *hook
		want string
	}{
		{"connect", &hook{refuseClient: func(id string) bool { return strings.HasPrefix(id, car+"-4-11223344-1-") }}, "refused the connect"},
		{"subscribe", &hook{refuseTopic: func(topic string, write bool) bool { return !write && topic == "ctl/"+car+"/1" }}, "refused the subscription to ctl/" + car + "/1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newIngest(t, nil, tt.hook)
			st := newMemStore()
			u, _, _ := start(t, st, 3, "tcp://"+in.addr, nil)
			ctx := limit(t)
			eventually(ctx, t, u, "link 1 is refused", func(s uplink.Snapshot) bool { return s.Links[1].Refused > 0 })
			eventually(ctx, t, u, "the reason is told", func(s uplink.Snapshot) bool {
				return strings.Contains(s.Links[1].LastChange, tt.want) || s.Links[1].Dials > s.Links[1].DialFailures
			})
			for range 20 {
				st.add(t, wire.LaneFull, []byte("x"))
			}
			st.waitSettled(ctx, t, 20, func() any { return u.Snapshot() })
			_, err := (&mqtt.Dialer{}).Dial(ctx, uplink.DialRequest{
				Addr: "tcp://" + in.addr, ClientID: car + "-4-11223344-1-9", Subscribe: "ctl/" + car + "/1",
				OnMessage: func([]byte) {}, OnDown: func(error) {},
			})
			var refused *uplink.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) || refused.Code < 0x80 {
				t.Errorf("Dial: %v, want a RefusedError that says %q", err, tt.want)
			}
		})
	}
}

func TestCommandsOverMQTT(t *testing.T) {
	in := newIngest(t, nil, nil)
	st := newMemStore()
	cat := wire.Catalogue{Car: car}
	for i := range 200 {
		cat.Groups = append(cat.Groups, wire.Group{Name: "g" + hex.EncodeToString([]byte{byte(i)}), Lane: wire.LaneFull, Channels: []wire.Channel{{Name: "c" + hex.EncodeToString([]byte{byte(i), byte(i * 7)}), Type: wire.TypeInt}}})
	}
	st.cat = cat.Append(nil)
	h := wire.HashCatalogue(st.cat)
	u, _, _ := start(t, st, 3, "tcp://"+in.addr, nil)
	ctx := limit(t)
	eventually(ctx, t, u, "links hear the instance", func(s uplink.Snapshot) bool {
		for _, l := range s.Links {
			if len(l.Instances) == 0 {
				return false
			}
		}
		return true
	})
	in.command(t, 2, &wire.Command{ID: 1, NotAfterNS: int64(time.Hour + time.Minute), Verb: "catalogue", Args: map[string]string{"hash": hex.EncodeToString(h[:])}})
	in.command(t, 0, &wire.Command{ID: 2, NotAfterNS: int64(time.Hour + time.Minute), Verb: "dance"})
	got := map[uint64]*wire.Answer{}
	for len(got) < 2 {
		select {
		case a := <-in.answers:
			got[a.ID] = a
		case <-ctx.Done():
			t.Fatalf("answers %v", got)
		}
	}
	if !got[1].OK || got[2].OK || got[2].Data[uplink.CodeKey] != "unknown-verb" {
		t.Errorf("answers %+v, %+v", got[1], got[2])
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !bytes.Equal(in.cat, st.cat) {
		t.Errorf("the catalogue arrived with %d bytes, want %d", len(in.cat), len(st.cat))
	}
}

func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: pool}
}

// countingConn counts what reaches the TCP socket.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestOnePacketIsOneWrite(t *testing.T) {
	server, client := selfSigned(t)
	tests := []struct {
		name   string
		secure *tls.Config
		scheme string
	}{{"tcp", nil, "tcp://"}, {"tls", server, "tls://"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newIngest(t, tt.secure, nil)
			var counted *countingConn
			d := &mqtt.Dialer{TLS: client, Net: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				counted = &countingConn{Conn: c}
				return counted, err
			}, KeepAlive: time.Minute}
			heard := make(chan struct{}, 1)
			c, err := d.Dial(limit(t), uplink.DialRequest{
				Addr: tt.scheme + in.addr, ClientID: "c", Subscribe: "ctl/" + car + "/0",
				OnMessage: func([]byte) {
					select {
					case heard <- struct{}{}:
					default:
					}
				},
				OnDown: func(err error) { t.Errorf("down: %v", err) },
			})
			if err != nil {
				t.Fatal(err)
			}
			<-heard // an ack came: connect, subscribe and the first ping are over
			before := counted.writes.Load()
			for range 10 {
				if err := c.Send("other/x", bytes.Repeat([]byte{1}, 2000)); err != nil {
					t.Fatal(err)
				}
			}
			if got := counted.writes.Load() - before; got > 11 { // the first ping may come late
				t.Errorf("%d writes for 10 packets, want 10", got)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.Send("other/x", nil); err == nil {
				t.Error("Send after Close: no error")
			}
		})
	}
}

func TestParseAddr(t *testing.T) {
	tests := []struct {
		in, hostPort string
		secure, ok   bool
	}{
		{"tcp://10.0.0.1:1883", "10.0.0.1:1883", false, true},
		{"tls://pit.example:8883", "pit.example:8883", true, true},
		{"tls://[2001:db8::1]:8883", "[2001:db8::1]:8883", true, true},
		{"mqtt://a:1", "", false, false},
		{"a:1", "", false, false},
		{"tcp://a", "", false, false},
		{"tcp://:1", "", false, false},
	}
	for _, tt := range tests {
		got, secure, err := mqtt.ParseAddr(tt.in)
		if got != tt.hostPort || secure != tt.secure || (err == nil) != tt.ok {
			t.Errorf("ParseAddr(%q) = %q, %v, %v", tt.in, got, secure, err)
		}
	}
}
