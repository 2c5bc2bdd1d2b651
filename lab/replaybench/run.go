// Package replaybench measures replays on one Apache Kafka: how well ×1 keeps the
// spacing that a recording had, how fast full speed is beside a bare copy in the same
// run, and whether a second replay gives the same bytes.
//
// The entry point is [Run].
package replaybench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"telemetry/internal/clock"
	"telemetry/receiver/archive"
	"telemetry/receiver/kafka"
	"telemetry/receiver/kafka/kafkapeer"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/formats"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Config is one run.
type Config struct {
	Brokers  []string // of an Apache Kafka
	Prefix   string   // of all topics, new for each run
	Repeats  int      // of each side of the copy
	For      time.Duration
	Only     []string // parts: spacing, rate; empty: all
	Progress io.Writer
	Print    func(Line) error
}

// Line is one figure. Limit is what it must not be above, or for a ratio below; nil:
// nothing is promised.
type Line struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Limit *float64 `json:"limit"`
	OK    bool     `json:"ok"`
}

// The recordings.
const (
	partitions  = 4
	cars        = 12   // three to a partition
	batchesPer  = 1280 // of each car, in the recording that is copied
	columns     = 32
	rows        = 61                    // × columns × 8 bytes of noise: as much as a batch may hold
	spacingMost = 20 * time.Millisecond // batches of the spaced recording are up to this far apart
)

// What is promised.
const (
	spacingLimitMS = 2.0
	rateLimit      = 0.5
)

// ErrMissed says that a figure misses what is promised.
var ErrMissed = errors.New("replaybench: a figure misses its limit")

// bench is one run.
type bench struct {
	Config
	log    *slog.Logger
	missed bool
}

// Run measures everything; an error that wraps [ErrMissed] comes after all lines.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Repeats < 1 || cfg.For < time.Second {
		return errors.New("replaybench: want a repeat and a second")
	}
	b := &bench{Config: cfg, log: slog.New(slog.DiscardHandler)}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"spacing", b.spacing}, {"rate", b.rate}} {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return err
		}
	}
	if b.missed {
		return ErrMissed
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, "replay: %s\n", fmt.Sprintf(format, args...))
	}
}

// most prints a figure that must not be above a limit, least one not below.
func (b *bench) most(name string, v, limit float64) error { return b.print(name, v, limit, v <= limit) }

func (b *bench) least(name string, v, limit float64) error {
	return b.print(name, v, limit, v >= limit)
}

func (b *bench) print(name string, v, limit float64, ok bool) error {
	b.missed = b.missed || !ok
	return b.Print(Line{Name: name, Value: v, Limit: &limit, OK: ok})
}

// alone prints a figure without a limit.
func (b *bench) alone(name string, v float64) error {
	return b.Print(Line{Name: name, Value: v, OK: true})
}

// noise makes batches of one car that do not compress.
func noise(c *sequencetest.Car, rng *rand.Rand) topic.Record {
	block := wire.Block{Ticks: make([]int64, rows), Columns: make([]wire.Column, columns)}
	at := rng.Int64N(1e12)
	for k := range block.Ticks {
		block.Ticks[k] = at + int64(k)*1e6
	}
	for k := range block.Columns {
		v := make([]int64, rows)
		for j := range v {
			v[j] = int64(rng.Uint64())
		}
		block.Columns[k] = wire.Column{Type: wire.TypeInt, Values: v}
	}
	payload, err := wire.AppendBlock(nil, &block)
	if err != nil {
		panic("replaybench: block: " + err.Error()) // its shape is a constant
	}
	return c.Seal(wire.Body{Lane: wire.LaneFull, FirstNS: block.Ticks[0], LastNS: block.Ticks[rows-1], Samples: rows * columns, Payload: payload})
}

// open opens topics under a prefix.
func (b *bench) open(ctx context.Context, prefix string) (*kafka.Cluster, error) {
	return kafka.Open(ctx, kafka.Config{Brokers: b.Brokers, Prefix: prefix, Partitions: partitions, Replication: 1, AllowWeak: true, Log: b.log})
}

// play plays a recording into other topics and returns how long that took, from the
// first connection to the last record durable.
func (b *bench) play(ctx context.Context, c *kafka.Cluster, format, prefix string, speed float64) (st replay.Stats, took time.Duration, err error) {
	began := time.Now()
	past, err := c.Past()
	if err != nil {
		return st, 0, err
	}
	defer past.Close()
	w, err := kafka.OpenWriter(ctx, kafka.Config{Brokers: b.Brokers, Prefix: prefix, Replication: 1, AllowWeak: true, Log: b.log})
	if err != nil {
		return st, 0, err
	}
	defer w.Close()
	a := archive.New(past, archive.Options{})
	var src replay.Source = &replay.Batches{Archive: a, Order: archive.ByArrival, Topic: w.Names().Batches}
	if format != replay.FormatBatches {
		src = &replay.Rows{Archive: a, Names: w.Names(), Format: func() (sequence.Format, error) {
			return formats.OfLanes(format, wire.Lanes[:], formats.Options{})
		}}
	}
	sink := replay.NewTarget(w, past, format, partitions, false, func(string) {})
	st, err = replay.Play(ctx, src, replay.NewPace(speed), sink)
	return st, time.Since(began), errors.Join(err, sink.Flush(ctx))
}

// record writes batches at moments that keep no step with anything.
func (b *bench) record(ctx context.Context, c *kafka.Cluster) error {
	p, err := c.NewProducer()
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	car := sequencetest.NewCar("spaced", 1, 7)
	failed := make(chan error, 1)
	for end := time.Now().Add(b.For); time.Now().Before(end); {
		r := noise(car, rng)
		r.Topic = c.Names().Batches
		p.Produce(r, keepFirst(failed))
		if err := clock.Sleep(ctx, time.Duration(rng.Int64N(int64(spacingMost)))); err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	return errors.Join(p.Close(ctx), first(failed))
}

// keepFirst returns a callback that keeps the first error in a channel of one.
func keepFirst(failed chan<- error) func(error) {
	return func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
}

// first returns what is in the channel, nil if nothing is.
func first(failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// spacing replays a recording at ×1: the differences between neighbours, as the log
// took them, are compared.
func (b *bench) spacing(ctx context.Context) error {
	c, err := b.open(ctx, b.Prefix+".spaced")
	if err != nil {
		return err
	}
	defer c.Close()
	b.say("recording for %v", b.For)
	if err := b.record(ctx, c); err != nil {
		return err
	}
	to := b.Prefix + ".respaced"
	b.say("replaying at ×1")
	idle := make(chan replay.Stats, 1)
	go func() { // ends with its recording, about when the replay does
		st, _ := replay.Play(ctx, clockwork(b.For), replay.NewPace(1), replay.SinkFunc(func(context.Context, *replay.Item) error { return nil }))
		idle <- st
	}()
	st, _, err := b.play(ctx, c, replay.FormatBatches, to, 1)
	nothing := <-idle
	if err != nil {
		return err
	}
	was, err := stamps(ctx, c, c.Names().Batches)
	if err != nil {
		return err
	}
	is, err := stamps(ctx, c, topic.NewNames(to).Batches)
	if err != nil {
		return err
	}
	if len(was) != len(is) || len(was) < 100 {
		return fmt.Errorf("replaybench: %d batches were recorded, %d replayed", len(was), len(is))
	}
	var off []float64
	for i := 1; i < len(was); i++ {
		d := (is[i] - is[i-1]) - (was[i] - was[i-1])
		off = append(off, float64(max(d, -d)))
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return errors.Join(
		b.alone("spacing_batches", float64(len(was))),
		b.alone("machine_late_p99_ms", ms(nothing.Late.Quantile(0.99))),
		b.most("handover_late_p99_ms", ms(st.Late.Quantile(0.99)), spacingLimitMS),
		b.alone("spacing_p50_ms", quantile(off, 0.5)),
		b.most("spacing_p99_ms", quantile(off, 0.99), spacingLimitMS),
		b.alone("spacing_max_ms", quantile(off, 1)),
	)
}

// clockwork is a recording of nothing, every 10 ms: how late it is played is the
// machine's doing alone.
type clockwork time.Duration

// Each implements replay.Source.
func (d clockwork) Each(_ context.Context, _ int64, fn func(*replay.Item) error) error {
	for at := time.Duration(0); at < time.Duration(d); at += 10 * time.Millisecond {
		if err := fn(&replay.Item{AtNS: int64(at)}); err != nil {
			return err
		}
	}
	return nil
}

// stamps returns when a topic of one car took its batches, ms since 1970.
func stamps(ctx context.Context, c *kafka.Cluster, name string) (out []int64, err error) {
	_, err = c.Read(ctx, name, nil, func(r topic.Record) error {
		out = append(out, r.TimestampMS)
		return nil
	})
	return out, err
}

// quantile returns the value below which a share of v lies.
func quantile(v []float64, share float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(int(share*float64(len(v))), len(v)-1)]
}

// rate plays a recording at full speed, in turns with a bare copy of the same topic.
func (b *bench) rate(ctx context.Context) error {
	c, err := b.open(ctx, b.Prefix+".full")
	if err != nil {
		return err
	}
	defer c.Close()
	records, bytes, err := b.fill(ctx, c)
	if err != nil {
		return err
	}
	b.say("copying %d batches, %d MB, %d times each way", records, bytes/1e6, b.Repeats)
	mbs := func(d time.Duration) float64 { return float64(bytes) / 1e6 / d.Seconds() }
	var ours, bare []float64
	sides := []func(i int) error{
		func(i int) error {
			st, took, err := b.play(ctx, c, replay.FormatBatches, fmt.Sprintf("%s.ours%d", b.Prefix, i), replay.Max)
			if err == nil && st.Items != uint64(records) {
				err = fmt.Errorf("replaybench: %d of %d batches were replayed", st.Items, records)
			}
			if i > 0 {
				ours = append(ours, mbs(took))
			}
			return err
		},
		func(i int) error {
			to := fmt.Sprintf("%s.bare%d", b.Prefix, i)
			if err := kafkapeer.CreateTopic(ctx, b.Brokers, to, partitions, 1); err != nil {
				return err
			}
			took, err := kafkapeer.Bare(ctx, b.Brokers, c.Names().Batches, to, partitions, records)
			if i > 0 {
				bare = append(bare, mbs(took))
			}
			return err
		},
	}
	for i := range b.Repeats + 1 { // the first round does not count: a young broker is slow
		for k := range sides {
			if err := sides[(i+k)%2](i); err != nil {
				return err
			}
		}
	}
	b.say("MB/s: ours %.4g, bare %.4g", ours, bare)
	v, p := quantile(ours, 0.5), quantile(bare, 0.5)
	return errors.Join(b.alone("full_speed_mb_s", v), b.alone("bare_copy_mb_s", p), b.least("full_speed_to_bare_copy", v/p, rateLimit), b.same(ctx, c))
}

// fill writes the recording of many cars.
func (b *bench) fill(ctx context.Context, c *kafka.Cluster) (records, bytes int, err error) {
	p, err := c.NewProducer()
	if err != nil {
		return 0, 0, err
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var list []*sequencetest.Car
	var on [partitions]int
	for i := 0; len(list) < cars; i++ {
		name := fmt.Sprintf("bench-%d", i)
		if at := topic.Partition([]byte(name), partitions); on[at] < cars/partitions {
			on[at]++
			list = append(list, sequencetest.NewCar(name, 1, uint64(i+1)))
		}
	}
	failed := make(chan error, 1)
	for range batchesPer {
		for _, car := range list {
			r := noise(car, rng)
			r.Topic = c.Names().Batches
			records, bytes = records+1, bytes+len(r.Value)
			p.Produce(r, keepFirst(failed))
		}
	}
	return records, bytes, errors.Join(p.Close(ctx), first(failed))
}

// same compares the bytes of two replays.
func (b *bench) same(ctx context.Context, c *kafka.Cluster) error {
	digest := func(prefix string) (sum [sha256.Size]byte, n int, err error) {
		h := sha256.New()
		_, err = c.Read(ctx, topic.NewNames(prefix).Batches, nil, func(r topic.Record) error {
			n++
			fmt.Fprintf(h, "%d/%d %s %x %v\n", r.Partition, r.Offset, r.Key, r.Value, r.Headers)
			return nil
		})
		h.Sum(sum[:0])
		return sum, n, err
	}
	one, n, err := digest(b.Prefix + ".ours0")
	if err != nil {
		return err
	}
	two, m, err := digest(b.Prefix + ".ours1")
	if err != nil {
		return err
	}
	equal := 0.0
	if one == two && n == m && n > 0 {
		equal = 1
	}
	return b.least("same_bytes_twice", equal, 1)
}
