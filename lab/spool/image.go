package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"telemetry/spool"
	"telemetry/wire"
)

// image is a spool that a writer left behind, to be copied and broken again and
// again.
type image struct {
	dir    string
	spec   ChildSpec // to open it
	oracle *oracle
}

// startLimit is more than a child takes to open a small spool and write it.
const startLimit = time.Minute

// makeImage lets two lives of a car write a small spool: the first ends in order,
// the second is killed when it has said that all is written, or ends in order too.
func (c *crash) makeImage(ctx context.Context, spec ChildSpec, tidy bool) (*image, error) {
	dir, err := os.MkdirTemp(c.dir, "image")
	if err != nil {
		return nil, err
	}
	im := &image{dir: filepath.Join(dir, "spool"), oracle: newOracle()}
	spec.Do, spec.Dir = "write", im.dir
	for life := range 2 {
		spec.Seed = c.rnd.Uint64()
		spec.HoldAfter = life == 1 && !tidy
		im.oracle.done = false
		p, err := launch(ctx, spec, nil, im.oracle.hear)
		if err != nil {
			return nil, err
		}
		if spec.HoldAfter {
			if err := awaitDone(p, im.oracle); err != nil {
				return nil, err
			}
			p.kill()
		} else if err := p.failure(); err != nil {
			return nil, err
		}
	}
	im.spec = ChildSpec{Chunk: spec.Chunk, Commit: spec.Commit, Quota: spec.Quota}
	if len(im.oracle.faults) > 0 {
		return nil, fmt.Errorf("an undamaged spool is at fault: %s", strings.Join(im.oracle.faults, "; "))
	}
	if len(im.oracle.acked) == 0 {
		return nil, errors.New("the writer acknowledged nothing")
	}
	return im, nil
}

// awaitDone waits for the child's last word.
func awaitDone(p *process, o *oracle) error {
	end := time.Now().Add(startLimit)
	for n := 1; ; n++ {
		p.await(n, time.Until(end))
		p.mu.Lock()
		lines, done := p.lines, o.done // o is written before the line is counted
		p.mu.Unlock()
		switch {
		case done:
			return nil
		case time.Now().After(end):
			p.kill()
			return errors.New("the writer does not come to its end")
		}
		select {
		case <-p.done:
			return fmt.Errorf("the writer ended early: %w", p.failure())
		default:
		}
		n = lines
	}
}

// copy makes a new spool of it.
func (im *image) copy(to string) error { return os.CopyFS(to, os.DirFS(im.dir)) }

// fork is the oracle for one run.
func (im *image) fork() *oracle {
	return &oracle{acked: im.oracle.acked, settled: maps.Clone(im.oracle.settled)}
}

// files lists what can rot, by name below the spool: segment files, and the small
// files beside the lanes.
func (im *image) files() (segments, state []string, err error) {
	err = filepath.WalkDir(im.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(im.dir, p)
		if err != nil {
			return err
		}
		switch {
		case filepath.Base(p) == spool.SegmentName:
			segments = append(segments, rel)
		case !strings.Contains(rel, string(filepath.Separator)) && rel != "lock" && rel != "reserve":
			state = append(state, rel)
		}
		return nil
	})
	slices.Sort(segments)
	slices.Sort(state)
	return segments, state, err
}

// placed is one batch in a segment file.
type placed struct {
	id         wire.ID
	start, end int // of the length prefix; behind the last byte
}

// batches walks an undamaged segment file.
func batches(b []byte) (out []placed) {
	for pos := 0; pos < len(b); {
		n, k := binary.Uvarint(b[pos:])
		if k <= 0 || n == 0 || pos+k+int(n) > len(b) {
			return out
		}
		h, err := wire.ParseHeader(b[pos+k:])
		if err != nil {
			return out
		}
		out = append(out, placed{id: h.ID(), start: pos, end: pos + k + int(n)})
		pos += k + int(n)
	}
	return out
}
