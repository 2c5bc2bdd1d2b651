package slcan_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	lab "telemetry/lab/slcan"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/can/slcan"
	"telemetry/sensors/dbc"
)

func oneID(t *testing.T) []*dbc.Database {
	return []*dbc.Database{byteDBC(t, 8, 0x123)}
}

func TestUnplugInTheMiddleOfALineAndPlugInAgain(t *testing.T) {
	const n = 3000
	b := start(t, lab.Config{Feed: list(frames(n)), Speed: 2}, slcan.Config{Databases: oneID(t)})
	for i := range 3 {
		until(t, "some frames", func() bool { return b.out.count() > (i+1)*n/5 })
		if err := b.adapter.UnplugInLine(); err != nil {
			t.Fatal(err)
		}
		until(t, "the source to fail", func() bool { return b.sup.Status()[0].Failures > uint64(i) })
		if got := b.sup.Status()[0].LastError; !strings.Contains(got, "was it unplugged?") {
			t.Errorf("got error %q, want one that asks for the adapter", got)
		}
		if err := b.adapter.Plug(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all frames", func() bool { return b.adapter.Done() && b.out.count() >= n })
	truth := b.adapter.Truth()
	b.stop()
	got := b.out.take()
	compare(t, got, truth)
	if len(got) != n {
		t.Errorf("got %d rows, want each of %d frames once", len(got), n)
	}
	if !slices.IsSortedFunc(got, func(a, b row) int { return int(a.tick - b.tick) }) {
		t.Error("ticks go back")
	}
	if opens, cut := b.counter("port_opens"), b.counter("lines_cut"); opens != 4 || cut < 1 {
		t.Errorf("got %d opens and %d cut lines, want 4 and some", opens, cut)
	}
	if bad := b.counter("lines_bad"); bad != 0 {
		t.Errorf("%d bad lines: %v", bad, b.source.BadLines())
	}
}

func TestNoiseLosesOnlyTheLinesThatItHits(t *testing.T) {
	cases := map[string]struct {
		noise lab.Noise
		bad   bool // it makes lines bad
		bells bool
	}{
		"foreign bytes": {noise: lab.Noise{Garbage: 0.05}, bad: true},
		"lost bytes":    {noise: lab.Noise{Lost: 0.05}, bad: true},
		"bells":         {noise: lab.Noise{Bell: 0.05}, bells: true},
		"stalls":        {noise: lab.Noise{Stall: 0.002, StallFor: 20 * time.Millisecond}},
		"all": {
			noise: lab.Noise{Garbage: 0.02, Lost: 0.02, Bell: 0.02, Stall: 0.001, StallFor: 20 * time.Millisecond},
			bad:   true, bells: true,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			const n, seed = 4000, 7
			b := start(t, lab.Config{Feed: list(frames(n)), Noise: c.noise, Seed: seed}, slcan.Config{Databases: oneID(t)})
			lines := func() int { return int(b.counter("lines") + b.counter("lines_cut")) }
			until(t, "the feed's end", func() bool { return b.adapter.Done() && lines() > 0 })
			truth := b.adapter.Truth()
			clean := 0
			for _, s := range truth {
				if !s.Hit {
					clean++
				}
			}
			until(t, "all clean frames", func() bool { return b.out.count() >= clean })
			b.stop()
			missing, extra := 0, 0
			got := map[string]int{}
			for _, r := range b.out.take() {
				got[r.data]++
			}
			for _, s := range truth {
				if data := want(s).data; got[data] == 0 && !s.Hit {
					missing++
				} else if got[data] > 0 {
					delete(got, data)
				}
			}
			extra = len(got)
			hits, bad := n-clean, int(b.counter("lines_bad"))
			t.Logf("seed %d: %d lines hit, %d bad lines, %d frames salvaged, %d changed unseen", seed, hits, bad, b.counter("frames_salvaged"), extra)
			if missing != 0 || extra > hits {
				t.Errorf("seed %d: %d clean frames missing, %d frames that nobody sent (%d lines were hit)", seed, missing, extra, hits)
			}
			if (bad > 0) != c.bad || c.bad && bad < hits/2 {
				t.Errorf("seed %d: %d bad lines counted, %d lines were hit", seed, bad, hits)
			}
			if bells := int(b.counter("lines_bell")); bells != b.adapter.Stats().Bells || (bells > 0) != c.bells {
				t.Errorf("seed %d: counted %d bells, the adapter rang %d", seed, bells, b.adapter.Stats().Bells)
			}
		})
	}
}

func TestWhatAnAdapterRefusesIsSaidWithItsRemedy(t *testing.T) {
	cases := map[string]struct {
		adapter lab.Config
		source  slcan.Config
		want    []string // in the error; none: frames come
	}{
		"bit rate":                     {lab.Config{Refuses: "S"}, slcan.Config{}, []string{"set bit rate by S6", "refused", "timing"}},
		"data bit rate":                {lab.Config{Firmware: lab.Lawicel}, slcan.Config{Dialect: slcan.LawicelFD, DataBitrate: 2_000_000}, []string{"set bit rate by Y2", "refused"}},
		"wanted stamps":                {lab.Config{Refuses: "Z"}, slcan.Config{Stamps: slcan.StampMilli}, []string{"set time stamps by Z1", "stamps by the host"}},
		"stamps":                       {lab.Config{Refuses: "Z"}, slcan.Config{}, nil},
		"micro, but it has milli":      {lab.Config{}, slcan.Config{Dialect: slcan.LawicelFD}, nil},
		"wanted listen-only":           {lab.Config{Refuses: "L"}, slcan.Config{Listen: slcan.ListenAlways}, []string{"listen-only", "normal mode"}},
		"listen-only":                  {lab.Config{Refuses: "L"}, slcan.Config{}, nil},
		"to open at all":               {lab.Config{Refuses: "LO"}, slcan.Config{}, []string{"open channel", "replug"}},
		"to say its version":           {lab.Config{Refuses: "VN"}, slcan.Config{}, nil},
		"status":                       {lab.Config{Refuses: "F"}, slcan.Config{StatusEvery: slcan.MinStatusEvery}, nil},
		"firmware that answers":        {lab.Config{}, slcan.Config{Dialect: slcan.CANable, Listen: slcan.ListenNever}, nil},
		"firmware that answers never":  {lab.Config{Firmware: lab.CANable, Refuses: "V"}, slcan.Config{}, []string{"no answer", "baud", "dialect canable"}},
		"registers":                    {lab.Config{}, slcan.Config{Timing: "031C", Bitrate: -1}, nil},
		"channel left open by another": {lab.Config{StaysOpen: true}, slcan.Config{}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time passes in waits for answers
			if c.source.Bitrate < 0 {
				c.source.Bitrate = 0
			} else {
				c.source.Bitrate = 500_000
			}
			clock := realClock{time.Now()}
			c.adapter.Clock, c.adapter.Feed, c.adapter.Link = clock, list(frames(50)), filepath.Join(t.TempDir(), "port")
			a, err := lab.New(c.adapter)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Plug(); err != nil {
				t.Skipf("no pseudo terminal here: %v", err)
			}
			t.Cleanup(runs(t, a.Run))
			c.source.Port, c.source.Clock, c.source.Databases = a.Path(), clock, oneID(t)
			src, err := slcan.New(c.source)
			if err != nil {
				t.Fatal(err)
			}
			out := &rows{groups: src.Groups()}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- src.Run(ctx, out) }() // ends with ctx or its fault
			if c.want == nil {
				until(t, "the frames", func() bool { return out.count() == 50 })
				cancel()
			}
			err = <-done
			cancel()
			if c.want == nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the end of the context", err)
			}
			for _, w := range c.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("got error %v, want %q in it", err, w)
				}
			}
		})
	}
}

func TestPortsThatCannotBeOpened(t *testing.T) {
	b := start(t, lab.Config{Feed: list(frames(1))}, slcan.Config{Databases: oneID(t)})
	until(t, "a frame", func() bool { return b.out.count() == 1 })
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file)
	cases := map[string]struct{ port, want string }{
		"one that another source has": {b.adapter.Path(), "another program has it"},
		"one that is no serial port":  {file, "is it a serial port?"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			src, err := slcan.New(slcan.Config{Port: c.port, Bitrate: 500_000, Clock: realClock{time.Now()}})
			if err != nil {
				t.Fatal(err)
			}
			if err := src.Run(t.Context(), &rows{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAnAdapterThatOverflowsSaysSo(t *testing.T) {
	feed := make(chan can.Frame, 20_000)
	b := start(t, lab.Config{Feed: lab.Channel(feed), BusRuns: true, Buffer: 1000, Noise: lab.Noise{Stall: 1, StallFor: 50 * time.Millisecond}},
		slcan.Config{Databases: oneID(t), StatusEvery: slcan.MinStatusEvery})
	until(t, "the channel to open", func() bool { return b.adapter.Stats().Open })
	for _, f := range frames(500) {
		feed <- f
	}
	until(t, "the overflow to be counted", func() bool { return b.counter("status_overflow") > 0 })
	until(t, "an event", func() bool {
		b.out.mu.Lock()
		defer b.out.mu.Unlock()
		return len(b.out.events) > 0
	})
	close(feed)
	until(t, "the buffer to be read", b.adapter.Done)
	truth := b.adapter.Truth()
	dropped := 0
	for _, s := range truth {
		if s.Fate == lab.Dropped {
			dropped++
		}
	}
	if dropped == 0 {
		t.Error("the adapter dropped nothing: the test shows nothing")
	}
	until(t, "what was not dropped", func() bool { return b.out.count() >= len(truth)-dropped })
	b.stop()
	compare(t, b.out.take(), truth)
	if e := b.out.events[0]; e.Name != "can_adapter_status" || !strings.Contains(e.Detail, "frames lost") {
		t.Errorf("got event %+v, want one that tells of lost frames", e)
	}
}

func TestAHostThatStopsReadingStopsTheBusAndLosesNothing(t *testing.T) {
	const n = 4000 // more than all buffers hold
	b := start(t, lab.Config{Feed: list(frames(n)), Speed: 5}, slcan.Config{Databases: oneID(t)})
	until(t, "some frames", func() bool { return b.out.count() > n/10 })
	hold := make(chan struct{})
	b.out.mu.Lock()
	b.out.hold = hold
	b.out.mu.Unlock()
	put := -1
	until(t, "the bus to stand still", func() bool {
		before := put
		put = b.adapter.Stats().Frames
		time.Sleep(50 * time.Millisecond) // several frames' time on a bus that runs
		return before == put
	})
	close(hold)
	until(t, "all frames", func() bool { return b.out.count() >= n && b.adapter.Done() })
	truth := b.adapter.Truth()
	b.stop()
	errs := compare(t, b.out.take(), truth)
	slices.Sort(errs)
	t.Logf("%d of %d frames were on the bus when it stood still for %d ms; tick errors %d to %d ns", put, n, b.adapter.Stats().PausedNS/1e6, errs[0], errs[len(errs)-1])
	if put == n {
		t.Error("the bus did not wait: the test shows nothing")
	}
	if errs[0] < -1e6 {
		t.Errorf("a tick is %d ns before its frame", -errs[0])
	}
}

func TestAWrongBitRateIsCounted(t *testing.T) {
	b := start(t, lab.Config{Feed: list(frames(10)), Rate: 1_000_000}, slcan.Config{Databases: oneID(t), StatusEvery: slcan.MinStatusEvery})
	until(t, "bus errors", func() bool { return b.counter("status_bus_error") > 2 && b.counter("status_passive") > 2 })
	if n := b.out.count(); n != 0 {
		t.Errorf("got %d rows from a bus of another bit rate", n)
	}
}

func TestAnAdapterThatHangsIsAnError(t *testing.T) {
	feed := make(chan can.Frame)
	b := start(t, lab.Config{Feed: lab.Channel(feed), Noise: lab.Noise{Stall: 1, StallFor: time.Hour}},
		slcan.Config{Databases: oneID(t), StatusEvery: slcan.MinStatusEvery})
	until(t, "a status", func() bool { return b.counter("status_polls") > 3 })
	feed <- frames(1)[0]
	until(t, "an error", func() bool { return b.sup.Status()[0].Failures > 0 })
	if got := b.sup.Status()[0].LastError; !strings.Contains(got, "silent for") {
		t.Errorf("got error %q, want one that says for how long it is silent", got)
	}
}

func TestNothingIsEverSentOnTheBus(t *testing.T) {
	for _, mode := range []slcan.ListenMode{slcan.ListenAuto, slcan.ListenNever} {
		b := start(t, lab.Config{Feed: list(frames(200)), StaysOpen: true}, slcan.Config{Databases: oneID(t), Listen: mode, StatusEvery: slcan.MinStatusEvery})
		until(t, "the frames", func() bool { return b.out.count() == 200 })
		b.stop()
		if n := b.adapter.Stats().Transmitted; n != 0 {
			t.Errorf("listen mode %d: %d frames were sent", mode, n)
		}
	}
}

func TestASourceThatIsStoppedClosesTheChannel(t *testing.T) {
	clock := realClock{time.Now()}
	a, err := lab.New(lab.Config{Feed: list(frames(10)), StaysOpen: true, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Plug(); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	defer runs(t, a.Run)()
	src, err := slcan.New(slcan.Config{Port: a.Path(), Bitrate: 500_000, Clock: clock, Databases: oneID(t)})
	if err != nil {
		t.Fatal(err)
	}
	out := &rows{groups: src.Groups()}
	stop := runs(t, func(ctx context.Context) error { return src.Run(ctx, out) })
	until(t, "the frames", func() bool { return out.count() == 10 })
	if !a.Stats().Open {
		t.Error("the channel is not open while frames come")
	}
	stop()
	until(t, "the port and the channel to be closed", func() bool { return !a.Stats().Reading && !a.Stats().Open })
}

var _ sensors.Sink = (*rows)(nil)
