package sequence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// owner is the loop of one owned partition; everything in it belongs to the
// goroutine that runs it.
type owner struct {
	cfg     *Config
	session Session
	log     *slog.Logger
	publish func(PartitionSnapshot)
	p       *Partition

	state   string
	before  string // state before retrying
	failure string
	failing string // what fails while it is retried

	end       int64 // of the partition, as last heard
	commits   uint64
	commitFor time.Duration
	shownNS   int64
	commitNS  int64 // clock at the last commit
	dirtyNS   int64 // clock when progress without output began to wait; 0: none
	readNS    int64 // clock when the newest record was read
	tickNS    int64 // clock of the last tick
	ticked    bool  // at least one
	alarmNS   int64 // clock when the alarms below began to be counted
	alarms    int
}

// run loads the partition and serves it. It returns ctx's error, an error that
// wraps ErrLost, or what makes another load necessary.
func (o *owner) run(ctx context.Context) error {
	o.show(true)
	var l Loaded
	err := o.retry(ctx, "load", func() (err error) {
		l, err = o.session.Load(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if o.p, err = NewPartition(*o.cfg, o.session.Partition(), l); err != nil {
		return err
	}
	if err := o.sameLog(ctx, l.LogStart); err != nil {
		return fmt.Errorf("sequence: partition %d: %w", o.session.Partition(), err)
	}
	o.log.Info("partition taken", slog.Int64("offset", l.Offset), slog.Int("state_records", len(l.State)))
	now := o.cfg.Clock.NowNS()
	o.commitNS, o.readNS = now-int64(o.cfg.CommitInterval), now
	for {
		if err := o.step(ctx); err != nil {
			return err
		}
	}
}

// step is one turn of the loop: fetch, apply, write, commit.
func (o *owner) step(ctx context.Context) error {
	if o.p.Unwritten() < maxQueued && o.p.readBytes <= o.commitBytes() {
		if err := o.fetch(ctx); err != nil {
			return err
		}
	}
	o.p.Advance()
	if err := o.drain(ctx); err != nil {
		return err
	}
	o.tellAlarms()
	if err := o.commit(ctx); err != nil {
		return err
	}
	if err := o.tick(ctx); err != nil {
		return err
	}
	if o.state != StateRetrying {
		o.state = StateRunning
		if o.p.Rebuilding() {
			o.state = StateRebuilding
		}
	}
	o.show(false)
	return nil
}

// fetch reads and applies the next records, if there are any in time.
func (o *owner) fetch(ctx context.Context) error {
	var recs []topic.Record
	err := o.retry(ctx, "fetch", func() (err error) {
		recs, o.end, _, err = o.session.Fetch(ctx, o.cfg.FetchRecords, o.wait())
		return err
	})
	if err != nil {
		return err
	}
	if err := o.p.End(o.end); err != nil {
		return err
	}
	for i := range recs {
		if recs[i].Offset < o.p.Position() {
			return fmt.Errorf("sequence: fetched offset %d again (next is %d)", recs[i].Offset, o.p.Position())
		}
		o.p.Apply(&recs[i])
	}
	if len(recs) > 0 {
		o.readNS = o.cfg.Clock.NowNS()
	}
	return nil
}

// wait returns how long a fetch may wait for records: not past the next commit
// or tick.
func (o *owner) wait() time.Duration {
	now := o.cfg.Clock.NowNS()
	at := now + int64(o.cfg.FetchWait)
	if o.p.OutputBytes() > 0 || o.p.Unwritten() > 0 {
		at = min(at, o.commitNS+int64(o.cfg.CommitInterval))
	} else if o.dirtyNS != 0 {
		at = min(at, o.dirtyNS+int64(o.cfg.IdleCommit))
	}
	if due, ok := o.tickDue(); ok {
		at = min(at, due)
	}
	return max(time.Duration(at-now), 0)
}

// commitBytes returns how much output one commit takes.
func (o *owner) commitBytes() int {
	if o.p.Position() < o.end {
		return o.cfg.CommitBytes * max(o.cfg.CommitBehind, 1)
	}
	return o.cfg.CommitBytes
}

// drain writes what is decided, up to one commit's worth, reading again what
// memory did not keep.
func (o *owner) drain(ctx context.Context) error {
	for {
		n := o.p.Drain(o.commitBytes())
		if !n.Any() {
			return nil
		}
		for _, offset := range n.Offsets {
			if err := o.read(ctx, offset); err != nil {
				return err
			}
		}
		for _, h := range n.Catalogues {
			if err := o.lookUp(ctx, h); err != nil {
				return err
			}
		}
	}
}

func (o *owner) read(ctx context.Context, offset int64) error {
	var rec topic.Record
	err := o.retry(ctx, "read", func() (err error) {
		rec, err = o.session.Read(ctx, offset)
		return err
	})
	switch {
	case errors.Is(err, ErrGone):
		o.log.Error("a batch was deleted by retention while it waited", slog.Int64("offset", offset))
		o.p.Gone(offset)
		return nil
	case err != nil:
		return err
	case rec.Offset != offset:
		return fmt.Errorf("sequence: read offset %d and got %d", offset, rec.Offset)
	}
	o.p.Provide(&rec)
	return nil
}

func (o *owner) lookUp(ctx context.Context, h wire.CatalogueHash) error {
	var canonical []byte
	var ok bool
	err := o.retry(ctx, "catalogue", func() (err error) {
		canonical, ok, err = o.session.Catalogue(ctx, h)
		return err
	})
	if err != nil {
		return err
	}
	if !ok {
		o.p.Learn(h, nil)
		return nil
	}
	c, err := wire.ParseCatalogue(canonical)
	if err == nil && wire.HashCatalogue(canonical) != h {
		err = errors.New("its bytes have another hash")
	}
	if err != nil {
		o.log.Error("catalogue is unreadable", slog.String("hash", fmt.Sprintf("%x", h[:])), slog.Any("error", err))
		c = nil
	}
	o.p.Learn(h, c)
	return nil
}

// commit makes durable what there is when it is time.
func (o *owner) commit(ctx context.Context) error {
	now := o.cfg.Clock.NowNS()
	if !o.p.Dirty() {
		o.dirtyNS = 0
		return nil
	}
	if o.dirtyNS == 0 {
		o.dirtyNS = now
	}
	switch {
	case o.p.OutputBytes() >= o.commitBytes():
	case o.p.OutputBytes() > 0 && now-o.commitNS >= int64(o.cfg.CommitInterval):
	case now-o.dirtyNS >= int64(o.cfg.IdleCommit):
	default:
		return nil
	}
	c := o.p.Commit()
	if err := o.session.Commit(ctx, c.Out, c.State, c.Offset); err != nil {
		return fmt.Errorf("sequence: commit %d records: %w", len(c.Out), err)
	}
	o.p.Committed()
	o.commits++
	o.commitNS, o.dirtyNS = now, 0
	o.commitFor = time.Duration(o.cfg.Clock.NowNS() - now)
	return nil
}

// tickDue returns the clock at which a tick is wanted: when something waits for
// a time that no record has reached, and the partition has nothing more to read.
// The clock only paces: what a tick moves is decided by its LogAppendTime.
func (o *owner) tickDue() (int64, bool) {
	at, ok := o.p.NextDeadline()
	if !ok || o.p.Position() < o.end {
		return 0, false
	}
	if !o.ticked {
		return o.cfg.Clock.NowNS(), true
	}
	due := o.tickNS + int64(o.cfg.TickEvery)
	if left := at - o.p.NowMS(); left > 0 {
		due = max(due, o.readNS+min(left, maxTickMS)*1e6)
	}
	return due, true
}

// maxTickMS keeps the sum above in range.
const maxTickMS = int64(1e12)

func (o *owner) tick(ctx context.Context) error {
	due, ok := o.tickDue()
	now := o.cfg.Clock.NowNS()
	if !ok || now < due {
		return nil
	}
	err := o.retry(ctx, "tick", func() error { return o.session.Tick(ctx) })
	o.tickNS, o.ticked = now, true
	return err
}

// Alarms are counted in full and logged at most alarmBurst times in alarmPeriod:
// a car that sends garbage must not fill a disk with words.
const (
	alarmBurst  = 10
	alarmPeriod = int64(10 * time.Second)
)

// tellAlarms logs what the core wants somebody to look at.
func (o *owner) tellAlarms() {
	now := o.cfg.Clock.NowNS()
	if now-o.alarmNS >= alarmPeriod {
		if o.alarms > alarmBurst {
			o.log.Warn("more sequencer alarms than were logged", slog.Int("not_logged", o.alarms-alarmBurst))
		}
		o.alarmNS, o.alarms = now, 0
	}
	for _, a := range o.p.Alarms() {
		if o.alarms++; o.alarms > alarmBurst {
			continue
		}
		o.log.Warn("sequencer alarm", slog.String("what", a.What), slog.String("car", a.Car),
			slog.String("batch", a.ID.String()), slog.Uint64("last", a.Last), slog.Int64("offset", a.Offset))
	}
}

// show publishes a snapshot, at most every snapshotEvery unless now is set.
func (o *owner) show(now bool) {
	at := o.cfg.Clock.NowNS()
	if !now && at-o.shownNS < snapshotEvery {
		return
	}
	o.shownNS = at
	s := PartitionSnapshot{Partition: o.session.Partition()}
	if o.p != nil {
		s = o.p.Snapshot()
	}
	if o.state == StateStopped {
		s.Cars = nil
	}
	s.State, s.Error, s.Failing, s.End, s.Commits, s.CommitFor = o.state, o.failure, o.failing, o.end, o.commits, o.commitFor
	o.publish(s)
}
