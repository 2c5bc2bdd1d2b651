package archive_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

const utc = int64(1_790_000_000_000_000_000) // of boot time 0

// batchRows is how many rows a test batch has; batches are 10 ms apart.
const batchRows = 5

// recording makes a car's log: opening, anchor, n batches, an event, and what the test
// adds; batch 3 is missing when holes are wanted.
func recording(car *sequencetest.Car, n int, hole bool) []topic.Record {
	recs := []topic.Record{car.Open(), car.Anchor(1, 1e9, utc+1e9, 1e6)}
	for i := range n {
		r := car.Full(int64(i+100)*10e6, batchRows)
		if hole && i == 2 {
			continue
		}
		recs = append(recs, r)
	}
	return append(recs, car.Event(1_500e6, "pit_stop"))
}

// rowKey names one row.
type rowKey struct {
	seq  uint64
	boot int64
}

// collect reads rows into a map, and checks their order.
func collect(t *testing.T, a *archive.Archive, q archive.Query) (map[rowKey]map[string]float64, map[rowKey]int64, archive.Report) {
	t.Helper()
	values, times := map[rowKey]map[string]float64{}, map[rowKey]int64{}
	seqs := map[wire.Stream]uint64{}
	rep, err := a.Read(t.Context(), q, func(r *archive.Rows) error {
		if r.ID.Seq < seqs[r.ID.Stream] {
			t.Errorf("%s after %d", r.ID, seqs[r.ID.Stream])
		}
		seqs[r.ID.Stream] = r.ID.Seq
		if r.Table == nil {
			return nil
		}
		for i, at := range r.UTC {
			k := rowKey{r.ID.Seq, r.Boot[i]}
			if values[k] != nil {
				t.Errorf("row %v twice", k)
			}
			values[k], times[k] = map[string]float64{}, at
		}
		for i := range r.Columns {
			c := &r.Columns[i]
			for n := range c.Len() {
				row := n
				if c.Rows != nil {
					row = int(c.Rows[n])
				}
				values[rowKey{r.ID.Seq, r.Boot[row]}][c.Channel.Field] = number(c, n)
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return values, times, rep
}

func number(c *columns.Column, n int) float64 {
	switch c.Kind {
	case columns.Int:
		return float64(c.Ints[n])
	case columns.Uint:
		return float64(c.Uints[n])
	case columns.Float32:
		return float64(c.Float32[n])
	}
	return c.Float64[n]
}

// Batches arrive shuffled and twice, in two epochs with a slewed clock: what is read
// equals what the sequencer has written, rows, values and times.
func TestReadEqualsSamples(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	one := sequencetest.NewCar("car-1", 1, 7)
	recs := recording(one, 60, false)
	recs = append(recs, one.Anchor(2, 1_300e6, utc+1_300e6+400_000, 1e5)) // bends the map
	for i := range 20 {
		recs = append(recs, one.Full(int64(i+170)*10e6, batchRows))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	body := recs[2:60]
	rng.Shuffle(len(body), func(i, j int) { body[i], body[j] = body[j], body[i] })
	recs = append(recs, recs[10], recs[11])
	two := sequencetest.NewCar("car-1", 2, 8)
	recs = append(recs, two.Open(wire.Predecessor{Epoch: one.Epoch}), two.Anchor(1, 1e9, utc+10e9, 1e6))
	for i := range 5 {
		recs = append(recs, two.Full(int64(i+100)*10e6, batchRows))
	}
	p.Batches(recs...)
	p.Sequence(nil)

	type row struct {
		Seq    uint64  `json:"seq"`
		Epoch  uint32  `json:"epoch"`
		TSNS   int64   `json:"ts_ns"`
		BootNS int64   `json:"boot_ns"`
		RPM    float64 `json:"rpm"`
		Gear   float64 `json:"gear"`
	}
	for _, epoch := range []wire.Epoch{one.Epoch, two.Epoch} {
		values, times, rep := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1", Epoch: &epoch})
		n := 0
		for _, r := range p.Read(p.Cluster.Names().Samples) {
			var x row
			if err := json.Unmarshal(r.Value, &x); err != nil {
				t.Fatal(err)
			}
			if x.Epoch != epoch.Counter {
				continue
			}
			n++
			k := rowKey{x.Seq, x.BootNS}
			if times[k] != x.TSNS || values[k]["rpm"] != x.RPM || values[k]["gear"] != x.Gear {
				t.Errorf("row %v: %d %v, in samples %+v", k, times[k], values[k], x)
			}
		}
		if n == 0 || n != len(values) {
			t.Errorf("epoch %s: %d rows, %d in samples", epoch, len(values), n)
		}
		if epoch == one.Epoch && (rep.Duplicates != 2 || rep.Conflicts != 0 || rep.Missing != 0 || rep.Events != 1 || rep.Samples != uint64(2*n)) {
			t.Errorf("report %+v of %d rows", rep, n)
		}
	}
}

func TestWindowIsCutToTheRow(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(recording(car, 60, false)...)
	p.Sequence(nil)
	all, times, _ := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1"})
	if len(all) != 60*batchRows {
		t.Fatalf("%d rows", len(all))
	}
	cases := []struct {
		name     string
		from, to int64
		lanes    []wire.Lane
		want     int
	}{
		{"inside a batch", utc + 1_101e6, utc + 1_103e6, nil, 2},
		{"over batches", utc + 1_102e6, utc + 1_123e6, nil, 3 + 5 + 3},
		{"from a time on", utc + 1_590e6, 0, nil, 5},
		{"up to a time", 0, utc + 1_001e6, nil, 1},
		{"before all", 1, utc, nil, 0},
		{"behind all", utc + 5e9, utc + 6e9, nil, 0},
		{"of another lane", utc + 1_101e6, utc + 1_123e6, []wire.Lane{wire.LaneLive}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, at, _ := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1", FromNS: c.from, ToNS: c.to, Lanes: c.lanes})
			if len(got) != c.want {
				t.Errorf("%d rows, want %d", len(got), c.want)
			}
			for k := range got {
				if at[k] < c.from || c.to > 0 && at[k] >= c.to || at[k] != times[k] || fmt.Sprint(got[k]) != fmt.Sprint(all[k]) {
					t.Errorf("row %v at %d: %v", k, at[k], got[k])
				}
			}
		})
	}
	one, _, rep := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1", Take: func(_, ch string) bool { return ch == "gear" }})
	if rep.Samples != 60*batchRows || len(one[rowKey{1, 1000e6}]) != 1 {
		t.Errorf("one channel: %d samples, row %v", rep.Samples, one[rowKey{1, 1000e6}])
	}
}

func TestReportTellsWhatIsWrong(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	recs := recording(car, 10, true)
	conflict := sequencetest.NewCar("car-1", 1, 7)
	recs = append(recs, conflict.Full(7e9, batchRows)) // number 1 again, with other values
	broken := car.Full(2e9, batchRows)
	broken.Value = slices.Clone(broken.Value)
	broken.Value[len(broken.Value)-1] ^= 1
	rubbish := car.Full(2_010e6, batchRows)
	rubbish.Value = []byte("rubbish")
	unknown := sequencetest.NewCar("car-2", 1, 9)
	unknown.Hash = wire.CatalogueHash{9}
	recs = append(recs, broken, rubbish, unknown.Open(), unknown.Full(1e9, 3))
	p.Batches(recs...)
	_, _, rep := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1"})
	if rep.Conflicts != 1 || rep.Duplicates != 1 || rep.Unreadable != 2 || len(rep.Reasons) != 2 || rep.Missing != 1 || len(rep.Gaps) != 1 {
		t.Fatalf("report %+v", rep)
	}
	if g := rep.Gaps[0]; g.Range != (wire.Range{First: 3, Last: 3}) || g.FromNS >= g.ToNS || g.Stream.Lane != wire.LaneFull {
		t.Errorf("gap %+v", g)
	}
	values, _, rep := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-2"})
	if len(values) != 0 || rep.Unreadable != 1 || !strings.Contains(rep.Reasons[0], "no catalogue") {
		t.Errorf("%d rows without a catalogue, %+v", len(values), rep)
	}
	// Batches outside of the window are no gap.
	_, _, rep = collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1", FromNS: utc + 1_050e6, ToNS: utc + 1_080e6})
	if rep.Missing != 0 {
		t.Errorf("a window behind the gap: %+v", rep)
	}
}

// counted counts what is asked of a source.
type counted struct {
	archive.Source
	records atomic.Int64 // of batches
}

// Chunk implements archive.Source with small chunks, as a large topic has many.
func (c *counted) Chunk(ctx context.Context, name string, part int32, offset, end int64) ([]topic.Record, int64, error) {
	recs, next, err := c.Source.Chunk(ctx, name, part, offset, min(end, offset+500))
	if name == c.Names().Batches {
		c.records.Add(int64(len(recs)))
	}
	return recs, next, err
}

func TestSecondLookReadsOnlyItsStretch(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	const n = 12_000
	p.Batches(recording(car, n, false)...)
	src := &counted{Source: p.Past}
	a := archive.New(src, archive.Options{})
	look := func(q archive.Query) (rows int, read int64) {
		before := src.records.Load()
		got, _, _ := collect(t, a, q)
		return len(got), src.records.Load() - before
	}
	q := archive.Query{Car: "car-1", FromNS: utc + 50e9, ToNS: utc + 50e9 + 500e6}
	rows, first := look(q)
	if rows != 50*batchRows || first < n {
		t.Fatalf("%d rows of %d records", rows, first)
	}
	if rows, again := look(q); rows != 50*batchRows || again > n/2 {
		t.Errorf("second look: %d rows, %d records read of %d", rows, again, n)
	}
	p.Batches(car.Full(int64(n+100)*10e6, batchRows)) // the index grows at its end
	if rows, more := look(archive.Query{Car: "car-1", FromNS: utc + (n+100)*10e6}); rows != batchRows || more > n/2 {
		t.Errorf("what came later: %d rows, %d records read", rows, more)
	}
}

func TestSlicesGiveTheSame(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	recs := recording(car, 500, true)
	rng := rand.New(rand.NewPCG(3, 4))
	rng.Shuffle(len(recs)-2, func(i, j int) { recs[2+i], recs[2+j] = recs[2+j], recs[2+i] })
	p.Batches(append(recs, recs[5])...)
	order := func(o archive.Options) (ids []string, rep archive.Report) {
		rep, err := p.Archive(o).Batches(t.Context(), archive.Query{}, archive.ByTime, func(b *archive.Batch) error {
			ids = append(ids, b.Header.ID().String())
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return ids, rep
	}
	whole, rep := order(archive.Options{})
	sliced, rep2 := order(archive.Options{PlanBatches: 64, IndexEntries: 3})
	if len(whole) != len(recs) || !slices.Equal(whole, sliced) || rep.Missing != 1 || rep2.Missing != rep.Missing {
		t.Errorf("%d and %d batches of %d, missing %d and %d", len(whole), len(sliced), len(recs), rep.Missing, rep2.Missing)
	}
}

func TestReadingEndsWhenItIsTold(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	p.Batches(recording(sequencetest.NewCar("car-1", 1, 7), 300, false)...)
	a := p.Archive(archive.Options{})
	n := 0
	if _, err := a.Read(t.Context(), archive.Query{Car: "car-1"}, func(*archive.Rows) error {
		n++
		return archive.ErrStop
	}, nil); err != nil || n != 1 {
		t.Errorf("stopped after %d: %v", n, err)
	}
	wrong := errors.New("full disk")
	if _, err := a.Read(t.Context(), archive.Query{Car: "car-1"}, func(*archive.Rows) error { return wrong }, nil); !errors.Is(err, wrong) {
		t.Errorf("error of the reader: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := a.Read(ctx, archive.Query{Car: "car-1"}, func(*archive.Rows) error { cancel(); return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	last, of := int64(-1), int64(0)
	if _, err := p.Archive(archive.Options{}).Read(t.Context(), archive.Query{Car: "car-1"}, func(*archive.Rows) error { return nil }, func(done, o int64) {
		if done < last || done > o {
			t.Errorf("progress %d of %d after %d", done, o, last)
		}
		last, of = done, o
	}); err != nil || last != of || of == 0 {
		t.Errorf("progress ends at %d of %d: %v", last, of, err)
	}
}

// Without an anchor rows have the log's time, as in samples.
func TestUnsyncedTimesAreTheLogs(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(car.Open(), car.Full(1e9, 3), car.Full(2e9, 3))
	p.Sequence(func(c *sequence.Config) { c.Reorder.AnchorWait = 0 })
	_, times, _ := collect(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1"})
	for _, r := range p.Read(p.Cluster.Names().Samples) {
		var x struct {
			Seq    uint64 `json:"seq"`
			TSNS   int64  `json:"ts_ns"`
			BootNS int64  `json:"boot_ns"`
		}
		if err := json.Unmarshal(r.Value, &x); err != nil {
			t.Fatal(err)
		}
		if times[rowKey{x.Seq, x.BootNS}] != x.TSNS {
			t.Errorf("row %+v has %d", x, times[rowKey{x.Seq, x.BootNS}])
		}
	}
	if len(times) != 6 {
		t.Errorf("%d rows", len(times))
	}
}

// Readings of several people at once, of one that grows too.
func TestReadingsAtOnce(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(recording(car, 200, false)...)
	a := p.Archive(archive.Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		q := archive.Query{Car: "car-1", FromNS: utc + 1_500e6 + int64(i)*10e6, ToNS: utc + 2_000e6}
		wg.Go(func() {
			rows := 0
			if _, err := a.Read(t.Context(), q, func(r *archive.Rows) error {
				if r.Table != nil {
					rows += len(r.UTC)
				}
				return nil
			}, nil); err != nil || rows != (50-i)*batchRows {
				t.Errorf("reading %d: %d rows, %v", i, rows, err)
			}
		})
		wg.Go(func() {
			if _, err := a.Sessions(t.Context(), "car-1"); err != nil {
				t.Error(err)
			}
		})
	}
	p.Batches(car.Full(9e9, 1))
	wg.Wait()
}
