package poll

import (
	"context"
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

// due returns the instant of call n, ns after the begin.
func (p *pacer) due(n int64) int64 {
	const milli = 1_000_000_000_000
	rate := int64(p.rateMilliHz)
	return n/rate*milli + n%rate*milli/rate
}

// run calls read for every instant until ctx ends or it fails. late is how far
// behind its instant a call is, and whether the instant of the next one had come
// before.
func (p *pacer) run(ctx context.Context, read func(late int64, missed bool) error) error {
	begin := p.now()
	for n := int64(1); ; n++ {
		due := begin + p.due(n)
		now := p.now()
		if now < due {
			if !p.sleep(ctx, due) {
				return ctx.Err()
			}
			now = p.now()
		} else if n%maxCatchUp == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		late, behind := max(0, now-due), n
		for begin+p.due(behind+1) <= now && behind-n <= maxCatchUp {
			behind++
		}
		if behind-n > maxCatchUp {
			// So far back that nothing can be made up for.
			to := n + late*int64(p.rateMilliHz)/1_000_000_000_000
			p.skipped += uint64(to - n)
			n, behind = to, to
		}
		if behind > n {
			p.missed++
		}
		if err := read(late, behind > n); err != nil {
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
