package replay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/ingest"
	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence/formats"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// FormatBatches plays batches as the cars sent them; the other formats are those of
// outputs.
const FormatBatches = "batches"

// FormatNames lists what a replay can write.
func FormatNames() []string { return append([]string{FormatBatches}, formats.Names...) }

// Target writes items into topics of a cluster, with the catalogues that they name. It
// is prepared before anything is put, and not safe for concurrent use.
type Target struct {
	writer *kafka.Writer
	src    archive.Source
	names  topic.Names
	format string
	parts  int32 // of topics that are made
	live   bool  // the live lane is played as well
	note   func(string)

	known map[wire.CatalogueHash]bool
	total Written

	mu    sync.Mutex
	under []*underWay // guarded by mu, also what is in it: in the order of Put
	atNS  int64       // guarded by mu: of the last item of which all before are durable as well
	same  uint64      // guarded by mu: how many of these are due at atNS
}

// underWay is an item that the cluster may not have yet.
type underWay struct {
	atNS    int64
	durable bool
}

// Written counts what a target was given, by topic.
type Written struct {
	Records    uint64
	Bytes      int64
	Catalogues uint64
}

var (
	_ Sink     = (*Target)(nil)
	_ Preparer = (*Target)(nil)
)

// ErrTarget says that nothing may be written there.
var ErrTarget = errors.New("replay: must not write there")

// NewTarget returns a target. parts is the number of partitions of topics that do not
// exist, live says that the live lane is played too, and note is told what a person should know.
func NewTarget(w *kafka.Writer, src archive.Source, format string, parts int32, live bool, note func(string)) *Target {
	return &Target{
		writer: w, src: src, names: w.Names(), format: format, parts: parts, live: live, note: note,
		known: map[wire.CatalogueHash]bool{},
	}
}

// Topics lists the topics that are written.
func (t *Target) Topics() []string {
	if t.format == FormatBatches {
		return []string{t.names.Batches, t.names.Catalogues}
	}
	out := []string{t.names.Samples, t.names.Events, t.names.Catalogues}
	if t.live {
		out = append(out, t.names.Live)
	}
	return out
}

// Guard refuses topics that are read, and topics that a receiver writes: past is nil
// when files are read.
func (t *Target) Guard(ctx context.Context, past *kafka.Past, has func(name string) bool) error {
	list := t.Topics()
	if past != nil {
		var ours []string
		for _, n := range list {
			if has(n) {
				ours = append(ours, n)
			}
		}
		same, err := t.writer.SameTopics(ctx, past, ours)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return fmt.Errorf("%w: %s is of the receiver whose batches are read: give another --prefix, or another cluster", ErrTarget, same[0])
		}
	}
	if t.format == FormatBatches {
		return nil
	}
	there, err := t.writer.Exists(ctx, t.names.State)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%w: a receiver writes the topics under this prefix (%s exists), and rows would be there twice: give another --prefix", ErrTarget, t.names.State)
	}
	return nil
}

// keepAfter is how long the topics that are made keep what is written.
const keepAfter = topic.BatchRetention

// specs returns what the topics must be, for records as old as that.
func (t *Target) specs(age time.Duration) []topic.Spec {
	var out []topic.Spec
	wanted := map[string]bool{}
	for _, n := range t.Topics() {
		wanted[n] = true
	}
	for _, s := range t.names.Specs(t.parts) {
		if !wanted[s.Name] {
			continue
		}
		if s.Name != t.names.Batches && s.Name != t.names.Catalogues {
			s.Config[topic.ConfigRetention] = strconv.FormatInt(max(keepAfter, age.Truncate(time.Hour)+time.Hour+keepAfter).Milliseconds(), 10)
			s.Fixed = []string{topic.ConfigCleanup, topic.ConfigTimestamp}
		}
		out = append(out, s)
	}
	return out
}

// Prepare implements [Preparer]: it makes or checks the topics. The first item is the
// oldest.
func (t *Target) Prepare(ctx context.Context, first *Item) error {
	age := time.Duration(0)
	if t.format != FormatBatches {
		age = max(0, time.Since(time.UnixMilli(first.Record.TimestampMS)))
	}
	held, err := t.writer.Ensure(ctx, t.specs(age), age)
	if err != nil {
		return err
	}
	for _, h := range held {
		if h.Records > 0 && h.Topic != t.names.Catalogues {
			t.note(fmt.Sprintf("%s holds %d records already; these come behind them", h.Topic, h.Records))
		}
	}
	if err := t.catalogue(ctx, first); err != nil {
		return err
	}
	return t.writer.Warm(ctx)
}

// Put implements [Sink].
func (t *Target) Put(ctx context.Context, it *Item) error {
	if err := t.catalogue(ctx, it); err != nil {
		it.Release()
		return err
	}
	t.total.Records++
	t.total.Bytes += int64(len(it.Record.Key) + len(it.Record.Value))
	u := &underWay{atNS: it.AtNS}
	t.mu.Lock()
	t.under = append(t.under, u)
	t.mu.Unlock()
	return t.writer.Put(ctx, it.Record, func(written bool) {
		t.ended(u, written)
		it.Release()
	})
}

// ended notes what came of an item.
func (t *Target) ended(u *underWay, durable bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.durable = durable
	for len(t.under) > 0 && t.under[0].durable {
		if at := t.under[0].atNS; t.same == 0 || at != t.atNS {
			t.atNS, t.same = at, 0
		}
		t.same++
		t.under = t.under[1:]
	}
}

// Durable returns up to where nothing is missing in the cluster, as [Stats] does of what
// was given: when writing has failed, [Resumed] must go on there. Some of what comes
// behind may be there as well.
func (t *Target) Durable() (atNS int64, same uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.atNS, t.same
}

// catalogue writes the catalogue of an item, once.
func (t *Target) catalogue(ctx context.Context, it *Item) error {
	if it.Hash == (wire.CatalogueHash{}) || t.known[it.Hash] {
		return nil
	}
	t.known[it.Hash] = true
	canonical, ok, err := t.src.Catalogue(ctx, it.Hash)
	if err != nil {
		return fmt.Errorf("replay: catalogue %s: %w", it.Hash, err)
	}
	if !ok {
		t.note(fmt.Sprintf("catalogue %s of car %s is nowhere: who reads the copy cannot decode its batches", it.Hash, it.ID.Stream.Car))
		return nil
	}
	recs, err := ingest.CatalogueRecords(t.names.Catalogues, it.ID.Stream.Car, canonical)
	if err != nil {
		return err
	}
	for _, r := range recs {
		r.TimestampMS = it.AtNS / 1e6 // the recording's, as all that is written
		if err := t.writer.Put(ctx, r, nil); err != nil {
			return err
		}
	}
	t.total.Catalogues++
	return nil
}

// Flush waits until everything is durable.
func (t *Target) Flush(ctx context.Context) error { return t.writer.Flush(ctx) }

// Written returns what was given so far.
func (t *Target) Written() Written { return t.total }
