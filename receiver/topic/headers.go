package topic

import (
	"errors"
	"fmt"
	"strconv"

	"telemetry/wire"
)

// Header names. Those of a batch record are written by [BatchHeaders]; outputs
// repeat car, epoch, nonce, lane and seq and add their place in the batch.
const (
	HeaderCar         = "car"
	HeaderEpoch       = "epoch"
	HeaderNonce       = "nonce" // 16 hexadecimal digits
	HeaderLane        = "lane"
	HeaderShard       = "shard" // absent means 0
	HeaderSeq         = "seq"
	HeaderBase        = "base"
	HeaderPulled      = "pulled" // "true" or "false"
	HeaderLink        = "link"
	HeaderGen         = "gen"
	HeaderSentNS      = "sent_ns"
	HeaderIngest      = "ingest"
	HeaderSealedNS    = "sealed_ns"   // of sampled batches, as sent_ns: ns since the car's boot
	HeaderDurableNS   = "durable_ns"  // likewise
	HeaderReceivedNS  = "received_ns" // of sampled batches: when ingest had it by its clock, ns since 1970
	HeaderRow         = "row"         // "i/n": place of a row in its batch
	HeaderPart        = "part"        // place of another output in its batch; of a gap, what it says
	HeaderCatalogue   = "catalogue"
	HeaderGroup       = "group"
	HeaderContentType = "content-type"
	HeaderReason      = "reason"
)

// ContentTypeBatch is the content type of outputs that are sealed batches.
const ContentTypeBatch = "application/x-telemetry-batch"

// BatchInfo is what the headers of a batch record say: the batch's identity as
// ingest read it from the envelope, the send header of the copy that was taken,
// and the ingest instance that took it.
type BatchInfo struct {
	ID       wire.ID
	Send     wire.Send
	Instance string
	// ReceivedNS is when ingest had a sampled batch, by its host's clock, ns since 1970;
	// 0: not told.
	ReceivedNS int64
}

// ErrHeaders marks a record of the batches topic whose headers are not ours.
var ErrHeaders = errors.New("topic: not the headers of a batch")

// IDHeaders returns the text headers that name a batch, with room for nine more.
func IDHeaders(id wire.ID) []Header {
	st := id.Stream
	hs := make([]Header, 0, 15)
	add := func(k string, v []byte) { hs = append(hs, Header{k, v}) }
	add(HeaderCar, []byte(st.Car))
	add(HeaderEpoch, strconv.AppendUint(nil, uint64(st.Epoch.Counter), 10))
	add(HeaderNonce, appendNonce(nil, st.Epoch.Nonce))
	add(HeaderLane, []byte(st.Lane.String()))
	if st.Shard != 0 {
		add(HeaderShard, strconv.AppendUint(nil, uint64(st.Shard), 10))
	}
	add(HeaderSeq, strconv.AppendUint(nil, id.Seq, 10))
	return hs
}

// BatchHeaders returns the text headers of one record of the batches topic.
func BatchHeaders(id wire.ID, s wire.Send, instance string) []Header {
	hs := IDHeaders(id)
	add := func(k string, v []byte) { hs = append(hs, Header{k, v}) }
	add(HeaderBase, strconv.AppendUint(nil, s.Base, 10))
	add(HeaderPulled, strconv.AppendBool(nil, s.Pulled))
	add(HeaderLink, strconv.AppendUint(nil, uint64(s.Link), 10))
	add(HeaderGen, strconv.AppendUint(nil, uint64(s.Gen), 10))
	add(HeaderSentNS, strconv.AppendInt(nil, s.SentNS, 10))
	add(HeaderIngest, []byte(instance))
	if s.SealedNS != 0 {
		add(HeaderSealedNS, strconv.AppendInt(nil, s.SealedNS, 10))
		add(HeaderDurableNS, strconv.AppendInt(nil, s.DurableNS, 10))
	}
	return hs
}

// ParseBatchHeaders is the inverse of [BatchHeaders]; unknown headers are
// ignored. The error wraps [ErrHeaders] and names the header at fault.
func ParseBatchHeaders(hs []Header) (BatchInfo, error) {
	var p headerParser
	p.hs = hs
	var b BatchInfo
	b.ID = p.id()
	b.Send.Base = p.uint(HeaderBase, 64)
	b.Send.Link = uint8(p.uint(HeaderLink, 8))
	b.Send.Gen = uint32(p.uint(HeaderGen, 32))
	b.Send.SentNS = p.int(HeaderSentNS)
	b.Send.Pulled = p.bool(HeaderPulled)
	b.Instance = p.text(HeaderIngest)
	b.Send.SealedNS, b.Send.DurableNS = p.optional(HeaderSealedNS), p.optional(HeaderDurableNS)
	b.ReceivedNS = p.optional(HeaderReceivedNS)
	return b, p.err
}

// Identity names one output record for ever: the topic, the batch it came from
// and its place there. It is comparable.
type Identity struct {
	Topic string
	ID    wire.ID
	Place string // the row or part header; "" when the batch makes one record there
}

// String returns "topic|batch|place", unique among identities.
func (i Identity) String() string { return i.Topic + "|" + i.ID.String() + "|" + i.Place }

// OutputIdentity reads the identity of an output record from its headers. It is
// false for a record that carries none: such records are keyed in a compacted
// topic, where writing one again changes nothing.
func OutputIdentity(r *Record) (Identity, bool) {
	p := headerParser{hs: r.Headers}
	id := p.id()
	if p.err != nil {
		return Identity{}, false
	}
	place, ok := r.Get(HeaderRow)
	if !ok {
		place, _ = r.Get(HeaderPart)
	}
	return Identity{Topic: r.Topic, ID: id, Place: place}, true
}

// headerParser reads typed headers and keeps the first fault.
type headerParser struct {
	hs  []Header
	err error
}

func (p *headerParser) id() wire.ID {
	var id wire.ID
	st := &id.Stream
	st.Car = p.text(HeaderCar)
	st.Epoch.Counter = uint32(p.uint(HeaderEpoch, 32))
	st.Epoch.Nonce = p.nonce()
	lane, err := wire.ParseLane(p.text(HeaderLane))
	if err != nil {
		p.fail(HeaderLane, "a lane's name")
	}
	st.Lane = lane
	if _, ok := find(p.hs, HeaderShard); ok {
		st.Shard = uint16(p.uint(HeaderShard, 16))
	}
	id.Seq = p.uint(HeaderSeq, 64)
	if err := wire.ValidCar(st.Car); err != nil {
		p.fail(HeaderCar, "a car's name")
	}
	return id
}

func (p *headerParser) fail(key, want string) {
	if p.err == nil {
		v, ok := find(p.hs, key)
		if !ok {
			p.err = fmt.Errorf("%w: no header %s", ErrHeaders, key)
			return
		}
		p.err = fmt.Errorf("%w: header %s is %.40q (want %s)", ErrHeaders, key, v, want)
	}
}

func (p *headerParser) text(key string) string {
	v, ok := find(p.hs, key)
	if !ok {
		p.fail(key, "text")
	}
	return v
}

func (p *headerParser) uint(key string, bits int) uint64 {
	v, _ := find(p.hs, key)
	n, err := strconv.ParseUint(v, 10, bits)
	if err != nil {
		p.fail(key, fmt.Sprintf("a decimal number of %d bits", bits))
	}
	return n
}

func (p *headerParser) int(key string) int64 {
	v, _ := find(p.hs, key)
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		p.fail(key, "a decimal number of 64 bits")
	}
	return n
}

// optional returns a number that only sampled batches have; 0 without it, or when it
// cannot be read, since nothing rests on it.
func (p *headerParser) optional(key string) int64 {
	s, ok := find(p.hs, key)
	if !ok {
		return 0
	}
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func (p *headerParser) bool(key string) bool {
	v, _ := find(p.hs, key)
	if v != "true" && v != "false" {
		p.fail(key, "true or false")
	}
	return v == "true"
}

func (p *headerParser) nonce() uint64 {
	v, _ := find(p.hs, HeaderNonce)
	n, err := strconv.ParseUint(v, 16, 64)
	if err != nil || len(v) != 16 {
		p.fail(HeaderNonce, "16 hexadecimal digits")
	}
	return n
}

func appendNonce(dst []byte, n uint64) []byte { return fmt.Appendf(dst, "%016x", n) }
