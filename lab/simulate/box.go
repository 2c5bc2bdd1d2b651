package simulate

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// box is the computer in a car: a card, modems, and the agent while there is
// power. Two boxes with one car's name are a car and its clone.
type box struct {
	w      *world
	car    string
	no     int
	card   *card
	cards  []*card // all that it has had
	links  []*link
	life   *life // nil without power, or between two starts of the agent
	bootAt int64 // virtual time at which the boot clock was 0
	bootID [16]byte
	starts int

	quiet     bool // the source makes nothing more
	retired   bool // thrown away: it never starts again
	catalogue int  // which one the source uses
	utcOff    int64
	starved   atomic.Int64 // until then the agent gets next to no time of the computer
	anchorAt  int64        // no anchor before
	tag       uint64
	lastEpoch *epochFact
	cloned    bool // its car has had more than one card

	// What all lives together have reported.
	lost   map[wire.Reason]uint64
	failed int // starts that the spool refused
}

// life is one start of the agent. What other goroutines put here is guarded by mu,
// or by the world's mu.
type life struct {
	b      *box
	ctx    context.Context
	cancel context.CancelFunc
	sp     *spool.Spool
	log    *slog.Logger
	seed   uint64
	up     *uplink.Uplink
	loop   *actor // the uplink's loop
	stopUp context.CancelFunc
	upDone chan struct{} // closed when the uplink has ended
	conns  []*conn
	open   map[*conn]bool // that the uplink was given and has not closed
	feed   chan job
	noMore chan struct{}    // closed when the source has ended
	fed    chan struct{}    // closed when all that it made is in the spool
	seen   map[wire.ID]bool // that this life has read, to send it
	due    map[wire.ID]bool // critical, and shown before a step of the uplink
	newest wire.ID          // of due
	made   map[wire.ID]bool // that its source has made, and its spool taken, for the durable lanes
	dead   atomic.Bool
	bare   atomic.Bool // a catalogue could not be kept

	leaving, power bool  // it ends in good order; because power goes
	again          int64 // and starts again after so long
	told           int64 // when its uplink was told to end; 0 = it wasn't

	mu      sync.Mutex
	opened  bool  // guarded by mu: Open has returned
	err     error // guarded by mu: of Open
	hash    [2]wire.CatalogueHash
	done    []job // guarded by mu: appended by the source's goroutine
	left    bool  // guarded by mu: it has ended in good order
	leftErr error // guarded by mu: what its spool says of that
	ready   bool  // owned by the loop: the uplink runs
	over    bool  // owned by the loop: its end was taken over
}

// job is one batch on its way from the source into the spool.
type job struct {
	body wire.Body
	tag  uint64
	id   wire.ID
	err  error
}

func newBox(w *world, car string, no int) *box {
	b := &box{w: w, car: car, no: no, card: newCard(car, w.plan.Seed^uint64(no+1)<<32), lost: map[wire.Reason]uint64{}}
	b.cards = append(b.cards, b.card)
	for i := range w.plan.Links {
		b.links = append(b.links, newLink(w, b, i))
	}
	b.anchorAt = w.rng(b.name("anchor")).Int64N(6 * sec)
	return b
}

func (b *box) name(what string) string { return fmt.Sprint(what, "-", b.no) }

func (b *box) String() string { return fmt.Sprintf("%s/box%d", b.car, b.no) }

// bootNS is the box's boot clock.
func (b *box) BootNS() int64 { return b.w.now() - b.bootAt }

// powerOn boots the box: a new boot clock, and the agent starts.
func (b *box) powerOn() {
	if b.life != nil || b.retired {
		return
	}
	b.bootAt = b.w.now() - 3*sec - b.w.rng(b.name("boot")).Int64N(sec)
	binary.LittleEndian.PutUint64(b.bootID[:], b.w.rng(b.name("boot")).Uint64())
	b.start()
}

// start starts the agent.
func (b *box) start() {
	if b.life != nil || b.retired {
		return
	}
	b.starts++
	b.w.tracef("%s: the agent starts (%d)", b, b.starts)
	l := &life{
		b: b, feed: make(chan job, 64), noMore: make(chan struct{}), fed: make(chan struct{}), upDone: make(chan struct{}),
		seen: map[wire.ID]bool{}, due: map[wire.ID]bool{}, made: map[wire.ID]bool{}, open: map[*conn]bool{},
	}
	l.log = b.w.logOf(func() bool { return !l.dead.Load() }).With("box", b.String())
	l.ctx, l.cancel = context.WithCancel(b.w.ctx)
	b.life = l
	l.seed = b.w.rng(b.name("nonce")).Uint64()
	cfg := b.w.spoolConfig(b, l.seed)
	b.w.wg.Go(func() { l.run(cfg) })
}

// spoolConfig is small, so that chunks, quotas and queues are met at once.
func (w *world) spoolConfig(b *box, seed uint64) spool.Config {
	const chunk = 4 << 10
	return spool.Config{
		Dir: spoolDir, Car: b.car, BootID: b.bootID, Clock: b, Log: b.life.log,
		Rand: &byteSource{rand.New(rand.NewPCG(seed, w.plan.Seed))}, Disk: b.card.disk(),
		ChunkBytes: chunk, CommitBytes: 2 << 10, QueueBytes: 8 << 10, QuotaBytes: w.plan.Quota * chunk,
		LiveMaxBytes: 8 << 10, WarmEntries: 12,
	}
}

type byteSource struct{ r *rand.Rand }

func (s *byteSource) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.r.Uint32())
	}
	return len(p), nil
}

// run is the agent's own goroutine: it opens the spool, and then feeds it.
func (l *life) run(cfg spool.Config) {
	sp, _, err := spool.Open(cfg)
	l.mu.Lock()
	l.sp, l.err = sp, err
	l.mu.Unlock()
	if err == nil {
		for i := range l.hash {
			if l.hash[i], err = sp.PutCatalogue(catalogueOf(l.b.car, i).Append(nil)); err != nil {
				l.bare.Store(true) // the agent would try again; here the data goes without
			}
		}
	}
	l.mu.Lock()
	l.opened = true
	l.mu.Unlock()
	l.b.w.notify()
	if sp == nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _ = sp.Run(l.ctx) })
	l.feedSpool(sp)
}

// feedSpool hands over what the source makes, until it ends.
func (l *life) feedSpool(sp *spool.Spool) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case j := <-l.feed:
			l.append(sp, j)
		case <-l.noMore:
			for {
				select {
				case j := <-l.feed:
					l.append(sp, j)
				default:
					close(l.fed)
					return
				}
			}
		}
	}
}

func (l *life) append(sp *spool.Spool, j job) {
	j.id, j.err = sp.Append(j.body)
	l.mu.Lock()
	l.done = append(l.done, j)
	l.mu.Unlock()
	l.b.w.notify()
	time.Sleep(time.Microsecond) // the spool acts on it before the next one comes
}

// collect takes over what the life's goroutines have done.
func (b *box) collect() {
	l := b.life
	if l == nil {
		return
	}
	l.mu.Lock()
	opened, err, done, left, leftErr := l.opened, l.err, l.done, l.left && !l.over, l.leftErr
	l.done, l.over = nil, l.left
	l.mu.Unlock()
	if opened && !l.ready {
		if err != nil {
			b.refused(err)
			return
		}
		l.begin()
	}
	for i := range done {
		b.w.o.appended(b, &done[i])
	}
	if l.ready {
		b.w.o.engine(l)
	}
	if left {
		b.gone(leftErr)
	}
}

// refused tries again later: an agent is started again by its supervisor.
func (b *box) refused(err error) {
	b.w.tracef("%s: the spool does not open: %v", b, err)
	b.failed++
	b.life.dead.Store(true)
	b.life.cancel()
	b.life = nil
	b.card.Kill()
	b.w.after(500*ms, b.start)
}

// begin starts the uplink and the source.
func (l *life) begin() {
	b := l.b
	l.ready = true
	b.card.bare = b.card.bare || l.bare.Load()
	b.w.tracef("%s: epoch %s is open", b, l.sp.Epoch())
	b.w.o.opened(b, l.sp.Epoch())
	l.connect()
	b.w.after(b.w.rng(b.name("source")).Int64N(50*ms), l.source)
}

// die ends a life: by the power, or by a kill of the agent alone.
func (b *box) die(power bool) {
	l := b.life
	if l == nil {
		return
	}
	b.w.o.dying(b)
	b.addUp()
	l.dead.Store(true)
	b.life = nil
	b.card.next()
	if power {
		b.card.Cut(b.w.rng(b.name("cut")))
	} else {
		b.card.Kill()
	}
	l.cancel()
	for _, c := range slices.Clone(l.conns) {
		if power {
			c.vanish()
		} else {
			c.shut()
		}
	}
}

// addUp adds what a life has lost to the box's books.
func (b *box) addUp() {
	l := b.life
	if l == nil || l.sp == nil || !l.ready {
		return
	}
	s := l.sp.Stats()
	b.lost[wire.ReasonQuota] += s.LostQuota
	b.lost[wire.ReasonCorrupt] += s.LostCorrupt
	b.lost[wire.ReasonDisk] += s.LostDisk
	b.lost[wire.ReasonRefused] += s.Refused
	b.lost[wire.ReasonSuperseded] += s.Superseded
}

// abandon ends the life at the end of a run.
func (b *box) abandon() {
	if l := b.life; l != nil {
		l.dead.Store(true)
		b.card.Kill()
		l.cancel()
		b.life = nil
	}
}

// unsettled says what the box still has to bring up.
func (b *box) unsettled() string {
	if b.retired {
		return ""
	}
	if b.life == nil || !b.life.ready {
		return fmt.Sprintf("%s: the agent does not run", b)
	}
	s := b.life.sp.Stats()
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull, wire.LaneLive} {
		if ls := s.Lanes[lane]; ls.Pending > 0 || ls.QueuedBytes > 0 {
			return fmt.Sprintf("%s: %s has %d batches pending and %d bytes queued", b, lane, ls.Pending, ls.QueuedBytes)
		}
	}
	if s.UnackedLossRecords > 0 || s.UnackedEpochOpens > 0 {
		return fmt.Sprintf("%s: %d loss records and %d epoch openings are not acked", b, s.UnackedLossRecords, s.UnackedEpochOpens)
	}
	if at := b.life.liveIdle(); at != "" {
		return at
	}
	return ""
}

// liveIdle gives the spool the second that it waits before it tells the base of an
// idle stream (rule 6).
func (l *life) liveIdle() string {
	if l.b.w.now() < int64(l.b.w.plan.CalmAt+l.b.w.plan.Tail)+4*sec {
		return "the live lane may still tell its base"
	}
	return ""
}

var _ spool.Clock = (*box)(nil)
