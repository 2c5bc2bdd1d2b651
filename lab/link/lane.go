package link

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lane is one direction of a relay: all connections pass through its model.
type lane struct {
	trip  time.Duration // after which lost bytes are offered again
	bytes atomic.Int64  // that came out
	kick  chan struct{} // capacity 1: the model was touched

	mu      sync.Mutex
	dir     *Direction       // guarded by mu
	flows   map[uint64]*flow // guarded by mu
	silent  bool             // guarded by mu: nothing comes out
	resumed int64            // guarded by mu: when something comes out again
	late    Lateness         // guarded by mu
}

func newLane(s Spec, seed uint64, trip time.Duration) *lane {
	s.MaxWait = 0
	return &lane{
		trip:  trip,
		kick:  make(chan struct{}, 1),
		dir:   NewDirection(s, seed),
		flows: map[uint64]*flow{},
	}
}

// begun is what all relays of a process count time from.
var begun = time.Now()

func now() int64 { return int64(time.Since(begun)) }

func (l *lane) open(id uint64, dst, src net.Conn) *flow {
	f := &flow{
		lane: l, id: id, dst: dst, src: src,
		credit: make(chan struct{}, window),
		out:    make(chan []byte, window),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows[id] = f
	return f
}

func (l *lane) shut(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flows, id)
}

// offer gives a packet to the model. If it is not done, it is to be tried again
// after retry or at a change of state.
func (l *lane) offer(p Packet) (retry time.Duration, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := now()
	if !l.dir.Fits(t, len(p.Data)) {
		if at, ok := l.dir.Leave(); ok {
			return time.Duration(max(at-t, 0)), false
		}
		return time.Hour, false // nothing leaves until the state changes
	}
	if l.dir.Offer(t, p) != Kept {
		return l.trip, false
	}
	l.touch()
	return 0, true
}

func (l *lane) touch() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// set tells the model. The states that would lose a stream's bytes hold them.
func (l *lane) set(s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := s == Silent || s == Drop
	if l.silent && !silent {
		l.resumed = now()
	}
	l.silent = silent
	if silent {
		s = Hold
	}
	l.dir.Set(now(), s)
	l.touch()
}

func (l *lane) readdress() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dir.Readdress(now())
	clear(l.flows)
}

func (l *lane) counters() Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dir.Counters(now())
}

func (l *lane) lateness() Lateness {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.late
}

// run hands what comes out of the model to its connection until ctx ends.
func (l *lane) run(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		t.Reset(l.deliver())
		select {
		case <-t.C:
		case <-l.kick:
		case <-ctx.Done():
			return
		}
	}
}

// deliver hands over all that is due and returns the time until more is.
func (l *lane) deliver() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent {
		return time.Hour // until the state changes
	}
	t := now()
	for {
		p, due, ok := l.dir.Pop(t)
		if !ok {
			break
		}
		if due > l.resumed {
			l.late.Add(time.Duration(t - due))
		}
		if f := l.flows[p.Flow]; f != nil {
			f.out <- p.Data // has room: the chunk holds a token of the same size
		}
	}
	if at, ok := l.dir.Wake(); ok {
		return time.Duration(max(at-t, 0))
	}
	return time.Hour
}
