package replay

import (
	"cmp"
	"context"

	"telemetry/receiver/archive"
	"telemetry/receiver/topic"
)

// Batches plays the records of telemetry.batches as they are, copies included, in the
// order and with the spacing of their arrival, so that another receiver decides about
// them as the first one did. Of files, which have no arrivals, it plays each batch
// once, by the time of its samples.
type Batches struct {
	Archive  *archive.Archive
	Query    archive.Query
	Order    archive.Order
	Topic    string // to write to
	Progress archive.Progress

	// Report is that of the last pass.
	Report archive.Report
}

var _ Source = (*Batches)(nil)

// Each implements [Source].
func (s *Batches) Each(ctx context.Context, fromNS int64, fn func(*Item) error) (err error) {
	q := s.Query
	q.ArrivedNS = fromNS
	q.Prelude = s.Order == archive.ByTime
	s.Report, err = s.Archive.Batches(ctx, q, s.Order, func(b *archive.Batch) error {
		if b.AtNS < fromNS {
			return nil
		}
		return fn(&Item{
			AtNS: b.AtNS, ID: b.Header.ID(), Hash: b.Header.Catalogue,
			Record: topic.Record{Topic: s.Topic, Partition: -1, Key: b.Record.Key, Value: b.Record.Value, Headers: b.Record.Headers},
		})
	}, s.Progress)
	return err
}

// Resumed plays what comes after a place in a source: items due at AtNS or later but
// the first Skip of those at AtNS.
type Resumed struct {
	Source
	AtNS int64
	Skip uint64
}

// Each implements [Source].
func (s Resumed) Each(ctx context.Context, fromNS int64, fn func(*Item) error) error {
	left := s.Skip
	if fromNS > s.AtNS {
		left = 0
	}
	return s.Source.Each(ctx, max(fromNS, s.AtNS), func(it *Item) error {
		if left > 0 && it.AtNS == s.AtNS {
			left--
			it.Release()
			return nil
		}
		return fn(it)
	})
}

// compare orders items: by time, car, lane, epoch, number and place in the batch.
func (w *waiting) compare(o *waiting) int {
	a, b := &w.ID.Stream, &o.ID.Stream
	return cmp.Or(
		cmp.Compare(w.AtNS, o.AtNS), cmp.Compare(a.Car, b.Car), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Shard, b.Shard),
		cmp.Compare(a.Epoch.Counter, b.Epoch.Counter), cmp.Compare(a.Epoch.Nonce, b.Epoch.Nonce),
		cmp.Compare(w.ID.Seq, o.ID.Seq), cmp.Compare(w.order, o.order),
	)
}
