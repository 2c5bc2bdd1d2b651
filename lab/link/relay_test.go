package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

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
	return startTo(t, echo(t), up, down)
}

func startTo(t *testing.T, target string, up, down Spec) *Relay {
	t.Helper()
	r, err := NewRelay(target, up, down, 1)
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
	begin := time.Now()
	go func() { _, _ = c.Write(make([]byte, n)) }()
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(begin), time.Millisecond+n*8*time.Second/80e6; took < least {
		t.Errorf("took %v, faster than the link's %v", took, least)
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

func TestHoldKeepsAndLossOnlyDelays(t *testing.T) {
	lossy := Spec{BitRate: 20e6, Loss: 0.05, Queue: 16 << 10}
	r := start(t, lossy, lossy)
	c := dial(t, r)
	r.Set(Hold)
	const n = 200 << 10
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i * 7 / 3)
	}
	go func() { _, _ = c.Write(want) }()
	time.AfterFunc(20*time.Millisecond, func() { r.Set(Up) })
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the stream came back changed")
	}
	up, down := r.Counters()
	for i, k := range []Counters{up, down} {
		if k.Dropped.Random == 0 || k.OutBytes < n {
			t.Errorf("direction %d: %+v, want losses and %d bytes out", i, k, n)
		}
	}
	if late, _ := r.Lateness(); late.Count() == 0 {
		t.Error("no lateness was counted")
	}
}

func TestCloseComesAfterTheBytes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := startTo(t, ln.Addr().String(), Spec{Delay: 5 * time.Millisecond}, Spec{Delay: 5 * time.Millisecond})
	c := dial(t, r)
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestReaddressSilencesWhatWasOpen(t *testing.T) {
	r := start(t, Spec{}, Spec{})
	old := dial(t, r)
	ping(t, old)
	r.Readdress()
	if _, err := old.Write([]byte("x")); err != nil {
		t.Fatalf("the near end noticed: %v", err)
	}
	ping(t, dial(t, r)) // a new one works, and has passed the old one by
	_ = old.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v on a connection from an old address, want silence", err)
	}
}

func TestRelayRefusesABadSpec(t *testing.T) {
	if _, err := NewRelay("127.0.0.1:1", Spec{Loss: 2}, Spec{}, 1); err == nil {
		t.Error("a loss of 2 was taken")
	}
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
