package ubx

import (
	"encoding/binary"
	"fmt"
)

// hpBytes is the length of a NAV-HPPOSLLH's payload.
const hpBytes = 36

// HP is a position of high precision (NAV-HPPOSLLH), which follows the NAV-PVT of
// the same instant.
type HP struct {
	TowMS    uint32
	Valid    bool
	Lon, Lat int64 // 1e-9 degrees
	MSL      int64 // 1e-4 m
	HAcc     uint32
	VAcc     uint32 // 1e-4 m
}

// ParseHP reads a NAV-HPPOSLLH's payload.
func ParseHP(b []byte) (HP, error) {
	if len(b) < hpBytes {
		return HP{}, fmt.Errorf("ubx: NAV-HPPOSLLH of %d bytes: %w", len(b), errShort)
	}
	u4 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	// A coordinate has 1e-7 degrees, or mm, and what is missing to it in a byte.
	sum := func(at, more int, unit int64) int64 { return int64(int32(u4(at)))*unit + int64(int8(b[more])) }
	p := HP{
		TowMS: u4(4), Valid: b[3]&1 == 0, Lon: sum(8, 24, 100), Lat: sum(12, 25, 100), MSL: sum(20, 27, 10),
		HAcc: u4(28), VAcc: u4(32),
	}
	if p.Lat > 90e9 || p.Lat < -90e9 || p.Lon > 180e9 || p.Lon < -180e9 {
		p.Valid = false
	}
	return p, nil
}

// AppendHP appends the payload of a NAV-HPPOSLLH, as a receiver would send it.
func AppendHP(dst []byte, p *HP) []byte {
	b := make([]byte, hpBytes)
	le := binary.LittleEndian
	if !p.Valid {
		b[3] = 1
	}
	le.PutUint32(b[4:], p.TowMS)
	put := func(at, more int, v, unit int64) {
		le.PutUint32(b[at:], uint32(int32(v/unit)))
		b[more] = byte(int8(v % unit))
	}
	put(8, 24, p.Lon, 100)
	put(12, 25, p.Lat, 100)
	put(20, 27, p.MSL, 10)
	le.PutUint32(b[28:], p.HAcc)
	le.PutUint32(b[32:], p.VAcc)
	return append(dst, b...)
}
