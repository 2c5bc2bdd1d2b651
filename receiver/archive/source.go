package archive

import (
	"context"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Source is where the past is kept: topics of a cluster, or files that a car's
// spool was exported to. Its methods are safe for concurrent use.
type Source interface {
	// Names returns the topics' names.
	Names() topic.Names
	// Extents returns the partitions of a topic, by number. sinceMS, ms since 1970, is
	// for [Extent.Since]; 0 asks for all.
	Extents(ctx context.Context, name string, sinceMS int64) ([]Extent, error)
	// Chunk returns some records of a partition in offset order, from an offset on
	// and before end, and the offset to go on with: records that do not exist any
	// more are passed over. It returns at least one record or a greater offset.
	Chunk(ctx context.Context, name string, part int32, offset, end int64) ([]topic.Record, int64, error)
	// Partition returns where the batches of a car are, in a topic of n partitions; -1
	// if they may be in any.
	Partition(car string, n int) int32
	// Catalogue returns the canonical bytes of a catalogue; ok is false when nobody
	// has it.
	Catalogue(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error)
}

// Extent is what a partition holds: offsets [Start, End).
type Extent struct {
	Partition  int32
	Start, End int64
	Since      int64 // the first offset of a record that was appended at the time asked for, or later
}
