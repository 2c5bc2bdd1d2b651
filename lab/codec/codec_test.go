package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// write makes FILE.json and FILE.bin.gz with an integer and a float channel at
// 100 Hz and a slow one, and returns the first one's path.
func write(t *testing.T, edit func(channels []map[string]any) any) string {
	t.Helper()
	var raw []byte
	for i := range 300 {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(20*math.Sin(float64(i)/9))))
	}
	for i := range 300 {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(i)/8))
	}
	for i := range 30 {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(i))
	}
	channels := []map[string]any{
		{"name": "a", "type": "i32", "rate_hz": 100, "samples": 300, "byte_offset": 0},
		{"name": "b", "type": "f32", "rate_hz": 100, "samples": 300, "byte_offset": 1200},
		{"name": "slow", "type": "i32", "rate_hz": 10, "samples": 30, "byte_offset": 2400},
	}
	var top any = map[string]any{"note": "made by a test", "channels": channels}
	if edit != nil {
		top = edit(channels)
	}
	text, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "set.json")
	for name, data := range map[string][]byte{path: text, strings.TrimSuffix(path, ".json") + ".bin.gz": packed.Bytes()} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRun(t *testing.T) {
	results, err := Run(t.Context(), Config{Columns: write(t, nil), N: []int{15, 400}, Tile: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 {
		t.Fatalf("%d results, want fast and full for two n", len(results))
	}
	for _, r := range results[:2] {
		if r.Cuts != 20 || r.Lossless == nil || !*r.Lossless || *r.BitsPerSample <= 0 || *r.BatchBits <= *r.BitsPerSample || *r.EncodeMSps <= 0 || *r.DecodeMSps <= 0 {
			t.Errorf("%s: %+v", r.Subject, r)
		}
	}
	if fast, full := *results[0].BitsPerSample, *results[1].BitsPerSample; full >= fast {
		t.Errorf("full %f bits, fast %f", full, fast)
	}
	for _, r := range results[2:] {
		if r.BitsPerSample != nil || r.EncodeMSps != nil || r.Lossless != nil {
			t.Errorf("%s has figures without a cut: %+v", r.Subject, r)
		}
	}
	line, err := json.Marshal(results[2])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"file":"set","n":400,"subject":"fast","bits_per_sample":null,"batch_bits_per_sample":null,"encode_msps":null,"decode_msps":null,"lossless":null}`
	if string(line) != want {
		t.Errorf("got %s", line)
	}
	var table bytes.Buffer
	if err := WriteTable(&table, results); err != nil || strings.Count(table.String(), "\n") != 5 {
		t.Errorf("%v\n%s", err, table.String())
	}
}

func TestMinRate(t *testing.T) {
	path := write(t, nil)
	for _, c := range []struct {
		name string
		rate float64
		want int
	}{{"an eighth of the highest", 0, 2}, {"all", 1, 3}, {"just the highest", 100, 2}} {
		t.Run(c.name, func(t *testing.T) {
			set, err := Load(path, c.rate)
			if err != nil || len(set.Channels) != c.want {
				t.Fatalf("%v, %v", set, err)
			}
		})
	}
}

func TestGoPeersGiveBack(t *testing.T) {
	set, err := Load(write(t, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range goPeers() {
		r, err := p.measure(set, 15)
		if err != nil || !*r.Lossless || *r.BitsPerSample <= 0 {
			t.Errorf("%s: %+v, %v", p.name, r, err)
		}
	}
}

func TestBadFiles(t *testing.T) {
	set := func(key string, v any) func([]map[string]any) any {
		return func(chs []map[string]any) any {
			chs[1][key] = v
			return map[string]any{"channels": chs}
		}
	}
	cases := []struct {
		name string
		edit func([]map[string]any) any
		want string
	}{
		{"no object", func([]map[string]any) any { return []int{1} }, "not a list of channels"},
		{"no channels", func([]map[string]any) any { return map[string]any{"a": 1} }, "no channels"},
		{"unknown type", set("type", "f64"), `channel 1, "b": type "f64"`},
		{"samples that are not there", set("samples", 1000), "1000 samples at byte 1200"},
		{"samples beyond any file", set("samples", int64(1)<<62), "samples at byte 1200"},
		{"negative samples", set("samples", -1), "-1 samples"},
		{"offset behind the end", set("byte_offset", 5000), "at byte 5000"},
		{"negative offset", set("byte_offset", -4), "at byte -4"},
		{"text for a number", set("samples", "many"), "not a list of channels"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Run(t.Context(), Config{Columns: write(t, c.edit), N: []int{15}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
		})
	}
	t.Run("no values", func(t *testing.T) {
		path := write(t, nil)
		if err := os.Remove(strings.TrimSuffix(path, ".json") + ".bin.gz"); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, 0); err == nil || !strings.Contains(err.Error(), "values of the channels") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("values cut off", func(t *testing.T) {
		path := write(t, nil)
		bin := strings.TrimSuffix(path, ".json") + ".bin.gz"
		b, err := os.ReadFile(bin)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bin, b[:len(b)/2], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, 0); err == nil {
			t.Fatal("half a file loaded")
		}
	})
	t.Run("no such rate", func(t *testing.T) {
		if _, err := Load(write(t, nil), 1000); err == nil || !strings.Contains(err.Error(), "1000 Hz") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("bad n", func(t *testing.T) {
		if _, err := Run(t.Context(), Config{Columns: "x", N: []int{0}, MinRate: -1}); err == nil || !strings.Contains(err.Error(), "n 0") {
			t.Fatalf("got %v", err)
		}
	})
}
