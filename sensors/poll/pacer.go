package poll

import (
	"context"
	"math/bits"
	"time"
)

// maxCatchUp is how many reads in a row are made up for after a stall; what lies
// further back is skipped.
const maxCatchUp = 1024

// pacer calls at the instants begin + n*10^12/rate, which are computed one by one
// so that nothing adds up. A call that comes late does not move those after it.
type pacer struct {
	rateMilliHz uint64
	now         func() int64                                // ns of a clock that never jumps
	sleep       func(ctx context.Context, until int64) bool // false: ctx has ended

	missed, skipped uint64
}

// milli is the period of 1 mHz in ns.
const milli = 1_000_000_000_000

// due returns the instant of call n, ns after the begin.
func (p *pacer) due(n int64) int64 {
	hi, lo := bits.Mul64(uint64(n), milli)
	q, _ := bits.Div64(hi, lo, p.rateMilliHz)
	return int64(q)
}

// latest returns the last call whose instant is not more than ns after the begin.
func (p *pacer) latest(ns int64) int64 {
	hi, lo := bits.Mul64(uint64(ns)+1, p.rateMilliHz)
	lo, borrow := bits.Sub64(lo, 1, 0)
	q, _ := bits.Div64(hi-borrow, lo, milli)
	return int64(q)
}

// run calls read for every instant until ctx ends or it fails. late is how far
// behind its instant a call is, and whether the instant of the next one had come
// before.
func (p *pacer) run(ctx context.Context, read func(late int64, missed bool) error) error {
	begin := p.now()
	for n := int64(1); ; n++ {
		if err := ctx.Err(); err != nil { // a device that is slower than its rate never sleeps
			return err
		}
		due := begin + p.due(n)
		now := p.now()
		if now < due {
			if !p.sleep(ctx, due) {
				return ctx.Err()
			}
			now = p.now()
		}
		late, latest := max(0, now-due), max(n, p.latest(now-begin))
		if latest-n > maxCatchUp {
			// So far back that nothing can be made up for.
			p.skipped += uint64(latest - n)
			n = latest
		}
		if latest > n {
			p.missed++
		}
		if err := read(late, latest > n); err != nil {
			return err
		}
	}
}

// Thread says what the reading thread asks of the kernel. All of it is best
// effort.
type Thread struct {
	Realtime int  // priority of SCHED_FIFO, 1 to 99; 0: the usual scheduling
	CPU      int  // bound to this one, counted from 1; 0: any
	Lock     bool // the process's memory is kept from being paged out
}

// period returns the time between two reads.
func (p *pacer) period() time.Duration { return time.Duration(p.due(1)) }
