package codec

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"telemetry/wire"
)

// recordings are where the facts' data stands beside this repository.
const recordings = "../../../shared/data"

// benchSets calls fn with the recordings that the speeds are promised for.
func benchSets(b *testing.B, fn func(b *testing.B, set *Set)) {
	for _, name := range []string{"tcr_racecar_columns", "imu_1khz_columns", "can_subaru_signals", "sim_racecar_float_columns", "vib_12khz_columns"} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(recordings, name+".json")
			if _, err := os.Stat(path); err != nil {
				b.Skip("the recordings are not there: ", err)
			}
			set, err := Load(path, 0)
			if err != nil {
				b.Fatal(err)
			}
			fn(b, set)
		})
	}
}

// cpuRate runs fn over and over and reports millions of samples per CPU second,
// the best of all rounds.
func cpuRate(b *testing.B, samples int, fn func() error) {
	best := time.Duration(1 << 62)
	for b.Loop() {
		took, err := cpuTime(fn)
		if err != nil {
			b.Fatal(err)
		}
		best = min(best, took)
	}
	b.ReportMetric(float64(samples)/1e6/max(best, time.Microsecond).Seconds(), "Msamples/cpu-s")
}

// BenchmarkColumns is what the speeds of [Run] measure, for profiles.
func BenchmarkColumns(b *testing.B) {
	const n = 150
	benchSets(b, func(b *testing.B, set *Set) {
		blocks, samples := tiled(set, n, tileChannels)
		for _, s := range []struct {
			name  string
			speed wire.Speed
		}{{"fast", wire.Fast}, {"full", wire.Full}} {
			e := wire.BlockEncoder{Speed: s.speed}
			b.Run(s.name+"/encode", func(b *testing.B) {
				var buf []byte
				cpuRate(b, passes*samples, func() (err error) {
					for w := range passes {
						for i := range blocks[w%windows] {
							if buf, err = e.Append(buf[:0], &blocks[w%windows][i]); err != nil {
								return err
							}
						}
					}
					return nil
				})
			})
			b.Run(s.name+"/decode", func(b *testing.B) {
				var encoded [][]byte
				for w := range blocks {
					for i := range blocks[w] {
						out, err := e.Append(nil, &blocks[w][i])
						if err != nil {
							b.Fatal(err)
						}
						encoded = append(encoded, out)
					}
				}
				cpuRate(b, windows*samples, func() error { return decodeAll(encoded) })
			})
		}
	})
}
