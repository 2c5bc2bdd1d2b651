package spool

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	"telemetry/wire"
)

// What memory holds must not grow with what the disk holds. The entries of a run
// in a sealed chunk can be read again from the chunk's envelopes; a cold run is one
// without them: it knows its numbers, which of them are alive, and its sums. The
// newest and those that were used last stay warm.

// cold is what stands for the entries of a run. A run is cold when it has this.
type cold struct {
	first  uint64 // number of the first entry; the others follow without holes
	count  int
	bytes  int64 // sealed bytes of the alive entries
	cat    uint32
	sealed int64     // of the first entry
	handed bool      // of any entry
	failed time.Time // when reading it failed first; zero = it did not
}

// cool takes the entries out of memory if they can be read again as they are: no
// holes, no control records, one catalogue.
func (r *run) cool() bool {
	if r.cold != nil || len(r.entries) == 0 {
		return false
	}
	es := r.entries
	c := &cold{first: es[0].seq, count: len(es), cat: es[0].cat, sealed: es[0].sealed}
	for i, e := range es {
		if e.seq != c.first+uint64(i) || e.control || e.cat != c.cat {
			return false
		}
		c.handed = c.handed || e.handed
		if r.isAlive(i) {
			c.bytes += int64(e.size)
		}
	}
	r.cold, r.entries = c, nil
	return true
}

// install gives a cold run its entries and returns by how many bytes the sum of the
// alive ones differs from what was thought. A number that was not found any more
// gets an entry that nothing can be read from: reading it reports it as corrupt.
func (r *run) install(found []entry) int64 {
	c := r.cold
	if c == nil {
		return 0
	}
	es := make([]entry, c.count)
	for _, e := range found {
		if i := e.seq - c.first; e.seq >= c.first && i < uint64(c.count) {
			es[i] = e
		}
	}
	bytes := int64(0)
	for i := range es {
		e := &es[i]
		if e.seq == 0 {
			*e = entry{seq: c.first + uint64(i), first: r.minNS, last: r.maxNS}
		}
		e.cat, e.sealed, e.handed, e.control = c.cat, c.sealed, c.handed, false
		if r.isAlive(i) {
			bytes += int64(e.size)
		}
	}
	r.entries, r.cold = es, nil
	return bytes - c.bytes
}

// size returns how many entries the run has, alive or not.
func (r *run) size() int {
	if r.cold != nil {
		return r.cold.count
	}
	return len(r.entries)
}

// seqAt returns the number of entry i.
func (r *run) seqAt(i int) uint64 {
	if r.cold != nil {
		return r.cold.first + uint64(i)
	}
	return r.entries[i].seq
}

// about returns entry i; of a cold run what is known of it without reading: its
// event time is the run's, and its size an even share, so that sums stay right.
func (r *run) about(i int) entry {
	c := r.cold
	if c == nil {
		return r.entries[i]
	}
	return entry{
		seq: c.first + uint64(i), first: r.minNS, last: r.maxNS, sealed: c.sealed,
		size: uint32(c.bytes / int64(max(1, r.n))), cat: c.cat, handed: c.handed,
	}
}

// keepWarm notes that a run of a sealed chunk has its entries, and cools others
// that were used longer ago. Called with mu held.
func (s *Spool) keepWarm(r *run) {
	s.warmRuns = append(s.warmRuns, r)
	s.warmCount += len(r.entries)
	n := 0
	for s.warmCount > s.cfg.WarmEntries && n < len(s.warmRuns)-1 {
		old := s.warmRuns[n]
		n++
		s.warmCount -= len(old.entries)
		if old.n > 0 {
			old.cool()
		}
	}
	s.warmRuns = slices.Delete(s.warmRuns, 0, n)
}

// keepChunkWarm is keepWarm for the runs of a chunk that was just sealed or found.
// Called with mu held.
func (s *Spool) keepChunkWarm(st *stream, c *chunk) {
	for i := len(st.runs) - 1; i >= 0 && st.runs[i].chunk == c; i-- {
		s.keepWarm(st.runs[i].run)
	}
}

// readable is for how long a chunk may fail to be read before what it holds counts
// as damaged: a card that was reset is back by then.
const readable = 30 * time.Second

// warm reads the entries of a cold run without the lock: the disk may be slow, and
// a commit must not wait for it. Called with mu held, which it gives up meanwhile.
// It reports whether the run is warm now.
func (s *Spool) warm(st *stream, r *run) bool {
	path := r.chunk.path
	s.mu.Unlock()
	found, err := envelopes(s.disk, path, st.id)
	s.mu.Lock()
	c := r.cold
	if c == nil {
		return true
	}
	if err != nil {
		s.count.ReadErrors++
		if c.failed.IsZero() {
			c.failed = time.Now()
			s.log.Warn("chunk not readable", "chunk", path, "err", err)
		}
		if time.Since(c.failed) < readable {
			return false
		}
	}
	st.bytes += r.install(found)
	s.keepWarm(r)
	return true
}

// watched is a file that remembers errors.
type watched struct {
	File
	err error
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.File.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// envelopes reads the headers of a stream's batches in a chunk. With an error there
// may be more than it found.
func envelopes(d Disk, dir string, id wire.Stream) ([]entry, error) {
	f, err := d.Open(filepath.Join(dir, SegmentName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	w := &watched{File: f}
	sc := scan(w, size, false)
	out := make([]entry, 0, len(sc.records))
	for _, r := range sc.records {
		if r.header.Stream == id {
			out = append(out, entryOf(r))
		}
	}
	return out, w.err
}

// entryOf describes a record of a segment file, but for its catalogue.
func entryOf(r record) entry {
	e := entry{
		seq: r.header.Seq, first: r.header.FirstNS, last: r.header.LastNS,
		off: uint32(r.off), size: uint32(r.header.Size()), control: r.header.Control,
	}
	if r.atRest {
		e.extra = atRestExtra(&r.header)
	}
	return e
}

// coldFrom returns the run that holds the first alive number >= seq if it is cold.
func (st *stream) coldFrom(seq uint64) *run {
	for ri := st.runAt(seq); ri < len(st.runs); ri++ {
		r := st.runs[ri].run
		switch {
		case r.next(r.search(seq)) < 0:
		case r.cold != nil:
			return r
		default:
			return nil
		}
	}
	return nil
}
