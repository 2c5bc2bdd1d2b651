package link

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Spec describes one direction of a link. The zero value is a perfect one. A
// packet's bytes are what the carrier counts: IP packets on a TUN device,
// payload in the relay.
type Spec struct {
	BitRate      int64         // bits per second; 0 = no limit
	Trace        *Trace        // capacity over time, in place of BitRate; nil = none
	TraceFrom    time.Duration // where in the trace the link begins; taken modulo its period
	Delay        time.Duration // one way
	Jitter       time.Duration // uniform 0..Jitter on top, never reordering
	Loss         float64       // probability 0..1 that a packet is lost before the queue
	Queue        int           // bytes that wait at most, droptail; 0 = DefaultQueue
	QueuePackets int           // packets that wait at most; 0 = no limit
	MaxWait      time.Duration // a packet that waited longer is lost, as at a radio link failure; 0 = it waits
}

// DefaultQueue holds about 300 ms of a 5 Mbit/s link, as modems do.
const DefaultQueue = 192 << 10

// Limits of a spec, far beyond any radio and small enough that no sum of them
// overflows.
const (
	MaxBitRate = 100e9
	MaxDelay   = time.Hour
)

// Validate reports all faults at once.
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("link: "+format, args...)) }
	if s.BitRate < 0 || s.BitRate > MaxBitRate {
		bad("rate %d bit/s is outside 0..%g", s.BitRate, float64(MaxBitRate))
	}
	if s.BitRate > 0 && s.Trace != nil {
		bad("both a rate and a trace")
	}
	if s.TraceFrom < 0 {
		bad("the trace begins at %v, before its start", s.TraceFrom)
	}
	for name, d := range map[string]time.Duration{"delay": s.Delay, "jitter": s.Jitter, "longest wait": s.MaxWait} {
		if d < 0 || d > MaxDelay {
			bad("%s %v is outside 0..%v", name, d, MaxDelay)
		}
	}
	if !(s.Loss >= 0 && s.Loss <= 1) {
		bad("loss %v is outside 0..1", s.Loss)
	}
	if s.Queue < 0 || s.QueuePackets < 0 {
		bad("a queue of %d bytes and %d packets", s.Queue, s.QueuePackets)
	}
	return errors.Join(errs...)
}

// ParseSpec reads the form that commands take: KEY=VALUE, separated by commas.
// Keys: rate (bit/s, with k, M or G), trace (a file, see [LoadTrace]), from,
// delay, jitter, wait (durations), loss (0..1, or with %), queue (bytes, with K
// or M), packets. The result is valid.
func ParseSpec(text string) (Spec, error) {
	var s Spec
	for kv := range strings.SplitSeq(text, ",") {
		if kv == "" {
			continue
		}
		k, v, _ := strings.Cut(kv, "=")
		if err := s.set(k, v); err != nil {
			return Spec{}, fmt.Errorf("link: %s in %q: %w", k, text, err)
		}
	}
	return s, s.Validate()
}

func (s *Spec) set(k, v string) (err error) {
	var n int64
	switch k {
	case "rate":
		s.BitRate, err = quantity(v, 1000)
	case "trace":
		s.Trace, err = LoadTrace(v)
	case "from":
		s.TraceFrom, err = time.ParseDuration(v)
	case "delay":
		s.Delay, err = time.ParseDuration(v)
	case "jitter":
		s.Jitter, err = time.ParseDuration(v)
	case "wait":
		s.MaxWait, err = time.ParseDuration(v)
	case "loss":
		num, percent := strings.CutSuffix(v, "%")
		if s.Loss, err = strconv.ParseFloat(num, 64); percent {
			s.Loss /= 100
		}
	case "queue":
		n, err = quantity(v, 1024)
		s.Queue = int(n)
	case "packets":
		n, err = quantity(v, 1000)
		s.QueuePackets = int(n)
	default:
		err = errors.New("no such key")
	}
	return err
}

// quantity reads a non-negative number with an optional unit of unit, unit² or
// unit³.
func quantity(v string, unit float64) (int64, error) {
	f := 1.0
	for _, u := range []string{"k", "m", "g"} {
		f *= unit
		if num, ok := strings.CutSuffix(strings.ToLower(v), u); ok {
			v = num
			break
		}
		if u == "g" {
			f = 1
		}
	}
	x, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return 0, err
	}
	if !(x >= 0 && x*f < 1<<53) {
		return 0, strconv.ErrRange
	}
	return int64(x * f), nil
}
