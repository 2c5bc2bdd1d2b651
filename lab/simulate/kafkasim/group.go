package kafkasim

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"telemetry/receiver/sequence"
)

// group is the consumer group: who owns which partition. A partition moves only
// after its owner has let go, or was thrown out of the group. Guarded by
// Cluster.mu.
type group struct {
	c       *Cluster
	members []*Member         // in order of joining
	owner   map[int32]*Member // who has, or still has, a partition
}

// Member is one process in the group.
type Member struct {
	p   *Process
	c   *Cluster
	fn  func(ctx context.Context, s sequence.Session) error
	rng *rand.Rand // of the goroutine that runs the member
	ctx context.Context

	in     bool             // in the group; guarded by Cluster.mu
	ending bool             // takes nothing more; guarded by Cluster.mu
	out    chan struct{}    // closed when it is thrown out; guarded by Cluster.mu
	owners map[int32]*owner // guarded by Cluster.mu
}

// owner is one goroutine that works on a partition.
type owner struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// run is a member until ctx ends or the process dies: thrown out, it stops its
// owners and joins again.
func (m *Member) run(ctx context.Context) error {
	m.p.mu.Lock()
	m.p.member = m
	m.p.mu.Unlock()
	for {
		if err := m.p.pass(ctx, m.rng); err != nil && ctx.Err() != nil || m.dead() {
			return nil
		}
		out := m.join(ctx)
		select {
		case <-ctx.Done():
		case <-m.p.death:
		case <-out:
		}
		thaw, _ := m.p.state()
		if thaw != nil && ctx.Err() == nil {
			select { // frozen, it does not notice anything
			case <-thaw:
				time.Sleep(latency(m.rng))
			case <-ctx.Done():
			case <-m.p.death:
			}
		}
		m.stopAll()
		if !m.dead() {
			m.leave()
		}
		if ctx.Err() != nil || m.dead() {
			return nil
		}
	}
}

func (m *Member) dead() bool {
	_, err := m.p.state()
	return err != nil
}

// join enters the group.
func (m *Member) join(ctx context.Context) (out chan struct{}) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.ctx, m.in, m.ending, m.out = ctx, true, false, make(chan struct{})
	m.c.group.members = append(m.c.group.members, m)
	m.c.group.rebalance()
	return m.out
}

// leave says goodbye to the group.
func (m *Member) leave() {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.c.group.remove(m)
}

// silent throws the member out when it does not come back in time.
func (m *Member) silent(back chan struct{}) {
	time.AfterFunc(m.c.opt.SessionTimeout+time.Duration(m.p.id%1_000_003), func() {
		select { // nil blocks: the dead do not come back
		case <-back:
			return
		default:
		}
		m.c.mu.Lock()
		defer m.c.mu.Unlock()
		m.c.group.remove(m)
	})
}

// remove takes a member out; its partitions are free at once, whatever it still
// does with them.
func (g *group) remove(m *Member) {
	if !m.in {
		return
	}
	m.in = false
	close(m.out)
	g.members = slices.DeleteFunc(g.members, func(x *Member) bool { return x == m })
	for part, o := range g.owner {
		if o == m {
			delete(g.owner, part)
		}
	}
	g.rebalance()
}

// rebalance gives free partitions out and asks members with too many for some.
func (g *group) rebalance() {
	g.c.rebal++
	var able []*Member
	for _, m := range g.members {
		if !m.ending {
			able = append(able, m)
		}
	}
	if len(able) == 0 {
		return
	}
	n := len(g.c.parts)
	most := (n + len(able) - 1) / len(able)
	has := map[*Member]int{}
	for part := range int32(n) {
		m := g.owner[part]
		if m == nil {
			continue
		}
		if has[m]++; has[m] > most && m.owners[part] != nil {
			m.owners[part].cancel() // released when its goroutine has ended
		}
	}
	for part := range int32(n) {
		if g.owner[part] != nil {
			continue
		}
		to := able[0]
		for _, m := range able {
			if has[m] < has[to] {
				to = m
			}
		}
		has[to]++
		g.owner[part] = to
		to.start(part)
	}
}

// start begins to work on a partition. Called with Cluster.mu held.
func (m *Member) start(part int32) {
	ctx, cancel := context.WithCancel(m.ctx)
	o := &owner{cancel: cancel, done: make(chan struct{})}
	m.c.opt.Trace("kafka: partition %d goes to %s", part, m.p.name)
	before := m.owners[part]
	m.owners[part] = o
	go func() { // ends with its context or the process; awaited by stopAll
		defer close(o.done)
		if before != nil {
			<-before.done
		}
		rng := m.c.rng(m.p.id, uint64(part), m.p.session(-1-part))
		m.work(ctx, part)
		time.Sleep(latency(rng)) // no two owners let go at one instant
		m.released(part, o)
	}()
}

// work makes sessions until the partition is not owned any more.
func (m *Member) work(ctx context.Context, part int32) {
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		s := newSession(m, part)
		if err := m.p.pass(ctx, s.rng); err != nil {
			if m.dead() {
				return
			}
			continue
		}
		if m.isMember() { // a member that was thrown out must not fence its successor
			_ = m.fn(ctx, s)
		}
		if m.dead() || m.p.rest(ctx, wait+latency(s.rng)) != nil && m.dead() {
			return
		}
		wait = min(2*wait, 2*time.Second)
	}
}

func (m *Member) isMember() bool {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.in
}

// released lets the group give the partition to another.
func (m *Member) released(part int32, o *owner) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.owners[part] == o {
		delete(m.owners, part)
	}
	if m.in && !m.dead() && m.c.group.owner[part] == m && m.owners[part] == nil {
		delete(m.c.group.owner, part)
		m.c.group.rebalance()
	}
}

// stopAll ends the work on all partitions and waits for it.
func (m *Member) stopAll() {
	m.c.mu.Lock()
	var all []*owner
	m.ending = true
	for _, o := range m.owners {
		o.cancel()
		all = append(all, o)
	}
	m.c.mu.Unlock()
	for _, o := range all {
		<-o.done
	}
}
