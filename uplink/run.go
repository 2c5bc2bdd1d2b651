package uplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Clock reads the boot clock in ns.
type Clock interface{ BootNS() int64 }

const (
	eventQueue    = 256
	snapshotEvery = 100 * time.Millisecond
	dialTimeout   = time.Duration(dialTimeoutNS)
	maxDrain      = 512    // events taken before a step
	lookEveryNS   = 1 * ms // looks at one socket: each is a system call
)

// Uplink runs an [Engine] over real links. Its methods may be called from any
// goroutine.
type Uplink struct {
	engine *Engine // owned by Run
	store  Store
	links  []Link
	clock  Clock
	log    *slog.Logger
	cfg    Config

	events chan event
	done   chan struct{} // closed when the loop takes no more events

	changed chan struct{} // holds one when a link has changed its state
	snap    atomic.Pointer[Snapshot]
	begun   atomic.Bool
	wg      sync.WaitGroup // everything that Run started

	conns []*running // owned by Run; by link and gen
	again bool       // owned by Run: a connection broke after the step
}

type connKey struct {
	link int
	gen  uint32
}

func (k connKey) compare(o connKey) int {
	return cmp.Or(cmp.Compare(k.link, o.link), cmp.Compare(k.gen, o.gen))
}

// running is a dial or a connection of the loop.
type running struct {
	key    connKey
	cancel context.CancelFunc // of the dial; nil once up
	conn   Conn
	queue  chan job
	left   atomic.Int32 // jobs that the writer has not finished
	sent   atomic.Int32 // messages that the socket took and that the engine wasn't told of
	wanted atomic.Bool  // the loop waits for the next one

	waits    atomic.Int64 // bytes of messages that the connection was not given yet
	lookedNS int64        // when its socket was last asked
	pace     int64        // that it was told last, bytes/s
}

// job is one message for a writer, or the rest of one.
type job struct {
	Send
	flush bool // the connection has the message: the socket must take the rest of it
}

// event is one thing that happened, as a call into the engine.
type event func(u *Uplink, now int64)

// New returns an uplink over links. It starts nothing; the error reports every
// fault of cfg.
func New(cfg Config, st Store, links []Link, clk Clock, log *slog.Logger) (*Uplink, error) {
	cfg.Links = nil
	for _, l := range links {
		cfg.Links = append(cfg.Links, LinkConfig{Name: l.Name, Addrs: l.Addrs, Meter: l.Meter})
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for i, l := range links {
		if l.Dialer == nil {
			return nil, fmt.Errorf("uplink: link %d (%s) has no dialer", i, l.Name)
		}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	u := &Uplink{
		engine: NewEngine(cfg, st), store: st, links: links, clock: clk, log: log, cfg: cfg,
		events: make(chan event, eventQueue), done: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	u.recall()
	u.publish()
	return u, nil
}

// Run dials and sends until ctx ends, then takes leave of every receiver. It
// returns nil after everything that it started has ended, and may be called once.
func (u *Uplink) Run(ctx context.Context) error {
	if u.begun.Swap(true) {
		return errors.New("uplink: Run was called twice")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if u.cfg.Ledger != nil {
		u.wg.Go(func() { u.keep(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var published time.Time
	for {
		var ev event
		select {
		case <-ctx.Done():
		case ev = <-u.events:
		case <-u.store.Wake():
		case <-timer.C:
		}
		if ctx.Err() != nil {
			u.stop(ev)
			return nil
		}
		u.take(ev)
		now := u.clock.BootNS()
		u.collect(now)
		acts, wake := u.engine.Step(now)
		for _, a := range acts {
			u.act(ctx, a)
		}
		if u.want() || u.again {
			wake, u.again = now, false
		}
		news := u.report()
		wait := time.Duration(wake - now)
		if since := time.Since(published); news || since >= snapshotEvery {
			u.publish()
			published = time.Now()
			if news {
				u.tell()
			}
		} else {
			wait = min(wait, snapshotEvery-since)
		}
		timer.Reset(max(wait, 0))
	}
}

// take hands ev, which may be nil, and what else has happened to the engine. So it
// doesn't matter which of several things has woken the loop: the step knows all.
func (u *Uplink) take(ev event) {
	now := u.clock.BootNS()
	select {
	case <-u.store.Wake():
	default:
	}
	for range maxDrain {
		if ev != nil {
			ev(u, now)
		}
		select {
		case ev = <-u.events:
		default:
			return
		}
	}
	ev(u, now) // taken from the queue, beyond the limit
}

// collect tells the engine what the sockets have taken, and what they still hold.
func (u *Uplink) collect(now int64) {
	for _, r := range u.conns {
		key := r.key
		for range r.sent.Swap(0) {
			u.engine.Sent(now, key.link, key.gen)
		}
		if w, ok := r.conn.(Watched); ok && now-r.lookedNS >= lookEveryNS {
			r.lookedNS = now
			if n, ok := w.Unacked(); ok {
				u.engine.Unacked(now, key.link, key.gen, n+r.waits.Load())
			}
			r.hold(u.engine.Pace(key.link, key.gen))
		}
	}
}

// hold tells the connection its pace when that has changed by an eighth.
func (r *running) hold(pace int64) {
	p, ok := r.conn.(Paced)
	if !ok || (pace == 0) == (r.pace == 0) && max(pace-r.pace, r.pace-pace) <= r.pace/8 {
		return
	}
	p.Pace(pace)
	r.pace = pace
}

// want tells the writers which of them the loop waits for, and reports whether
// one of these has something to tell already. A wake-up for every message costs
// more than the message: the others' are collected at the next step.
func (u *Uplink) want() (once bool) {
	for _, r := range u.conns {
		w := u.engine.Wants(r.key.link, r.key.gen)
		r.wanted.Store(w)
		once = once || w && r.sent.Load() > 0
	}
	return once
}

// post queues an event; it is dropped when the loop has ended.
func (u *Uplink) post(ev event) {
	select {
	case <-u.done: // also when there is room
		return
	default:
	}
	select {
	case u.events <- ev:
	case <-u.done:
	}
}

func (u *Uplink) act(ctx context.Context, a Action) {
	switch a := a.(type) {
	case Dial:
		u.dial(ctx, a)
	case Send:
		u.send(a)
	case Close:
		u.close(connKey{a.Link, a.Gen})
	}
}

// send gives one message to a connection: at once if its socket has room, else
// to its writer.
func (u *Uplink) send(a Send) {
	key := connKey{a.Link, a.Gen}
	r := u.find(key)
	if r == nil || r.queue == nil {
		return
	}
	j := job{Send: a}
	if p, ok := r.conn.(Prompt); ok && r.left.Load() == 0 {
		took, err := p.Try(a.Topic, a.Payload)
		switch {
		case err != nil:
			downEvent(key, err)(u, u.clock.BootNS())
			u.again = true
			return
		case took == Whole:
			r.sent.Add(1)
			return
		}
		j.flush = took == Partly
	}
	r.left.Add(1)
	if !j.flush {
		r.waits.Add(int64(len(a.Payload)))
	}
	r.queue <- j // never blocks: the engine keeps to maxWriterQueue
}

// dial starts the goroutine of one dial; it ends with its event.
func (u *Uplink) dial(ctx context.Context, a Dial) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	key := connKey{a.Link, a.Gen}
	at, _ := u.place(key)
	u.conns = slices.Insert(u.conns, at, &running{key: key, cancel: cancel})
	u.wg.Go(func() {
		defer cancel()
		conn, err := u.links[a.Link].Dialer.Dial(ctx, DialRequest{
			Link: a.Link, Gen: a.Gen, Addr: a.Addr,
			ClientID:  ClientID(u.cfg.Car, u.cfg.Epoch, a.Link, a.Gen),
			Subscribe: ControlTopic(u.cfg.Car, a.Link),
			OnMessage: func(b []byte) {
				u.post(func(u *Uplink, now int64) { u.engine.Message(now, a.Link, a.Gen, b) })
			},
			OnDown: func(err error) { u.post(downEvent(key, err)) },
		})
		if err != nil {
			u.post(downEvent(key, err))
			return
		}
		taken := make(chan struct{})
		u.post(func(u *Uplink, now int64) {
			close(taken)
			u.connected(key, a.Addr, conn, now)
		})
		select {
		case <-taken:
		case <-u.done:
			select {
			case <-taken:
			default:
				_ = conn.Close()
			}
		}
	})
}

func downEvent(key connKey, err error) event {
	return func(u *Uplink, now int64) {
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			u.engine.Refused(key.link)
		}
		u.engine.LinkDown(now, key.link, key.gen, err.Error())
		u.close(key)
	}
}

// connected starts the writer of a connection that is up.
func (u *Uplink) connected(key connKey, addr string, conn Conn, now int64) {
	r := u.find(key)
	if r == nil { // closed meanwhile
		u.wg.Go(func() { _ = conn.Close() })
		return
	}
	r.conn, r.queue = conn, make(chan job, maxWriterQueue+1)
	u.wg.Go(func() { u.write(key, r, conn, r.queue) })
	u.engine.LinkUp(now, key.link, key.gen, addr)
}

// write takes what the socket has no room for; it ends when its queue is closed
// or a send fails. It alone may block on the socket.
func (u *Uplink) write(key connKey, r *running, conn Conn, queue <-chan job) {
	for j := range queue {
		if !j.flush {
			r.waits.Add(-int64(len(j.Payload))) // from now on the connection counts it
		}
		if err := j.do(conn); err != nil {
			u.post(downEvent(key, err))
			return
		}
		r.sent.Add(1)
		r.left.Add(-1)
		if r.wanted.Load() {
			u.post(func(*Uplink, int64) {})
		}
	}
}

func (j job) do(conn Conn) error {
	if p, ok := conn.(Prompt); ok && j.flush {
		return p.Flush()
	}
	return conn.Send(j.Topic, j.Payload)
}

// close ends a dial or a connection without waiting for it.
func (u *Uplink) close(key connKey) {
	at, ok := u.place(key)
	if !ok {
		return
	}
	r := u.conns[at]
	u.conns = slices.Delete(u.conns, at, at+1)
	r.cancel()
	if r.conn != nil {
		close(r.queue)
		u.wg.Go(func() { _ = r.conn.Close() })
	}
}

// place returns where a connection is, or belongs, among u.conns.
func (u *Uplink) place(key connKey) (at int, ok bool) {
	return slices.BinarySearchFunc(u.conns, key, func(r *running, k connKey) int { return r.key.compare(k) })
}

func (u *Uplink) find(key connKey) *running {
	if at, ok := u.place(key); ok {
		return u.conns[at]
	}
	return nil
}

func (u *Uplink) closeAll() {
	for len(u.conns) > 0 {
		u.close(u.conns[0].key)
	}
}

// stop closes every connection and waits for every goroutine. ev, which may be nil,
// is the oldest event that nobody has seen yet.
func (u *Uplink) stop(ev event) {
	u.log.Info("uplink stops")
	close(u.done)
	u.closeAll()
	u.wg.Wait()
	for more := true; more; { // dials that finished at the same moment
		if ev != nil {
			ev(u, u.clock.BootNS())
			u.closeAll()
		}
		select {
		case ev = <-u.events:
		default:
			more = false
		}
	}
	u.wg.Wait()
	if u.cfg.Ledger != nil {
		u.record(u.spent())
	}
	u.publish()
}

// Snapshot returns the state of the uplink, at most about 100 ms old; a change of a
// link's state is in it at once.
func (u *Uplink) Snapshot() Snapshot { return *u.snap.Load() }

// Changed has something to receive when links have changed their state since the last
// receive, for one reader; the snapshot shows it already.
func (u *Uplink) Changed() <-chan struct{} { return u.changed }

// tell wakes the reader of Changed.
func (u *Uplink) tell() {
	select {
	case u.changed <- struct{}{}:
	default: // it has not taken the last news yet
	}
}

// Pull asks for the event times fromNS..toNS of the full lane to go first; see
// [Engine.Pull]. It waits for the loop, which must be running.
func (u *Uplink) Pull(ctx context.Context, fromNS, toNS int64) error {
	reply := make(chan error, 1)
	u.post(func(u *Uplink, now int64) { reply <- u.engine.Pull(now, fromNS, toNS) })
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-u.done:
		return errors.New("uplink: has stopped")
	}
}

// Answer gives the late answer of a command; see [Engine.Answer].
func (u *Uplink) Answer(id uint64, data map[string]string, err error) {
	u.post(func(u *Uplink, now int64) { u.engine.Answer(now, id, data, err) })
}

func (u *Uplink) publish() {
	s := u.engine.Snapshot()
	u.snap.Store(&s)
}

// report logs changes of state: suspicions come and go a dozen times a minute on
// a bad link and are logged at debug level. It says whether there were any.
func (u *Uplink) report() bool {
	changes := u.engine.Changes()
	for _, c := range changes {
		level := slog.LevelInfo
		switch c.State {
		case "dialing", "suspect", "back", "closed":
			level = slog.LevelDebug
		case "dead":
			level = slog.LevelWarn
		}
		u.log.Log(context.Background(), level, "link state changed", "link", u.links[c.Link].Name, "gen", c.Gen, "addr", c.Addr, "state", c.State, "why", c.Why)
	}
	return len(changes) > 0
}
