package ubx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Bits of a PVT's Valid.
const (
	ValidDate     = 1 << 0
	ValidTime     = 1 << 1
	FullyResolved = 1 << 2 // no ambiguity of seconds is left
)

// pvtBytes is the length of a NAV-PVT's payload; protocol versions before 14 have
// 84 bytes, without headings of the vehicle.
const (
	pvtBytes    = 92
	oldPVTBytes = 84
)

// PVT is one solution: position, velocity and time of one instant.
type PVT struct {
	TowMS      uint32 // GPS time of week
	Valid      uint8
	Time       time.Time // UTC; zero unless ValidDate and ValidTime are set and a calendar has it
	AccuracyNS uint32    // of Time
	FixType    uint8     // 0 none, 1 dead reckoning, 2 2D, 3 3D, 4 both, 5 time only
	Flags      uint8     // bit 0: within the receiver's limits
	Satellites uint8
	Lon, Lat   int32 // 1e-7 degrees
	MSLMM      int32 // height above mean sea level
	HeightMM   int32 // above the ellipsoid
	HAccMM     uint32
	VAccMM     uint32
	NorthMMS   int32 // velocity, mm/s
	EastMMS    int32
	DownMMS    int32
	SpeedMMS   int32 // over ground
	CourseE5   int32 // 1e-5 degrees
	SAccMMS    uint32
	PDOPCenti  uint16
	NoPosition bool // coordinates and heights are not valid
}

// Located reports that there is a position, be it one that is outside the limits
// that the receiver was given.
func (p *PVT) Located() bool { return p.FixType >= 1 && p.FixType <= 4 && !p.NoPosition }

// OK reports a fix that the receiver itself trusts.
func (p *PVT) OK() bool { return p.Located() && p.Flags&1 != 0 && p.FixType >= 2 }

// Resolved reports that date, time and seconds are all known: without the last,
// Time may be whole seconds off.
func (p *PVT) Resolved() bool { return p.Valid&FullyResolved != 0 && !p.Time.IsZero() }

var errShort = errors.New("payload is too short")

// ParsePVT reads a NAV-PVT's payload; a longer one of a later version is read as
// far as it is known.
func ParsePVT(b []byte) (PVT, error) {
	if len(b) != oldPVTBytes && len(b) < pvtBytes {
		return PVT{}, fmt.Errorf("ubx: NAV-PVT of %d bytes: %w", len(b), errShort)
	}
	u4 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	i4 := func(i int) int32 { return int32(u4(i)) }
	p := PVT{
		TowMS: u4(0), Valid: b[11], AccuracyNS: u4(12), FixType: b[20], Flags: b[21], Satellites: b[23],
		Lon: i4(24), Lat: i4(28), HeightMM: i4(32), MSLMM: i4(36), HAccMM: u4(40), VAccMM: u4(44),
		NorthMMS: i4(48), EastMMS: i4(52), DownMMS: i4(56), SpeedMMS: i4(60), CourseE5: i4(64), SAccMMS: u4(68),
		PDOPCenti: binary.LittleEndian.Uint16(b[76:]), NoPosition: b[78]&1 != 0,
	}
	y, m, d := int(binary.LittleEndian.Uint16(b[4:])), time.Month(b[6]), int(b[7])
	t := time.Date(y, m, d, int(b[8]), int(b[9]), int(b[10]), 0, time.UTC)
	switch {
	case p.Valid&(ValidDate|ValidTime) != ValidDate|ValidTime:
	case y < 1980 || y > 2200 || t.Day() != d || t.Month() != m || b[8] > 23 || b[9] > 59 || b[10] > 60:
		p.Valid = 0 // it says that they are valid, and no calendar has them
	default:
		// nano may be negative: seconds are rounded to the nearest.
		p.Time = t.Add(time.Duration(i4(16)))
	}
	if p.Lat > 90e7 || p.Lat < -90e7 || p.Lon > 180e7 || p.Lon < -180e7 {
		p.NoPosition = true
	}
	return p, nil
}

// AppendPVT appends the payload of a NAV-PVT, as a receiver would send it.
func AppendPVT(dst []byte, p *PVT) []byte {
	b := make([]byte, pvtBytes)
	le := binary.LittleEndian
	sec := p.Time.Round(time.Second)
	le.PutUint32(b[0:], p.TowMS)
	le.PutUint16(b[4:], uint16(sec.Year()))
	b[6], b[7], b[8], b[9], b[10] = byte(sec.Month()), byte(sec.Day()), byte(sec.Hour()), byte(sec.Minute()), byte(sec.Second())
	b[11] = p.Valid
	le.PutUint32(b[12:], p.AccuracyNS)
	le.PutUint32(b[16:], uint32(int32(p.Time.Sub(sec))))
	b[20], b[21], b[23] = p.FixType, p.Flags, p.Satellites
	for i, v := range []uint32{
		uint32(p.Lon), uint32(p.Lat), uint32(p.HeightMM), uint32(p.MSLMM), p.HAccMM, p.VAccMM,
		uint32(p.NorthMMS), uint32(p.EastMMS), uint32(p.DownMMS), uint32(p.SpeedMMS), uint32(p.CourseE5), p.SAccMMS,
	} {
		le.PutUint32(b[24+4*i:], v)
	}
	le.PutUint16(b[76:], p.PDOPCenti)
	if p.NoPosition {
		b[78] = 1
	}
	return append(dst, b...)
}

// TimePulse names the next second pulse (TIM-TP).
type TimePulse struct {
	TowMS    uint32 // time of week at the pulse
	Week     uint16
	UTC      bool  // its time base: UTC, else GPS
	ErrorPS  int32 // quantisation error of the pulse, ps
	ErrorSet bool
}

// ParseTP reads a TIM-TP's payload.
func ParseTP(b []byte) (TimePulse, error) {
	if len(b) < 16 {
		return TimePulse{}, fmt.Errorf("ubx: TIM-TP of %d bytes: %w", len(b), errShort)
	}
	le := binary.LittleEndian
	return TimePulse{
		TowMS: le.Uint32(b), ErrorPS: int32(le.Uint32(b[8:])), Week: le.Uint16(b[12:]),
		UTC: b[14]&1 != 0, ErrorSet: b[14]&0x10 == 0,
	}, nil
}

// ParseAck returns the command that an ACK-ACK or ACK-NAK answers.
func ParseAck(b []byte) (ID, bool) {
	if len(b) < 2 {
		return 0, false
	}
	return ID(binary.BigEndian.Uint16(b)), true
}
