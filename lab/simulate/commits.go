package simulate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// commit checks what a sequencer has written.
func (o *oracle) commit(k *kafkasim.Commit) {
	if len(k.Out) > 0 {
		o.w.tracef("commit by %s of partition %d: %d records, offset %d", k.Process, k.Partition, len(k.Out), k.Offset)
	}
	for i := range k.State {
		if b := k.State[i].Value; string(k.State[i].Key) == sequence.PartitionKey && len(b) > 2 {
			r := bytes.NewReader(b[2:])
			input, err := binary.ReadUvarint(r)
			_, err2 := binary.ReadUvarint(r)
			nowMS, err3 := binary.ReadVarint(r)
			if err != nil || err2 != nil || err3 != nil {
				o.violate("state", "partition %d's own record is unreadable", k.Partition)
			}
			o.input[k.Partition] = int64(input)
			defer o.overdue(k.Partition, int64(input), nowMS)
		}
	}
	o.written = o.written[:0]
	for i := range k.Out {
		if id, ok := topic.OutputIdentity(&k.Out[i]); ok && id.Topic != o.w.names.Late && id.Topic != o.w.names.Pulled {
			o.written = append(o.written, id.ID.Stream)
		}
	}
	for i := range k.Out {
		r := &k.Out[i]
		o.mix(r)
		o.n[strings.TrimPrefix(r.Topic, "telemetry.")]++
		switch r.Topic {
		case o.w.names.Gaps:
			o.gap(r)
		case o.w.names.DeadLetter:
			o.deadLetter(r)
		case o.w.names.Timemap:
		default:
			o.row(r)
		}
	}
}

// row checks one record of samples, live, events, late or pulled.
func (o *oracle) row(r *topic.Record) {
	id, ok := topic.OutputIdentity(r)
	if !ok {
		o.violate("outputs", "a record of %s has no identity", r.Topic)
		return
	}
	if _, twice := o.seen[id]; twice {
		o.violate("once", "%s has %s %s twice", r.Topic, short(id.ID), id.Place)
	}
	o.seen[id] = struct{}{}
	f := o.fact(id.ID)
	o.w.tracef("  %s %s", r.Topic, short(id.ID))
	switch {
	case f.tag == 0:
		o.violate("outputs", "%s has %s, which no source has made", r.Topic, short(id.ID))
	case f.logged == 0:
		o.violate("outputs", "%s has %s, which telemetry.batches does not have", r.Topic, short(id.ID))
	case !strings.HasPrefix(id.Place, "1/1"):
		o.violate("outputs", "%s has %s at %q", r.Topic, short(id.ID), id.Place)
	case !bytes.Contains(r.Value, []byte(`tag":`+strconv.FormatUint(f.tag, 10))) && !bytes.Contains(r.Value, []byte("tag"+strconv.FormatUint(f.tag, 10)+`"`)):
		o.violate("outputs", "%s is not what tag %d was: %s", short(id.ID), f.tag, r.Value)
	}
	switch r.Topic {
	case o.w.names.Pulled:
		f.pulled++
		return
	case o.w.names.Late:
		f.late++
	default:
		f.main++
		o.inOrder(id.ID)
	}
	if f.main+f.late > 1 {
		o.violate("once", "%s is in the main topic %d times and in late %d times", short(id.ID), f.main, f.late)
	}
	if f.missing != "" {
		o.violate("gaps", "%s is written while it is in a gap (%s)", short(id.ID), f.missing)
	}
}

// inOrder checks a lane's main topic: numbers inside a stream ascend, and no epoch
// comes after one that it came before on its card.
func (o *oracle) inOrder(id wire.ID) {
	h := o.history(id.Stream)
	if id.Seq <= h.last {
		o.violate("order", "%s comes after #%d", short(id), h.last)
	}
	h.last = id.Seq
	c := o.cars[id.Stream.Car]
	if c == nil {
		c = &carFact{}
		o.cars[id.Stream.Car] = c
	}
	e := o.epochs[carEpoch{id.Stream.Car, id.Stream.Epoch}]
	last := c.last[id.Stream.Lane]
	if e == nil || e == last {
		return
	}
	for p := last; p != nil; p = p.parent {
		if p.parent == e {
			o.violate("order", "%s comes after epoch %s of the same card", short(id), last.id)
			break
		}
	}
	c.last[id.Stream.Lane] = e
}

// deadLetter notes what could not be used.
func (o *oracle) deadLetter(r *topic.Record) {
	why, _ := r.Get(topic.HeaderReason)
	o.n["dlq "+why]++
	info, err := topic.ParseBatchHeaders(r.Headers)
	o.w.tracef("  %s %s: %s", r.Topic, short(info.ID), why)
	if err != nil {
		return // an operator's record, or not one of ours
	}
	o.fact(info.ID).dead++
	switch why {
	case "crc conflict", "no catalogue", "operator":
	default:
		o.violate("dead letters", "%s is a dead letter: %s", short(info.ID), why)
	}
}

// gapRecord is what the oracle reads of a record of telemetry.gaps.
type gapRecord struct {
	Car     string
	Epoch   uint32
	Nonce   string
	Lane    string
	First   uint64
	Last    uint64
	Change  string
	Reason  string
	Was     string
	AtMS    int64 `json:"at_ms"`
	Details string
}

// gap checks one statement about missing numbers.
func (o *oracle) gap(r *topic.Record) {
	var g gapRecord
	if err := json.Unmarshal(r.Value, &g); err != nil {
		o.violate("gaps", "unreadable: %v", err)
		return
	}
	nonce, err := strconv.ParseUint(g.Nonce, 16, 64)
	lane, err2 := wire.ParseLane(g.Lane)
	if err != nil || err2 != nil || g.First == 0 || g.Last < g.First {
		o.violate("gaps", "impossible: %s", r.Value)
		return
	}
	st := wire.Stream{Car: g.Car, Epoch: wire.Epoch{Counter: g.Epoch, Nonce: nonce}, Lane: lane}
	h := o.history(st)
	o.w.tracef("  gap %s-%d: %s %s", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.Change, g.Reason)
	if o.epochs[carEpoch{st.Car, st.Epoch}] == nil && g.Last < 4 {
		h.high = max(h.high, g.Last) // a start that died before its uplink ran: only its spool knows
	}
	if g.Last > h.high {
		o.violate("gaps", "%s-%d is %s (%s), and only %d were given out", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.Change, g.Reason, h.high)
		return
	}
	if g.Change == "settled" && g.Reason == "gap" {
		o.window(&g, st)
	}
	for seq := g.First; seq <= g.Last; seq++ {
		o.gapOf(&g, o.fact(wire.ID{Stream: st, Seq: seq}))
	}
}

// gapOf moves one number's state, and checks that it may.
func (o *oracle) gapOf(g *gapRecord, f *fact) {
	o.n["gap "+g.Change+" "+g.Reason]++
	if g.Change == "settled" && g.Reason == "epoch" && f.durable && f.id.Stream.Lane != wire.LaneLive && f.card.damaged == 0 && !o.w.copied(f.id.Stream.Car) {
		o.violate("reasons", "%s is settled by the end of its epoch, and was durable", short(f.id))
	}
	switch {
	case g.Change == "settled" && f.missing == "" && f.main+f.late == 0:
		f.missing = g.Reason
	case g.Change == "refined" && f.missing == g.Was && f.missing != "":
		f.missing = g.Reason
	case g.Change == "withdrawn" && f.missing != "":
		f.was, f.missing = f.missing, ""
	default:
		o.violate("gaps", "%s is %s (%s, was %s) while it is missing for %q, in main %d times, in late %d",
			short(f.id), g.Change, g.Reason, g.Was, f.missing, f.main, f.late)
	}
}

// waiting is a batch that its sequencer has read, or will read.
type waiting struct {
	f      *fact
	offset int64
	atMS   int64
	over   int   // commits since its time was over
	since  int64 // virtual time of the first of them
}

// patientCommits and patientNS are how long a batch may still wait in the queue of
// what is decided and not written, after its time is over.
const (
	patientCommits = 8
	patientNS      = 3 * sec
)

// overdue checks that nothing waits for longer than its window and the wait for an
// anchor: its time is the sequencer's, and every batch behind a hole opens it again
// at its own time at the latest.
func (o *oracle) overdue(part int32, input, nowMS int64) {
	p := o.w.plan
	if p.NoWindow {
		return
	}
	limit := (max(p.Window, 250*time.Millisecond) + p.AnchorWait + time.Second).Milliseconds()
	keep := o.waits[part][:0]
	for _, q := range o.waits[part] {
		f := q.f
		if f.main+f.late+f.dead > 0 || f.missing != "" || f.deleted || f.control {
			continue
		}
		if q.offset < input && nowMS-q.atMS > limit {
			if q.over++; q.over == 1 {
				q.since = o.w.now()
			}
			if q.over > patientCommits && o.w.now()-q.since > patientNS {
				o.violate("window", "%s has waited for %d ms of the log's time, the window and the wait for an anchor are %d ms", short(f.id), nowMS-q.atMS, limit)
			}
		}
		keep = append(keep, q)
	}
	o.waits[part] = keep
}

// overtaken reports whether a later start of the same card is in a stream's lane of
// the main topic, with what the commit at hand brings.
func (o *oracle) overtaken(st wire.Stream) bool {
	after := func(e *epochFact) bool {
		for ; e != nil; e = e.parent {
			if e.parent != nil && e.parent.id == st.Epoch {
				return true
			}
		}
		return false
	}
	if c := o.cars[st.Car]; c != nil && after(c.last[st.Lane]) {
		return true
	}
	return slices.ContainsFunc(o.written, func(w wire.Stream) bool {
		return w.Car == st.Car && w.Lane == st.Lane && after(o.epochs[carEpoch{w.Car, w.Epoch}])
	})
}

// window checks that a hole is not given up before its window is over: something
// behind it must have waited for so long.
func (o *oracle) window(g *gapRecord, st wire.Stream) {
	p := o.w.plan
	window := p.Window.Milliseconds()
	switch {
	case o.w.twoCards(st.Car):
		return // another card's epoch may have gone on in this lane: then its turn is over at once
	case o.w.damaged(st.Car) && o.overtaken(st):
		return // all that the lane knew of the epoch was lost: a newer one did not wait for it (rule 11)
	case st.Lane == wire.LaneLive:
		window = 250
	case p.NoWindow:
		o.violate("window", "%s-%d is given up, and the window is none", short(wire.ID{Stream: st, Seq: g.First}), g.Last)
		return
	}
	for _, l := range o.log[laneKey{st.Car, st.Lane}] {
		behind := l.id.Stream == st && l.id.Seq > g.Last || l.id.Stream.Epoch != st.Epoch
		if behind && l.atMS+window <= g.AtMS {
			return
		}
	}
	o.violate("window", "%s-%d is given up at %d ms, and nothing behind it has waited for %d ms", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.AtMS, window)
}
