package replay_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/formats"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// export writes batches as `edgeagent spool export -f batches -o` does.
func export(t *testing.T, path string, recs []topic.Record, cats ...*wire.Catalogue) {
	t.Helper()
	var b []byte
	for _, r := range recs {
		b = append(binary.AppendUvarint(b, uint64(len(r.Value))), r.Value...)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range cats {
		if err := os.WriteFile(path+"."+c.Hash().String()+replay.CatalogueSuffix, c.Append(nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// exported is a car's log, critical lane first as a spool has it.
func exported(name string, batches int) []topic.Record {
	car := sequencetest.NewCar(name, 1, 7)
	recs := []topic.Record{car.Open(), car.Anchor(1, 1e9, utc+1e9, 1e6), car.Event(1_050e6, "flag")}
	for i := range batches {
		recs = append(recs, car.Full(int64(i+100)*10e6, 4))
	}
	return recs
}

// items plays a source and returns what it gives.
func items(t *testing.T, src replay.Source) (out []replay.Item) {
	t.Helper()
	if _, err := replay.Play(t.Context(), src, replay.NewPace(replay.Max), replay.SinkFunc(func(_ context.Context, it *replay.Item) error {
		out = append(out, *it)
		out[len(out)-1].Record.Value = slices.Clone(it.Record.Value)
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	return out
}

func rowsOf(src archive.Source, q archive.Query) *replay.Rows {
	return &replay.Rows{
		Archive: archive.New(src, archive.Options{}), Names: topic.NewNames("x"), Query: q,
		Format: func() (sequence.Format, error) {
			return formats.OfLanes(formats.JSON, wire.Lanes[:], formats.Options{})
		},
	}
}

func TestFilesAreAPast(t *testing.T) {
	dir := t.TempDir()
	one := exported("car-1", 50)
	export(t, filepath.Join(dir, "a.batches"), one[:30], sequencetest.Catalogue("car-1"))
	export(t, filepath.Join(dir, "b.batches"), one[20:], sequencetest.Catalogue("car-1")) // overlaps: exported twice
	export(t, filepath.Join(dir, "c"), exported("car-2", 5), sequencetest.Catalogue("car-2"))
	if err := os.WriteFile(filepath.Join(dir, "run.csv"), []byte("time,rpm\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := replay.OpenFiles([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if len(src.Paths()) != 3 || len(src.Skipped) != 1 {
		t.Errorf("files %v, skipped %v", src.Paths(), src.Skipped)
	}
	rows := rowsOf(src, archive.Query{Car: "car-1"})
	got := items(t, rows)
	if n := 50*4 + 1; len(got) != n || rows.Report.Duplicates != 10 || rows.Report.Unreadable != 0 || rows.Report.Missing != 0 {
		t.Errorf("%d rows, want %d; %+v", len(got), n, rows.Report)
	}
	if !slices.IsSortedFunc(got, func(a, b replay.Item) int { return int(a.AtNS - b.AtNS) }) || got[0].AtNS != utc+1e9 || got[len(got)-1].AtNS != utc+1_493e6 {
		t.Errorf("from %d to %d", got[0].AtNS-utc, got[len(got)-1].AtNS-utc)
	}
	batches := &replay.Batches{Archive: archive.New(src, archive.Options{}), Order: archive.ByTime, Topic: "x.batches", Query: archive.Query{Lanes: wire.Lanes[:]}}
	if got := items(t, batches); len(got) != len(one)+8 {
		t.Errorf("%d batches", len(got))
	}
	// A window has the car's opening before it.
	batches.Query = archive.Query{Car: "car-1", Lanes: wire.Lanes[:], FromNS: utc + 1_300e6, ToNS: utc + 1_320e6}
	var seen []string
	for _, it := range items(t, batches) {
		if info, err := topic.ParseBatchHeaders(it.Record.Headers); err != nil || info.ID != it.ID || string(it.Record.Key) != "car-1" {
			t.Errorf("headers of %s: %v", it.ID, err)
		}
		seen = append(seen, fmt.Sprintf("%s#%d", it.ID.Stream.Lane, it.ID.Seq))
	}
	if want := []string{"critical#1", "critical#2", "critical#3", "full#31", "full#32"}; !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
	if cars, err := src.Cars(t.Context()); err != nil || !slices.Equal(cars, []string{"car-1", "car-2"}) {
		t.Errorf("cars %v: %v", cars, err)
	}
}

func TestFilesWithoutWhatIsNeeded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run")
	recs := exported("car-1", 5)
	export(t, path, recs)
	src, err := replay.OpenFiles([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	rows := rowsOf(src, archive.Query{})
	if got := items(t, rows); len(got) != 1 || rows.Report.Unreadable != 5 || !strings.Contains(rows.Report.Reasons[0], "no catalogue") {
		t.Errorf("without a catalogue %d rows, %+v", len(got), rows.Report)
	}
	cat := sequencetest.Catalogue("car-1")
	src.Elsewhere = func(_ context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
		return cat.Append(nil), h == cat.Hash(), nil
	}
	if got := items(t, rowsOf(src, archive.Query{})); len(got) != 5*4+1 {
		t.Errorf("with a cluster's %d rows", len(got))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"cut off", "cut", whole[:len(whole)-3], "was the file cut off?"},
		{"another format", "log.csv", []byte("time,rpm\n1,2\n"), "does not begin with a batch"},
		{"empty", "nothing", nil, "does not begin with a batch"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			src, err := replay.OpenFiles([]string{path})
			if err == nil {
				defer src.Close()
				err = rowsOf(src, archive.Query{}).Each(t.Context(), 0, func(it *replay.Item) error { it.Release(); return nil })
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := replay.OpenFiles([]string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "must be exported first") {
		t.Errorf("a folder without batches: %v", err)
	}
	if err := os.WriteFile(path+replay.CatalogueSuffix, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := replay.OpenFiles([]string{path}); err == nil || !strings.Contains(err.Error(), "catalogue") {
		t.Errorf("a catalogue that is none: %v", err)
	}
}
