package live

import (
	"context"
	"strconv"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/topic"
)

// opener decodes the batches of a topic that has them as they were sealed. One
// goroutine owns it.
type opener struct {
	decoder    sequence.Decoder
	batch      sequence.Batch
	reader     *columns.Reader
	catalogues *KnownCatalogues
}

func newOpener(source Catalogues) *opener {
	return &opener{reader: columns.NewReader(nil, jsonrow.Reserved()...), catalogues: NewKnownCatalogues(source)}
}

// sealed takes a record that is a batch as it was sealed.
func (f *follower) sealed(ctx context.Context, rec *topic.Record, to sink) {
	if f.opener == nil {
		f.opener = newOpener(f.s.opt.Catalogues)
	}
	o := f.opener
	line, ok := lineOf(rec)
	o.batch = sequence.Batch{Blocks: o.batch.Blocks[:0], Events: o.batch.Events[:0]}
	if !ok || o.decoder.Decode(&o.batch, rec.Value) != nil {
		f.s.store.malformed()
		return
	}
	from := origin{to: to, source: rec.Partition, hash: o.batch.Hash, nowMS: time.Now().UnixMilli(), fresh: f.fresh(rec)}
	if len(o.batch.Blocks) == 0 {
		f.s.store.numbered(o.batch.ID, line, from)
		return
	}
	if o.batch.Catalogue = o.catalogues.Of(ctx, o.batch.Hash); o.batch.Catalogue == nil {
		f.s.catalogueErrors.Add(1)
		f.s.store.numbered(o.batch.ID, line, from) // there, if not to be shown
		return
	}
	times := func(c *car, t *columns.Table, row int) (int64, bool) {
		utc, synced := line.stamp(t.Boot[row])
		if to == late {
			return utc, synced
		}
		return c.clock.row(utc, t.Boot[row], synced), synced
	}
	o.batch.Events = o.batch.Events[:0] // they have a topic
	if _, err := o.reader.Read(&o.batch, func(t *columns.Table) error {
		f.s.store.table(o.batch.ID, t, times, from)
		return nil
	}); err != nil {
		f.s.store.malformed()
	}
}

// lineOf reads the clock of a sealed batch from its record's headers.
func lineOf(rec *topic.Record) (l clockLine, ok bool) {
	ok = true
	number := func(key string) int64 {
		text, _ := rec.Get(key)
		n, err := strconv.ParseInt(text, 10, 64)
		ok = ok && err == nil
		return n
	}
	l = clockLine{
		firstNS: number(sealed.HeaderFirstNS), lastNS: number(sealed.HeaderLastNS),
		firstUTC: number(sealed.HeaderFirstUTCNS), lastUTC: number(sealed.HeaderLastUTCNS),
	}
	clock, _ := rec.Get(sequence.HeaderClock)
	l.synced = clock == jsonrow.ClockSynced
	return l, ok
}
