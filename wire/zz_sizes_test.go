package wire

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"
)

func TestSizesAdHoc(t *testing.T) {
	for _, s := range []struct{ n string; min float64 }{{"tcr_racecar_columns", 50}, {"imu_1khz_columns", 500}, {"can_subaru_signals", 10}, {"sim_racecar_float_columns", 50}, {"vib_12khz_columns", 10000}} {
		var meta struct{ Channels []struct{ RateHz float64 `json:"rate_hz"`; Type string; Samples int; ByteOffset int `json:"byte_offset"` } }
		jb, _ := os.ReadFile("/work/shared/data/" + s.n + ".json")
		if err := json.Unmarshal(jb, &meta); err != nil { t.Fatal(err) }
		f, _ := os.Open("/work/shared/data/" + s.n + ".bin.gz")
		g, _ := gzip.NewReader(f)
		raw, _ := io.ReadAll(g)
		for _, N := range []int{15, 150} {
			var tot, bytesAll, bytesCol, samples int
			var zs int
			var enc, dec time.Duration
			var sl Sealer
			var buf []byte
			var out Block
			for at := 0; ; at += N {
				b := Block{Ticks: make([]int64, N)}
				for i := range b.Ticks { b.Ticks[i] = int64(1e12) + int64(at+i)*1e7 }
				for _, c := range meta.Channels {
					if c.RateHz < s.min || at+N > c.Samples { continue }
					vals := make([]int64, N)
					typ := TypeInt
					if c.Type == "f32" { typ = TypeF32 }
					for i := range vals {
						u := binary.LittleEndian.Uint32(raw[c.ByteOffset+4*(at+i):])
						if typ == TypeF32 { vals[i] = int64(u) } else { vals[i] = int64(int32(u)) }
					}
					b.Columns = append(b.Columns, Column{Type: typ, Values: vals})
				}
				if len(b.Columns) == 0 { break }
				t0 := time.Now()
				var err error
				buf, err = AppendBlock(buf[:0], &b)
				enc += time.Since(t0)
				if err != nil { t.Fatal(err) }
				sec, _, _ := NextSection(buf)
				t0 = time.Now()
				if err := ParseBlock(sec.Body, &out); err != nil { t.Fatal(err) }
				dec += time.Since(t0)
				if err := diffBlocks(&b, &out); err != nil { t.Fatal(err) }
				tk, _ := appendTicks(nil, b.Ticks)
				bytesAll += len(buf)
				bytesCol += len(buf) - len(tk) - 8
				p, _ := sl.compress(buf)
				zs += len(p)
				samples += N * len(b.Columns)
				tot++
			}
			t.Logf("%-28s N=%-4d section %.2f columns %.2f after zstd %.2f bits/sample; encode %.0f decode %.0f M/s", s.n, N, 8*float64(bytesAll)/float64(samples), 8*float64(bytesCol)/float64(samples), 8*float64(zs)/float64(samples), float64(samples)/enc.Seconds()/1e6, float64(samples)/dec.Seconds()/1e6)
		}
	}
}
