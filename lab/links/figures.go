package links

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// quantile returns the smallest value that the share q does not exceed; nil if
// there is none.
func quantile(v []float64, q float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	s := slices.Clone(v)
	slices.Sort(s)
	i := min(len(s)-1, int(math.Ceil(q*float64(len(s))))-1)
	return round(s[max(0, i)])
}

// round keeps what means something: four decimals.
func round(v float64) *float64 {
	v = math.Round(v*1e4) / 1e4
	return &v
}

// combine returns the median or the worst of each figure over runs of one
// subject.
func combine(rs []Result, of string) Result {
	out := Result{Case: rs[0].Case, Subject: rs[0].Subject, Of: of}
	for _, f := range []struct {
		get  func(*Result) **float64
		high bool // a high one is bad
	}{
		{func(r *Result) **float64 { return &r.GoodputRatio }, false},
		{func(r *Result) **float64 { return &r.CriticalP99 }, true},
		{func(r *Result) **float64 { return &r.CriticalRise }, true},
		{func(r *Result) **float64 { return &r.StuckP99 }, true},
		{func(r *Result) **float64 { return &r.StuckMax }, true},
		{func(r *Result) **float64 { return &r.LiveP99 }, true},
		{func(r *Result) **float64 { return &r.OracleLive }, true},
		{func(r *Result) **float64 { return &r.ResentRatio }, true},
		{func(r *Result) **float64 { return &r.HealP95 }, true},
		{func(r *Result) **float64 { return &r.QueueP95 }, true},
		{func(r *Result) **float64 { return &r.CPUCores }, true},
	} {
		var v []float64
		for i := range rs {
			if p := *f.get(&rs[i]); p != nil {
				v = append(v, *p)
			}
		}
		switch {
		case of == "median":
			*f.get(&out) = quantile(v, 0.5)
		case f.high:
			*f.get(&out) = quantile(v, 1)
		default:
			*f.get(&out) = quantile(v, 0)
		}
	}
	for i := range rs { // of these every one counts
		out.Lost = worse(out.Lost, rs[i].Lost)
		out.Duplicates = worse(out.Duplicates, rs[i].Duplicates)
	}
	return out
}

func worse(a, b *int64) *int64 {
	if a == nil || (b != nil && *b > *a) {
		return b
	}
	return a
}

// String is the line for people: only the figures that there are.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %-6s", r.Case, r.Subject)
	if r.Of != "" {
		fmt.Fprintf(&b, " %s", r.Of)
	}
	num := func(name string, v *float64) {
		if v != nil {
			fmt.Fprintf(&b, "  %s %g", name, *v)
		}
	}
	num("offset_s", r.OffsetS)
	num("goodput_ratio", r.GoodputRatio)
	num("critical_p99_ms", r.CriticalP99)
	num("critical_rise_ms", r.CriticalRise)
	num("stuck_p99_ms", r.StuckP99)
	num("stuck_max_ms", r.StuckMax)
	num("live_p99_ms", r.LiveP99)
	num("oracle_live_p99_ms", r.OracleLive)
	num("resent_ratio", r.ResentRatio)
	num("heal_p95_s", r.HealP95)
	num("queue_p95_ms", r.QueueP95)
	num("cpu_cores", r.CPUCores)
	for name, v := range map[string]*int64{"lost": r.Lost, "duplicates": r.Duplicates} {
		if v != nil {
			fmt.Fprintf(&b, "  %s %d", name, *v)
		}
	}
	return b.String()
}
