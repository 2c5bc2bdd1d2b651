// Package simcar is a car without sensors: the real spool and the real uplink in
// this process, fed with made-up batches, many cars beside each other. Tests of
// the receiver use it where the real agent would be too heavy.
//
// The entry point is [Open]. The package never looks into what the receiver does:
// what it knows of it comes by acks.
package simcar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"telemetry/internal/clock"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/uplink/mqtt"
	"telemetry/wire"
)

// Config is one car. Name, Dir and Links are needed.
type Config struct {
	Name  string
	Dir   string        // of its spool
	Links int           // how many
	Dial  mqtt.DialFunc // nil: the standard dialer
	TLS   *tls.Config   // for tls:// addresses; nil: the system's roots and no certificate
	Log   *slog.Logger  // nil: none
}

// Car is one running car. Its methods are safe for concurrent use, except that
// Close comes last.
type Car struct {
	cfg   Config
	Spool *spool.Spool
	// Anchor is what the car has told of its clock, once.
	Anchor wire.Anchor
	hash   wire.CatalogueHash
	wg     sync.WaitGroup
	stop   context.CancelFunc // of the spool

	mu     sync.Mutex
	uplink *uplink.Uplink     // guarded by mu
	cancel context.CancelFunc // guarded by mu; of the uplink
	ended  chan error         // guarded by mu; of the uplink
}

// Groups of the catalogue: every car has the same, under its own name.
const (
	FullColumns = 32 // of group 0 "bulk", lane full: n, noise_1 …
	LiveColumns = 4  // of group 1 "preview", lane live: n_live, noise_live_1 …
)

// Catalogue returns a car's catalogue.
func Catalogue(car string) *wire.Catalogue {
	group := func(name, first, noise string, lane wire.Lane, n int) wire.Group {
		g := wire.Group{Name: name, Source: "sim", Lane: lane}
		for i := range n {
			c := wire.Channel{Name: first, Type: wire.TypeInt, Bits: 64, Scale: 1}
			if i > 0 {
				c.Name = fmt.Sprintf("%s_%d", noise, i)
			}
			g.Channels = append(g.Channels, c)
		}
		return g
	}
	return &wire.Catalogue{Car: car, Groups: []wire.Group{
		group("bulk", "n", "noise", wire.LaneFull, FullColumns),
		group("preview", "n_live", "noise_live", wire.LaneLive, LiveColumns),
	}}
}

// Open makes the spool and starts it; [Car.Connect] starts the links.
func Open(cfg Config) (*Car, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	sp, _, err := spool.Open(spool.Config{Dir: cfg.Dir, Car: cfg.Name, QuotaBytes: 256 << 20, Clock: clock.System{}, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Car{cfg: cfg, Spool: sp, stop: stop}
	c.wg.Go(func() { // ends with Close
		if err := sp.Run(ctx); err != nil {
			cfg.Log.Error("spool failed", "car", cfg.Name, "error", err)
		}
	})
	if c.hash, err = sp.PutCatalogue(Catalogue(cfg.Name).Append(nil)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	read := clock.System{}.Compare()
	c.Anchor = wire.Anchor{ID: 1, BootNS: read.BootNS, UTCNS: read.UTCNS, UncertaintyNS: int64(time.Millisecond), Source: wire.AnchorNTP}
	_, err = sp.Append(wire.Body{
		Lane: wire.LaneCritical, Control: true, FirstNS: read.BootNS, LastNS: read.BootNS,
		Payload: wire.AppendAnchor(nil, &c.Anchor),
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Connect starts the links, each of which may dial any of the addresses
// (tcp://host:port), or moves them: those that run end first.
func (c *Car) Connect(addrs []string) error {
	each := make([][]string, c.cfg.Links)
	for i := range each {
		each[i] = addrs
	}
	return c.ConnectEach(each)
}

// ConnectEach is Connect with addresses for each link.
func (c *Car) ConnectEach(addrs [][]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnect()
	var links []uplink.Link
	for i := range addrs {
		links = append(links, uplink.Link{Name: fmt.Sprintf("link-%d", i), Addrs: addrs[i], Dialer: &mqtt.Dialer{Net: c.cfg.Dial, TLS: c.cfg.TLS}})
	}
	epoch := c.Spool.Epoch()
	u, err := uplink.New(uplink.Config{Car: c.cfg.Name, Epoch: epoch, Seed: epoch.Nonce}, c.Spool, links, clock.System{}, c.cfg.Log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.uplink, c.cancel, c.ended = u, cancel, make(chan error, 1)
	ended := c.ended
	c.wg.Go(func() { ended <- u.Run(ctx) }) // ends with disconnect
	return nil
}

// disconnect ends the links; the caller holds mu.
func (c *Car) disconnect() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	<-c.ended // always nil
	c.uplink, c.cancel = nil, nil
}

// Block appends one block of full or live as a batch and returns the batch's
// identity and the block as it stands in the batch.
func (c *Car) Block(lane wire.Lane, ticks, values []int64) (wire.ID, []byte, error) {
	b := wire.Block{Ticks: ticks}
	if lane == wire.LaneLive {
		b.Group = 1
	}
	columns := len(values) / len(ticks)
	for i := range columns {
		b.Columns = append(b.Columns, wire.Column{Type: wire.TypeInt, Values: values[i*len(ticks) : (i+1)*len(ticks)]})
	}
	payload, err := wire.AppendBlock(nil, &b)
	if err != nil {
		return wire.ID{}, nil, err
	}
	id, err := c.Spool.Append(wire.Body{
		Lane: lane, Catalogue: c.hash, FirstNS: ticks[0], LastNS: ticks[len(ticks)-1], Samples: uint32(len(values)), Payload: payload,
	})
	return id, payload, err
}

// Event appends one event on the critical lane.
func (c *Car) Event(name, detail string) (wire.ID, error) {
	now := clock.System{}.BootNS()
	return c.Spool.Append(wire.Body{
		Lane: wire.LaneCritical, FirstNS: now, LastNS: now, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: now, Name: name, Detail: detail}),
	})
}

// Pending returns how many batches of critical and full are not known durable in
// Kafka.
func (c *Car) Pending() int {
	n := 0
	for lane, l := range c.Spool.Stats().Lanes {
		if lane != wire.LaneLive {
			n += l.Pending
			if l.QueuedBytes > 0 {
				n++
			}
		}
	}
	return n
}

// Drain waits until nothing is pending.
func (c *Car) Drain(ctx context.Context) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for n := c.Pending(); n > 0; n = c.Pending() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("simcar: %s still has %d batches: %w", c.cfg.Name, n, ctx.Err())
		case <-t.C:
		}
	}
	return nil
}

// Close ends links and spool.
func (c *Car) Close() error {
	c.mu.Lock()
	c.disconnect()
	c.mu.Unlock()
	c.stop()
	err := c.Spool.Close()
	c.wg.Wait()
	return err
}
