package uplink

import (
	"regexp"
	"strings"
	"testing"
	"time"

	lablink "telemetry/lab/link"
	"telemetry/wire"
)

// TestMetricsOfEveryLink: every figure of a link is a series with a type, and what
// it says is what the snapshot says.
func TestMetricsOfEveryLink(t *testing.T) {
	s := newSim(t, 1, []*simLink{
		modelLink(lablink.Spec{BitRate: 6e6, Delay: 20 * time.Millisecond}),
		modelLink(lablink.Spec{BitRate: 2e6, Delay: 60 * time.Millisecond}),
	})
	s.run(s.now+500*ms, nil)
	backlog(s, 600, 14<<10)
	s.load(wire.LaneCritical, 100, 100*ms, s.now+5000*ms)
	s.run(s.now+5000*ms, nil)
	sn := s.e.Snapshot()
	if a, b := sn.Links[0].Share, sn.Links[1].Share; a < 0.70 || a > 0.80 || a+b < 0.999 || a+b > 1.001 {
		t.Errorf("shares %.3f and %.3f of 6 and 2 Mbit/s, want 0.75 and 0.25", a, b)
	}
	if sn.Links[0].Wins == 0 || sn.Links[0].Wins <= sn.Links[1].Wins {
		t.Errorf("wins %d and %d, want most for the link with the shorter way", sn.Links[0].Wins, sn.Links[1].Wins)
	}
	text := string(AppendMetrics(nil, sn))
	line := regexp.MustCompile(`^(edgeagent_[a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")?\})? [0-9.e+-]+$`)
	typed := map[string]bool{}
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		if name, ok := strings.CutPrefix(l, "# TYPE "); ok {
			typed[strings.Fields(name)[0]] = true
			continue
		}
		if strings.HasPrefix(l, "# HELP ") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m != nil && strings.HasPrefix(m[1], "edgeagent_hop_seconds_") && typed["edgeagent_hop_seconds"] {
			continue // a line of the histogram
		}
		if m == nil || !typed[m[1]] {
			t.Errorf("line %q is no sample of a metric with a type", l)
		}
	}
	for _, want := range []string{`edgeagent_link_state{link="modem0",state="up"} 1`, `edgeagent_link_state{link="modem1",state="dead"} 0`, `edgeagent_link_last_change_seconds{link="modem0",cause="connected"} 1.120`, "edgeagent_held 0", `edgeagent_hop_seconds_count{hop="sealed"} 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestShareForgetsInSeconds(t *testing.T) {
	var l lately
	l.add(0, 100)
	l.add(2500*ms, 10)
	if got := l.sum(2500 * ms); got != 110 {
		t.Errorf("after 2.5 s %d, want 110: the last bucket counts", got)
	}
	if got := l.sum(4100 * ms); got != 10 {
		t.Errorf("after 4.1 s %d, want 10", got)
	}
	if got := l.sum(60_000 * ms); got != 0 {
		t.Errorf("after a minute %d, want 0", got)
	}
}
