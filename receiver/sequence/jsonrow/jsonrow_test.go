package jsonrow_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/timemap"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

const utc = int64(1_800_000_000_000_000_000)

func catalogue() *wire.Catalogue {
	return &wire.Catalogue{Car: "gt3-7", Groups: []wire.Group{
		{Name: "Engine", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "rpm", Type: wire.TypeUint, Scale: 0.25},
			{Name: "gear", Type: wire.TypeInt, Enum: []wire.EnumValue{{Raw: 1, Name: "first"}}},
			{Name: "t_oil", Type: wire.TypeInt, Scale: 1, Offset: -40},
			{Name: `odd "name"` + "\n\x01é", Type: wire.TypeF64},
			{Name: "seq", Type: wire.TypeF32, Scale: 1},
		}},
	}}
}

// synced returns a map where UTC = boot + utc with 1 ms of uncertainty.
func synced() *timemap.Map {
	var m timemap.Map
	m.Add(wire.Anchor{ID: 4, BootNS: 1e9, UTCNS: utc + 1e9, UncertaintyNS: 1e6})
	return &m
}

func batch() *sequence.Batch {
	return &sequence.Batch{
		ID: wire.ID{
			Stream: wire.Stream{Car: "gt3-7", Epoch: wire.Epoch{Counter: 12, Nonce: 0xabc}, Lane: wire.LaneFull},
			Seq:    99,
		},
		Hash: wire.CatalogueHash{1, 2, 3}, Catalogue: catalogue(),
		Blocks: []wire.Block{
			{Group: 0, Ticks: []int64{1e9, 1e9 + 500}, Columns: []wire.Column{
				{Type: wire.TypeUint, Values: []int64{4001, 4002}},
				{Type: wire.TypeInt, Present: []uint64{0b10}, Values: []int64{1}},
				{Type: wire.TypeInt, Values: []int64{130, -3}},
			}},
			{Group: 0, FirstColumn: 3, Ticks: []int64{1e9, 1e9 + 500}, Columns: []wire.Column{
				{Type: wire.TypeF64, Values: []int64{f64(0.1), f64(math.NaN())}},
				{Type: wire.TypeF32, Values: []int64{int64(math.Float32bits(0.1)), int64(math.Float32bits(float32(math.Inf(1))))}},
			}},
		},
		Events: []wire.Event{{BootNS: 1e9 + 700, Name: "mark", Detail: "pit \\ box"}},
		LastNS: 1e9 + 700, Clock: synced(), AppendMS: utc/1e6 + 1250, Link: 2,
		Rows: "t.samples", Event: "t.events", ByGroup: true, BehindMS: 1 << 40,
	}
}

func f64(v float64) int64 { return int64(math.Float64bits(v)) }

func headers(r topic.Record) string {
	var s []string
	for _, h := range r.Headers {
		s = append(s, h.Key+"="+string(h.Value))
	}
	return strings.Join(s, " ")
}

func TestGoldenRows(t *testing.T) {
	var out sequence.Output
	if err := jsonrow.New().Append(&out, batch()); err != nil {
		t.Fatal(err)
	}
	head := `{"car":"gt3-7","session":"12-0000000000000abc","epoch":12,"nonce":"0000000000000abc","lane":"full","seq":99,`
	want := []struct{ topic, key, value, headers string }{
		{
			"t.samples", "gt3-7/Engine",
			head + `"row":"1/3","group":"Engine","ts_ns":1800000001000000000,"ts_ms":1800000001000,"boot_ns":1000000000,` +
				`"clock":"synced","clock_unc_ns":1000000,"segment":1,"rpm":1000.25,"t_oil":90,"odd \"name\"\n\u0001é":0.1,"seq_":0.10000000149011612}`,
			"car=gt3-7 epoch=12 nonce=0000000000000abc lane=full seq=99 row=1/3 catalogue=0102030000000000 group=Engine " +
				"boot_ns=1000000000 clock=synced anchor=4 link=2 late_ms=250 content-type=application/json",
		},
		{
			"t.samples", "gt3-7/Engine",
			head + `"row":"2/3","group":"Engine","ts_ns":1800000001000000500,"ts_ms":1800000001000,"boot_ns":1000000500,` +
				`"clock":"synced","clock_unc_ns":1000000,"segment":1,"rpm":1000.5,"gear":1,"t_oil":-43}`,
			"car=gt3-7 epoch=12 nonce=0000000000000abc lane=full seq=99 row=2/3 catalogue=0102030000000000 group=Engine " +
				"boot_ns=1000000500 clock=synced anchor=4 link=2 late_ms=250 content-type=application/json",
		},
		{
			"t.events", "gt3-7",
			head + `"row":"3/3","ts_ns":1800000001000000700,"ts_ms":1800000001000,"boot_ns":1000000700,` +
				`"clock":"synced","clock_unc_ns":1000000,"segment":1,"event":"mark","detail":"pit \\ box"}`,
			"car=gt3-7 epoch=12 nonce=0000000000000abc lane=full seq=99 row=3/3 " +
				"boot_ns=1000000700 clock=synced anchor=4 link=2 late_ms=250 content-type=application/json",
		},
	}
	if len(out.Records) != len(want) {
		t.Fatalf("got %d records, want %d", len(out.Records), len(want))
	}
	for i, w := range want {
		r := out.Records[i]
		if r.Topic != w.topic || string(r.Key) != w.key || r.TimestampMS != 1800000001000 || r.Partition != -1 {
			t.Errorf("record %d: topic %s key %s time %d partition %d", i, r.Topic, r.Key, r.TimestampMS, r.Partition)
		}
		if got := string(r.Value); got != w.value {
			t.Errorf("value %d:\n got %s\nwant %s", i, got, w.value)
		}
		if got := headers(r); got != w.headers {
			t.Errorf("headers %d:\n got %s\nwant %s", i, got, w.headers)
		}
		if !json.Valid(r.Value) {
			t.Errorf("value %d is not JSON", i)
		}
		if _, ok := topic.OutputIdentity(&r); !ok {
			t.Errorf("record %d has no identity", i)
		}
	}
}

func TestUnsyncedRowsCarryLogAppendTime(t *testing.T) {
	var out sequence.Output
	b := batch()
	b.Clock = nil
	if err := jsonrow.New().Append(&out, b); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.Records {
		if r.TimestampMS != b.AppendMS {
			t.Errorf("record time: got %d, want %d", r.TimestampMS, b.AppendMS)
		}
		var row map[string]any
		if err := json.Unmarshal(r.Value, &row); err != nil {
			t.Fatal(err)
		}
		if row["clock"] != "unsynced" || row["clock_unc_ns"] != nil {
			t.Errorf("got clock %v, uncertainty %v", row["clock"], row["clock_unc_ns"])
		}
		if h := headers(r); !strings.Contains(h, "clock=unsynced") || strings.Contains(h, "anchor=") || strings.Contains(h, "late_ms=") {
			t.Errorf("headers: %s", h)
		}
	}
}

func TestRecordTimeStaysInBounds(t *testing.T) {
	cases := []struct {
		name   string
		append int64 // LogAppendTime minus the rows' time, ms
		behind int64
		want   int64 // record time minus the rows' time, ms
	}{
		{"inside", 1000, 5000, 0},
		{"car's clock a day ahead", -86_400_000, 5000, -86_400_000 + 300_000},
		{"older than retention", 86_400_000, 5000, 86_400_000 - 5000},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out sequence.Output
			b := batch()
			rows := utc/1e6 + 1000
			b.AppendMS, b.BehindMS = rows+c.append, c.behind
			if err := jsonrow.New().Append(&out, b); err != nil {
				t.Fatal(err)
			}
			if got := out.Records[0].TimestampMS - rows; got != c.want {
				t.Errorf("got %d ms, want %d", got, c.want)
			}
			if (out.Clamped > 0) != (c.want != 0) {
				t.Errorf("clamped: %d", out.Clamped)
			}
		})
	}
}

func TestValues(t *testing.T) {
	cases := []struct {
		name          string
		t             wire.ValueType
		scale, offset float64
		raw           int64
		want          string
	}{
		{"integer", wire.TypeInt, 1, 0, -7, "-7"},
		{"no scale stated", wire.TypeInt, 0, 0, 7, "7"},
		{"beyond 2^53", wire.TypeInt, 1, 0, 1<<53 + 1, "9007199254740993"},
		{"least integer", wire.TypeInt, 1, 0, math.MinInt64, "-9223372036854775808"},
		{"greatest unsigned", wire.TypeUint, 1, 0, -1, "18446744073709551615"},
		{"unsigned scaled beyond 63 bits", wire.TypeUint, 2, 0, -1, "36893488147419103000"},
		{"whole scale and offset", wire.TypeInt, 10, -5, 1 << 60, "11529215046068470000"},
		{"whole scale that fits", wire.TypeInt, 10, -5, 1 << 58, "2882303761517117435"},
		{"negated least integer", wire.TypeInt, -1, 0, math.MinInt64, "9223372036854776000"},
		{"offset that overflows", wire.TypeInt, 1, 1, math.MaxInt64, "9223372036854776000"},
		{"fraction", wire.TypeInt, 0.1, 0, 3, "0.30000000000000004"},
		{"two roundings, no fused multiply-add", wire.TypeInt, 0.1, -0.3, 3, "5.551115123125783e-17"},
		{"float32 keeps its float64 value", wire.TypeF32, 1, 0, int64(math.Float32bits(0.1)), "0.10000000149011612"},
		{"minus zero plus zero", wire.TypeF64, 1, 0, f64(math.Copysign(0, -1)), "0"},
		{"large", wire.TypeF64, 1, 0, f64(1e300), "1e+300"},
		{"small", wire.TypeF64, 1, 0, f64(-5e-324), "-5e-324"},
		{"not a number", wire.TypeF64, 1, 0, f64(math.NaN()), ""},
		{"overflow to infinity", wire.TypeF64, 1e300, 0, f64(1e300), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := batch()
			b.Catalogue = &wire.Catalogue{Groups: []wire.Group{{Name: "g", Channels: []wire.Channel{
				{Name: "v", Type: c.t, Scale: c.scale, Offset: c.offset},
			}}}}
			b.Blocks = []wire.Block{{Ticks: []int64{1e9}, Columns: []wire.Column{{Type: c.t, Values: []int64{c.raw}}}}}
			var out sequence.Output
			if err := jsonrow.New().Append(&out, b); err != nil {
				t.Fatal(err)
			}
			v := string(out.Records[0].Value)
			_, got, found := strings.Cut(v, `"v":`)
			if got = strings.TrimSuffix(got, "}"); got != c.want || found != (c.want != "") {
				t.Errorf("got %q, want %q in %s", got, c.want, v)
			}
		})
	}
}

func TestWideRowsAreSplit(t *testing.T) {
	b := batch()
	n := jsonrow.MaxRowChannels*2 + 10
	g := wire.Group{Name: "wide", Channels: make([]wire.Channel, n)}
	blk := wire.Block{Ticks: []int64{1e9, 2e9}, Columns: make([]wire.Column, n)}
	for i := range g.Channels {
		g.Channels[i] = wire.Channel{Name: "c" + strings.Repeat("x", 3) + string(rune('a'+i%26)) + jsonNumber(i), Type: wire.TypeInt}
		blk.Columns[i] = wire.Column{Type: wire.TypeInt, Values: []int64{int64(i), int64(-i)}}
	}
	b.Catalogue, b.Blocks, b.Events = &wire.Catalogue{Groups: []wire.Group{g}}, []wire.Block{blk}, nil
	var out sequence.Output
	if err := jsonrow.New().Append(&out, b); err != nil {
		t.Fatal(err)
	}
	if len(out.Records) != 6 {
		t.Fatalf("got %d records, want 6", len(out.Records))
	}
	values := 0
	for i, r := range out.Records {
		var row map[string]any
		if err := json.Unmarshal(r.Value, &row); err != nil {
			t.Fatal(err)
		}
		if want := jsonNumber(i+1) + "/6"; row["row"] != want {
			t.Errorf("row: got %v, want %s", row["row"], want)
		}
		for k := range row {
			if strings.HasPrefix(k, "cxxx") {
				values++
			}
		}
	}
	if values != 2*n {
		t.Errorf("got %d values, want %d", values, 2*n)
	}
}

func jsonNumber(i int) string { b, _ := json.Marshal(i); return string(b) }

func TestBatchThatDoesNotFit(t *testing.T) {
	cases := []struct {
		name string
		edit func(b *sequence.Batch)
		want error
	}{
		{"unknown group", func(b *sequence.Batch) { b.Blocks[0].Group = 1 }, jsonrow.ErrCatalogue},
		{"too many columns", func(b *sequence.Batch) { b.Blocks[1].FirstColumn = 4 }, jsonrow.ErrCatalogue},
		{"first column that wraps", func(b *sequence.Batch) { b.Blocks[1].FirstColumn = math.MaxUint32 }, jsonrow.ErrCatalogue},
		{"no catalogue", func(b *sequence.Batch) { b.Catalogue = nil }, jsonrow.ErrCatalogue},
		{"too large", func(b *sequence.Batch) {
			b.Catalogue.Groups[0].Channels[0].Name = strings.Repeat("n", sequence.MaxValueBytes)
		}, sequence.ErrTooLarge},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := batch()
			c.edit(b)
			var out sequence.Output
			if err := jsonrow.New().Append(&out, b); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestMemoryIsReused holds the row path to its budget: no allocation per row
// once the output's memory has grown.
func TestMemoryIsReused(t *testing.T) {
	f, b := jsonrow.New(), columnstest.Wide(20, 50)
	var out sequence.Output
	write := func() {
		out.Reset()
		if err := f.Append(&out, b); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if got := testing.AllocsPerRun(20, write); got > 2 {
		t.Errorf("%v allocations for 50 rows, want at most 2", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name           string
		channels, rows int
	}{{"20 channels", 20, 150}, {"500 channels", 500, 15}} {
		b.Run(c.name, func(b *testing.B) { columnstest.Bench(b, jsonrow.New(), c.channels, c.rows) })
	}
}

// fields parses the records' bodies, numbers as text.
func fields(t *testing.T, recs []topic.Record) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, r := range recs {
		d := json.NewDecoder(strings.NewReader(string(r.Value)))
		d.UseNumber()
		m := map[string]any{}
		if err := d.Decode(&m); err != nil {
			t.Fatalf("%v in %s", err, r.Value)
		}
		out = append(out, m)
	}
	return out
}

func TestSelectedChannels(t *testing.T) {
	var out sequence.Output
	f := jsonrow.NewWith(jsonrow.Options{Take: func(group, channel string) bool { return group == "Engine" && channel == "gear" }})
	if err := f.Append(&out, batch()); err != nil {
		t.Fatal(err)
	}
	rows := fields(t, out.Records)
	if len(rows) != 3 || rows[1]["gear"] != json.Number("1") || rows[1]["rpm"] != nil || rows[1]["seq_"] != nil || rows[1]["row"] != "2/3" {
		t.Errorf("rows %v", rows)
	}
	out.Reset()
	f = jsonrow.NewWith(jsonrow.Options{Take: func(string, string) bool { return false }})
	if err := f.Append(&out, batch()); err != nil {
		t.Fatal(err)
	}
	if rows = fields(t, out.Records); len(rows) != 1 || rows[0]["event"] != "mark" || rows[0]["row"] != "3/3" {
		t.Errorf("without channels: %v (an event keeps its place)", rows)
	}
}

func TestLargeIntegersAsText(t *testing.T) {
	b := batch()
	b.Catalogue.Groups[0].Channels[0] = wire.Channel{Name: "serial", Type: wire.TypeUint}
	b.Blocks = []wire.Block{{Group: 0, Ticks: []int64{1, 2, 3, 4}, Columns: []wire.Column{
		{Type: wire.TypeUint, Values: []int64{-1, 1<<53 - 1, 1 << 53, 0}},
		{Type: wire.TypeInt, Values: []int64{math.MinInt64, -(1<<53 - 1), -(1 << 53), 7}},
	}}}
	for name, c := range map[string]struct {
		options      jsonrow.Options
		serial, gear []any
	}{
		"numbers": {
			jsonrow.Options{},
			[]any{json.Number("18446744073709551615"), json.Number("9007199254740991"), json.Number("9007199254740992"), json.Number("0")},
			[]any{json.Number("-9223372036854775808"), json.Number("-9007199254740991"), json.Number("-9007199254740992"), json.Number("7")},
		},
		"text": {
			jsonrow.Options{TextIntegers: true},
			[]any{"18446744073709551615", json.Number("9007199254740991"), "9007199254740992", json.Number("0")},
			[]any{"-9223372036854775808", json.Number("-9007199254740991"), "-9007199254740992", json.Number("7")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out sequence.Output
			if err := jsonrow.NewWith(c.options).Append(&out, b); err != nil {
				t.Fatal(err)
			}
			for i, row := range fields(t, out.Records)[:4] {
				if row["serial"] != c.serial[i] || row["gear"] != c.gear[i] {
					t.Errorf("row %d: %#v and %#v, want %#v and %#v", i, row["serial"], row["gear"], c.serial[i], c.gear[i])
				}
			}
		})
	}
}
