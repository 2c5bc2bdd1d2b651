package jsonrow

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
)

// Clock names, as they stand in rows and headers.
const (
	ClockSynced   = "synced"
	ClockUnsynced = "unsynced"
)

var (
	clockSynced   = []byte(ClockSynced)
	clockUnsynced = []byte(ClockUnsynced)
)

// fixedHeaders are the header values that all records of a batch share, all in
// the output's memory.
type fixedHeaders struct {
	car, epoch, nonce, lane, shard, seq, hash, link []byte
	carKey                                          []byte
	late                                            []byte // late_ms; nil while the clock is unsynced
}

// begin prepares what is the same in all records of the batch.
func (f *Format) begin(out *sequence.Output, b *sequence.Batch) {
	out.Begin()
	st := b.ID.Stream
	h := &f.fixed
	text := func(s string) []byte { return out.Keep(append(out.Value(len(s)), s...)) }
	number := func(n uint64) []byte { return out.Keep(strconv.AppendUint(out.Value(20), n, 10)) }
	h.car, h.lane = text(st.Car), text(st.Lane.String())
	h.carKey = h.car
	h.epoch, h.seq, h.link = number(uint64(st.Epoch.Counter)), number(b.ID.Seq), number(uint64(b.Link))
	h.nonce = out.Keep(appendHex64(out.Value(16), st.Epoch.Nonce))
	h.shard = nil
	if st.Shard != 0 {
		h.shard = number(uint64(st.Shard))
	}
	h.hash = out.Keep(hex.AppendEncode(out.Value(16), b.Hash[:]))
	h.late = nil
	if s := b.Stamp(b.LastNS); s.Synced {
		h.late = out.Keep(strconv.AppendInt(out.Value(20), b.AppendMS-s.UTCNS/1e6, 10))
	}

	v := append(f.prefix[:0], `{"car":`...)
	v = AppendString(v, st.Car)
	v = append(v, `,"session":"`...)
	v = append(v, h.epoch...)
	v = append(v, '-')
	v = append(v, h.nonce...)
	v = append(v, `","epoch":`...)
	v = append(v, h.epoch...)
	v = append(v, `,"nonce":"`...)
	v = append(v, h.nonce...)
	v = append(v, `","lane":"`...)
	v = append(v, h.lane...)
	v = append(v, `","seq":`...)
	v = append(v, h.seq...)
	f.prefix = append(v, `,"row":"`...)
}

// rowHeaders returns the headers of one record; p is nil for an event.
func (f *Format) rowHeaders(out *sequence.Output, p *groupPlan, place, n int, boot int64, st timemap.Stamp) []topic.Header {
	h := &f.fixed
	hs := out.Headers(15)[:0]
	hs = append(hs,
		topic.Header{Key: topic.HeaderCar, Value: h.car},
		topic.Header{Key: topic.HeaderEpoch, Value: h.epoch},
		topic.Header{Key: topic.HeaderNonce, Value: h.nonce},
		topic.Header{Key: topic.HeaderLane, Value: h.lane})
	if h.shard != nil {
		hs = append(hs, topic.Header{Key: topic.HeaderShard, Value: h.shard})
	}
	row := strconv.AppendInt(out.Value(24), int64(place), 10)
	row = strconv.AppendInt(append(row, '/'), int64(n), 10)
	hs = append(hs,
		topic.Header{Key: topic.HeaderSeq, Value: h.seq},
		topic.Header{Key: topic.HeaderRow, Value: out.Keep(row)})
	if p != nil {
		hs = append(hs,
			topic.Header{Key: topic.HeaderCatalogue, Value: h.hash},
			topic.Header{Key: topic.HeaderGroup, Value: p.text})
	}
	clock := clockUnsynced
	if st.Synced {
		clock = clockSynced
	}
	hs = append(hs,
		topic.Header{Key: sequence.HeaderBootNS, Value: out.Keep(strconv.AppendInt(out.Value(20), boot, 10))},
		topic.Header{Key: sequence.HeaderClock, Value: clock})
	if st.Synced {
		hs = append(hs, topic.Header{
			Key: sequence.HeaderAnchor, Value: out.Keep(strconv.AppendUint(out.Value(10), uint64(st.Anchor), 10)),
		})
	}
	hs = append(hs, topic.Header{Key: topic.HeaderLink, Value: h.link})
	if h.late != nil {
		hs = append(hs, topic.Header{Key: sequence.HeaderLateMS, Value: h.late})
	}
	return append(hs, topic.Header{Key: topic.HeaderContentType, Value: contentType})
}

// appendTimes writes a row's time fields.
func appendTimes(v []byte, st timemap.Stamp, boot int64) []byte {
	v = append(v, `,"ts_ns":`...)
	v = strconv.AppendInt(v, st.UTCNS, 10)
	v = append(v, `,"ts_ms":`...)
	v = strconv.AppendInt(v, sequence.FloorMS(st.UTCNS), 10)
	v = append(v, `,"boot_ns":`...)
	v = strconv.AppendInt(v, boot, 10)
	if !st.Synced {
		return append(v, `,"clock":"unsynced"`...)
	}
	v = append(v, `,"clock":"synced","clock_unc_ns":`...)
	v = strconv.AppendInt(v, st.UncNS, 10)
	v = append(v, `,"segment":`...)
	return strconv.AppendUint(v, uint64(st.Segment), 10)
}

func appendHex64(dst []byte, n uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(n >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, b[:])
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become the
// replacement character.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
