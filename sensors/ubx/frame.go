// Package ubx reads and writes the binary protocol of u-blox receivers as far as
// a position at a high rate needs it: NAV-PVT, TIM-TP, the answers to commands,
// and the commands that set rate and outputs.
//
// The entry points are [Next], which finds whole frames in a run of bytes, and
// [ParsePVT]. It is pure: no clock, no I/O. What it writes changes only the
// receiver's working memory, never what it keeps without power.
package ubx

import "encoding/binary"

// Bounds of a frame.
const (
	Sync1      = 0xB5
	Sync2      = 0x62
	headBytes  = 6
	sumBytes   = 2
	MaxPayload = 4096 // raw measurements of all satellites have less
)

// ID is the class and number of a message, class first.
type ID uint16

// Messages that this package knows.
const (
	NavPVT    ID = 0x0107
	NavHP     ID = 0x0114 // NAV-HPPOSLLH
	NavEOE    ID = 0x0161 // no more of this instant
	AckNak    ID = 0x0500
	AckAck    ID = 0x0501
	CfgMsg    ID = 0x0601
	CfgRate   ID = 0x0608
	CfgValset ID = 0x068A
	MonVer    ID = 0x0A04
	TimTP     ID = 0x0D01
)

// Token says what [Next] has found.
type Token uint8

// Tokens.
const (
	NeedMore Token = iota // a frame has begun and may go on
	Good                  // a whole frame with the right checksum
	Bad                   // no frame: the sync bytes stood in other data, or it is damaged
)

// Next reads the frame at the begin of b, which must begin with [Sync1]. A bad
// one takes a single byte: what looked like it may hold a good one.
func Next(b []byte) (tok Token, id ID, payload []byte, n int) {
	switch {
	case len(b) < 2:
		return NeedMore, 0, nil, 0
	case b[1] != Sync2:
		return Bad, 0, nil, 1
	case len(b) < headBytes:
		return NeedMore, 0, nil, 0
	}
	size := int(binary.LittleEndian.Uint16(b[4:]))
	if size > MaxPayload {
		return Bad, 0, nil, 1
	}
	end := headBytes + size + sumBytes
	if len(b) < end {
		return NeedMore, 0, nil, 0
	}
	x, y := sum(b[2 : end-sumBytes])
	if b[end-2] != x || b[end-1] != y {
		return Bad, 0, nil, 1
	}
	return Good, ID(binary.BigEndian.Uint16(b[2:])), b[headBytes : end-sumBytes], end
}

// Append appends a frame; the payload must not be longer than [MaxPayload].
func Append(dst []byte, id ID, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, Sync1, Sync2, byte(id>>8), byte(id), byte(len(payload)), byte(len(payload)>>8))
	dst = append(dst, payload...)
	x, y := sum(dst[start+2:])
	return append(dst, x, y)
}

// sum is the 8-bit Fletcher sum over class, number, length and payload.
func sum(b []byte) (x, y byte) {
	for _, c := range b {
		x += c
		y += x
	}
	return x, y
}
