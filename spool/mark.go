package spool

import (
	"encoding/binary"
	"hash/crc32"
	"path/filepath"

	"telemetry/wire"
)

// The mark says how far each lane of this start is durable. It is written in
// place after every commit and never synced: the cursor, which is, follows within
// a second. So what rots at the end of the newest chunk of a process that was
// killed has a name; after a power cut that holds for what the last cursor knew.
//
//	two slots of 64 bytes, written in turn: magic 4 | version 1 | counter u32 |
//	nonce u64 | generation u64 | high of critical u64 | of full u64 | CRC32C u32 | zeros

const (
	markName    = "mark"
	markMagic   = "TSPM"
	markVersion = 1
	markSlot    = 64
	markUsed    = 4 + 1 + 4 + 8 + 8 + 8 + 8
)

// mark is owned by the owner of the disk.
type mark struct {
	f    MarkFile // nil: there is none
	gen  uint64
	high [2]uint64 // of critical, of full
	bad  bool      // the last write failed
}

func (m *mark) encode(e wire.Epoch) []byte {
	b := append(make([]byte, 0, markSlot), markMagic...)
	b = append(b, markVersion)
	b = appendEpoch(b, e)
	b = binary.LittleEndian.AppendUint64(b, m.gen)
	b = binary.LittleEndian.AppendUint64(b, m.high[0])
	b = binary.LittleEndian.AppendUint64(b, m.high[1])
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	return b[:markSlot]
}

// parseMark reads the newer valid slot.
func parseMark(b []byte) (e wire.Epoch, m mark, ok bool) {
	for ; len(b) >= markSlot; b = b[markSlot:] {
		s := b[:markUsed]
		if string(s[:4]) != markMagic || s[4] != markVersion ||
			binary.LittleEndian.Uint32(b[markUsed:]) != crc32.Checksum(s, castagnoli()) {
			continue
		}
		if gen := binary.LittleEndian.Uint64(s[17:]); !ok || gen > m.gen {
			e, ok = readEpoch(s[5:]), true
			m.gen = gen
			m.high = [2]uint64{binary.LittleEndian.Uint64(s[25:]), binary.LittleEndian.Uint64(s[33:])}
		}
	}
	return e, m, ok
}

func (s *Spool) markPath() string { return filepath.Join(s.cfg.Dir, markName) }

// loadMark takes down how far the last start was durable.
func (s *Spool) loadMark() {
	b, err := readAll(s.disk, s.markPath(), 2*markSlot)
	if err != nil {
		return // the cursor serves
	}
	e, m, ok := parseMark(b)
	if !ok {
		return
	}
	for i, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		if m.high[i] == 0 {
			continue
		}
		st := s.addStream(wire.Stream{Car: s.cfg.Car, Epoch: e, Lane: lane})
		st.high, st.sure = max(st.high, m.high[i]), max(st.sure, m.high[i])
	}
}

// openMark begins the mark of this start. Without one the spool works.
func (s *Spool) openMark() {
	err := s.disk.Write(s.markPath(), make([]byte, 2*markSlot))
	if err == nil {
		s.mark.f, err = s.disk.OpenMark(s.markPath())
	}
	if err != nil {
		s.log.Warn("no mark: the end of the newest chunk has no name if it rots", "err", err)
		return
	}
	next, _ := s.crit.progress()
	s.setMark(wire.LaneCritical, next-1)
}

// setMark notes that a lane is durable up to a number.
func (s *Spool) setMark(lane wire.Lane, high uint64) {
	m := &s.mark
	i := 0
	if lane == wire.LaneFull {
		i = 1
	}
	m.high[i] = max(m.high[i], high)
	if m.f == nil {
		return
	}
	m.gen++
	_, err := m.f.WriteAt(m.encode(s.epoch), int64(m.gen%2)*markSlot)
	if err != nil && !m.bad {
		s.log.Warn("mark not written", "err", err)
	}
	m.bad = err != nil
}

func (s *Spool) closeMark() {
	if s.mark.f == nil {
		return
	}
	if err := s.mark.f.Close(); err != nil {
		s.log.Warn("mark not closed", "err", err)
	}
	s.mark.f = nil
}
