package benchreceiver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/internal/clock"
	"telemetry/lab/instance"
	"telemetry/lab/link"
	"telemetry/lab/simcar"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// How the way from the spool to a reader is measured.
const (
	latencyFor   = 40 * time.Second
	latencyWarm  = 5 * time.Second // not counted: catalogue, first anchor, first transactions
	latencyRows  = 2
	latencyLinks = 3
	latencyDelay = time.Millisecond // of each link, one way
	latencyCar   = "bench-car"
)

// times notes when batch n of the full lane was where.
type times struct {
	mu                  sync.Mutex
	durable, read, page map[int64]time.Time // guarded by mu
}

// note keeps the first time only; the page shows the newest value, so that all
// batches before it count as shown.
func (t *times) note(m map[int64]time.Time, n int64, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := m[n]; !ok {
		m[n] = at
	}
}

// latency measures from durable in the car's spool to visible for a read_committed
// consumer, and to the live page's feed, over three links.
func (b *bench) latency(ctx context.Context) error {
	prefix := b.Prefix + ".lat"
	r := instance.New(instance.Config{Bin: b.Bin, Dir: b.Dir, Name: "latency", YAML: fmt.Sprintf(`mqtt:
  listen: 127.0.0.1:0
  insecure: true
live:
  listen: 127.0.0.1:0
kafka:
  prefix: %s
  brokers: [%q]
  replication: 1
  allow_unsafe: true
`, prefix, b.Brokers[0])})
	if err := r.Start(); err != nil {
		return err
	}
	st, err := r.Ready(ctx)
	if err != nil {
		return errors.Join(err, r.Stop())
	}
	run, stop := context.WithCancel(ctx)
	g, run := errgroup.WithContext(run)
	t := &times{durable: map[int64]time.Time{}, read: map[int64]time.Time{}, page: map[int64]time.Time{}}
	var addrs [][]string
	for i := range latencyLinks {
		relay, err := link.NewRelay(st.Listen.MQTT, link.Spec{Delay: latencyDelay}, link.Spec{Delay: latencyDelay}, uint64(i))
		if err != nil {
			stop()
			return errors.Join(err, g.Wait(), r.Stop())
		}
		g.Go(func() error { return relay.Run(run) }) // ends with run
		addrs = append(addrs, []string{"tcp://" + relay.Addr()})
	}
	g.Go(func() error { return b.readSamples(run, prefix, t) }) // ends with run
	g.Go(func() error { return readPage(run, st.Listen.Live, t) })
	g.Go(func() error {
		defer stop()
		return b.driveLatency(run, addrs, t)
	})
	err = errors.Join(g.Wait(), r.Stop())
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return b.latencies(t)
}

// driveLatency sends batches at moments that keep no step with anything.
func (b *bench) driveLatency(ctx context.Context, addrs [][]string, t *times) error {
	c, err := simcar.Open(simcar.Config{Name: latencyCar, Dir: b.Dir + "/spool-latency", Links: latencyLinks})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.ConnectEach(addrs); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Add(latencyFor)
	warm := time.Now().Add(latencyWarm)
	for n := int64(1); time.Now().Before(end); n++ {
		if _, _, err := c.Noise(wire.LaneFull, n, latencyRows, simcar.FullColumns, rng); err != nil {
			return err
		}
		if err := c.Spool.Sync(ctx); err != nil {
			return err
		}
		if at := time.Now(); at.After(warm) {
			t.note(t.durable, n, at)
		}
		if err := clock.Sleep(ctx, time.Duration(20+rng.IntN(40))*time.Millisecond); err != nil {
			return err
		}
	}
	if err := c.Drain(ctx); err != nil {
		return err
	}
	return clock.Sleep(ctx, time.Second) // the last ones are on their way to the readers
}

// readSamples follows telemetry.samples, read_committed.
func (b *bench) readSamples(ctx context.Context, prefix string, t *times) error {
	c, err := b.open(ctx, prefix)
	if err != nil {
		return err
	}
	defer c.Close()
	var row struct {
		N int64 `json:"n"`
	}
	return c.Follow(ctx, c.Names().Samples, map[int32]int64{0: 0, 1: 0, 2: 0, 3: 0}, func(r topic.Record) error {
		at := time.Now()
		if place, _ := r.Get(topic.HeaderRow); place != fmt.Sprintf("%d/%d", latencyRows, latencyRows) {
			return nil // a batch is there when its last row is
		}
		if err := json.Unmarshal(r.Value, &row); err != nil {
			return err
		}
		t.note(t.read, row.N/100, at)
		return nil
	})
}

// readPage is a browser that looks at channel n.
func readPage(ctx context.Context, addr string, t *times) error {
	base := "http://" + addr + "/api/v1/"
	id, err := channelID(ctx, base)
	if err != nil {
		return err
	}
	body, err := get(ctx, base+"events?"+url.Values{"car": {latencyCar}, "channels": {strconv.Itoa(id)}}.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	event := ""
	shown := int64(0)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || event != "values" {
			continue
		}
		at := time.Now()
		var f struct {
			Values [][5]float64 `json:"values"`
		}
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			return fmt.Errorf("values: %w", err)
		}
		for _, v := range f.Values {
			n := int64(v[1]) / 100
			for ; shown < n; shown++ {
				t.note(t.page, shown+1, at)
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(lines.Err(), errors.New("the page's feed has ended"))
}

// get asks until there is an answer of 200.
func get(ctx context.Context, address string) (io.ReadCloser, error) {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil && resp.StatusCode == http.StatusOK {
			return resp.Body, nil
		}
		if err == nil {
			resp.Body.Close()
		}
		if err := clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// channelID waits until the page knows the channel n.
func channelID(ctx context.Context, base string) (int, error) {
	for {
		body, err := get(ctx, base+"cars/"+latencyCar+"/channels?q=n")
		if err != nil {
			return 0, err
		}
		var l struct {
			Channels []struct {
				ID   int    `json:"id"`
				Name string `json:"name"`
			} `json:"channels"`
		}
		err = json.NewDecoder(body).Decode(&l)
		body.Close()
		if err != nil {
			return 0, fmt.Errorf("channels: %w", err)
		}
		for _, c := range l.Channels {
			if c.Name == "n" {
				return c.ID, nil
			}
		}
		if err := clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (b *bench) latencies(t *times) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var read, page []float64
	for n, at := range t.durable {
		r, ok := t.read[n]
		if !ok {
			return fmt.Errorf("batch %d was never read", n)
		}
		p, ok := t.page[n]
		if !ok {
			return fmt.Errorf("batch %d was never shown", n)
		}
		read = append(read, r.Sub(at).Seconds()*1e3)
		page = append(page, p.Sub(at).Seconds()*1e3)
	}
	if len(read) == 0 {
		return errors.New("nothing was measured")
	}
	b.say("latency: %d batches; read p50 %.1f p90 %.1f p99 %.1f max %.1f ms; page p50 %.1f p99 %.1f max %.1f ms", len(read),
		quantile(read, .5), quantile(read, .9), quantile(read, .99), quantile(read, 1), quantile(page, .5), quantile(page, .99), quantile(page, 1))
	return errors.Join(b.alone("latency_p50_ms", quantile(read, .5)), b.alone("latency_p99_ms", quantile(read, .99)),
		b.alone("live_p99_ms", quantile(page, .99)))
}
