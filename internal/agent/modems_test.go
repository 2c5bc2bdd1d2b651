package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
	"telemetry/sensors"
	"telemetry/uplink"
	"telemetry/wire"
)

func TestARefusedConnectionSaysThatPacketsPass(t *testing.T) {
	dns := &net.DNSError{Err: "refused", UnwrapErr: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"connected":               {nil, true},
		"refused":                 {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		"one of two refused":      {errors.Join(context.DeadlineExceeded, syscall.ECONNREFUSED), true},
		"reset":                   {syscall.ECONNRESET, true},
		"no answer":               {context.DeadlineExceeded, false},
		"no route":                {syscall.ENETUNREACH, false},
		"no device":               {syscall.ENODEV, false},
		"the name server refused": {dns, false},
	} {
		var p paths
		dial := p.watch("a", func() int64 { return 7 }, func(context.Context, string, string) (net.Conn, error) { return nil, c.err })
		_, err := dial(t.Context(), "tcp", "cloud:1")
		if !errors.Is(err, c.err) || (p.last("a") == 7) != c.want {
			t.Errorf("%s: got %v, path seen at %v", name, err, p.last("a"))
		}
	}
}

func TestAModemIsNotAtFaultWhileNobodyAnswers(t *testing.T) {
	const now = time.Hour
	at := func(ago time.Duration) int64 { return int64(now - ago) }
	addrs := []string{"tcp://one:1883", "tcp://two:1883"}
	for name, c := range map[string]struct {
		path  time.Duration
		links []uplink.LinkSnapshot // the link is the first
		want  bool
	}{
		"nothing was ever seen to pass":     {0, []uplink.LinkSnapshot{{}, {}}, false},
		"ingest and broker are down":        {now - time.Second, []uplink.LinkSnapshot{{HeardNS: at(time.Minute)}, {HeardNS: at(time.Minute)}}, true},
		"a receiver is heard by another":    {now - time.Second, []uplink.LinkSnapshot{{}, {HeardNS: at(time.Second), Addr: addrs[1]}}, false},
		"that is a receiver of others":      {now - time.Second, []uplink.LinkSnapshot{{}, {HeardNS: at(time.Second), Addr: "tcp://three:1883"}}, true},
		"the path is seen no more":          {now - time.Minute, []uplink.LinkSnapshot{{HeardNS: at(time.Hour)}, {}}, false},
		"its own word is no other receiver": {now - time.Second, []uplink.LinkSnapshot{{HeardNS: at(time.Second), Addr: addrs[0]}}, true},
	} {
		if got := nobody(0, now, c.path, c.links, addrs); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestAnInterfaceIsConfiguredAgainAfterAReset(t *testing.T) {
	var applied []modem.NetConfig
	var fail error
	n := netcare{device: "wwan0", table: 101, on: true, apply: func(c modem.NetConfig) error { applied = append(applied, c); return fail }}
	told := 0
	warn := func(string, ...any) { told++ }
	up := keeper.Status{Name: "a", State: ladder.NetUp, Info: modem.Info{Addresses: []string{"10.64.0.5", "2001:db8::5"}, MTU: 1430}}
	gone := keeper.Status{Name: "a", State: ladder.Absent}
	now := time.Hour
	steps := func(st keeper.Status, index int, d time.Duration, want int, what string) {
		t.Helper()
		before := len(applied)
		for end := now + d; now < end; now += time.Second {
			n.step(now, st, index, warn)
		}
		if got := len(applied) - before; got != want {
			t.Errorf("%s: configured %d times, want %d", what, got, want)
		}
	}
	steps(up, 3, 20*time.Second, 1, "at first")
	flows := up
	flows.State = ladder.Verified
	steps(gone, 0, 3*time.Second, 0, "off its bus")
	steps(up, 3, 5*time.Second, 1, "back with the same address and index")
	steps(flows, 3, 10*time.Minute, 0, "while data flows")
	steps(up, 4, 5*time.Second, 1, "back under another index, between two looks")
	steps(up, 4, time.Minute, 2, "no data: somebody may have taken it away")
	if want := []netip.Prefix{netip.MustParsePrefix("10.64.0.5/32"), netip.MustParsePrefix("2001:db8::5/128")}; !slices.Equal(applied[0].Addresses, want) || applied[0].MTU != 1430 || applied[0].Table != 101 {
		t.Errorf("got %+v", applied[0])
	}
	silent := up
	silent.Info.MTU = 0
	steps(silent, 4, time.Second, 1, "the network says no MTU")
	if mtu := applied[len(applied)-1].MTU; mtu != smallMTU {
		t.Errorf("got MTU %d, want %d", mtu, smallMTU)
	}
	fail = errors.New("not permitted")
	steps(up, 5, 61*time.Second, 3, "it fails: again each half minute")
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	told, fail = 0, fmt.Errorf("wwan0: %w", modem.ErrStrictFilter)
	n.said = ""
	steps(up, 7, time.Second, 1, "all but the filter")
	steps(keeper.Status{Name: "a", State: ladder.Verified, Info: up.Info}, 7, 5*time.Minute, 0, "all but the filter, while data flows")
	if told != 1 {
		t.Errorf("a strict filter is told %d times, want once", told)
	}
	n.on = false
	steps(up, 6, time.Minute, 0, "not asked for")
}

func TestMovingFollowsItsChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := wire.Group{Name: "gnss", Channels: []wire.Channel{{Name: "gnss_speed", Unit: "m/s", Type: wire.TypeInt, Scale: 1e-3}}}
		var c *car
		speeds := make(chan int64)
		src := &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{func(ctx context.Context, out sensors.Sink) error {
			for {
				select {
				case v := <-speeds:
					if err := out.Append(sensors.Rows{Ticks: []int64{c.clock.BootNS()}, Values: []int64{v}}); err != nil {
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		}}}
		c = newCar(t, 0, func(c *config.Agent) { c.Moving = config.Moving{Channel: "gnss_speed", Above: 5} }, namedSource{name: "gps", source: src})
		c.start(t)
		if c.moving() {
			t.Error("a speed that is not known counts")
		}
		for _, x := range []struct {
			mmS  int64
			want bool
		}{{4000, false}, {30000, true}, {1000, false}, {6000, true}} {
			speeds <- x.mmS
			synctest.Wait()
			if got := c.moving(); got != x.want {
				t.Errorf("at %d mm/s: got %v", x.mmS, got)
			}
		}
		time.Sleep(2 * speedFresh)
		if c.moving() {
			t.Error("an old speed counts")
		}
		if err := c.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestDataUseSurvivesResetsAndRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), usageName)
	day := time.Date(2026, 5, 30, 12, 0, 0, 0, time.UTC)
	st := modem.Status{Present: true, Index: 3}
	var missing error
	u := newUsage(path, func(msg string, args ...any) { t.Error(msg, args) })
	u.wall = func() time.Time { return day }
	u.watch("a", func() (modem.Status, error) { return st, missing })
	now := time.Hour
	step := func(index int, rx, tx uint64) {
		st.Index, st.RxBytes, st.TxBytes = index, rx, tx
		now += time.Second
		u.step(now)
	}
	want := func(what, month string, rx, tx uint64) {
		t.Helper()
		if got, ok := u.of("a"); !ok || got != (DataUse{month, rx, tx}) {
			t.Errorf("%s: got %+v, want %s, %d, %d", what, got, month, rx, tx)
		}
	}
	step(3, 1000, 100)
	want("what was carried before the start", "2026-05", 0, 0)
	step(3, 1500, 150)
	want("carried", "2026-05", 500, 50)
	missing = errors.New("no such device")
	step(3, 0, 0)
	missing = nil
	step(4, 200, 20) // made anew by a reset
	want("after a reset", "2026-05", 700, 70)
	step(4, 50, 30) // the counter itself began anew
	want("after a counter's reset", "2026-05", 750, 80)
	step(5, 60, 40) // made anew, and beyond the old count already
	want("after another reset", "2026-05", 810, 120)
	u.save()
	u = newUsage(path, func(msg string, args ...any) { t.Error(msg, args) })
	u.wall = func() time.Time { return day }
	u.watch("a", func() (modem.Status, error) { return st, missing })
	step(4, 60, 40)
	step(4, 70, 50)
	want("after a restart", "2026-05", 820, 130)
	day = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	step(4, 80, 60)
	want("while no clock is right", "2026-05", 830, 140)
	day = time.Date(2026, 6, 1, 0, 0, 1, 0, time.UTC)
	step(4, 90, 70)
	want("in a new month", "2026-06", 10, 10)
	day = time.Date(2026, 5, 31, 23, 59, 0, 0, time.UTC)
	step(4, 95, 75)
	want("a clock that is back before the month's end", "2026-06", 15, 15)
	day = time.Date(2026, 6, 1, 0, 2, 0, 0, time.UTC)
	step(4, 97, 77)
	want("and is set right", "2026-06", 17, 17)
	if _, ok := u.of("b"); ok {
		t.Error("a link that is not followed has figures")
	}
}

func TestAServiceIsNotStartedAgainAllTheTime(t *testing.T) {
	now, started := time.Hour, []time.Duration(nil)
	again := newRestarter(func() time.Duration { return now }, func(context.Context) error { started = append(started, now); return nil })
	for range 3 * 3600 { // three modems ask each second for an hour
		if err := again(t.Context()); err != nil {
			t.Fatal(err)
		}
		now += time.Second / 3
	}
	if n := len(started); n < 5 || n > 8 || started[0] != time.Hour {
		t.Errorf("started %d times in an hour at %v, want at once and then ever more seldom", n, started)
	}
	now += 10 * time.Hour
	before := len(started)
	_ = again(t.Context())
	if len(started) != before+1 {
		t.Error("not at once after it ran for long")
	}
}

// What a module does not say is absent from the row, never 0.
func TestUnknownReadingsAreNotRecorded(t *testing.T) {
	h := newHealth(newClock(), nil, nil, &Taken{})
	h.channels = nil
	h.addModem("a")
	h.addUsage("a")
	r := reading{modems: map[string]keeper.Status{}, used: func(string) (DataUse, bool) { return DataUse{}, false }}
	known := func() map[string]int64 {
		out := map[string]int64{}
		for _, c := range h.channels {
			if v, ok := c.read(&r); ok {
				out[c.channel.Name] = v
			}
		}
		return out
	}
	if got := known(); len(got) != 1 || got["modem_a_state"] != int64(ladder.Absent) {
		t.Errorf("a modem that is not there: got %v, want its state alone", got)
	}
	r.modems["a"] = keeper.Status{State: ladder.Degraded, Info: modem.Info{
		Profile: "quectel", SIM: "READY", Registration: 5, Access: 7, Cell: 0x1A2B3C4, Cause: 11,
		Numbers: map[string]float64{"rsrp_dbm": -97.5, "temp_c": 0, "band": 3, "plmn": 26201, "rx_bytes": 1 << 40},
	}}
	r.used = func(string) (DataUse, bool) { return DataUse{Received: 5, Sent: 6}, true }
	want := map[string]int64{
		"modem_a_state": int64(ladder.Degraded), "modem_a_registration": 5, "modem_a_sim": 0, "modem_a_access": 7, "modem_a_cell": 0x1A2B3C4,
		"modem_a_reject_cause": 11, "modem_a_rsrp_dbm": -975, "modem_a_temp_c": 0, "modem_a_band": 3, "modem_a_plmn": 26201, "modem_a_rx_bytes": 1 << 40,
		"link_a_received_month": 5, "link_a_sent_month": 6,
	}
	got := known()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s: got %d, %v, want %d", k, g, ok, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for _, c := range h.channels {
		if c.channel.Name == "modem_a_sim" && (len(c.channel.Enum) != len(simNames) || c.channel.Enum[3].Name != "absent") {
			t.Errorf("names of the card's states: %v", c.channel.Enum)
		}
	}
}
