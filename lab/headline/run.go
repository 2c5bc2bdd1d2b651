package headline

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/wire"
)

// Run measures every speed on one core and on two, without and with the spool.
// done, if not nil, is told each result as it comes.
func Run(ctx context.Context, cfg Config, done func(Result)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("headline: %w", err)
	}
	rows, err := pool(cfg)
	if err != nil {
		return fmt.Errorf("headline: %w", err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, speed := range cfg.Speeds {
		for _, withSpool := range []bool{false, true} {
			for cores := 1; cores <= min(2, runtime.NumCPU()); cores++ {
				c := run{cfg: cfg, rows: rows, speed: speeds[speed], result: Result{Cores: cores, Spool: withSpool, Speed: speed}}
				if err := c.measure(ctx); err != nil {
					return fmt.Errorf("headline: %s, %d cores, spool %t: %w", speed, cores, withSpool, err)
				}
				if done != nil {
					done(c.result)
				}
			}
		}
	}
	return nil
}

// run is one case.
type run struct {
	cfg    Config
	rows   []wire.RowBlock
	speed  wire.Speed
	result Result

	next    atomic.Int64 // window to encode
	bytes   atomic.Int64
	samples atomic.Int64
}

// measure pushes all windows of the case with one goroutine per core, on so many
// of Go's processors.
func (c *run) measure(ctx context.Context) error {
	runtime.GOMAXPROCS(c.result.Cores)
	total := int64(c.cfg.Seconds*c.cfg.RateHz/c.cfg.Rows) + 1
	take := func(wire.Body) error { return nil }
	finish := func() error { return nil }
	if c.result.Spool {
		s, err := openSpool(c.cfg.Dir)
		if err != nil {
			return err
		}
		defer s.remove()
		take, finish = s.take, func() error { return s.finish(ctx) }
	}
	start, cpu := time.Now(), processTime()
	errs := make([]error, c.result.Cores)
	var workers sync.WaitGroup // they end with the last window
	for i := range errs {
		workers.Go(func() { errs[i] = c.work(ctx, total, take) })
	}
	workers.Wait()
	for _, err := range append(errs, finish()) {
		if err != nil {
			return err
		}
	}
	took := time.Since(start).Seconds()
	c.result.CPU = processTime() - cpu
	samples := float64(c.samples.Load())
	c.result.SamplesPerSecond = samples / took
	c.result.CarSeconds = samples / float64(c.cfg.Channels*c.cfg.RateHz)
	c.result.CarSecondsPerSecond = c.result.CarSeconds / took
	c.result.BitsPerSample = 8 * float64(c.bytes.Load()) / samples
	return nil
}

// headerRoom is what a batch's limit leaves for its envelope.
const headerRoom = 150

// work encodes windows until there are no more, each block into one batch.
func (c *run) work(ctx context.Context, total int64, take func(wire.Body) error) error {
	e := wire.BlockEncoder{Speed: c.speed}
	var buf []byte
	for {
		i := c.next.Add(1) - 1
		if i >= total || ctx.Err() != nil {
			return ctx.Err()
		}
		b := &c.rows[i%windows]
		bytes := 0
		for first := 0; first < len(b.Types); {
			var n int
			var err error
			if buf, n, err = e.AppendRows(buf[:0], b, first, wire.MaxFullBytes-headerRoom); err != nil {
				return err
			}
			body := wire.Body{
				Lane: wire.LaneFull, Catalogue: wire.CatalogueHash{1}, FirstNS: b.Ticks[0], LastNS: b.Ticks[len(b.Ticks)-1],
				Samples: uint32(n * len(b.Ticks)), Payload: buf,
			}
			if err := take(body); err != nil {
				return err
			}
			bytes += len(buf)
			first += n
		}
		c.bytes.Add(int64(bytes))
		c.samples.Add(int64(len(b.Values)))
	}
}

// processTime returns the CPU time of all threads, the kernel's share included.
func processTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
