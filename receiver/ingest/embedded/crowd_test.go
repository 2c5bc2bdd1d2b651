package embedded

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// from is a connection that only has a remote address.
type from struct {
	net.Conn
	at string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.at)) }
func (f from) Close() error         { return nil }

func TestCrowdMakesRoomWhereMostAre(t *testing.T) {
	const car, one, two = "192.0.2.1:1000", "198.51.100.1:1", "198.51.100.2:1"
	cases := map[string]struct {
		enter []string
		gone  []int // indexes, in order
	}{
		"room for all":                          {[]string{car, one, two, one}, nil},
		"an address that has too many":          {[]string{car, one, one, one, one}, []int{1}},
		"full: the oldest of the greatest goes": {[]string{car, one, one, two, two, two, car}, []int{3}},
		"a car is never the one":                {[]string{car, one, one, one, two, two, two, two, two}, []int{1, 4, 5}},
		"one network of IPv6 is one address":    {[]string{car, "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "[2001:db8::4]:1"}, []int{1}},
		"IPv4 within IPv6":                      {[]string{"[::ffff:198.51.100.1]:9", one, one, one}, []int{0}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newCrowd(6, 3)
			index := map[*counted]int{}
			var gone []int
			for i, at := range tc.enter {
				c := &counted{Conn: from{at: at}}
				index[c] = i
				if oldest := w.enter(c); oldest != nil {
					gone = append(gone, index[oldest])
				}
			}
			if len(gone) != len(tc.gone) {
				t.Fatalf("gone: %v, want %v", gone, tc.gone)
			}
			for i := range gone {
				if gone[i] != tc.gone[i] {
					t.Errorf("gone: %v, want %v", gone, tc.gone)
				}
			}
			if n, driven := w.counts(); n != len(tc.enter)-len(tc.gone) || driven != uint64(len(tc.gone)) {
				t.Errorf("%d are in, %d were driven out", n, driven)
			}
			for _, c := range w.all() {
				if !w.leave(c) || w.leave(c) {
					t.Error("one did not leave exactly once")
				}
			}
			if n, _ := w.counts(); n != 0 || len(w.hosts) != 0 || len(w.nets) != 0 {
				t.Errorf("%d are left, of %d addresses and %d networks", n, len(w.hosts), len(w.nets))
			}
		})
	}
}

// TestCrowdOfManyAddressesLetsCarsIn: strangers with one connection for each
// address of theirs fill all places and keep coming; a car that has come stays for
// as long as everybody else does, and goes last among strangers of one network.
func TestCrowdOfManyAddressesLetsCarsIn(t *testing.T) {
	v4 := func(i int) string { return fmt.Sprintf("203.%d.%d.%d:1", i>>16&255, i>>8&255, i&255) }
	prefix := func(i int) string { return fmt.Sprintf("[2001:db8:1:%x::1]:1", i&0xffff) }
	const places = 128
	cases := map[string]struct {
		stranger func(i int) string
		cars     []string
		stay     int // how many strangers come before a car goes, at least
	}{
		"a botnet":                              {v4, []string{"192.0.2.1:1"}, places - 1},
		"a botnet, cars behind one address":     {v4, []string{"192.0.2.1:1", "192.0.2.1:2"}, places - 2},
		"a botnet, cars in one network":         {v4, []string{"[2001:db8:2:1::1]:1", "[2001:db8:2:2::1]:1"}, places - 2},
		"a network of IPv6":                     {prefix, []string{"192.0.2.1:1"}, 10 * places},
		"a network of IPv6, a car of another":   {prefix, []string{"[2001:db8:2::1]:1"}, 10 * places},
		"a network of IPv6, a car of that same": {prefix, []string{"[2001:db8:1:ffff::1]:1"}, places - 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newCrowd(places, 16)
			n := 0
			arrive := func() *counted {
				n++
				return w.enter(&counted{Conn: from{at: tc.stranger(n)}})
			}
			for range 2 * places {
				arrive()
			}
			var cars []*counted
			for _, at := range tc.cars {
				c := &counted{Conn: from{at: at}}
				if w.enter(c) == c {
					t.Fatal("a car did not get in")
				}
				cars = append(cars, c)
			}
			for i := range tc.stay {
				if slices.Contains(cars, arrive()) {
					t.Fatalf("a car had to go for stranger %d of %d", i+1, tc.stay)
				}
			}
			for _, c := range cars {
				if !w.leave(c) {
					t.Error("a car is not in any more")
				}
			}
		})
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	p := &places{max: 3, perCar: 2, of: map[string]int{}}
	conns := make([]*counted, 3)
	for i, car := range []string{"car-1", "car-1", "car-2"} {
		conns[i] = &counted{Conn: from{}}
		if !p.take(conns[i], car) {
			t.Fatalf("no place for %s", car)
		}
	}
	for name, car := range map[string]string{"a car's third": "car-1", "full": "car-3"} {
		if p.take(&counted{Conn: from{}}, car) {
			t.Errorf("%s: got a place", name)
		}
	}
	for range 2 { // closing twice gives one place back
		_ = conns[0].Close()
	}
	if !p.take(&counted{Conn: from{}}, "car-1") || p.take(&counted{Conn: from{}}, "car-2") {
		t.Error("one place was to be free")
	}
	if open, turned := p.counts(); open != 3 || turned != 3 {
		t.Errorf("%d open, %d turned away", open, turned)
	}
}
