package demo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Tally counts what is in Kafka by identity: which records of which batches were
// seen, and how many samples they hold. Its memory grows with the holes in what
// it has seen, not with its length. It is not safe for concurrent use.
type Tally struct {
	streams map[wire.Stream]*streamTally
	lanes   [wire.LaneFull + 1]LaneTally
	open    int // batches of which some records were seen
}

// LaneTally counts one lane.
type LaneTally struct {
	Records    uint64 // distinct ones
	Samples    uint64 // in them
	Duplicates uint64 // samples in records seen before
	Late       uint64 // samples that came by the late topic, among Samples
}

type streamTally struct {
	whole wire.Ranges              // batches of which every record was seen
	part  map[uint64]*partialBatch // by sequence number
}

type partialBatch struct {
	of   uint64 // records of the batch
	seen wire.Ranges
}

// maxOpen bounds the batches that are seen in part: records of one batch are
// written in one transaction, so only readers of different partitions differ.
const maxOpen = 1 << 16

// errTally marks a record that contradicts what a batch's records must be.
var errTally = errors.New("demo: impossible record")

// NewTally returns an empty tally.
func NewTally() *Tally { return &Tally{streams: map[wire.Stream]*streamTally{}} }

// Add takes one output record with so many samples. late says that it came by
// the late topic. It reports whether the record is new; one that was seen before
// is counted as a duplicate, wherever it was.
func (t *Tally) Add(id wire.ID, place string, samples int, late bool) (bool, error) {
	row, of, err := parsePlace(place)
	if err != nil {
		return false, fmt.Errorf("%w: %s: %w", errTally, id, err)
	}
	if !id.Stream.Lane.Valid() {
		return false, fmt.Errorf("%w: %s has no lane", errTally, id)
	}
	fresh, err := t.see(id, row, of)
	if err != nil {
		return false, err
	}
	l := &t.lanes[id.Stream.Lane]
	if !fresh {
		l.Duplicates += uint64(samples)
		return false, nil
	}
	l.Records++
	l.Samples += uint64(samples)
	if late {
		l.Late += uint64(samples)
	}
	return true, nil
}

// see notes record row of a batch of so many, and reports whether it is new.
func (t *Tally) see(id wire.ID, row, of uint64) (bool, error) {
	s := t.streams[id.Stream]
	if s == nil {
		s = &streamTally{part: map[uint64]*partialBatch{}}
		t.streams[id.Stream] = s
	}
	if s.whole.Contains(id.Seq) {
		return false, nil
	}
	p := s.part[id.Seq]
	if p == nil {
		if t.open >= maxOpen {
			return false, fmt.Errorf("%w: %d batches are there in part only", errTally, t.open)
		}
		p = &partialBatch{of: of}
		s.part[id.Seq] = p
		t.open++
	}
	if p.of != of {
		return false, fmt.Errorf("%w: %s has %d records and %d", errTally, id, p.of, of)
	}
	if p.seen.Contains(row) {
		return false, nil
	}
	p.seen = p.seen.Add(row, row)
	if len(p.seen) == 1 && p.seen[0].Len() == of {
		s.whole = s.whole.Add(id.Seq, id.Seq)
		delete(s.part, id.Seq)
		t.open--
	}
	return true, nil
}

// Lane returns the counts of one lane.
func (t *Tally) Lane(l wire.Lane) LaneTally { return t.lanes[l] }

// Open returns how many batches are there only in part.
func (t *Tally) Open() int { return t.open }

// parsePlace reads "3/150": the third of 150, counted from 1.
func parsePlace(s string) (row, of uint64, err error) {
	a, b, ok := strings.Cut(s, "/")
	if row, err = strconv.ParseUint(a, 10, 32); err == nil && ok {
		of, err = strconv.ParseUint(b, 10, 32)
	}
	if err != nil || !ok || row < 1 || row > of {
		return 0, 0, fmt.Errorf("demo: %q is no place in a batch (want as 3/150)", s)
	}
	return row, of, nil
}

// Result is the last line of standard output. The fields are a promise to
// scripts.
type Result struct {
	Made       uint64 `json:"made"`
	Delivered  uint64 `json:"delivered"`
	Missing    uint64 `json:"missing"`
	Duplicates uint64 `json:"duplicates"`
}

// Good reports whether nothing is missing and nothing is double.
func (r Result) Good() bool { return r.Missing == 0 && r.Duplicates == 0 }

// add returns the sum of two lanes.
func (r Result) add(o Result) Result {
	return Result{r.Made + o.Made, r.Delivered + o.Delivered, r.Missing + o.Missing, r.Duplicates + o.Duplicates}
}

// settle compares what was made with what is there. More than was made cannot
// be right either: it is counted as double.
func settle(made uint64, l LaneTally) Result {
	r := Result{Made: made, Delivered: l.Samples, Duplicates: l.Duplicates}
	if made > l.Samples {
		r.Missing = made - l.Samples
	} else {
		r.Duplicates += l.Samples - made
	}
	return r
}

// identityOf reads batch and place of an output record.
func identityOf(r *topic.Record) (id wire.ID, place string, err error) {
	i, ok := topic.OutputIdentity(r)
	if !ok {
		return id, "", fmt.Errorf("%w: record %d of %s/%d has no identity in its headers", errTally, r.Offset, r.Topic, r.Partition)
	}
	return i.ID, i.Place, nil
}
