package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// Outcome is what one reorder window would have done with one lane of a recording.
type Outcome struct {
	WindowMS int64  `json:"window_ms"` // -1: none, a hole waits for ever
	Lane     string `json:"lane"`
	Batches  uint64 `json:"batches"` // of the window of time, each once
	// Delayed are batches that came before their turn and waited for at least a
	// millisecond; the quantiles are of them.
	Delayed uint64  `json:"delayed"`
	P50MS   float64 `json:"p50_ms"`
	P99MS   float64 `json:"p99_ms"`
	MaxMS   float64 `json:"max_ms"`
	Late    uint64  `json:"late"`    // batches that came after their turn: in the topic late
	Lost    uint64  `json:"lost"`    // numbers that never came
	Waiting uint64  `json:"waiting"` // batches that still waited at the recording's end
}

// theEnd is a time after all others, ms since 1970.
const theEnd = int64(1) << 51

// MaxWindows bounds the windows of one question.
const MaxWindows = 16

// WhatIf runs the sequencer's own state machine over the arrivals of a recording, once
// with each window, all lanes with the same one; a window below 0 is none. Holes are
// given up at the very end of their window, where a receiver that has nothing else to
// read may take up to a quarter of a second more; time anchors are not waited for.
// Only batches with samples in the query's window of time count.
func WhatIf(ctx context.Context, a *archive.Archive, q archive.Query, windows []time.Duration, progress archive.Progress) ([]Outcome, error) {
	if len(windows) == 0 || len(windows) > MaxWindows {
		return nil, fmt.Errorf("replay: %d windows (want 1 to %d)", len(windows), MaxWindows)
	}
	q.Context, q.Lanes = true, nil
	runs := make([]*whatIf, len(windows))
	for i, w := range windows {
		cfg := reorder.Defaults()
		cfg.AnchorWait = 0
		for _, l := range wire.Lanes {
			cfg.Windows[l] = max(w, reorder.None)
		}
		if err := cfg.Validate(); err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		runs[i] = &whatIf{cfg: cfg, cars: map[string]*whatIfCar{}, due: math.MaxInt64, inside: q.FromNS > 0}
	}
	var opener wire.Opener
	_, err := a.Batches(ctx, q, archive.ByArrival, func(b *archive.Batch) error {
		in, ok := input(&opener, b)
		for _, r := range runs {
			r.advance(b.AppendMS)
			if ok {
				r.apply(&in, b.Inside)
			} else if len(b.Record.Value) == 0 {
				r.abandon(&b.Record)
			}
		}
		return nil
	}, progress)
	if err != nil && !errors.Is(err, archive.ErrStop) {
		return nil, err
	}
	var out []Outcome
	for _, r := range runs {
		r.advance(theEnd)
		out = append(out, r.outcomes()...)
	}
	return out, nil
}

// input is what the state machine is told of a batch; ok is false for what is none.
func input(o *wire.Opener, b *archive.Batch) (in reorder.Input, ok bool) {
	if b.Header.Seq == 0 {
		return in, false
	}
	info, err := topic.ParseBatchHeaders(b.Record.Headers)
	if err != nil || info.ID != b.Header.ID() {
		return in, false
	}
	in = reorder.Input{Offset: b.Record.Offset, AppendMS: b.AppendMS, Header: b.Header, Send: info.Send}
	if !b.Header.Control {
		return in, true
	}
	sealed, _, err := wire.Parse(b.Record.Value)
	if err != nil {
		return in, true // it has come all the same
	}
	if payload, err := o.Payload(sealed); err == nil {
		in.Controls, _ = wire.Controls(payload) // as the sequencer: what cannot be read says nothing
	}
	return in, true
}

// whatIf is one window at work.
type whatIf struct {
	cfg    reorder.Config
	cars   map[string]*whatIfCar
	order  []*whatIfCar // in order of first sight
	due    int64        // no car decides anything by time alone before this
	out    reorder.Out
	inside bool // the recording begins in the middle
	lanes  [wire.LaneFull + 1]laneOutcome
}

type laneOutcome struct {
	delays        Delays
	batches, late uint64
	lost          int64
}

// whatIfCar is one car.
type whatIfCar struct {
	core  *reorder.Car
	due   int64
	waits map[int64]arrival // by offset: of batches that are not decided
	began bool              // a batch of the window of time has come
}

type arrival struct {
	ms     int64
	lane   wire.Lane
	inside bool
}

// advance lets windows run out until a time of the log.
func (w *whatIf) advance(ms int64) {
	if ms < w.due {
		return
	}
	w.due = math.MaxInt64
	for _, c := range w.order {
		for c.due <= ms {
			at := c.due
			c.core.Advance(at, &w.out)
			w.decide(c, at)
			if c.next(); c.due <= at { // nothing that time alone moves
				c.due = at + 1
			}
		}
		w.due = min(w.due, c.due)
	}
}

// next finds when the car decides something by time alone.
func (c *whatIfCar) next() {
	c.due = math.MaxInt64
	if c.core.Held() > 0 {
		if at, ok := c.core.NextDeadline(); ok {
			c.due = at
		}
	}
}

func (w *whatIf) apply(in *reorder.Input, inside bool) {
	c := w.cars[in.Header.Stream.Car]
	if c == nil {
		c = &whatIfCar{core: reorder.NewCar(in.Header.Stream.Car, w.cfg), waits: map[int64]arrival{}, due: math.MaxInt64}
		if w.inside {
			c.core.StartInside()
		}
		w.cars[in.Header.Stream.Car] = c
		w.order = append(w.order, c)
	}
	c.began = c.began || inside
	c.waits[in.Offset] = arrival{in.AppendMS, in.Header.Stream.Lane, inside}
	held := c.core.Held()
	c.core.Apply(in, &w.out)
	duplicate := w.out.Duplicates > 0
	w.decide(c, in.AppendMS)
	if duplicate || c.core.Held() <= held && c.core.Held() == 0 {
		delete(c.waits, in.Offset)
	}
	c.next()
	w.due = min(w.due, c.due)
}

// abandon does what an operator's record asks for.
func (w *whatIf) abandon(r *topic.Record) {
	car, _ := r.Get(topic.HeaderCar)
	counter, _ := r.Get(topic.HeaderEpoch)
	nonce, _ := r.Get(topic.HeaderNonce)
	verb, _ := r.Get(sequence.HeaderOperator)
	e, err1 := strconv.ParseUint(counter, 10, 32)
	n, err2 := strconv.ParseUint(nonce, 16, 64)
	c := w.cars[car]
	if c == nil || errors.Join(err1, err2) != nil || verb != sequence.OperatorAbandon {
		return
	}
	c.core.Abandon(r.Offset, r.TimestampMS, wire.Epoch{Counter: uint32(e), Nonce: n}, &w.out)
	w.decide(c, r.TimestampMS)
	c.next()
	w.due = min(w.due, c.due)
}

// decide counts what the car has decided at a time of the log.
func (w *whatIf) decide(c *whatIfCar, ms int64) {
	for i := range w.out.Decisions {
		d := &w.out.Decisions[i]
		lane := &w.lanes[d.ID.Stream.Lane]
		switch d.Kind {
		case reorder.KindRelease, reorder.KindLate:
			a, ok := c.waits[d.Offset]
			delete(c.waits, d.Offset)
			if !ok || !a.inside {
				continue
			}
			lane.batches++
			if d.Kind == reorder.KindLate {
				lane.late++
			} else if delay := ms - a.ms; delay > 0 {
				lane.delays.Add(time.Duration(delay) * time.Millisecond)
			}
		case reorder.KindSpent, reorder.KindDeadLetter:
			if a, ok := c.waits[d.Offset]; ok && a.inside && d.Kind == reorder.KindSpent {
				lane.batches++
			}
			delete(c.waits, d.Offset)
		case reorder.KindGap:
			n := int64(d.Last - d.ID.Seq + 1)
			switch {
			case !c.began || d.Reason == wire.ReasonRetention || d.Was == wire.ReasonRetention: // before the recording
			case d.Gap == reorder.GapSettled:
				lane.lost += n
			case d.Gap == reorder.GapWithdrawn:
				lane.lost -= n
			}
		}
	}
	w.out.Reset()
}

// outcomes returns what became of the lanes that had anything.
func (w *whatIf) outcomes() []Outcome {
	waiting := map[wire.Lane]uint64{}
	for _, c := range w.order {
		for _, o := range slices.Sorted(maps.Keys(c.waits)) {
			if a := c.waits[o]; a.inside {
				waiting[a.lane]++
			}
		}
	}
	window := int64(-1)
	if d := w.cfg.Windows[wire.LaneFull]; d >= 0 {
		window = int64((d + time.Millisecond - 1) / time.Millisecond)
	}
	ms := func(d time.Duration) float64 { return float64(d.Milliseconds()) }
	var out []Outcome
	for _, l := range wire.Lanes {
		x := &w.lanes[l]
		if x.batches == 0 && x.lost == 0 && waiting[l] == 0 {
			continue
		}
		out = append(out, Outcome{
			WindowMS: window, Lane: l.String(), Batches: x.batches + waiting[l], Delayed: x.delays.Count(),
			P50MS: ms(x.delays.Quantile(0.5)), P99MS: ms(x.delays.Quantile(0.99)), MaxMS: ms(x.delays.Max()),
			Late: x.late, Lost: uint64(max(x.lost, 0)), Waiting: waiting[l],
		})
	}
	return out
}
