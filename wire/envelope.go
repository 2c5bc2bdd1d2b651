package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Layout of the fixed part of the envelope; the rest is in FORMAT.md.
const (
	// BatchVersion is the version of the envelope that this build writes.
	BatchVersion = 1

	fixedHeader = 16 // magic, version, header length, flags, codec, payload length, payload CRC
	maxHeader   = 255
	// MaxPayload bounds the payload as stored, and MaxRawBytes the same
	// decompressed: many times any lane's limit, small enough for a decoder on
	// any board.
	MaxPayload  = 64 << 10
	MaxRawBytes = 1 << 20
	// MaxBatchBytes bounds a sealed batch.
	MaxBatchBytes = maxHeader + MaxPayload
)

// magic begins every batch. Its bytes are no text in any encoding, so that a
// scan of damaged storage resynchronises on it.
var magic = [4]byte{0xA7, 0x54, 0x4C, 0xB1}

// Flags of the envelope.
const (
	flagLane      = 0x03 // the lane
	flagControl   = 0x04
	flagCatalogue = 0x08 // a catalogue hash follows
	flagKnown     = flagLane | flagControl | flagCatalogue
)

// Sealer turns bodies into sealed batches. The zero value is ready; it is not
// safe for concurrent use. It keeps one small zstd encoder.
type Sealer struct {
	enc  *zstd.Encoder
	buf  []byte
	skip int // batches left to store without trying zstd
	wait int // the next skip when zstd loses again
}

// zstd is kept when it saves at least 1/32, about 3 %; while it loses it is
// tried at most once in maxSkip batches.
const (
	minGain     = 32
	maxSkip     = 64
	minCompress = 64 // smaller payloads cannot win against zstd's own header
)

// Seal appends the sealed batch to dst. It fails when the identity is not valid
// or the payload is larger than MaxRawBytes; lane limits are the caller's.
func (s *Sealer) Seal(dst []byte, id ID, b Body) ([]byte, error) {
	if err := checkSeal(id, b); err != nil {
		return dst, err
	}
	payload, codec := s.compress(b.Payload)
	return appendBatch(dst, id, b, payload, codec)
}

// SealStored is [Sealer.Seal] without compression, for a payload that is noise.
func SealStored(dst []byte, id ID, b Body) ([]byte, error) {
	if err := checkSeal(id, b); err != nil {
		return dst, err
	}
	return appendBatch(dst, id, b, b.Payload, CodecNone)
}

// appendBatch appends header and payload as they are to be stored.
func appendBatch(dst []byte, id ID, b Body, payload []byte, codec Codec) ([]byte, error) {
	if len(payload) > MaxPayload {
		return dst, fmt.Errorf("wire: seal %s: payload of %d bytes (limit %d)", id, len(payload), MaxPayload)
	}
	start := len(dst)
	flags := byte(b.Lane) & flagLane
	if b.Control {
		flags |= flagControl
	}
	if b.Catalogue != (CatalogueHash{}) {
		flags |= flagCatalogue
	}
	dst = append(dst, magic[:]...)
	dst = append(dst, BatchVersion, 0, flags, byte(codec))
	dst = appendU32(dst, uint32(len(payload)))
	dst = appendU32(dst, checksum(payload))
	dst = appendUvarint(dst, uint64(id.Stream.Shard))
	dst = appendUvarint(dst, uint64(id.Stream.Epoch.Counter))
	dst = appendU64(dst, id.Stream.Epoch.Nonce)
	dst = appendUvarint(dst, id.Seq)
	if flags&flagCatalogue != 0 {
		dst = append(dst, b.Catalogue[:]...)
	}
	dst = appendVarint(dst, b.FirstNS)
	dst = appendUvarint(dst, uint64(b.LastNS)-uint64(b.FirstNS))
	dst = appendUvarint(dst, uint64(b.Samples))
	if codec != CodecNone {
		dst = appendUvarint(dst, uint64(len(b.Payload)))
	}
	dst = appendString(dst, id.Stream.Car, MaxCarLen)
	dst[start+5] = byte(len(dst) - start + 4)
	dst = appendChecksum(dst, start)
	return append(dst, payload...), nil
}

func checkSeal(id ID, b Body) error {
	if err := ValidCar(id.Stream.Car); err != nil {
		return err
	}
	switch {
	case !id.Stream.Lane.Valid() || id.Stream.Lane != b.Lane:
		return fmt.Errorf("wire: seal %s: body of lane %s", id, b.Lane)
	case id.Seq == 0 || id.Seq > MaxSeq:
		return fmt.Errorf("wire: seal %s: sequence numbers count from 1 to %d", id, uint64(MaxSeq))
	case b.LastNS < b.FirstNS:
		return fmt.Errorf("wire: seal %s: last sample %d ns before the first", id, uint64(b.FirstNS)-uint64(b.LastNS))
	case len(b.Payload) == 0 || len(b.Payload) > MaxRawBytes:
		return fmt.Errorf("wire: seal %s: payload of %d bytes (want 1 to %d)", id, len(b.Payload), MaxRawBytes)
	}
	return nil
}

// compress returns the payload as it is to be stored; the slice may be the
// sealer's own.
func (s *Sealer) compress(p []byte) ([]byte, Codec) {
	if len(p) < minCompress {
		return p, CodecNone
	}
	if s.skip > 0 && len(p) <= MaxPayload {
		s.skip--
		return p, CodecNone
	}
	if s.enc == nil {
		// The options are constants: NewWriter fails only for bad ones.
		s.enc, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	}
	s.buf = s.enc.EncodeAll(p, s.buf[:0])
	if len(s.buf) <= len(p)-len(p)/minGain-4 {
		s.wait = 0
		return s.buf, CodecZstd
	}
	s.wait = min(max(1, 2*s.wait), maxSkip)
	s.skip = s.wait
	return p, CodecNone
}

// FindMagic returns the offset of the next place in b where a batch may begin,
// or -1. A magic cut off by the end of b is not found.
func FindMagic(b []byte) int { return bytes.Index(b, magic[:]) }

// ParseHeader reads the envelope at the start of b and checks its CRC; the
// payload need not be there. Errors are ErrShort, ErrMagic, ErrVersion and
// ErrChecksum, or say what is malformed.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < 6 {
		return h, fmt.Errorf("wire: batch header: %w", ErrShort)
	}
	if [4]byte(b) != magic {
		return h, ErrMagic
	}
	n := int(b[5])
	if n < fixedHeader+4 {
		return h, fmt.Errorf("wire: batch header of %d bytes: %w", n, errRange)
	}
	if len(b) < n {
		return h, fmt.Errorf("wire: batch header: %w", ErrShort)
	}
	if checksum(b[:n-4]) != binary.LittleEndian.Uint32(b[n-4:]) {
		return h, fmt.Errorf("wire: batch header: %w", ErrChecksum)
	}
	if v := b[4]; v != BatchVersion {
		return h, fmt.Errorf("wire: batch of version %d: %w", v, ErrVersion)
	}
	return parseFields(b[:n])
}

// parseFields reads the fields of a header whose checksum was found right.
func parseFields(b []byte) (Header, error) {
	flags := b[6]
	h := Header{
		HeaderLen:  len(b),
		Codec:      Codec(b[7]),
		Control:    flags&flagControl != 0,
		PayloadLen: binary.LittleEndian.Uint32(b[8:]),
		PayloadCRC: binary.LittleEndian.Uint32(b[12:]),
	}
	r := &reader{b: b[fixedHeader : len(b)-4], off: fixedHeader}
	h.Stream.Lane = Lane(flags & flagLane)
	h.Stream.Shard = uint16(r.uvarint(1<<16-1, "shard"))
	h.Stream.Epoch.Counter = uint32(r.uvarint(1<<32-1, "epoch"))
	h.Stream.Epoch.Nonce = r.u64("nonce")
	h.Seq = r.uvarint(MaxSeq, "sequence number")
	if flags&flagCatalogue != 0 {
		copy(h.Catalogue[:], r.take(8, "catalogue hash"))
	}
	h.FirstNS = r.varint("first time")
	span := r.uvarint(1<<64-1, "time span")
	h.LastNS = int64(uint64(h.FirstNS) + span)
	h.Samples = uint32(r.uvarint(1<<32-1, "samples"))
	h.RawLen = h.PayloadLen
	if h.Codec != CodecNone {
		h.RawLen = uint32(r.uvarint(MaxRawBytes, "raw length"))
	}
	h.Stream.Car = r.string(MaxCarLen, "car")
	if r.err != nil { // bytes left over are fields of a later version
		return Header{}, r.err
	}
	if err := checkFields(h, flags); err != nil {
		return Header{}, err
	}
	return h, nil
}

func checkFields(h Header, flags byte) error {
	switch {
	case flags&^flagKnown != 0:
		return fmt.Errorf("wire: batch header: unknown flags %#x", flags&^flagKnown)
	case !h.Stream.Lane.Valid():
		return fmt.Errorf("wire: batch header: lane %d", h.Stream.Lane)
	case h.Seq == 0:
		return fmt.Errorf("wire: batch header: sequence number 0")
	case h.LastNS < h.FirstNS:
		return fmt.Errorf("wire: batch header: time span out of range")
	case h.Codec > CodecZstd:
		return fmt.Errorf("wire: batch header: unknown payload codec %d", h.Codec)
	case h.PayloadLen == 0 || h.PayloadLen > MaxPayload:
		return fmt.Errorf("wire: batch header: payload of %d bytes (want 1 to %d)", h.PayloadLen, MaxPayload)
	}
	return ValidCar(h.Stream.Car)
}

// Parse reads one sealed batch off the front of b and checks both checksums; n
// is its length. The result aliases b.
func Parse(b []byte) (batch Batch, n int, err error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Batch{}, 0, err
	}
	n = h.Size()
	if len(b) < n {
		return Batch{}, 0, fmt.Errorf("wire: batch %s: payload: %w", h.ID(), ErrShort)
	}
	p := b[h.HeaderLen:n:n]
	if checksum(p) != h.PayloadCRC {
		return Batch{}, 0, fmt.Errorf("wire: batch %s: payload: %w", h.ID(), ErrChecksum)
	}
	return Batch{Header: h, Payload: p, Raw: b[:n:n]}, n, nil
}

// Opener decompresses payloads. The zero value is ready; it is not safe for
// concurrent use.
type Opener struct {
	dec *zstd.Decoder
	buf []byte
}

// Payload returns the sections of a parsed batch. The result is valid until the
// next call, or as long as the batch when it was not compressed.
func (o *Opener) Payload(b Batch) ([]byte, error) {
	if b.Header.Codec == CodecNone {
		return b.Payload, nil
	}
	if o.dec == nil {
		// The options are constants: NewReader fails only for bad ones.
		o.dec, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxRawBytes),
			zstd.WithDecoderMaxWindow(MaxRawBytes), zstd.WithDecoderLowmem(true))
	}
	var err error
	if o.buf, err = o.dec.DecodeAll(b.Payload, o.buf[:0]); err != nil {
		return nil, fmt.Errorf("wire: batch %s: decompress: %w", b.Header.ID(), err)
	}
	if len(o.buf) != int(b.Header.RawLen) {
		return nil, fmt.Errorf("wire: batch %s: payload has %d bytes, its header says %d", b.Header.ID(), len(o.buf), b.Header.RawLen)
	}
	return o.buf, nil
}
