package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/kafka"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/formats"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// utc is that of boot time 0: not so old that the sequencer moves records' times.
var utc = time.Now().Add(-time.Minute).Truncate(time.Millisecond).UnixNano()

// recording is a log of two cars with all lanes: out of order, with copies.
func recording() []topic.Record {
	var recs []topic.Record
	for n, name := range []string{"car-1", "car-2"} {
		car := sequencetest.NewCar(name, 1, uint64(7+n))
		recs = append(recs, car.Open(), car.Anchor(1, 1e9, utc+1e9, 1e6))
		for i := range 60 {
			boot := int64(i+100) * 10e6
			recs = append(recs, car.Full(boot, 12), car.Live(boot))
			if i%20 == 0 {
				recs = append(recs, car.Event(boot, "flag"))
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 { // neighbours change places, within a car's own batches mostly
		i := 4 + rng.IntN(len(recs)-8)
		if string(recs[i].Key) == string(recs[i+1].Key) {
			recs[i], recs[i+1] = recs[i+1], recs[i]
		}
	}
	return append(recs, recs[10], recs[20], recs[100])
}

// pit has the recording, and what a sequencer made of it.
func pit(t *testing.T) *archivetest.Pit {
	t.Helper()
	return sequenced(t, recording(), nil)
}

// unsynced is the log of a car that gets the time when much has been written already, and
// of its next start, which never gets it.
func unsynced(t *testing.T) *archivetest.Pit {
	t.Helper()
	car, next := sequencetest.NewCar("car-1", 1, 7), sequencetest.NewCar("car-1", 2, 8)
	recs := []topic.Record{car.Open(), car.Event(1e9, "boot")}
	for i := range 20 {
		boot := int64(i+100) * 10e6
		recs = append(recs, car.Full(boot, 12), car.Live(boot))
	}
	hole := car.Full(1300e6, 12) // comes after the anchor, and with it what waits behind
	recs = append(recs, car.Full(1310e6, 12), car.Anchor(1, 1e9, utc+1e9, 1e6), hole, car.Event(1320e6, "out"))
	for i := range 20 {
		boot := int64(i+133) * 10e6
		recs = append(recs, car.Full(boot, 12), car.Live(boot))
	}
	other := sequencetest.NewCar("car-2", 1, 9)
	recs = append(recs, other.Open(), other.Full(1e9, 12), other.Anchor(1, 1e9, utc+1e9, 1e6), other.Full(2e9, 12),
		next.Open(wire.Predecessor{Epoch: car.Epoch}), next.Full(1e9, 12), next.Event(2e9, "again"), next.Live(1e9))
	return sequenced(t, recs, func(c *sequence.Config) { c.Reorder.AnchorWait = 0 })
}

func sequenced(t *testing.T, recs []topic.Record, more func(*sequence.Config)) *archivetest.Pit {
	t.Helper()
	p := archivetest.Open(t, "")
	for _, car := range []string{"car-1", "car-2"} {
		p.Catalogue(sequencetest.Catalogue(car))
	}
	p.Batches(recs...)
	p.Sequence(more)
	return p
}

// writer returns a writer into the same cluster.
func writer(t *testing.T, p *archivetest.Pit, prefix string) *kafka.Writer {
	t.Helper()
	w, err := kafka.OpenWriter(t.Context(), kafka.Config{Brokers: p.Cluster.Brokers(), Prefix: prefix, AllowWeak: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// source returns what plays the pit's recording in a format.
func source(p *archivetest.Pit, format string, names topic.Names) replay.Source {
	a := p.Archive(archive.Options{})
	if format == replay.FormatBatches {
		return &replay.Batches{Archive: a, Order: archive.ByArrival, Topic: names.Batches}
	}
	return &replay.Rows{
		Archive: a, Names: names, Query: archive.Query{Lanes: wire.Lanes[:]},
		Format: func() (sequence.Format, error) {
			return formats.OfLanes(format, wire.Lanes[:], formats.Options{SchemaID: func(string) uint32 { return 7 }})
		},
	}
}

// into plays the recording into topics under a prefix.
func into(t *testing.T, p *archivetest.Pit, format, prefix string) *kafka.Writer {
	t.Helper()
	w := writer(t, p, prefix)
	sink := replay.NewTarget(w, p.Past, format, archivetest.Partitions, true, func(s string) { t.Errorf("note: %s", s) })
	st, err := replay.Play(t.Context(), source(p, format, w.Names()), replay.NewPace(replay.Max), sink)
	if err == nil {
		err = sink.Flush(t.Context())
	}
	if err != nil || st.Items == 0 || st.Items != sink.Written().Records || sink.Written().Catalogues != 2 {
		t.Fatalf("%s into %s: %+v, %+v: %v", format, prefix, st, sink.Written(), err)
	}
	return w
}

// bytesOf returns a topic's records as text, in order; of batches without the time.
func bytesOf(p *archivetest.Pit, name string) []string {
	var out []string
	for _, r := range p.Read(name) {
		s := fmt.Sprintf("%d/%d %s %x", r.Partition, r.Offset, r.Key, r.Value)
		for _, h := range r.Headers {
			s += fmt.Sprintf(" %s=%s", h.Key, h.Value)
		}
		if !strings.HasSuffix(name, ".batches") {
			s += fmt.Sprintf(" at %d", r.TimestampMS)
		}
		out = append(out, s)
	}
	return out
}

func TestTwiceIsTheSameBytes(t *testing.T) {
	p := pit(t)
	for _, format := range replay.FormatNames() {
		t.Run(format, func(t *testing.T) {
			one, two := into(t, p, format, format+"-1").Names(), into(t, p, format, format+"-2").Names()
			n := 0
			for _, pair := range [][2]string{{one.Batches, two.Batches}, {one.Samples, two.Samples}, {one.Live, two.Live}, {one.Events, two.Events}, {one.Catalogues, two.Catalogues}} {
				if (format == replay.FormatBatches) == strings.HasSuffix(pair[0], ".batches") || strings.HasSuffix(pair[0], ".catalogues") {
					a, b := bytesOf(p, pair[0]), bytesOf(p, pair[1])
					if n += len(a); !slices.Equal(a, b) || len(a) == 0 {
						t.Errorf("%s and %s: %d and %d records differ", pair[0], pair[1], len(a), len(b))
					}
				}
			}
			if n < 60 {
				t.Errorf("%d records only", n)
			}
		})
	}
}

// Rows that are played are those that the sequencer wrote, byte for byte, also those
// that it wrote before it knew the time.
func TestRowsAreTheSequencers(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *archivetest.Pit{"synced": pit, "a late anchor": unsynced} {
		t.Run(name, func(t *testing.T) { checkRows(t, open(t)) })
	}
}

func checkRows(t *testing.T, p *archivetest.Pit) {
	names, again := p.Cluster.Names(), into(t, p, formats.JSON, "again").Names()
	plain := func(name string) []string {
		var out []string
		for _, r := range p.Read(name) {
			s := fmt.Sprintf("%s %s %d", r.Key, r.Value, r.TimestampMS)
			for _, h := range r.Headers {
				if h.Key != sequence.HeaderMade { // says what an output leaves out
					s += fmt.Sprintf(" %s=%s", h.Key, h.Value)
				}
			}
			out = append(out, s)
		}
		slices.Sort(out)
		return out
	}
	late := len(p.Read(names.Late))
	for _, pair := range [][2]string{{names.Samples, again.Samples}, {names.Live, again.Live}, {names.Events, again.Events}} {
		want, got := plain(pair[0]), plain(pair[1])
		if len(want) == 0 || late == 0 && !slices.Equal(want, got) {
			t.Errorf("%s has %d records, %s %d; late are %d", pair[0], len(want), pair[1], len(got), late)
		}
		for i := range min(len(want), len(got)) {
			if want[i] != got[i] {
				t.Fatalf("%s\n%s", want[i], got[i])
			}
		}
	}
	last := map[int32]int64{}
	for _, r := range p.Read(again.Samples) {
		if r.TimestampMS < last[r.Partition] {
			t.Fatalf("event time goes back from %d to %d", last[r.Partition], r.TimestampMS)
		}
		last[r.Partition] = r.TimestampMS
	}
}

// Another receiver decides about replayed batches as the first one did.
func TestBatchesAreSequencedAlike(t *testing.T) {
	p := pit(t)
	w := into(t, p, replay.FormatBatches, "again")
	other := archivetest.Open(t, w.Names().Batches[:len("again")], p.Cluster.Brokers()...)
	other.Sequence(nil)
	rows := func(name string) (out []string) {
		for _, r := range p.Read(name) {
			place, _ := r.Get(topic.HeaderRow)
			out = append(out, fmt.Sprintf("%s %s %s", r.Key, place, r.Value))
		}
		slices.Sort(out)
		return out
	}
	for _, pair := range [][2]string{{p.Cluster.Names().Samples, w.Names().Samples}, {p.Cluster.Names().Events, w.Names().Events}} {
		want, got := rows(pair[0]), rows(pair[1])
		if len(want) == 0 || !slices.Equal(want, got) {
			t.Errorf("%s: %d records, %s: %d", pair[0], len(want), pair[1], len(got))
		}
	}
}

func TestInterruptedReplayGoesOn(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *archivetest.Pit{"synced": pit, "a late anchor": unsynced} {
		t.Run(name, func(t *testing.T) { checkResume(t, open(t)) })
	}
}

// The start without the time comes first: what it has is due later than the times of
// what follows it, which must not be left out for that.
func TestInterruptedReplayGoesOnBehindItsTimes(t *testing.T) {
	one, two := sequencetest.NewCar("car-1", 1, 7), sequencetest.NewCar("car-1", 2, 8)
	recs := []topic.Record{one.Open()}
	for i := range 5 {
		recs = append(recs, one.Full(int64(i+1)*1e9, 12))
	}
	recs = append(recs, two.Open(wire.Predecessor{Epoch: one.Epoch}), two.Anchor(1, 1e9, utc+1e9, 1e6))
	for i := range 20 {
		recs = append(recs, two.Full(int64(i+1)*1e9, 12))
	}
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	p.Batches(recs[:3]...)
	for stamp := p.Read(p.Cluster.Names().Batches)[0].TimestampMS; time.Now().UnixMilli() <= stamp+1; {
		runtime.Gosched() // the rest has another time in the log
	}
	p.Batches(recs[3:]...)
	p.Sequence(func(c *sequence.Config) { c.Reorder.AnchorWait = 0 })
	checkResume(t, p)
}

func checkResume(t *testing.T, p *archivetest.Pit) {
	t.Helper()
	for _, format := range []string{replay.FormatBatches, formats.JSON} {
		record := func(src replay.Source, limit int) (out []string, st replay.Stats) {
			enough := errors.New("enough")
			st, err := replay.Play(t.Context(), src, replay.NewPace(replay.Max), replay.SinkFunc(func(_ context.Context, it *replay.Item) error {
				if len(out) == limit {
					return enough
				}
				out = append(out, fmt.Sprintf("%s %x", it.Record.Key, it.Record.Value))
				return nil
			}))
			if err != nil && !errors.Is(err, enough) {
				t.Fatal(err)
			}
			return out, st
		}
		names := topic.NewNames("x")
		whole, _ := record(source(p, format, names), 1<<30)
		for _, at := range []int{1, 7, len(whole) / 2, len(whole) - 1} {
			got, st := record(source(p, format, names), at)
			rest, _ := record(replay.Resumed{Source: source(p, format, names), AtNS: st.LastNS, Skip: st.Same}, 1<<30)
			if got = append(got, rest...); !slices.Equal(got, whole) {
				t.Errorf("%s: after %d it goes on to %d of %d records", format, at, len(got), len(whole))
			}
		}
	}
}

// ending is a target that calls end when some items are durable, and goes on.
type ending struct {
	*replay.Target
	left int
	end  func()
}

func (e *ending) Put(ctx context.Context, it *replay.Item) error {
	if e.left--; e.left == -1 {
		if err := e.Flush(ctx); err != nil {
			return err
		}
		e.end()
	}
	return e.Target.Put(ctx, it)
}

// What was given to a cluster that fails is not what it has: a replay goes on behind
// what is durable.
func TestFailedReplayGoesOnBehindWhatIsDurable(t *testing.T) {
	p := pit(t)
	w := writer(t, p, "x")
	sink := replay.NewTarget(w, p.Past, formats.JSON, archivetest.Partitions, true, func(string) {})
	const durable = 30
	failing := &ending{Target: sink, left: durable, end: func() { _ = w.Close() }} // from then on nothing is written
	st, err := replay.Play(t.Context(), source(p, formats.JSON, w.Names()), replay.NewPace(replay.Max), failing)
	if err == nil || sink.Flush(t.Context()) == nil {
		t.Fatalf("a writer that is closed takes all: %+v", st)
	}
	count := func(src replay.Source) (n int) {
		if _, err := replay.Play(t.Context(), src, replay.NewPace(replay.Max), replay.SinkFunc(func(context.Context, *replay.Item) error { n++; return nil })); err != nil {
			t.Fatal(err)
		}
		return n
	}
	whole := count(source(p, formats.JSON, w.Names()))
	at, same := sink.Durable()
	if rest := count(replay.Resumed{Source: source(p, formats.JSON, w.Names()), AtNS: at, Skip: same}); durable+rest != whole {
		t.Errorf("%d durable, it goes on with %d of %d (given: %d)", durable, rest, whole, st.Items)
	}
}

func TestTargetRefuses(t *testing.T) {
	p := pit(t)
	ours := func(n string) bool { return strings.HasPrefix(n, "telemetry.") }
	guard := func(prefix, format string, past *kafka.Past) error {
		w := writer(t, p, prefix)
		return replay.NewTarget(w, p.Past, format, 2, false, func(string) {}).Guard(t.Context(), past, ours)
	}
	other := archivetest.Open(t, "other", p.Cluster.Brokers()...) // another receiver's topics
	_ = other
	far := archivetest.Open(t, "") // another cluster, the same names
	cases := []struct {
		name, prefix, format string
		past                 *kafka.Past
		refused              string
	}{
		{"the batches that are read", "telemetry", replay.FormatBatches, p.Past, "telemetry.batches"},
		{"the rows beside them", "telemetry", formats.JSON, p.Past, "telemetry.samples"},
		{"rows of another receiver", "other", formats.JSON, p.Past, "other.sequence.state"},
		{"rows of a receiver, out of files", "telemetry", formats.Arrow, nil, "telemetry.sequence.state"},
		{"batches for another receiver", "other", replay.FormatBatches, p.Past, ""},
		{"a new prefix", "new", formats.JSON, p.Past, ""},
		{"batches out of files", "telemetry", replay.FormatBatches, nil, ""},
		{"the same names elsewhere", "telemetry", replay.FormatBatches, far.Past, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := guard(c.prefix, c.format, c.past)
			if c.refused == "" && err != nil || c.refused != "" && (!errors.Is(err, replay.ErrTarget) || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("%v, want %q refused", err, c.refused)
			}
		})
	}
}

// A topic that is there already must not delete at once what is played.
func TestTargetChecksTopics(t *testing.T) {
	p := pit(t)
	w := writer(t, p, "kept")
	spec := topic.Spec{Name: "kept.samples", Partitions: 3, Config: map[string]string{
		topic.ConfigCleanup: "delete", topic.ConfigTimestamp: "CreateTime", topic.ConfigRetention: "3600000", topic.ConfigMaxBytes: "1048576",
	}}
	if _, err := w.Ensure(t.Context(), []topic.Spec{spec}, 0); err != nil {
		t.Fatal(err)
	}
	sink := replay.NewTarget(w, p.Past, formats.JSON, 2, false, func(string) {})
	old := &replay.Item{Record: topic.Record{Topic: "kept.samples", Partition: -1, Value: []byte("x"), TimestampMS: 1_600_000_000_000}}
	if err := sink.Prepare(t.Context(), old); !errors.Is(err, kafka.ErrTopic) || !strings.Contains(err.Error(), "would be deleted at once") || !strings.Contains(err.Error(), "retention.ms=-1") {
		t.Errorf("short retention: %v", err)
	}
	w = writer(t, p, "compacted")
	spec.Name, spec.Config[topic.ConfigCleanup] = "compacted.samples", "compact"
	if _, err := w.Ensure(t.Context(), []topic.Spec{spec}, 0); err != nil {
		t.Fatal(err)
	}
	sink = replay.NewTarget(w, p.Past, formats.JSON, 2, false, func(string) {})
	if err := sink.Prepare(t.Context(), old); !errors.Is(err, kafka.ErrTopic) || !strings.Contains(err.Error(), "cleanup.policy") {
		t.Errorf("compacted: %v", err)
	}
	w = writer(t, p, "fresh")
	sink = replay.NewTarget(w, p.Past, formats.JSON, 5, false, func(string) {})
	old.Record.Topic = "fresh.samples"
	if err := errors.Join(sink.Prepare(t.Context(), old), sink.Put(t.Context(), old), sink.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if recs := p.Read("fresh.samples"); len(recs) != 1 || !bytes.Equal(recs[0].Value, []byte("x")) || recs[0].TimestampMS != old.Record.TimestampMS {
		t.Errorf("records %+v", recs)
	}
	if there, err := w.Exists(t.Context(), "fresh.samples", "fresh.live", "fresh.batches"); err != nil || len(there) != 1 || there["fresh.samples"] != 5 {
		t.Errorf("topics %v: %v", there, err)
	}
}
