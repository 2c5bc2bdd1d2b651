package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// killed lets a car live many lives, each ended by SIGKILL under load, then reads
// everything back. Every eighth kill a new car begins.
func (c *crash) killed(ctx context.Context) error {
	var o *oracle
	dir := ""
	for run := range c.runs(50) {
		if run%8 == 0 {
			_ = os.RemoveAll(dir) // in memory, and under the scratch folder anyway
			o, dir = newOracle(), filepath.Join(c.dir, fmt.Sprintf("kill%d", run))
		}
		spec := ChildSpec{
			Do: "write", Dir: dir, Seed: c.rnd.Uint64(), Chunk: 256 << 10, Commit: 64 << 10, Quota: 512 << 20,
			CommitMS: 5, Min: payloadHead, Max: 14000, RateMBs: 30, Settle: 0.5,
		}
		if run%3 == 1 { // chunks come and go all the time
			spec.Chunk, spec.Commit, spec.Settle = 32<<10, 16<<10, 0.97
		}
		o.faults = nil
		p, err := launch(ctx, spec, nil, o.hear)
		if err != nil {
			return err
		}
		switch run % 5 {
		case 4: // while it opens
			time.Sleep(time.Duration(c.rnd.IntN(20000)) * time.Microsecond)
		default:
			p.await(3+c.rnd.IntN(900), startLimit)
			time.Sleep(time.Duration(c.rnd.IntN(5000)) * time.Microsecond)
		}
		select {
		case <-p.done:
			return fmt.Errorf("kill %d: the writer ended by itself: %w", run, p.failure())
		default:
		}
		p.kill()
		back := ChildSpec{Dir: dir, Chunk: spec.Chunk, Commit: spec.Commit, Quota: spec.Quota, CommitMS: 5}
		if run%2 == 1 {
			back.Settle = 1
		}
		s, err := c.check(ctx, fmt.Sprintf("kill %d", run), o, back)
		if err != nil {
			return err
		}
		o.take(s)
	}
	return nil
}
