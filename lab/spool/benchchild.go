package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/spool"
	"telemetry/wire"
)

// benchPayload makes batches of 16 KiB sealed: four, eight or sixteen are a commit.
const benchPayload = 16<<10 - 40

// benchChild measures one thing in this process.
func benchChild(ctx context.Context, c ChildSpec, out io.Writer) error {
	kinds := map[string]func(context.Context, ChildSpec) (measure, error){
		"bench": benchSpool, "benchraw": benchRaw, "benchfill": benchFill, "benchopen": benchOpen, "benchpaced": benchPaced,
	}
	f := kinds[c.Do]
	if f == nil {
		return fmt.Errorf("lab: child: nothing known as %q", c.Do)
	}
	m, err := f(ctx, c)
	if err != nil {
		return err
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "J %s\n", line)
	return err
}

// started is a spool that runs, with what its process had before.
type started struct {
	sp     *spool.Spool
	report spool.Report
	stop   func() error
	before int64 // bytes
}

func start(ctx context.Context, cfg spool.Config) (*started, error) {
	runtime.GC()
	before, err := memory("VmRSS:")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak counts from here
		return nil, err
	}
	sp, report, err := spool.Open(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- sp.Run(ctx) }() // ends with stop
	return &started{sp: sp, report: report, before: before, stop: func() error { cancel(); return errors.Join(<-ran, sp.Close()) }}, nil
}

// grown returns by how many MB the peak exceeds what was there before.
func (s *started) grown() (float64, error) {
	peak, err := memory("VmHWM:")
	return float64(peak-s.before) / 1e6, err
}

// memory reads one line of /proc/self/status, in bytes.
func memory(key string) (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("lab: no %s in /proc/self/status", key)
}

// blob is bytes that nothing makes smaller; each batch is a different part of it. It
// stands outside of the heap, so that it does not count as the spool's.
func blob() ([]byte, error) {
	b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	garble(b, 7)
	for i := range b {
		if b[i] == byte(wire.SectionAtRest) { // a payload may begin anywhere, and the spool takes none that looks encrypted
			b[i]--
		}
	}
	return b, nil
}

// benchSpool appends as fast as it goes.
func benchSpool(ctx context.Context, c ChildSpec) (m measure, err error) {
	cfg := c.config()
	cfg.QuotaBytes = 8 << 30
	cfg.CommitInterval, cfg.CriticalInterval = time.Second, time.Second // groups end by size
	b, err := blob()
	if err != nil {
		return m, err
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return m, err
	}
	begin := time.Now()
	n, err := fill(s.sp, b, c.Bytes)
	if err == nil {
		err = s.sp.Sync(ctx)
	}
	if err != nil {
		return m, err
	}
	m.Seconds = time.Since(begin).Seconds()
	st := s.sp.Stats()
	m.Bytes, m.Batches = int64(st.CommittedBytes), n
	if m.RSS, err = s.grown(); err != nil {
		return m, err
	}
	return m, s.stop()
}

func fill(sp *spool.Spool, b []byte, bytes int64) (n int, err error) {
	for at := 0; bytes > 0; n++ {
		now := int64(n)
		if _, err := sp.Append(wire.Body{Lane: wire.LaneFull, FirstNS: now, LastNS: now, Samples: 1, Payload: b[at : at+benchPayload]}); err != nil {
			return n, err
		}
		bytes -= benchPayload
		at = (at + 4099) % (len(b) - benchPayload)
	}
	return n, nil
}

// benchRaw appends the same bytes to one file, with an fdatasync for each commit.
func benchRaw(_ context.Context, c ChildSpec) (m measure, err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return m, err
	}
	f, err := os.Create(filepath.Join(c.Dir, "raw"))
	if err != nil {
		return m, err
	}
	defer f.Close()
	b, err := blob()
	if err != nil {
		return m, err
	}
	begin := time.Now()
	for at := 0; m.Bytes < c.Bytes; {
		n, err := f.Write(b[at : at+c.Commit])
		if err != nil {
			return m, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return m, err
		}
		m.Bytes += int64(n)
		at = (at + 4099) % (len(b) - c.Commit)
	}
	m.Seconds = time.Since(begin).Seconds()
	return m, nil
}

// benchFill leaves a spool of the wanted size behind.
func benchFill(ctx context.Context, c ChildSpec) (m measure, err error) {
	cfg := c.config()
	cfg.QuotaBytes = 2*c.Bytes + 64<<20
	b, err := blob()
	if err != nil {
		return m, err
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return m, err
	}
	if m.Batches, err = fill(s.sp, b, c.Bytes); err != nil {
		return m, err
	}
	if m.RSS, err = s.grown(); err != nil {
		return m, err
	}
	return m, s.stop()
}

// benchOpen times Open, then reads all of it as an uplink would.
func benchOpen(ctx context.Context, c ChildSpec) (m measure, err error) {
	cfg := c.config()
	cfg.QuotaBytes = 64 << 30
	s, err := start(ctx, cfg)
	if err != nil {
		return m, err
	}
	m.Seconds, m.Batches, m.Bytes = s.report.Took.Seconds(), s.report.Batches, s.report.Bytes
	var buf []byte
	for at := (wire.ID{}); ; {
		it, ok := s.sp.Next(wire.LaneFull, at)
		if !ok {
			break
		}
		at = it.ID
		if buf, err = s.sp.Read(it.ID, buf[:0]); err != nil {
			return m, err
		}
	}
	if m.RSS, err = s.grown(); err != nil {
		return m, err
	}
	return m, s.stop()
}

// benchPaced appends at a rate while a reader drains and settles, and takes the
// time of each append.
func benchPaced(ctx context.Context, c ChildSpec) (m measure, err error) {
	cfg := c.config()
	cfg.QuotaBytes = 8 << 30
	b, err := blob()
	if err != nil {
		return m, err
	}
	took := make([]time.Duration, 0, c.Bytes/benchPayload+1)
	for i := range took[:cap(took)] { // touched now, not while it is measured
		took[:cap(took)][i] = 1
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- drain(ctx, s.sp) }() // ends with cancel
	begin := time.Now()
	every := time.Duration(benchPayload / (c.RateMBs * 1e6) * 1e9)
	at := 0
	for n := range cap(took) {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * every)))
		t := time.Now()
		_, err := s.sp.Append(wire.Body{Lane: wire.LaneFull, FirstNS: int64(n), LastNS: int64(n), Samples: 1, Payload: b[at : at+benchPayload]})
		took = append(took, time.Since(t))
		if err != nil {
			return m, err
		}
		at = (at + 4099) % (len(b) - benchPayload)
	}
	cancel()
	if err := <-drained; err != nil {
		return m, err
	}
	m.Seconds, m.Batches = time.Since(begin).Seconds(), len(took)
	if m.RSS, err = s.grown(); err != nil {
		return m, err
	}
	slices.Sort(took)
	m.P999 = float64(took[len(took)*999/1000]) / 1e6
	return m, s.stop()
}

// drain reads what Next shows, again and again at full speed, and settles the
// older half so that chunks are deleted too.
func drain(ctx context.Context, sp *spool.Spool) error {
	var buf []byte
	var at wire.ID
	for ctx.Err() == nil {
		it, ok := sp.Next(wire.LaneFull, at)
		if !ok {
			if at.Seq > 64 {
				sp.Settle(at.Stream, wire.Ranges{{First: 1, Last: at.Seq - 64}})
			}
			at = wire.ID{}
			select {
			case <-ctx.Done():
			case <-sp.Wake():
			}
			continue
		}
		at = it.ID
		var err error
		if buf, err = sp.Read(it.ID, buf[:0]); err != nil && !errors.Is(err, spool.ErrGone) {
			return err
		}
	}
	return nil
}
