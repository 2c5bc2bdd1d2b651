package agent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/sensors"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// rootFS is a machine with a boot id, a thermal zone and nothing else.
func rootFS() fstest.MapFS {
	return fstest.MapFS{
		"proc/sys/kernel/random/boot_id":       {Data: []byte("0c5a2f4e-8a5d-4c39-9a53-5e3a2f1b7c11\n")},
		"sys/class/thermal/thermal_zone0/type": {Data: []byte("cpu\n")},
		"sys/class/thermal/thermal_zone0/temp": {Data: []byte("51000\n")},
	}
}

// car is an agent under test. Its sources are the test's own.
type car struct {
	*Agent
	dir   string
	clock *fakeClock
	cloud *cloud // behind both links
	end   func() error
}

// newCar prepares an agent whose configured sources are replaced; change may
// alter the configuration. Without links it only spools.
func newCar(t *testing.T, links int, change func(*config.Agent), sources ...namedSource) *car {
	t.Helper()
	ms := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Millisecond) }
	cfg := &config.Agent{
		Version: 1, Car: "car-7", Board: "generic", Seal: seals(), Live: liveLast, Clock: config.Clock{Interval: ms(10_000)},
		Spool:   config.Spool{Dir: filepath.Join(t.TempDir(), "spool"), Quota: 64 << 20, Chunk: 1 << 20, CommitInterval: ms(100), CriticalCommit: ms(20)},
		Sources: []config.Source{{Name: "sim", Sim: &config.Sim{Channels: 1, Rate: 1000, Seed: 1}}},
	}
	for i := range links {
		cfg.Links = append(cfg.Links, config.Link{Name: string(rune('a' + i)), Addresses: []string{"tcp://cloud:1883"}})
	}
	if change != nil {
		change(cfg)
	}
	c := &car{dir: cfg.Spool.Dir, clock: newClock(), cloud: newCloud()}
	a, err := prepare(cfg, rootFS(), silent(), c.clock)
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) > 0 {
		a.sources = append(sources, namedSource{name: config.OwnSource, source: a.health})
		if a.plan, err = newPlan(cfg.Car, a.sources, cfg.Live); err != nil {
			t.Fatal(err)
		}
	}
	a.dialer = func(modem.Modem, config.Link) uplink.Dialer { return c.cloud }
	c.Agent = a
	return c
}

// own lists the agent's own channels.
func (c *car) own() []wire.Channel { return c.health.Groups()[0].Channels }

// start runs the agent; end stops it and returns Run's error.
func (c *car) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }() // ends with c.end
	c.end = func() error { cancel(); return <-done }
	synctest.Wait()
}

// spooled reads back all that waits on disk.
func (c *car) spooled(t *testing.T) *received {
	t.Helper()
	sp, _, err := spool.Open(spool.Config{Dir: c.dir, Car: "car-7", Clock: c.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := newReceived()
	for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		var at wire.ID
		for {
			it, ok := sp.Next(lane, at)
			if !ok {
				break
			}
			at = it.ID
			raw, err := sp.Read(it.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _, err := wire.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			var o wire.Opener
			payload, err := o.Payload(b)
			if err != nil {
				t.Fatal(err)
			}
			r.payload(t, &c.plan.catalogue, lane, b.Header.Samples, payload)
		}
	}
	return r
}

// feed returns a run that appends random rows of one group for some virtual
// time, then ends.
func feed(grp wire.Group, seed uint64, appends int, want map[point]int) func(context.Context, sensors.Sink) error {
	return func(ctx context.Context, out sensors.Sink) error {
		r := rand.New(rand.NewPCG(seed, 0))
		for i := range appends {
			if err := out.Append(randomRows(r, 0, grp, int64(i+1)*1e10, 1+r.IntN(40), i%2 == 1, want)); err != nil {
				return err
			}
			select {
			case <-time.After(time.Duration(r.IntN(50)) * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
}

// checkFull compares the full lane, without the agent's own channels, with what
// was appended: every sample exactly once.
func (r *received) checkFull(t *testing.T, own []wire.Channel, want map[point]int) {
	t.Helper()
	maps.DeleteFunc(r.points[wire.LaneFull], func(p point, _ int) bool {
		return slices.ContainsFunc(own, func(c wire.Channel) bool { return c.Name == p.channel })
	})
	r.check(t, wire.LaneFull, want)
}

func TestSamplesTakenAreDurableBeforeExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grp := group("g", 12)
		want := map[point]int{}
		src := &script{groups: []wire.Group{grp}, runs: []func(context.Context, sensors.Sink) error{
			func(ctx context.Context, out sensors.Sink) error {
				err := feed(grp, 1, 1000, want)(ctx, out)
				// What was read before the end may still be handed on.
				last := randomRows(rand.New(rand.NewPCG(9, 9)), 0, grp, 1e14, 5, false, want)
				return errors.Join(err, out.Append(last), out.Event(wire.Event{BootNS: 1e14, Name: "last"}))
			},
		}}
		c := newCar(t, 0, nil, namedSource{name: "s", source: src})
		c.start(t)
		time.Sleep(3 * time.Second)
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		got := c.spooled(t)
		got.checkFull(t, c.own(), want)
		if ev := got.events(); !slices.Equal(ev, []string{"last"}) {
			t.Errorf("events %v", ev)
		}
	})
}

func TestEverySampleReachesTheCloudOnceAndDrainWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grps := []wire.Group{group("g", 3), group("h", 20)}
		wants := []map[point]int{{}, {}}
		var sources []namedSource
		for i, g := range grps {
			sources = append(sources, namedSource{name: g.Name, source: &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{feed(g, uint64(i), 100, wants[i])}}})
		}
		c := newCar(t, 2, nil, sources...)
		c.start(t)
		time.Sleep(5 * time.Second)
		c.cloud.hold(true)
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.Drain(short); err == nil || !strings.Contains(err.Error(), "not yet in Kafka") {
			t.Errorf("drain while nothing becomes durable: %v", err)
		}
		c.cloud.hold(false)
		if err := c.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		st := c.Status()
		if !st.Draining || st.Lanes["full"].Pending != 0 || st.Lanes["critical"].Pending != 0 {
			t.Errorf("after the drain: %+v", st.Lanes)
		}
		for _, s := range st.Sources {
			if s.State != "stopped" && s.State != "done" {
				t.Errorf("source %s is %s", s.Name, s.State)
			}
		}
		got := c.cloud.read(t, &c.plan.catalogue)
		if n, taken := len(got.points[wire.LaneFull]), st.Lanes["full"].Samples; uint64(n) != taken {
			t.Errorf("%d samples in the cloud, %d taken", n, taken)
		}
		maps.Copy(wants[0], wants[1])
		got.checkFull(t, c.own(), wants[0])
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		if err := c.Drain(t.Context()); err == nil {
			t.Error("drained after the end")
		}
	})
}

func TestSourceThatFailsIsRestartedAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := group("good", 2), group("bad", 1)
		want, others := map[point]int{}, map[point]int{}
		row := func(tick int64) sensors.Rows {
			want[point{"bad.aa", tick, tick}]++
			return sensors.Rows{Ticks: []int64{tick}, Values: []int64{tick}}
		}
		flaky := &script{groups: []wire.Group{bad}, runs: []func(context.Context, sensors.Sink) error{
			func(_ context.Context, out sensors.Sink) error {
				return errors.Join(out.Append(row(5)), errors.New("device is gone"))
			},
			func(context.Context, sensors.Sink) error { panic("index out of range") },
			func(_ context.Context, out sensors.Sink) error {
				return out.Append(sensors.Rows{Ticks: []int64{9, 8}, Values: []int64{1, 2}}) // goes back
			},
			func(_ context.Context, out sensors.Sink) error { return out.Append(row(6)) },
		}}
		c := newCar(t, 0, nil,
			namedSource{name: "flaky", source: flaky},
			namedSource{name: "good", source: &script{groups: []wire.Group{good}, runs: []func(context.Context, sensors.Sink) error{feed(good, 3, 50, others)}}},
			namedSource{name: "lost", source: broken{errors.New("car.dbc: no such file")}})
		c.start(t)
		time.Sleep(time.Minute)
		st := c.Status()
		var got []string
		for _, s := range st.Sources {
			got = append(got, s.Name+" "+s.State)
		}
		if !slices.Equal(got, []string{"flaky done", "good done", "lost waiting", "agent running"}) {
			t.Errorf("sources are %v", got)
		}
		if s := st.Sources[0]; s.Restarts != 3 || s.Failures != 3 || s.Refused != 2 || s.Rows != 2 || s.Error == "" {
			t.Errorf("flaky: %+v", s)
		}
		if s := st.Sources[2]; s.Failures < 3 || !strings.Contains(s.Error, "car.dbc") {
			t.Errorf("lost: %+v", s)
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		maps.Copy(want, others)
		c.spooled(t).checkFull(t, c.own(), want)
	})
}

func TestSourceThatNeverReturnsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := &script{groups: []wire.Group{group("g", 1)}, runs: []func(context.Context, sensors.Sink) error{
			func(context.Context, sensors.Sink) error { <-release; return nil },
		}}
		c := newCar(t, 0, nil, namedSource{name: "stuck", source: stuck})
		c.start(t)
		begun := time.Now()
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > sourceGrace+time.Second {
			t.Errorf("ended after %v", d)
		}
		close(release)
	})
}

func TestQuotaDropsTheOldestAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grp := group("g", 50)
		src := &script{groups: []wire.Group{grp}, runs: []func(context.Context, sensors.Sink) error{feed(grp, 4, 400, map[point]int{})}}
		c := newCar(t, 0, func(cfg *config.Agent) { cfg.Spool.Chunk, cfg.Spool.Quota = 64<<10, 1<<20 }, namedSource{name: "s", source: src})
		c.start(t)
		time.Sleep(2 * time.Minute)
		st := c.Status()
		if st.Spool.LostQuota == 0 || st.Spool.DiskBytes > st.Spool.QuotaBytes || st.Sources[0].State != "done" {
			t.Errorf("%+v, source %s", st.Spool, st.Sources[0].State)
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		lost := uint64(0)
		for _, ctl := range c.spooled(t).controls {
			if ctl.Loss != nil {
				lost++
			}
		}
		if lost == 0 {
			t.Error("no loss record")
		}
	})
}

func TestHealthIsAGroupLikeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 1, nil, namedSource{name: "s", source: &script{groups: []wire.Group{group("g", 1)}, runs: []func(context.Context, sensors.Sink) error{stay}}})
		c.start(t)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if err := c.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		points := c.cloud.read(t, &c.plan.catalogue).points
		rows, last := map[string]int{}, map[string]point{}
		for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
			for p := range points[lane] {
				rows[p.channel]++
				if p.tick >= last[p.channel].tick {
					last[p.channel] = p
				}
			}
		}
		const all = 11 // one a second
		for name, want := range map[string]int64{"board_temp": 51000, "agent_dropped": 0} {
			if rows[name] != all || last[name].raw != want {
				t.Errorf("%s: %d rows, last %d (want %d and %d)", name, rows[name], last[name].raw, all, want)
			}
		}
		if rows["agent_heap"] != all || last["agent_heap"].raw <= 0 || last["link_a_sent"].raw <= 0 {
			t.Errorf("heap %v, sent %v", last["agent_heap"], last["link_a_sent"])
		}
		// The link was dialled, came up, and is told again after a while.
		critical := map[string]bool{}
		for p := range points[wire.LaneCritical] {
			critical[p.channel] = true
		}
		if !critical["link_a_state"] || rows["link_a_state"] != 3 || last["link_a_state"].raw != linkState("up") {
			t.Errorf("state of the link on the critical lane: %t, %d rows, last %d, want 3 and up", critical["link_a_state"], rows["link_a_state"], last["link_a_state"].raw)
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// numbers blanks what differs from run to run; names and types stay.
var numbers = regexp.MustCompile(`: (-?[0-9.e+]+|"1-[0-9a-f]{16}"|"[0-9a-f]{16}")`)

// The JSON of a status is an interface: fields are added, never renamed.
func TestStatusShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grp := group("g", 2)
		src := &script{groups: []wire.Group{grp}, runs: []func(context.Context, sensors.Sink) error{feed(grp, 5, 10, map[point]int{})}}
		c := newCar(t, 1, nil, namedSource{name: "s", source: src})
		before, err := json.Marshal(c.Status())
		if err != nil || strings.Contains(string(before), "null") {
			t.Errorf("before Run: %s, %v", before, err)
		}
		c.start(t)
		time.Sleep(3 * time.Second)
		b, err := json.MarshalIndent(c.Status(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		got := numbers.ReplaceAllString(string(b), ": 0") + "\n"
		golden := filepath.Join("testdata", "status.json")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the status changed its shape (run with -update if that is meant):\n%s", got)
		}
	})
}
