package spool

import (
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
)

// slots is a small durable value in two files that are written in turn, so that
// a torn write or a rotten sector leaves the one before.
//
//	magic 4 | version 1 | generation u64 | length u32 | value | CRC32C u32 over all before
type slots struct {
	disk    Disk
	dir     string
	name    string // files are name.0 and name.1
	magic   string // 4 bytes
	version byte   // written; 0 means what was loaded, or the first
	highest byte   // version of any slot that was loaded
	gen     uint64 // of the newest valid slot
	slot    int    // where it stands
	bytes   int64  // written so far
}

const (
	// slotVersion is the newest that is understood, and written where anything is
	// encrypted; plainVersion is written else, so that a program of before can go on.
	slotVersion  = 2
	plainVersion = 1
	slotHead     = 4 + 1 + 8 + 4
	// maxSlotBytes bounds what a slot may hold: 256 epochs with their ranges.
	maxSlotBytes = 4 << 20
)

// castagnoli is the polynomial of all checksums of the spool.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (s *slots) file(i int) string {
	return filepath.Join(s.dir, s.name+"."+string(rune('0'+i)))
}

// slotState says what load found.
type slotState struct {
	found   bool // at least one valid slot
	damaged int  // slots that exist and are not valid
	newer   bool // a valid slot of a version that this program does not know
}

// load returns the newest valid value.
func (s *slots) load() (value []byte, st slotState) {
	for i := range 2 {
		b, err := readAll(s.disk, s.file(i), maxSlotBytes)
		if err != nil {
			continue
		}
		gen, v, version, ok := parseSlot(b, s.magic)
		if !ok {
			st.damaged++
			continue
		}
		if version > slotVersion {
			st.newer = true
			continue
		}
		if !st.found || gen > s.gen {
			s.gen, s.slot, value, st.found = gen, i, v, true
			s.version = version
		}
		s.highest = max(s.highest, version)
	}
	return value, st
}

func parseSlot(b []byte, magic string) (gen uint64, value []byte, version byte, ok bool) {
	if len(b) < slotHead+4 || string(b[:4]) != magic {
		return 0, nil, 0, false
	}
	n := int64(binary.LittleEndian.Uint32(b[13:]))
	if n > int64(len(b)-slotHead-4) {
		return 0, nil, 0, false
	}
	b = b[:slotHead+int(n)+4] // a longer value of before may stand behind, if the writer was killed
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(b[len(body):]) {
		return 0, nil, 0, false
	}
	return binary.LittleEndian.Uint64(b[5:]), body[slotHead:], b[4], true
}

// store makes value the newest, in the slot that does not hold the one before.
func (s *slots) store(value []byte) error {
	b := make([]byte, 0, slotHead+len(value)+4)
	b = append(b, s.magic...)
	b = append(b, max(s.version, plainVersion))
	b = binary.LittleEndian.AppendUint64(b, s.gen+1)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	if err := s.disk.Write(s.file(1-s.slot), b); err != nil {
		return err
	}
	if s.gen < 2 { // the file may be new: its name must be durable too
		if err := s.disk.SyncDir(s.dir); err != nil {
			return err
		}
	}
	s.gen++
	s.slot = 1 - s.slot
	s.bytes += int64(len(b))
	return nil
}

// readAll reads a whole file of at most limit bytes.
func readAll(d Disk, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, ErrTooLarge
	}
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	m, err := f.ReadAt(b, 0)
	if int64(m) == n {
		err = nil
	}
	return b[:m], err
}
