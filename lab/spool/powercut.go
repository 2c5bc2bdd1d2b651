package spool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"
)

// powercut takes the power from an ext4 on a loop device while a car writes, and
// from a raw writer on the same device beside it: the file system is shut down
// without its journal, mounted again and read by a fresh process.
func (c *crash) powercut(ctx context.Context) error {
	for run := range c.runs(25) {
		opts := ""
		if run%4 == 3 { // data may reach the disk after the names of it
			opts = "data=writeback"
		}
		l, err := newLoop(ctx, c.dir, 64<<20, opts)
		if err != nil {
			return err
		}
		err = c.cut(ctx, run, l)
		if cerr := l.close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *crash) cut(ctx context.Context, run int, l *loop) error {
	o := newOracle()
	spec := ChildSpec{
		Do: "write", Dir: filepath.Join(l.mnt, "spool"), Seed: c.rnd.Uint64(), Chunk: 256 << 10, Commit: 64 << 10, Quota: 32 << 20,
		CommitMS: 5, Min: payloadHead, Max: 14000, RateMBs: 20, Settle: 0.5,
	}
	if run%3 == 1 { // chunks come and go all the time
		spec.Chunk, spec.Commit, spec.Settle = 32<<10, 16<<10, 0.98
	}
	life := func(spec ChildSpec, hear func(string)) error {
		p, err := launch(ctx, spec, nil, hear)
		if err != nil {
			return err
		}
		p.await(3+c.rnd.IntN(700), startLimit)
		time.Sleep(time.Duration(c.rnd.IntN(5000)) * time.Microsecond)
		select {
		case <-p.done:
			return fmt.Errorf("run %d: the writer ended by itself: %w", run, p.failure())
		default:
		}
		return errors.Join(l.pullPlug(p), l.unmount(ctx), l.mount(ctx, ""))
	}
	if err := life(spec, o.hear); err != nil {
		return err
	}
	if run%2 == 1 { // a second life on what the first left, cut too
		spec.Seed = c.rnd.Uint64()
		if err := life(spec, o.hear); err != nil {
			return err
		}
	}
	if err := c.control(ctx, l, life); err != nil {
		return err
	}
	_, err := c.check(ctx, fmt.Sprintf("power cut %d", run), o, ChildSpec{Dir: spec.Dir, Chunk: spec.Chunk, Commit: spec.Commit, Quota: spec.Quota})
	return err
}

// control does to a raw writer what was done to the spool.
func (c *crash) control(ctx context.Context, l *loop, life func(ChildSpec, func(string)) error) error {
	told, got := uint64(0), uint64(0)
	err := life(ChildSpec{Do: "raw", Dir: l.mnt, Seed: c.rnd.Uint64(), Min: 100, Max: 14000}, func(line string) {
		_, _ = fmt.Sscanf(line, "A %d", &told) // a whole line of ours
	})
	if err != nil {
		return err
	}
	p, err := launch(ctx, ChildSpec{Do: "rawread", Dir: l.mnt}, nil, func(line string) {
		_, _ = fmt.Sscanf(line, "H %d", &got) // a whole line of ours
	})
	if err != nil {
		return err
	}
	if err := p.failure(); err != nil {
		return err
	}
	if told > got {
		c.res.ControlLost += int(told - got)
		c.note("the raw control lost %d of %d records", told-got, told)
	}
	return nil
}

// pullPlug takes the power: the process stands still first, so that no sync is
// under way that would return success after the cut.
func (l *loop) pullPlug(p *process) error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(15 * time.Millisecond) // facts/spool.md, section 4: without it the control seems to lose the last record
	err := l.shutdown()
	p.kill()
	return err
}
