package mqtt

import (
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLossyConnectionsChangeOver(t *testing.T) {
	type look struct{ segs, retrans uint32 }
	tests := []struct {
		name  string
		looks []look
		want  bool
	}{
		{"clean", []look{{300, 0}, {600, 0}, {900, 0}}, false},
		{"one bad window", []look{{300, 10}, {600, 10}, {900, 10}}, false},
		{"two bad windows in a row", []look{{300, 10}, {600, 20}}, true},
		{"too few segments to tell", []look{{50, 40}, {100, 80}, {150, 120}}, false},
		{"below one per cent", []look{{1000, 9}, {2000, 18}, {3000, 27}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w tuner
			got := false
			for _, l := range tt.looks {
				got = got || w.window(l.segs, l.retrans)
			}
			if got != tt.want {
				t.Errorf("changes over: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCongestionControlOfALink(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct {
		name, asked string
		want        []string
	}{
		{"by itself", "", []string{"cubic", "reno"}},
		{"asked for", "reno", []string{"reno"}},
		{"asked for, and the kernel has it not", "nosuch", []string{"cubic", "reno"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tune(c, tt.asked).look()
			raw, err := c.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var got string
			if err := raw.Control(func(fd uintptr) {
				got, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
			}); err != nil {
				t.Fatal(err)
			}
			if err != nil || (got != tt.want[0] && got != tt.want[len(tt.want)-1]) {
				t.Errorf("congestion control %q, %v, want %v", got, err, tt.want)
			}
		})
	}
}

// TestUnackedIsWhatTheOtherEndHasNotConfirmed: nothing after it was taken, and
// what doesn't fit while nobody reads.
func TestUnackedIsWhatTheOtherEndHasNotConfirmed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	await := func(what string, is func(int64) bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(20 * time.Second); ; <-tick.C {
			n, ok := unacked(c)
			if !ok {
				t.Fatal("the socket says nothing")
			}
			if is(n) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d bytes unconfirmed, want %s", n, what)
			}
		}
	}
	if _, err := c.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	await("none", func(n int64) bool { return n == 0 })
	go func() { _, _ = c.Write(make([]byte, 64<<20)) }() // ends when c is closed
	await("some while nobody reads", func(n int64) bool { return n > 0 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := unacked(c); ok {
		t.Error("a closed socket says something")
	}
}

// TestPaceOfASocket: the bound is set, and taken away again.
func TestPaceOfASocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	bound := func() (v int) {
		var gerr error
		if err := raw.Control(func(fd uintptr) { v, gerr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE) }); err != nil || gerr != nil {
			t.Fatal(err, gerr)
		}
		return v
	}
	free := bound()
	pace(c, 150_000)
	if got := bound(); got != 150_000 {
		t.Errorf("bound %d, want 150000 bytes/s", got)
	}
	pace(c, 0)
	if got := bound(); got != free {
		t.Errorf("bound %d, want none (%d)", got, free)
	}
	var info *unix.TCPInfo
	var ierr error
	if err := raw.Control(func(fd uintptr) { info, ierr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || ierr != nil {
		t.Fatal(err, ierr)
	}
	if info.Max_pacing_rate != math.MaxUint64 {
		t.Errorf("the kernel's bound is %d, want its greatest", info.Max_pacing_rate)
	}
}
