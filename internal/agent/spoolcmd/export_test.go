package spoolcmd_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/foxglove/mcap/go/mcap"

	"telemetry/internal/agent/spoolcmd"
	"telemetry/internal/cli"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/spool"
	"telemetry/wire"
)

// utcOffset is what the anchor of the test's car says: boot 0 is 2026-01-01 UTC.
const utcOffset = 1767225600_000000000

type still struct{}

func (still) BootNS() int64 { return 1 }

// blocks makes a block of what a source appends.
type blocks struct{ out []wire.Block }

func (b *blocks) Event(wire.Event) error { return nil }

func (b *blocks) Append(r sensors.Rows) error {
	n := len(r.Values) / len(r.Ticks)
	block := wire.Block{Group: uint32(r.Group), Ticks: append([]int64(nil), r.Ticks...)}
	for c := range n {
		col := wire.Column{Type: wire.TypeUint, Present: make([]uint64, (len(r.Ticks)+63)/64)}
		for row := range r.Ticks {
			if bit := row*n + c; r.Present[bit/64]>>(bit%64)&1 == 1 {
				col.Present[row/64] |= 1 << (row % 64)
				col.Values = append(col.Values, r.Values[bit])
			}
		}
		block.Columns = append(block.Columns, col)
	}
	b.out = append(b.out, block)
	return nil
}

// made is a spool with a scaled and a float channel at 100 Hz, and raw frames.
type made struct {
	Dir    string   `json:"dir"`
	Values [][2]any `json:"values"` // channel "temp" then "yaw", a pair a row; nil where there is none
	Frames []string `json:"frames"` // as candump writes them
	sp     *spool.Spool
}

const rows = 50

func makeSpool(t *testing.T) *made {
	t.Helper()
	m := &made{Dir: filepath.Join(t.TempDir(), "spool")}
	sp, _, err := spool.Open(spool.Config{Dir: m.Dir, Car: "car-7", Clock: still{}, ChunkBytes: 8 << 10, CommitBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	m.sp = sp
	raw := can.RawGroup("can0")
	raw.Source = "bus"
	cat := &wire.Catalogue{Car: "car-7", Groups: []wire.Group{{
		Name: "engine", Source: "bus", Lane: wire.LaneFull, RateMilliHz: 100_000,
		Channels: []wire.Channel{
			{Name: "temp", Unit: "degC", Type: wire.TypeInt, Scale: 0.1, Offset: -40},
			{Name: "yaw", Unit: "rad/s", Type: wire.TypeF64, Scale: 1},
		},
	}, raw}}
	hash, err := sp.PutCatalogue(cat.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	put := func(b wire.Body) {
		t.Helper()
		b.Catalogue = hash
		if _, err := sp.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	anchor := wire.AppendAnchor(nil, &wire.Anchor{ID: 1, BootNS: 0, UTCNS: utcOffset, UncertaintyNS: 1000, Source: wire.AnchorGNSS})
	if _, err := sp.Append(wire.Body{Lane: wire.LaneCritical, Control: true, Payload: anchor}); err != nil {
		t.Fatal(err)
	}
	m.engine(t, put)
	m.frames(t, put)
	if err := sp.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *made) engine(t *testing.T, put func(wire.Body)) {
	for start := 0; start < rows; start += 10 {
		b := wire.Block{Columns: []wire.Column{{Type: wire.TypeInt, Present: []uint64{0x1ff}}, {Type: wire.TypeF64}}}
		for i := start; i < start+10; i++ {
			b.Ticks = append(b.Ticks, int64(i)*10_000_000)
			yaw := math.Sin(float64(i))
			b.Columns[1].Values = append(b.Columns[1].Values, int64(math.Float64bits(yaw)))
			temp := any(nil)
			if i-start < 9 { // the tenth row of each has no temperature
				b.Columns[0].Values = append(b.Columns[0].Values, int64(i*7-100))
				temp = float64(float64(i*7-100)*0.1) + -40
			}
			m.Values = append(m.Values, [2]any{temp, yaw})
		}
		section, err := wire.AppendBlock(nil, &b)
		if err != nil {
			t.Fatal(err)
		}
		put(wire.Body{Lane: wire.LaneFull, FirstNS: b.Ticks[0], LastNS: b.Ticks[9], Samples: 19, Payload: section})
	}
}

func (m *made) frames(t *testing.T, put func(wire.Body)) {
	m.Frames = []string{
		"(1767225600.000000) can0 123#DEADBEEF",
		"(1767225600.001000) can0 1ABCDEF0#",
		"(1767225600.002000) can0 7FF#1122334455667788",
		"(1767225600.003000) can0 00A#R",
		"(1767225600.004000) can0 00A#R8",
		"(1767225600.005000) can0 12345678##1000102030405060708090A0B",
		"(1767225600.006000) can0 20000080#0000000000000000",
	}
	r := can.NewRaw(1)
	for i, line := range m.Frames {
		var f can.Frame
		if err := can.ParseLine([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		r.Add(&f, int64(i)*1_000_000)
	}
	var out blocks
	if err := r.Flush(&out); err != nil {
		t.Fatal(err)
	}
	section, err := wire.AppendBlock(nil, &out.out[0])
	if err != nil {
		t.Fatal(err)
	}
	put(wire.Body{Lane: wire.LaneFull, LastNS: 6_000_000, Samples: uint32(len(m.Frames)), Payload: section})
}

// edgeagent runs `spool …` and returns what it prints.
func edgeagent(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := cli.Command(spoolcmd.New("/nowhere.yaml"))
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := edgeagent(t, args...)
	if err != nil {
		t.Fatalf("spool %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestExportCandump(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	if got, want := must(t, "export", "-f", "candump", m.Dir), strings.Join(m.Frames, "\n")+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestExportCSV(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	lines, err := csv.NewReader(strings.NewReader(must(t, "export", m.Dir))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, l := range lines[1:] {
		if l[5] != "engine" {
			continue
		}
		v, err := strconv.ParseFloat(l[7], 64)
		if err != nil {
			t.Fatal(err)
		}
		got[l[4]+" "+l[6]+" "+l[8]] = v
	}
	n := 0
	for i, pair := range m.Values {
		for j, name := range []string{"temp degC", "yaw rad/s"} {
			key := fmt.Sprintf("%d %s", utcOffset+i*10_000_000, name)
			v, ok := got[key]
			if want, there := pair[j].(float64); ok != there || v != want {
				t.Errorf("%s: %v (there %v), want %v", key, v, ok, pair[j])
			} else if there {
				n++
			}
		}
	}
	if n != len(got) || n != rows*2-rows/10 {
		t.Errorf("%d values, %d lines", n, len(got))
	}
}

// TestExportMCAP: the format's own reader finds every row with its time, and what a
// channel means.
func TestExportMCAP(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	r, err := mcap.NewReader(strings.NewReader(must(t, "export", "-f", "mcap", m.Dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	messages, err := r.Messages(mcap.WithTopics([]string{"engine"}))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		schema, channel, msg, err := messages.NextInto(nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if channel.MessageEncoding != "json" || schema.Encoding != "jsonschema" || channel.Metadata["car"] != "car-7" || !json.Valid(schema.Data) {
			t.Fatalf("channel %+v, schema %s %s", channel, schema.Encoding, schema.Data)
		}
		var row map[string]any
		if err := json.Unmarshal(msg.Data, &row); err != nil {
			t.Fatal(err)
		}
		if n >= rows || msg.LogTime != uint64(utcOffset+n*10_000_000) || msg.PublishTime != uint64(n*10_000_000) ||
			row["temp"] != m.Values[n][0] || row["yaw"] != m.Values[n][1] {
			t.Fatalf("row %d at %d: %v", n, msg.LogTime, row)
		}
	}
	info, err := r.Info()
	if err != nil {
		t.Fatal(err)
	}
	if n != rows || info.Statistics.MessageCount != uint64(rows+len(m.Frames)) {
		t.Errorf("%d rows, %d messages in all", n, info.Statistics.MessageCount)
	}
}

// TestLookingChangesNothing: ls, verify, cat and export of a spool in use, and what
// repair and prune say to it.
func TestLookingChangesNothing(t *testing.T) {
	m := makeSpool(t)
	var l struct {
		Car    string
		InUse  bool `json:"in_use"`
		Faults int
		Chunks []struct{ Batches, Pending int }
	}
	if err := json.Unmarshal([]byte(must(t, "verify", "--json", m.Dir)), &l); err != nil {
		t.Fatal(err)
	}
	batches := 0
	for _, c := range l.Chunks {
		batches += c.Batches
	}
	if l.Car != "car-7" || !l.InUse || l.Faults != 0 || batches != 8 { // EpochOpen, anchor, 5 blocks, frames
		t.Errorf("%+v", l)
	}
	if out := must(t, "ls", m.Dir); !strings.Contains(out, "full/0000000001") || !strings.Contains(out, "car-7") {
		t.Error(out)
	}
	if out := must(t, "cat", "--lane", "critical", m.Dir); !strings.Contains(out, `"UTCNS":1767225600000000000`) || strings.Count(out, "\n") != 2 {
		t.Error(out)
	}
	for _, verb := range []string{"repair", "prune"} {
		if out, err := edgeagent(t, verb, m.Dir); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s of a spool in use: %v: %s", verb, err, out)
		}
	}
	if err := m.sp.Close(); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "verify", m.Dir); !strings.Contains(out, "0 faults") {
		t.Error(out)
	}
}

// TestDamagedCopy: verify names the damage, repair mends it, verify is content.
func TestDamagedCopy(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(m.Dir)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "full", "0000000001", spool.SegmentName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, append(b, 0, 0, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := edgeagent(t, "verify", dir)
	if err == nil || !strings.Contains(out, "3 bytes behind") || !strings.Contains(out, "damaged") {
		t.Errorf("%v: %s", err, out)
	}
	if out := must(t, "repair", dir); !strings.Contains(out, "1 rewritten") {
		t.Error(out)
	}
	if out := must(t, "verify", dir); !strings.Contains(out, "7 batches") {
		t.Error(out)
	}
	if out := must(t, "prune", "--quarantine", dir); !strings.Contains(out, "0 chunks") || strings.Contains(out, " 0 bytes of quarantine") {
		t.Error(out)
	}
}

func TestUsage(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no spool", []string{"ls", t.TempDir()}, "is no spool"},
		{"no folder", []string{"ls", "/nowhere/at/all"}, "no such file"},
		{"no configuration", []string{"ls"}, "/nowhere.yaml"},
		{"unknown format", []string{"export", "-f", "xls", m.Dir}, "want batches, candump, csv, mcap"},
		{"existing output", []string{"export", "-o", filepath.Join(m.Dir, "lock"), m.Dir}, "exists"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if out, err := edgeagent(t, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// Batches have their catalogues beside them, else nobody could tell what is in them.
func TestExportBatches(t *testing.T) {
	m := makeSpool(t)
	defer m.sp.Close()
	path := filepath.Join(t.TempDir(), "run.batches")
	must(t, "export", "-f", "batches", "-o", path, m.Dir)
	list, err := filepath.Glob(path + ".*.catalogue")
	if err != nil || len(list) != 1 {
		t.Fatalf("catalogues %v: %v", list, err)
	}
	b, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	if c, err := wire.ParseCatalogue(b); err != nil || c.Car != "car-7" || list[0] != path+"."+wire.HashCatalogue(b).String()+".catalogue" {
		t.Errorf("%s: %v", list[0], err)
	}
	export, err := os.ReadFile(path)
	if err != nil || must(t, "export", "-f", "batches", m.Dir) != string(export) {
		t.Errorf("on standard output it is something else: %v", err)
	}
	if h, err := wire.ParseHeader(export[1:]); err != nil || h.Stream.Car != "car-7" {
		t.Errorf("first batch of %d bytes: %v", len(export), err)
	}
}
