package link

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func TestDirectionKeepsRateDelayAndOrder(t *testing.T) {
	const ms = int64(time.Millisecond)
	tests := []struct {
		name string
		spec Spec
		at   []int64 // ms
		want []int64 // ms, of 1000 B each
	}{
		{"perfect", Spec{}, []int64{0, 0, 5}, []int64{0, 0, 5}},
		{"delay", Spec{Delay: 20 * time.Millisecond}, []int64{0, 3}, []int64{20, 23}},
		{"rate queues", Spec{BitRate: 1e6}, []int64{0, 0, 0}, []int64{8, 16, 24}},
		{"rate idles", Spec{BitRate: 1e6}, []int64{0, 100}, []int64{8, 108}},
		{"rate and delay", Spec{BitRate: 1e6, Delay: 10 * time.Millisecond}, []int64{0, 0}, []int64{18, 26}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirection(tt.spec, 1)
			for i, at := range tt.at {
				if got, want := d.Take(at*ms, 1000), tt.want[i]*ms; got != want {
					t.Errorf("parcel %d: got %d ms, want %d", i, got/ms, tt.want[i])
				}
			}
		})
	}
}

func TestJitterNeverReorders(t *testing.T) {
	d := NewDirection(Spec{Jitter: 50 * time.Millisecond}, 7)
	last := int64(0)
	for i := range 1000 {
		out := d.Take(int64(i)*int64(time.Millisecond), 100)
		if out < last {
			t.Fatalf("parcel %d comes out at %d, the one before at %d", i, out, last)
		}
		last = out
	}
}

// echo starts a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.Copy(c, c); _ = c.Close() })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func start(t *testing.T, up, down Spec) *Relay {
	t.Helper()
	r, err := NewRelay(echo(t), up, down, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func dial(t *testing.T, r *Relay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRelayCarriesAllBytes(t *testing.T) {
	r := start(t, Spec{BitRate: 80e6, Delay: time.Millisecond}, Spec{})
	c := dial(t, r)
	const n = 300 << 10
	go func() { _, _ = c.Write(make([]byte, n)) }()
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if up, down := r.Carried(); up != n || down != n {
		t.Errorf("carried %d and %d bytes, want %d", up, down, n)
	}
}

func TestSilentHoldsAndGivesBack(t *testing.T) {
	r := start(t, Spec{}, Spec{})
	c := dial(t, r)
	ping(t, c)
	r.Set(Silent)
	if _, err := c.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 4)); err == nil {
		t.Fatalf("%d bytes came through a silent link", n)
	}
	_ = c.SetReadDeadline(time.Time{})
	r.Set(Up)
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "held" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestDownResetsAndRefuses(t *testing.T) {
	r := start(t, Spec{}, Spec{})
	c := dial(t, r)
	ping(t, c)
	r.Set(Down)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection lived on over a link that is down")
	}
	if refused, err := net.Dial("tcp", r.Addr()); err == nil { // may be reset within the handshake
		defer refused.Close()
		if _, err := refused.Read(make([]byte, 1)); err == nil {
			t.Error("a new connection was carried over a link that is down")
		}
	}
	r.Set(Up)
	ping(t, dial(t, r))
}

func ping(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
