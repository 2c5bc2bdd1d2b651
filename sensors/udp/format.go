// Package udp takes the stream of an engine control unit, for what no bus
// carries: datagrams of docs/ecu-udp.md, unicast or multicast.
//
// The entry points are [New], a source with one group a stream, and [NewPacket],
// the plan of a datagram. It never sends, never takes a datagram whose length does
// not fit its rows, and tells every number that did not come.
package udp

import (
	"encoding/binary"

	"telemetry/sensors/packed"
)

// Bytes of a datagram's head; all numbers are little endian.
const (
	Magic     = 0x4345 // "EC"
	Version   = 1
	HeadBytes = 24

	idAt = 4
)

// MaxDatagram is the longest payload that UDP carries over IPv4.
const MaxDatagram = 65_507

// NewPacket plans the datagrams of a stream: HeadBytes, then rows.
func NewPacket(id uint16, rows *packed.Layout) (*packed.Packet, error) {
	return packed.NewPacket([]packed.Head{
		{Kind: packed.U16, Role: packed.Match, Value: Magic},
		{Kind: packed.U8, Role: packed.Match, Value: Version},
		{Kind: packed.U8}, // flags, none yet
		{Kind: packed.U16, Role: packed.Match, Value: int64(id)},
		{Kind: packed.U16, Role: packed.Count},
		{Kind: packed.U32, Role: packed.Sequence},
		{Kind: packed.U32}, // for later
		{Kind: packed.U64, Role: packed.Tick},
	}, rows)
}

// streamOf returns the number of a datagram's stream; ok is false for one that is
// no datagram of the format.
func streamOf(b []byte) (id uint16, ok bool) {
	if len(b) < HeadBytes || binary.LittleEndian.Uint16(b) != Magic || b[2] != Version {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b[idAt:]), true
}
