package links

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/link"
	"telemetry/lab/netns"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

// pathRig is the real spool, uplink, MQTT client, broker and ingest service over
// kernel links.
type pathRig struct {
	t      *testing.T
	bed    *netns.Testbed
	sink   *sink
	spool  *spool.Spool
	uplink *uplink.Uplink
	added  int // batches of the full lane
}

// waitLimit is when a condition that should come is given up.
const waitLimit = 60 * time.Second

// newPathRig starts everything over n links of 20 Mbit/s; before is called before
// the uplink starts.
func newPathRig(t *testing.T, n int, before func(*netns.Testbed)) *pathRig {
	t.Helper()
	if err := netns.Available(); err != nil {
		t.Skip(err)
	}
	var cfg netns.Config
	for i := range n {
		s := link.Spec{BitRate: 20e6, Delay: 5 * time.Millisecond, Queue: 256 << 10}
		cfg.Links = append(cfg.Links, netns.Link{Device: []string{"wwan0", "wwan1", "wwan2"}[i], Up: s, Down: link.Spec{Delay: s.Delay}})
	}
	r := &pathRig{t: t}
	var err error
	if r.bed, err = netns.New(cfg); err != nil {
		t.Fatal(err)
	}
	if r.sink, err = newSink(net.JoinHostPort(r.bed.FarAddr().String(), "0")); err != nil {
		t.Fatal(err)
	}
	if r.spool, _, err = spool.Open(spool.Config{Dir: t.TempDir(), Car: "lab-car", QuotaBytes: 64 << 20, Clock: clock.System{}}); err != nil {
		t.Fatal(err)
	}
	var ways []uplink.Link
	for _, p := range r.bed.Paths() {
		dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
			return r.bed.Car.Dial(ctx, p.Device(), addr)
		}
		ways = append(ways, uplink.Link{Name: p.Device(), Addrs: []string{"tcp://" + r.sink.broker.Addr()}, Dialer: &mqtt.Dialer{Net: dial}})
	}
	if r.uplink, err = uplink.New(uplink.Config{Car: "lab-car", Epoch: r.spool.Epoch()}, r.spool, ways, clock.System{}, nil); err != nil {
		t.Fatal(err)
	}
	var ends []func()
	run := func(fn func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- fn(ctx) }() // ends with ctx
		ends = append(ends, func() { cancel(); <-done })
	}
	run(r.bed.Run)
	if before != nil {
		before(r.bed)
	}
	run(r.sink.run)
	run(r.spool.Run)
	run(r.uplink.Run)
	t.Cleanup(func() {
		for i := len(ends) - 1; i >= 0; i-- {
			ends[i]()
		}
		_ = r.spool.Close()
		_ = r.bed.Close()
	})
	return r
}

// add gives the spool n batches of the full lane.
func (r *pathRig) add(n int) {
	r.t.Helper()
	r.added += n
	for range n {
		now := clock.System{}.BootNS()
		if _, err := r.spool.Append(wire.Body{Lane: wire.LaneFull, FirstNS: now, LastNS: now, Samples: 1, Payload: wire.AppendEvent(nil, &wire.Event{BootNS: now, Name: "mark"})}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// until waits for a condition.
func (r *pathRig) until(what string, is func() bool) {
	r.t.Helper()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for end := time.Now().Add(waitLimit); !is(); <-t.C {
		if time.Now().After(end) {
			r.t.Fatalf("no %s in %v: %+v", what, waitLimit, r.uplink.Snapshot().Links)
		}
	}
}

// delivered waits until every batch that was added has arrived and the spool knows.
func (r *pathRig) delivered() {
	r.t.Helper()
	r.until("delivery of everything", func() bool {
		got, err := r.sink.take()
		r.must(err)
		ids := map[uint64]bool{}
		for _, a := range got {
			if a.header.Stream.Lane == wire.LaneFull {
				ids[a.header.Seq] = true
			}
		}
		return len(ids) == r.added && r.spool.Stats().Lanes[wire.LaneFull].Pending == 0
	})
}

func (r *pathRig) state(i int) string { return r.uplink.Snapshot().Links[i].State }

func (r *pathRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestOneKernelLink(t *testing.T) {
	r := newPathRig(t, 1, nil)
	r.add(200)
	r.delivered()
}

func TestTwoKernelLinks(t *testing.T) {
	r := newPathRig(t, 2, nil)
	r.until("two links", func() bool { return r.state(0) == "up" && r.state(1) == "up" })
	r.add(200)
	r.delivered()
}

// TestKernelLinkThatAppearsWhileRunning: without any link everything is spooled;
// when one comes it leaves.
func TestKernelLinkThatAppearsWhileRunning(t *testing.T) {
	r := newPathRig(t, 1, func(b *netns.Testbed) {
		if err := b.Paths()[0].Unplug(); err != nil {
			t.Fatal(err)
		}
	})
	r.add(50)
	r.until("failed dial", func() bool { return r.uplink.Snapshot().Links[0].DialFailures > 0 })
	r.until("50 batches in the spool", func() bool { return r.spool.Stats().Lanes[wire.LaneFull].Pending == 50 })
	r.must(r.bed.Paths()[0].Plug())
	r.delivered()
}

// TestInterfaceThatComesBackAsAnother: the modem resets; its interface is there
// again with another index and another address. Nothing is lost meanwhile, and
// the link is used again.
func TestInterfaceThatComesBackAsAnother(t *testing.T) {
	r := newPathRig(t, 2, nil)
	r.until("two links", func() bool { return r.state(0) == "up" && r.state(1) == "up" })
	gen := r.uplink.Snapshot().Links[0].Gen
	p := r.bed.Paths()[0]
	r.must(p.Unplug())
	_, err := p.Readdress(netip.Addr{})
	r.must(err)
	r.add(100)
	r.delivered() // over the other one
	r.must(p.Plug())
	r.until("new connection of the link", func() bool {
		l := r.uplink.Snapshot().Links[0]
		return l.State == "up" && l.Gen != gen
	})
	r.must(r.bed.Paths()[1].Set(link.Silent))
	r.add(100)
	r.delivered() // over the new one
}

// TestAddressThatChangesWithoutAWord: the network gives the modem another address;
// connections from the old one are dead, and nobody says so.
func TestAddressThatChangesWithoutAWord(t *testing.T) {
	r := newPathRig(t, 1, nil)
	r.add(10)
	r.delivered()
	gen := r.uplink.Snapshot().Links[0].Gen
	_, err := r.bed.Paths()[0].Readdress(netip.Addr{})
	r.must(err)
	r.add(100)
	r.delivered()
	r.until("word of the new connection", func() bool { return r.uplink.Snapshot().Links[0].Gen != gen })
}
