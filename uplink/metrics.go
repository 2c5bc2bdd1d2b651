package uplink

import (
	"fmt"
	"strconv"

	"telemetry/wire"
)

// linkStates are the values of the label state, one series each.
var linkStates = [...]string{"up", "held", "quiet", "suspect", "dead", "dialing", "down"}

// linkMetric is one figure of every link.
type linkMetric struct {
	name, kind, help string
	value            func(l *LinkSnapshot) float64
}

var linkMetrics = [...]linkMetric{
	{"rtt_seconds", "gauge", "Smoothed round trip.", func(l *LinkSnapshot) float64 { return float64(l.RTTNS) / 1e9 }},
	{"min_rtt_seconds", "gauge", "Least round trip of the last 15 to 30 s.", func(l *LinkSnapshot) float64 { return float64(l.MinRTTNS) / 1e9 }},
	{"delivery_bytes_per_second", "gauge", "Delivery rate; 0 = unknown.", func(l *LinkSnapshot) float64 { return float64(l.RateBps) }},
	{"in_flight_bytes", "gauge", "Bytes without delivery proof.", func(l *LinkSnapshot) float64 { return float64(l.InFlight) }},
	{"share", "gauge", "Share of what all links delivered in the last seconds.", func(l *LinkSnapshot) float64 { return l.Share }},
	{"today_bytes", "gauge", "Bytes that count for today's budget.", func(l *LinkSnapshot) float64 { return float64(l.DayBytes) }},
	{"sent_bytes_total", "counter", "Bytes sent.", func(l *LinkSnapshot) float64 { return float64(l.Bytes) }},
	{"resent_bytes_total", "counter", "Of them, copies of live and full beyond the first.", func(l *LinkSnapshot) float64 { return float64(l.ResentBytes) }},
	{"critical_wins_total", "counter", "Critical batches that the link delivered first.", func(l *LinkSnapshot) float64 { return float64(l.Wins) }},
	{"suspicions_total", "counter", "Times that a delivery proof was overdue.", func(l *LinkSnapshot) float64 { return float64(l.Suspicions) }},
	{"deaths_total", "counter", "Times without any proof for 3 s.", func(l *LinkSnapshot) float64 { return float64(l.Deaths) }},
	{"dials_total", "counter", "Connections dialled.", func(l *LinkSnapshot) float64 { return float64(l.Dials) }},
	{"dial_errors_total", "counter", "Of them, without success.", func(l *LinkSnapshot) float64 { return float64(l.DialFailures) }},
}

// AppendMetrics appends s to dst as Prometheus text. Every series is there also
// while it is 0.
func AppendMetrics(dst []byte, s Snapshot) []byte {
	head := func(name, kind, help string) {
		dst = fmt.Appendf(dst, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	const prefix = "edgeagent_link_"
	head(prefix+"state", "gauge", "1 for the state that the link is in.")
	for i := range s.Links {
		for _, st := range linkStates {
			v := 0
			if s.Links[i].State == st {
				v = 1
			}
			dst = fmt.Appendf(dst, "%sstate{link=%q,state=%q} %d\n", prefix, s.Links[i].Name, st, v)
		}
	}
	for _, m := range linkMetrics {
		head(prefix+m.name, m.kind, m.help)
		for i := range s.Links {
			dst = fmt.Appendf(dst, "%s%s{link=%q} %s\n", prefix, m.name, s.Links[i].Name, strconv.FormatFloat(m.value(&s.Links[i]), 'g', -1, 64))
		}
	}
	head(prefix+"last_change_seconds", "gauge", "When the link's state changed last, since boot, and why: one series a link.")
	for i := range s.Links {
		l := &s.Links[i]
		dst = fmt.Appendf(dst, "%slast_change_seconds{link=%q,cause=%q} %s\n", prefix, l.Name, l.LastCause.String(), strconv.FormatFloat(float64(l.LastChangeNS)/1e9, 'f', 3, 64))
	}
	head("edgeagent_held", "gauge", "1 while every receiver that can be reached takes nothing.")
	held := 0
	if s.Held {
		held = 1
	}
	dst = fmt.Appendf(dst, "edgeagent_held %d\n", held)
	dst = appendHops(dst, &s.Hops)
	head("edgeagent_in_flight_batches", "gauge", "Batches sent and not settled.")
	for _, l := range wire.Lanes {
		dst = fmt.Appendf(dst, "edgeagent_in_flight_batches{lane=%q} %d\n", l.String(), s.InFlight[l])
	}
	return dst
}
