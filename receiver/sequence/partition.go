package sequence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"telemetry/receiver/hop"
	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// Partition is the pure core of one partition. Its owner calls, in a loop:
// [Partition.Apply] for each record and [Partition.Advance], then
// [Partition.Drain], with answers to what it asks for, then
// [Partition.Commit] and, once that is durable, [Partition.Committed]. After an
// error of the commit the partition is thrown away and loaded again. It is not
// safe for concurrent use.
type Partition struct {
	cfg    Config
	number int32
	total  int32 // partitions of telemetry.batches
	format Format
	sealed SealedFormat // the format, if it takes batches as they were sealed

	cars   map[string]*car
	byName []*car // in order of first sight: decisions never depend on a map's order

	position  int64        // next offset to read
	input     int64        // records below it were applied by an earlier owner
	rebuildTo int64        // time stands still until position has reached it
	topic     [16]byte     // id of telemetry.batches; zero: not known
	unnamed   bool         // the state does not have that id yet
	witness   Witness      // of the last record of the loaded state, or of the last commit
	witnessed bool         // there is one
	last      topic.Record // the last one applied since then; its offset is -1: none was
	committed int64        // the group's offset
	settled   bool         // a commit is durable, or none is needed, since the partition was loaded
	logStart  int64
	loadEnd   int64 // end of the partition when it was loaded; -1: not heard yet
	nowMS     int64
	loadedMS  int64                       // nowMS when an earlier owner ended
	written   map[topic.Identity]struct{} // by dead owners, not made again so far

	hops []hop.Notes // of sampled batches that wait for a commit

	out    Output
	state  []topic.Record
	states arena[byte]
	buf    []byte

	queued int            // items in all queues
	turn   int            // whose queues are emptied next
	read   map[int64]held // records of decided batches that are not written yet, see keepRead
	// readBytes counts the bytes in read. Its owner fetches nothing while there are
	// more than a commit takes; one fetch comes on top.
	readBytes int
	decided   reorder.Out
	decoder   Decoder
	in        reorder.Input
	batch     Batch
	noCar     Counters // records of no car
	known     map[wire.CatalogueHash]*wire.Catalogue
	kept      int                             // bytes of known
	absent    map[wire.CatalogueHash]struct{} // looked for in vain since the last commit
	alarms    []Alarm
	holes     []reorder.Hole
}

// Alarm is something that a person should know of.
type Alarm struct {
	Car    string
	What   string
	ID     wire.ID // zero when it concerns no batch
	Last   uint64
	Offset int64
}

// maxAlarms bounds the alarms kept between two calls of [Partition.Alarms];
// more are only counted.
const maxAlarms = 64

// ErrTruncated says that telemetry.batches ends before what has been read of it
// already: the topic was deleted and made again, or lost data.
var ErrTruncated = errors.New("sequence: telemetry.batches is shorter than the state says " +
	"(was the topic recreated? then delete the state topic and the consumer group as well)")

// ErrAnew says that telemetry.batches is not the topic that the state is about: the
// offsets of the state would skip what the new one has.
var ErrAnew = errors.New("sequence: telemetry.batches has been deleted and made anew since the state was written " +
	"(to start anew on purpose, stop all receivers and delete the state topic and the consumer group, both)")

// ErrOffset says that the group's offset lies beyond what the state needs to read
// again: batches that wait would be skipped in silence.
var ErrOffset = errors.New("sequence: the group's offset is beyond the state's (was it reset by hand? " +
	"set it back to the state's; or, to start anew, delete the state topic and the consumer group together)")

// maxCatalogues bounds the parsed catalogues that a partition keeps.
const maxCatalogues = 64

// NewPartition restores a partition from what earlier owners left.
func NewPartition(cfg Config, number int32, l Loaded) (*Partition, error) {
	if l.Partitions < 1 || number < 0 || number >= l.Partitions {
		return nil, fmt.Errorf("sequence: partition %d of %d", number, l.Partitions)
	}
	p := &Partition{
		cfg: cfg, number: number, total: l.Partitions, format: cfg.NewFormat(),
		cars: make(map[string]*car), read: make(map[int64]held),
		known: make(map[wire.CatalogueHash]*wire.Catalogue), absent: make(map[wire.CatalogueHash]struct{}),
		position: max(l.Offset, l.LogStart), committed: l.Offset, logStart: l.LogStart,
		loadEnd: -1, written: maps.Clone(l.Written), topic: l.Topic, last: topic.Record{Offset: -1},
	}
	p.sealed, _ = p.format.(SealedFormat)
	for i := range l.State {
		if err := p.restore(&l.State[i]); err != nil {
			return nil, err
		}
	}
	p.rebuildTo = max(p.rebuildTo, p.input)
	if p.logStart > p.input {
		for _, c := range p.byName {
			c.core.DeletedUnread()
			c.dirty = true
		}
	}
	return p, nil
}

// restore takes one state record.
func (p *Partition) restore(r *topic.Record) error {
	key := string(r.Key)
	if len(r.Value) == 0 { // a tombstone
		return nil
	}
	if key == PartitionKey {
		s, err := parsePartitionState(r.Value, p.cfg.Topics.Outputs())
		if err != nil {
			return fmt.Errorf("sequence: state of partition %d: %w", p.number, err)
		}
		if p.committed > s.Commit {
			return fmt.Errorf("%w: partition %d: group at %d, state at %d", ErrOffset, p.number, p.committed, s.Commit)
		}
		if err := p.sameTopic(r, s.Input); err != nil {
			return err
		}
		p.input, p.nowMS, p.loadedMS = s.Input, s.NowMS, s.NowMS
		if text, ok := r.Get(HeaderWitness); ok {
			p.witness, p.witnessed = parseWitness(text)
		}
		if len(s.Written) > 0 && p.written == nil {
			p.written = s.Written
		}
		maps.Copy(p.written, s.Written)
		return nil
	}
	c, err := parseCar(&p.cfg, key, r.Value)
	if err != nil {
		return err
	}
	p.enter(c)
	p.queued += c.queued()
	p.rebuildTo = max(p.rebuildTo, c.core.NextOffset())
	return nil
}

// sameTopic compares the topic that the partition's state is about with the one that
// is there. A state of an earlier version does not name its topic: it will.
func (p *Partition) sameTopic(state *topic.Record, input int64) error {
	if p.topic == [16]byte{} {
		return nil
	}
	was, ok := state.Get(HeaderTopicID)
	p.unnamed = !ok
	if is := hex.EncodeToString(p.topic[:]); ok && was != is {
		return fmt.Errorf("%w: partition %d at %d of topic %s, there is topic %s", ErrAnew, p.number, input, text(was), is)
	}
	return nil
}

// Witness returns what the state says of the last record that was read; false when it
// says nothing, as one of an earlier version.
func (p *Partition) Witness() (Witness, bool) { return p.witness, p.witnessed }

func (p *Partition) enter(c *car) {
	c.core.Written(p.writtenOf)
	p.cars[c.name] = c
	p.byName = append(p.byName, c)
}

// Position returns the next offset to read.
func (p *Partition) Position() int64 { return p.position }

// Rebuilding reports whether records are still read that an earlier owner had
// applied.
func (p *Partition) Rebuilding() bool { return p.position < p.rebuildTo }

// End says where the partition ends, and checks that against the state.
func (p *Partition) End(end int64) error {
	if end < p.rebuildTo {
		return fmt.Errorf("%w: partition %d ends at %d, state at %d", ErrTruncated, p.number, end, p.rebuildTo)
	}
	if p.loadEnd < 0 {
		p.loadEnd = end
	}
	return nil
}

// apply gives a batch to its car.
func (p *Partition) apply(c *car, offset int64, h *held, a *arrival) {
	fresh := offset >= c.core.NextOffset()
	p.in = reorder.Input{Offset: offset, AppendMS: h.appendMS, Header: a.header, Send: a.send}
	st := a.header.Stream
	lane := &c.stats.Lanes[laneIndex(st.Lane)]
	if fresh {
		c.dirty = true
		c.maps.See(st.Epoch, a.header.LastNS)
		lane.Batches++
		lane.ReadMS = h.appendMS
		if st.Epoch.Counter >= c.stats.Epoch.Counter {
			c.stats.Epoch = st.Epoch
		}
		if a.header.Control {
			p.in.Controls = p.controls(c, a.batch, offset)
		}
	}
	c.core.Apply(&p.in, &p.decided)
	lane.Duplicates += uint64(p.decided.Duplicates)
	waits := c.core.Held() > 0 && p.decided.Duplicates == 0
	for i := range p.decided.Decisions {
		d := &p.decided.Decisions[i]
		if d.Offset != offset {
			continue
		}
		switch d.Kind {
		case reorder.KindRelease, reorder.KindLate, reorder.KindDeadLetter:
			waits = false
			p.keepRead(offset, *h)
		case reorder.KindSpent:
			if waits = false; p.takesSealed(st.Lane) {
				p.keepRead(offset, *h)
			}
		}
	}
	if waits {
		c.cache.put(offset, *h, p.cfg.CarBytes, p.cfg.Budget)
	}
	p.decide(c)
}

// controls reads a batch's control records. A batch whose control cannot be
// read still counts as arrived: its number must not stay a hole.
func (p *Partition) controls(c *car, b wire.Batch, offset int64) []wire.Control {
	payload, err := p.decoder.opener.Payload(b)
	if err == nil {
		var cs []wire.Control
		if cs, err = wire.Controls(payload); err == nil {
			return cs
		}
	}
	c.stats.Lanes[laneIndex(b.Header.Stream.Lane)].Alarms++
	p.alarm(Alarm{Car: c.name, What: "unreadable control record: " + err.Error(), ID: b.Header.ID(), Offset: offset})
	return nil
}

// NowMS returns the partition's time: the greatest LogAppendTime read.
func (p *Partition) NowMS() int64 { return p.nowMS }

// Advance lets the partition's time act on the cars that are silent (rule 20).
func (p *Partition) Advance() {
	if p.Rebuilding() {
		return
	}
	for _, c := range p.byName {
		c.core.Advance(p.nowMS, &p.decided)
		p.decide(c)
	}
}

// NextDeadline returns the earliest time, in ms, at which Advance does something.
func (p *Partition) NextDeadline() (ms int64, ok bool) {
	if p.Rebuilding() {
		return 0, false
	}
	for _, c := range p.byName {
		if p.nowMS <= p.loadedMS && (c.core.Held() > 0 || c.core.Restoring()) {
			return p.nowMS, true // what a takeover has restored begins to run when time moves
		}
		if at, any := c.core.NextDeadline(); any && (!ok || at < ms) {
			ms, ok = at, true
		}
	}
	return ms, ok
}

// decide acts on what reorder has decided about a car.
func (p *Partition) decide(c *car) {
	if len(p.decided.Decisions) > 0 {
		c.dirty = true
	}
	for i := range p.decided.Decisions {
		d := &p.decided.Decisions[i]
		stats := &c.stats.Lanes[laneIndex(d.ID.Stream.Lane)]
		switch d.Kind {
		case reorder.KindRelease, reorder.KindLate, reorder.KindPulled, reorder.KindDeadLetter:
			p.enqueue(c, d)
		case reorder.KindGap:
			n := d.Last - d.ID.Seq + 1
			switch d.Gap {
			case reorder.GapSettled:
				stats.Missing += n
				stats.Gaps.add(d.Reason, n)
			case reorder.GapWithdrawn:
				stats.Found += n
			}
			p.gap(d.ID, d.Last, d.Gap, d.Reason.String(), d.Was, nil, "")
		case reorder.KindAnchor:
			if v := c.maps.Add(d.ID.Stream.Epoch, d.Anchor); v != timemap.Ignored {
				stats.Anchors++
				p.timemap(c, i, v)
			}
		case reorder.KindSpent:
			p.spent(c, d, stats)
		case reorder.KindAlarm:
			stats.Alarms++
			p.alarm(Alarm{Car: c.name, What: d.Alarm.String(), ID: d.ID, Last: d.Last, Offset: d.Offset})
		}
	}
	p.decided.Reset()
}

// spent deals with a batch of control records that has taken effect before its
// turn. Where batches are written as they were sealed it is in late, so that no
// number of a stream is in no topic; other formats make nothing of it.
func (p *Partition) spent(c *car, d *reorder.Decision, stats *LaneSnapshot) {
	if !p.takesSealed(d.ID.Stream.Lane) {
		stats.Spent++
		return
	}
	late := *d
	late.Kind = reorder.KindLate
	p.enqueue(c, &late)
}

// takesSealed reports whether the output has the lane's batches as they were sealed.
func (p *Partition) takesSealed(l wire.Lane) bool {
	return p.sealed != nil && p.sealed.TakesSealed(l) && p.cfg.takes(l)
}

// enqueue puts a decided batch at the end of its queue.
func (p *Partition) enqueue(c *car, d *reorder.Decision) {
	it := item{kind: d.Kind, why: d.Why, id: d.ID, offset: d.Offset}
	it.unsynced = c.maps.Map(d.ID.Stream.Epoch) == nil
	c.queue[queueOf(d.Kind, d.ID.Stream.Lane)].push(it)
	p.queued++
}

func (p *Partition) alarm(a Alarm) {
	if a.Car == "" {
		p.noCar.Alarms++
	}
	if len(p.alarms) < maxAlarms {
		p.alarms = append(p.alarms, a)
	}
}

// Alarms returns the alarms since the last call.
func (p *Partition) Alarms() []Alarm {
	a := p.alarms
	p.alarms = nil
	return a
}
