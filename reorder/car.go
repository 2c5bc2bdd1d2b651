package reorder

import (
	"slices"

	"telemetry/wire"
)

// Car is the state of one car. It is made by [NewCar] or [ParseCar] and is not
// safe for concurrent use.
type Car struct {
	name string
	cfg  Config

	next int64 // offset after the last record applied
	now  int64 // ms: the greatest time seen, by record or by Advance
	read int64 // ms: the greatest LogAppendTime read
	due  int64 // ms: nothing happens by time alone before this

	epochs   []*epoch // by rank
	byEpoch  map[wire.Epoch]*epoch
	tombs    []wire.Epoch // forgotten epochs, in order of forgetting
	lanes    []*lane      // by lane, then shard
	main     [wire.LaneFull + 1]*lane
	byStream map[streamKey]*stream
	last     *stream // the stream of the last record: most records follow their own kind

	streamCount int
	gapCount    int // ranges in all missing sets
	otherCount  int // ranges in all done and pulled sets
	entryCount  int // entries in all streams
	alarmed     [LimitOtherRanges + 1]bool
	halfAlarmed int64 // offset below which waiting for half the retention was reported

	// order lists the entries by offset; those before orderAt, or gone, are spent.
	order   []entryAt
	orderAt int

	inside  bool                          // the log begins in the middle of the car's history (see StartInside)
	unread  bool                          // a part of the log was deleted before it was read (see DeletedUnread)
	written func(wire.Stream) wire.Ranges // see Written; nil: nothing
	// After ParseCar: where the held set begins, its time, and whether wait ranges
	// may still lack their entries.
	resumeOffset int64
	resumeMS     int64
	rebuildMS    int64 // the greatest LogAppendTime among the records rebuilt
	restoring    bool
}

// streamKey names a stream inside its car.
type streamKey struct {
	epoch wire.Epoch
	lane  wire.Lane
	shard uint16
}

// entryAt is an element of Car.order.
type entryAt struct {
	x      *stream
	seq    uint64
	offset int64
}

func keyOf(s wire.Stream) streamKey { return streamKey{s.Epoch, s.Lane, s.Shard} }

// NewCar returns the state of a car of which nothing has been read. The
// configuration must be valid (see [Config.Validate]).
func NewCar(name string, cfg Config) *Car {
	c := &Car{
		name:     name,
		cfg:      cfg,
		due:      never,
		byEpoch:  make(map[wire.Epoch]*epoch),
		byStream: make(map[streamKey]*stream),
	}
	for _, l := range wire.Lanes {
		c.main[l] = c.addLane(l, 0)
	}
	return c
}

// Name returns the car's name.
func (c *Car) Name() string { return c.name }

// NextOffset returns the offset after the last record applied: the state's input
// offset. Records below it are for [Car.Rebuild]. 0 before the first.
func (c *Car) NextOffset() int64 { return c.next }

// NowMS returns the greatest time seen, in ms since 1970; 0 before the first.
func (c *Car) NowMS() int64 { return c.now }

// Held returns how many batches wait, for a hole or at the gate.
func (c *Car) Held() int { return c.entryCount }

// Apply takes one record of this car and appends what follows from it. Time
// moves to the record's LogAppendTime first, and holes expire before the record
// counts (rule 20). A record below NextOffset is given to [Car.Rebuild].
func (c *Car) Apply(in *Input, out *Out) {
	if in.Offset < c.next {
		c.Rebuild(in)
		return
	}
	c.tick(in.Offset, in.AppendMS, out)
	h := &in.Header
	if h.Seq == 0 || h.Seq > MaxSeq || !h.Stream.Lane.Valid() || h.Stream.Car != c.name {
		deadLetter(in, WhyInvalid, out)
		return
	}
	x := c.last
	if x == nil || x.id.Epoch != h.Stream.Epoch || x.id.Lane != h.Stream.Lane || x.id.Shard != h.Stream.Shard {
		if x = c.streamFor(keyOf(h.Stream), out); x == nil {
			why := WhyLimit
			if c.stale(h.Stream.Epoch) {
				why = WhyStale
			}
			deadLetter(in, why, out)
			if why == WhyLimit {
				c.control(nil, in, out)
			}
			return
		}
		c.last = x
	}
	if x.epoch.closed && c.over(x.epoch) {
		c.forget(x.epoch, out)
		deadLetter(in, WhyStale, out)
		return
	}
	c.makeRoom(x, out)
	x.epoch.lastMS = c.now
	if !x.epoch.seen {
		c.firstSight(x.epoch, in, out)
	}
	if x.hi == 0 && x.epoch.inside && in.Send.Base > 1 {
		last := min(in.Send.Base, h.Seq) - 1
		c.takeWritten(x, wire.Ranges{{First: 1, Last: last}})
		c.fill(x, last, wire.ReasonRetention, out)
	}
	c.take(x, in, out)
}

// tick moves time to that of a record, before it counts.
func (c *Car) tick(offset, appendMS int64, out *Out) {
	c.restored(out)
	c.read = max(c.read, min(appendMS, maxMS))
	c.Advance(c.read, out)
	c.next = offset + 1
}

// StartInside says that the log begins in the middle of the car's history: its
// start has been deleted. It is said to a new car, before the first record. The
// first epoch seen then counts as opened, and its streams begin at the base of
// their first copy; what is below is reported with the reason "retention".
func (c *Car) StartInside() { c.inside = len(c.epochs) == 0 }

// DeletedUnread says that records which nobody has read are deleted, some of them
// perhaps the car's. A number below a base is in the log or reported as lost; what is
// neither is then reported with the reason "retention" instead of waited for.
func (c *Car) DeletedUnread() { c.unread = true }

// firstSight notes the first batch of an epoch: the wait for an anchor begins.
func (c *Car) firstSight(e *epoch, in *Input, out *Out) {
	e.seen, e.firstMS = true, c.read
	if c.inside {
		c.inside = false
		if !slices.ContainsFunc(in.Controls, func(k wire.Control) bool { return k.EpochOpen != nil }) {
			e.inside, e.opened = true, true
		}
	}
	if c.cfg.AnchorWait <= 0 {
		c.sync(e, out)
		return
	}
	c.wake(e.firstMS + millis(c.cfg.AnchorWait))
}

// take decides about a record of a known stream.
func (c *Car) take(x *stream, in *Input, out *Out) {
	h := &in.Header
	seq := h.Seq
	e := entry{offset: in.Offset, appendMS: c.read, crc: h.PayloadCRC, flags: flagsFor(in)}
	known, _ := x.classify(seq)
	if (known == delivered || known == holding) && !x.sameCRC(seq, h.PayloadCRC) {
		deadLetter(in, WhyCRC, out)
		out.add(KindAlarm, x, seq).Alarm = AlarmCRC
		return
	}
	if in.Send.Pulled {
		c.pull(x, seq, e, out)
	}
	if known == delivered || known == holding {
		out.Duplicates++
		c.setBase(x, min(in.Send.Base, seq), out)
		c.pump(x.lane, out)
		return
	}
	switch {
	case known == blurred:
		deadLetter(in, WhyMergedGap, out)
	case seq <= x.floor || x.complete() || x.ended && seq > x.end:
		c.late(x, seq, known, e, in, out)
	case known == unknown && seq == x.floor+1 && len(x.held) == 0 && x.lane.current() == x:
		// In order and nothing before it: the path of nearly all batches.
		x.hi = max(x.hi, seq)
		c.release(x, seq, e.crc, out)
		c.emit(x, seq, outMain, e, out)
	default:
		if known == lost {
			c.withdraw(x, seq, out)
		}
		c.hold(x, seq, e)
		out.Held++
	}
	if len(in.Controls) > 0 {
		c.control(x, in, out)
		if c.byStream[keyOf(x.id)] != x {
			return // forgotten to make room for what a control record named
		}
	}
	c.setBase(x, min(in.Send.Base, seq), out)
	if x.floor < x.hi || x.complete() {
		c.pump(x.lane, out)
	}
	if len(in.Controls) > 0 && e.flags&(flagOpens|flagColumns) == 0 && !in.Send.Pulled {
		c.spend(x, seq, out)
	}
}

// spend lets go of a batch of control records only that would have to wait: they
// have taken effect (rule 4), and there is nothing to release when its turn comes.
// So it does not hold the committed offset while an older epoch is open.
func (c *Car) spend(x *stream, seq uint64, out *Out) {
	e, ok := x.entries[seq]
	if !ok || e.flags != flagHeld || c.otherCount >= c.cfg.Limits.OtherRanges/2 {
		return
	}
	x.held = x.held.Remove(seq, seq)
	c.unkeep(x, seq)
	n := len(x.done)
	x.done = x.done.Add(seq, seq)
	c.otherCount += len(x.done) - n
	x.remember(seq, e.crc)
	out.Held--
	out.add(KindSpent, x, seq).Offset = e.offset
}

// flagsFor returns the flags that follow from the record alone: whether it has
// columns, for the gate, and whether it opens a hole. A pulled batch does not, it
// was delivered already (rule 16); nor does one of control records only, which
// have taken effect (rule 4).
func flagsFor(in *Input) uint8 {
	var f uint8
	if in.Header.Catalogue != (wire.CatalogueHash{}) {
		f = flagColumns
	}
	if !in.Send.Pulled && (!in.Header.Control || in.Header.Samples > 0 || f != 0) {
		f |= flagOpens
	}
	return f
}

// hold keeps a batch that is not next in order.
func (c *Car) hold(x *stream, seq uint64, e entry) {
	x.hi = max(x.hi, seq)
	x.held = x.held.Add(seq, seq)
	e.flags |= flagHeld
	if old, ok := x.entries[seq]; ok { // at the gate to pulled
		e.flags |= old.flags
	}
	if e.flags&flagOpens != 0 {
		x.pushOpening(seq, e.offset)
		if x.lane.window >= 0 {
			c.wake(e.appendMS + x.lane.window)
		}
	}
	c.keep(x, seq, e)
}

// late delivers a batch whose turn has passed.
func (c *Car) late(x *stream, seq uint64, known class, e entry, in *Input, out *Out) {
	if known == lost {
		c.withdraw(x, seq, out)
	}
	x.hi = max(x.hi, seq)
	if seq > x.floor {
		if c.otherCount >= c.cfg.Limits.OtherRanges && !x.complete() {
			c.alarmLimit(LimitOtherRanges, out)
			deadLetter(in, WhyLimit, out)
			return
		}
		n := len(x.done)
		x.done = x.done.Add(seq, seq)
		c.otherCount += len(x.done) - n
	}
	x.remember(seq, e.crc)
	c.emit(x, seq, outLate, e, out)
	if x.complete() {
		c.tail(x, out)
	}
}

// lateHeld gives what is held of a stream to late.
func (c *Car) lateHeld(x *stream, out *Out) {
	for len(x.held) > 0 {
		seq := x.held[0].First
		e := x.entries[seq]
		x.held = x.held.Remove(seq, seq)
		e.flags &^= flagHeld
		n := len(x.done)
		x.done = x.done.Add(seq, seq)
		c.otherCount += len(x.done) - n
		x.remember(seq, e.crc)
		c.emit(x, seq, outLate, e, out)
	}
}

// pull emits the first copy that is pulled (rule 16).
func (c *Car) pull(x *stream, seq uint64, e entry, out *Out) {
	if x.pulled.Contains(seq) {
		return
	}
	n := len(x.pulled)
	x.pulled = x.pulled.Add(seq, seq)
	c.otherCount += len(x.pulled) - n
	if c.otherCount > c.cfg.Limits.OtherRanges {
		c.alarmLimit(LimitOtherRanges, out)
		if len(x.pulled) < 2 {
			c.otherCount -= len(x.pulled)
			x.pulled = x.pulled[:0]
			return
		}
		x.pulled = x.pulled.Add(x.pulled[0].First, x.pulled[1].Last)
		c.otherCount--
	}
	if old, ok := x.entries[seq]; ok {
		e = old
	}
	c.emit(x, seq, outPulled, e, out)
}

// deadLetter gives the record itself to the dead-letter topic.
func deadLetter(in *Input, why Why, out *Out) {
	d := out.addID(KindDeadLetter, in.Header.ID())
	d.Offset, d.Why = in.Offset, why
}

// streamFor returns a stream, which is made on first sight; nil when its epoch is
// forgotten or no room is left.
func (c *Car) streamFor(k streamKey, out *Out) *stream {
	if x := c.byStream[k]; x != nil {
		return x
	}
	e := c.epochFor(k.epoch, out)
	if e == nil {
		return nil
	}
	for c.streamCount >= c.cfg.Limits.Streams {
		c.alarmLimit(LimitStreams, out)
		if !c.forgetOldest(out) || c.byEpoch[k.epoch] != e {
			return nil
		}
	}
	x := &stream{id: wire.Stream{Car: c.name, Epoch: k.epoch, Lane: k.lane, Shard: k.shard}, epoch: e}
	x.ended = e.closed // born closed (rule 10)
	c.addStream(x)
	x.lane.insert(x)
	return x
}

// addStream enters a stream everywhere except into its lane's order.
func (c *Car) addStream(x *stream) {
	x.lane = c.laneFor(x.id.Lane, x.id.Shard)
	if x.lane == nil {
		x.lane = c.addLane(x.id.Lane, x.id.Shard)
	}
	x.epoch.streams = append(x.epoch.streams, x)
	slices.SortFunc(x.epoch.streams, func(a, b *stream) int {
		return compareLane(a.id, b.id)
	})
	c.byStream[keyOf(x.id)] = x
	c.streamCount++
}

// compareLane orders streams by lane, then shard.
func compareLane(a, b wire.Stream) int {
	if a.Lane != b.Lane {
		return int(a.Lane) - int(b.Lane)
	}
	return int(a.Shard) - int(b.Shard)
}

// keep puts or replaces the entry of a batch.
func (c *Car) keep(x *stream, seq uint64, e entry) {
	if x.entries == nil {
		x.entries = make(map[uint64]entry)
	}
	if _, ok := x.entries[seq]; !ok {
		c.entryCount++
		c.pushOrder(entryAt{x, seq, e.offset})
		if c.cfg.Retention > 0 {
			c.wake(e.appendMS + millis(c.cfg.Retention/2))
		}
	}
	x.entries[seq] = e
}

// unkeep forgets an entry that nothing wants any more.
func (c *Car) unkeep(x *stream, seq uint64) {
	delete(x.entries, seq)
	c.entryCount--
	if len(x.entries) == 0 {
		x.entries = nil // a map that was large stays large
	}
}

// pushOrder appends to the list by offset, and cleans it when it is mostly spent.
func (c *Car) pushOrder(o entryAt) {
	if len(c.order) >= 2*c.entryCount+64 {
		keep := c.order[:0]
		for _, o := range c.order[c.orderAt:] {
			if e, ok := o.x.entries[o.seq]; ok && e.offset == o.offset {
				keep = append(keep, o)
			}
		}
		clear(c.order[len(keep):])
		c.order, c.orderAt = keep, 0
	}
	c.order = append(c.order, o)
}

// first returns the entry with the lowest offset.
func (c *Car) first() (entryAt, entry, bool) {
	for ; c.orderAt < len(c.order); c.orderAt++ {
		o := c.order[c.orderAt]
		if e, ok := o.x.entries[o.seq]; ok && e.offset == o.offset {
			return o, e, true
		}
		c.order[c.orderAt].x = nil
	}
	c.order, c.orderAt = c.order[:0], 0
	return entryAt{}, entry{}, false
}

// LowestNeeded returns the lowest offset of a record that waits, held or at the
// gate: the committed offset must not pass it. ok is false when nothing waits;
// then the caller may commit up to NextOffset.
func (c *Car) LowestNeeded() (offset int64, ok bool) {
	if c.restoring {
		return c.resumeOffset, true
	}
	o, _, ok := c.first()
	return o.offset, ok
}
