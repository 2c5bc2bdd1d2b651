package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/spool"
)

// enospc fills a small file system with somebody else's file while a car writes,
// and empties it again. In one run of four the disk stays full for longer than memory
// lasts: what was durable stays, and what never was goes with reason disk.
func (c *crash) enospc(ctx context.Context) error {
	for run := range c.runs(20) {
		dir := filepath.Join(c.dir, "small")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := command(ctx, "mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", dir); err != nil {
			return err
		}
		err := c.full(ctx, run, dir)
		if uerr := unix.Unmount(dir, unix.MNT_DETACH); err == nil {
			err = uerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *crash) full(ctx context.Context, run int, mnt string) error {
	o := newOracle()
	spec := ChildSpec{
		Do: "write", Dir: filepath.Join(mnt, "spool"), Seed: c.rnd.Uint64(), Chunk: 64 << 10, Commit: 16 << 10, Quota: 256 << 20,
		CommitMS: 5, Min: payloadHead, Max: 8000, RateMBs: 3, Settle: 0.97, Queue: 8 << 20, Batches: 1200, Close: true,
	}
	long := run%4 == 3
	if long {
		spec.Queue = 512 << 10
	}
	p, err := launch(ctx, spec, nil, o.hear)
	if err != nil {
		return err
	}
	filler := filepath.Join(mnt, "filler")
	for range 1 + c.rnd.IntN(3) {
		p.await(50+c.rnd.IntN(400), startLimit)
		if err := occupy(filler); err != nil {
			return errors.Join(err, os.Remove(filler))
		}
		hold := time.Duration(20+c.rnd.IntN(200)) * time.Millisecond
		if long {
			hold = time.Second
		}
		time.Sleep(hold)
		if err := os.Remove(filler); err != nil {
			return err
		}
	}
	if run%3 == 2 { // and a crash of the process while it recovers
		time.Sleep(time.Duration(c.rnd.IntN(100)) * time.Millisecond)
		p.kill()
	} else if err := c.ended(p, o, fmt.Sprintf("full disk %d", run)); err != nil {
		return err
	}
	_, err = c.check(ctx, fmt.Sprintf("full disk %d", run), o, ChildSpec{Dir: spec.Dir, Chunk: spec.Chunk, Commit: spec.Commit, Quota: spec.Quota})
	return err
}

// occupy takes all the room that there is.
func occupy(name string) error {
	f, err := os.Create(name)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return nil
		}
		return err
	}
	defer f.Close()
	b := make([]byte, 4<<10)
	for {
		if _, err := f.Write(b); err != nil {
			if errors.Is(err, unix.ENOSPC) {
				return nil
			}
			return err
		}
	}
}

// ended waits for the writer's own end: it must have recovered, and said so.
func (c *crash) ended(p *process, o *oracle, what string) error {
	if err := p.failure(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var st spool.Stats
	if err := json.Unmarshal([]byte(o.report), &st); err != nil {
		return fmt.Errorf("%s: last word of the writer: %w", what, err)
	}
	if st.Degraded {
		o.faults = append(o.faults, "not recovered: "+st.LastError)
	}
	return nil
}

// eio makes system calls of the writer fail, by strace: writes, syncs and whatever
// makes, renames and removes names, with EIO, EROFS and ENOSPC, once or for a while.
func (c *crash) eio(ctx context.Context) error {
	for run := range c.runs(30) {
		dir := filepath.Join(c.dir, fmt.Sprintf("eio%d", run))
		spec := ChildSpec{
			Do: "write", Dir: dir, Seed: c.rnd.Uint64(), Chunk: 64 << 10, Commit: 16 << 10, Quota: 256 << 20,
			CommitMS: 5, Min: payloadHead, Max: 8000, RateMBs: 4, Settle: 0.3, Batches: 300, Close: true,
			PatienceS: 150, // strace counts for each thread: thirty failures are a hundred, and the spool tries every 5 s in the end
		}
		o := newOracle()
		what, args := c.injection(run, dir)
		p, err := launch(ctx, spec, args, o.hear)
		if err != nil {
			return err
		}
		what = fmt.Sprintf("fault %d, %s", run, what)
		if run%3 == 2 {
			p.await(20+c.rnd.IntN(150), startLimit)
			p.kill()
		} else if err := p.failure(); err != nil {
			if strings.Contains(err.Error(), "strace:") {
				return err
			}
			c.note("%s: the writer gave up: %v", what, err) // allowed: a disk that fails for ever, or while it opens
		}
		if _, err := c.check(ctx, what, o, ChildSpec{Dir: dir, Chunk: spec.Chunk, Commit: spec.Commit, Quota: spec.Quota}); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// injection picks what fails and when. A write is told by its path, or the
// writer's own words would fail.
func (c *crash) injection(run int, dir string) (string, []string) {
	calls := []string{"fdatasync", "write", "fsync", "pwrite64", "ftruncate", "mkdirat", "renameat,renameat2,rename", "unlinkat", "fsync,fdatasync", "openat"}
	call := calls[run%len(calls)]
	fault := []string{"EIO", "EROFS", "ENOSPC"}[c.rnd.IntN(3)]
	first := 2 + c.rnd.IntN(40)
	when := fmt.Sprintf("%d", first)
	switch c.rnd.IntN(3) {
	case 0:
		when = fmt.Sprintf("%d..%d", first, first+1+c.rnd.IntN(30))
	case 1:
		when = fmt.Sprintf("%d+%d", first, 2+c.rnd.IntN(9))
	}
	args := []string{"strace", "-f", "-qq", "-o", "/dev/null"}
	if call == "write" || call == "openat" || call == "pwrite64" || call == "ftruncate" {
		for _, lane := range []string{"critical", "full"} {
			for no := range 30 {
				name := filepath.Join(dir, lane, fmt.Sprintf("%010d", no))
				args = append(args, "-P", name, "-P", filepath.Join(name, spool.SegmentName))
			}
		}
		for _, state := range []string{"cursor.0", "cursor.1", "mark", "reserve"} {
			args = append(args, "-P", filepath.Join(dir, state))
		}
	}
	args = append(args, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", call, fault, when))
	return fmt.Sprintf("%s of %s at %s", fault, call, when), args
}
