package spool

import (
	"encoding/binary"
	"errors"

	"telemetry/wire"
)

// identity is the content of the epoch file.
type identity struct {
	car     string
	epoch   wire.Epoch   // the newest start
	lineage []wire.Epoch // earlier starts that the cloud may still wait for, oldest first
}

// maxLineage bounds the lineage in the epoch file: that many starts without one word
// from the cloud.
const maxLineage = 1 << 15

// cutLineage returns at most limit of a lineage and how many went: the oldest of those
// of which nothing is held here, and only then the oldest of all. The cloud is never
// told that these ended.
func cutLineage(lineage []wire.Epoch, holds func(wire.Epoch) bool, limit int) (kept []wire.Epoch, cut int) {
	for _, all := range []bool{false, true} {
		over := len(lineage) - limit
		kept = make([]wire.Epoch, 0, len(lineage))
		for _, e := range lineage {
			if over > 0 && (all || !holds(e)) {
				over--
				cut++
				continue
			}
			kept = append(kept, e)
		}
		lineage = kept
	}
	return kept, cut
}

var errMalformed = errors.New("spool: malformed file")

func (id *identity) encode() []byte {
	b := append([]byte{byte(len(id.car))}, id.car...)
	b = appendEpoch(b, id.epoch)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(id.lineage)))
	for _, e := range id.lineage {
		b = appendEpoch(b, e)
	}
	return b
}

func parseIdentity(b []byte) (*identity, error) {
	if len(b) < 1 || len(b) < 1+int(b[0])+14 {
		return nil, errMalformed
	}
	n := int(b[0])
	id := &identity{car: string(b[1 : 1+n])}
	b = b[1+n:]
	id.epoch, b = readEpoch(b), b[12:]
	count := int(binary.LittleEndian.Uint16(b))
	b = b[2:]
	if len(b) != count*12 {
		return nil, errMalformed
	}
	for range count {
		id.lineage = append(id.lineage, readEpoch(b))
		b = b[12:]
	}
	return id, nil
}

func appendEpoch(b []byte, e wire.Epoch) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.Counter)
	return binary.LittleEndian.AppendUint64(b, e.Nonce)
}

// readEpoch reads the first 12 bytes of b.
func readEpoch(b []byte) wire.Epoch {
	return wire.Epoch{Counter: binary.LittleEndian.Uint32(b), Nonce: binary.LittleEndian.Uint64(b[4:])}
}

// cursorStream is the cursor of one stream: what a restart must not send again,
// and how far the stream was durable when the cursor was written.
type cursorStream struct {
	epoch   wire.Epoch
	lane    wire.Lane
	shard   uint16
	high    uint64
	settled wire.Ranges
}

// maxCursorRanges bounds the ranges kept of one stream: what lies beyond is sent
// again after a restart.
const maxCursorRanges = 4096

func encodeCursor(ss []cursorStream) []byte {
	b := binary.AppendUvarint(nil, uint64(len(ss)))
	for _, s := range ss {
		b = appendEpoch(b, s.epoch)
		b = append(b, byte(s.lane))
		b = binary.LittleEndian.AppendUint16(b, s.shard)
		b = binary.AppendUvarint(b, s.high)
		rs := s.settled[:min(len(s.settled), maxCursorRanges)]
		b = binary.AppendUvarint(b, uint64(len(rs)))
		at := uint64(0)
		for _, r := range rs {
			b = binary.AppendUvarint(b, r.First-at)
			b = binary.AppendUvarint(b, r.Last-r.First)
			at = r.Last
		}
	}
	return b
}

func parseCursor(b []byte) ([]cursorStream, error) {
	u := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	count, ok := u()
	if !ok || count > uint64(len(b)) {
		return nil, errMalformed
	}
	var out []cursorStream
	for range count {
		if len(b) < 15 {
			return nil, errMalformed
		}
		s := cursorStream{epoch: readEpoch(b), lane: wire.Lane(b[12]), shard: binary.LittleEndian.Uint16(b[13:])}
		b = b[15:]
		var n uint64
		if s.high, ok = u(); !ok {
			return nil, errMalformed
		}
		if n, ok = u(); !ok || n > maxCursorRanges {
			return nil, errMalformed
		}
		at := uint64(0)
		for range n {
			d, ok1 := u()
			l, ok2 := u()
			first := at + d
			if !ok1 || !ok2 || d == 0 || first < at || first+l < first {
				return nil, errMalformed
			}
			s.settled = s.settled.Add(first, first+l)
			at = first + l
		}
		out = append(out, s)
	}
	if len(b) != 0 {
		return nil, errMalformed
	}
	return out, nil
}
