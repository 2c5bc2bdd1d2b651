package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// BenchConfig says how long the bench measures. The zero value is what counts.
type BenchConfig struct {
	Dir        string // on the disk that is measured; "": the folder for temporary files
	Pairs      int    // interleaved pairs of spool and raw for each commit size; 0: 9
	Bytes      int64  // written in each half of a pair; 0: 48 MiB
	Encrypt    bool   // at rest
	SpoolBytes int64  // size of the spool whose recovery is timed; 0: 2 GiB
	Progress   io.Writer
}

// BenchRow is what one commit size showed.
type BenchRow struct {
	CommitKiB          int     `json:"commit_kib"`
	RawMBs             float64 `json:"raw_mb_s"`   // append and fdatasync of the same bytes; median
	SpoolMBs           float64 `json:"spool_mb_s"` // median
	Ratio              float64 `json:"ratio"`      // median of the pairs' ratios
	RatioMin           float64 `json:"ratio_min"`
	RatioMax           float64 `json:"ratio_max"`
	WriteAmplification float64 `json:"write_amplification"` // device bytes of the spool by those of raw
	StoredFactor       float64 `json:"stored_factor"`       // device bytes of the spool by sealed bytes stored
	RSSMB              float64 `json:"rss_mb"`              // of a process that only runs the spool, over what it had before Open
	AppendP999MS       float64 `json:"append_p999_ms"`      // at 20 MB/s while the reader drains
	RecoveryS          float64 `json:"recovery_s"`          // Open of a spool of SpoolBytes
	RecoveryColdS      float64 `json:"recovery_cold_s"`     // the same with nothing of it in the page cache
	Pairs              int     `json:"pairs"`
	Encrypted          bool    `json:"encrypted,omitempty"`
}

func (c BenchConfig) withDefaults() BenchConfig {
	if c.Pairs == 0 {
		c.Pairs = 9
	}
	if c.Bytes == 0 {
		c.Bytes = 48 << 20
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 2 << 30
	}
	return c
}

// measure is the one line of a measuring child.
type measure struct {
	Seconds float64 // the measured span
	Bytes   int64   // sealed bytes
	RSS     float64 // MB over what the process had before
	P999    float64 // ms
	Batches int
}

// bench is one call of Bench.
type bench struct {
	cfg BenchConfig
	dir string
}

// Bench measures the spool against a raw writer of the same bytes on the same
// disk. Each measurement is a fresh process.
func Bench(ctx context.Context, cfg BenchConfig) ([]BenchRow, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		cfg.Dir = os.TempDir()
	}
	dir, err := scratch(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if cfg.Encrypt {
		ctx = context.WithValue(ctx, encrypted{}, true)
	}
	b := &bench{cfg: cfg, dir: dir}
	common, err := b.common(ctx)
	if err != nil {
		return nil, fmt.Errorf("lab: bench: %w", err)
	}
	var rows []BenchRow
	for _, kib := range []int{64, 128, 256} {
		row := common
		row.CommitKiB = kib
		if err := b.pairs(ctx, kib<<10, &row); err != nil {
			return nil, fmt.Errorf("lab: bench: %w", err)
		}
		if err := b.amplification(ctx, kib<<10, &row); err != nil {
			return nil, fmt.Errorf("lab: bench: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// child runs a measuring child on an empty folder, or on the one it is given.
func (b *bench) child(ctx context.Context, spec ChildSpec) (measure, error) {
	if spec.Dir == "" {
		spec.Dir = filepath.Join(b.dir, "bench")
		defer os.RemoveAll(spec.Dir)
	}
	var m measure
	heard := false
	p, err := launch(ctx, spec, nil, func(line string) {
		if text, ok := strings.CutPrefix(line, "J "); ok {
			heard = json.Unmarshal([]byte(text), &m) == nil
		}
	})
	if err != nil {
		return m, err
	}
	if err := p.failure(); err != nil {
		return m, err
	}
	if !heard {
		return m, errors.New("the child measured nothing")
	}
	return m, nil
}

// pairs measures throughput, spool and raw in turns, the first of a pair changing.
func (b *bench) pairs(ctx context.Context, commit int, row *BenchRow) error {
	var raws, spools, ratios []float64
	for i := range b.cfg.Pairs {
		var mbs [2]float64 // spool, raw
		for j := range 2 {
			k := (i + j) % 2
			spec := ChildSpec{Do: []string{"bench", "benchraw"}[k], Commit: commit, Bytes: b.cfg.Bytes}
			m, err := b.child(ctx, spec)
			if err != nil {
				return err
			}
			mbs[k] = float64(m.Bytes) / 1e6 / m.Seconds
		}
		spools, raws, ratios = append(spools, mbs[0]), append(raws, mbs[1]), append(ratios, mbs[0]/mbs[1])
		if b.cfg.Progress != nil {
			fmt.Fprintf(b.cfg.Progress, "%d KiB, pair %d: spool %.1f MB/s, raw %.1f MB/s\n", commit>>10, i+1, mbs[0], mbs[1])
		}
	}
	row.Pairs, row.Encrypted = b.cfg.Pairs, b.cfg.Encrypt
	row.RawMBs, row.SpoolMBs, row.Ratio = median(raws), median(spools), median(ratios)
	row.RatioMin, row.RatioMax = slices.Min(ratios), slices.Max(ratios)
	return nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// common measures what does not depend on the size of a commit.
func (b *bench) common(ctx context.Context) (row BenchRow, err error) {
	// A spool that fills up to the stated size, in one process.
	dir := filepath.Join(b.dir, "big")
	m, err := b.child(ctx, ChildSpec{Do: "benchfill", Dir: dir, Bytes: b.cfg.SpoolBytes})
	if err != nil {
		return row, err
	}
	row.RSSMB = m.RSS
	var warm, cold []float64
	for i := range 6 {
		if i%2 == 1 {
			if err := dropCache(dir); err != nil {
				return row, err
			}
		}
		m, err := b.child(ctx, ChildSpec{Do: "benchopen", Dir: dir})
		if err != nil {
			return row, err
		}
		row.RSSMB = max(row.RSSMB, m.RSS)
		if i%2 == 1 {
			cold = append(cold, m.Seconds)
		} else {
			warm = append(warm, m.Seconds)
		}
		b.tell("recovery %.3f s, rss +%.1f MB, %d batches", m.Seconds, m.RSS, m.Batches)
	}
	row.RecoveryS, row.RecoveryColdS = median(warm), median(cold)
	if err := os.RemoveAll(dir); err != nil {
		return row, err
	}
	var p999 []float64
	for range 3 {
		m, err := b.child(ctx, ChildSpec{Do: "benchpaced", RateMBs: 20, Bytes: 120 << 20, Reader: true})
		if err != nil {
			return row, err
		}
		row.RSSMB = max(row.RSSMB, m.RSS)
		p999 = append(p999, m.P999)
		b.tell("20 MB/s: p99.9 of append %.3f ms, rss +%.1f MB", m.P999, m.RSS)
	}
	row.AppendP999MS = median(p999)
	return row, nil
}

func (b *bench) tell(format string, a ...any) {
	if b.cfg.Progress != nil {
		fmt.Fprintf(b.cfg.Progress, format+"\n", a...)
	}
}
