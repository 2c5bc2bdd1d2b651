package simulate

import (
	"context"
	"fmt"
	"time"

	"telemetry/uplink"
)

// actor is one goroutine of an uplink. What it does to the world it does at instants
// of its own: before, it lets a moment pass that the seed decides and that ends, to
// the nanosecond, where no other actor's moment does. So no two of them ever meet.
type actor struct {
	l  *life
	id int64 // below actors
	x  uint64
}

// actors is how many there may be: of each box the uplink's loop, and those of its
// connections.
const (
	actors  = 256
	ofABox  = actors / maxBoxes
	ofALink = 15 // five connections with three goroutines each

	roleDial  = 0
	roleWrite = 1
	roleClose = 2
)

// actor returns the actor of a connection's goroutine.
func (l *life) actor(link int, gen uint32, role int64) *actor {
	id := int64(l.b.no)*ofABox + 1 + int64(link)*ofALink + int64(gen%5)*3 + role
	return &actor{l: l, id: id, x: l.seed ^ hash(fmt.Sprint(link, gen, role))}
}

// Moments that an actor lets pass, ns.
const (
	promptNS  = 20_000   // it is scheduled at once
	starvedNS = 120 * ms // the computer has no time for it
	slowNS    = 150 * ms // a goroutine that comes late
)

// rest lets a moment of at most so many ns pass; none in a life that is over.
func (a *actor) rest(most int64) {
	if a.l.dead.Load() {
		return
	}
	a.x = a.x*6364136223846793005 + 1442695040888963407
	now := a.l.b.w.now()
	at := now + 1 + int64((a.x>>33)%uint64(most))
	at += ((a.id-at)%actors + actors) % actors
	time.Sleep(time.Duration(at - now))
}

// pause lets d pass, or less if ctx or wake ends first; then it is at an instant of
// its own.
func (a *actor) pause(ctx context.Context, d int64, wake <-chan struct{}) error {
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	a.rest(promptNS)
	return ctx.Err()
}

// agentClock is the uplink's clock. To read it takes a moment, as to be scheduled
// does; in an agent that gets no time of its computer it takes long.
type agentClock struct{ a *actor }

// BootNS implements [uplink.Clock].
func (c agentClock) BootNS() int64 {
	b := c.a.l.b
	if b.w.now() < b.starved.Load() {
		c.a.rest(starvedNS)
	} else {
		c.a.rest(promptNS)
	}
	if !c.a.l.dead.Load() {
		b.w.act(func() { b.w.o.due(c.a.l) })
	}
	return b.BootNS()
}

// connect starts the uplink of a life.
func (l *life) connect() {
	b, w := l.b, l.b.w
	cfg := uplink.Config{Car: b.car, Epoch: l.sp.Epoch(), Seed: w.plan.Seed ^ uint64(b.starts)}
	var links []uplink.Link
	for i, k := range b.links {
		links = append(links, uplink.Link{Name: fmt.Sprint("modem", i), Addrs: w.addrs(), Dialer: &dialer{l: l, k: k}})
	}
	l.loop = &actor{l: l, id: int64(b.no) * ofABox, x: l.seed}
	up, err := uplink.New(cfg, &store{b: b, l: l, sp: l.sp}, links, agentClock{l.loop}, l.log)
	if err != nil {
		panic("simulate: internal error: " + err.Error())
	}
	l.up = up
	ctx, cancel := context.WithCancel(l.ctx)
	l.stopUp = cancel
	w.wg.Go(func() {
		defer close(l.upDone)
		_ = up.Run(ctx)
	})
}

// Bounds of an agent's end in good order.
const (
	lastRows = 200 * time.Millisecond // until what the source has made is in the spool
	lastWord = 1500 * ms              // until the uplink has taken leave: half a second for a goodbye, and more when it gets no time
)

// leave ends the agent in good order, or, at the warning that power goes, as far as
// that goes: what the source has made becomes durable first.
func (l *life) leave(power bool) {
	l.leaving, l.power = true, power
	close(l.noMore)
	if l.sp == nil || !l.ready {
		return
	}
	l.b.w.wg.Go(func() { l.finish(power) })
}

func (l *life) finish(power bool) {
	w := l.b.w
	limit := time.NewTimer(lastRows)
	defer limit.Stop()
	select {
	case <-l.fed:
	case <-limit.C:
	case <-l.ctx.Done():
		return
	}
	var err error
	if power {
		err = l.powerFail()
	}
	last := &actor{l: l, id: int64(l.b.no)*ofABox + ofABox - 1, x: l.seed}
	last.rest(promptNS)
	w.act(func() {
		l.told = w.now()
		w.tracef("%s: the uplink is told to end", l.b)
	})
	l.stopUp()
	select {
	case <-l.upDone:
	case <-l.ctx.Done():
		return
	}
	last.rest(promptNS)
	if l.dead.Load() {
		return
	}
	w.act(func() {
		if took := w.now() - l.told; took > lastWord && w.now() > l.b.starved.Load()+lastWord {
			w.o.violate("stop", "%s: the uplink took %d ms to end", l.b, took/ms)
		}
		if n := len(l.open); n > 0 {
			w.o.violate("stop", "%s: the uplink has ended and has not closed %d of its connections", l.b, n)
		}
	})
	if !power {
		err = l.sp.Close()
	}
	l.mu.Lock()
	l.left, l.leftErr = true, err
	l.mu.Unlock()
	w.notify()
}

func (l *life) powerFail() error {
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second)
	defer cancel()
	_, err := l.sp.PowerFail(ctx)
	return err
}

// gone takes over the end of a life that has left.
func (b *box) gone(err error) {
	l := b.life
	b.w.tracef("%s: the agent has ended, error %v", b, err)
	b.w.o.saved(l, err)
	if l.power {
		return // until the power is gone
	}
	again := l.again
	b.die(false)
	b.w.after(again, b.start)
}
