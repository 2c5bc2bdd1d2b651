package simulate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// oracle knows what every car has handed to its spool and what became of it, and
// says what must not be. It is owned by the loop.
type oracle struct {
	w          *world
	violations []string
	facts      map[wire.ID]*fact
	streams    map[wire.Stream]*history
	epochs     map[carEpoch]*epochFact
	log        map[laneKey][]logged
	outs       []*outcome
	opener     wire.Opener
	digest     uint64
	peakMS     int64 // the brokers' clock before its jumps: the greatest time that a record may have
	n          map[string]int
	samples    int
}

// fact is one batch.
type fact struct {
	id       wire.ID
	tag      uint64 // of our source; 0: a control record of the spool
	control  bool
	durable  bool // the spool has shown it, or has said so when it ended
	read     int
	sealedNS int64 // of the box's boot clock; of a preview
	logged   int   // records in telemetry.batches
	of       [2]verdict
	box      *box
	card     *card  // that it was made on
	deleted  bool   // its record was deleted by retention
	sum      uint32 // of its first record
	hurt     bool   // it was in a chunk that was damaged, or named by a loss record there
	forged   bool   // another payload was sent under its name
	refused  bool   // Kafka has said that it can never take it
}

// verdict is what became of a batch in one output.
type verdict struct {
	main    int
	late    int
	pulled  int
	dead    int
	events  int    // records of its events, where batches are sealed
	missing string // reason of the gap that it is in; "": in none
}

// history is one stream.
type history struct {
	id   wire.Stream
	high uint64    // highest number that was given out
	top  uint64    // highest number in telemetry.batches
	last [2]uint64 // last one in the main topic, by output
}

type carEpoch struct {
	car   string
	epoch wire.Epoch
}

// epochFact is one start of a car's agent.
type epochFact struct {
	parent  *epochFact // the start before it on the same card
	id      wire.Epoch
	card    *card
	opening wire.ID      // the batch with its EpochOpen, once it was sent
	names   []wire.Epoch // its predecessors, by that
}

type carFact struct {
	last [wire.LaneFull + 1]*epochFact // that was last seen in the lane's main topic
}

type laneKey struct {
	car  string
	lane wire.Lane
}

// logged is one record of telemetry.batches that can open a hole.
type logged struct {
	id   wire.ID
	atMS int64
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, facts: map[wire.ID]*fact{}, streams: map[wire.Stream]*history{}, epochs: map[carEpoch]*epochFact{},
		log: map[laneKey][]logged{}, n: map[string]int{},
	}
}

// maxViolations bounds what one run reports.
const maxViolations = 8

// violate notes that an invariant does not hold.
func (o *oracle) violate(rule, format string, args ...any) {
	if len(o.violations) >= maxViolations {
		return
	}
	v := rule + ": " + fmt.Sprintf(format, args...)
	o.w.tracef("VIOLATION %s", v)
	o.violations = append(o.violations, v)
}

func (o *oracle) stats() map[string]int { return maps.Clone(o.n) }

func (o *oracle) fact(id wire.ID) *fact {
	f := o.facts[id]
	if f == nil {
		f = &fact{id: id}
		o.facts[id] = f
	}
	return f
}

func (o *oracle) history(st wire.Stream) *history {
	h := o.streams[st]
	if h == nil {
		h = &history{id: st}
		o.streams[st] = h
	}
	return h
}

// opened notes a new epoch of a box.
func (o *oracle) opened(b *box, e wire.Epoch) {
	k := carEpoch{b.car, e}
	if o.epochs[k] != nil {
		o.violate("epoch", "%s opens %s, which was open before", b, e)
	}
	o.epochs[k] = &epochFact{parent: b.lastEpoch, id: e, card: b.card}
	b.lastEpoch = o.epochs[k]
}

// appended notes what the spool has taken.
func (o *oracle) appended(b *box, j *job) {
	if j.err != nil {
		o.n["not taken"]++
		return
	}
	f := o.fact(j.id)
	if f.tag != 0 {
		o.violate("numbers", "%s: %s is given out twice", b, short(j.id))
	}
	f.tag, f.control, f.box, f.card = j.tag, j.body.Control, b, b.card
	if j.id.Stream.Lane != wire.LaneLive {
		b.life.made[j.id] = true
	}
	h := o.history(j.id.Stream)
	h.high = max(h.high, j.id.Seq)
	o.n["appended"]++
}

// visible notes that the spool shows a batch: in critical and full it is durable.
func (o *oracle) visible(b *box, it *wire.Item) {
	f := o.fact(it.ID)
	if f.durable {
		return
	}
	f.durable, f.sealedNS = true, it.SealedNS
	if f.box == nil {
		f.box, f.card, f.control = b, b.card, it.Control
		h := o.history(it.ID.Stream)
		h.high = max(h.high, it.ID.Seq)
		if !it.Control {
			o.violate("numbers", "%s shows %s, which nobody gave it", b, short(it.ID))
		}
	}
}

// dying looks at everything that a life shows, for the last time.
func (o *oracle) dying(b *box) {
	l := b.life
	if !l.ready {
		return
	}
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		var after wire.ID
		for {
			it, ok := l.sp.Next(lane, after)
			if !ok {
				break
			}
			o.visible(b, &it)
			after = it.ID
		}
	}
}

// read checks a batch when it is bound to a connection: message is a send header and
// what the spool has given.
func (o *oracle) read(l *life, id wire.ID, message []byte) {
	send, n, err := wire.ParseSend(message)
	if err != nil {
		o.violate("uplink", "%s: the send header of %s: %v", l.b, short(id), err)
		return
	}
	f := o.fact(id)
	if f.read++; f.read == 1 && f.control {
		o.statement(l, id, message[n:])
	}
	l.seen[id] = true
	if send.Base > id.Seq || send.Base == 0 {
		o.violate("rule 2", "%s sends %s with base %d", l.b, short(id), send.Base)
	}
	if now := o.w.now(); l.told > 0 && now > l.told+l.grace() {
		o.violate("stop", "%s sends %s, and was told to end %d us ago", l.b, short(id), (now-l.told)/1000)
	}
	if send.Pulled {
		o.w.happened(KindPull)
	}
	if id.Stream.Lane == wire.LaneLive {
		if age := l.b.BootNS() - f.sealedNS; age > int64(previewAge) {
			o.violate("fresh first", "%s sends the preview %s, which is %d ms old", l.b, short(id), age/ms)
		}
		return
	}
	if it, ok := l.sp.Next(id.Stream.Lane, wire.ID{Stream: id.Stream}); ok && it.ID.Stream == id.Stream && it.ID.Seq < send.Base {
		o.violate("rule 2", "%s sends %s with base %d while %s is pending", l.b, short(id), send.Base, short(it.ID))
	}
	if !f.durable {
		o.violate("durable first", "%s sends %s, which is not durable", l.b, short(id))
	}
	if id.Stream.Lane == wire.LaneFull {
		o.fresh(l, int(send.Link), id)
	}
}

// previewAge is the protocol's: an older preview is superseded.
const previewAge = 2 * time.Second

// grace is how long an uplink that was told to end may be in the middle of a step:
// it reads its clock twice before.
func (l *life) grace() int64 {
	if l.told < l.b.starved.Load()+2*starvedNS {
		return 2*starvedNS + ms
	}
	return ms
}

// sent checks a message when it is given to a connection.
func (o *oracle) sent(l *life, c *conn, name string, payload []byte) {
	send, n, err := wire.ParseSend(payload)
	if err != nil {
		return // an answer or a part of a catalogue
	}
	h, err := wire.ParseHeader(payload[n:])
	if err != nil {
		o.violate("uplink", "%s sends something unreadable on %s: %v", l.b, name, err)
		return
	}
	id := h.ID()
	o.w.tracef("%s sends %s on link %d base %d", l.b, short(id), c.k.no, send.Base)
	o.n["sent"]++
	if name != "tele/"+l.b.car+"/"+id.Stream.Lane.String() || id.Stream.Car != l.b.car {
		o.violate("uplink", "%s sends %s on %s", l.b, short(id), name)
	}
	if !l.seen[id] || int(send.Link) != c.k.no || send.Gen != c.gen {
		o.violate("uplink", "%s sends %s, made for link %d gen %d, on link %d gen %d", l.b, short(id), send.Link, send.Gen, c.k.no, c.gen)
	}
}

// dials checks that a link that fails is left alone for a while: each dial that has
// failed doubles the time until the next one, up to some seconds.
func (o *oracle) dials(l *life, k *link) {
	now := o.w.now()
	if k.dialled != l {
		k.dialled, k.fails = l, 0
	}
	if least := min(150*ms<<min(k.fails, 6), 8*sec) / 2; k.fails > 0 && now-k.dialAt < least-ms {
		o.violate("backoff", "%s dials link %d %d ms after the last time, and %d dials have failed", l.b, k.no, (now-k.dialAt)/ms, k.fails)
	}
	k.dialAt = now
}

// dialed notes the end of a dial or of a connection.
func (o *oracle) dialed(k *link, err error) {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		k.fails = 0
	default:
		o.w.happened(KindDialFailed)
		k.fails++
	}
}

// saved notes that a life has ended in good order: whatever its source has made is
// durable.
func (o *oracle) saved(l *life, err error) {
	if err != nil {
		return
	}
	for id := range l.made {
		o.facts[id].durable = true
	}
}

// statement checks that what a car says of its losses is true.
func (o *oracle) statement(l *life, id wire.ID, sealed []byte) {
	b, _, err := wire.Parse(sealed)
	if err != nil {
		return // damaged on the card; the receiver finds out
	}
	payload, err := o.opener.Payload(b)
	if err != nil {
		return
	}
	controls, err := wire.Controls(payload)
	if err != nil {
		o.violate("uplink", "%s says something unreadable in %s: %v", l.b, short(id), err)
	}
	for _, c := range controls {
		if e := o.epochs[carEpoch{l.b.car, id.Stream.Epoch}]; c.EpochOpen != nil && e != nil {
			e.opening = id
			for _, p := range c.EpochOpen.Predecessors {
				e.names = append(e.names, p.Epoch)
			}
		}
		if c.Loss == nil || c.Loss.Reason != wire.ReasonCorrupt {
			continue
		}
		for _, r := range c.Loss.Ranges {
			for seq := r.First; seq <= r.Last; seq++ {
				st := wire.Stream{Car: l.b.car, Epoch: c.Loss.Epoch, Lane: c.Loss.Lane, Shard: c.Loss.Shard}
				if f := o.facts[wire.ID{Stream: st, Seq: seq}]; f != nil && f.durable && !f.hurt && !(f.logged > 0 && l.b.card.noCursor) {
					o.violate("reasons", "%s says that %s is corrupt, it was durable, and was never damaged", l.b, short(f.id))
					return
				}
			}
		}
	}
}

// due notes the critical batches that the spool of l shows before a step of its
// uplink: what appears while the step lasts is for the next one.
func (o *oracle) due(l *life) {
	for {
		it, ok := l.sp.Next(wire.LaneCritical, l.newest)
		if !ok {
			return
		}
		l.due[it.ID], l.newest = true, it.ID
	}
}

// fresh checks that no critical batch waits while a full one goes.
func (o *oracle) fresh(l *life, link int, full wire.ID) {
	var after wire.ID
	for {
		it, ok := l.sp.Next(wire.LaneCritical, after)
		if !ok {
			return
		}
		if l.due[it.ID] && !l.seen[it.ID] {
			o.violate("fresh first", "%s sends %s on link %d while %s was never sent", l.b, short(full), link, short(it.ID))
			return
		}
		after = it.ID
	}
}

// settle checks that what is settled is in Kafka.
func (o *oracle) settle(b *box, st wire.Stream, durable wire.Ranges) {
	for _, r := range durable {
		for seq := r.First; seq <= r.Last; seq++ {
			id := wire.ID{Stream: st, Seq: seq}
			if f := o.facts[id]; f == nil || f.logged == 0 {
				o.violate("acks", "%s is told that %s is durable, and Kafka does not have it", b, short(id))
				return
			}
		}
	}
}

// append writes a record to Kafka and notes it.
func (o *oracle) append(rec topic.Record) {
	r, err := o.w.kafka.Append(rec)
	if err != nil {
		o.violate("kafka", "record of %s: %v", rec.Topic, err)
		return
	}
	if r.Topic != o.w.names.Batches {
		return
	}
	info, err := topic.ParseBatchHeaders(r.Headers)
	if err != nil {
		o.violate("ingest", "headers of offset %d: %v", r.Offset, err)
		return
	}
	f := o.fact(info.ID)
	f.logged++
	o.n["logged"]++
	if f.logged > 1 {
		o.n["logged twice"]++
	}
	h := o.history(info.ID.Stream)
	h.top = max(h.top, info.ID.Seq)
	o.w.tracef("kafka %d/%d: %s base %d pulled %v", r.Partition, r.Offset, short(info.ID), info.Send.Base, info.Send.Pulled)
	if f.logged == 1 {
		f.sum = sum(r.Value)
	}
	for _, x := range o.outs {
		x.reads(f, &r, info.Send.Pulled, f.logged == 1)
	}
	if !info.Send.Pulled {
		k := laneKey{info.ID.Stream.Car, info.ID.Stream.Lane}
		o.log[k] = append(o.log[k], logged{info.ID, r.TimestampMS})
	}
}

// mix adds a record to the run's digest.
func (o *oracle) mix(r *topic.Record) {
	h := fnv.New64a()
	fmt.Fprint(h, o.digest, r.Topic, r.TimestampMS)
	h.Write(r.Key)
	h.Write(r.Value)
	o.digest = h.Sum64()
}

// sampleEvery is how many engine steps and ticks pass between two looks at memory.
const sampleEvery = 50

// instance checks what an instance keeps in memory.
func (o *oracle) instance(r *receiver) {
	if used := r.budget.Used(); used > o.w.plan.HeldBytes || used < 0 {
		o.violate("memory", "%s keeps %d bytes of held batches, its budget is %d", r, used, o.w.plan.HeldBytes)
	}
	s, ok := r.inst.snapshot()
	if limit := int64(2*carCredit + carCredit/2 + 1<<20); ok && s.WaitingBytes+s.HeldBytes > limit+carCredit {
		o.violate("credit", "%s keeps %d + %d bytes, its credit is %d", r, s.WaitingBytes, s.HeldBytes, 2*carCredit)
	}
}

// engine checks what a car keeps in memory and on its card.
func (o *oracle) engine(l *life) {
	if o.samples++; o.samples%sampleEvery != 0 {
		return
	}
	s := l.sp.Stats()
	if most := s.QuotaBytes + 3*(4<<10) + wire.MaxControlBytes; s.DiskBytes > most {
		o.violate("quota", "%s has %d bytes on its card, the quota is %d", l.b, s.DiskBytes, s.QuotaBytes)
	}
	for lane, ls := range s.Lanes {
		if lane != wire.LaneLive && ls.QueuedBytes > 8<<10+wire.MaxControlBytes {
			o.violate("memory", "%s queues %d bytes of %s", l.b, ls.QueuedBytes, lane)
		}
	}
}
