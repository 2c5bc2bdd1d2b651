package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"

	"telemetry/wire"
)

// A payload says which batch it belongs to, so that a reader knows it without
// asking: lane u8, counter u32, nonce u64, number among the lane's payloads u64,
// length u32, CRC32C of all that follows u32, then bytes that follow from these.
const payloadHead = 1 + 4 + 8 + 8 + 4 + 4

var errForeign = errors.New("lab: payload that nobody wrote")

// tag is what a payload says about itself.
type tag struct {
	epoch wire.Epoch
	lane  wire.Lane
	n     uint64
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// makePayload fills b, at least payloadHead long. One in four compresses well.
func makePayload(b []byte, t tag) {
	b[0] = byte(t.lane)
	binary.LittleEndian.PutUint32(b[1:], t.epoch.Counter)
	binary.LittleEndian.PutUint64(b[5:], t.epoch.Nonce)
	binary.LittleEndian.PutUint64(b[13:], t.n)
	binary.LittleEndian.PutUint32(b[21:], uint32(len(b)))
	body := b[payloadHead:]
	if t.n%4 == 3 {
		for i := range body {
			body[i] = byte(t.n) + byte(i>>6)
		}
	} else {
		r := rand.NewPCG(t.epoch.Nonce, t.n<<8|uint64(t.lane))
		i := 0
		for ; i+8 <= len(body); i += 8 {
			binary.LittleEndian.PutUint64(body[i:], r.Uint64())
		}
		for ; i < len(body); i++ {
			body[i] = byte(r.Uint64())
		}
	}
	binary.LittleEndian.PutUint32(b[25:], crcOf(body))
}

// readPayload checks a payload against itself.
func readPayload(b []byte) (tag, error) {
	if len(b) < payloadHead || int(binary.LittleEndian.Uint32(b[21:])) != len(b) ||
		crcOf(b[payloadHead:]) != binary.LittleEndian.Uint32(b[25:]) {
		return tag{}, errForeign
	}
	return tag{
		epoch: wire.Epoch{Counter: binary.LittleEndian.Uint32(b[1:]), Nonce: binary.LittleEndian.Uint64(b[5:])},
		lane:  wire.Lane(b[0]), n: binary.LittleEndian.Uint64(b[13:]),
	}, nil
}
