package kafkasim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"telemetry/receiver/sequence"
)

// ErrDead is the answer to a process that was killed.
var ErrDead = fmt.Errorf("kafkasim: process is dead: %w", sequence.ErrLost)

// errTimeout: the brokers did not answer in time.
var errTimeout = errors.New("kafkasim: request timed out")

// requestLimit is how long a request waits for brokers that do not answer.
const requestLimit = 5 * time.Second

// Process is one client process: what happens to it happens to all of its calls.
// Its methods are safe for concurrent use.
type Process struct {
	c    *Cluster
	name string
	id   uint64

	mu     sync.Mutex
	thaw   chan struct{} // closed when a freeze ends; nil while running
	dead   bool
	death  chan struct{} // closed at death
	member *Member
	n      map[int32]uint64 // sessions so far, by partition
}

// NewProcess returns a running process.
func (c *Cluster) NewProcess(name string) *Process {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &Process{c: c, name: name, id: h.Sum64(), death: make(chan struct{}), n: map[int32]uint64{}}
}

// Freeze stops the process: no call of its goes on before Thaw.
func (p *Process) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thaw == nil && !p.dead {
		p.thaw = make(chan struct{})
		if m := p.member; m != nil {
			m.silent(p.thaw)
		}
	}
}

// Thaw lets the process go on.
func (p *Process) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.thaw != nil {
		close(p.thaw)
		p.thaw = nil
	}
}

// Kill ends the process without a word to anybody.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	close(p.death)
	if m := p.member; m != nil {
		m.silent(nil)
	}
}

// state returns what the process must wait for, nil while it runs.
func (p *Process) state() (thaw chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	return p.thaw, nil
}

// session numbers the sessions of a partition, so that each has times of its own.
func (p *Process) session(part int32) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n[part]++
	return p.n[part]
}

// pass is the time of one request: it takes a few milliseconds of the caller's
// own, and longer while the process is frozen or the brokers are stalled.
func (p *Process) pass(ctx context.Context, rng *rand.Rand) error {
	if err := p.rest(ctx, latency(rng)); err != nil {
		return err
	}
	stalled := p.c.Stalled()
	if stalled == 0 {
		return nil
	}
	if err := p.rest(ctx, min(stalled, requestLimit)+latency(rng)); err != nil {
		return err
	}
	if stalled > requestLimit {
		return fmt.Errorf("%w after %v", errTimeout, requestLimit)
	}
	return nil
}

// latency is between one and four milliseconds, to the nanosecond.
func latency(rng *rand.Rand) time.Duration {
	return time.Millisecond + time.Duration(rng.Int64N(int64(3*time.Millisecond)))
}

// rest waits, and until the process runs.
func (p *Process) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-p.death:
		return ErrDead
	}
	for {
		thaw, err := p.state()
		if err != nil {
			return err
		}
		if thaw == nil {
			return ctx.Err()
		}
		select {
		case <-thaw:
			time.Sleep(d%time.Millisecond + 1) // no two callers go on at one instant
		case <-p.death:
		}
	}
}

// Backend is the sequencer's side of the cluster for one process.
type Backend struct{ p *Process }

// Backend returns the process's side of the group.
func (p *Process) Backend() *Backend { return &Backend{p} }

// Own implements [sequence.Backend].
func (b *Backend) Own(ctx context.Context, fn func(ctx context.Context, s sequence.Session) error) error {
	m := &Member{p: b.p, c: b.p.c, fn: fn, owners: map[int32]*owner{}, rng: b.p.c.rng(b.p.id, 1)}
	return m.run(ctx)
}
