package archive_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// lateAnchor is the log of a car that gets the time when some has been written: what
// waits behind a hole then has its time, what was written has the log's.
func lateAnchor(car *sequencetest.Car) []topic.Record {
	open, boot := car.Open(), car.Event(900e6, "boot")
	one, two, three, four := car.Full(1000e6, batchRows), car.Full(1010e6, batchRows), car.Full(1020e6, batchRows), car.Full(1030e6, batchRows)
	glance := car.Live(1000e6)
	anchor := car.Anchor(1, 1035e6, utc+1035e6, 1e6)
	return []topic.Record{open, boot, one, glance, two, four, one, anchor, three, two, car.Full(1040e6, batchRows), car.Live(1040e6), car.Event(1050e6, "out")}
}

// placed names a row or an event of the car.
type placed struct {
	lane string
	seq  uint64
	boot int64
}

// written returns the times of what outputs hold, and how they are marked.
func written(p *archivetest.Pit) map[placed]string {
	p.T.Helper()
	out := map[placed]string{}
	for _, name := range []string{p.Cluster.Names().Samples, p.Cluster.Names().Live, p.Cluster.Names().Events} {
		for _, r := range p.Read(name) {
			var x struct {
				Lane   string `json:"lane"`
				Seq    uint64 `json:"seq"`
				TSNS   int64  `json:"ts_ns"`
				BootNS int64  `json:"boot_ns"`
				Clock  string `json:"clock"`
			}
			if err := json.Unmarshal(r.Value, &x); err != nil {
				p.T.Fatal(err)
			}
			out[placed{x.Lane, x.Seq, x.BootNS}] = fmt.Sprintf("%d %s", x.TSNS, x.Clock)
		}
	}
	return out
}

// read returns the same of what an archive reads.
func read(t *testing.T, a *archive.Archive, q archive.Query) map[placed]string {
	t.Helper()
	out := map[placed]string{}
	text := func(ns int64, synced bool) string {
		if synced {
			return fmt.Sprintf("%d synced", ns)
		}
		return fmt.Sprintf("%d unsynced", ns)
	}
	last := map[wire.Stream]uint64{}
	q.Lanes = wire.Lanes[:]
	if _, err := a.Read(t.Context(), q, func(r *archive.Rows) error {
		if last[r.ID.Stream] > r.ID.Seq {
			t.Errorf("%s after number %d", r.ID, last[r.ID.Stream])
		}
		last[r.ID.Stream] = r.ID.Seq
		lane := r.ID.Stream.Lane.String()
		if r.Event != nil {
			out[placed{lane, r.ID.Seq, r.Event.BootNS}] = text(r.Event.UTCNS, r.Event.Synced)
			return nil
		}
		for i := range r.UTC {
			out[placed{lane, r.ID.Seq, r.Boot[i]}] = text(r.UTC[i], r.Clock.Synced)
		}
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrittenUnsyncedIsReadUnsynced(t *testing.T) {
	for name, c := range map[string]struct {
		wait             time.Duration
		unsynced, synced int
	}{
		"what does not wait for an anchor":        {0, 2*batchRows + 2, 3*batchRows + 2},
		"what waits, but for events and controls": {5 * time.Second, 1, 5*batchRows + 3},
	} {
		t.Run(name, func(t *testing.T) { checkUnsynced(t, c.wait, c.unsynced, c.synced) })
	}
}

func checkUnsynced(t *testing.T, wait time.Duration, unsynced, synced int) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(lateAnchor(car)...)
	p.Sequence(func(c *sequence.Config) { c.Reorder.AnchorWait = wait })
	want := written(p)
	marks := map[string]int{}
	for at, stamp := range want {
		var ns int64
		var clock string
		if _, err := fmt.Sscan(stamp, &ns, &clock); err != nil {
			t.Fatal(err)
		}
		marks[clock]++
		if clock == "synced" != (ns == utc+at.boot) {
			t.Fatalf("%v has %s", at, stamp)
		}
	}
	if marks["unsynced"] != unsynced || marks["synced"] != synced {
		t.Fatalf("the sequencer wrote %v", marks)
	}
	a := p.Archive(archive.Options{})
	for _, look := range []string{"first", "second"} {
		if got := read(t, a, archive.Query{Car: "car-1"}); !maps.Equal(got, want) {
			t.Errorf("%s look:\n got %v\nwant %v", look, got, want)
		}
	}

	logged := p.Read(p.Cluster.Names().Batches)
	from, to := logged[0].TimestampMS*1e6, logged[len(logged)-1].TimestampMS*1e6+1e6
	for name, c := range map[string]struct {
		from, to int64
		clock    string
		n        int
	}{
		"by the log's time": {from, to, "unsynced", marks["unsynced"]},
		"by the car's time": {utc + 900e6, utc + 2000e6, "synced", marks["synced"]},
		"behind both":       {max(to, utc+2000e6), 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // with the index, and without
				got := read(t, a, archive.Query{Car: "car-1", FromNS: c.from, ToNS: c.to})
				for at, stamp := range got {
					if want[at] != stamp || stamp[len(stamp)-len(c.clock):] != c.clock {
						t.Errorf("%v has %s", at, stamp)
					}
				}
				if len(got) != c.n {
					t.Errorf("%d rows and events, want %d", len(got), c.n)
				}
				got = read(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1", FromNS: c.from, ToNS: c.to})
				if len(got) != c.n {
					t.Errorf("the first look has %d", len(got))
				}
			}
		})
	}
}

// By arrival and by time, in slices and whole, the same batches have no map.
func TestUnsyncedBatchesAreTheSameInEveryOrder(t *testing.T) {
	p := archivetest.Open(t, "")
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(lateAnchor(car)...)
	p.Sequence(func(c *sequence.Config) { c.Reorder.AnchorWait = 0 })
	want := []string{"critical#1", "critical#2", "critical#3", "full#1", "full#2", "live#1"} // the anchor itself is the third
	for name, c := range map[string]struct {
		order archive.Order
		opt   archive.Options
	}{
		"by time":           {archive.ByTime, archive.Options{}},
		"by time in slices": {archive.ByTime, archive.Options{PlanBatches: 4, IndexEntries: 1}},
		"by arrival":        {archive.ByArrival, archive.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			n := 0
			if _, err := p.Archive(c.opt).Batches(t.Context(), archive.Query{Car: "car-1", Lanes: wire.Lanes[:]}, c.order, func(b *archive.Batch) error {
				if b.Again {
					return nil
				}
				if n++; b.Clock == nil {
					got = append(got, fmt.Sprintf("%s#%d", b.Header.Stream.Lane, b.Header.Seq))
				}
				return nil
			}, nil); err != nil {
				t.Fatal(err)
			}
			if slices.Sort(got); n != 11 || !slices.Equal(got, want) {
				t.Errorf("of %d batches without a map: %v, want %v", n, got, want)
			}
		})
	}
}

// A time map that does not say what was written before it holds for the whole epoch.
func TestMapOfAnOlderReceiver(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(lateAnchor(car)...)
	p.Write(p.Cluster.Names().Timemap, topic.Record{Partition: -1, Key: []byte("car-1/1/1"), Value: []byte(`{"car":"car-1","epoch":1,"nonce":"0000000000000007","verdict":"first",` +
		fmt.Sprintf(`"segment":{"segment":1,"from_boot_ns":1035000000,"offset_ns":%d,"target_ns":%d,"unc_ns":1000000,"anchor":1,"anchor_boot_ns":1035000000}}`, utc, utc))})
	got := read(t, p.Archive(archive.Options{}), archive.Query{Car: "car-1"})
	for at, stamp := range got {
		if want := fmt.Sprintf("%d synced", utc+at.boot); stamp != want {
			t.Errorf("%v has %s, want %s", at, stamp, want)
		}
	}
	if len(got) != 5*batchRows+4 {
		t.Errorf("%d rows and events", len(got))
	}
}
