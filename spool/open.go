package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"telemetry/wire"
)

// Names inside the spool's directory, beside the lanes.
const (
	lockName       = "lock"
	reserveName    = "reserve"
	trashName      = ".trash"
	quarantineName = "quarantine"
	cataloguesName = "catalogues"
)

// Open takes the directory, repairs what an earlier start left behind, and opens
// a new epoch: when it returns, the epoch's counter and nonce, loss records for
// what could not be saved, and the EpochOpen are durable, in this order. Damaged
// data never makes it fail; a directory that is in use, belongs to another car,
// was written by a newer version or cannot be written does.
func Open(cfg Config) (*Spool, Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Report{}, err
	}
	start := time.Now()
	cfg = cfg.withDefaults()
	s := newSpool(cfg)
	if err := s.disk.MkdirAll(cfg.Dir); err != nil {
		return nil, Report{}, fmt.Errorf("spool: make %s: %w", cfg.Dir, err)
	}
	lock, err := s.disk.Lock(filepath.Join(cfg.Dir, lockName), fmt.Sprintf("pid %d, car %s", os.Getpid(), cfg.Car))
	if err != nil {
		return nil, Report{}, fmt.Errorf("spool: %w", err)
	}
	s.lock = lock
	if err := s.open(); err != nil {
		for _, l := range s.lanes() {
			if l != nil {
				s.seal(l)
			}
		}
		s.closeMark()
		s.closeTable()
		return nil, s.report, errors.Join(err, lock.Close())
	}
	s.report.Took = time.Since(start)
	signal(s.wake)
	return s, s.report, nil
}

// newSpool returns the books of a spool of which nothing is known yet.
func newSpool(cfg Config) *Spool {
	return &Spool{
		cfg: cfg, disk: cfg.Disk, log: cfg.Log,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), owner: make(chan struct{}, 1),
		stop: make(chan struct{}), changed: make(chan struct{}),
		streams: map[wire.Stream]*stream{}, order: map[wire.Lane][]*stream{}, chunks: map[wire.Lane][]*chunk{},
		losses: map[wire.ID]*lossRecord{}, opens: map[wire.ID]*openRecord{}, bad: map[wire.ID]failing{},
		putCats: map[wire.CatalogueHash]bool{}, ownCats: map[wire.CatalogueHash][]byte{}, nextChunk: map[wire.Lane]uint64{}, lockedSaid: map[wire.Epoch]bool{}, late: map[wire.Epoch]bool{}, atRest: map[wire.Epoch]bool{},
		keys:     newKeyring(cfg.Disk, keysDir(cfg.Dir), cfg.Car, cfg.Keys),
		idSlots:  slots{disk: cfg.Disk, dir: cfg.Dir, name: "epoch", magic: "TSPE"},
		curSlots: slots{disk: cfg.Disk, dir: cfg.Dir, name: "cursor", magic: "TSPC"},
	}
}

// open is Open behind the lock.
func (s *Spool) open() error {
	known, err := s.loadIdentity()
	if err != nil {
		return err
	}
	if err := s.loadCursor(); err != nil {
		return err
	}
	s.loadMark()
	if err := s.layout(); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	s.chooseVersion()
	if err := s.newEpoch(known); err != nil {
		return err
	}
	if err := s.newSecret(); err != nil {
		return err
	}
	losses := s.missing()
	s.queueLosses(losses, nil, nil)
	if err := s.queueOpen(); err != nil {
		return err
	}
	err = s.withSpace(func() error { return s.commit(s.crit) })
	if err != nil {
		return fmt.Errorf("spool: no epoch opened: %w", err)
	}
	s.seal(s.crit)                         // alone in its chunk, so that the quota may take the others
	s.openMark()                           // only now: until then the last one's serves
	if err := s.openCursor(); err != nil { // without it only more is sent again
		s.log.Warn("cursor not written", "err", err)
	}
	s.keepReserve()
	s.dropKeys()
	s.writeTable()
	for _, ss := range s.order {
		for _, st := range ss {
			if !st.ours {
				s.report.Batches += st.pending
				s.report.Bytes += st.bytes
			}
		}
	}
	return nil
}

// openCursor stores what Open found. When the version falls both slots must have the lower
// one: an older program refuses a spool of which any slot is newer than it.
func (s *Spool) openCursor() error {
	if s.curSlots.highest <= s.curSlots.version {
		return s.storeCursor(time.Time{})
	}
	s.moved = true
	return s.storeBoth(time.Time{})
}

// layout makes the directories and empties the trash.
func (s *Spool) layout() error {
	dirs := []string{s.laneDir(wire.LaneCritical), s.laneDir(wire.LaneFull), s.trashDir(), s.quarantineDir(), s.catalogueDir()}
	if s.encrypts() {
		dirs = append(dirs, keysDir(s.cfg.Dir))
	}
	for _, d := range dirs {
		if err := s.disk.MkdirAll(d); err != nil {
			return fmt.Errorf("spool: make %s: %w", d, err)
		}
	}
	if err := s.disk.SyncDir(s.cfg.Dir); err != nil {
		return fmt.Errorf("spool: sync %s: %w", s.cfg.Dir, err)
	}
	if err := s.disk.SyncDir(filepath.Dir(s.cfg.Dir)); err != nil { // the mount point's may be forbidden
		s.log.Warn("parent directory not synced", "dir", s.cfg.Dir, "err", err)
	}
	s.empty(s.trashDir(), func(string) bool { return true })
	s.empty(s.catalogueDir(), func(name string) bool { return len(name) != 2*len(wire.CatalogueHash{}) })
	s.countQuarantine()
	if f, err := s.disk.Open(s.reservePath()); err == nil {
		s.reserved = true
		f.Close()
	}
	return nil
}

// empty removes the names of a directory that pick chooses.
func (s *Spool) empty(dir string, pick func(string) bool) {
	es, err := s.disk.ReadDir(dir)
	if err != nil {
		s.log.Warn("directory not readable", "dir", dir, "err", err)
	}
	for _, e := range es {
		if pick(e.Name) {
			if err := s.disk.RemoveAll(filepath.Join(dir, e.Name)); err != nil {
				s.log.Warn("leftover not removed", "name", e.Name, "err", err)
			}
		}
	}
}

// loadIdentity reads the epoch file; false when there is no valid one.
func (s *Spool) loadIdentity() (bool, error) {
	value, st := s.idSlots.load()
	if st.newer {
		return false, s.newer()
	}
	id, err := parseIdentity(value)
	if !st.found || err != nil {
		s.report.EpochLost = st.damaged > 0 || err != nil && st.found
		return false, nil
	}
	if id.car != s.cfg.Car {
		return false, fmt.Errorf("%w: %s holds data of car %q: start with that name, or give car %q its own directory",
			ErrOtherCar, s.cfg.Dir, id.car, s.cfg.Car)
	}
	s.ident = *id
	return true, nil
}

// newer is the error for a state file that this version must not touch.
func (s *Spool) newer() error {
	return fmt.Errorf("%w: %s: start that version, or move the directory away", ErrNewer, s.cfg.Dir)
}

// chooseVersion says which version the state files are of: an older program must not
// take encrypted batches for batches.
func (s *Spool) chooseVersion() {
	v := byte(plainVersion)
	unseen := s.blind && max(s.idSlots.highest, s.curSlots.highest) == slotVersion // what was not read may be encrypted
	if s.encrypts() || len(s.atRest) > 0 || unseen {
		v = slotVersion
	}
	s.idSlots.version, s.curSlots.version = v, v
}

// newEpoch makes the identity of this start durable: a counter above all that
// were ever seen here, and a random nonce.
func (s *Spool) newEpoch(known bool) error {
	lineage := slices.Clone(s.ident.lineage)
	if known {
		lineage = append(lineage, s.ident.epoch)
	} else {
		s.blind = true
		s.report.EpochLost = s.report.EpochLost || len(s.streams) > 0
		lineage = append(lineage, s.found...)
	}
	for id, st := range s.streams {
		if !known || st.pending > 0 || len(st.lost) > 0 {
			lineage = append(lineage, id.Epoch)
		}
	}
	slices.SortFunc(lineage, compareEpoch)
	lineage = slices.Compact(lineage)
	top := max(s.ident.epoch.Counter, s.keyCounter())
	for id := range s.streams {
		top = max(top, id.Epoch.Counter)
	}
	for _, e := range append(s.found, lineage...) {
		top = max(top, e.Counter)
	}
	lineage, s.report.LineageCut = cutLineage(lineage, func(e wire.Epoch) bool { return len(s.predecessor(e).Held) > 0 }, maxLineage)
	if s.report.LineageCut > 0 {
		s.log.Warn("too many starts without a word from the cloud: it is not told the end of the oldest", "epochs", s.report.LineageCut, "limit", maxLineage)
	}
	var nonce [8]byte
	if _, err := io.ReadFull(s.cfg.Rand, nonce[:]); err != nil {
		return fmt.Errorf("spool: nonce: %w", err)
	}
	s.epoch = wire.Epoch{Counter: top + 1, Nonce: binary.LittleEndian.Uint64(nonce[:])}
	s.ident = identity{car: s.cfg.Car, epoch: s.epoch, lineage: lineage}
	value := s.ident.encode()
	for range 2 { // both slots, so that no single one can make the counter go back
		if err := s.withSpace(func() error { return s.idSlots.store(value) }); err != nil {
			return fmt.Errorf("spool: epoch file: %w", err)
		}
	}
	if err := s.disk.SyncDir(s.cfg.Dir); err != nil {
		return fmt.Errorf("spool: sync %s: %w", s.cfg.Dir, err)
	}
	st := wire.Stream{Car: s.cfg.Car, Epoch: s.epoch, Lane: wire.LaneCritical}
	s.crit = newLane(st, s.cfg)
	s.addStream(st).ours = true
	st.Lane = wire.LaneFull
	s.full = newLane(st, s.cfg)
	s.addStream(st).ours = true
	st.Lane = wire.LaneLive
	s.live = newLive(st, s.cfg)
	s.report.Epoch = s.epoch
	return nil
}

// withSpace runs f again after a full disk if something could be freed.
func (s *Spool) withSpace(f func() error) error {
	err := f()
	if err == nil || !outOfSpace(err) || !s.reserved {
		return err
	}
	if rerr := s.disk.RemoveAll(s.reservePath()); rerr != nil {
		return errors.Join(err, rerr)
	}
	s.reserved = false
	return f()
}

// addStream returns the books of a stream, new ones if there are none.
func (s *Spool) addStream(id wire.Stream) *stream {
	if st := s.streams[id]; st != nil {
		return st
	}
	st := &stream{id: id}
	s.streams[id] = st
	ss := s.order[id.Lane]
	s.order[id.Lane] = slices.Insert(ss, startAt(ss, id.Epoch), st)
	return st
}

// queueOpen queues the EpochOpen of this start: which epochs came before on this
// card, and what is still held of each (rules 2, 8 and 9). An epoch is named at
// every start until the cloud has an EpochOpen that names it with nothing held.
// What does not fit one control batch goes into further ones.
func (s *Spool) queueOpen() error {
	open := wire.EpochOpen{Epoch: s.epoch, BootID: s.cfg.BootID, OpenedNS: s.cfg.Clock.BootNS()}
	size := 0
	for _, e := range s.ident.lineage {
		p := s.predecessor(e)
		n := predecessorBytes + heldBytes*rangesOf(p)
		if len(open.Predecessors) == wire.MaxPredecessors || size+n > maxOpenPayload {
			if err := s.putOpen(&open); err != nil {
				return err
			}
			open.Predecessors, size = nil, 0
		}
		open.Predecessors = append(open.Predecessors, p)
		size += n
		s.report.Predecessors++
	}
	return s.putOpen(&open)
}

const (
	// maxOpenPayload leaves room for the envelope in a control batch.
	maxOpenPayload = wire.MaxControlBytes - 512
	// predecessorBytes and heldBytes are the most that a predecessor and one of
	// its ranges take.
	predecessorBytes = 16 + 2*8
	heldBytes        = 2 * 7
	// maxHeldRanges is from where on a held set is told as its hull: what lies
	// between was delivered, or stands in a loss record.
	maxHeldRanges = 64
)

func rangesOf(p wire.Predecessor) int {
	n := 0
	for _, h := range p.Held {
		n += len(h.Ranges)
	}
	return n
}

// predecessor says what is held of an earlier epoch.
func (s *Spool) predecessor(e wire.Epoch) wire.Predecessor {
	p := wire.Predecessor{Epoch: e}
	for _, lane := range [...]wire.Lane{wire.LaneCritical, wire.LaneFull} {
		ss := s.order[lane]
		for j := startAt(ss, e); j < len(ss) && ss[j].id.Epoch == e; j++ {
			rs := ss[j].held()
			if len(rs) == 0 {
				continue
			}
			if len(rs) > maxHeldRanges {
				rs = wire.Ranges{{First: rs[0].First, Last: rs[len(rs)-1].Last}}
			}
			p.Held = append(p.Held, wire.HeldRanges{Lane: lane, Shard: ss[j].id.Shard, Ranges: rs})
		}
	}
	return p
}

func (s *Spool) putOpen(open *wire.EpochOpen) error {
	rec := &openRecord{}
	for _, p := range open.Predecessors {
		if len(p.Held) == 0 {
			rec.closed = append(rec.closed, p.Epoch)
		}
	}
	id, ok := s.putControl(wire.AppendEpochOpen(nil, open))
	if !ok {
		return fmt.Errorf("spool: EpochOpen of %d predecessors does not fit a control batch", len(open.Predecessors))
	}
	rec.sealed = s.crit.copyOf(id.Seq)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens[id] = rec
	return nil
}
