package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"telemetry/internal/clock"
	"telemetry/sensors"
	"telemetry/uplink"
	"telemetry/wire"
)

// fakeClock is a boot clock that follows the clock of a synctest bubble, and a
// UTC that the test may step.
type fakeClock struct {
	begin time.Time

	mu     sync.Mutex
	step   int64
	synced bool
}

const (
	bootBase = int64(50e9)
	utcBase  = int64(1_700_000_000e9)
)

func newClock() *fakeClock { return &fakeClock{begin: time.Now()} }

func (c *fakeClock) BootNS() int64 { return bootBase + int64(time.Since(c.begin)) }

func (c *fakeClock) Compare() clock.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.BootNS()
	return clock.Reading{BootNS: b, UTCNS: utcBase + b + c.step, UncertaintyNS: 1000, Synced: c.synced}
}

func (c *fakeClock) set(step int64, synced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step, c.synced = step, synced
}

// script is a source that runs one function per Run, the last one again and
// again.
type script struct {
	groups []wire.Group
	runs   []func(ctx context.Context, out sensors.Sink) error
	ran    int
}

func (s *script) Groups() []wire.Group { return s.groups }

func (s *script) Run(ctx context.Context, out sensors.Sink) error {
	run := s.runs[min(s.ran, len(s.runs)-1)]
	s.ran++
	return run(ctx, out)
}

func stay(ctx context.Context, _ sensors.Sink) error {
	<-ctx.Done()
	return ctx.Err()
}

// group returns a group of integer channels called name.0, name.1 and so on.
func group(name string, channels int) wire.Group {
	g := wire.Group{Name: name}
	for i := range channels {
		g.Channels = append(g.Channels, wire.Channel{Name: name + "." + string(rune('a'+i%26)) + string(rune('a'+i/26)), Type: wire.TypeInt, Scale: 1})
	}
	return g
}

// point is one sample.
type point struct {
	channel string
	tick    int64
	raw     int64
}

// received is what batches turned out to hold.
type received struct {
	points   map[wire.Lane]map[point]int // how often each was there
	controls []wire.Control
	batches  map[wire.Lane]int
	biggest  map[wire.Lane]int // payload bytes
}

func newReceived() *received {
	return &received{points: map[wire.Lane]map[point]int{}, batches: map[wire.Lane]int{}, biggest: map[wire.Lane]int{}}
}

// payload reads the uncompressed payload of one batch.
func (r *received) payload(t *testing.T, cat *wire.Catalogue, lane wire.Lane, samples uint32, b []byte) {
	t.Helper()
	r.batches[lane]++
	r.biggest[lane] = max(r.biggest[lane], len(b))
	if r.points[lane] == nil {
		r.points[lane] = map[point]int{}
	}
	n := uint32(0)
	for len(b) > 0 {
		sec, size, err := wire.NextSection(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[size:]
		if sec.Type != wire.SectionBlock {
			c, err := wire.ParseControl(sec)
			if err != nil {
				t.Fatal(err)
			}
			if c.Event != nil {
				n++
			}
			r.controls = append(r.controls, c)
			continue
		}
		var blk wire.Block
		if err := wire.ParseBlock(sec.Body, &blk); err != nil {
			t.Fatal(err)
		}
		n += uint32(blk.Samples())
		r.block(cat, lane, &blk)
	}
	if n != samples {
		t.Errorf("%s: batch says %d samples and holds %d", lane, samples, n)
	}
}

func (r *received) block(cat *wire.Catalogue, lane wire.Lane, blk *wire.Block) {
	for i, col := range blk.Columns {
		name := cat.Groups[blk.Group].Channels[int(blk.FirstColumn)+i].Name
		k := 0
		for row, tick := range blk.Ticks {
			if sensors.Bit(col.Present, row) {
				r.points[lane][point{name, tick, col.Values[k]}]++
				k++
			}
		}
	}
}

// check compares a lane with what was appended: each sample exactly once.
func (r *received) check(t *testing.T, lane wire.Lane, want map[point]int) {
	t.Helper()
	got := r.points[lane]
	if maps.Equal(got, want) {
		return
	}
	missing, extra := 0, 0
	for p, n := range want {
		if got[p] < n {
			missing++
		}
	}
	for p, n := range got {
		if want[p] < n {
			extra++
		}
	}
	t.Errorf("%s: %d samples missing, %d double or unknown, of %d", lane, missing, extra, len(want))
}

// events returns the names of all events, in order.
func (r *received) events() []string {
	var out []string
	for _, c := range r.controls {
		if c.Event != nil {
			out = append(out, c.Event.Name)
		}
	}
	return out
}

// memSpool is a spool in memory. fail, if set, decides the fate of an append.
type memSpool struct {
	mu     sync.Mutex
	bodies []wire.Body
	at     []time.Time
	fail   func(b wire.Body) error
}

func (m *memSpool) Append(b wire.Body) (wire.ID, error) {
	if m.fail != nil {
		if err := m.fail(b); err != nil {
			return wire.ID{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b.Payload = slices.Clone(b.Payload)
	m.bodies, m.at = append(m.bodies, b), append(m.at, time.Now())
	return wire.ID{}, nil
}

func (m *memSpool) read(t *testing.T, cat *wire.Catalogue) *received {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := newReceived()
	for _, b := range m.bodies {
		r.payload(t, cat, b.Lane, b.Samples, b.Payload)
	}
	return r
}

// cloud is a receiver in memory behind every link: it acks each batch as durable
// as soon as it has it, unless it is told to hold.
type cloud struct {
	mu      sync.Mutex
	epoch   wire.Epoch
	batches map[wire.ID][]byte
	held    bool
	counter uint64
}

func newCloud() *cloud { return &cloud{batches: map[wire.ID][]byte{}} }

func (c *cloud) Dial(_ context.Context, d uplink.DialRequest) (uplink.Conn, error) {
	conn := &cloudConn{cloud: c, req: d, stop: make(chan struct{}), done: make(chan struct{})}
	go conn.ack() // ends with Close
	return conn, nil
}

func (c *cloud) hold(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = on
}

// read decodes everything that has arrived.
func (c *cloud) read(t *testing.T, cat *wire.Catalogue) *received {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := newReceived()
	for _, raw := range c.batches {
		b, _, err := wire.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		var o wire.Opener
		payload, err := o.Payload(b)
		if err != nil {
			t.Fatal(err)
		}
		r.payload(t, cat, b.Header.Stream.Lane, b.Header.Samples, payload)
	}
	return r
}

// cloudConn is one connection to the cloud.
type cloudConn struct {
	cloud *cloud
	req   uplink.DialRequest
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	echo wire.LinkEcho
	at   time.Time
}

func (c *cloudConn) Send(_ string, payload []byte) error {
	s, n, err := wire.ParseSend(payload)
	if err != nil {
		return errors.Join(errors.New("cloud: not a send"), err)
	}
	h, err := wire.ParseHeader(payload[n:])
	if err != nil {
		return err
	}
	c.cloud.mu.Lock()
	c.cloud.epoch = h.Stream.Epoch
	c.cloud.batches[h.ID()] = slices.Clone(payload[n:])
	c.cloud.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.echo.Messages++
	c.echo.Bytes += uint64(len(payload))
	c.echo.LastSentNS, c.at = s.SentNS, time.Now()
	return nil
}

func (c *cloudConn) Close() error {
	c.once.Do(func() { close(c.stop) })
	<-c.done
	return nil
}

// ack sends an ack every 50 ms.
func (c *cloudConn) ack() {
	defer close(c.done)
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.req.OnMessage(wire.AppendAck(nil, c.statement()))
		case <-c.stop:
			return
		}
	}
}

func (c *cloudConn) statement() *wire.Ack {
	c.mu.Lock()
	echo := c.echo
	echo.Link, echo.Gen = uint8(c.req.Link), c.req.Gen
	if echo.Messages > 0 {
		echo.HeldNS = int64(time.Since(c.at))
	}
	c.mu.Unlock()
	c.cloud.mu.Lock()
	defer c.cloud.mu.Unlock()
	c.cloud.counter++
	a := &wire.Ack{Instance: "cloud", Nonce: 7, Counter: c.cloud.counter, State: wire.InstanceOK, Credit: 8 << 20, Links: []wire.LinkEcho{echo}}
	if c.cloud.held {
		return a
	}
	byStream := map[wire.Stream][]uint64{}
	for id := range c.cloud.batches {
		byStream[id.Stream] = append(byStream[id.Stream], id.Seq)
	}
	for st, seqs := range byStream {
		slices.Sort(seqs)
		sa := wire.StreamAck{Epoch: st.Epoch, Lane: st.Lane, Shard: st.Shard}
		for _, q := range seqs {
			sa.Durable = sa.Durable.Add(q, q)
		}
		a.Streams = append(a.Streams, sa)
	}
	return a
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
