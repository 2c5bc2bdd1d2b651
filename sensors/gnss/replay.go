package gnss

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// replay reads a recorded stream to its end. Rows are stamped with the time of
// the run: as far apart as their fixes were, divided by the speed.
func (r *run) replay(ctx context.Context) error {
	f, err := os.Open(r.cfg.File)
	if err != nil {
		return fmt.Errorf("gnss: open recording: %w", err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(r.cfg.File, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("gnss: read %s: %w", r.cfg.File, err)
		}
		in = z
	}
	r.pacer = r.pace(ctx)
	buf := make([]byte, readBytes)
	for ctx.Err() == nil {
		n, err := in.Read(buf)
		r.count.bytes.Add(uint64(n))
		r.scan.feed(buf[:n], r.cfg.Clock.BootNS())
		r.tally()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("gnss: read %s: %w", r.cfg.File, err)
		}
		if r.err != nil {
			return r.err
		}
		if err != nil {
			return r.end()
		}
	}
	return ctx.Err()
}

// pace returns what waits until a fix is due and gives its boot time.
func (r *run) pace(ctx context.Context) func(f *fix) (int64, error) {
	begin := r.cfg.Clock.BootNS()
	var first, last int64
	return func(f *fix) (int64, error) {
		if f.utc != 0 && first == 0 {
			first = f.utc
		}
		due := last
		if f.utc != 0 {
			due = int64(float64(f.utc-first) / r.cfg.Speed)
		}
		last = max(last, due)
		if r.cfg.Unpaced {
			return begin + last, ctx.Err()
		}
		wait := time.NewTimer(time.Duration(begin + last - r.cfg.Clock.BootNS()))
		defer wait.Stop()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-wait.C:
		}
		return begin + last, nil
	}
}
