package modem

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func addrs(ss ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestFamiliesAlternate(t *testing.T) {
	got := interleave(addrs("2001:db8::1", "2001:db8::2", "192.0.2.1", "2001:db8::3", "::ffff:192.0.2.2"))
	want := addrs("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A dead family costs its head start, not its timeout.
func TestADeadAddressDoesNotHoldUpTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var losers int
		c, err := race(t.Context(), addrs("2001:db8::1", "192.0.2.1", "192.0.2.2"), func(ctx context.Context, a netip.Addr) (net.Conn, error) {
			if a.Is4() {
				near, far := net.Pipe()
				_ = far.Close()
				return near, nil
			}
			<-ctx.Done()
			losers++
			return nil, ctx.Err()
		})
		if err != nil || time.Since(start) != stagger {
			t.Fatalf("got %v after %v, want a connection after %v", err, time.Since(start), stagger)
		}
		_ = c.Close()
		synctest.Wait()
		if losers != 1 {
			t.Errorf("%d attempts were left behind", 1-losers)
		}
	})
}

func TestRefusalMovesOnAtOnceAndAllFailuresAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		first, second := errors.New("refused"), errors.New("unreachable")
		_, err := race(t.Context(), addrs("192.0.2.1", "192.0.2.2"), func(_ context.Context, a netip.Addr) (net.Conn, error) {
			if a == netip.MustParseAddr("192.0.2.1") {
				return nil, first
			}
			return nil, second
		})
		if !errors.Is(err, first) || !errors.Is(err, second) || time.Since(start) != 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if _, err := race(t.Context(), nil, nil); err == nil {
			t.Error("no address was no error")
		}
	})
}

// dns64 answers ipv4only.arpa as a carrier's DNS64 with the given prefix does,
// and returns its address.
func dns64(t *testing.T, prefix netip.Addr) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() { // ends when pc closes
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			end := 12
			for end < n && b[end] != 0 {
				end += int(b[end]) + 1
			}
			end += 5 // the root label, type and class
			r := append([]byte{}, b[:end]...)
			r[2], r[3] = 0x81, 0x80
			binary.BigEndian.PutUint16(r[6:], 1)
			binary.BigEndian.PutUint16(r[8:], 0)
			binary.BigEndian.PutUint16(r[10:], 0)
			a := synthesise(netip.PrefixFrom(prefix, 96), wellKnown[0]).As16()
			r = append(r, 0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16)
			r = append(r, a[:]...)
			_, _ = pc.WriteTo(r, from)
		}
	}()
	return pc.LocalAddr().String()
}

func TestNAT64PrefixIsDiscoveredAndKept(t *testing.T) {
	m := NewInterface("a", "", os.DirFS("/sys"))
	m.servers = []string{dns64(t, netip.MustParseAddr("2001:db8:64::"))}
	p, ok := m.discoverNAT64(t.Context(), &net.Dialer{})
	if !ok || p != netip.MustParsePrefix("2001:db8:64::/96") {
		t.Fatalf("got %v, %v", p, ok)
	}
	if got := synthesise(p, netip.MustParseAddr("198.51.100.7")); got != netip.MustParseAddr("2001:db8:64::c633:6407") {
		t.Errorf("got %v", got)
	}
	m.servers = []string{"127.0.0.1:1"} // nobody there
	if again, ok := m.discoverNAT64(t.Context(), &net.Dialer{}); !ok || again != p {
		t.Errorf("after the name server failed: got %v, %v, want the last good one", again, ok)
	}
}

func TestIPv6Only(t *testing.T) {
	for name, c := range map[string]struct {
		ps   []string
		want bool
	}{
		"carrier without IPv4": {[]string{"2001:db8::5/64", "fe80::1/64"}, true},
		"both":                 {[]string{"2001:db8::5/64", "10.0.0.5/24"}, false},
		"link-local only":      {[]string{"fe80::1/64"}, false},
		"none":                 {nil, false},
	} {
		var ps []netip.Prefix
		for _, s := range c.ps {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		if got := ipv6Only(ps); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestALateAnswerIsReplacedByTheLastOne(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		err   error
		want  string
	}{
		"in time":   {lookupPatience / 2, nil, "new"},
		"fails":     {0, errors.New("refused"), "last"},
		"late":      {lookupPatience * 2, nil, "last"},
		"never":     {time.Hour, nil, "last"},
		"too late":  {lookupTry + time.Second, nil, "last"},
		"at a time": {lookupPatience - 1, nil, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := patiently(t.Context(), "last", func(ctx context.Context) (string, error) {
					select {
					case <-time.After(c.takes):
						return "new", c.err
					case <-ctx.Done():
						return "", ctx.Err()
					}
				})
				if err != nil || got != c.want {
					t.Errorf("got %q, %v, want %q", got, err, c.want)
				}
				time.Sleep(2 * time.Hour) // whoever is still asking has ended
			})
		})
	}
}
