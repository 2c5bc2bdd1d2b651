package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/lab/link"
)

// Run measures, again if the machine disturbed it, and returns the last result.
func (m Measurement) Run(ctx context.Context) (res *Result, err error) {
	tries := m.Tries
	if tries == 0 {
		tries = defaultTries
	}
	for n := 1; n <= tries; n++ {
		if res, err = m.try(ctx); err != nil {
			return nil, err
		}
		if res.Tries = n; !res.Disturbed {
			break
		}
	}
	return res, nil
}

// try measures once on a testbed of its own.
func (m Measurement) try(ctx context.Context) (res *Result, err error) {
	bed, err := New(m.Config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel(nil)
		wg.Wait()
		err = errors.Join(err, bed.Close())
	}()
	fail := func(err error) {
		if err != nil {
			cancel(err)
		}
	}
	wg.Go(func() { fail(bed.Run(ctx)) }) // ends with ctx
	if m.Congestion != "" {
		if err := bed.Car.Sysctl("ipv4.tcp_congestion_control", m.Congestion); err != nil {
			return nil, err
		}
	}
	ln, err := bed.Far.Listen(netip.AddrPortFrom(bed.FarAddr(), 0).String())
	if err != nil {
		return nil, fmt.Errorf("netns: measure: %w", err)
	}
	defer ln.Close()
	run := &run{Measurement: m, bed: bed, wg: &wg, fail: fail, ln: ln}
	for i := range bed.Paths() {
		if err := run.connect(ctx, i); err != nil {
			return nil, fmt.Errorf("netns: measure: %w", errors.Join(err, context.Cause(ctx)))
		}
	}
	return run.fill(ctx)
}

// run is one try.
type run struct {
	Measurement
	bed   *Testbed
	wg    *sync.WaitGroup
	fail  func(error)
	ln    net.Listener
	conns []*measured
}

// measured is the connection over one link.
type measured struct {
	near  net.Conn
	bytes atomic.Int64 // read at the far end
	rtts  []time.Duration
}

// connect opens the connection of link i and measures its round trips. At the
// far end it is an echo for idlePings bytes, and then a sink.
func (r *run) connect(ctx context.Context, i int) error {
	c := &measured{}
	r.conns = append(r.conns, c)
	p := r.bed.Paths()[i]
	accepted := make(chan net.Conn, 1)
	r.wg.Go(func() { // ends with the listener
		far, err := r.ln.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- far
	})
	near, err := r.bed.Car.Dial(ctx, p.Device(), r.ln.Addr().String())
	if err != nil {
		return fmt.Errorf("connect over %s: %w", p.Device(), err)
	}
	c.near = near
	far, ok := <-accepted
	if !ok {
		return errors.New("the listener ended")
	}
	for _, end := range []net.Conn{near, far} {
		context.AfterFunc(ctx, func() { _ = end.Close() })
	}
	r.wg.Go(func() { // ends with the connection, and that with ctx
		if _, err := io.CopyN(far, far, idlePings); err != nil {
			return
		}
		_, _ = io.Copy(counter{&c.bytes}, far)
	})
	for range idlePings {
		begin := time.Now()
		if _, err := near.Write([]byte{0}); err != nil {
			return err
		}
		if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
			return err
		}
		c.rtts = append(c.rtts, time.Since(begin))
	}
	slices.Sort(c.rtts)
	return nil
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// moment is what had happened by some time.
type moment struct {
	at       time.Time
	cpu      time.Duration
	counters []Counters
	bytes    []int64
}

func (r *run) moment() (m moment, err error) {
	m = moment{at: time.Now(), cpu: r.bed.CPU()}
	for i, p := range r.bed.Paths() {
		c, err := p.Counters()
		if err != nil {
			return m, err
		}
		m.counters, m.bytes = append(m.counters, c), append(m.bytes, r.conns[i].bytes.Load())
	}
	return m, nil
}

// fill keeps all connections full and returns what came through.
func (r *run) fill(ctx context.Context) (*Result, error) {
	for _, c := range r.conns {
		r.wg.Go(func() { // ends with the connection
			b := make([]byte, 64<<10)
			for {
				if _, err := c.near.Write(b); err != nil {
					if ctx.Err() == nil {
						r.fail(fmt.Errorf("netns: measure: %w", err))
					}
					return
				}
			}
		})
	}
	settle, fill := r.Settle, r.Fill
	if settle == 0 {
		settle = defaultSettle
	}
	if fill == 0 {
		fill = defaultFill
	}
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	// Lateness counts from the begin of the fill; round trips are robust by their
	// median.
	r.bed.ResetLateness()
	begin, err := r.moment()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, fill); err != nil {
		return nil, err
	}
	end, err := r.moment()
	if err != nil {
		return nil, err
	}
	return r.result(begin, end), nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *run) result(begin, end moment) *Result {
	late := r.bed.Lateness()
	seconds := end.at.Sub(begin.at).Seconds()
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	res := &Result{
		Seconds: seconds, Disturbed: late.Disturbed(),
		LateP50US: us(late.Quantile(0.5)), LateP99US: us(late.Quantile(0.99)), LateMaxUS: us(late.Max()),
		CarrierCPU: (end.cpu - begin.cpu).Seconds() / seconds,
	}
	for i, c := range r.conns {
		was, is := begin.counters[i], end.counters[i]
		spec := r.Config.Links[i]
		mbps := func(bytes int64) float64 { return float64(bytes) * 8 / 1e6 / (is.At - was.At).Seconds() }
		res.Links = append(res.Links, LinkResult{
			Device:        is.Device,
			DelaysMS:      ms(spec.Up.Delay + spec.Down.Delay),
			RTTMinMS:      ms(c.rtts[0]),
			RTTMedianMS:   ms(c.rtts[len(c.rtts)/2]),
			CapacityMbps:  mbps(is.Up.CapacityBytes - was.Up.CapacityBytes),
			CarriedMbps:   mbps(is.Up.OutBytes - was.Up.OutBytes),
			DeliveredMbps: mbps(end.bytes[i] - begin.bytes[i]),
			Dropped:       since(is.Up.Dropped, was.Up.Dropped),
			Unread:        is.Unread - was.Unread,
		})
	}
	return res
}

func since(is, was link.Drops) link.Drops {
	return link.Drops{
		Queue: is.Queue - was.Queue, Random: is.Random - was.Random, Wait: is.Wait - was.Wait, Silent: is.Silent - was.Silent,
		Drop: is.Drop - was.Drop, Down: is.Down - was.Down, Readdress: is.Readdress - was.Readdress,
	}
}
