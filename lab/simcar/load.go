package simcar

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"telemetry/internal/clock"
	"telemetry/wire"
)

// What a car sends: 200 kbit/s, as the agent would cut it.
const (
	fullEvery  = 100 * time.Millisecond
	fullRows   = 9 // × FullColumns × 8 bytes of noise: some 2.3 kB
	liveEvery  = 250 * time.Millisecond
	liveRows   = 2
	eventEvery = time.Second
)

// Drive appends 200 kbit/s until ctx ends. note is told of every batch: its number
// n among those of its lane, and its block, nil for an event. The first column of
// a block counts: 100 n for its first row, 100 n + 1 for the next; the event
// "beat" has n as its detail.
func (c *Car) Drive(ctx context.Context, seed uint64, note func(id wire.ID, n int64, block []byte) error) error {
	d := driver{c: c, note: note, rng: rand.New(rand.NewPCG(seed, 3))}
	start := time.Now().Add(time.Duration(d.rng.Int64N(int64(fullEvery)))) // cars are not in step
	due := []struct {
		at    time.Time
		every time.Duration
		do    func() error
	}{
		{start, fullEvery, func() error { return d.block(wire.LaneFull, fullRows, FullColumns) }},
		{start, liveEvery, func() error { return d.block(wire.LaneLive, liveRows, LiveColumns) }},
		{start, eventEvery, d.event},
	}
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := time.Now()
		for i := range due {
			if now.Before(due[i].at) {
				continue
			}
			due[i].at = due[i].at.Add(due[i].every)
			if err := due[i].do(); err != nil {
				return fmt.Errorf("simcar: load: %w", err)
			}
		}
		timer.Reset(max(0, time.Until(due[0].at)))
	}
}

// driver makes one car's load.
type driver struct {
	c    *Car
	note func(id wire.ID, n int64, block []byte) error
	rng  *rand.Rand
	n    [wire.LaneFull + 1]int64
}

func (d *driver) block(lane wire.Lane, rows, columns int) error {
	d.n[lane]++
	n := d.n[lane]
	id, payload, err := d.c.Noise(lane, n, rows, columns, d.rng)
	if err != nil {
		return err
	}
	return d.note(id, n, payload)
}

func (d *driver) event() error {
	d.n[wire.LaneCritical]++
	n := d.n[wire.LaneCritical]
	id, err := d.c.Event("beat", strconv.FormatInt(n, 10))
	if err != nil {
		return err
	}
	return d.note(id, n, nil)
}

// Noise appends one batch of rows, a millisecond apart and the last one now, whose
// first column counts from 100 n and whose others are noise.
func (c *Car) Noise(lane wire.Lane, n int64, rows, columns int, rng *rand.Rand) (wire.ID, []byte, error) {
	ticks, values := make([]int64, rows), make([]int64, rows*columns)
	now := clock.System{}.BootNS()
	for i := range ticks {
		ticks[i] = now - int64(rows-1-i)*int64(time.Millisecond)
	}
	for i := range values {
		if values[i] = int64(rng.Uint64()); i < rows {
			values[i] = n*100 + int64(i)
		}
	}
	return c.Block(lane, ticks, values)
}
