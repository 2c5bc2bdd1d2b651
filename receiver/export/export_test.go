package export_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/export"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/wire"
)

// write exports batches into a stream, with one reader as an archive has, and returns
// what came: name, type and bytes.
func write(t testing.TB, f export.Format, take func(group, channel string) bool, batches ...*sequence.Batch) (name, kind string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	s := export.NewStream(&b, "gt3-7", time.Unix(1_800_000_000, 0), func(n, k string) {
		if name != "" || b.Len() > 0 {
			t.Errorf("begun twice, or late: %s after %s", n, name)
		}
		name, kind = n, k
	})
	w, err := export.New(f, s, export.Options{Car: "gt3-7"})
	check(t, err)
	put(t, w, take, batches...)
	check(t, w.Close())
	return name, kind, b.Bytes()
}

func put(t testing.TB, w *export.Writer, take func(group, channel string) bool, batches ...*sequence.Batch) {
	t.Helper()
	r := columns.NewReader(take)
	for _, b := range batches {
		_, err := r.Read(b, func(tab *columns.Table) error { return w.Add(b.ID, tab) })
		check(t, err)
		if take == nil {
			for i := range b.Events {
				e := &b.Events[i]
				st := b.Stamp(e.BootNS)
				check(t, w.AddEvent(b.ID, e.BootNS, st.UTCNS, st.Synced, e.Name, e.Detail))
			}
		}
	}
}

// read reads a stream's bytes back.
func read(t testing.TB, f export.Format, name string, data []byte) *found {
	t.Helper()
	got := &found{series: columnstest.Series{}}
	files := map[string][]byte{"Engine" + filepath.Ext(name): data}
	if strings.HasSuffix(name, ".zip") {
		files = unzip(t, data)
	}
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { // parts in their order
		return len(a) - len(b) + 1000*strings.Compare(a[:1], b[:1])
	})
	for _, n := range names {
		switch {
		case n == export.IndexName:
		case f == export.CSV:
			readCSV(t, n, files[n], got)
		case f == export.Parquet:
			readParquet(t, n, files[n], got)
		case f == export.Arrow:
			readArrow(t, n, files[n], got)
		default:
			readMCAP(t, files[n], got)
		}
	}
	return got
}

// same returns how a format's values are compared.
func same(f export.Format) func(got, want any) bool {
	switch f {
	case export.CSV:
		return asText
	case export.MCAP:
		return func(got, want any) bool {
			// dynamicpb holds a float32 as a float64, which makes a NaN quiet.
			if w, ok := want.(float32); ok && w != w {
				g, ok := got.(float32)
				return ok && math.Float32bits(g) == math.Float32bits(w)|1<<22
			}
			return columnstest.Same(got, want)
		}
	}
	return columnstest.Same
}

func TestEveryValueIsThere(t *testing.T) {
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			b := columnstest.Batch()
			name, _, data := write(t, f, nil, b)
			got := read(t, f, name, data)
			want := columnstest.Truth(b, nil)
			if f == export.CSV { // the name is reserved
				want["Box.ts_"] = want["Box.ts"]
				delete(want, "Box.ts")
			}
			if f == export.Parquet {
				want["Box.ts_"] = want["Box.ts"]
				delete(want, "Box.ts")
			}
			if d := columnstest.Diff(got.series, want, same(f)); d != "" {
				t.Error(d)
			}
			if events := []string{`mark=pit \ box`, "\ufffd="}; f != export.Parquet && !slices.Equal(got.events, events) {
				t.Errorf("events %q, want %q", got.events, events)
			}
		})
	}
}

func TestRandomBatchesRoundTrip(t *testing.T) {
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			for seed := range uint64(6) {
				b := columnstest.Random(rand.New(rand.NewPCG(seed, 9)))
				b.Events = nil
				for label, take := range map[string]func(string, string) bool{"all": nil, "half": columnstest.Half} {
					want := columnstest.Truth(b, take)
					if len(want) == 0 {
						continue
					}
					_, _, data := write(t, f, take, b)
					name := "x." + string(f)
					if bytes.HasPrefix(data, []byte("PK")) {
						name = "x.zip"
					}
					got := read(t, f, name, data)
					rename(got.series, want)
					if d := columnstest.Diff(got.series, want, same(f)); d != "" {
						t.Fatalf("seed %d, %s: %s", seed, label, d)
					}
				}
			}
		})
	}
}

// rename gives the only group of a file that does not say its name the wanted one.
func rename(got, want columnstest.Series) {
	for k, v := range got {
		rest, ok := strings.CutPrefix(k, "Engine.")
		if !ok {
			continue
		}
		for w := range want {
			if group, channel, _ := strings.Cut(w, "."); channel == rest {
				delete(got, k)
				got[group+"."+rest] = v
				break
			}
		}
	}
}

func TestOneGroupIsOneFile(t *testing.T) {
	engine := func(group, _ string) bool { return group == "Engine" }
	for f, kind := range map[export.Format]string{
		export.CSV: "text/csv", export.Parquet: "application/vnd.apache.parquet", export.Arrow: "application/vnd.apache.arrow.file", export.MCAP: "application/octet-stream",
	} {
		name, got, _ := write(t, f, engine, columnstest.Batch())
		if name != "gt3-7."+string(f) || !strings.HasPrefix(got, kind) {
			t.Errorf("%s: one group is %s of type %s", f, name, got)
		}
		name, got, data := write(t, f, nil, columnstest.Batch())
		if f == export.MCAP {
			continue
		}
		files := unzip(t, data)
		_, index := files[export.IndexName]
		if name != "gt3-7.zip" || got != "application/zip" || len(files) != 4 || !index || files["Engine."+string(f)] == nil || files["Box."+string(f)] == nil {
			t.Errorf("%s: two groups and events are %s of type %s with %d files", f, name, got, len(files))
		}
	}
}

func TestCSVText(t *testing.T) {
	_, _, data := write(t, export.CSV, func(g, _ string) bool { return g == "Engine" }, columnstest.Batch())
	want := "ts_ns,boot_ns,epoch,synced,rpm,gear,t_oil,\"odd \"\"name\"\"\n\x01é\",Tags\n" +
		"1800000001000000000,1000000000,12,1,1000.25,,90,0.1,0.10000000149011612\n" +
		"1800000001000000500,1000000500,12,1,1000.5,1,-43,NaN,\n" +
		"1800000001000001000,1000001000,12,1,1000.75,-1,-40,-inf,inf\n"
	if string(data) != want {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	var b bytes.Buffer
	w, err := export.New(export.CSV, export.NewStream(&b, "x", time.Now(), nil), export.Options{Car: "c", Units: true})
	check(t, err)
	put(t, w, func(g, c string) bool { return c == "rpm" || c == "t_oil" }, columnstest.Batch())
	check(t, w.Close())
	if head, _, _ := strings.Cut(b.String(), "\n"); head != "ts_ns,boot_ns,epoch,synced,rpm [1/min],t_oil [°C]" {
		t.Errorf("head with units: %s", head)
	}
}

func TestValuesAsText(t *testing.T) {
	cases := []struct {
		kind columns.Kind
		bits uint64
		want string
	}{
		{columns.Int, 1 << 63, "-9223372036854775808"},
		{columns.Uint, math.MaxUint64, "18446744073709551615"},
		{columns.Float64, math.Float64bits(math.Copysign(0, -1)), "-0.0"},
		{columns.Float64, math.Float64bits(1e6), "1000000.0"},
		{columns.Float64, math.Float64bits(1 << 53), "9007199254740992.0"},
		{columns.Float64, math.Float64bits(5e-324), "5e-324"},
		{columns.Float64, math.Float64bits(1.7976931348623157e308), "1.7976931348623157e+308"},
		{columns.Float32, uint64(math.Float32bits(0.1)), "0.10000000149011612"},
		{columns.Float64, 0x7ff8000000001234, "NaN"},
	}
	for _, c := range cases {
		if got := string(export.AppendValue(nil, c.kind, c.bits)); got != c.want {
			t.Errorf("%v %x is %s, want %s", c.kind, c.bits, got, c.want)
		}
	}
}

// TestColumnsThatChange: another catalogue, and integers that do not fit.
func TestColumnsThatChange(t *testing.T) {
	batch := func(seq uint64, hash byte, ch wire.Channel, raw ...int64) *sequence.Batch {
		b := columnstest.Batch()
		b.ID.Seq, b.Hash, b.Events = seq, wire.CatalogueHash{hash}, nil
		b.Catalogue = &wire.Catalogue{Car: "gt3-7", Groups: []wire.Group{{Name: "Engine", Channels: []wire.Channel{ch}}}}
		blk := wire.Block{Columns: []wire.Column{{Type: ch.Type, Values: raw}}}
		for i := range raw {
			blk.Ticks = append(blk.Ticks, int64(seq)*1e9+int64(i))
		}
		b.Blocks = []wire.Block{blk}
		return b
	}
	serial := wire.Channel{Name: "serial", Type: wire.TypeInt, Scale: 1000}
	other := wire.Channel{Name: "serial", Type: wire.TypeInt, Scale: 1000, Unit: "km"}
	more := wire.Channel{Name: "new", Type: wire.TypeUint}
	batches := []*sequence.Batch{
		batch(1, 1, serial, 1, 2), batch(2, 1, serial, math.MaxInt64/999, 7), batch(3, 1, serial, 4),
		batch(4, 2, other, 5), batch(5, 3, more, -1), batch(6, 3, more, 6),
	}
	want := columnstest.Series{}
	for _, b := range batches {
		for k, v := range columnstest.Truth(b, nil) {
			want[k] = append(want[k], v...)
		}
	}
	over := float64(math.MaxInt64/999) * 1000 // the record's whole column is doubles
	want["Engine.serial"][2].Value, want["Engine.serial"][3].Value = over, 7000.0
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			name, _, data := write(t, f, nil, batches...)
			got := read(t, f, name, data)
			for _, s := range got.series {
				slices.SortStableFunc(s, func(a, b columnstest.Point) int { return int(a.Boot - b.Boot) })
			}
			if d := columnstest.Diff(got.series, want, same(f)); d != "" {
				t.Error(d)
			}
		})
	}
	_, _, data := write(t, export.CSV, nil, batches...)
	files := unzip(t, data)
	if index := string(files[export.IndexName]); !strings.Contains(index, "Engine,serial_double,serial,km,2,,\n") || len(files) != 3 {
		t.Errorf("%d files, index:\n%s", len(files), index)
	}
}

func TestLargeExportsComeInParts(t *testing.T) {
	const rows, width = 20, 1200
	for _, f := range []export.Format{export.CSV, export.Parquet, export.Arrow} {
		t.Run(string(f), func(t *testing.T) {
			var b bytes.Buffer
			s := export.NewStream(&b, "gt3-7", time.Unix(0, 0), nil)
			s.SetBudget(100 << 10)
			w, err := export.New(f, s, export.Options{Car: "gt3-7"})
			check(t, err)
			w.SetLimit(3 * rows * width)
			r, rnd := columns.NewReader(nil), rand.New(rand.NewPCG(1, 1))
			batch := columnstest.Wide(width, rows) // more columns than one table has
			total := uint64(0)
			for n := range uint64(6) {
				batch.ID.Seq = n + 1
				for i := range batch.Blocks[0].Ticks {
					batch.Blocks[0].Ticks[i] = int64(n)*1e9 + int64(i)*1e6
				}
				for i := range batch.Blocks[0].Columns {
					for k := range batch.Blocks[0].Columns[i].Values {
						batch.Blocks[0].Columns[i].Values[k] = rnd.Int64N(1 << 40)
					}
				}
				_, err := r.Read(batch, func(tab *columns.Table) error { return w.Add(batch.ID, tab) })
				check(t, err)
				total += width * rows
			}
			check(t, w.Close())
			if w.Samples() != total {
				t.Errorf("%d samples, want %d", w.Samples(), total)
			}
			files := unzip(t, b.Bytes())
			if len(files) < 3 || files["Engine.part2."+string(f)] == nil {
				t.Errorf("%d files", len(files))
			}
			got := read(t, f, "x.zip", b.Bytes())
			if n := len(got.series["Engine.channel_1199"]); n != 6*rows {
				t.Errorf("%d values of the last channel, want %d", n, 6*rows)
			}
		})
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	out, err := export.NewFolder(dir)
	check(t, err)
	w, err := export.New(export.Parquet, out, export.Options{Car: "gt3-7"})
	check(t, err)
	put(t, w, nil, columnstest.Batch())
	check(t, w.Close())
	if len(out.Made()) != 4 {
		t.Errorf("made %v", out.Made())
	}
	again, err := export.NewFolder(dir)
	check(t, err)
	if _, err := again.Create("Engine.parquet"); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("an existing file: %v", err)
	}
	check(t, out.Discard())
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNothingToWrite(t *testing.T) {
	var b bytes.Buffer
	w, err := export.New(export.CSV, export.NewStream(&b, "x", time.Now(), func(string, string) { t.Error("begun") }), export.Options{})
	check(t, err)
	if err := w.Close(); !errors.Is(err, export.ErrEmpty) || b.Len() > 0 {
		t.Errorf("nothing: %v, %d bytes", err, b.Len())
	}
	if _, err := export.New("xls", nil, export.Options{}); err == nil {
		t.Error("a format that is not there")
	}
}

func TestWritersThatFail(t *testing.T) {
	broken := errors.New("gone")
	for _, f := range export.Formats() {
		w, err := export.New(f, export.NewStream(failing{broken}, "x", time.Now(), nil), export.Options{Car: "c"})
		check(t, err)
		r := columns.NewReader(nil)
		b := columnstest.Batch()
		_, err = r.Read(b, func(tab *columns.Table) error { return w.Add(b.ID, tab) })
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestFileNames(t *testing.T) {
	for in, want := range map[string]string{
		"Engine": "Engine", "../../etc/passwd": "_/_etc_passwd", "a:b\\c": "a_b_c", "": "_", "..": "_", "\xff": "\ufffd", strings.Repeat("é", 100): strings.Repeat("é", 60),
	} {
		want = strings.ReplaceAll(want, "/", "_")
		got := export.FileName(in)
		if strings.ContainsAny(got, `/\`) || strings.HasPrefix(got, ".") || in != "../../etc/passwd" && got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	for _, f := range export.Formats() {
		b.Run(string(f), func(b *testing.B) {
			batch := columnstest.Wide(100, 150)
			r := columns.NewReader(nil)
			w, err := export.New(f, export.NewStream(discard{}, "x", time.Now(), nil), export.Options{Car: "c"})
			check(b, err)
			b.ReportAllocs()
			for b.Loop() {
				batch.ID.Seq++
				_, err := r.Read(batch, func(tab *columns.Table) error { return w.Add(batch.ID, tab) })
				check(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100*150), "ns/value")
		})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
