// Package links measures what the car makes of bad links: the real agent, with a
// load of its own kind of samples, over emulated links of the kernel to the real
// ingest service, and beside it, over the same links, kernel MPTCP, a single TCP
// connection, and an oracle that is a pure simulation.
//
// The entry point is [Run], which needs root and /dev/net/tun. [RunCar] is the
// child process that it starts inside the car's namespace.
//
// Kafka is a producer in memory that answers after [kafkaDelay]: it is not what
// is measured, and on a machine of two cores it would disturb the links. Times
// are those of the boot clock, which sender and receiver share.
package links

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/lab/link"
)

// Config says what is measured.
type Config struct {
	Specs      []string // of the links: "10mbit/40ms" or "FILE[.gz]/40ms"
	Case       string   // one of Cases
	Seconds    int      // of each run, from the start of the load
	Offset     *float64 // where in the traces, in s; nil: five runs at Offsets
	Seed       uint64
	Tries      int      // of a run that the machine disturbs; 0 is 1
	LoadMbit   float64  // in all; 0: as the case says
	Peers      []string // of mptcp, tcp, srtla
	Congestion string   // TCP congestion control of the car; "": the kernel's default
	Plot       string   // folder for the plots of our own runs; "": none
	Self       string   // our own executable, for the car's process
	SelfArgs   []string // the arguments that make it call RunCar, before the path
	Progress   io.Writer
	Print      func(Result) error // called for each result as it comes
}

// Cases are what can be measured.
var cases = []string{"saturate", "kill", "trace", "heal", "down", "rebind"}

// Offsets of the five runs without Config.Offset, in s.
var offsets = [...]float64{0, 97, 211, 307, 401}

// Times of a run.
const (
	lead       = 2 * time.Second // from the links' begin to the load's
	warmUp     = 5 * time.Second // of the load, not counted
	drainLimit = 25 * time.Second
)

// Result is what one run says, or what five say together. A figure that the case
// or the subject does not have is nil.
type Result struct {
	Case         string   `json:"case"`
	Subject      string   `json:"subject"`
	OffsetS      *float64 `json:"offset_s"` // nil: median or worst of several
	GoodputRatio *float64 `json:"goodput_ratio"`
	CriticalP99  *float64 `json:"critical_p99_ms"`
	CriticalRise *float64 `json:"critical_rise_ms"`
	StuckP99     *float64 `json:"stuck_p99_ms"`
	StuckMax     *float64 `json:"stuck_max_ms"`
	LiveP99      *float64 `json:"live_p99_ms"`
	OracleLive   *float64 `json:"oracle_live_p99_ms"`
	ResentRatio  *float64 `json:"resent_ratio"`
	HealP95      *float64 `json:"heal_p95_s"`
	QueueP95     *float64 `json:"queue_p95_ms"`
	CPUCores     *float64 `json:"cpu_cores"`
	Lost         *int64   `json:"lost"`
	Duplicates   *int64   `json:"duplicates"`

	Of string `json:"-"` // "median" or "worst" of several runs; "" = one run
}

// Subjects.
const (
	subjectOurs   = "ours"
	subjectMPTCP  = "mptcp"
	subjectTCP    = "tcp"
	subjectSRTLA  = "srtla"
	subjectOracle = "oracle"
)

// parseLink reads RATE/DELAY or FILE/DELAY; the delay is one way, and offset is
// where in a trace the link begins.
func parseLink(text string, offset time.Duration) (link.Spec, error) {
	text = strings.TrimSpace(text)
	i := strings.LastIndex(text, "/")
	if i < 0 {
		return link.Spec{}, fmt.Errorf("links: %q, want RATE/DELAY or FILE/DELAY, as 10mbit/40ms", text)
	}
	what, after := text[:i], text[i+1:]
	delay, err := time.ParseDuration(after)
	if err != nil {
		return link.Spec{}, fmt.Errorf("links: delay in %q: %w", text, err)
	}
	s := link.Spec{Delay: delay, Queue: traceQueue}
	if rate, ok := strings.CutSuffix(strings.ToLower(what), "mbit"); ok {
		mbit, err := strconv.ParseFloat(rate, 64)
		if err != nil || !(mbit >= minMbit && mbit <= link.MaxBitRate/1e6) {
			return s, fmt.Errorf("links: rate in %q, want a number from %g to %g", text, minMbit, link.MaxBitRate/1e6)
		}
		s.BitRate = int64(mbit * 1e6)
		s.Queue = max(minQueue, int(s.BitRate/8*queueMS/1000))
		return s, s.Validate()
	}
	if s.Trace, err = link.LoadTrace(filepath.Clean(what)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return s, fmt.Errorf("links: %q is neither a rate, as 10mbit, nor a file: %w", what, err)
		}
		return s, err
	}
	s.TraceFrom = offset
	return s, s.Validate()
}

// minMbit is the least rate: a batch of the full lane takes 12 s.
const minMbit = 0.01

// Queues of the links: as modems have them.
const (
	traceQueue = 512 << 10
	minQueue   = 64 << 10
	queueMS    = 300
)

// meanRate returns the mean capacity of a link in bit/s.
func meanRate(s link.Spec) float64 {
	if s.Trace != nil {
		return s.Trace.BitRate()
	}
	return float64(s.BitRate)
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("links: "+format, args...)) }
	if n := len(c.Specs); n < 1 || n > 8 {
		bad("%d links, want 1 to 8", n)
	}
	for _, s := range c.Specs {
		if _, err := parseLink(s, 0); err != nil {
			errs = append(errs, err)
		}
	}
	if !slices.Contains(cases, c.Case) {
		bad("case %q, want one of %s", c.Case, strings.Join(cases, ", "))
	} else if least := shortest(c.Case); c.Seconds < least || c.Seconds > 600 {
		bad("%d seconds, want %d to 600 for %s", c.Seconds, least, c.Case)
	}
	if c.Offset != nil && !(*c.Offset >= 0 && *c.Offset <= maxOffset) {
		bad("offset %g s, want 0 to %d", *c.Offset, maxOffset)
	}
	if !(c.LoadMbit >= 0 && c.LoadMbit <= link.MaxBitRate/1e6) {
		bad("load of %g Mbit/s, want 0 to %g", c.LoadMbit, link.MaxBitRate/1e6)
	}
	if c.Tries < 0 {
		bad("%d tries, want 0 or more", c.Tries)
	}
	for i, p := range c.Peers {
		if !slices.Contains([]string{subjectMPTCP, subjectTCP, subjectSRTLA}, p) || slices.Contains(c.Peers[:i], p) {
			bad("peer %q, want mptcp, tcp or srtla, each once", p)
		}
	}
	return errors.Join(errs...)
}

// maxOffset is further, in s, than any trace is long.
const maxOffset = 1_000_000

// shortest returns how many seconds a run of a case takes at least: something counts,
// and where links have troubles one of them has.
func shortest(which string) int {
	for s := minSeconds; s < 60; s++ {
		if len(plan(which, 1, s)) > 0 {
			return s
		}
	}
	return minSeconds
}

const minSeconds = 10
