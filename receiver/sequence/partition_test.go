package sequence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/reorder"
	"telemetry/wire"
)

const (
	ms  = int64(1e6)
	utc = int64(1_800_000_000_000_000_000)
)

func config() sequence.Config {
	c := sequence.Defaults()
	c.Topics = topic.NewNames("")
	c.NewFormat = func() sequence.Format { return jsonrow.New() }
	return c
}

// bench drives one Partition by hand: a log, time, and what comes out.
type bench struct {
	t       *testing.T
	cfg     sequence.Config
	p       *sequence.Partition
	log     []topic.Record
	nowMS   int64
	deleted int64 // offsets below it cannot be read again
	out     []topic.Record
	state   map[string]topic.Record
	offset  int64
	catalog *wire.Catalogue
}

func newBench(t *testing.T, cfg sequence.Config, catalog *wire.Catalogue) *bench {
	b := &bench{t: t, cfg: cfg, nowMS: utc / ms, state: make(map[string]topic.Record), catalog: catalog}
	b.load(0)
	return b
}

// load makes a new owner out of what has been committed.
func (b *bench) load(logStart int64) {
	b.t.Helper()
	l := sequence.Loaded{Offset: b.offset, Partitions: 1, LogStart: logStart}
	for _, r := range b.state {
		l.State = append(l.State, r)
	}
	p, err := sequence.NewPartition(b.cfg, 0, l)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.p != nil {
		b.p.Close()
	}
	b.p = p
	for _, r := range b.log[b.offset:] {
		b.p.Apply(&r)
		b.p.Advance() // what is read again comes in several fetches
	}
}

// apply appends records to the log and applies them.
func (b *bench) apply(recs ...topic.Record) {
	for _, r := range recs {
		r.Offset, r.TimestampMS = int64(len(b.log)), b.nowMS
		b.log = append(b.log, r)
		b.p.Apply(&r)
	}
}

// tick moves time by a record that carries nothing else.
func (b *bench) tick(d time.Duration) {
	b.nowMS += d.Milliseconds()
	b.apply(topic.Record{Headers: []topic.Header{{Key: sequence.HeaderTick, Value: []byte("1")}}})
}

// write drains and commits everything, and returns the new output.
func (b *bench) write() []topic.Record {
	b.t.Helper()
	b.p.Advance()
	mark := len(b.out)
	for {
		n := b.p.Drain(b.cfg.CommitBytes)
		if n.Any() {
			b.answer(n)
			continue
		}
		if !b.p.Dirty() {
			break
		}
		b.commit()
	}
	return b.out[mark:]
}

func (b *bench) answer(n sequence.Needs) {
	for _, o := range n.Offsets {
		if o < b.deleted {
			b.p.Gone(o)
			continue
		}
		r := b.log[o]
		b.p.Provide(&r)
	}
	for _, h := range n.Catalogues {
		if b.catalog != nil && h == b.catalog.Hash() {
			b.p.Learn(h, b.catalog)
		} else {
			b.p.Learn(h, nil)
		}
	}
}

func (b *bench) commit() {
	c := b.p.Commit()
	for _, r := range c.Out {
		b.out = append(b.out, clone(r))
	}
	for _, r := range c.State {
		b.state[string(r.Key)] = clone(r)
	}
	b.offset = c.Offset
	b.p.Committed()
}

func clone(r topic.Record) topic.Record {
	r.Key, r.Value, r.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
	}
	return r
}

// places lists records as "topic lane#seq:row", gaps as "gaps lane#first-last change reason".
func places(recs []topic.Record) []string {
	var s []string
	for i := range recs {
		r := &recs[i]
		name := strings.TrimPrefix(r.Topic, "telemetry.")
		var v struct {
			Lane, Row, Change, Reason, Verdict string
			Seq, First, Last                   uint64
			Clock                              string
		}
		switch name {
		case "dlq":
			why, _ := r.Get(topic.HeaderReason)
			s = append(s, "dlq "+why)
			continue
		default:
			if err := json.Unmarshal(r.Value, &v); err != nil {
				s = append(s, name+" bad JSON: "+err.Error())
				continue
			}
		}
		switch name {
		case "gaps":
			s = append(s, fmt.Sprintf("gaps %s#%d-%d %s %s", v.Lane, v.First, v.Last, v.Change, v.Reason))
		case "timemap":
			s = append(s, "timemap "+v.Verdict)
		default:
			s = append(s, fmt.Sprintf("%s %s#%d:%s %s", name, v.Lane, v.Seq, v.Row, v.Clock))
		}
	}
	return s
}

func want(t *testing.T, what string, got []topic.Record, want ...string) {
	t.Helper()
	if g := places(got); !slices.Equal(g, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, g, want)
	}
}

// opened returns a bench and a car whose epoch is open and synced.
func opened(t *testing.T, cfg sequence.Config) (*bench, *sequencetest.Car) {
	b := newBench(t, cfg, sequencetest.Catalogue("car-1"))
	c := sequencetest.NewCar("car-1", 1, 0xabc)
	b.apply(c.Open(), c.Anchor(1, 1000*ms, utc+1000*ms, ms))
	want(t, "opening", b.write(), "timemap first")
	return b, c
}

func TestInOrderGoesOutAtOnce(t *testing.T) {
	b, c := opened(t, config())
	b.apply(c.Event(1000*ms, "mark"), c.Full(1000*ms, 2), c.Live(1000*ms), c.Full(1002*ms, 1))
	want(t, "output", b.write(),
		"events critical#3:1/1 synced", "live live#1:1/1 synced",
		"samples full#1:1/2 synced", "samples full#1:2/2 synced", "samples full#2:1/1 synced")
	if b.offset != int64(len(b.log)) {
		t.Errorf("committed offset %d, want %d", b.offset, len(b.log))
	}
}

func TestHoleWaitsThenGapThenLate(t *testing.T) {
	b, c := opened(t, config())
	lost := c.Full(1000*ms, 1)
	b.apply(c.Full(1001*ms, 1))
	want(t, "behind a hole", b.write())
	if b.offset != int64(len(b.log)-1) {
		t.Errorf("committed offset %d, want that of the held batch, %d", b.offset, len(b.log)-1)
	}
	b.tick(time.Minute)
	want(t, "window over", b.write(), "gaps full#1-1 settled gap", "samples full#2:1/1 synced")
	b.apply(lost)
	want(t, "late", b.write(), "gaps full#1-1 withdrawn none", "late full#1:1/1 synced")
	b.apply(lost)
	want(t, "duplicate", b.write())
	s := b.p.Snapshot()
	if s.Released != 3 || s.Late != 1 || s.Duplicates != 1 || s.Missing != 1 || s.Found != 1 {
		t.Errorf("counters: %+v", s.Counters)
	}
}

func TestLossRefinesGap(t *testing.T) {
	b, c := opened(t, config())
	c.Full(1000*ms, 1)
	b.apply(c.Full(1001*ms, 1))
	b.tick(time.Minute)
	b.write()
	b.apply(c.Loss(wire.LaneFull, 1, 1, wire.ReasonQuota))
	want(t, "loss record", b.write(), "gaps full#1-1 refined quota")
}

func TestPulledGoesToBothTopicsOnce(t *testing.T) {
	b, c := opened(t, config())
	first, second := c.Full(1000*ms, 1), c.Full(1001*ms, 1)
	b.apply(sequencetest.Pulled(second))
	want(t, "pulled", b.write(), "pulled full#2:1/1 synced")
	b.apply(first, second)
	want(t, "its turn", b.write(), "samples full#1:1/1 synced", "samples full#2:1/1 synced")
}

func TestLateAnchorMakesRowsUnsynced(t *testing.T) {
	cfg := config()
	b := newBench(t, cfg, sequencetest.Catalogue("car-1"))
	c := sequencetest.NewCar("car-1", 1, 1)
	b.apply(c.Open(), c.Full(1000*ms, 1))
	want(t, "waits for an anchor", b.write())
	b.tick(4999 * time.Millisecond)
	want(t, "still waits", b.write())
	b.tick(time.Millisecond)
	out := b.write()
	want(t, "after 5 s", out, "samples full#1:1/1 unsynced")
	if out[0].TimestampMS != utc/ms {
		t.Errorf("record time %d, want its LogAppendTime %d", out[0].TimestampMS, utc/ms)
	}
	b.load(0) // what was written stands in the state
	b.apply(c.Anchor(1, 1500*ms, utc+1500*ms, ms), c.Full(1600*ms, 1))
	out = b.write()
	want(t, "after the anchor", out, "timemap first", "samples full#2:1/1 synced")
	if told := `"unsynced":{"streams":[{"lane":"critical","numbers":[[1,2]]},{"lane":"full","numbers":[[1,1]]}]}`; !bytes.Contains(out[0].Value, []byte(told)) {
		t.Errorf("the time map is %s, want %s in it", out[0].Value, told)
	}
	b.apply(c.Anchor(2, 1700*ms, utc+1700*ms+ms/10, ms/10))
	if out = b.write(); len(out) != 1 || bytes.Contains(out[0].Value, []byte("unsynced")) {
		t.Errorf("the next anchor's is %q", places(out))
	}
}

func TestTakeoverWritesNothingTwice(t *testing.T) {
	for _, budget := range []int64{0, 1 << 20} {
		t.Run(fmt.Sprintf("budget %d", budget), func(t *testing.T) {
			cfg := config()
			cfg.Budget = sequence.NewBudget(budget)
			whole, wc := opened(t, cfg)
			taken, tc := opened(t, cfg)
			script := func(c *sequencetest.Car) []topic.Record {
				a, b2, d := c.Full(1000*ms, 2), c.Full(1002*ms, 2), c.Full(1004*ms, 2)
				e := c.Event(1005*ms, "mark")
				f := c.Full(1006*ms, 1)
				return []topic.Record{b2, a, f, {Value: []byte("no batch")}, e, a, sequencetest.Pulled(f), b2, d, c.Live(1007 * ms), c.Anchor(2, 1500*ms, utc+1600*ms, ms)}
			}
			for _, r := range script(wc) {
				whole.apply(r)
				whole.write()
			}
			for _, r := range script(tc) {
				taken.apply(r)
				taken.write()
				taken.load(0)
				taken.write()
			}
			if got, want := places(taken.out), places(whole.out); !slices.Equal(got, want) {
				t.Errorf("with takeovers:\n got %q\nwant %q", got, want)
			}
			for i := range whole.out {
				if !bytes.Equal(whole.out[i].Value, taken.out[i].Value) {
					t.Errorf("value %d differs:\n%s\n%s", i, whole.out[i].Value, taken.out[i].Value)
				}
			}
			whole.p.Close()
			taken.p.Close()
			if got := cfg.Budget.Used(); got != 0 {
				t.Errorf("%d bytes of the budget are lost", got)
			}
		})
	}
}

// TestRule22TimeStandsStillWhileTheHeldAreReadAgain: another car's records have
// moved the partition's time beyond that of a car whose batches wait.
func TestRule22TimeStandsStillWhileTheHeldAreReadAgain(t *testing.T) {
	b, car := opened(t, config())
	hole, x, y := car.Full(1000*ms, 1), car.Full(1001*ms, 1), car.Full(1002*ms, 1)
	b.apply(x, y)
	b.write()
	b.nowMS += 10
	b.apply(sequencetest.NewCar("car-2", 1, 1).Event(0, "x"))
	b.write()
	b.load(0)
	b.apply(hole)
	want(t, "after the takeover", b.write(), "samples full#1:1/1 synced", "samples full#2:1/1 synced", "samples full#3:1/1 synced")
}

func TestUncommittedWorkIsRepeatedExactly(t *testing.T) {
	b, c := opened(t, config())
	c.Full(1000*ms, 1)
	b.apply(c.Full(1001*ms, 1))
	b.write()
	b.tick(time.Minute)
	b.p.Advance()
	b.answer(b.p.Drain(1 << 20))
	b.p.Drain(1 << 20)
	first := places(b.p.Commit().Out) // never becomes durable
	b.load(0)
	if got := places(b.write()); !slices.Equal(got, first) || len(got) != 2 {
		t.Errorf("the next owner wrote %q, the first one %q", got, first)
	}
}

func TestLongReleaseIsCutIntoCommits(t *testing.T) {
	cfg := config()
	cfg.CommitBytes = 4000
	cfg.Budget = nil
	b, c := opened(t, cfg)
	lost := c.Full(999*ms, 1)
	for i := range 200 {
		b.apply(c.Full(1000*ms+int64(i)*ms, 1))
	}
	b.write()
	b.apply(lost)
	b.p.Advance()
	commits := 0
	for {
		n := b.p.Drain(cfg.CommitBytes)
		if n.Any() {
			b.answer(n)
			continue
		}
		if !b.p.Dirty() {
			break
		}
		if got := b.p.OutputBytes(); got > 2*cfg.CommitBytes {
			t.Fatalf("a commit of %d bytes", got)
		}
		b.commit()
		commits++
		b.load(0) // a new owner after every commit
	}
	if commits < 10 {
		t.Errorf("%d commits, want many", commits)
	}
	var seqs []string
	for i := range b.out {
		if s, ok := b.out[i].Get(topic.HeaderSeq); ok && b.out[i].Topic == b.cfg.Topics.Samples {
			seqs = append(seqs, s)
		}
	}
	for i, s := range seqs {
		if s != fmt.Sprint(i+1) {
			t.Fatalf("row %d is of batch %s", i, s)
		}
	}
	if len(seqs) != 201 {
		t.Errorf("%d rows, want 201", len(seqs))
	}
	if b.offset != int64(len(b.log)) {
		t.Errorf("committed offset %d, want %d", b.offset, len(b.log))
	}
}

func TestMemoryLimitReadsAgain(t *testing.T) {
	cfg := config()
	cfg.Budget, cfg.CarBytes = sequence.NewBudget(1<<20), 3000
	b, c := opened(t, cfg)
	lost := c.Full(999*ms, 1)
	for i := range 20 {
		b.apply(c.Full(1000*ms+int64(i)*ms, 1))
	}
	b.write()
	if got := b.p.Snapshot().Cars[0].HeldBytes; got == 0 || got > cfg.CarBytes || got != cfg.Budget.Used() {
		t.Errorf("held %d bytes, limit %d, budget %d", got, cfg.CarBytes, cfg.Budget.Used())
	}
	b.apply(lost)
	if got := len(b.write()); got != 21 {
		t.Errorf("%d rows, want 21", got)
	}
	if got := b.p.Snapshot().Reread; got < 10 {
		t.Errorf("%d batches read again, want most of 20", got)
	}
	if cfg.Budget.Used() != 0 {
		t.Errorf("%d bytes still taken", cfg.Budget.Used())
	}
}

func TestRetentionWhileWaitingBecomesGap(t *testing.T) {
	cfg := config()
	cfg.Budget = nil
	b, c := opened(t, cfg)
	lost := c.Full(999*ms, 1)
	b.apply(c.Full(1000*ms, 1), c.Full(1001*ms, 1))
	b.write()
	b.deleted = int64(len(b.log)) - 1
	b.apply(lost)
	want(t, "output", b.write(), "samples full#1:1/1 synced", "gaps full#2-2 settled retention", "samples full#3:1/1 synced")
}

func TestMissingCatalogue(t *testing.T) {
	b, c := opened(t, config())
	b.catalog = nil
	b.apply(c.Full(1000*ms, 1), c.Event(1001*ms, "mark"))
	want(t, "output", b.write(), "events critical#3:1/1 synced", "dlq no catalogue", "gaps full#1-1 settled no catalogue")
	b.catalog = sequencetest.Catalogue("car-1")
	b.apply(c.Full(1002*ms, 1))
	want(t, "when it is there", b.write(), "samples full#2:1/1 synced")
}

func TestStartInsideTheLog(t *testing.T) {
	b := newBench(t, config(), sequencetest.Catalogue("car-1"))
	c := sequencetest.NewCar("car-1", 6, 1)
	for range 40 {
		c.Full(0, 1)
	}
	c.Base = 41
	b.load(17)
	b.log = make([]topic.Record, 17)
	b.apply(c.Full(1000*ms, 1))
	b.tick(5 * time.Second)
	want(t, "output", b.write(), "gaps full#1-40 settled retention", "samples full#41:1/1 unsynced")
}

func TestAbandonRecord(t *testing.T) {
	cfg := config()
	cfg.Reorder.Windows[wire.LaneFull] = reorder.None
	b, c := opened(t, cfg)
	c.Full(1000*ms, 1)
	b.apply(c.Full(1001*ms, 1))
	b.write()
	op := func(epoch string) topic.Record {
		return topic.Record{Key: []byte("car-1"), Headers: []topic.Header{
			{Key: topic.HeaderCar, Value: []byte("car-1")},
			{Key: sequence.HeaderOperator, Value: []byte(sequence.OperatorAbandon)},
			{Key: topic.HeaderEpoch, Value: []byte(epoch)},
			{Key: topic.HeaderNonce, Value: []byte("0000000000000abc")},
		}}
	}
	b.apply(op("7"))
	want(t, "unknown epoch", b.write(), "dlq operator")
	b.apply(op("1"))
	want(t, "output", b.write(), "gaps full#1-1 settled card replaced", "samples full#2:1/1 synced")
	b.load(0)
	want(t, "after a takeover", b.write())
}

func TestStateRefused(t *testing.T) {
	b, _ := opened(t, config())
	for key, r := range b.state {
		for n := range len(r.Value) {
			l := sequence.Loaded{Offset: 0, Partitions: 1}
			for k, s := range b.state {
				if k == key {
					s.Value = s.Value[:n]
				}
				l.State = append(l.State, s)
			}
			if _, err := sequence.NewPartition(b.cfg, 0, l); err == nil && n > 0 {
				t.Fatalf("state of %s cut to %d of %d bytes was taken", key, n, len(r.Value))
			}
		}
	}
	l := sequence.Loaded{Offset: b.offset + 1, Partitions: 1, State: []topic.Record{b.state[sequence.PartitionKey]}}
	if _, err := sequence.NewPartition(b.cfg, 0, l); err == nil {
		t.Error("a group offset beyond the state was taken")
	}
	if err := b.p.End(b.p.Position() - 1); err != nil {
		t.Errorf("a partition that was not restored: %v", err)
	}
	b.load(0)
	if err := b.p.End(b.offset - 1); err == nil {
		t.Error("a recreated topic was taken")
	}
}
