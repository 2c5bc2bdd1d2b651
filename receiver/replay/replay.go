// Package replay plays the past again: batches as the cars sent them, or rows of
// any output format, into other topics, another cluster, or whatever takes them,
// with the spacing that they had, faster, or as fast as possible. [WhatIf] says
// what other reorder windows would have done on a recording.
//
// The entry point is [Play]: a [Source] gives items in the order of their time, a
// [Pace] says when each is due, a [Sink] takes them. What a source gives is a pure
// function of what is recorded, so that a replay gives the same bytes each time.
//
// The package never decides the time of an item by a host's clock, and never writes
// to what it reads.
package replay

import (
	"context"
	"errors"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Item is one record on its way.
type Item struct {
	// AtNS is when it is due on the recording's clock, ns since 1970: for batches as
	// the cars sent them when the log took them, for rows their event time.
	AtNS   int64
	Record topic.Record
	ID     wire.ID            // of its batch; zero for a word of the operator
	Hash   wire.CatalogueHash // of its batch
	free   func()
}

// Release gives the record's memory back to its source. A sink calls it once, when
// nobody looks at the record any more.
func (it *Item) Release() {
	if it.free != nil {
		it.free()
	}
}

// Source gives what is played.
type Source interface {
	// Each calls fn for the items that are due at fromNS or later, in the order of
	// AtNS; 0 is the beginning. An error of fn ends it and is returned. The item is
	// fn's until it is released.
	Each(ctx context.Context, fromNS int64, fn func(*Item) error) error
}

// Sink takes items when they are due. It may block: what follows is late then, and
// catches up.
type Sink interface {
	Put(ctx context.Context, it *Item) error
}

// Preparer is a [Sink] that has something to do before the clock begins to run.
type Preparer interface {
	// Prepare is called once, with the first item, which Put is given afterwards.
	Prepare(ctx context.Context, first *Item) error
}

// SinkFunc is a function as a sink. Items are released when it returns.
type SinkFunc func(ctx context.Context, it *Item) error

// Put implements [Sink].
func (f SinkFunc) Put(ctx context.Context, it *Item) error {
	defer it.Release()
	return f(ctx, it)
}

// Stats is what was played.
type Stats struct {
	Items   uint64
	Bytes   int64 // of keys, values and headers
	FirstNS int64 // AtNS of the first item and of the last; 0: none
	LastNS  int64
	// Same is how many of the items were due at LastNS: with it, [Resumed] goes on
	// behind the last one.
	Same uint64
	Took time.Duration
	// Late is how far behind their moments items were handed to the sink; empty at
	// full speed.
	Late Delays
}

// ErrSeek ends a pass of the source because the pace was told to go elsewhere.
var ErrSeek = errors.New("replay: go on elsewhere")

// Play hands the source's items to the sink, each when it is due, until the source
// ends, ctx ends, or one of them fails. What was played stands in the result also
// after an error.
func Play(ctx context.Context, src Source, p *Pace, sink Sink) (Stats, error) {
	var st Stats
	began := time.Now()
	from := p.begin()
	prep, _ := sink.(Preparer)
	for {
		err := src.Each(ctx, from, func(it *Item) error {
			if prep != nil {
				if err := prep.Prepare(ctx, it); err != nil {
					it.Release()
					return err
				}
				prep = nil
			}
			due, err := p.wait(ctx, it.AtNS)
			if err != nil {
				it.Release()
				return err
			}
			if !due.IsZero() {
				st.Late.Add(time.Since(due))
			}
			size, at := int64(it.Record.Size()), it.AtNS
			if err := sink.Put(ctx, it); err != nil {
				return err
			}
			if st.Items++; st.Items == 1 {
				st.FirstNS = at
			}
			if at != st.LastNS {
				st.LastNS, st.Same = at, 0
			}
			st.Same++
			st.Bytes += size
			return nil
		})
		if errors.Is(err, ErrSeek) {
			from = p.begin()
			continue
		}
		st.Took = time.Since(began)
		return st, err
	}
}
