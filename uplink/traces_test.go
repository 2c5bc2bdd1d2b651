package uplink

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// tracesDir is where recorded traces may lie, beside the repository.
const tracesDir = "../../shared/traces"

// traceLinks returns links over recorded traces from an offset on.
func traceLinks(t *testing.T, from time.Duration, names ...string) []*simLink {
	t.Helper()
	var out []*simLink
	for _, n := range names {
		path := filepath.Join(tracesDir, n+".up.gz")
		if _, err := os.Stat(path); err != nil {
			t.Skipf("no trace: %v", err)
		}
		tr, err := lablink.LoadTrace(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, modelLink(lablink.Spec{Trace: tr, TraceFrom: from, Delay: 30 * time.Millisecond}))
	}
	return out
}

// modelLink returns a link that is the laboratory's model and never drops.
func modelLink(spec lablink.Spec) *simLink {
	spec.Queue = 4 << 20
	return &simLink{delay: int64(spec.Delay), rate: 1e6, model: lablink.NewDirection(spec, 1)}
}

// steps is a trace that goes from 8 Mbit/s to a tenth and back every second.
func steps(t *testing.T) *lablink.Trace {
	t.Helper()
	var b []byte
	for at := 0.0; at < 2000; {
		b = fmt.Appendf(b, "%d\n", int(at))
		if at < 1000 {
			at += 1.5
		} else {
			at += 15
		}
	}
	path := filepath.Join(t.TempDir(), "steps")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := lablink.LoadTrace(path)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// saturate fills links for 15 s and returns the share of their capacity that was
// used after 5 s, the 99th percentile of the previews' and of the critical lane's
// latency in ms, and the share of bytes sent again.
func saturate(t *testing.T, links []*simLink) (used float64, live, critical int64, again float64) {
	t.Helper()
	s := newSim(t, 1, links)
	s.insts[s.addrs[0]].credit = 8 << 20
	backlog(s, 6000, 14<<10)
	s.run(s.now+5000*ms, nil)
	var was []lablink.Counters
	for _, l := range s.links {
		was = append(was, l.model.Counters(s.now))
	}
	end := s.now + 10_000*ms
	s.load(wire.LaneCritical, 120, 100*ms, end)
	s.load(wire.LaneLive, 2000, 100*ms, end)
	s.run(end, nil)
	var all, could int64
	for i, l := range s.links {
		c := l.model.Counters(s.now)
		all += c.OutBytes - was[i].OutBytes
		could += c.CapacityBytes - was[i].CapacityBytes
	}
	s.run(end+3000*ms, nil)
	late := map[wire.Lane][]int64{}
	for id, at := range s.madeAt {
		late[id.Stream.Lane] = append(late[id.Stream.Lane], (s.gotAt[id]-at)/ms)
	}
	p99 := func(l wire.Lane) int64 { slices.Sort(late[l]); return late[l][len(late[l])*99/100] }
	n := s.e.Snapshot().Totals
	return float64(all) / float64(could), p99(wire.LaneLive), p99(wire.LaneCritical), float64(n.ResentBytes) / float64(n.BatchBytes)
}

func TestChangingLinksAreFull(t *testing.T) {
	tests := []struct {
		name  string
		used  float64
		links func(t *testing.T) []*simLink
	}{
		{"steps of 10 to 1", 0.86, func(t *testing.T) []*simLink {
			tr := steps(t)
			var out []*simLink
			for i := range 3 {
				out = append(out, modelLink(lablink.Spec{Trace: tr, TraceFrom: time.Duration(i) * 670 * time.Millisecond, Delay: 30 * time.Millisecond}))
			}
			return out
		}},
		{"a slow one beside a fast one", 0.97, func(*testing.T) []*simLink {
			return []*simLink{
				modelLink(lablink.Spec{BitRate: 10e6, Delay: 30 * time.Millisecond}),
				modelLink(lablink.Spec{BitRate: 1e6, Delay: 30 * time.Millisecond}),
			}
		}},
		{"recorded, good", 0.96, func(t *testing.T) []*simLink {
			return traceLinks(t, 97*time.Second, "Verizon-LTE-driving", "TMobile-LTE-driving", "ATT-LTE-driving")
		}},
		{"recorded, uneven", 0.94, func(t *testing.T) []*simLink {
			return traceLinks(t, 97*time.Second, "Verizon-LTE-driving", "ATT-LTE-driving", "TMobile-UMTS-driving")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			used, live, critical, again := saturate(t, tt.links(t))
			t.Logf("used %.3f, live %d ms, critical %d ms, re-sent %.4f", used, live, critical, again)
			if used < tt.used {
				t.Errorf("used %.3f of the capacity, want >= %.2f", used, tt.used)
			}
			if live > 1000 || critical > 500 {
				t.Errorf("live %d ms and critical %d ms p99, want <= 1000 and 500", live, critical)
			}
			if again > 0.05 {
				t.Errorf("re-sent %.4f of the bytes, want <= 0.05", again)
			}
		})
	}
}
