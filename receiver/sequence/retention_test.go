package sequence_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

// inherit makes a new owner for a log whose records below start are deleted, and
// which an earlier owner has written to beyond its last state.
func (b *bench) inherit(start int64, written ...topic.Record) {
	b.t.Helper()
	l := sequence.Loaded{Offset: b.offset, Partitions: 1, LogStart: start, Written: map[topic.Identity]struct{}{}}
	for _, r := range b.state {
		l.State = append(l.State, r)
	}
	for i := range written {
		if _, ok := topic.OutputIdentity(&written[i]); !ok {
			b.t.Fatalf("record %d has no identity", i)
		}
		sequence.Wrote(l.Written, &written[i])
	}
	b.p.Close()
	p, err := sequence.NewPartition(b.cfg, 0, l)
	if err != nil {
		b.t.Fatal(err)
	}
	b.p, b.deleted = p, start
	if err := p.End(int64(len(b.log))); err != nil {
		b.t.Fatal(err)
	}
	for _, r := range b.log[max(b.offset, start):] {
		b.p.Apply(&r)
	}
}

// waiting is a bench without a window whose car has had batch 1 overtaken by 2 and 3.
func waiting(t *testing.T) (*bench, *sequencetest.Car, topic.Record) {
	cfg := config()
	cfg.Reorder.Windows[wire.LaneFull] = reorder.None
	b, c := opened(t, cfg)
	late := c.Full(1000*ms, 1)
	b.apply(c.Full(1001*ms, 1), c.Full(1002*ms, 2))
	want(t, "behind a hole", b.write())
	return b, c, late
}

func TestRule15HeldDeletedThenATakeover(t *testing.T) {
	b, c, late := waiting(t)
	b.inherit(int64(len(b.log)))
	if at, ok := b.p.NextDeadline(); !ok || at > b.nowMS {
		t.Fatalf("next deadline %d, %v: nobody would tell what is gone before a car sends again", at, ok)
	}
	b.tick(time.Second)
	want(t, "when time moves", b.write(), "gaps full#2-3 settled retention")
	if b.offset != int64(len(b.log)) {
		t.Errorf("the group is at %d of %d", b.offset, len(b.log))
	}
	b.apply(late, c.Loss(wire.LaneFull, 2, 3, wire.ReasonQuota))
	want(t, "later", b.write(), "samples full#1:1/1 synced")
	b.load(0)
	b.apply(c.Full(1003*ms, 1))
	want(t, "after another takeover", b.write(), "samples full#4:1/1 synced")
}

// TestDeletedAndWrittenIsNotMissing: an owner wrote what it held and died before its
// state was written; retention deletes the records before they are read again.
func TestDeletedAndWrittenIsNotMissing(t *testing.T) {
	b, c, late := waiting(t)
	state, offset := maps.Clone(b.state), b.offset
	b.apply(late)
	rows := slices.Clone(b.write())
	want(t, "the dead owner", rows, "samples full#1:1/1 synced", "samples full#2:1/1 synced", "samples full#3:1/2 synced", "samples full#3:2/2 synced")
	b.state, b.offset, b.out = state, offset, b.out[:len(b.out)-len(rows)]
	b.log = b.log[:len(b.log)-1]
	t.Run("whole", func(t *testing.T) {
		b := *b
		b.t, b.state = t, maps.Clone(state)
		b.inherit(int64(len(b.log)), rows[1:]...)
		b.tick(time.Second)
		want(t, "nothing is missing", b.write())
		copied := b.log[3]
		b.apply(copied, late)
		want(t, "a copy of 3", b.write(), "samples full#1:1/1 synced")
		b.apply(c.Full(1003*ms, 1))
		want(t, "and goes on", b.write(), "samples full#4:1/1 synced")
	})
	t.Run("some rows of a batch", func(t *testing.T) {
		b := *b
		b.t, b.state = t, maps.Clone(state)
		b.inherit(int64(len(b.log)), rows[1:3]...)
		b.tick(time.Second)
		want(t, "what cannot be made again", b.write(), "gaps full#3-3 settled retention")
	})
}

// mixed returns a batch of two rows and two events.
func mixed(c *sequencetest.Car) topic.Record {
	payload, err := wire.AppendBlock(nil, &wire.Block{Ticks: []int64{2000 * ms, 2001 * ms}, Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{1, 2}}}})
	if err != nil {
		panic(err)
	}
	for range 2 {
		payload = wire.AppendEvent(payload, &wire.Event{BootNS: 2001 * ms, Name: "mark"})
	}
	return c.Seal(wire.Body{Lane: wire.LaneFull, Catalogue: c.Hash, FirstNS: 2000 * ms, LastNS: 2001 * ms, Samples: 4, Payload: payload})
}

// TestFilteredWrittenAndDeletedIsNotMissing: an output that leaves places of a batch
// out has written it whole without them; one that has batches as they were sealed has
// not written it with its events.
func TestFilteredWrittenAndDeletedIsNotMissing(t *testing.T) {
	events := func() sequence.Format {
		return jsonrow.NewWith(jsonrow.Options{Take: func(string, string) bool { return false }})
	}
	cases := map[string]struct {
		format func() sequence.Format
		found  []int // which of the records of batch 2 are there
		want   []string
	}{
		"filtered, whole":           {events, []int{0, 1}, nil},
		"filtered, one of two":      {events, []int{1}, []string{"gaps full#2-2 settled retention"}},
		"sealed, without its event": {func() sequence.Format { return sealed.New() }, []int{0}, nil},
		"sealed, its events only":   {func() sequence.Format { return sealed.New() }, []int{1, 2}, []string{"gaps full#2-2 settled retention"}},
	}
	for name, c := range cases {
		for _, twice := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, second takeover %v", name, twice), func(t *testing.T) {
				cfg := config()
				cfg.Reorder.Windows[wire.LaneFull], cfg.NewFormat = reorder.None, c.format
				b, car := newBench(t, cfg, sequencetest.Catalogue("car-1")), sequencetest.NewCar("car-1", 1, 0xabc)
				b.apply(car.Open(), car.Anchor(1, 1000*ms, utc+1000*ms, ms))
				b.write()
				late := car.Full(1000*ms, 1)
				b.apply(mixed(car))
				b.write()
				state, offset, end := maps.Clone(b.state), b.offset, len(b.log)
				b.apply(late)
				var rows []topic.Record
				for _, r := range b.write() {
					if id, ok := topic.OutputIdentity(&r); ok && id.ID.Seq == 2 {
						rows = append(rows, r)
					}
				}
				b.state, b.offset, b.out, b.log = state, offset, nil, b.log[:end]
				var written []topic.Record
				for _, i := range c.found {
					written = append(written, rows[i])
				}
				b.inherit(int64(len(b.log)), written...)
				if twice { // what is known of the dead owner stands in the state
					b.commit()
					b.inherit(int64(len(b.log)))
				}
				b.tick(time.Second)
				want(t, "told", b.write(), c.want...)
			})
		}
	}
}

// TestQueuedWrittenAndDeletedIsNotMissing: the same for what was decided and stood
// in the queue of the state.
func TestQueuedWrittenAndDeletedIsNotMissing(t *testing.T) {
	b, c := opened(t, config())
	b.apply(c.Full(1000*ms, 1), c.Full(1001*ms, 1))
	b.p.Advance()
	b.commit() // decided, nothing written
	state, offset := maps.Clone(b.state), b.offset
	rows := slices.Clone(b.write())
	want(t, "the dead owner", rows, "samples full#1:1/1 synced", "samples full#2:1/1 synced")
	b.state, b.offset, b.out = state, offset, nil
	b.inherit(int64(len(b.log)), rows[:1]...)
	want(t, "the rest", b.write(), "gaps full#2-2 settled retention")
}

// TestDeadLetterDeletedIsMissing: what had no place was to be a dead letter, and is
// deleted before it is one.
func TestDeadLetterDeletedIsMissing(t *testing.T) {
	cfg := config()
	cfg.Reorder.Limits.Streams = 3
	b, c := opened(t, cfg)
	b.apply(c.Live(1000*ms), c.Full(1000*ms, 1))
	b.write()
	other := sequencetest.NewCar("car-1", 2, 0xabd)
	b.apply(other.Event(1000*ms, "x"))
	b.commit() // decided, nothing written
	b.inherit(int64(len(b.log)))
	want(t, "afterwards", b.write(), "gaps critical#1-1 settled retention")
}

// TestUnreadAndDeletedIsTold: an output that nobody runs for longer than retention
// loses what it has not read of a car that it knows. That is said, and nothing waits
// for it behind a hole that nothing fills, also when the car only sends after another
// owner has taken over.
func TestUnreadAndDeletedIsTold(t *testing.T) {
	for _, takeovers := range []int{1, 2} {
		cfg := config()
		cfg.Reorder.Windows[wire.LaneFull] = reorder.None
		b, c := opened(t, cfg)
		b.apply(c.Full(1000*ms, 1))
		want(t, "before", b.write(), "samples full#1:1/1 synced")
		b.commit()
		for i := range 2 { // full 2 and 3, durable and acked, and nobody reads them
			r := c.Full(int64(1001+i)*ms, 1)
			r.Offset, r.TimestampMS = int64(len(b.log)), b.nowMS
			b.log = append(b.log, r)
		}
		for range takeovers {
			b.inherit(int64(len(b.log)))
			b.commit()
		}
		c.Base = 4
		b.apply(c.Full(1003*ms, 1))
		want(t, "after it", b.write(), "gaps full#2-3 settled retention", "samples full#4:1/1 synced")
		b.apply(c.Full(1004*ms, 1))
		want(t, "as always", b.write(), "samples full#5:1/1 synced")
	}
}

func TestNewCarInAnOldLog(t *testing.T) {
	preview := func(c *sequencetest.Car) topic.Record { // three links: it overtakes its EpochOpen
		c.Live(1000 * ms)
		c.Live(1001 * ms)
		c.Base = 3
		r := c.Live(1002 * ms)
		c.Base = 1
		return r
	}
	cases := []struct {
		name  string
		input bool // an earlier owner has read all that was deleted
		ended bool // the car comes after the log was loaded
		want  string
	}{
		{"the log may have had it", false, false, "gaps live#1-2 settled retention"},
		{"an earlier owner has read it all", true, false, "gaps live#1-2 settled superseded"},
		{"it comes later", false, true, "gaps live#1-2 settled superseded"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, config(), sequencetest.Catalogue("car-2"))
			for range 20 {
				b.apply(topic.Record{Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}}})
			}
			if b.write(); !c.input {
				b.state, b.offset = map[string]topic.Record{}, 0
			}
			car := sequencetest.NewCar("car-2", 1, 0xdef)
			open := car.Open()
			r := preview(car)
			if !c.ended {
				r.Offset, r.TimestampMS = int64(len(b.log)), b.nowMS
				b.log = append(b.log, r)
			}
			b.inherit(20)
			if c.ended {
				b.apply(r)
			}
			b.apply(open)
			b.tick(10 * time.Second)
			want(t, "output", b.write(), c.want, "live live#3:1/1 unsynced")
		})
	}
}

// An owner dies between its outputs and its state: the next one repeats none of them,
// gaps included.
func TestAGapIsToldOnce(t *testing.T) {
	cfg := config()
	cfg.Reorder.Windows[wire.LaneFull] = 100 * time.Millisecond
	b, c := opened(t, cfg)
	c.Full(1000*ms, 1) // lost
	b.apply(c.Full(1001*ms, 1))
	want(t, "within the window", b.write())
	state, offset := maps.Clone(b.state), b.offset
	b.tick(200 * time.Millisecond)
	written := b.write()
	want(t, "after the window", written, "gaps full#1-1 settled gap", "samples full#2:1/1 synced")

	b.state, b.offset = state, offset
	b.inherit(0, written...)
	want(t, "by the next owner", b.write())
	late := c.Full(1002*ms, 2)
	b.apply(late)
	want(t, "what follows", b.write(), "samples full#3:1/2 synced", "samples full#3:2/2 synced")
}
