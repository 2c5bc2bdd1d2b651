package modem

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when the listener closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	return l
}

func TestDialLeavesByTheNamedInterface(t *testing.T) {
	l := listen(t)
	for _, iface := range []string{"", "lo"} {
		m := NewInterface("a", iface, os.DirFS("/sys"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := m.Dial(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("over %q: %v", iface, err)
		}
		b, _ := io.ReadAll(c)
		if string(b) != "hello" {
			t.Errorf("over %q: got %q", iface, b)
		}
		_ = c.Close()
	}
}

func TestMissingDeviceFailsAtOnce(t *testing.T) {
	m := NewInterface("a", "nodev9", os.DirFS("/sys"))
	_, err := m.Dial(t.Context(), "tcp", listen(t).Addr().String())
	if !errors.Is(err, syscall.ENODEV) {
		t.Errorf("got %v, want ENODEV", err)
	}
	if err == nil || !strings.Contains(err.Error(), "nodev9") {
		t.Errorf("the error does not name the device: %v", err)
	}
	if st, err := m.Status(); err == nil || st.Present {
		t.Errorf("status of a missing device: got %+v, %v", st, err)
	}
}

func TestStatusReadsTheKernel(t *testing.T) {
	sys := fstest.MapFS{
		"class/net/lo/statistics/rx_bytes": {Data: []byte("4711\n")},
		"class/net/lo/statistics/tx_bytes": {Data: []byte("12\n")},
	}
	st, err := NewInterface("a", "lo", sys).Status()
	if err != nil {
		t.Fatal(err)
	}
	if !st.Present || !st.Up || st.Index == 0 || st.RxBytes != 4711 || st.TxBytes != 12 {
		t.Errorf("got %+v", st)
	}
}

func TestLastGoodAddressesServeWhenTheNameServerFails(t *testing.T) {
	m := NewInterface("a", "", os.DirFS("/sys"))
	m.cache["receiver.invalid"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	_, port, _ := net.SplitHostPort(listen(t).Addr().String())
	c, err := m.Dial(t.Context(), "tcp", "receiver.invalid:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A name server that swallows every question must not hold up a receiver whose
// address is known.
func TestABlackHoledNameServerDoesNotHoldUpKnownAddresses(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hole.Close() }()
	m := NewInterface("a", "", os.DirFS("/sys"))
	m.servers = []string{hole.LocalAddr().String()}
	m.cache["receiver.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	_, port, _ := net.SplitHostPort(listen(t).Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than one try of the system's resolver
	defer cancel()
	c, err := m.Dial(ctx, "tcp", "receiver.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
