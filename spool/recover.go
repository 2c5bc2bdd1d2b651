package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"telemetry/wire"
)

// Recovery in order: (1) the cursor was read: it says what is settled; (2) every chunk is
// scanned, or vouched for by the table; clean ones enter the index; (3) if damage was found, the cursor is
// written with how far each stream is known to have gone, so that a crash from
// here on forgets no loss; (4) damaged chunks are cut or salvaged and enter the
// index; (5) unacked control records are read; (6) what is missing is reported.

const (
	salvageSuffix = ".salvage"
	// maxSalvageBytes bounds the memory of a salvage: chunks of ours are far
	// smaller, larger ones are read around their damage.
	maxSalvageBytes = 2 * maxChunkBytes
	// maxCutBytes is what quarantine keeps of a cut tail.
	maxCutBytes = 64 << 10
)

// damaged is a chunk whose repair waits for the cursor.
type damaged struct {
	c       *chunk
	s       scanned
	rewrite bool // it cannot be synced where it stands
}

func (s *Spool) recover() error {
	var repairs []damaged
	evidence := false
	var table map[chunkKey]vouched
	if !s.thorough {
		table = s.loadTable()
	}
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		cs, err := s.listChunks(lane)
		if err != nil {
			return err
		}
		for c, p := range s.peekAll(cs, table) {
			if p.vouched != nil && s.adoptVouched(c, p.vouched) {
				continue
			}
			if p.vouched != nil {
				p = s.peek(c)
			}
			sc, ok := s.take(c, p)
			if !ok {
				continue
			}
			rewrite := false
			if s.unsure(&sc) {
				if err := s.disk.SyncFile(filepath.Join(c.path, SegmentName)); err != nil {
					s.log.Warn("chunk not synced: it is written again", "chunk", c.path, "err", err)
					rewrite = true
					s.doubt(c, sc.records)
				} else if sc, ok = s.take(c, s.peek(c)); !ok { // by now memory may hold less
					continue
				}
			}
			evidence = s.note(c, &sc) || evidence
			if sc.middle || sc.tail() > 0 || rewrite {
				repairs = append(repairs, damaged{c, sc, rewrite})
				continue
			}
			s.adopt(c, sc.records)
		}
	}
	if s.report.Chunks == 0 && len(s.streams) == 0 {
		s.report.CursorLost = false
	}
	if evidence {
		s.moved = true
		if err := s.withSpace(func() error { return s.storeCursor(s.cursorTime) }); err != nil {
			s.log.Warn("cursor not written before repair", "err", err)
		}
	}
	for _, st := range s.streams {
		st.doubt = 0 // each repair says it again if it fails
	}
	for _, d := range repairs {
		s.repair(d)
	}
	s.boundQuarantine()
	s.readControls()
	return nil
}

// doubt keeps the cursor below what a chunk holds that no sync has covered.
func (s *Spool) doubt(c *chunk, records []record) {
	for _, r := range records {
		if !s.mine(r.header.Stream, c.lane) {
			continue
		}
		if st := s.addStream(r.header.Stream); r.header.Seq > st.sure && (st.doubt == 0 || r.header.Seq < st.doubt) {
			st.doubt = r.header.Seq
		}
	}
}

// unsure reports whether a chunk holds batches that nothing says to have been durable:
// a process that was killed leaves in memory what it had not synced, and after a failed
// sync what never will be. Such a batch must not show before it is on the disk.
func (s *Spool) unsure(sc *scanned) bool {
	for i := range sc.records {
		id := sc.records[i].header.ID()
		if st := s.streams[id.Stream]; st == nil || id.Seq > st.sure {
			return true
		}
	}
	return false
}

func (s *Spool) loadCursor() error {
	value, st := s.curSlots.load()
	if st.newer {
		return s.newer()
	}
	cs, err := parseCursor(value)
	if !st.found || err != nil {
		s.report.CursorLost, s.blind = true, true // CursorLost is taken back when there is nothing it could speak of
		return nil
	}
	for _, c := range cs {
		if c.lane != wire.LaneCritical && c.lane != wire.LaneFull {
			continue
		}
		x := s.addStream(wire.Stream{Car: s.cfg.Car, Epoch: c.epoch, Lane: c.lane, Shard: c.shard})
		x.settled, x.high, x.sure = c.settled, c.high, c.high
	}
	return nil
}

// listChunks lists a lane's chunks by number and quarantines what is none.
func (s *Spool) listChunks(lane wire.Lane) ([]*chunk, error) {
	dir := s.laneDir(lane)
	es, err := s.disk.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: list %s: %w", dir, err)
	}
	names := map[string]bool{}
	for _, e := range es {
		names[e.Name] = e.IsDir
	}
	s.nextChunk[lane] = 1
	var out []*chunk
	for _, e := range es {
		name := e.Name
		if base, ok := strings.CutSuffix(name, salvageSuffix); ok && e.IsDir && isChunkName(base) {
			if names[base] { // unfinished: the original is still there
				s.remove(filepath.Join(dir, name))
				continue
			}
			if err := s.disk.Rename(filepath.Join(dir, name), filepath.Join(dir, base)); err != nil {
				s.blind = true
				s.log.Warn("salvage not finished", "chunk", name, "err", err)
				continue
			}
			name = base
		}
		if !e.IsDir || !isChunkName(name) {
			s.quarantine(filepath.Join(dir, name), lane.String()+"-"+name)
			continue
		}
		no, _ := strconv.ParseUint(name, 10, 64) // isChunkName checked it
		s.nextChunk[lane] = max(s.nextChunk[lane], no+1)
		out = append(out, &chunk{lane: lane, no: no, path: filepath.Join(dir, name), sealed: true})
		s.report.Chunks++
	}
	return out, nil
}

func isChunkName(name string) bool {
	if len(name) != 10 {
		return false
	}
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
	}
	return true
}

func (s *Spool) remove(name string) {
	if err := s.disk.RemoveAll(name); err != nil {
		s.log.Warn("leftover not removed", "name", name, "err", err)
	}
}

// note takes down how far streams are known to have gone and reports whether
// there is evidence of batches that are damaged.
func (s *Spool) note(c *chunk, sc *scanned) bool {
	evidence := false
	mark := func(id wire.ID) {
		if !s.mine(id.Stream, c.lane) || id.Seq == 0 {
			return
		}
		st := s.addStream(id.Stream)
		st.high = max(st.high, id.Seq)
		if !st.settled.Contains(id.Seq) {
			st.named = append(st.named, id.Seq)
			evidence = true
		}
	}
	for _, id := range sc.named {
		mark(id)
	}
	if n := len(sc.records); sc.guessed && n > 0 {
		id := sc.records[n-1].header.ID()
		id.Seq++
		mark(id)
	}
	return evidence
}

// mine reports whether a stream may stand in a chunk of a lane of this spool.
func (s *Spool) mine(id wire.Stream, lane wire.Lane) bool {
	return id.Car == s.cfg.Car && id.Lane == lane && id.Epoch != wire.Epoch{}
}

// adopt puts a chunk's batches into the index.
func (s *Spool) adopt(c *chunk, records []record) { s.adoptUpTo(c, records, false) }

// adoptUpTo is adopt and, with unsynced, holds back what no sync has covered: it stays
// in the chunk for the next start, and does not show.
func (s *Spool) adoptUpTo(c *chunk, records []record, unsynced bool) {
	back := uint64(0)
	by := map[wire.Stream][]placed{}
	foreign := 0
	for _, r := range records {
		id := r.header.Stream
		if !s.mine(id, c.lane) || r.header.Seq == 0 {
			foreign++
			continue
		}
		st := s.addStream(id)
		if r.atRest && !st.settled.Contains(r.header.Seq) {
			s.atRest[id.Epoch] = true
		}
		if unsynced && r.header.Seq > st.sure {
			back += s.holdIn(c, st, wire.Ranges{{First: r.header.Seq, Last: r.header.Seq}}, r.header.FirstNS, r.header.LastNS)
			continue
		}
		st.high = max(st.high, r.header.Seq)
		if st.settled.Contains(r.header.Seq) {
			continue
		}
		if r.atRest && !s.canOpen(id.Epoch) {
			s.lockIn(c, st, wire.Ranges{{First: r.header.Seq, Last: r.header.Seq}}, r.header.FirstNS, r.header.LastNS)
			continue
		}
		e := entryOf(r)
		e.cat = s.cats.ref(r.header.Catalogue)
		by[id] = append(by[id], placed{c: c, entry: e})
	}
	if foreign == len(records) {
		s.quarantine(c.path, fmt.Sprintf("%s-%s", c.lane, chunkName(c.no)))
		return
	}
	if foreign > 0 {
		s.log.Warn("batches of another car or lane ignored", "chunk", c.path, "batches", foreign)
	}
	s.chunks[c.lane] = append(s.chunks[c.lane], c)
	s.count.Chunks++
	n := len(records)
	c.bytes = records[n-1].off + int64(records[n-1].header.Size())
	for _, r := range records {
		h := r.header
		c.holds.add(h.ID(), h.Size(), h.FirstNS, h.LastNS, h.Catalogue, h.Control)
	}
	c.unsynced = unsynced
	c.holds.mixed = c.holds.mixed || foreign > 0 || unsynced // the table must not vouch for it
	if back > 0 {
		s.report.HeldBack += back
		s.log.Error("batches held back: the card does not make them durable", "chunk", c.path, "batches", back)
	}
	s.count.DiskBytes += c.bytes
	for id, found := range by {
		st := s.streams[id]
		st.merge(found, s.cats.unref, func(r *run) []entry {
			es, err := envelopes(s.disk, r.chunk.path, id)
			if err != nil {
				s.log.Warn("chunk not readable", "chunk", r.chunk.path, "err", err)
			}
			return es
		})
		s.keepChunkWarm(st, c)
	}
}

// repair makes a damaged chunk clean, or leaves it and reads around the damage
// when the disk refuses.
func (s *Spool) repair(d damaged) {
	c := d.c
	label := fmt.Sprintf("%s-%s", c.lane, chunkName(c.no))
	if len(d.s.records) == 0 {
		s.quarantine(c.path, label)
		s.log.Warn("chunk holds nothing readable", "chunk", c.path, "bytes", d.s.size)
		return
	}
	segment := filepath.Join(c.path, SegmentName)
	if !d.s.middle && !d.rewrite {
		err := s.cut(segment, &d.s, label)
		if err != nil {
			s.report.RepairFailures++
			s.log.Warn("torn tail not cut", "chunk", c.path, "err", err)
		} else {
			s.report.TornTails++
			s.report.CutBytes += d.s.tail()
		}
		s.adopt(c, d.s.records)
		return
	}
	records, err := s.salvage(c, &d.s, label)
	if err != nil {
		s.report.RepairFailures++
		s.log.Warn("damaged chunk not rewritten", "chunk", c.path, "err", err)
	} else {
		s.report.Salvaged++
	}
	unsynced := d.rewrite && err != nil
	if unsynced {
		s.doubt(c, records)
	}
	s.adoptUpTo(c, records, unsynced)
}

// cut removes what stands behind the last valid record; quarantine keeps the
// first bytes of it.
func (s *Spool) cut(segment string, sc *scanned, label string) error {
	f, err := s.disk.Open(segment)
	if err != nil {
		return err
	}
	b := make([]byte, min(sc.tail(), maxCutBytes))
	n, rerr := f.ReadAt(b, sc.end)
	f.Close()
	if n > 0 && !allZero(b[:n]) {
		s.quarNo++
		name := filepath.Join(s.quarantineDir(), fmt.Sprintf("%08d-%s-tail", s.quarNo, label))
		if err := s.disk.Write(name, b[:n]); err != nil {
			s.log.Warn("cut bytes not kept", "chunk", label, "err", errors.Join(rerr, err))
		}
		s.report.Quarantined++
	}
	return s.disk.Truncate(segment, sc.end)
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// salvage writes a chunk's valid records to a new directory that then takes its
// place; the original goes to quarantine. It returns the records that stand at the
// chunk's path then, which it may have changed; they are durable there unless it failed.
func (s *Spool) salvage(c *chunk, sc *scanned, label string) ([]record, error) {
	out, records, err := s.gather(c, sc)
	if err != nil {
		return sc.records, err
	}
	temp := c.path + salvageSuffix
	s.remove(temp)
	parent := s.laneDir(c.lane)
	steps := []func() error{
		func() error { return s.disk.MkdirAll(temp) },
		func() error {
			return s.withSpace(func() error { return s.disk.Write(filepath.Join(temp, SegmentName), out) })
		},
		func() error { return s.disk.SyncDir(temp) },
		func() error { return s.disk.SyncDir(parent) },
		func() error { return s.quarantine(c.path, label) },
	}
	for _, step := range steps {
		if err = step(); err != nil {
			break
		}
	}
	if err != nil {
		if _, rerr := s.disk.ReadDir(c.path); !errors.Is(rerr, fs.ErrNotExist) {
			s.remove(temp) // the original is still there
			return sc.records, err
		}
	}
	if rerr := s.disk.Rename(temp, c.path); rerr != nil {
		c.path = temp // the next start finishes it
		return records, errors.Join(err, rerr)
	}
	return records, errors.Join(err, s.disk.SyncDir(parent))
}

// gather reads a chunk's valid records into the bytes of a new segment file.
func (s *Spool) gather(c *chunk, sc *scanned) (out []byte, records []record, err error) {
	if sc.size > maxSalvageBytes {
		return nil, nil, fmt.Errorf("%d bytes are too many to rewrite", sc.size)
	}
	f, err := s.disk.Open(filepath.Join(c.path, SegmentName))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	records = make([]record, 0, len(sc.records))
	for _, r := range sc.records {
		n := r.header.Size()
		out = binary.AppendUvarint(out, uint64(n))
		start := len(out)
		out = append(out, make([]byte, n)...)
		if m, err := f.ReadAt(out[start:], r.off); m < n {
			return nil, nil, err
		}
		records = append(records, record{off: int64(start), header: r.header, atRest: r.atRest})
	}
	return out, records, nil
}

// readControls reads the control records that the cloud has not acked: loss
// records keep their numbers open (rule 2), EpochOpen records their chunk.
func (s *Spool) readControls() {
	var opener wire.Opener
	var buf []byte
	for _, st := range s.order[wire.LaneCritical] {
		for seq := uint64(1); ; {
			e, ok := st.nextFrom(seq)
			if !ok {
				break
			}
			seq = e.seq + 1
			if !e.control {
				continue
			}
			id := wire.ID{Stream: st.id, Seq: e.seq}
			sealed, err := s.readDurable(id, buf[:0])
			if err != nil {
				s.log.Warn("control record not readable", "batch", id.String(), "err", err)
				continue
			}
			buf = sealed
			cs, err := controls(&opener, sealed)
			if err != nil {
				s.log.Warn("control record not understood", "batch", id.String(), "err", err)
				continue
			}
			s.restoreControl(id, cs)
		}
	}
}

func (s *Spool) restoreControl(id wire.ID, cs []wire.Control) {
	r, _, ok := s.streams[id.Stream].find(id.Seq)
	if !ok {
		return
	}
	for _, c := range cs {
		switch {
		case c.EpochOpen != nil:
			o := &openRecord{chunk: r.chunk}
			for _, p := range c.EpochOpen.Predecessors {
				s.found = append(s.found, p.Epoch)
				if len(p.Held) == 0 {
					o.closed = append(o.closed, p.Epoch)
				}
			}
			s.opens[id] = o
			r.chunk.opens++
		case c.Loss != nil:
			rec := s.losses[id]
			if rec == nil {
				rec = &lossRecord{}
				s.losses[id] = rec
			}
			rec.losses = append(rec.losses, *c.Loss)
			s.restoreLoss(c.Loss)
		}
	}
}

// restoreLoss opens the numbers of an unacked loss record that no chunk has: a
// chunk that was to be dropped and is still there is sent after all.
func (s *Spool) restoreLoss(l *wire.Loss) {
	if len(l.Ranges) == 0 || l.Lane != wire.LaneCritical && l.Lane != wire.LaneFull {
		return
	}
	st := s.addStream(wire.Stream{Car: s.cfg.Car, Epoch: l.Epoch, Lane: l.Lane, Shard: l.Shard})
	for _, r := range l.Ranges {
		st.lost = st.lost.Union(missingIn(st, r).Subtract(st.settled))
		st.high = max(st.high, r.Last)
	}
}

// doubtful counts the numbers of lost that were settled and deleted, or lost: without
// any cursor nobody on this card knows. They are named in a loss record like the others:
// the cloud takes out what it has, and keeps the reason that it was given before.
func (s *Spool) doubtful(st *stream, lost wire.Ranges) uint64 {
	if !s.report.CursorLost {
		return 0
	}
	first := st.high + 1
	if known := st.held().Union(st.settled); len(known) > 0 {
		first = known[0].First
	}
	n := lost.Count() - overlap(lost, first, st.high)
	for _, seq := range st.named {
		if seq < first && lost.Contains(seq) {
			n--
		}
	}
	return n
}

// missing says what cannot be sent any more although it was durable: numbers that
// no chunk has, no cursor settles and no loss record names (rule 7). They are
// open from here on.
func (s *Spool) missing() []wire.Loss {
	var losses []wire.Loss
	for _, w := range s.wanted { // control records found damaged while reading them
		losses = addLoss(losses, w.Loss)
		if w.chunk != nil {
			w.chunk.pending--
		}
	}
	s.wanted = nil
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		for _, st := range s.order[lane] {
			if st.ours || st.high == 0 {
				continue
			}
			lost := st.held().Union(st.settled).Missing(1, st.high)
			doubtful := s.doubtful(st, lost)
			st.named = nil
			if len(lost) == 0 {
				continue
			}
			st.lost = st.lost.Union(lost)
			certain := lost.Count() - doubtful
			s.report.LostBatches += certain
			s.report.DoubtfulBatches += doubtful
			s.count.LostCorrupt += certain
			losses = addLoss(losses, wire.Loss{Epoch: st.id.Epoch, Lane: lane, Shard: st.id.Shard, Ranges: lost, Reason: wire.ReasonCorrupt})
			s.log.Warn("batches lost on the card", "stream", st.id.String(), "batches", certain, "lost_or_delivered", doubtful, "ranges", fmt.Sprint(lost))
		}
	}
	return losses
}
