package agent

import "telemetry/sensors"

// JitterStatus says how late a polled source's reads were behind their clock.
type JitterStatus struct {
	Reads   uint64         `json:"reads"`
	P50US   float64        `json:"p50_us"`
	P99US   float64        `json:"p99_us"`
	P999US  float64        `json:"p999_us"`
	MaxUS   float64        `json:"max_us"`
	Buckets []JitterBucket `json:"histogram"`
}

// JitterBucket counts reads that were later than the bucket before and not later
// than UpToUS.
type JitterBucket struct {
	UpToUS float64 `json:"up_to_us"`
	Reads  uint64  `json:"reads"`
}

// jitterOf returns nil for a source that is not polled.
func jitterOf(s sensors.Source) *JitterStatus {
	t, ok := s.(sensors.Timed)
	if !ok {
		return nil
	}
	l := t.Lateness()
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	j := &JitterStatus{
		Reads: l.Count, P50US: us(l.Quantile(0.5)), P99US: us(l.Quantile(0.99)), P999US: us(l.Quantile(0.999)), MaxUS: us(l.MaxNS),
		Buckets: []JitterBucket{},
	}
	for _, b := range l.Buckets {
		j.Buckets = append(j.Buckets, JitterBucket{UpToUS: us(b.UpToNS), Reads: b.Count})
	}
	return j
}
