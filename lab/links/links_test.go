package links

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/lab/link"
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
		{"no rate", "0mbit/40ms", "rate", 0, 0},
		{"no file", "/nowhere/x/40ms", "trace", 0, 0},
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
