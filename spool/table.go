package spool

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"path/filepath"

	"telemetry/wire"
)

// The table says what each sealed chunk holds, so that a start need not read the
// envelopes of a whole card. It is only a hint: never synced while the spool runs,
// checked entry by entry, and believed only of a chunk whose file has the size and
// begins with the batch that the entry names. A chunk of which it says nothing is
// scanned. What rots in a chunk that the table vouches for is found when the batch is
// wanted, and gets its loss record then: the start has its number already.
//
//	entries of 80 bytes: magic 4 | version 1 | lane 1 | shard u16 | counter u32 | nonce u64 |
//	chunk u64 | file size u32 | count u32 | first number u64 | sealed bytes u32 |
//	least and greatest event time 2 × i64 | catalogue 8 | zeros 4 | CRC32C u32

const (
	tableName    = "chunks"
	tableMagic   = "TSPI"
	tableVersion = 1
	tableEntry   = 80
	// maxTableBytes is what 1 TiB of chunks of 1 MiB takes.
	maxTableBytes = 80 << 20
	// tableSlack is how many entries of chunks that are gone may pile up.
	tableSlack = 512
)

// summary is what one chunk holds: batches of one stream, numbered without holes.
type summary struct {
	stream    wire.Stream
	first     uint64
	count     uint32
	sealed    int64 // bytes, length prefixes not counted
	minNS     int64
	maxNS     int64
	catalogue wire.CatalogueHash
	mixed     bool // it holds something else, or the chunk was damaged: no entry can say it
}

// add takes one more batch in.
func (m *summary) add(id wire.ID, size int, first, last int64, cat wire.CatalogueHash, control bool) {
	if m.count == 0 {
		m.stream, m.first, m.catalogue = id.Stream, id.Seq, cat
		m.minNS, m.maxNS = math.MaxInt64, math.MinInt64
	}
	m.mixed = m.mixed || control || id.Stream != m.stream || cat != m.catalogue || id.Seq != m.first+uint64(m.count)
	m.count++
	m.sealed += int64(size)
	m.minNS, m.maxNS = min(m.minNS, first), max(m.maxNS, last)
}

// tells reports whether an entry can say what the chunk holds.
func (m *summary) tells() bool { return m.count > 0 && !m.mixed && m.sealed <= math.MaxUint32 }

// chunkKey names a chunk.
type chunkKey struct {
	lane wire.Lane
	no   uint64
}

// vouched is what the table says of a chunk.
type vouched struct {
	summary
	size   int64 // of the segment file
	atRest bool  // its first batch is encrypted; read from the file
}

func appendTableEntry(b []byte, c *chunk) []byte {
	start := len(b)
	m := &c.holds
	b = append(b, tableMagic...)
	b = append(b, tableVersion, byte(m.stream.Lane))
	b = binary.LittleEndian.AppendUint16(b, m.stream.Shard)
	b = appendEpoch(b, m.stream.Epoch)
	b = binary.LittleEndian.AppendUint64(b, c.no)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.bytes))
	b = binary.LittleEndian.AppendUint32(b, m.count)
	b = binary.LittleEndian.AppendUint64(b, m.first)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.sealed))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.minNS))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.maxNS))
	b = append(b, m.catalogue[:]...)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
}

// parseTable reads the entries that are whole. Of a chunk that stands twice the later
// one counts.
func parseTable(b []byte, car string) map[chunkKey]vouched {
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	out := make(map[chunkKey]vouched, len(b)/tableEntry)
	for ; len(b) >= tableEntry; b = b[tableEntry:] {
		if string(b[:4]) != tableMagic || b[4] != tableVersion ||
			u32(b[tableEntry-4:]) != crc32.Checksum(b[:tableEntry-4], castagnoli()) {
			continue
		}
		v := vouched{size: int64(u32(b[28:]))}
		v.stream = wire.Stream{Car: car, Epoch: readEpoch(b[8:]), Lane: wire.Lane(b[5]), Shard: binary.LittleEndian.Uint16(b[6:])}
		v.count, v.first, v.sealed = u32(b[32:]), u64(b[36:]), int64(u32(b[44:]))
		v.minNS, v.maxNS = int64(u64(b[48:])), int64(u64(b[56:]))
		copy(v.catalogue[:], b[64:])
		key := chunkKey{v.stream.Lane, u64(b[20:])}
		// A record takes more than one byte, so that a count cannot claim memory.
		if v.count == 0 || v.first == 0 || v.first+uint64(v.count) < v.first || int64(v.count) > v.size || v.sealed > v.size {
			delete(out, key)
			continue
		}
		out[key] = v
	}
	return out
}

// table is the file of this start. Owned by the owner of the disk.
type table struct {
	f       MarkFile // nil: there is none
	entries int      // in the file
	bad     bool     // the last write failed
}

func (s *Spool) tablePath() string { return filepath.Join(s.cfg.Dir, tableName) }

// loadTable reads what the last start left.
func (s *Spool) loadTable() map[chunkKey]vouched {
	b, err := readAll(s.disk, s.tablePath(), maxTableBytes)
	if err != nil {
		return nil // every chunk is scanned
	}
	return parseTable(b, s.cfg.Car)
}

// writeTable makes the table anew from the chunks that there are. Without one the
// spool works.
func (s *Spool) writeTable() {
	s.closeTable()
	var b []byte
	s.mu.Lock()
	for _, cs := range s.chunks {
		for _, c := range cs {
			if c.sealed && c.pending > 0 && c.holds.tells() {
				b = appendTableEntry(b, c)
			}
		}
	}
	s.mu.Unlock()
	temp := s.tablePath() + ".tmp"
	err := s.disk.Write(temp, b)
	if err == nil {
		err = s.disk.Rename(temp, s.tablePath())
	}
	if err == nil {
		s.table.f, err = s.disk.OpenMark(s.tablePath())
	}
	if err != nil {
		s.log.Warn("no table of chunks: the next start reads them all", "err", err)
		s.table.f = nil
		return
	}
	s.table.entries = len(b) / tableEntry
}

// enterChunk adds a sealed chunk to the table.
func (s *Spool) enterChunk(c *chunk) {
	t := &s.table
	s.mu.Lock()
	tells := c.pending > 0 && c.holds.tells()
	s.mu.Unlock()
	if t.f == nil || !tells || s.darkness() {
		return
	}
	_, err := t.f.WriteAt(appendTableEntry(nil, c), int64(t.entries)*tableEntry)
	if err != nil && !t.bad {
		s.log.Warn("chunk not in the table", "chunk", c.path, "err", err)
	}
	if t.bad = err != nil; !t.bad {
		t.entries++
	}
}

// boundTable makes the table anew when most of it speaks of chunks that are gone.
func (s *Spool) boundTable() {
	if s.table.f != nil && int64(s.table.entries) > 2*s.chunkCount()+tableSlack {
		s.writeTable()
	}
}

func (s *Spool) closeTable() {
	if s.table.f == nil {
		return
	}
	if err := s.table.f.Close(); err != nil {
		s.log.Warn("table of chunks not closed", "err", err)
	}
	s.table.f = nil
}

// vouch checks that a chunk's file is the one that its entry speaks of: its size, and
// the number and length of its first batch.
func (s *Spool) vouch(c *chunk, v *vouched) bool {
	f, err := s.disk.Open(filepath.Join(c.path, SegmentName))
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size != v.size {
		return false
	}
	rec, _, verdict := recordAt(&window{f: f, size: size, probe: maxPrefix + maxHeaderBytes + atRestMark}, 0, false)
	v.atRest = rec.atRest
	return s.mine(v.stream, c.lane) && verdict == recordGood && rec.header.Stream == v.stream && rec.header.Seq == v.first
}

// adoptVouched puts a chunk into the index without its envelopes. It reports false
// when others have some of its numbers: then the envelopes must tell.
func (s *Spool) adoptVouched(c *chunk, v *vouched) bool {
	st := s.addStream(v.stream)
	n, last := len(st.runs), v.first+uint64(v.count)-1
	if n > 0 && st.runs[n-1].lastSeq() >= v.first {
		return false
	}
	c.bytes, c.holds = v.size, v.summary
	s.chunks[c.lane] = append(s.chunks[c.lane], c)
	s.count.Chunks++
	s.count.DiskBytes += c.bytes
	st.high = max(st.high, last)
	if v.atRest {
		s.atRest[v.stream.Epoch] = true
	}
	if v.atRest && !s.canOpen(v.stream.Epoch) {
		s.lockIn(c, st, wire.Ranges{{First: v.first, Last: last}}, v.minNS, v.maxNS)
		return true
	}
	r := &run{chunk: c, minNS: v.minNS, maxNS: v.maxNS, alive: make([]uint64, (v.count+63)/64)}
	for i := range int(v.count) {
		if !st.settled.Contains(v.first + uint64(i)) {
			r.alive[i/64] |= 1 << (i % 64)
			r.n++
		}
	}
	if r.n == 0 {
		return true
	}
	r.cold = &cold{first: v.first, count: int(v.count), bytes: v.sealed * int64(r.n) / int64(v.count), cat: s.cats.refMany(v.catalogue, r.n)}
	st.addRun(r)
	return true
}
