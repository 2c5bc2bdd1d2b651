package uplink

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/modem/fade"
	"telemetry/wire"
)

// fading is a link of 6 Mbit/s that carries nothing for fadeFor every fadeEvery:
// its rate falls over the second before, and its signal announces it.
type fading struct{ first int64 }

const (
	fadeEvery = 20_000 * ms
	fadeFor   = 5_000 * ms
	fadeTo    = 90_000 * ms
)

// into returns how long after the begin of the nearest fade t is; before, less than 0.
func (f fading) into(t int64) int64 {
	d := (t - f.first) % fadeEvery
	if d < 0 {
		d += fadeEvery
	}
	if d > fadeEvery/2 {
		d -= fadeEvery
	}
	return d
}

func (f fading) trace(t *testing.T, seed int) *lablink.Trace {
	t.Helper()
	var b []byte
	for at, room := int64(0), 0.0; at < fadeTo/ms; at++ {
		share := 1.0
		switch d := f.into(at * ms); {
		case d >= 0 && d < fadeFor:
			share = 0
		case d < 0 && d > -1000*ms:
			share = float64(-d) / float64(1000*ms)
		}
		for room += share / 2; room >= 1; room-- {
			b = fmt.Appendf(b, "%d\n", at)
		}
	}
	path := filepath.Join(t.TempDir(), fmt.Sprint("fading", seed))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := lablink.LoadTrace(path)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// signal is what the modem reads at t: power falls by 8 dB/s from 4 s before the
// fade, with noise as modems have.
func (f fading) signal(rng *rand.Rand, t int64) fade.Reading {
	rsrp := -92.0
	switch d := f.into(t); {
	case d >= 0 && d < fadeFor:
		rsrp = -126
	case d < 0 && d > -4000*ms:
		rsrp -= 8 * (4 + float64(d)/float64(1000*ms))
	}
	return fade.Reading{Now: time.Duration(t), RSRPdBm: rsrp + 3*(rng.Float64()-0.5), SINRdB: 12 + (rsrp+92)/3, Cell: 1}
}

// fadeRun is what one run over fading links came to.
type fadeRun struct {
	full, live, critical int64 // 99th percentile of latency, ms
	again                float64
	stuck                int // batches of the full lane that took a second or more
}

func runFading(t *testing.T, told bool) fadeRun {
	t.Helper()
	fs := []fading{{5_000 * ms}, {11_000 * ms}, {18_000 * ms}}
	var links []*simLink
	for i, f := range fs {
		links = append(links, modelLink(lablink.Spec{Trace: f.trace(t, i), Delay: time.Duration(20+10*i) * time.Millisecond}))
	}
	s := newSim(t, 1, links)
	for _, l := range s.links {
		l.model.Counters(0)
	}
	s.insts[s.addrs[0]].credit = 8 << 20
	load := laps(2000*ms, 80_000*ms, 18e6/8*3/4*55/100)
	for _, d := range load {
		s.at(d.at-s.now, func() { s.make(d.lane, int(d.size)) })
	}
	if told {
		rng := rand.New(rand.NewPCG(5, 6))
		var ps [3]fade.Predictor
		for at := int64(2000 * ms); at < 80_000*ms; at += 500 * ms {
			s.at(at-s.now, func() {
				var fades [3]bool
				good := 0
				for i, f := range fs {
					if fades[i] = ps[i].Step(f.signal(rng, at)); !fades[i] {
						good++
					}
				}
				for i := range fades {
					if fades[i] && good > 0 {
						s.e.Restrict(i, []wire.Lane{wire.LaneCritical, wire.LaneLive})
					} else {
						s.e.Restrict(i, nil)
					}
				}
			})
		}
	}
	s.run(80_000*ms, nil)
	s.drained(30_000 * ms)
	late := map[wire.Lane][]int64{}
	r := fadeRun{}
	for id, at := range s.madeAt {
		d := s.gotAt[id] - at
		late[id.Stream.Lane] = append(late[id.Stream.Lane], d)
		if id.Stream.Lane == wire.LaneFull && d >= 1000*ms {
			r.stuck++
		}
	}
	n := s.e.Snapshot().Totals
	r.full, r.live, r.critical = p99(late[wire.LaneFull]), p99(late[wire.LaneLive]), p99(late[wire.LaneCritical])
	r.again = float64(n.ResentBytes) / math.Max(1, float64(n.BatchBytes))
	return r
}

// TestAnnouncedFadesCostLess: where a modem's signal announces that its link goes,
// the full lane leaves it in time; everything arrives all the same.
func TestAnnouncedFadesCostLess(t *testing.T) {
	blind, told := runFading(t, false), runFading(t, true)
	t.Logf("blind: %+v", blind)
	t.Logf("told:  %+v", told)
	if told.again >= blind.again || told.full > blind.full || told.live > blind.live+20 || told.critical > blind.critical+20 {
		t.Errorf("told %+v, blind %+v: want less re-sent, and nothing later", told, blind)
	}
}
