package reorder

import (
	"flag"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"telemetry/wire"
)

var (
	seedsFlag = flag.Int64("reorder.seeds", 2000, "how many seeds TestRandomLogs runs")
	firstFlag = flag.Int64("reorder.first", 1, "the first seed of TestRandomLogs")
)

// TestRandomLogs runs simulated cars and checks what the sequencer made of their
// logs: nothing twice, order, every number settled once with a true reason, the
// same decisions in a replay and over takeovers.
func TestRandomLogs(t *testing.T) {
	n := *seedsFlag
	if testing.Short() {
		n = min(n, 200)
	}
	for seed := *firstFlag; seed < *firstFlag+n; seed++ {
		if msg := checkSeed(seed); msg != "" {
			t.Fatalf("seed %d (-reorder.first %d -reorder.seeds 1): %s", seed, seed, msg)
		}
	}
}

// simConfig chooses windows by seed.
func simConfig(seed int64) Config {
	cfg := Defaults()
	cfg.AnchorWait = 500 * time.Millisecond
	w := [...]time.Duration{None, 10 * time.Millisecond, 100 * time.Millisecond, 3 * time.Second, time.Minute, 0}
	for _, l := range wire.Lanes {
		cfg.Windows[l] = w[seed%int64(len(w))]
	}
	if seed%2 == 0 {
		cfg.Windows = [4]time.Duration{None, None, None, None}
	}
	return cfg
}

// simRun feeds a log to a sequencer, as an owner at the head of the partition
// would see it, with what happens between the records decided by a seed.
type simRun struct {
	s    *simCar
	cfg  Config
	r    *rand.Rand // decides when time moves between records; nil: never
	take *rand.Rand // decides takeovers; nil: none
	c    *Car
	out  Out
	err  string
}

func (r *simRun) run() string {
	r.c = NewCar(simCarName, r.cfg)
	for i := range r.s.log {
		in := &r.s.log[i]
		if i > 0 && r.r != nil && r.r.Intn(3) == 0 {
			if d := in.AppendMS - r.s.log[i-1].AppendMS; d > 0 {
				r.c.Advance(r.s.log[i-1].AppendMS+r.r.Int63n(d+1), &r.out)
			}
		}
		if in.abandon != (wire.Epoch{}) {
			r.c.Abandon(in.Offset, in.AppendMS, in.abandon, &r.out)
		} else {
			r.c.Apply(&in.Input, &r.out)
		}
		if r.take != nil && r.take.Intn(25) == 0 {
			r.takeOver(i)
			if r.err != "" {
				return r.err
			}
		}
	}
	last := r.s.log[len(r.s.log)-1].AppendMS
	for _, d := range []int64{500, 5000, 100_000, 500_000} {
		r.c.Advance(last+d, &r.out)
	}
	return ""
}

// takeOver replaces the car by one restored from its state and the log.
func (r *simRun) takeOver(i int) {
	state := r.c.AppendState(nil)
	c, err := ParseCar(r.cfg, state)
	if err != nil {
		r.err = fmt.Sprintf("takeover after record %d: %v", i, err)
		return
	}
	if again := c.AppendState(nil); string(again) != string(state) {
		r.err = fmt.Sprintf("takeover after record %d: the restored state differs", i)
		return
	}
	from := c.NextOffset()
	if low, ok := c.LowestNeeded(); ok {
		from = low
	}
	if want, ok := r.c.LowestNeeded(); ok && want != from {
		r.err = fmt.Sprintf("takeover after record %d: needs offset %d, was %d", i, from, want)
		return
	}
	if r.take.Intn(3) == 0 { // other cars need an earlier offset
		from = max(0, from-int64(r.take.Intn(60)))
	}
	n := len(r.out.Decisions)
	for j := range r.s.log[:i+1] {
		in := &r.s.log[j]
		switch {
		case in.Offset < from || in.Offset >= c.NextOffset():
		case in.abandon != (wire.Epoch{}):
			c.Abandon(in.Offset, in.AppendMS, in.abandon, &r.out)
		case r.take.Intn(2) == 0:
			c.Rebuild(&in.Input)
		default:
			c.Apply(&in.Input, &r.out)
		}
	}
	if len(r.out.Decisions) != n {
		r.err = fmt.Sprintf("takeover after record %d: rebuilding decided %+v", i, r.out.Decisions[n:])
	}
	if c.Held() != r.c.Held() {
		r.err = fmt.Sprintf("takeover after record %d: holds %d, held %d", i, c.Held(), r.c.Held())
	}
	r.c = c
}

func checkSeed(seed int64) string {
	s := simulate(seed, seed%5 == 4)
	cfg := simConfig(seed)
	live := &simRun{s: s, cfg: cfg, r: rand.New(rand.NewSource(seed))}
	if msg := live.run(); msg != "" {
		return msg
	}
	v := newVerdict(s, cfg)
	if msg := v.check(live.out.Decisions); msg != "" {
		return msg
	}
	if msg := v.checkEnd(live.c); msg != "" {
		return msg
	}
	over := &simRun{s: s, cfg: cfg, r: rand.New(rand.NewSource(seed)), take: rand.New(rand.NewSource(seed + 1))}
	if msg := over.run(); msg != "" {
		return msg
	}
	if msg := same(live.out.Decisions, over.out.Decisions); msg != "" {
		return "takeover: " + msg
	}
	replay := &simRun{s: s, cfg: cfg}
	if msg := replay.run(); msg != "" {
		return msg
	}
	if msg := same(live.out.Decisions, replay.out.Decisions); msg != "" {
		return "replay: " + msg
	}
	return ""
}

// same compares two runs of decisions.
func same(a, b []Decision) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			near := func(ds []Decision) (s string) {
				for _, d := range ds[max(0, i-2):min(len(ds), i+3)] {
					s += "\n\t" + show(d)
				}
				return s
			}
			return fmt.Sprintf("decision %d differs: %s\nwas %s", i, near(b), near(a))
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d decisions, were %d", len(b), len(a))
	}
	return ""
}

func show(d Decision) string {
	s := fmt.Sprintf("%v %v", d.Kind, d.ID)
	switch d.Kind {
	case KindGap:
		s += fmt.Sprintf("-%d %v reason %d was %d", d.Last, d.Gap, d.Reason, d.Was)
	case KindDeadLetter:
		s += " " + d.Why.String()
	case KindAlarm:
		s += fmt.Sprintf("-%d %v", d.Last, d.Alarm)
	}
	return s + fmt.Sprintf(" @%d", d.Offset)
}
