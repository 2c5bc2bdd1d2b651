package modem

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownNetwork moves the test's thread into a network namespace of its own, which
// dies with the thread.
func ownNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace of its own needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
}

// tun makes a network device as a modem's driver would.
func tun(t *testing.T, name string) netlink.Link {
	t.Helper()
	l := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatalf("make device: %v", err)
	}
	got, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func routesOf(t *testing.T, table int) []netlink.Route {
	t.Helper()
	rs, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func rulesOf(t *testing.T, table int) []netlink.Rule {
	t.Helper()
	rs, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestEachLinkHasATableOfItsOwn(t *testing.T) {
	ownNetwork(t)
	a, b := tun(t, "wwan0"), tun(t, "wwan1")
	c := NetConfig{Interface: "wwan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/30")}, MTU: 1430, Table: 101}
	d := NetConfig{Interface: "wwan1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/30")}, MTU: 1358, Table: 102} // two carriers, one subnet
	for range 2 {                                                                                                               // a second call changes nothing
		for _, x := range []NetConfig{c, d} {
			if err := x.Apply(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, table := range []int{101, 102} {
		want := []netlink.Link{a, b}[i].Attrs()
		if rs := routesOf(t, table); len(rs) != 1 || rs[0].LinkIndex != want.Index {
			t.Errorf("table %d: got %v, want the default route of %s", table, rs, want.Name)
		}
		if rs := rulesOf(t, table); len(rs) != 2 {
			t.Errorf("table %d: got rules %v, want one for the interface, one for its address", table, rs)
		}
	}
	if main := routesOf(t, unix.RT_TABLE_MAIN); len(main) != 0 {
		t.Errorf("the system's table was touched: %v", main)
	}
	if l, err := netlink.LinkByName("wwan1"); err != nil || l.Attrs().MTU != 1358 {
		t.Errorf("MTU: got %v, %v", l.Attrs().MTU, err)
	}
}

func TestANewAddressReplacesTheOldOne(t *testing.T) {
	ownNetwork(t)
	l := tun(t, "wwan0")
	c := NetConfig{Interface: "wwan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/30"), netip.MustParsePrefix("2001:db8::5/64")}, Table: 300}
	if err := c.Apply(); err != nil {
		t.Fatal(err)
	}
	c.Addresses = []netip.Prefix{netip.MustParsePrefix("10.77.1.9/32")}
	if err := c.Apply(); err != nil {
		t.Fatal(err)
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(as) != 1 || as[0].IP.String() != "10.77.1.9" {
		t.Errorf("addresses: got %v, %v", as, err)
	}
	for _, r := range rulesOf(t, 300) {
		if r.Src != nil && r.Src.IP.String() != "10.77.1.9" {
			t.Errorf("stale rule %v", r)
		}
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if rs := rulesOf(t, 300); len(rs) != 0 {
		t.Errorf("rules left: %v", rs)
	}
}

// What the network does not give any more goes; what somebody else was given
// for a time stays, as an address by SLAAC or DHCP.
func TestOneFamilyLeavesNothingOfTheOther(t *testing.T) {
	ownNetwork(t)
	l := tun(t, "wwan0")
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/wwan0/rp_filter", []byte("1"), 0); err != nil {
		t.Skipf("the filter cannot be set here: %v", err)
	}
	both := NetConfig{Interface: "wwan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/32"), netip.MustParsePrefix("2001:db8::5/128")}, Table: 101}
	if err := both.Apply(); err != nil {
		t.Fatal(err)
	}
	leased, err := netlink.ParseAddr("10.99.0.7/24")
	if err != nil {
		t.Fatal(err)
	}
	leased.ValidLft, leased.PreferedLft = 600, 600
	if err := netlink.AddrAdd(l, leased); err != nil {
		t.Fatal(err)
	}
	four := both
	four.Addresses = both.Addresses[:1]
	if err := four.Apply(); err != nil {
		t.Fatal(err)
	}
	for _, r := range rulesOf(t, 101) {
		if r.Family == netlink.FAMILY_V6 {
			t.Errorf("rule of IPv6: %v", r)
		}
	}
	if rs := routesOf(t, 101); len(rs) != 1 || rs[0].Family != netlink.FAMILY_V4 {
		t.Errorf("routes: got %v, want the one of IPv4", rs)
	}
	as, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(as) != 2 {
		t.Errorf("addresses: got %v, %v, want ours and the leased one", as, err)
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/conf/wwan0/rp_filter"); err != nil || string(b) != "2\n" {
		t.Errorf("reverse path filter: got %q, %v, want the loose one", b, err)
	}
}

// readOnlySysctl gives the test's thread mounts of its own, in which /proc/sys
// cannot be written, as in a container.
func readOnlySysctl(t *testing.T) {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skipf("no mount namespaces here: %v", err)
	}
	for _, m := range []struct {
		source, target string
		flags          uintptr
	}{{"", "/", unix.MS_REC | unix.MS_PRIVATE}, {"/proc/sys", "/proc/sys", unix.MS_BIND}, {"", "/proc/sys", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY}} {
		if err := unix.Mount(m.source, m.target, "", m.flags, ""); err != nil {
			t.Skipf("no mounts here: %v", err)
		}
	}
}

// TestReadOnlySysctlKeepsRoutesAndRules: a filter that cannot be loosened costs
// nothing else, and one that is off or loose already is no fault.
func TestReadOnlySysctlKeepsRoutesAndRules(t *testing.T) {
	for _, c := range []struct {
		name, all, own string
		strict         bool
	}{
		{"off", "0", "0", false},
		{"loose", "0", "2", false},
		{"loose for all", "2", "1", false},
		{"strict", "0", "1", true},
		{"strict for all", "1", "0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ownNetwork(t)
			tun(t, "wwan0")
			for device, value := range map[string]string{"all": c.all, "wwan0": c.own} {
				if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+device+"/rp_filter", []byte(value), 0); err != nil {
					t.Skipf("the filter cannot be set here: %v", err)
				}
			}
			readOnlySysctl(t)
			err := NetConfig{Interface: "wwan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/30")}, Table: 101}.Apply()
			if errors.Is(err, ErrStrictFilter) != c.strict || (err != nil && !c.strict) {
				t.Errorf("got %v, want a filter that stays strict: %v", err, c.strict)
			}
			if rs := rulesOf(t, 101); len(rs) != 2 {
				t.Errorf("got rules %v, want one for the interface, one for its address", rs)
			}
			if rs := routesOf(t, 101); len(rs) != 1 {
				t.Errorf("got routes %v, want the default one", rs)
			}
		})
	}
}

func TestNetConfigRefusesTheSystemsTables(t *testing.T) {
	for _, table := range []int{0, -1, 253, 254, 255} {
		if err := (NetConfig{Interface: "lo", Table: table}).Apply(); err == nil {
			t.Errorf("table %d was accepted", table)
		}
	}
}

func TestNetConfigOfAMissingInterface(t *testing.T) {
	ownNetwork(t)
	err := NetConfig{Interface: "wwan7", Table: 101}.Apply()
	if !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Errorf("got %v, want LinkNotFoundError", err)
	}
}
