package links

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/link"
	"telemetry/spool"
	"telemetry/wire"
)

func TestParseLink(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "drive.up")
	if err := os.WriteFile(trace, []byte("0\n1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text, fault string
		rate              float64
		delay             time.Duration
	}{
		{"rate", "10mbit/40ms", "", 10e6, 40 * time.Millisecond},
		{"fraction of a rate", "0.5mbit/1s", "", 5e5, time.Second},
		{"trace", trace + "/35ms", "", 12e6, 35 * time.Millisecond},
		{"no delay", "10mbit", "want RATE/DELAY", 0, 0},
		{"bad delay", "10mbit/40", "delay", 0, 0},
		{"in other letters, with spaces", " 10Mbit/40ms ", "", 10e6, 40 * time.Millisecond},
		{"no rate", "0mbit/40ms", "rate", 0, 0},
		{"no number", "NaNmbit/40ms", "rate", 0, 0},
		{"too fast", "1e9mbit/40ms", "want a number from 0.01 to 100000", 0, 0},
		{"another unit", "500kbit/40ms", "neither a rate, as 10mbit, nor a file", 0, 0},
		{"no file", "/nowhere/x/40ms", "trace", 0, 0},
		{"a folder", filepath.Dir(trace) + "/40ms", "is a directory", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseLink(tt.text, 5*time.Second)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Fatalf("error %v, want one about %q", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if meanRate(s) != tt.rate || s.Delay != tt.delay {
				t.Errorf("rate %g delay %v, want %g and %v", meanRate(s), s.Delay, tt.rate, tt.delay)
			}
		})
	}
}

func TestValidateSaysEachFault(t *testing.T) {
	nowhere, back := math.NaN(), -3.0
	tests := []struct {
		name   string
		change func(c *Config)
		faults []string
	}{
		{"none", func(*Config) {}, nil},
		{"no links", func(c *Config) { c.Specs = nil }, []string{"0 links, want 1 to 8"}},
		{"a case that there is not", func(c *Config) { c.Case = "fast" }, []string{`case "fast", want one of saturate, kill`}},
		{"shorter than anything counts", func(c *Config) { c.Seconds = 3 }, []string{"3 seconds, want 10 to 600"}},
		{"no link is killed in so short a time", func(c *Config) { c.Case, c.Seconds = "kill", 10 }, []string{"10 seconds, want 14 to 600 for kill"}},
		{"an offset before the begin", func(c *Config) { c.Offset = &back }, []string{"offset -3 s"}},
		{"an offset that is no number", func(c *Config) { c.Offset = &nowhere }, []string{"offset NaN s"}},
		{"a peer twice", func(c *Config) { c.Peers = []string{"tcp", "mptcp", "tcp"} }, []string{`peer "tcp"`}},
		{"several", func(c *Config) { c.LoadMbit, c.Tries, c.Peers = -1, -1, []string{"udp"} }, []string{"load of -1", "-1 tries", `peer "udp"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Specs: []string{"10mbit/40ms"}, Case: "saturate", Seconds: 10}
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.faults == nil) {
				t.Fatalf("error %v, want one about %q", err, tt.faults)
			}
			for _, f := range tt.faults {
				if !strings.Contains(err.Error(), f) {
					t.Errorf("error %v, want one about %q", err, f)
				}
			}
		})
	}
}

// TestShortestRunHasATrouble: what Validate lets through has something to measure.
func TestShortestRunHasATrouble(t *testing.T) {
	for _, which := range cases {
		s := shortest(which)
		if troubles := which != "saturate" && which != "trace"; troubles != (len(plan(which, 3, s)) > 0) {
			t.Errorf("%s: %d troubles in %d s, want some: %v", which, len(plan(which, 3, s)), s, troubles)
		}
	}
}

// TestBacklogDrainsSoon: slow links have drained it seconds after the end, fast ones
// never lack it between two looks.
func TestBacklogDrainsSoon(t *testing.T) {
	for _, mbit := range []float64{0.8, 2.6, 8, 26, 120} {
		takes := time.Duration(float64(backlog(mbit*1e6)) * 8 / mbit / 1e6 * float64(time.Second))
		if takes < 2*pendingEvery || takes > drainLimit/2 {
			t.Errorf("%g Mbit/s: a backlog of %v, want more than %v and at most %v", mbit, takes, 2*pendingEvery, drainLimit/2)
		}
	}
}

// TestWhatTheCarKeepsIsNotLost: a batch that has neither arrived nor waits in the
// spool is lost.
func TestWhatTheCarKeepsIsNotLost(t *testing.T) {
	id := func(seq uint64) wire.ID {
		return wire.ID{Stream: wire.Stream{Car: "lab-car", Epoch: wire.Epoch{Counter: 1, Nonce: 5}, Lane: wire.LaneFull}, Seq: seq}
	}
	got := []arrival{{atNS: 1e9, header: wire.Header{Stream: id(1).Stream, Seq: 1}, send: wire.Send{Gen: 1, Base: 1}}}
	rep := carReport{Sends: []sentBatch{{Lane: wire.LaneFull, Seq: 1, Size: 10}, {Lane: wire.LaneFull, Seq: 2, Size: 10}}}
	for name, tt := range map[string]struct {
		kept []uint64
		lost int64
	}{
		"nothing is kept":                    {nil, 1},
		"the one that is missing":            {[]uint64{2}, 0},
		"one that has arrived":               {[]uint64{1}, 1},
		"one that was made at the very end":  {[]uint64{2, 3}, 0},
		"another one, made at the very end":  {[]uint64{3}, 1},
		"all, and one that was not sent yet": {[]uint64{1, 2, 3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			kept := map[wire.ID]bool{}
			for _, seq := range tt.kept {
				kept[id(seq)] = true
			}
			res, err := (&trial{sampler: &sampler{}}).figures(rep, got, kept)
			if err != nil {
				t.Fatal(err)
			}
			if *res.Lost != tt.lost {
				t.Errorf("lost %d, want %d", *res.Lost, tt.lost)
			}
		})
	}
}

// TestKeptIsWhatTheSpoolHolds reads a spool after its owner has ended.
func TestKeptIsWhatTheSpoolHolds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	sp, _, err := spool.Open(spool.Config{Dir: dir, Car: "lab-car", Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sp.Run(ctx) }() // ends with stop
	ids := map[wire.Lane]wire.ID{}
	for _, l := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		if ids[l], err = sp.Append(wire.Body{Lane: l, Payload: []byte("rows")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := sp.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	kept, err := keptIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	for l, id := range ids {
		if !kept[id] {
			t.Errorf("kept %v, want %v of %v among them", kept, id, l)
		}
	}
}

func TestPlanTroublesEachLinkInTurnAndEndsInTime(t *testing.T) {
	for _, which := range cases {
		const seconds = 60
		troubled := map[int]int{}
		var last time.Duration
		for _, e := range plan(which, 3, seconds) {
			if e.at < last || e.at < baseline(seconds) || e.at > seconds*time.Second {
				t.Errorf("%s: %v at %v after %v", which, e, e.at, last)
			}
			last = e.at
			if !e.back {
				troubled[e.link]++
			}
		}
		want := 3
		if which == "saturate" || which == "trace" {
			want = 0
		}
		if len(troubled) != want {
			t.Errorf("%s: troubles by link %v, want %d links", which, troubled, want)
		}
	}
}

// TestOracleUsesEveryChance: saturated it carries all that the links can, and
// below that it adds nothing to the delay of the fastest link but the sending.
func TestOracleUsesEveryChance(t *testing.T) {
	r := &run{Config: Config{Specs: []string{"10mbit/20ms", "6mbit/30ms"}, Case: "saturate", Seconds: 15}}
	res, err := r.oracle(0)
	if err != nil {
		t.Fatal(err)
	}
	if *res.GoodputRatio < 0.999 || *res.GoodputRatio > 1.001 {
		t.Errorf("goodput ratio %g, want 1", *res.GoodputRatio)
	}
	r.LoadMbit = 4
	if res, err = r.oracle(0); err != nil {
		t.Fatal(err)
	}
	if *res.LiveP99 < 20 || *res.LiveP99 > 40 {
		t.Errorf("live p99 %g ms, want the links' delays", *res.LiveP99)
	}
}

func TestOracleTakesNoChanceOfASilentLink(t *testing.T) {
	s := link.Spec{BitRate: 12e6, Delay: time.Millisecond}
	events := []event{{at: time.Second, link: 0, state: link.Silent}, {at: 2 * time.Second, link: 0, back: true}}
	from := int64(lead)
	all := chances(s, 0, nil, from, from+int64(3*time.Second))
	some := chances(s, 0, events, from, from+int64(3*time.Second))
	if n := len(all); n < 2990 || n > 3010 {
		t.Errorf("%d chances in 3 s of 12 Mbit/s, want 3000", n)
	}
	if n := len(all) - len(some); n < 990 || n > 1010 {
		t.Errorf("%d chances lost to a silent second, want 1000", n)
	}
}

// ramp is a link's counters: in and out grow with the rate from a time on, out
// later by a lag.
func ramp(rate int64, lag, from, silentFrom, silentTo time.Duration, length time.Duration) (out []sample) {
	var in, got, capacity int64
	for at := time.Duration(0); at < length; at += sampleEvery {
		step := rate * int64(sampleEvery) / int64(time.Second)
		capacity += step
		if at >= from && (at < silentFrom || at >= silentTo) {
			in += step
			if at >= from+lag {
				got += step
			}
		}
		out = append(out, sample{int64(at), in, got, capacity})
	}
	return out
}

func TestQueueIsWhatStaysLongerThanTheDelay(t *testing.T) {
	s := sampler{specs: []link.Spec{{Delay: 40 * time.Millisecond}}, links: [][]sample{ramp(1e6, 100*time.Millisecond, 0, time.Hour, time.Hour, 3*time.Second)}}
	q := s.queueMS(int64(time.Second), int64(2*time.Second))
	if len(q) < 90 {
		t.Fatalf("%d samples of a second, want about 100", len(q))
	}
	if p := *quantile(q, 0.5); p < 50 || p > 70 {
		t.Errorf("queue %g ms, want 60", p)
	}
}

// TestAStopIsNoQueue: what comes while a link stops has waited for nobody; what was
// given to it before has.
func TestAStopIsNoQueue(t *testing.T) {
	const stop, goes = int64(time.Second), int64(3 * time.Second)
	run := func(bulk int64) []float64 {
		var l []sample
		var in, out, capacity int64
		for at := int64(0); at < 4*int64(time.Second); at += int64(sampleEvery) {
			if stopped := at >= stop && at < goes; !stopped {
				capacity += 10_000
				out = min(in, out+10_000)
			}
			switch {
			case at == stop-2*int64(sampleEvery): // a packet alone would still leave
				in += bulk
			case at >= stop && at%int64(100*time.Millisecond) == 0:
				in += 200 // something fresh now and then
			}
			l = append(l, sample{at, in, out, capacity})
		}
		s := sampler{specs: []link.Spec{{}}, links: [][]sample{l}}
		return s.queueMS(0, int64(4*time.Second))
	}
	if got := *quantile(run(0), 1); got > 30 {
		t.Errorf("a queue of %g ms at most on a link that was given little while it stopped, want none", got)
	}
	got := run(200_000)
	if most := *quantile(got, 1); most < 2000 || most > 2300 {
		t.Errorf("a queue of %g ms at most, want the stop and 200 ms for what was given before it", most)
	}
	if p := *quantile(got, 0.5); p < 100 || p > 250 {
		t.Errorf("a queue of %g ms in the median, want about the 200 ms that are in front", p)
	}
}

func TestHealingIsTheTimeUntilTheCapacityIsUsedAgain(t *testing.T) {
	l := ramp(1e6, 0, 0, 2*time.Second, 5700*time.Millisecond, 10*time.Second)
	s := sampler{specs: []link.Spec{{}}, links: [][]sample{l}}
	done := []happened{
		{event{link: 0, state: link.Silent}, int64(2 * time.Second)},
		{event{link: 0, back: true}, int64(5 * time.Second)},
	}
	got := s.healS(done, int64(10*time.Second))
	if len(got) != 1 || got[0] < 0.5 || got[0] > 0.8 {
		t.Errorf("healed after %v s, want 0.7", got)
	}
}

func TestOutputsComeOutOnce(t *testing.T) {
	id := wire.Stream{Car: "lab-car", Epoch: wire.Epoch{Counter: 1, Nonce: 5}, Lane: wire.LaneFull}
	batch := func(seq uint64) arrival {
		return arrival{atNS: int64(seq) * 1e9, header: wire.Header{Stream: id, Seq: seq}, send: wire.Send{Gen: 1, Base: 1}}
	}
	twice, released, err := outputs([]arrival{batch(1), batch(3), batch(2), batch(3)})
	if err != nil {
		t.Fatal(err)
	}
	if twice != 0 || released[wire.LaneFull] > 3 {
		t.Errorf("%d twice, %v released, want none twice and 3 at most", twice, released)
	}
}

func TestCombineTakesTheBadEnd(t *testing.T) {
	lost := func(n int64) *int64 { return &n }
	rs := []Result{
		{GoodputRatio: round(0.9), LiveP99: round(10), Lost: lost(0)},
		{GoodputRatio: round(0.8), LiveP99: round(30), Lost: lost(2)},
		{GoodputRatio: round(1), LiveP99: round(20), Lost: lost(0)},
	}
	m, w := combine(rs, "median"), combine(rs, "worst")
	got := []float64{*m.GoodputRatio, *m.LiveP99, *w.GoodputRatio, *w.LiveP99}
	if want := []float64{0.9, 20, 0.8, 30}; !slices.Equal(got, want) {
		t.Errorf("median and worst %v, want %v", got, want)
	}
	if *m.Lost != 2 {
		t.Errorf("lost %d, want 2: a loss counts in every summary", *m.Lost)
	}
}
