package headline

import (
	"context"
	"errors"
	"os"
	"time"

	"telemetry/internal/clock"
	"telemetry/spool"
	"telemetry/wire"
)

// diskSpool is a real spool in a folder of its own, whose batches are settled
// once they are durable, as a link that keeps up would do.
type diskSpool struct {
	dir   string
	spool *spool.Spool
	stop  context.CancelFunc
	ended chan error    // of Run
	idle  chan struct{} // closed when nothing settles any more
}

// settleEvery is how often durable batches are settled.
const settleEvery = 50 * time.Millisecond

func openSpool(parent string) (*diskSpool, error) {
	dir, err := os.MkdirTemp(parent, "headline-spool-")
	if err != nil {
		return nil, err
	}
	s, _, err := spool.Open(spool.Config{Dir: dir, Car: "headline", Clock: clock.System{}})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &diskSpool{dir: dir, spool: s, stop: stop, ended: make(chan error, 1), idle: make(chan struct{})}
	go func() { d.ended <- s.Run(ctx) }() // ends with stop
	go d.settle(ctx)                      // likewise
	return d, nil
}

func (d *diskSpool) take(b wire.Body) error {
	_, err := d.spool.Append(b)
	return err
}

// settle plays the uplink: what is durable is settled.
func (d *diskSpool) settle(ctx context.Context) {
	defer close(d.idle)
	every := time.NewTicker(settleEvery)
	defer every.Stop()
	var last wire.ID
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		from := last
		for {
			item, ok := d.spool.Next(wire.LaneFull, last)
			if !ok {
				break
			}
			last = item.ID
		}
		if last != from {
			d.spool.Settle(last.Stream, wire.Ranges{{First: 1, Last: last.Seq}})
		}
	}
}

// finish waits until all is durable and reports what the spool lost.
func (d *diskSpool) finish(ctx context.Context) error {
	if err := d.spool.Sync(ctx); err != nil {
		return err
	}
	if st := d.spool.Stats(); st.LostQuota+st.LostDisk+st.LostCorrupt > 0 {
		return errors.New("the spool lost batches: the disk is too slow or too small")
	}
	return nil
}

func (d *diskSpool) remove() error {
	d.stop()
	<-d.idle
	err := <-d.ended
	return errors.Join(err, d.spool.Close(), os.RemoveAll(d.dir))
}
