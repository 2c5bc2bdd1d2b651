package sequence

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// The records that no format decides: gaps, time maps, dead letters. They are
// rare, so they are written plainly.

// gapRecord is the value of a record in telemetry.gaps: something about the
// numbers First to Last of one stream. Within a car at_ms never goes back, and of
// two records about a number the later one holds.
type gapRecord struct {
	Car     string `json:"car"`
	Epoch   uint32 `json:"epoch"`
	Nonce   string `json:"nonce"`
	Lane    string `json:"lane"`
	Shard   uint16 `json:"shard,omitempty"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Count   uint64 `json:"count"`
	Change  string `json:"change"` // "settled", "refined", "withdrawn"
	Reason  string `json:"reason"` // "none" after a withdrawal
	Was     string `json:"was,omitempty"`
	AtMS    int64  `json:"at_ms"`            // the sequencer's time
	Offset  *int64 `json:"offset,omitempty"` // of the batch, when it is in telemetry.batches but of no use
	Details string `json:"details,omitempty"`
}

// gap writes a record to telemetry.gaps. Its place is all that it says of its first
// number, so that an owner whose predecessor died inside of a commit does not say it
// again.
func (p *Partition) gap(id wire.ID, last uint64, change reorder.GapChange, reason string, was wire.Reason, offset *int64, details string) {
	st := id.Stream
	if !p.cfg.takes(st.Lane) {
		return // another output tells
	}
	g := gapRecord{
		Car: st.Car, Epoch: st.Epoch.Counter, Nonce: nonce(st.Epoch), Lane: st.Lane.String(), Shard: st.Shard,
		First: id.Seq, Last: last, Count: last - id.Seq + 1,
		Change: change.String(), Reason: reason, AtMS: p.nowMS, Offset: offset, Details: details,
	}
	if was != wire.ReasonNone {
		g.Was = was.String()
	}
	key := fmt.Sprintf("%s/%d/%s/%s/%d", st.Car, st.Epoch.Counter, g.Nonce, g.Lane, id.Seq)
	if st.Shard != 0 {
		key = fmt.Sprintf("%s/%d/%s/%s.%d/%d", st.Car, st.Epoch.Counter, g.Nonce, g.Lane, st.Shard, id.Seq)
	}
	p.add(topic.Record{
		Topic: p.cfg.Topics.Gaps, Partition: -1, Key: []byte(key), Value: encode(g), TimestampMS: p.nowMS,
		Headers: append(topic.IDHeaders(id),
			topic.Header{Key: topic.HeaderPart, Value: fmt.Appendf(nil, "%s/%d/%s/%s", g.Change, last, g.Reason, g.Was)},
			topic.Header{Key: topic.HeaderReason, Value: []byte(g.Reason)},
			topic.Header{Key: topic.HeaderContentType, Value: []byte("application/json")},
		),
	})
}

// timemapRecord is the value of a record in telemetry.timemap: one anchor and the
// bend of the epoch's map that it gave. All records of an epoch together are its
// map.
type timemapRecord struct {
	Car      string       `json:"car"`
	Epoch    uint32       `json:"epoch"`
	Nonce    string       `json:"nonce"`
	Anchor   anchorRecord `json:"anchor"`
	Verdict  string       `json:"verdict"` // "first", "kept", "slewed", "stepped"
	SlewPPM  int          `json:"slew_ppm"`
	DriftPPM int          `json:"drift_ppm"`
	Segment  knotRecord   `json:"segment"`
	// Unsynced, of a first anchor, says what was written before it was read; absent when
	// that is nothing.
	Unsynced *timemap.Before `json:"unsynced,omitempty"`
}

type anchorRecord struct {
	ID     uint32 `json:"id"`
	BootNS int64  `json:"boot_ns"`
	UTCNS  int64  `json:"utc_ns"`
	UncNS  int64  `json:"unc_ns"`
	Source string `json:"source"`
}

// knotRecord: from from_boot_ns on, UTC − boot is offset_ns and moves to
// target_ns by slew_ppm.
type knotRecord struct {
	Segment      uint32 `json:"segment"`
	FromBootNS   int64  `json:"from_boot_ns"`
	OffsetNS     int64  `json:"offset_ns"`
	TargetNS     int64  `json:"target_ns"`
	UncNS        int64  `json:"unc_ns"`
	Anchor       uint32 `json:"anchor"`
	AnchorBootNS int64  `json:"anchor_boot_ns"`
}

// before returns what was written of an epoch before its first anchor, which is
// decision i: what has left, but for what leaves by the decisions behind.
func (p *Partition) before(c *car, i int) *timemap.Before {
	var b timemap.Before
	c.core.Left(p.decided.Decisions[i].ID.Stream.Epoch, func(st wire.Stream, left wire.Ranges) {
		for _, d := range p.decided.Decisions[i:] {
			if (d.Kind == reorder.KindRelease || d.Kind == reorder.KindLate) && d.ID.Stream == st {
				left = left.Remove(d.ID.Seq, d.ID.Seq)
			}
		}
		b.Add(&st, left)
	})
	if len(b.Streams) == 0 {
		return nil
	}
	return &b
}

// timemap writes the map of an epoch after an anchor, which is decision i.
func (p *Partition) timemap(c *car, i int, v timemap.Verdict) {
	if p.cfg.Topics.Timemap == "" {
		return
	}
	e, a := p.decided.Decisions[i].ID.Stream.Epoch, p.decided.Decisions[i].Anchor
	t := timemapRecord{
		Car: c.name, Epoch: e.Counter, Nonce: nonce(e), Verdict: v.String(),
		Anchor:  anchorRecord{a.ID, a.BootNS, a.UTCNS, a.UncertaintyNS, a.Source.String()},
		SlewPPM: timemap.SlewPPM, DriftPPM: timemap.DriftPPM,
	}
	ks := c.maps.Map(e).Knots()
	k := ks[len(ks)-1]
	t.Segment = knotRecord{k.Segment, k.BootNS, k.OffsetNS, k.TargetNS, k.UncNS, k.Anchor, k.AnchorBootNS}
	if v == timemap.First {
		t.Unsynced = p.before(c, i)
	}
	p.add(topic.Record{
		Topic: p.cfg.Topics.Timemap, Partition: -1, Key: []byte(fmt.Sprintf("%s/%s/%d", c.name, e, a.ID)), Value: encode(t),
		TimestampMS: p.nowMS,
		Headers: []topic.Header{
			{Key: topic.HeaderCar, Value: []byte(c.name)},
			{Key: topic.HeaderEpoch, Value: strconv.AppendUint(nil, uint64(e.Counter), 10)},
			{Key: topic.HeaderNonce, Value: []byte(t.Nonce)},
			{Key: topic.HeaderContentType, Value: []byte("application/json")},
		},
	})
}

// Headers of dead letters, beside those of the record itself.
const (
	headerSourcePartition = "source_partition"
	headerSourceOffset    = "source_offset"
	headerDetails         = "details"
	headerTruncated       = "truncated"
)

// Limits on what a dead letter repeats, so that garbage can't make a record that
// no broker takes.
const (
	maxLetterHeaders = 32
	maxLetterText    = 256 // bytes of one header
	maxLetterKey     = 1024
)

// deadLetter writes a record of the input to the dead-letter topic, as it was.
func (p *Partition) deadLetter(offset int64, h *held, reason, details string) {
	hs := make([]topic.Header, 0, len(h.headers)+6)
	for i := range min(len(h.headers), maxLetterHeaders) {
		hs = append(hs, topic.Header{Key: text(h.headers[i].Key), Value: []byte(text(string(h.headers[i].Value)))})
	}
	add := func(k, v string) { hs = append(hs, topic.Header{Key: k, Value: []byte(v)}) }
	add(topic.HeaderReason, reason)
	if details != "" {
		add(headerDetails, text(details))
	}
	add(headerSourcePartition, strconv.Itoa(int(p.number)))
	add(headerSourceOffset, strconv.FormatInt(offset, 10))
	add(topic.HeaderPart, strconv.FormatInt(offset, 10))
	value, key := h.value, h.key
	if len(value) > MaxValueBytes {
		add(headerTruncated, strconv.Itoa(len(value)))
		value = value[:MaxValueBytes]
	}
	if len(key) > maxLetterKey {
		key = key[:maxLetterKey]
	}
	p.add(topic.Record{
		Topic: p.cfg.Topics.DeadLetter, Partition: -1, Key: key, Value: value, Headers: hs, TimestampMS: h.appendMS,
	})
}

// text makes a short header value that every client can decode.
func text(s string) string {
	if len(s) > maxLetterText {
		s = s[:maxLetterText]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func nonce(e wire.Epoch) string { return fmt.Sprintf("%016x", e.Nonce) }

// encode marshals one of the structures above, which have nothing that JSON
// can't hold.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sequence: internal error: " + err.Error())
	}
	return b
}
