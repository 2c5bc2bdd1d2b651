package spool

import (
	"encoding/binary"
	"errors"
	"io"

	"telemetry/wire"
)

// Reading a chunk that was written by an earlier start. The file is a run of
// uvarint(length) ++ sealed batch; neither the length nor anything else of the
// library's framing is protected, so only what the envelope's checksums cover
// counts.

const (
	// maxRecordBytes is more than any lane's limit: a longer length prefix is
	// damage.
	maxRecordBytes = wire.MaxBatchBytes
	// headProbe is what one read of a header-only scan fetches: an envelope and,
	// in the critical lane, many records.
	headProbe = 4 << 10
	// deepProbe is the same for a scan that checks payloads too.
	deepProbe = 256 << 10
	// maxPrefix is the longest length prefix that can stand before a record.
	maxPrefix = 3
	// maxHeaderBytes is more than any envelope has.
	maxHeaderBytes = 256
)

// record is one valid batch in a segment file.
type record struct {
	off    int64 // of the sealed bytes
	header wire.Header
	atRest bool // encrypted
}

// scanned is what a segment file holds.
type scanned struct {
	size    int64 // of the file
	records []record
	end     int64      // behind the last valid record
	middle  bool       // damage with valid records behind it
	holes   [][2]int64 // damaged byte ranges with valid records behind them
	named   []wire.ID  // damaged batches whose identity is known
	guessed bool       // the last record is damaged beyond its header: one batch is lost
}

// tail returns how many bytes stand behind the last valid record.
func (s *scanned) tail() int64 { return s.size - s.end }

// window reads a file through one buffer.
type window struct {
	f     File
	size  int64
	probe int
	buf   []byte
	at    int64
}

// bytes returns n bytes at off, fewer at the end of the file, and what else is
// already at hand behind them. They are valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-off))
	if n <= 0 {
		return nil, nil
	}
	if off >= w.at && off+int64(n) <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at:], nil
	}
	want := int(min(int64(max(n, w.probe)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf = w.buf[:want]
	m, err := w.f.ReadAt(w.buf, off)
	if m < n && err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return nil, err
	}
	w.at, w.buf = off, w.buf[:m]
	return w.buf, nil
}

// scan walks a segment file. With deep it checks payloads too; without it a
// damaged payload is found when the batch is read. An I/O error counts as damage
// of the place where it happened.
func scan(f File, size int64, deep bool) scanned {
	s := scanned{size: size}
	w := &window{f: f, size: size, probe: headProbe}
	if deep {
		w.probe = deepProbe
	}
	pos := int64(0)
	for pos < size {
		rec, next, verdict := recordAt(w, pos, deep)
		switch verdict {
		case recordGood:
			s.records = append(s.records, rec)
			s.end = next
			pos = next
			continue
		case recordNamed:
			s.named = append(s.named, rec.header.ID())
		case recordFramed:
			s.guessed = next == size
		}
		found, at := resync(w, pos, verdict, next, &s)
		if at < 0 {
			break
		}
		s.middle = true
		s.holes = append(s.holes, [2]int64{pos, at})
		s.guessed = false
		s.records = append(s.records, found)
		s.end = found.off + int64(found.header.Size())
		pos = s.end
	}
	return s
}

type verdict int

const (
	recordGood   verdict = iota
	recordNamed          // the header is valid, the payload is not
	recordFramed         // the length prefix fits, the header is not valid
	recordNone
)

// recordAt judges what stands at pos. next is the end of the record where that
// is known.
func recordAt(w *window, pos int64, deep bool) (rec record, next int64, v verdict) {
	b, err := w.bytes(pos, maxPrefix)
	if err != nil {
		return rec, 0, recordNone
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || k > maxPrefix || n == 0 || n > maxRecordBytes {
		return rec, 0, recordNone
	}
	rec.off = pos + int64(k)
	next = rec.off + int64(n)
	v = recordFramed
	if next > w.size {
		v = recordNone
	}
	h, ok := headerAt(w, rec.off)
	if !ok {
		return rec, next, v
	}
	rec.header = h
	if h.Size() != int(n) || next > w.size {
		return rec, next, recordNone
	}
	if deep && !payloadGood(w, rec) {
		return rec, next, recordNamed
	}
	rec.look(w)
	return rec, next, recordGood
}

// look finds out whether a good record is encrypted.
func (r *record) look(w *window) {
	if b, err := w.bytes(r.off+int64(r.header.HeaderLen), atRestMark); err == nil {
		r.atRest = isAtRest(&r.header, b)
	}
}

func headerAt(w *window, off int64) (wire.Header, bool) {
	b, err := w.bytes(off, maxHeaderBytes)
	if err != nil {
		return wire.Header{}, false
	}
	h, err := wire.ParseHeader(b)
	return h, err == nil && h.Size() > 0
}

func payloadGood(w *window, rec record) bool {
	b, err := w.bytes(rec.off, rec.header.Size())
	if err != nil || len(b) < rec.header.Size() {
		return false
	}
	got, n, err := wire.Parse(b)
	return err == nil && n == rec.header.Size() && got.Header.ID() == rec.header.ID()
}

// resync looks for the next whole record behind damage at pos. Envelopes with a
// valid header and a damaged payload are named on the way.
func resync(w *window, pos int64, v verdict, next int64, s *scanned) (record, int64) {
	from := pos + 1
	if v == recordNamed {
		from = next // its bytes are accounted for
	}
	for from < w.size {
		b, err := w.bytes(from, maxRecordBytes)
		if err != nil { // an unreadable sector: go on behind it
			from += 512
			continue
		}
		i := wire.FindMagic(b)
		if i < 0 {
			if from+int64(len(b)) >= w.size {
				return record{}, -1
			}
			from += int64(max(1, len(b)-3))
			continue
		}
		at := from + int64(i)
		from = at + 1
		h, ok := headerAt(w, at)
		if !ok || at+int64(h.Size()) > w.size {
			continue
		}
		rec := record{off: at, header: h}
		if payloadGood(w, rec) {
			rec.look(w)
			return rec, at
		}
		s.named = append(s.named, h.ID())
	}
	return record{}, -1
}
