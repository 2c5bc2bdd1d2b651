package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"telemetry/wire"
)

// Spool is an open spool directory. Its methods are safe for concurrent use.
//
// The flow of a batch: Append numbers, seals and queues it; the owner of the disk
// (Run, or Sync and Close while Run is not running) commits groups and adds them
// to the index; Next and Read serve them; Settle, Refuse and the quota take them
// out; the owner writes the cursor and deletes chunks that nothing waits for.
type Spool struct {
	cfg   Config
	disk  Disk
	log   *slog.Logger
	lock  io.Closer
	epoch wire.Epoch

	crit *lane
	full *lane
	live *live
	wake chan struct{}
	kick chan struct{} // capacity 1: the owner has something to do at once

	owner chan struct{} // capacity 1: holding it is owning the disk

	stamps     stamps // guarded by mu
	mu         sync.Mutex
	streams    map[wire.Stream]*stream
	order      map[wire.Lane][]*stream // by epoch
	chunks     map[wire.Lane][]*chunk  // by number; the open one last
	cats       catTable
	losses     map[wire.ID]*lossRecord // unacked loss records that are durable
	opens      map[wire.ID]*openRecord // unacked EpochOpen records that are durable
	wanted     []lossWish              // batches that need a loss record
	ident      identity
	lineageNew bool          // the lineage changed and is not durable yet
	moved      bool          // the cursor changed and is not durable yet
	changed    chan struct{} // closed and replaced after every commit
	urgent     bool          // somebody waits in Sync
	waiting    int           // callers that wait in Sync
	stopping   bool
	dark       bool                // power goes: write only what was appended
	warmRuns   []*run              // of sealed chunks, with entries; oldest use first
	warmCount  int                 // entries in them when they were put here
	bad        map[wire.ID]failing // batches that could not be read, with tries
	count      counters
	report     Report
	found      []wire.Epoch // named by an EpochOpen on disk; used by Open only

	keys       *keyring
	algorithm  byte                // of what this start encrypts
	late       map[wire.Epoch]bool // starts whose key the card did not give: it is asked again; owner of the disk
	lateTime   time.Time           // of the last try; owner of the disk
	lockedSaid map[wire.Epoch]bool // starts of which it was logged that no key opens them; Open only

	putCats map[wire.CatalogueHash]bool   // put since Open
	ownCats map[wire.CatalogueHash][]byte // of them, those whose file is for others only
	tempNo  uint64                        // of the last temporary catalogue file

	files  fileCache
	logged seldom
	stop   chan struct{} // closed by Close

	// Owned by the owner of the disk.
	idSlots     slots
	curSlots    slots
	mark        mark
	table       table
	thorough    bool                // every chunk is scanned, whatever the table says
	running     bool                // Run is under way
	atRest      map[wire.Epoch]bool // starts of which Open found encrypted batches
	blind       bool                // Open did not see all that there is, or was; Open only
	beside      sync.WaitGroup      // what goes on beside the commits
	cursorTime  time.Time           // of the last cursor
	cursorTwice bool                // it stands in both slots
	tidyTime    time.Time           // of the last round of maintenance
	lossTime    time.Time           // of the last loss record for what memory could not keep
	catTime     time.Time           // of the last look for unused catalogues
	spaceTime   time.Time           // of the last try to have a reserve
	reserved    bool                // the reserve file is there
	nextChunk   map[wire.Lane]uint64
	quarNo      uint64 // of the last thing put into quarantine
	quarBytes   int64  // set by Open
	closed      bool
}

// Epoch returns the identity of this start.
func (s *Spool) Epoch() wire.Epoch { return s.epoch }

// Wake returns a channel of capacity 1 that gets a value when something became
// pending.
func (s *Spool) Wake() <-chan struct{} { return s.wake }

// Append numbers and seals a batch. It returns at once with the batch's identity
// unless the lane's queue is full; then it blocks until the disk takes some of
// it. The batch is durable with the next group commit. b.Payload is not kept.
// While the disk fails Append does not block: the oldest queued batches of the
// lane are dropped with a loss record (reason disk). A payload that begins with a
// section of the type of encrypted batches is refused.
func (s *Spool) Append(b wire.Body) (wire.ID, error) {
	now := s.cfg.Clock.BootNS()
	if b.LastNS < b.FirstNS {
		return wire.ID{}, fmt.Errorf("spool: batch ends at %d ns, before its start at %d ns", b.LastNS, b.FirstNS)
	}
	if len(b.Payload) > 0 && b.Payload[0] == byte(wire.SectionAtRest) {
		return wire.ID{}, fmt.Errorf("spool: %s payload begins with a section of type %d, by which encrypted batches are known", b.Lane, wire.SectionAtRest)
	}
	switch b.Lane {
	case wire.LaneLive:
		id, err := s.live.put(b, now)
		if err == nil {
			signal(s.wake)
		}
		return id, err
	case wire.LaneCritical, wire.LaneFull:
		l := s.lane(b.Lane)
		id, urgent, err := l.put(b, now, true)
		if err == nil && urgent {
			signal(s.kick)
		}
		return id, err
	}
	return wire.ID{}, fmt.Errorf("spool: batch for %s", b.Lane)
}

func (s *Spool) lane(l wire.Lane) *lane {
	if l == wire.LaneCritical {
		return s.crit
	}
	return s.full
}

// lanes lists the durable lanes, most important first.
func (s *Spool) lanes() [2]*lane { return [2]*lane{s.crit, s.full} }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next returns the oldest pending batch behind after in sending order: by epoch,
// then by number. The zero ID starts from the beginning. Batches of the critical
// and the full lane show up once they are durable.
func (s *Spool) Next(lane wire.Lane, after wire.ID) (wire.Item, bool) {
	if lane == wire.LaneLive {
		return s.live.nextAfter(s.liveAfter(after), s.cfg.Clock.BootNS(), math.MinInt64, math.MaxInt64)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := startAt(s.order[lane], after.Stream.Epoch); i < len(s.order[lane]); i++ {
		st := s.order[lane][i]
		if st.pending == 0 {
			continue
		}
		seq := uint64(1)
		if st.id.Epoch == after.Stream.Epoch {
			seq = after.Seq + 1
		}
		if r := st.coldFrom(seq); r != nil {
			if !s.warm(st, r) { // the card has a bad moment: ask again
				return wire.Item{}, false
			}
			i = startAt(s.order[lane], after.Stream.Epoch) - 1 // the streams may be others by now
			continue
		}
		if e, ok := st.nextFrom(seq); ok {
			return s.item(st, e), true
		}
	}
	return wire.Item{}, false
}

// startAt returns the index of the first stream that is not older than e.
func startAt(ss []*stream, e wire.Epoch) int {
	i, _ := slices.BinarySearchFunc(ss, e, func(st *stream, e wire.Epoch) int { return compareEpoch(st.id.Epoch, e) })
	return i
}

// compareEpoch orders epochs of one card: its counter never goes back.
func compareEpoch(a, b wire.Epoch) int {
	if a.Counter != b.Counter {
		return compareSeq(uint64(a.Counter), uint64(b.Counter))
	}
	return compareSeq(a.Nonce, b.Nonce)
}

// liveAfter maps a position to the live stream of this epoch.
func (s *Spool) liveAfter(after wire.ID) uint64 {
	if after.Stream.Epoch == s.epoch {
		return after.Seq
	}
	return 0
}

// NextIn is Next for batches of this epoch whose event range touches from..to
// (ns since boot, both included).
func (s *Spool) NextIn(lane wire.Lane, after wire.ID, from, to int64) (wire.Item, bool) {
	if lane == wire.LaneLive {
		return s.live.nextAfter(s.liveAfter(after), s.cfg.Clock.BootNS(), from, to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.ours(lane)
	if st == nil {
		return wire.Item{}, false
	}
	for seq := s.liveAfter(after) + 1; ; {
		e, r, ok := st.nextInTime(seq, from, to)
		if ok {
			return s.item(st, e), true
		}
		if r != nil { // all before it has nothing, and may be cold again by the next turn
			seq = max(seq, r.firstSeq())
		}
		if r == nil || !s.warm(st, r) {
			return wire.Item{}, false
		}
	}
}

// ours returns this epoch's stream of a durable lane. Called with mu held.
func (s *Spool) ours(lane wire.Lane) *stream {
	if !lane.Valid() || lane == wire.LaneLive {
		return nil
	}
	return s.streams[s.lane(lane).id]
}

// item describes an entry. Called with mu held.
func (s *Spool) item(st *stream, e entry) wire.Item {
	return wire.Item{
		ID: wire.ID{Stream: st.id, Seq: e.seq}, Size: int(e.size) - int(e.extra),
		FirstNS: e.first, LastNS: e.last, SealedNS: e.sealed, Control: e.control, Catalogue: s.cats.hashes[e.cat],
	}
}

// Read appends the sealed bytes of a pending batch to dst, checked against both
// checksums. ErrGone says that it was settled, dropped or superseded, or that the
// card damaged it; then a loss record is on its way.
func (s *Spool) Read(id wire.ID, dst []byte) ([]byte, error) {
	if id.Stream == s.live.id {
		s.live.expireNow(s.cfg.Clock.BootNS())
		return s.live.read(id.Seq, dst)
	}
	return s.readDurable(id, dst)
}

// readDurable is Read for the critical and the full lane.
func (s *Spool) readDurable(id wire.ID, dst []byte) ([]byte, error) {
	s.mu.Lock()
	for r := s.coldAt(id); r != nil; r = s.coldAt(id) {
		if !s.warm(s.streams[id.Stream], r) {
			s.mu.Unlock()
			return dst, fmt.Errorf("spool: read %s: %w", id, errNotReadable)
		}
	}
	e, path, ok := s.place(id)
	if o := s.opens[id]; ok && o != nil && o.sealed != nil {
		dst = append(dst, o.sealed...)
		s.mu.Unlock()
		return dst, nil
	}
	s.mu.Unlock()
	if !ok {
		return dst, ErrGone
	}
	n := len(dst)
	out := slices.Grow(dst, int(e.size))[:n+int(e.size)]
	err := s.files.read(s.disk, path, out[n:], int64(e.off))
	if err == nil {
		got, size, perr := wire.Parse(out[n:])
		if perr == nil && size == int(e.size) && got.Header.ID() == id {
			plain, derr := s.decrypted(out, n, got)
			if derr == nil {
				return plain, nil
			}
			if errors.Is(derr, ErrNoKey) {
				return dst, fmt.Errorf("spool: read %s: %w", id, derr)
			}
		}
		err = errDamaged
	}
	return dst, s.unreadable(id, path, err)
}

// place looks a pending batch up to be read: from now on an ack may settle it.
// Called with mu held.
func (s *Spool) place(id wire.ID) (entry, string, bool) {
	st := s.streams[id.Stream]
	if st == nil {
		return entry{}, "", false
	}
	r, i, ok := st.find(id.Seq)
	if !ok {
		return entry{}, "", false
	}
	if r.cold != nil {
		r.cold.handed = true
	} else {
		r.entries[i].handed = true
	}
	return r.about(i), filepath.Join(r.chunk.path, SegmentName), true
}

// coldAt returns the run of a pending batch if it is cold. Called with mu held.
func (s *Spool) coldAt(id wire.ID) *run {
	if st := s.streams[id.Stream]; st != nil {
		if r, _, ok := st.find(id.Seq); ok && r.cold != nil {
			return r.run
		}
	}
	return nil
}

var (
	errDamaged     = errors.New("spool: batch damaged on disk")
	errNotReadable = errors.New("chunk cannot be read now")
)

// readTries is how often a batch may fail to be read, over at least the time
// readable, before it counts as damaged: a card may answer the second time.
const readTries = 3

// failing is a batch that could not be read.
type failing struct {
	tries int
	since time.Time
}

// maxBad bounds the count of batches whose tries are remembered.
const maxBad = 1024

// unreadable judges a failed read: the batch may be gone by now, damaged, or the
// card may have a bad moment.
func (s *Spool) unreadable(id wire.ID, path string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, now, ok := s.place(id); !ok || now != path {
		return ErrGone
	}
	s.count.ReadErrors++
	if len(s.bad) > maxBad { // most of them were settled since
		clear(s.bad)
	}
	f := s.bad[id]
	if f.tries++; f.tries == 1 {
		f.since = time.Now()
	}
	s.bad[id] = f
	if !errors.Is(err, errDamaged) && (f.tries < readTries || time.Since(f.since) < readable) {
		return fmt.Errorf("spool: read %s: %w", id, err)
	}
	delete(s.bad, id)
	s.count.LostCorrupt++
	s.withdraw(id, wire.ReasonCorrupt)
	return fmt.Errorf("%w: damaged on disk", ErrGone)
}

// Base returns the lowest number that a stream may still send, by protocol rule
// 2: whatever is pending, not durable yet, or dropped without an acked loss record
// keeps it down. With nothing of that it is the number of the next batch; for an
// earlier epoch the number behind its last; 1 for a stream that is not known.
func (s *Spool) Base(id wire.Stream) uint64 {
	if id == s.live.id {
		return s.live.base()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[id]
	if st == nil {
		return 1
	}
	low, pending := st.lowest()
	if !st.ours {
		if !pending {
			return st.high + 1
		}
		return low
	}
	// The lane's lock nests inside mu: a batch leaves the queue only after it
	// entered the index, so it is seen in one of both.
	queued := s.lane(id.Lane).undurable()
	if pending {
		return min(low, queued)
	}
	return queued
}

// Sync returns when everything appended before is durable, and the loss records of
// everything refused or found damaged before. ErrNotDurable says
// that some of it was dropped because the disk could not be written.
func (s *Spool) Sync(ctx context.Context) error {
	var want [2]uint64
	var drops [2]uint64
	wishes := false
	for i, l := range s.lanes() {
		want[i], drops[i] = l.progress()
	}
	s.mu.Lock()
	s.waiting++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		changed, stopping := s.changed, s.stopping
		wishes = wishes || len(s.wanted) > 0
		done := len(s.wanted) == 0
		s.mu.Unlock()
		if done && wishes { // their records are in the critical lane by now
			wishes = false
			want[0], drops[0] = s.crit.progress()
		}
		for i, l := range s.lanes() {
			done = done && l.queuedFrom() >= want[i]
		}
		if done {
			for i, l := range s.lanes() {
				if _, d := l.progress(); d != drops[i] {
					return ErrNotDurable
				}
			}
			return nil
		}
		if tried, err := s.flushHere(ctx, stopping); err != nil {
			return err
		} else if tried {
			continue
		}
		s.urge()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// flushHere makes everything durable if Run is not running. With wait it waits for
// Run's end, which is near.
func (s *Spool) flushHere(ctx context.Context, wait bool) (tried bool, err error) {
	if wait {
		select {
		case s.owner <- struct{}{}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	} else {
		select {
		case s.owner <- struct{}{}:
		default:
			return false, nil
		}
	}
	defer func() { <-s.owner }()
	if s.closed {
		return false, ErrClosed
	}
	return true, s.flush()
}
