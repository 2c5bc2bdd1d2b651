package rawcan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/internal/agent"
	"telemetry/internal/config"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
	"telemetry/spool"
	"telemetry/wire"
)

const testDBC = `BO_ 256 Engine: 8 X
 SG_ rpm : 0|16@1+ (0.25,0) [0|0] "1/min" X
 SG_ temp : 16|8@1- (1,-40) [0|0] "C" X
 SG_ crc : 56|8@1+ (1,0) [0|0] "" X
BO_ 512 Mux: 8 X
 SG_ page M : 0|4@1+ (1,0) [0|0] "" X
 SG_ a m0 : 8|16@0+ (1,0) [0|0] "" X
 SG_ b m1 : 8|32@1- (0.1,0) [0|0] "" X
BO_ 2566844926 Ext: 4 X
 SG_ x : 0|32@1- (1,0) [0|0] "" X
`

// testLog has what the databases know and what they do not.
func testLog() string {
	var b strings.Builder
	for i := range 3000 {
		at := int64(1_700_000_000_000_000_000) + int64(i)*700_000 + int64(i%13)*1000
		f := can.Frame{StampNS: at, Bus: []string{"can0", "can0", "can1"}[i%3]}
		switch i % 7 {
		case 0, 1, 2:
			f.ID, f.Len, f.Bytes = 256, 8, [64]byte{byte(i), byte(i >> 8), byte(i % 5), 0, 0, 0, 0, byte(i * 37)}
		case 3, 4:
			f.ID, f.Len, f.Bytes = 512, 8, [64]byte{byte(i % 3), 1, byte(i), 3, byte(i >> 4)}
		case 5:
			f.ID, f.Extended, f.Len, f.Bytes = 2566844926&0x1fffffff, true, 4, [64]byte{byte(i), 0xff, byte(i), 0x80}
		case 6:
			f.ID, f.Len = 0x7ff, 3
		}
		if i%50 == 0 {
			f.Len = 2 // shorter than its message
		}
		b.Write(can.AppendLine(nil, &f))
	}
	return b.String()
}

func database(t *testing.T, text string) *dbc.Database {
	t.Helper()
	f, _, err := dbc.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(f)
	return db
}

// drive runs an agent over a log and returns its spool.
func drive(t *testing.T, log, db, more string) *spool.View {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"lap.log": log, "car.dbc": db,
		"car.yaml": "version: 1\ncar: car-7\nspool: {dir: spool, quota: 100MB}\nsocket: a.sock\nlive: {off: true}\nsources:\n" +
			"  - name: bus\n    candump: {file: lap.log, speed: max, " + more + "}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.ReadAgent(filepath.Join(dir, "car.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.Prepare(cfg, os.DirFS("/"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }() // ends with stop
	for end := time.Now().Add(time.Minute); ; {
		if s := a.Status(); len(s.Sources) > 0 && s.Sources[0].State == "done" {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the agent ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("the log is never at its end")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	v, err := spool.OpenView(cfg.Spool.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rowText is what two rows must share: all but the batch that they came in.
func rowText(t *testing.T, line []byte) string {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, k := range []string{"seq", "row"} {
		if _, ok := m[k]; !ok {
			t.Fatalf("no %s in %s", k, line)
		}
		delete(m, k)
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// sent returns the rows that the car sent of CAN messages, as the sequencer
// writes them, and how many batches there are.
func sent(t *testing.T, v *spool.View, mine []string, each func(b wire.Batch)) (rows []string) {
	t.Helper()
	var dec sequence.Decoder
	format, out := jsonrow.New(), &sequence.Output{}
	cats := map[wire.CatalogueHash]*wire.Catalogue{}
	for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		err := v.Each(lane, func(raw wire.Batch) error {
			each(raw)
			var b sequence.Batch
			if err := dec.Decode(&b, raw.Raw); err != nil {
				return err
			}
			if len(b.Blocks) == 0 {
				return nil
			}
			if cats[b.Hash] == nil {
				canonical, err := v.Catalogue(b.Hash)
				if err != nil {
					return err
				}
				if cats[b.Hash], err = wire.ParseCatalogue(canonical); err != nil {
					return err
				}
			}
			b.Catalogue = cats[b.Hash]
			out.Reset()
			if err := format.Append(out, &b); err != nil {
				return err
			}
			for _, r := range out.Records {
				if group, _ := r.Get("group"); slices.Contains(mine, group) {
					rows = append(rows, rowText(t, r.Value))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(rows)
	return rows
}

// unclocked takes the anchors out of a decoder's rows: sent knows none.
func unclocked(d *Decoder) { clear(d.clocks) }

// A better database applied afterwards gives what the car would have sent with
// it, to the last digit and nanosecond: here the car had both.
func TestDecodedAfterwardsIsWhatTheCarSends(t *testing.T) {
	logs := map[string]struct{ log, db, more string }{
		"two buses": {testLog(), testDBC, "interfaces: [can0, can1], raw: true, bus_dbc: {can0: car.dbc, can1: car.dbc}"},
	}
	if packed, err := os.ReadFile("../../../shared/data/can_subaru_candump.log.gz"); err == nil {
		if db, err := os.ReadFile("../../../shared/data/can_subaru.dbc"); err == nil {
			logs["Subaru"] = struct{ log, db, more string }{string(packed), string(db), "interfaces: [can0], raw: true, dbc: car.dbc"}
		}
	}
	for name, l := range logs {
		t.Run(name, func(t *testing.T) {
			v := drive(t, l.log, l.db, l.more)
			buses := []can.Bus{{Name: "can0", Databases: []*dbc.Database{database(t, l.db)}}}
			if strings.Contains(l.more, "can1") {
				buses = append(buses, can.Bus{Name: "can1", Databases: []*dbc.Database{database(t, l.db)}})
			}
			for _, known := range []bool{true, false} {
				if !known && len(buses) > 1 {
					continue // which of them a frame is from, only the catalogue knows
				}
				cfg := Config{Buses: buses}
				if known {
					cfg.Catalogue = func(h wire.CatalogueHash) ([]byte, bool, error) {
						b, err := v.Catalogue(h)
						return b, err == nil, err
					}
				}
				d, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				var groups, got []string
				for _, g := range d.Catalogue().Groups {
					groups = append(groups, g.Name)
				}
				batches := 0
				want := sent(t, v, groups, func(b wire.Batch) {
					batches++
					for range 2 { // the second one is a copy
						err := d.Batch(b.Raw, 0, func(line []byte) error { got = append(got, rowText(t, line)); return nil })
						if err != nil {
							t.Fatal(err)
						}
						unclocked(d)
					}
				})
				slices.Sort(got)
				if len(want) < 1000 || !slices.Equal(got, want) {
					t.Errorf("catalogue known %v: %d rows, want %d", known, len(got), len(want))
					for i := range min(len(got), len(want)) {
						if got[i] != want[i] {
							t.Fatalf("got  %s\nwant %s", got[i], want[i])
						}
					}
				}
				if s := d.Stats(); s.Batches != uint64(batches) || s.Duplicates != uint64(batches) || s.Rows != uint64(len(got)) || s.Frames <= s.Rows || s.Unknown == 0 {
					t.Errorf("%+v of %d batches", s, batches)
				}
			}
		})
	}
}

func TestWhatIsNoRawBatch(t *testing.T) {
	d, err := New(Config{Buses: []can.Bus{{Databases: []*dbc.Database{database(t, testDBC)}}}, Car: "car-7"})
	if err != nil {
		t.Fatal(err)
	}
	none := func([]byte) error { t.Error("a row"); return nil }
	seal := func(car string, seq uint64, payload []byte) []byte {
		var s wire.Sealer
		id := wire.ID{Stream: wire.Stream{Car: car, Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: seq}
		out, err := s.Seal(nil, id, wire.Body{Lane: wire.LaneFull, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	plain, err := wire.AppendBlock(nil, &wire.Block{Ticks: []int64{1}, Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Batch(seal("car-7", 1, plain), 0, none); err != nil {
		t.Errorf("a batch of other columns: %v", err)
	}
	if err := d.Batch(seal("car-8", 1, []byte{200, 0}), 0, none); err != nil {
		t.Errorf("another car: %v", err)
	}
	if err := d.Batch(seal("car-7", 2, []byte{200, 0}), 0, none); !errors.Is(err, wire.ErrMustUnderstand) {
		t.Errorf("a section of a later version: %v", err)
	}
	if err := d.Batch([]byte("nothing"), 0, none); err == nil {
		t.Error("no batch was taken for one")
	}
	full := errors.New("full")
	raw := can.RawGroup("can0")
	b := wire.Block{Ticks: []int64{5}, Columns: make([]wire.Column, len(raw.Channels))}
	for i := range b.Columns {
		b.Columns[i] = wire.Column{Type: wire.TypeUint, Present: []uint64{0}}
	}
	for i, v := range []int64{256, 0, 8, 0x1234} {
		b.Columns[i] = wire.Column{Type: wire.TypeUint, Values: []int64{v}}
	}
	frame, err := wire.AppendBlock(nil, &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Batch(seal("car-7", 3, frame), 7, func(line []byte) error {
		if want := `"rpm":1165,"temp":-40,"crc":0}`; !strings.HasSuffix(string(line), want) || !strings.Contains(string(line), `"boot_ns":5,`) {
			t.Errorf("got %s", line)
		}
		return full
	}); !errors.Is(err, full) {
		t.Errorf("a line that could not be written: %v", err)
	}
	if _, err := New(Config{Buses: []can.Bus{{Databases: []*dbc.Database{{}}}}}); err == nil {
		t.Error("databases without a message were taken")
	}
	if fmt.Sprint(d.Stats().Frames) != "1" {
		t.Errorf("%+v", d.Stats())
	}
}

// Whatever a sealed batch holds, decoding it ends, in lines of JSON or an error.
func FuzzBatch(f *testing.F) {
	file, _, err := dbc.Parse(strings.NewReader(testDBC))
	if err != nil {
		f.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	types := make([]wire.ValueType, 11)
	for i := range types {
		types[i] = wire.TypeUint
	}
	b := wire.NewBuilder(0, types)
	for i := range int64(20) {
		b.Append(i*1000, []int64{256 << (i % 2), 0, 8, i<<40 | i, 0, 0, 0, 0, 0, 0, 0}, []uint64{0xf}, 0)
	}
	for _, keyed := range []bool{true, false} {
		var e wire.KeyedEncoder
		payload, err := wire.AppendBlock(nil, b.Block())
		if keyed {
			payload, err = e.Append(nil, b.Block(), 3)
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, err := New(Config{Buses: []can.Bus{{Databases: []*dbc.Database{db}}}})
		if err != nil {
			t.Fatal(err)
		}
		var s wire.Sealer
		id := wire.ID{Stream: wire.Stream{Car: "c", Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: 1}
		sealed, err := s.Seal(nil, id, wire.Body{Lane: wire.LaneFull, Payload: payload})
		if err != nil {
			return
		}
		_ = d.Batch(sealed, 0, func(line []byte) error {
			if !json.Valid(line) {
				t.Fatalf("no JSON: %s", line)
			}
			return nil
		})
	})
}

// Two configurations of one car in one file: a group's number says nothing across
// catalogues, each begins with the first interface.
func TestEachCatalogueHasItsOwnInterfaces(t *testing.T) {
	d := &Decoder{shapes: map[wire.CatalogueHash]map[uint32]string{}, cfg: Config{Interfaces: []string{"can0", "can1"}}}
	for _, c := range []struct {
		cat   byte
		group uint32
		want  string
	}{{1, 3, "can0"}, {1, 5, "can1"}, {2, 5, "can0"}, {2, 3, "can1"}, {1, 3, "can0"}} {
		if got := d.shape(wire.CatalogueHash{c.cat}, c.group); got != c.want {
			t.Errorf("catalogue %d, group %d: got %q, want %q", c.cat, c.group, got, c.want)
		}
	}
}
