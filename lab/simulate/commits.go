package simulate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/lab/simulate/kafkasim"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// outcome is one output: what its sequencers have made of everything.
type outcome struct {
	*oracle
	kafka    *kafkasim.Cluster
	names    topic.Names
	no       int
	sealed   bool          // its rows are the batches as they were sealed
	wait     time.Duration // its window
	noWindow bool

	cars    map[string]*carFact
	seen    map[topic.Identity]struct{}
	waits   map[int32][]waiting
	input   map[int32]int64 // by partition: offset up to which its owner has read, as committed
	written []wire.Stream   // in main topics by the commit at hand
}

func newOutcome(o *oracle, kafka *kafkasim.Cluster, names topic.Names) *outcome {
	return &outcome{
		oracle: o, kafka: kafka, names: names, wait: o.w.plan.Window, noWindow: o.w.plan.NoWindow,
		cars: map[string]*carFact{}, seen: map[topic.Identity]struct{}{}, waits: map[int32][]waiting{}, input: map[int32]int64{},
	}
}

// suffix tells an output in names; the first one has none.
func (x *outcome) suffix() string {
	if x.no == 0 {
		return ""
	}
	return fmt.Sprint("/out", x.no)
}

// commit checks what a sequencer has written.
func (x *outcome) commit(k *kafkasim.Commit) {
	if len(k.Out) > 0 {
		x.w.tracef("commit by %s of partition %d: %d records, offset %d", k.Process, k.Partition, len(k.Out), k.Offset)
	}
	for i := range k.State {
		if b := k.State[i].Value; string(k.State[i].Key) == sequence.PartitionKey && len(b) > 2 {
			r := bytes.NewReader(b[2:])
			input, err := binary.ReadUvarint(r)
			_, err2 := binary.ReadUvarint(r)
			nowMS, err3 := binary.ReadVarint(r)
			if err != nil || err2 != nil || err3 != nil {
				x.violate("state", "partition %d's own record is unreadable", k.Partition)
			}
			x.input[k.Partition] = int64(input)
			defer x.overdue(k.Partition, int64(input), nowMS)
		}
	}
	x.written = x.written[:0]
	for i := range k.Out {
		if id, ok := topic.OutputIdentity(&k.Out[i]); ok && id.Topic != x.names.Late && id.Topic != x.names.Pulled {
			x.written = append(x.written, id.ID.Stream)
		}
	}
	for i := range k.Out {
		r := &k.Out[i]
		x.mix(r)
		x.n[strings.TrimPrefix(r.Topic, "telemetry.")]++
		switch r.Topic {
		case x.names.Gaps:
			x.gap(r)
		case x.names.DeadLetter:
			x.deadLetter(r)
		case x.names.Timemap:
		default:
			x.row(r)
		}
	}
}

// row checks one record of samples, live, events, late or pulled.
func (x *outcome) row(r *topic.Record) {
	id, ok := topic.OutputIdentity(r)
	if !ok {
		x.violate("outputs", "a record of %s has no identity", r.Topic)
		return
	}
	if _, twice := x.seen[id]; twice {
		x.violate("once", "%s has %s %s twice", r.Topic, short(id.ID), id.Place)
	}
	x.seen[id] = struct{}{}
	f := x.fact(id.ID)
	v := x.of(f)
	x.w.tracef("  %s %s", r.Topic, short(id.ID))
	if f.logged == 0 {
		x.violate("outputs", "%s has %s, which telemetry.batches does not have", r.Topic, short(id.ID))
	}
	if x.sealed && r.Topic != x.names.Events {
		if id.Place != sequence.PlaceBatch || !f.forged && sum(r.Value) != f.sum {
			x.violate("outputs", "%s has something else than the batch %s at %q", r.Topic, short(id.ID), id.Place)
		}
	} else if !x.content(r, f, id.Place) {
		return
	}
	switch {
	case x.sealed && r.Topic == x.names.Events:
		v.events++
		return
	case r.Topic == x.names.Pulled:
		v.pulled++
		return
	case r.Topic == x.names.Late:
		v.late++
	default:
		v.main++
		x.inOrder(id.ID)
	}
	if v.main+v.late > 1 {
		x.violate("once", "%s is in the main topic %d times and in late %d times", short(id.ID), v.main, v.late)
	}
	if v.missing != "" {
		x.violate("gaps", "%s is written while it is in a gap (%s)", short(id.ID), v.missing)
	}
}

// content checks that a row is what its source has made.
func (x *outcome) content(r *topic.Record, f *fact, place string) bool {
	tag := strconv.FormatUint(f.tag, 10)
	switch {
	case f.tag == 0:
		x.violate("outputs", "%s has %s, which no source has made", r.Topic, short(f.id))
	case !strings.HasPrefix(place, "1/1"):
		x.violate("outputs", "%s has %s at %q", r.Topic, short(f.id), place)
	case !bytes.Contains(r.Value, []byte(`tag":`+tag)) && !bytes.Contains(r.Value, []byte("tag"+tag+`"`)):
		x.violate("outputs", "%s is not what tag %d was: %s", short(f.id), f.tag, r.Value)
	default:
		return true
	}
	return false
}

func sum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// of is what the output has made of a batch.
func (x *outcome) of(f *fact) *verdict { return &f.of[x.no] }

// inOrder checks a lane's main topic: numbers inside a stream ascend, and no epoch
// comes after one that it came before on its card.
func (x *outcome) inOrder(id wire.ID) {
	h := x.history(id.Stream)
	if id.Seq <= h.last[x.no] {
		x.violate("order", "%s comes after #%d", short(id), h.last[x.no])
	}
	h.last[x.no] = id.Seq
	c := x.cars[id.Stream.Car]
	if c == nil {
		c = &carFact{}
		x.cars[id.Stream.Car] = c
	}
	e := x.epochs[carEpoch{id.Stream.Car, id.Stream.Epoch}]
	last := c.last[id.Stream.Lane]
	if e == nil || e == last {
		return
	}
	for p := last; p != nil; p = p.parent {
		if p.parent == e && !x.bySight(e, last) {
			x.violate("order", "%s comes after epoch %s of the same card", short(id), last.id)
			break
		}
	}
	c.last[id.Stream.Lane] = e
}

// bySight reports whether first sight is all that tells the order of two epochs of one
// card: the log has the EpochOpen of neither, and another card's epoch, whose place is
// known, stands between their counters. Then the newer one may be that card's next
// start, and the older one the first of a card that counts anew: rule 9 has whichever
// was seen first come first.
func (x *outcome) bySight(older, newer *epochFact) bool {
	if x.told(older) || x.told(newer) {
		return false
	}
	for _, k := range x.epochs {
		if k.card.car == older.card.car && k.card != older.card && older.id.Counter <= k.id.Counter && k.id.Counter < newer.id.Counter && x.told(k) {
			return true
		}
	}
	return false
}

// told reports whether the log has something that tells an epoch's place: its EpochOpen,
// or one that names it.
func (x *outcome) told(e *epochFact) bool {
	for _, o := range x.epochs {
		if f := x.facts[o.opening]; f != nil && f.logged > 0 && o.card.car == e.card.car && (o == e || slices.Contains(o.names, e.id)) {
			return true
		}
	}
	return false
}

// deadLetter notes what could not be used.
func (x *outcome) deadLetter(r *topic.Record) {
	why, _ := r.Get(topic.HeaderReason)
	x.n["dlq "+why]++
	info, err := topic.ParseBatchHeaders(r.Headers)
	x.w.tracef("  %s %s: %s", r.Topic, short(info.ID), why)
	if err != nil {
		return // an operator's record, or not one of ours
	}
	x.of(x.fact(info.ID)).dead++
	switch why {
	case "crc conflict", "no catalogue", "operator":
	default:
		x.violate("dead letters", "%s is a dead letter: %s", short(info.ID), why)
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
func (x *outcome) gap(r *topic.Record) {
	var g gapRecord
	if err := json.Unmarshal(r.Value, &g); err != nil {
		x.violate("gaps", "unreadable: %v", err)
		return
	}
	nonce, err := strconv.ParseUint(g.Nonce, 16, 64)
	lane, err2 := wire.ParseLane(g.Lane)
	if err != nil || err2 != nil || g.First == 0 || g.Last < g.First {
		x.violate("gaps", "impossible: %s", r.Value)
		return
	}
	st := wire.Stream{Car: g.Car, Epoch: wire.Epoch{Counter: g.Epoch, Nonce: nonce}, Lane: lane}
	h := x.history(st)
	x.w.tracef("  gap %s-%d: %s %s", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.Change, g.Reason)
	if x.epochs[carEpoch{st.Car, st.Epoch}] == nil && g.Last < 4 {
		h.high = max(h.high, g.Last) // a start that died before its uplink ran: only its spool knows
	}
	if g.Last > h.high {
		x.violate("gaps", "%s-%d is %s (%s), and only %d were given out", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.Change, g.Reason, h.high)
		return
	}
	if g.Change == "settled" && g.Reason == "gap" {
		x.kept(&g, st)
	}
	for seq := g.First; seq <= g.Last; seq++ {
		x.gapOf(&g, x.fact(wire.ID{Stream: st, Seq: seq}))
	}
}

// gapOf moves one number's state, and checks that it may.
func (x *outcome) gapOf(g *gapRecord, f *fact) {
	x.n["gap "+g.Change+" "+g.Reason]++
	if g.Change == "settled" && g.Reason == "epoch" && f.durable && f.id.Stream.Lane != wire.LaneLive && !f.hurt && !x.forked(f) {
		x.violate("reasons", "%s is settled by the end of its epoch, and was durable", short(f.id))
	}
	v := x.of(f)
	switch {
	case g.Change == "settled" && v.missing == "" && v.main+v.late == 0:
		v.missing = g.Reason
	case g.Change == "refined" && v.missing == g.Was && v.missing != "":
		v.missing = g.Reason
	case g.Change == "withdrawn" && v.missing != "":
		v.missing = ""
	default:
		x.violate("gaps", "%s is %s (%s, was %s) while it is missing for %q, in main %d times, in late %d",
			short(f.id), g.Change, g.Reason, g.Was, v.missing, v.main, v.late)
	}
}

// waiting is a batch that its sequencer has read, or will read.
type waiting struct {
	f      *fact
	offset int64 // of what makes its time run, itself or, if it was pulled forward, the first one behind it that wasn't; -1: none yet
	atMS   int64 // of that
	over   int   // commits since its time was over
	since  int64 // virtual time of the first of them
}

// patientCommits and patientNS are how long a batch may still wait in the queue of
// what is decided and not written, after its time is over.
const (
	patientCommits = 8
	patientNS      = 3 * sec
)

// reads notes a record of telemetry.batches whose time will run: its own, and that of
// what was pulled forward and stands before it. first: it is its batch's first one.
func (x *outcome) reads(f *fact, r *topic.Record, pulled, first bool) {
	at := max(x.peakMS, r.TimestampMS) // the log's time never goes back for who reads it
	if !pulled {
		for i := range x.waits[r.Partition] {
			q := &x.waits[r.Partition][i]
			if q.offset < 0 && q.f.id.Stream == f.id.Stream && q.f.id.Seq < f.id.Seq {
				q.offset, q.atMS = r.Offset, at
			}
		}
	}
	if !first {
		return
	}
	q := waiting{f: f, offset: r.Offset, atMS: at}
	if pulled {
		q.offset = -1
	}
	x.waits[r.Partition] = append(x.waits[r.Partition], q)
}

// overdue checks that nothing waits for longer than its window and the wait for an
// anchor: its time is the sequencer's, and every batch behind a hole opens it again
// at its own time at the latest.
func (x *outcome) overdue(part int32, input, nowMS int64) {
	if x.noWindow {
		return
	}
	limit := (max(x.wait, 250*time.Millisecond) + x.w.plan.AnchorWait + time.Second).Milliseconds()
	keep := x.waits[part][:0]
	for _, q := range x.waits[part] {
		f, v := q.f, x.of(q.f)
		if v.main+v.late+v.dead > 0 || v.missing != "" || f.deleted || f.control && !x.sealed {
			continue
		}
		if q.offset >= 0 && q.offset < input && nowMS-q.atMS > limit {
			if q.over++; q.over == 1 {
				q.since = x.w.now()
			}
			if q.over > patientCommits && x.w.now()-q.since > patientNS {
				x.violate("window", "%s has waited for %d ms of the log's time, the window and the wait for an anchor are %d ms", short(f.id), nowMS-q.atMS, limit)
			}
		}
		keep = append(keep, q)
	}
	x.waits[part] = keep
}

// overtaken reports whether a later start of the same card is in a stream's lane of
// the main topic, with what the commit at hand brings.
func (x *outcome) overtaken(st wire.Stream) bool {
	after := func(e *epochFact) bool {
		for ; e != nil; e = e.parent {
			if e.parent != nil && e.parent.id == st.Epoch {
				return true
			}
		}
		return false
	}
	if c := x.cars[st.Car]; c != nil && after(c.last[st.Lane]) {
		return true
	}
	return slices.ContainsFunc(x.written, func(w wire.Stream) bool {
		return w.Car == st.Car && w.Lane == st.Lane && after(x.epochs[carEpoch{w.Car, w.Epoch}])
	})
}

// allHurt reports whether all of some numbers were in chunks that were damaged.
func (x *outcome) allHurt(st wire.Stream, first, last uint64) bool {
	for seq := first; seq <= last; seq++ {
		if f := x.facts[wire.ID{Stream: st, Seq: seq}]; f == nil || !f.hurt {
			return false
		}
	}
	return true
}

// otherCard reports whether the log had something of another card of the car, or of a
// copy of this one, in a stream's lane at a time of the log.
func (x *outcome) otherCard(st wire.Stream, atMS int64) bool {
	e := x.epochs[carEpoch{st.Car, st.Epoch}]
	return slices.ContainsFunc(x.log[laneKey{st.Car, st.Lane}], func(l logged) bool {
		if l.id.Stream.Epoch == st.Epoch || l.atMS > atMS {
			return false
		}
		other := x.epochs[carEpoch{st.Car, l.id.Stream.Epoch}]
		return e == nil || other == nil || other.card != e.card
	})
}

// forked reports whether an epoch of another card than the one that has a batch names
// the batch's epoch as its predecessor: then it settles what it does not have.
func (o *oracle) forked(f *fact) bool {
	for k, e := range o.epochs {
		if k.car == f.id.Stream.Car && e.card != f.card && slices.Contains(e.names, f.id.Stream.Epoch) {
			return true
		}
	}
	return false
}

// kept checks that a hole is not given up before its window is over: something
// behind it must have waited for so long.
func (x *outcome) kept(g *gapRecord, st wire.Stream) {
	window := x.wait.Milliseconds()
	switch {
	case x.w.twoCards(st.Car) && x.otherCard(st, g.AtMS):
		return // another card's epoch has gone on in this lane: then its turn is over at once
	case x.overtaken(st) && x.allHurt(st, g.First, g.Last):
		return // all that the lane knew of the epoch was lost: a newer one did not wait for it (rule 11)
	case st.Lane == wire.LaneLive:
		window = 250
	case x.noWindow:
		x.violate("window", "%s-%d is given up, and the window is none", short(wire.ID{Stream: st, Seq: g.First}), g.Last)
		return
	}
	for _, l := range x.log[laneKey{st.Car, st.Lane}] {
		behind := l.id.Stream == st && l.id.Seq > g.Last || l.id.Stream.Epoch != st.Epoch
		if behind && l.atMS+window <= g.AtMS {
			return
		}
	}
	x.violate("window", "%s-%d is given up at %d ms, and nothing behind it has waited for %d ms", short(wire.ID{Stream: st, Seq: g.First}), g.Last, g.AtMS, window)
}
