package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"telemetry/internal/agent"
	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

// looking returns a report on a machine whose files are root.
func looking(root fs.FS, cfg *config.Agent) *report {
	return &report{cfg: cfg, opt: Options{
		Root: root, Now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC),
		ModemManager: func(context.Context) (bool, error) { return false, errors.New("no D-Bus here") },
	}}
}

// wants checks that a finding says what, why and what to do.
func (r *report) wants(t *testing.T, level checkup.Level, what, why, do string) {
	t.Helper()
	if !slices.ContainsFunc(r.Findings, func(f checkup.Finding) bool {
		return f.Level == level && strings.Contains(f.What, what) && strings.Contains(f.Why, why) && strings.Contains(f.Do, do)
	}) {
		t.Errorf("no finding %s, %q, %q, %q in %+v", level, what, why, do, r.Findings)
	}
}

func TestBoardFindings(t *testing.T) {
	root := fstest.MapFS{}
	for name, data := range map[string]string{
		"proc/device-tree/compatible":          "raspberrypi,4-compute-module\x00",
		"sys/class/thermal/thermal_zone0/type": "cpu-thermal\n", "sys/class/thermal/thermal_zone0/temp": "81000\n",
		"sys/block/mmcblk0/ro": "0\n", "sys/block/mmcblk0/device/life_time": "0x09 0x01\n",
		"sys/block/sda/ro":                   "1\n",
		"sys/block/mmcblk1/device/life_time": "0x0B 0x01\n", "sys/block/mmcblk1/ro": "0\n",
		"sys/block/mmcblk2/device/life_time": "0x01 0x01\n", "sys/block/mmcblk2/ro": "0\n",
	} {
		root[name] = &fstest.MapFile{Data: []byte(data)}
	}
	r := looking(root, &config.Agent{Board: "generic", Thermal: config.Thermal{Shed: 85}})
	r.board()
	r.wants(t, checkup.Warn, "board", "looks like raspberry-pi-cm4", "set board")
	r.wants(t, checkup.Warn, "temperature cpu-thermal", "81 °C", "cool")
	r.wants(t, checkup.Warn, "storage mmcblk0", "90 %", "plan")
	r.wants(t, checkup.Warn, "storage sda", "read-only", "dmesg")
	r.wants(t, checkup.Fail, "storage mmcblk1", "worn out", "replace")
	r.wants(t, checkup.OK, "storage mmcblk2", "10 %", "")
	r = looking(fstest.MapFS{}, &config.Agent{Board: "abacus"})
	r.board()
	r.wants(t, checkup.Fail, "board", "no profile", "set board")
}

// identity writes a CA and a certificate of it, and returns their places.
func identity(t *testing.T, car string, from, to time.Time) *config.ClientTLS {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(c, by *x509.Certificate, k, with *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, by, &k.PublicKey, with)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "team"}, NotBefore: from.AddDate(-1, 0, 0), NotAfter: to.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: car}, NotBefore: from, NotAfter: to,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	caKey, leafKey := key(), key()
	der, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return &config.ClientTLS{
		CA: write("ca.pem", "CERTIFICATE", sign(ca, ca, caKey, caKey)), Cert: write("car.pem", "CERTIFICATE", sign(leaf, ca, leafKey, caKey)),
		Key: write("car.key", "EC PRIVATE KEY", der),
	}
}

func TestCertificateFindings(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		car      string
		from, to time.Duration
		level    checkup.Level
		why, do  string
	}{
		"good":        {"car-7", -time.Hour, 100 * 24 * time.Hour, checkup.OK, "for car-7", ""},
		"soon over":   {"car-7", -time.Hour, 3 * 24 * time.Hour, checkup.Warn, "expires in 3 days", "receiver ca issue"},
		"over":        {"car-7", -2 * time.Hour, -time.Hour, checkup.Fail, "expired", "receiver ca issue"},
		"not yet":     {"car-7", time.Hour, 100 * time.Hour, checkup.Fail, "clock right", "set the clock"},
		"another car": {"car-8", -time.Hour, 100 * 24 * time.Hour, checkup.Fail, `speaks for "car-8"`, "this car"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &config.Agent{Car: "car-7", Receiver: config.Endpoint{TLS: identity(t, c.car, now.Add(c.from), now.Add(c.to))}}
			r := looking(fstest.MapFS{}, cfg)
			r.certificates()
			r.wants(t, c.level, "certificate", c.why, c.do)
		})
	}
	r := looking(fstest.MapFS{}, &config.Agent{Car: "car-7", Receiver: config.Endpoint{TLS: &config.ClientTLS{Cert: "/none"}}})
	r.certificates()
	r.wants(t, checkup.Fail, "certificate", "no such file", "receiver ca issue")
}

func TestModemFindings(t *testing.T) {
	root := fstest.MapFS{"sys/bus/usb/devices/1-1.2/idVendor": {Data: []byte("2c7c\n")}, "sys/bus/usb/devices/1-1.2/product": {Data: []byte("EC25\n")}}
	cfg := &config.Agent{Board: "generic"}
	r := looking(root, cfg)
	r.modem("link a", &config.Modem{Driver: "at", USB: "1-1.3", Interface: 2})
	r.wants(t, checkup.Fail, "link a: modem", "no USB device at 1-1.3", "modem list")
	r = looking(root, cfg)
	r.modem("link a", &config.Modem{Driver: "at", USB: "1-1.2", Interface: 2})
	r.wants(t, checkup.Fail, "link a: modem", "EC25) has no tty on its interface 2", "at_interface")
	for name, c := range map[string]struct {
		driver string
		runs   bool
		err    error
		level  checkup.Level
		do     string
	}{
		"two on one port":     {"at", true, nil, checkup.Warn, "ID_MM_DEVICE_IGNORE"},
		"it is wanted":        {"mm", false, nil, checkup.Fail, "systemctl enable"},
		"it is there":         {"mm", true, nil, checkup.OK, ""},
		"nobody can be asked": {"mm", false, errors.New("no D-Bus"), checkup.Fail, "systemctl status"},
	} {
		t.Run(name, func(t *testing.T) {
			r := looking(root, cfg)
			r.opt.ModemManager = func(context.Context) (bool, error) { return c.runs, c.err }
			r.manager(t.Context(), "link a", &config.Modem{Driver: c.driver})
			r.wants(t, c.level, "ModemManager", "", c.do)
		})
	}
	for name, c := range map[string]struct {
		m       keeper.Status
		level   checkup.Level
		why, do string
	}{
		"data flows": {keeper.Status{State: ladder.Verified, Reason: "data flows"}, checkup.OK, "data flows", ""},
		"no SIM":     {keeper.Status{State: ladder.SIMFault, Reason: "no SIM: insert one"}, checkup.Fail, "sim_fault: no SIM", "modem info a"},
		"wrong PIN":  {keeper.Status{State: ladder.SIMFault, NoPIN: true}, checkup.Fail, "refused the configured PIN", "modem.pin"},
		"searching":  {keeper.Status{State: ladder.Registering, Reason: "not registered"}, checkup.Warn, "not registered", "modem info a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := looking(root, cfg)
			r.opt.Links = []agent.LinkStatus{{Name: "b"}, {Name: "a", Modem: &c.m}}
			r.kept("link a", "a")
			r.wants(t, c.level, "link a: modem's state", c.why, c.do)
		})
	}
}

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

func TestRouteFindings(t *testing.T) {
	ownNetwork(t)
	for _, name := range []string{"wwan0", "eth0"} {
		l := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN}
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatalf("make device: %v", err)
		}
	}
	up := func(name, addr string) netlink.Link {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l)); err != nil {
			t.Fatal(err)
		}
		return l
	}
	up("wwan0", "10.64.0.5/30")
	wired := up("eth0", "192.168.1.2/24")
	link := config.Link{Name: "a", Interface: "wwan0", Addresses: []string{"tcp://198.51.100.7:1883", "tcp://receiver.test:1883"}}
	st := modem.Status{Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/30")}}
	look := func(root fs.FS, running bool) *report {
		r := looking(root, &config.Agent{})
		r.opt.Running = running
		r.routes("link a", link, st)
		return r
	}
	// A socket that is bound to a device needs no route: the kernel takes the
	// device for the next hop. Answers are dropped by a strict filter all the same.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: wired.Attrs().Index, Gw: []byte{192, 168, 1, 1}}); err != nil {
		t.Fatal(err)
	}
	strict := fstest.MapFS{"proc/sys/net/ipv4/conf/all/rp_filter": {Data: []byte("1\n")}, "proc/sys/net/ipv4/conf/wwan0/rp_filter": {Data: []byte("0\n")}}
	look(strict, true).wants(t, checkup.Fail, "link a: routes", "strict reverse path filter drops what comes from 198.51.100.7 by wwan0", "sysctl -w net.ipv4.conf.wwan0.rp_filter=2")
	strict["proc/sys/net/ipv4/conf/wwan0/rp_filter"].Data = []byte("2\n")
	look(strict, true).wants(t, checkup.OK, "link a: routes", "packets to 198.51.100.7 leave by wwan0", "")

	link.Modem = &config.Modem{Driver: "at", Configure: true, Table: 101}
	look(strict, true).wants(t, checkup.Fail, "link a: routes", "no rule leads sockets of wwan0 to table 101", "CAP_NET_ADMIN")
	look(strict, false).wants(t, checkup.Warn, "link a: routes", "no rule leads sockets of wwan0 to table 101", "run the agent")
	nc := modem.NetConfig{Interface: "wwan0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.5/32")}, Table: 101}
	if err := nc.Apply(); err != nil {
		t.Fatal(err)
	}
	r := look(strict, true)
	r.wants(t, checkup.OK, "link a: routes", "table 101 has a default route, 1 rules lead there", "")
	r.wants(t, checkup.OK, "link a: routes", "packets to 192.0.2.1 leave by wwan0", "")

	link.Addresses, st.Addresses = []string{"tcp://receiver.test:1883"}, []netip.Prefix{netip.MustParsePrefix("2001:db8::5/128")}
	if dst := destinations(link, st); !slices.Equal(dst, []netip.Addr{somewhere6}) {
		t.Errorf("a carrier without IPv4: got %v", dst)
	}
	look(strict, true).wants(t, checkup.Fail, "link a: routes", "no way to 2001:db8::1 over wwan0", "modem info a")
}

func TestPermissionFindings(t *testing.T) {
	root := fstest.MapFS{
		"dev/gpiochip0": {}, "sys/bus/usb/devices/1-1.1/idVendor": {Data: []byte("2c7c\n")}, "proc/self/status": {Data: []byte("Name:\tx\nCapEff:\t0000000000000000\n")},
	}
	cfg := &config.Agent{
		Board: "raspberry-pi-cm4", Power: config.Power{Ignition: true}, Watchdog: config.Watchdog{Kind: "device"},
		Links: []config.Link{{Name: "a", Interface: "wwan0", Modem: &config.Modem{Driver: "at", Slot: "a", Configure: true}}, {Name: "b", Modem: &config.Modem{Slot: "b", WatchOnly: true}}},
	}
	look := func(denied ...string) *report {
		r := looking(root, cfg)
		r.opt.Access = func(path string) error {
			if slices.Contains(denied, path) {
				return fs.ErrPermission
			}
			return nil
		}
		r.permissions()
		return r
	}
	r := look()
	r.wants(t, checkup.OK, "GPIO lines GPIO23, GPIO5, GPIO6", "1 chips", "")
	r.wants(t, checkup.OK, "watchdog", "/dev/watchdog", "")
	r.wants(t, checkup.OK, "link a: bus reset", "permitted", "")
	r.wants(t, checkup.Warn, "link a: network administration", "CAP_NET_ADMIN", "AmbientCapabilities")
	r = look("/dev/gpiochip0", "/dev/watchdog", "/sys/bus/usb/devices/1-1.1/authorized")
	r.wants(t, checkup.Fail, "GPIO lines", "/dev/gpiochip0", "group gpio")
	r.wants(t, checkup.Fail, "watchdog", "/dev/watchdog", "watchdog.kind")
	r.wants(t, checkup.Warn, "link a: bus reset", "authorized", "udev")
	delete(root, "dev/gpiochip0")
	root["proc/self/status"].Data = []byte("CapEff:\t0000000000001000\n")
	r = look()
	r.wants(t, checkup.Fail, "GPIO lines", "no GPIO chip", "set board")
	r.wants(t, checkup.OK, "link a: network administration", "permitted", "")
}

func TestReceiverFindings(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain := httptest.NewServer(nil) // answers a handshake with words of its own
	defer plain.Close()
	for name, c := range map[string]struct {
		addr    string
		level   checkup.Level
		why, do string
	}{
		"in the clear":              {plain.Listener.Addr().String(), checkup.OK, "answers within", ""},
		"TLS, dialled in the clear": {secure.Listener.Addr().String(), checkup.Fail, "speaks TLS", "tls://"},
	} {
		t.Run(name, func(t *testing.T) {
			r := looking(fstest.MapFS{}, &config.Agent{Car: "car-7"})
			r.opt.Timeout = 5 * time.Second
			r.receiver(t.Context(), "link a", "tcp://"+c.addr, modem.NewInterface("a", "", fstest.MapFS{}))
			r.wants(t, c.level, "link a: receiver tcp://"+c.addr, c.why, c.do)
		})
	}
}
