package kafkafire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/simcar"
	"telemetry/wire"
)

// car is one car through all its lives: each begins a new epoch on the same card.
// Its methods are safe for concurrent use.
type car struct {
	cfg  simcar.Config
	seed uint64
	load context.Context // while it lasts the car makes data
	note func(id wire.ID, n int64, block []byte) error

	mu    sync.Mutex
	lives uint64
	sim   *simcar.Car // guarded by mu, as all below; nil: it is off
	addrs []string
	stop  context.CancelFunc // of the load of this life
	ended chan error         // of the load of this life
	err   error              // of the loads of former lives
}

// connect moves the car's links, or says where they shall go when it is on again.
func (c *car) connect(addrs []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrs = addrs
	if c.sim == nil {
		return nil
	}
	return c.sim.Connect(addrs)
}

// start begins a life.
func (c *car) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begin()
}

// begin is start for a caller that holds mu.
func (c *car) begin() error {
	sim, err := simcar.Open(c.cfg)
	if err != nil {
		return fmt.Errorf("kafkafire: %s: %w", c.cfg.Name, err)
	}
	if err := sim.Connect(c.addrs); err != nil {
		return errors.Join(err, sim.Close())
	}
	c.lives++
	ctx, stop := context.WithCancel(c.load)
	ended := make(chan error, 1)
	seed := c.seed + c.lives<<32
	go func() { ended <- sim.Drive(ctx, seed, c.note) }() // ends with ctx, waited for by halt
	c.sim, c.stop, c.ended = sim, stop, ended
	return nil
}

// halt ends the load of this life; the caller holds mu.
func (c *car) halt() {
	if c.stop == nil {
		return
	}
	c.stop()
	c.err = errors.Join(c.err, <-c.ended)
	c.stop = nil
}

// restart ends a life, with whatever is under way, and begins the next one after a
// while. Moves wait for it.
func (c *car) restart(ctx context.Context, off time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halt()
	err := c.sim.Close()
	c.sim = nil
	if err != nil {
		return fmt.Errorf("kafkafire: %s: %w", c.cfg.Name, err)
	}
	if err := clock.Sleep(ctx, off); err != nil {
		return err
	}
	return c.begin()
}

// finish ends the load, and returns what went wrong with it in any life.
func (c *car) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halt()
	return c.err
}

// drain waits until Kafka has all that the car has.
func (c *car) drain(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sim.Drain(ctx)
}

// close ends the car.
func (c *car) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sim == nil {
		return nil
	}
	c.halt()
	err := c.sim.Close()
	c.sim = nil
	return err
}
