package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"telemetry/wire"
)

// View reads a spool without owning it: it takes no lock and writes nothing, so
// that a spool in use can be looked at, and a copy on a disk that cannot be written.
// What it says of a spool in use may be a moment old; chunks that vanish meanwhile
// are left out. It belongs to one goroutine.
type View struct {
	Dir        string
	Car        string     // "" when the epoch file cannot be read
	Epoch      wire.Epoch // the newest start
	CursorLost bool       // no valid cursor: nothing counts as settled
	Locked     int        // encrypted batches that Each has left out: no key opens them
	disk       Disk
	box        KeyBox
	keys       *keyring
	settled    map[wire.Stream]wire.Ranges
}

// ChunkView is one chunk directory.
type ChunkView struct {
	Lane  wire.Lane
	No    uint64
	Bytes int64 // of the segment file when it was listed
	Last  bool  // the newest of its lane: in a spool in use its end is being written
	path  string
}

// Name returns "lane/number" as in the directory.
func (c ChunkView) Name() string { return c.Lane.String() + "/" + chunkName(c.No) }

// ChunkReport is what a chunk holds.
type ChunkReport struct {
	Headers []wire.Header // of whole batches, in order
	Damaged []wire.ID     // batches whose envelope is whole and whose payload is not
	Holes   [][2]int64    // damaged byte ranges with whole batches behind them
	Tail    int64         // bytes behind the last whole batch
	AtRest  int           // of Headers, encrypted ones
	Locked  int           // of them, those that no key opens: only their checksums were looked at
	Foreign []string      // names in the directory that are not ours
}

// Whole reports that nothing is wrong with the chunk. The tail of a chunk that is
// being written is not: see [ChunkView].
func (r *ChunkReport) Whole() bool {
	return len(r.Damaged) == 0 && len(r.Holes) == 0 && r.Tail == 0 && len(r.Foreign) == 0
}

// OpenView reads the state files of a spool. disk nil means the operating system's.
func OpenView(dir string, disk Disk) (*View, error) {
	if disk == nil {
		disk = OS()
	}
	v := &View{Dir: dir, disk: disk, settled: map[wire.Stream]wire.Ranges{}}
	defer v.Use(nil)
	es, err := disk.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(es, func(e DirEntry) bool { return e.Name == name })
	}
	if !has(wire.LaneCritical.String()) && !has(wire.LaneFull.String()) {
		return nil, fmt.Errorf("spool: %s is no spool: it has neither %q nor %q", dir, wire.LaneCritical, wire.LaneFull)
	}
	ids := slots{disk: disk, dir: dir, name: "epoch", magic: "TSPE"}
	cur := slots{disk: disk, dir: dir, name: "cursor", magic: "TSPC"}
	value, st := ids.load()
	if st.newer {
		return nil, fmt.Errorf("%w: %s: use that version", ErrNewer, dir)
	}
	if id, err := parseIdentity(value); st.found && err == nil {
		v.Car, v.Epoch = id.car, id.epoch
	}
	value, st = cur.load()
	if st.newer {
		return nil, fmt.Errorf("%w: %s: use that version", ErrNewer, dir)
	}
	cs, err := parseCursor(value)
	if v.CursorLost = !st.found || err != nil; v.CursorLost {
		return v, nil
	}
	for _, c := range cs {
		v.settled[wire.Stream{Car: v.Car, Epoch: c.epoch, Lane: c.lane, Shard: c.shard}] = c.settled
	}
	return v, nil
}

// Use gives the view what opens encrypted batches and catalogues; without it they are
// left out.
func (v *View) Use(keys KeyBox) {
	v.box, v.keys = keys, newKeyring(v.disk, keysDir(v.Dir), v.Car, keys)
}

// Settled reports whether the last cursor has a batch as delivered or reported. A
// running spool may know more.
func (v *View) Settled(id wire.ID) bool { return v.settled[id.Stream].Contains(id.Seq) }

// Chunks lists the chunks of a lane by number.
func (v *View) Chunks(lane wire.Lane) ([]ChunkView, error) {
	dir := filepath.Join(v.Dir, lane.String())
	es, err := v.disk.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var out []ChunkView
	for _, e := range es {
		if !e.IsDir || !isChunkName(e.Name) {
			continue
		}
		no, _ := strconv.ParseUint(e.Name, 10, 64) // isChunkName checked it
		c := ChunkView{Lane: lane, No: no, path: filepath.Join(dir, e.Name)}
		files, err := v.disk.ReadDir(c.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		for _, f := range files {
			if f.Name == SegmentName {
				c.Bytes = f.Size
			}
		}
		out = append(out, c)
	}
	if n := len(out); n > 0 {
		out[n-1].Last = true
	}
	return out, nil
}

// Report reads a chunk; with deep the payloads too. A chunk that is gone by now is
// fs.ErrNotExist.
func (v *View) Report(c ChunkView, deep bool) (r ChunkReport, err error) {
	es, err := v.disk.ReadDir(c.path)
	if err != nil {
		return r, fmt.Errorf("spool: %w", err)
	}
	for _, e := range es {
		if e.Name != SegmentName || e.IsDir {
			r.Foreign = append(r.Foreign, e.Name)
		}
	}
	f, err := v.disk.Open(filepath.Join(c.path, SegmentName))
	if err != nil {
		return r, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return r, fmt.Errorf("spool: %w", err)
	}
	w := &watched{File: f}
	sc := scan(w, size, deep)
	r.Damaged, r.Holes, r.Tail = sc.named, sc.holes, sc.tail()
	for _, rec := range sc.records {
		r.Headers = append(r.Headers, rec.header)
		if rec.atRest {
			v.probe(f, rec, deep, &r)
		}
	}
	if w.err != nil {
		return r, fmt.Errorf("spool: read %s: %w", c.Name(), w.err)
	}
	return r, nil
}

// probe counts an encrypted batch and, with deep, tries to open it.
func (v *View) probe(f File, rec record, deep bool, r *ChunkReport) {
	r.AtRest++
	if _, err := v.keyringOf(rec.header).secretOf(rec.header.Stream.Epoch); err != nil {
		r.Locked++
		return
	}
	if !deep {
		return
	}
	buf := make([]byte, rec.header.Size())
	if n, _ := f.ReadAt(buf, rec.off); n < len(buf) { // the scan has read it a moment ago
		r.Damaged = append(r.Damaged, rec.header.ID())
		return
	}
	if b, _, err := wire.Parse(buf); err == nil {
		_, err = v.keyringOf(b.Header).open(b)
		if err != nil {
			r.Damaged = append(r.Damaged, rec.header.ID())
		}
	}
}

// keyringOf returns the keys for a batch: where no epoch file tells the car, the batch
// does.
func (v *View) keyringOf(h wire.Header) *keyring {
	if v.keys.car == "" {
		v.keys.car = h.Stream.Car
	}
	return v.keys
}

// Each calls fn for every whole batch of a lane in the order of the chunks, a
// number that stands twice once. The batch is valid until fn returns. What is encrypted
// is decrypted; what cannot be counts as Locked, or is left out if it was changed.
func (v *View) Each(lane wire.Lane, fn func(wire.Batch) error) error {
	cs, err := v.Chunks(lane)
	if err != nil {
		return err
	}
	seen := map[wire.Stream]wire.Ranges{}
	for _, c := range cs {
		err := v.each(c, func(b wire.Batch) error {
			id := b.Header.ID()
			if seen[id.Stream].Contains(id.Seq) {
				return nil
			}
			seen[id.Stream] = seen[id.Stream].Add(id.Seq, id.Seq)
			return fn(b)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it was settled meanwhile
			return err
		}
	}
	return nil
}

func (v *View) each(c ChunkView, fn func(wire.Batch) error) error {
	f, err := v.disk.Open(filepath.Join(c.path, SegmentName))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	var buf []byte
	for _, rec := range scan(f, size, true).records {
		buf = slices.Grow(buf[:0], rec.header.Size())[:rec.header.Size()]
		if _, err := f.ReadAt(buf, rec.off); err != nil {
			return fmt.Errorf("spool: read %s: %w", c.Name(), err)
		}
		b, _, err := wire.Parse(buf)
		if err != nil {
			continue // it rotted since the scan
		}
		if isAtRest(&b.Header, b.Payload) {
			inner, err := v.keyringOf(b.Header).open(b)
			if errors.Is(err, ErrNoKey) {
				v.Locked++
				continue
			}
			if err != nil {
				continue // verify names it
			}
			if b, _, err = wire.Parse(inner); err != nil {
				continue // open has parsed it
			}
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

// Catalogue returns the canonical bytes of a catalogue, or ErrNoCatalogue.
func (v *View) Catalogue(h wire.CatalogueHash) ([]byte, error) {
	s := &Spool{cfg: Config{Dir: v.Dir, Keys: v.box}, disk: v.disk}
	return s.Catalogue(h)
}
