package columns

import (
	"encoding/hex"
	"strconv"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Heads writes keys and headers of records, and the texts that their bodies
// repeat. It is valid for one batch at a time and not safe for concurrent use.
type Heads struct {
	Session string // "<epoch>-<nonce>"
	Nonce   string // 16 hexadecimal digits

	b                                               *sequence.Batch
	contentType                                     []byte
	car, epoch, nonce, lane, shard, seq, hash, link []byte
	late                                            []byte // nil while the clock is unsynced
}

// Begin prepares a batch; all bytes are in the output's memory.
func (h *Heads) Begin(out *sequence.Output, b *sequence.Batch, contentType []byte) {
	out.Begin()
	st := b.ID.Stream
	text := func(s string) []byte { return out.Keep(append(out.Value(len(s)), s...)) }
	number := func(n uint64) []byte { return out.Keep(strconv.AppendUint(out.Value(20), n, 10)) }
	*h = Heads{b: b, contentType: contentType}
	h.car, h.lane = text(st.Car), text(st.Lane.String())
	h.epoch, h.seq, h.link = number(uint64(st.Epoch.Counter)), number(b.ID.Seq), number(uint64(b.Link))
	var nonce [8]byte
	for i := range nonce {
		nonce[i] = byte(st.Epoch.Nonce >> (56 - 8*i))
	}
	h.nonce = out.Keep(hex.AppendEncode(out.Value(16), nonce[:]))
	h.Nonce = string(h.nonce)
	h.Session = string(h.epoch) + "-" + h.Nonce
	if st.Shard != 0 {
		h.shard = number(uint64(st.Shard))
	}
	if b.Hash != (wire.CatalogueHash{}) {
		h.hash = out.Keep(hex.AppendEncode(out.Value(2*len(b.Hash)), b.Hash[:]))
	}
	if s := b.Stamp(b.LastNS); s.Synced {
		h.late = out.Keep(strconv.AppendInt(out.Value(20), b.AppendMS-sequence.FloorMS(s.UTCNS), 10))
	}
}

// Record is one record without its value: its key, time and headers. t is nil for
// an event, which is the place-th of "of" records and happened at boot.
func (h *Heads) Record(out *sequence.Output, t *Table, place, of int, boot int64) topic.Record {
	r := topic.Record{Topic: h.b.Rows, Partition: -1, Key: h.car}
	utc, clock := int64(0), Clock{}
	if t != nil {
		utc, clock, place, of, boot = t.UTC[0], t.Clock, t.Place, t.Of, t.Boot[0]
		if h.b.ByGroup {
			k := append(out.Value(len(h.car)+len(t.Group.Name)+1), h.car...)
			r.Key = out.Keep(append(append(k, '/'), t.Group.Name...))
		}
	} else {
		r.Topic = h.b.Event
		st := h.b.Stamp(boot)
		utc, clock = st.UTCNS, ClockOf(st)
	}
	ms, clamped := h.b.RecordMS(utc)
	if clamped {
		out.Clamped++
	}
	r.TimestampMS = ms
	r.Headers = h.headers(out, t, place, of, boot, clock)
	return r
}

// spare is how many headers a format may add.
const spare = 2

func (h *Heads) headers(out *sequence.Output, t *Table, place, of int, boot int64, clock Clock) []topic.Header {
	hs := out.Headers(15 + spare)[:0]
	add := func(key string, v []byte) {
		if v != nil {
			hs = append(hs, topic.Header{Key: key, Value: v})
		}
	}
	add(topic.HeaderCar, h.car)
	add(topic.HeaderEpoch, h.epoch)
	add(topic.HeaderNonce, h.nonce)
	add(topic.HeaderLane, h.lane)
	add(topic.HeaderShard, h.shard)
	add(topic.HeaderSeq, h.seq)
	add(topic.HeaderPart, out.Keep(AppendPart(out.Value(24), place, of)))
	if t != nil {
		add(topic.HeaderCatalogue, h.hash)
		add(topic.HeaderGroup, out.Keep(append(out.Value(len(t.Group.Name)), t.Group.Name...)))
	}
	add(sequence.HeaderBootNS, out.Keep(strconv.AppendInt(out.Value(20), boot, 10)))
	if clock.Synced {
		add(sequence.HeaderClock, synced)
		add(sequence.HeaderAnchor, out.Keep(strconv.AppendUint(out.Value(10), uint64(clock.Anchor), 10)))
	} else {
		add(sequence.HeaderClock, unsynced)
	}
	add(topic.HeaderLink, h.link)
	add(sequence.HeaderLateMS, h.late)
	add(topic.HeaderContentType, h.contentType)
	return hs
}

var (
	synced   = []byte("synced")
	unsynced = []byte("unsynced")
)

// AppendPart appends "place/of".
func AppendPart(dst []byte, place, of int) []byte {
	dst = append(strconv.AppendInt(dst, int64(place), 10), '/')
	return strconv.AppendInt(dst, int64(of), 10)
}
