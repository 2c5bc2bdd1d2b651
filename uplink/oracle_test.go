package uplink

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// The oracle is what no scheduler can beat: one queue with strict priority of the
// lanes, drained by every sending chance of every link.

// due is one batch that a load makes.
type due struct {
	at   int64 // ns
	lane wire.Lane
	size int64
}

// laps is a load: critical and live ten times a second, and full at a rate in
// bytes/s.
func laps(from, to, fullRate int64) (out []due) {
	add := func(l wire.Lane, size, every int64) {
		for at := from; at < to; at += every {
			out = append(out, due{at, l, size})
		}
	}
	add(wire.LaneCritical, 120, 100*ms)
	add(wire.LaneLive, 2000, 100*ms)
	if fullRate > 0 {
		add(wire.LaneFull, 14<<10, (14<<10)*1_000_000_000/fullRate)
	}
	slices.SortStableFunc(out, func(a, b due) int { return int(a.at - b.at) })
	return out
}

// chances lists when a link can send a packet, from its begin at 0.
func chances(spec lablink.Spec, to int64) (out []int64) {
	d := lablink.NewDirection(lablink.Spec{BitRate: spec.BitRate, Trace: spec.Trace, TraceFrom: spec.TraceFrom, Queue: 64 << 10}, 0)
	for {
		now := int64(0)
		if len(out) > 0 {
			now = out[len(out)-1]
		}
		for d.Fits(now, len(zeros)) {
			d.Offer(now, lablink.Packet{Data: zeros[:]})
		}
		at, ok := d.Leave()
		if !ok || at >= to {
			return out
		}
		for _, _, ok := d.Pop(at); ok; _, _, ok = d.Pop(at) {
			out = append(out, at)
		}
		if len(out) == 0 || out[len(out)-1] < at {
			out = append(out, at)
		}
	}
}

// oracle returns the latencies by lane in ns.
func oracle(specs []lablink.Spec, load []due) map[wire.Lane][]int64 {
	type chance struct{ at, delay int64 }
	var all []chance
	for _, s := range specs {
		for _, at := range chances(s, load[len(load)-1].at+20_000*ms) {
			all = append(all, chance{at, int64(s.Delay)})
		}
	}
	slices.SortFunc(all, func(a, b chance) int { return int(a.at - b.at) })
	var queue [wire.LaneFull + 1][]due
	late := map[wire.Lane][]int64{}
	for _, c := range all {
		for len(load) > 0 && load[0].at <= c.at {
			queue[load[0].lane] = append(queue[load[0].lane], load[0])
			load = load[1:]
		}
		for room := int64(segment); room > 0; {
			i := slices.IndexFunc(wire.Lanes[:], func(l wire.Lane) bool { return len(queue[l]) > 0 })
			if i < 0 {
				break
			}
			q := &queue[wire.Lanes[i]]
			n := min(room, (*q)[0].size)
			room -= n
			if (*q)[0].size -= n; (*q)[0].size == 0 {
				late[wire.Lanes[i]] = append(late[wire.Lanes[i]], c.at+c.delay-(*q)[0].at)
				*q = (*q)[1:]
			}
		}
	}
	return late
}

// drive makes a trace of a link in a car: a rate that walks between 0.3 and
// 12 Mbit/s, and some times without any.
func drive(t *testing.T, seed uint64) *lablink.Trace {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 99))
	var b []byte
	rate, room := rng.Float64()*2, 0.0 // natural logarithm of Mbit/s; packets
	gap := 0
	for at := range 40_000 {
		if at%100 == 0 {
			rate = min(2.5, max(-1.2, rate+rng.NormFloat64()*0.45))
			if gap -= 100; gap <= 0 && rng.Float64() < 0.006 {
				gap = int(200 + rng.ExpFloat64()*700)
			}
		}
		if gap > 0 {
			continue
		}
		for room += math.Exp(rate) / 12; room >= 1; room-- {
			b = fmt.Appendf(b, "%d\n", at)
		}
	}
	path := filepath.Join(t.TempDir(), "drive")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := lablink.LoadTrace(path)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// drives are links over traces of one seed.
func drives(t *testing.T, seed uint64) (out []lablink.Spec) {
	for i := range uint64(3) {
		out = append(out, lablink.Spec{Trace: drive(t, seed*10+i), Delay: time.Duration(25+10*i) * time.Millisecond})
	}
	return out
}

// p99 returns the 99th percentile in ms.
func p99(v []int64) int64 {
	slices.Sort(v)
	return v[len(v)*99/100] / ms
}

// engineLate runs the engine over links of their own with a load and returns the
// latencies by lane in ns and the share of bytes sent again.
func engineLate(t *testing.T, specs []lablink.Spec, load []due) (map[wire.Lane][]int64, float64) {
	t.Helper()
	var links []*simLink
	for _, s := range specs {
		links = append(links, modelLink(s))
	}
	s := newSim(t, 1, links)
	for _, l := range s.links {
		l.model.Counters(0) // the trace begins at 0, as the oracle's
	}
	s.insts[s.addrs[0]].credit = 8 << 20
	for _, d := range load {
		s.at(d.at-s.now, func() { s.make(d.lane, int(d.size)) })
	}
	s.run(load[len(load)-1].at, nil)
	s.drained(30_000 * ms)
	late := map[wire.Lane][]int64{}
	for id, at := range s.madeAt {
		late[id.Stream.Lane] = append(late[id.Stream.Lane], s.gotAt[id]-at)
	}
	n := s.e.Snapshot().Totals
	return late, float64(n.ResentBytes) / float64(n.BatchBytes)
}

// TestEngineBesideTheOracle: at 60 % of what the links carry, previews come within
// 400 ms of the oracle's, critical batches nearer, and little is sent again. Of drives
// harder than any recorded one, whose links stop twice a minute, that holds in the mean:
// there the 99th percentile is two previews of one incident.
func TestEngineBesideTheOracle(t *testing.T) {
	type trial struct {
		name  string
		specs func(t *testing.T) []lablink.Spec
	}
	var trials []trial
	const driven = 8
	for seed := range uint64(driven) {
		trials = append(trials, trial{fmt.Sprintf("drive %d", seed), func(t *testing.T) []lablink.Spec { return drives(t, seed) }})
	}
	names := []string{"Verizon-LTE-driving", "TMobile-LTE-driving", "ATT-LTE-driving", "TMobile-UMTS-driving", "Verizon-EVDO-driving"}
	for i := range names {
		from := time.Duration(i) * 83 * time.Second
		trials = append(trials, trial{fmt.Sprintf("%s and the next two, from %v", names[i], from), func(t *testing.T) (out []lablink.Spec) {
			for _, l := range traceLinks(t, from, names[i], names[(i+1)%len(names)], names[(i+2)%len(names)]) {
				out = append(out, l.model.Spec())
			}
			return out
		}})
	}
	const mostLive, mostCritical = 400, 300 // ms
	var lives, criticals int64
	for i, tt := range trials {
		t.Run(tt.name, func(t *testing.T) {
			live, critical := besideTheOracle(t, tt.specs(t))
			if i < driven {
				lives, criticals = lives+live, criticals+critical
				return
			}
			if live > mostLive || critical > mostCritical {
				t.Errorf("p99 above the oracle's by %d ms (live), %d ms (critical), want <= %d, %d", live, critical, mostLive, mostCritical)
			}
		})
	}
	if lives, criticals = lives/driven, criticals/driven; lives > mostLive || criticals > mostCritical {
		t.Errorf("drives in the mean: p99 above the oracle's by %d ms (live), %d ms (critical), want <= %d, %d", lives, criticals, mostLive, mostCritical)
	}
}

// besideTheOracle returns by how many ms the 99th percentiles of two lanes are above
// the oracle's at 60 % of what links of specs carry.
func besideTheOracle(t *testing.T, specs []lablink.Spec) (live, critical int64) {
	t.Helper()
	const from, to = 3000 * ms, 23_000 * ms
	var could int64
	for _, s := range specs {
		could += int64(len(chances(s, to))) * segment * int64(time.Second) / to
	}
	load := laps(from, to, could*6/10-21_000)
	best := oracle(specs, slices.Clone(load))
	got, again := engineLate(t, specs, load)
	ol, oc, el, ec := p99(best[wire.LaneLive]), p99(best[wire.LaneCritical]), p99(got[wire.LaneLive]), p99(got[wire.LaneCritical])
	t.Logf("%.1f Mbit/s: live p99 %d ms (oracle %d), critical %d ms (oracle %d), re-sent %.4f", float64(could)*8/1e6, el, ol, ec, oc, again)
	if el < ol || ec < oc {
		t.Errorf("better than the oracle: live %d < %d or critical %d < %d ms", el, ol, ec, oc)
	}
	previews, all := 0.0, 0.0
	for _, d := range load {
		if all += float64(d.size); d.lane == wire.LaneLive {
			previews += float64(d.size)
		}
	}
	if most := 0.02 + previews/all; again > most {
		t.Errorf("re-sent %.4f of the bytes, want <= %.4f: a fiftieth, and each preview twice", again, most)
	}
	return el - ol, ec - oc
}

// TestOracleUsesEveryChance: what it carries is what the links can carry.
func TestOracleUsesEveryChance(t *testing.T) {
	specs := []lablink.Spec{{BitRate: 12e6, Delay: 10 * time.Millisecond}, {BitRate: 6e6, Delay: 30 * time.Millisecond}}
	load := []due{{0, wire.LaneFull, 1500 * segment}, {400 * ms, wire.LaneCritical, 100}}
	late := oracle(specs, load)
	if got := late[wire.LaneFull][0] / ms; got < 990 || got > 1050 {
		t.Errorf("1,500 packets over 18 Mbit/s take %d ms, want 1 s and the way", got)
	}
	if got := late[wire.LaneCritical][0] / ms; got > 35 {
		t.Errorf("a critical batch took %d ms behind a full one, want the way", got)
	}
}
