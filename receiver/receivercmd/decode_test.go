package receivercmd

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/kafka"
	"telemetry/receiver/topic"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// rawBatch seals two raw frames of interface can3 as group 0.
func rawBatch(t *testing.T, seq uint64, cat wire.CatalogueHash) (wire.ID, []byte) {
	t.Helper()
	raw := can.NewRaw(0)
	for i, line := range []string{"(1.0) can3 100#0102", "(1.5) can3 7FF#33"} {
		var f can.Frame
		if err := can.ParseLine([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		raw.Add(&f, int64(i)*1e6)
	}
	var rows rowSink
	if err := raw.Flush(&rows); err != nil {
		t.Fatal(err)
	}
	id := wire.ID{Stream: wire.Stream{Car: "car-7", Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: seq}
	var s wire.Sealer
	out, err := s.Seal(nil, id, wire.Body{Lane: wire.LaneFull, Catalogue: cat, LastNS: 1e6, Samples: 6, Payload: rows.payload})
	if err != nil {
		t.Fatal(err)
	}
	return id, out
}

// rowSink turns raw rows into the payload of a batch.
type rowSink struct{ payload []byte }

func (s *rowSink) Append(r sensors.Rows) (err error) {
	g := can.RawGroup("can3")
	types := make([]wire.ValueType, len(g.Channels))
	for i, c := range g.Channels {
		types[i] = c.Type
	}
	b := wire.NewBuilder(0, types)
	for i, tick := range r.Ticks {
		b.Append(tick, r.Values[i*len(types):(i+1)*len(types)], r.Present, i*len(types))
	}
	var e wire.KeyedEncoder
	s.payload, err = e.Append(nil, b.Block(), can.RawKeys(&g))
	return err
}

func (s *rowSink) Event(wire.Event) error { return nil }

func TestDecodeOfAFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	framed := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	_, one := rawBatch(t, 1, wire.CatalogueHash{})
	_, two := rawBatch(t, 2, wire.CatalogueHash{})
	hurt := append([]byte(nil), two...)
	hurt[len(hurt)-1] ^= 1
	dbc := file("a.dbc", []byte("BO_ 256 Engine: 2 X\n SG_ rpm : 0|8@1+ (10,0) [0|0] \"\" X\n"))
	for _, tt := range []struct {
		name string
		args []string
		want []string // parts of the output
		err  string
	}{
		{
			"a batch and its copy",
			[]string{"--dbc", dbc, "--batches", file("ok", append(framed(one), framed(one)...))},
			[]string{`"group":"Engine"`, `"rpm":10}`, "1 batches (1 more were copies), 2 frames, 1 of ids that no DBC has, 1 rows"},
			"",
		},
		{"a DBC of its interface", []string{"--dbc", "can3=" + dbc, "--interfaces", "can3", "--batches", file("ok3", framed(one))}, []string{`"rpm":10}`}, ""},
		{"a DBC of another interface", []string{"--dbc", "can4=" + dbc, "--interfaces", "can3", "--batches", file("ok4", framed(one))}, []string{"2 frames, 0 of ids", "0 rows"}, ""},
		{"a damaged batch", []string{"--dbc", dbc, "--batches", file("bad", append(framed(hurt), framed(one)...))}, []string{`"rpm":10}`}, "1 batches could not be decoded"},
		{"many damaged batches", []string{"--dbc", dbc, "--batches", file("many", bytes.Repeat(framed(hurt), maxNamed+9))}, []string{"… further ones are only counted"}, "29 batches could not be decoded"},
		{"cut short", []string{"--dbc", dbc, "--batches", file("cut", framed(one)[:50])}, nil, "batch 1: unexpected EOF"},
		{"no such file", []string{"--dbc", dbc, "--batches", "nosuch"}, nil, "no such file"},
		{"something else", []string{"--dbc", dbc, "--batches", file("text", []byte(strings.Repeat("\xff", 9)+"\x01 text"))}, nil, "is it what"},
		{"nothing raw", []string{"--dbc", dbc, "--batches", file("empty", nil)}, nil, "there are no raw CAN frames"},
		{"no database", []string{"--batches", "x"}, nil, "want --dbc"},
		{"no input", []string{"--dbc", dbc}, nil, "want one of --batches and --brokers"},
		{"a database of nothing", []string{"--dbc", file("no.dbc", []byte("hello")), "--batches", "x"}, nil, "no message (BO_)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := command(t, append([]string{"decode"}, tt.args...)...)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want %q\n%s", err, tt.err, out)
			}
			for _, w := range tt.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
		})
	}
}

// From the topics of a cluster, with the catalogue of the car.
func TestDecodeOfATopic(t *testing.T) {
	c, err := kafka.Open(t.Context(), kafka.Config{Partitions: 1, Embedded: kafka.Embedded{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	cat := wire.Catalogue{Car: "car-7", Groups: []wire.Group{can.RawGroup("can3")}}
	cat.Groups[0].Source = "bus"
	canonical := cat.Append(nil)
	id, sealed := rawBatch(t, 1, cat.Hash())
	done := make(chan error, 3)
	n := c.Names()
	records, err := ingest.CatalogueRecords(n.Catalogues, "car-7", canonical)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records: %v", len(records), err)
	}
	p.Produce(records[0], func(err error) { done <- err })
	p.Produce(topic.Record{Topic: n.Batches, Key: []byte("car-7"), Headers: []topic.Header{{Key: "tick", Value: []byte("1")}}}, func(err error) { done <- err })
	p.Produce(topic.Record{Topic: n.Batches, Key: []byte("car-7"), Value: sealed, Headers: topic.BatchHeaders(id, wire.Send{}, "x")}, func(err error) { done <- err })
	for range 3 {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing was produced")
		}
	}
	dbc := filepath.Join(t.TempDir(), "a.dbc")
	if err := os.WriteFile(dbc, []byte("BO_ 256 Engine: 2 X\n SG_ rpm : 0|8@1+ (10,0) [0|0] \"\" X\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := New()
	var out, log bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&log)
	root.SetArgs([]string{"decode", "--dbc", "can3=" + dbc, "--brokers", strings.Join(c.Brokers(), ",")})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"rpm":10}`) {
		t.Errorf("got %s%s", got, log.String())
	}
}
