package benchreceiver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"telemetry/reorder"
	"telemetry/wire"
)

// inOrder is a car in the middle of an epoch: its clock is known and next gives
// its next record of the full lane.
type inOrder struct {
	car *reorder.Car
	in  reorder.Input
	out reorder.Out
}

func newInOrder(cfg reorder.Config) *inOrder {
	const name = "car-7"
	epoch := wire.Epoch{Counter: 1, Nonce: 7}
	o := &inOrder{car: reorder.NewCar(name, cfg)}
	o.in = reorder.Input{
		AppendMS: 1,
		Header:   wire.Header{Stream: wire.Stream{Car: name, Epoch: epoch, Lane: wire.LaneCritical}, Seq: 1, Control: true},
		Controls: []wire.Control{{EpochOpen: &wire.EpochOpen{Epoch: epoch}}, {Anchor: &wire.Anchor{ID: 1, UTCNS: 1}}},
	}
	o.car.Apply(&o.in, &o.out)
	o.in.Header = wire.Header{Stream: wire.Stream{Car: name, Epoch: epoch, Lane: wire.LaneFull}, Samples: 100, Catalogue: wire.CatalogueHash{3}}
	o.in.Controls = nil
	return o
}

// apply gives one record with a number at a time, and returns how many batches it
// released.
func (o *inOrder) apply(seq uint64, atMS int64) int {
	o.in.Offset++
	o.in.Header.Seq = seq
	o.in.AppendMS = atMS
	o.in.Header.PayloadCRC++
	o.in.Send.Base = 1
	o.out.Reset()
	o.car.Apply(&o.in, &o.out)
	return o.released()
}

func (o *inOrder) released() int {
	n := 0
	for i := range o.out.Decisions {
		if o.out.Decisions[i].Kind == reorder.KindRelease {
			n++
		}
	}
	return n
}

const (
	reorderBatches = 2_000_000
	reorderRounds  = 5
)

// reorder measures what a batch in order costs.
func (b *bench) reorder(context.Context) error {
	var ns []float64
	var allocs float64
	for range reorderRounds {
		o := newInOrder(reorder.Defaults())
		o.apply(1, 1) // the stream's first batch makes what the others use
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		for seq := uint64(2); seq < reorderBatches+2; seq++ {
			if o.apply(seq, int64(seq)/4) != 1 {
				return errors.New("a batch in order was not released at once")
			}
		}
		ns = append(ns, float64(time.Since(began).Nanoseconds())/reorderBatches)
		runtime.ReadMemStats(&after)
		allocs = max(allocs, float64((after.Mallocs-before.Mallocs)/reorderBatches))
	}
	b.say("reorder: ns per batch %.4g", ns)
	return errors.Join(b.alone("reorder_ns", median(ns)), b.alone("reorder_allocs", allocs))
}

// windows shows what waiting costs, in the log's own time: batches every 10 ms, of
// which every hundredth never comes.
func (b *bench) windows(context.Context) error {
	const every, holeEvery, batches = 10, 100, 20_000 // ms
	for _, window := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Minute} {
		cfg := reorder.Defaults()
		cfg.Windows[wire.LaneFull] = window
		o := newInOrder(cfg)
		var free, behind int64 // longest waits of what came in order, and of what came behind a hole; ms
		type arrival struct {
			atMS    int64
			inOrder bool // every number before it was decided
		}
		came := map[uint64]arrival{}
		decided := uint64(0) // every number up to here
		note := func(nowMS int64) {
			for i := range o.out.Decisions {
				d := &o.out.Decisions[i]
				switch d.Kind {
				case reorder.KindGap:
					decided = max(decided, d.Last)
				case reorder.KindRelease:
					a := came[d.ID.Seq]
					delete(came, d.ID.Seq)
					decided = max(decided, d.ID.Seq)
					if a.inOrder {
						free = max(free, nowMS-a.atMS)
					} else {
						behind = max(behind, nowMS-a.atMS)
					}
				}
			}
		}
		expire := func(until int64) {
			for {
				at, ok := o.car.NextDeadline()
				if !ok || at > until {
					return
				}
				o.out.Reset()
				o.car.Advance(at, &o.out)
				note(at)
			}
		}
		var now int64
		for seq := uint64(1); seq <= batches; seq++ {
			now += every
			if seq%holeEvery == 0 {
				continue
			}
			expire(now)
			came[seq] = arrival{now, decided == seq-1}
			o.apply(seq, now)
			note(now)
		}
		expire(now + window.Milliseconds() + 1)
		if len(came) > 0 {
			return fmt.Errorf("window %v: %d batches were never released", window, len(came))
		}
		if err := errors.Join(b.alone(fmt.Sprintf("wait_in_order_%v_ms", window), float64(free)),
			b.alone(fmt.Sprintf("wait_behind_hole_%v_ms", window), float64(behind))); err != nil {
			return err
		}
	}
	return nil
}
