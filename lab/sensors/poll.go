package sensors

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/internal/clock"
	"telemetry/sensors"
	"telemetry/sensors/poll"
	"telemetry/wire"
)

// PollConfig says what is polled to measure the clock.
type PollConfig struct {
	RateHz   int
	Channels int
	Seconds  int
	Realtime int // priority of the reading thread; 0: the usual scheduling
}

// PollResult is what the clock did.
type PollResult struct {
	RateHz      float64 `json:"rate_hz"`
	RateError   float64 `json:"rate_error"` // share of the rate that was asked for
	Channels    int     `json:"channels"`
	Reads       uint64  `json:"reads"`
	Rows        uint64  `json:"rows"`       // that came through the source
	Missed      uint64  `json:"missed"`     // read more than a period late; each is counted by the source
	Skipped     uint64  `json:"skipped"`    // not read after a stall; likewise
	Dropped     uint64  `json:"dropped"`    // read, and not taken in time; likewise
	Unreported  int64   `json:"unreported"` // instants that are none of these and did not come
	JitterP50US float64 `json:"jitter_p50_us"`
	JitterP99US float64 `json:"jitter_p99_us"`
	JitterMaxUS float64 `json:"jitter_max_us"`
	CPUCores    float64 `json:"cpu_cores"`            // of the whole process
	CPUPer1000  float64 `json:"cpu_cores_1000"`       // for 1,000 channels at this rate
	Refused     bool    `json:"realtime_refused"`     // the kernel gave no real-time priority
	EncodedMiBS float64 `json:"encoded_mib_s"`        // the rows are encoded as the agent does
	BitsSample  float64 `json:"encoded_bits_a_value"` // likewise
}

// waves is a device whose channels move as sensors do; it costs what computing
// them costs.
type waves struct {
	channels int
	n        int
	table    [4096]int16
}

func newWaves(channels int) *waves {
	w := &waves{channels: channels}
	for i := range w.table {
		w.table[i] = int16(12_000 * math.Sin(2*math.Pi*float64(i)/float64(len(w.table))))
	}
	return w
}

func (w *waves) Group() wire.Group {
	g := wire.Group{Name: "waves", Lane: wire.LaneFull}
	for i := range w.channels {
		g.Channels = append(g.Channels, wire.Channel{Name: fmt.Sprintf("wave_%03d", i), Type: wire.TypeInt, Bits: 16, Scale: 1})
	}
	return g
}

func (*waves) Open() error  { return nil }
func (*waves) Close() error { return nil }

func (w *waves) Read(row []int64) error {
	for i := range row {
		row[i] = int64(w.table[(w.n*(i%17+1)+i*61)&(len(w.table)-1)])
	}
	w.n++
	return nil
}

// encoding is a sink that encodes rows and keeps of them only how they lay in
// time.
type encoding struct {
	types   []wire.ValueType
	encoder wire.BlockEncoder
	buf     []byte
	rows    uint64
	bytes   uint64
	first   int64
	last    int64
	line    slope
	width   int
}

// slope is the straight line through points (number of a row, ns since the first):
// one late row at an end does not bend it.
type slope struct{ n, x, y, xx, xy float64 }

func (s *slope) add(ns int64) {
	x, y := s.n, float64(ns)
	s.n++
	s.x, s.y, s.xx, s.xy = s.x+x, s.y+y, s.xx+x*x, s.xy+x*y
}

// perRow returns the ns from one row to the next.
func (s *slope) perRow() float64 { return (s.n*s.xy - s.x*s.y) / (s.n*s.xx - s.x*s.x) }

func (e *encoding) Append(r sensors.Rows) error {
	if e.rows == 0 {
		e.first = r.Ticks[0]
	}
	e.last = r.Ticks[len(r.Ticks)-1]
	for _, t := range r.Ticks {
		e.line.add(t - e.first)
	}
	e.rows += uint64(len(r.Ticks))
	b := wire.RowBlock{Ticks: r.Ticks, Types: e.types, Values: r.Values}
	for at := 0; at < e.width; {
		var n int
		var err error
		if e.buf, n, err = e.encoder.AppendRows(e.buf[:0], &b, at, wire.MaxFullBytes); err != nil {
			return err
		}
		at += n
		e.bytes += uint64(len(e.buf))
	}
	return nil
}

func (e *encoding) Event(wire.Event) error { return nil }

// Poll polls a simulated device and measures how well its clock is held.
func Poll(ctx context.Context, cfg PollConfig) (*PollResult, error) {
	if cfg.RateHz < 1 || cfg.RateHz > 20_000 || cfg.Channels < 1 || cfg.Channels > 4096 || cfg.Seconds < 1 || cfg.Seconds > 3600 {
		return nil, errors.New("sensors: rate 1 to 20000, channels 1 to 4096, seconds 1 to 3600")
	}
	dev := newWaves(cfg.Channels)
	src, err := poll.New(poll.Config{
		Device: dev, RateMilliHz: uint64(cfg.RateHz) * 1000, Thread: poll.Thread{Realtime: cfg.Realtime}, Clock: clock.System{},
	})
	if err != nil {
		return nil, err
	}
	sink := &encoding{encoder: wire.BlockEncoder{Speed: wire.Fast}, width: cfg.Channels, types: slices.Repeat([]wire.ValueType{wire.TypeInt}, cfg.Channels)}
	runCtx, cancel := context.WithTimeout(ctx, time.Duration(cfg.Seconds)*time.Second)
	defer cancel()
	begin, cpu := time.Now(), processTime()
	if err := src.Run(runCtx, sink); !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	took := time.Since(begin).Seconds()
	used := (processTime() - cpu).Seconds() / took
	return judge(cfg, src, sink, used), nil
}

// judge makes the result of a run.
func judge(cfg PollConfig, src *poll.Source, sink *encoding, cpu float64) *PollResult {
	count := map[string]uint64{}
	for _, c := range src.Counters() {
		count[c.Name] = c.Value
	}
	late := src.Lateness()
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	r := &PollResult{
		Channels: cfg.Channels, Reads: count["reads"], Rows: sink.rows, Missed: count["reads_missed"], Skipped: count["reads_skipped"],
		Dropped: count["rows_dropped"], JitterP50US: us(late.Quantile(0.5)), JitterP99US: us(late.Quantile(0.99)), JitterMaxUS: us(late.MaxNS),
		CPUCores: cpu, CPUPer1000: cpu * 1000 / float64(cfg.Channels), Refused: count["thread_refused"] > 0,
	}
	span := float64(sink.last-sink.first) / 1e9
	if sink.rows > 1 && span > 0 {
		r.RateHz = float64(r.Reads-1) / span
		if r.Skipped+r.Dropped == 0 {
			r.RateHz = 1e9 / sink.line.perRow()
		}
		r.RateError = math.Abs(r.RateHz/float64(cfg.RateHz) - 1)
		// What the clock should have asked for between the first row and the last.
		want := int64(math.Round(span*float64(cfg.RateHz))) + 1
		r.Unreported = want - int64(r.Rows+r.Skipped+r.Dropped)
		r.EncodedMiBS = float64(sink.bytes) / span / (1 << 20)
		r.BitsSample = 8 * float64(sink.bytes) / float64(sink.rows) / float64(cfg.Channels)
	}
	return r
}

// processTime returns the CPU time of all threads, the kernel's share included.
func processTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
