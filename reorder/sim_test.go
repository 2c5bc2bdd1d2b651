package reorder

import (
	"container/heap"
	"math/rand"
	"slices"

	"telemetry/wire"
)

// simCar is a compact model of a car, its links and ingest: it writes a log as
// telemetry.batches could hold it, and keeps the truth about each batch. One
// seed decides everything.
type simCar struct {
	r   *rand.Rand
	now int64
	q   simEvents
	n   int

	faults, reflash bool
	loss, zombie    float64
	quota           int

	up       bool
	epoch    wire.Epoch
	nonces   uint64
	next     [wire.LaneFull + 1]uint64
	chunks   []*simChunk
	unlinked []*simChunk
	unsynced []*simBatch
	live     []*simBatch
	settled  map[wire.ID]bool
	cursor   map[wire.ID]bool
	lineage  []wire.Epoch
	pending  map[wire.ID]wire.ID // dropped number -> its loss record, not yet acked
	pull     map[wire.ID]bool
	sent     map[wire.ID]int64
	lastSync int64
	idleBase uint64
	anchorAt int64

	log    []simRecord
	old    []wire.Epoch // of cards that were replaced
	truth  map[wire.ID]*simBatch
	epochs []wire.Epoch // true order
}

type simBatch struct {
	id       wire.ID
	controls []wire.Control
	lossOf   []wire.ID
	columns  wire.CatalogueHash
	sealed   int64
	durable  bool
	dropped  bool // by quota, with a durable loss record
	gone     bool // on a card that was replaced
	logged   bool
	pulled   bool // a pulled copy is in the log
}

// simRecord is a batch, or an operator's record.
type simRecord struct {
	Input
	abandon wire.Epoch // an operator abandons this epoch; zero: a batch
}

type simChunk struct {
	stream   wire.Stream
	b        []*simBatch
	sealed   bool
	dying    int // 1: waits for its loss record's sync, 2: may go
	unlinked int64
}

type simEvent struct {
	at int64
	n  int
	f  func()
}
type simEvents []simEvent

func (q simEvents) Len() int { return len(q) }
func (q simEvents) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q simEvents) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simEvents) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simEvents) Pop() any {
	o := *q
	x := o[len(o)-1]
	*q = o[:len(o)-1]
	return x
}

const simCarName = "car-7"

var simCatalogue = wire.CatalogueHash{1}

func (s *simCar) p(x float64) bool { return s.r.Float64() < x }
func (s *simCar) after(d int64, f func()) {
	s.n++
	heap.Push(&s.q, simEvent{s.now + d, s.n, f})
}

// simulate runs a car for a while with faults and then until all is delivered.
func simulate(seed int64, reflash bool) *simCar {
	s := &simCar{
		r: rand.New(rand.NewSource(seed)), faults: true, reflash: reflash,
		truth: map[wire.ID]*simBatch{}, cursor: map[wire.ID]bool{},
	}
	s.now = 1_000_000
	s.loss = []float64{0, 0.1, 0.4}[s.r.Intn(3)]
	s.zombie = []float64{0, 0.03, 0.1}[s.r.Intn(3)]
	s.quota = []int{4, 10, 60}[s.r.Intn(3)]
	s.boot()
	end := s.now + 3000 + s.r.Int63n(12000)
	var tick func()
	tick = func() { s.tick(); s.after(40, tick) }
	tick()
	s.after(end-s.now, func() { s.faults = false })
	s.after(end-s.now+12000, s.abandon)
	for stop := end + 25000; len(s.q) > 0 && s.q[0].at <= stop; {
		e := heap.Pop(&s.q).(simEvent)
		s.now = e.at
		e.f()
	}
	return s
}

// abandon lets an operator give up the epochs of replaced cards.
func (s *simCar) abandon() {
	for _, e := range s.old {
		s.log = append(s.log, simRecord{Input: Input{Offset: int64(len(s.log)) * 3, AppendMS: s.now}, abandon: e})
	}
}

func (s *simCar) boot() {
	s.nonces++
	s.epoch = wire.Epoch{Counter: s.epoch.Counter + 1, Nonce: s.r.Uint64()}
	s.epochs = append(s.epochs, s.epoch)
	s.up, s.lastSync = true, s.now
	s.next = [wire.LaneFull + 1]uint64{1, 1, 1, 1}
	s.unsynced, s.live, s.idleBase = nil, nil, 0
	s.settled, s.pending = map[wire.ID]bool{}, map[wire.ID]wire.ID{}
	s.pull, s.sent = map[wire.ID]bool{}, map[wire.ID]int64{}
	s.anchorAt = s.now + s.r.Int63n(1500)
	for _, ch := range s.unlinked { // unlinked, but the directory was not synced
		if s.now-ch.unlinked < 1500 && s.p(0.5) {
			s.chunks = append(s.chunks, ch)
		}
	}
	s.unlinked = nil
	slices.SortStableFunc(s.chunks, func(a, b *simChunk) int {
		if a.stream != b.stream {
			if a.stream.Epoch != b.stream.Epoch {
				return slices.Index(s.epochs, a.stream.Epoch) - slices.Index(s.epochs, b.stream.Epoch)
			}
			return int(a.stream.Lane) - int(b.stream.Lane)
		}
		return int(a.b[0].id.Seq) - int(b.b[0].id.Seq)
	})
	present := map[wire.ID]bool{}
	for _, ch := range s.chunks {
		ch.sealed, ch.dying = true, 0
		for _, b := range ch.b {
			present[b.id] = true
			if s.cursor[b.id] {
				s.settled[b.id] = true
			}
		}
	}
	held := map[wire.Stream]wire.Ranges{}
	hold := func(id wire.ID) { held[id.Stream] = held[id.Stream].Add(id.Seq, id.Seq) }
	for _, b := range s.held() {
		hold(b.id)
		for _, id := range b.lossOf {
			if !present[id] {
				s.pending[id] = b.id
				hold(id)
			}
		}
	}
	open := &wire.EpochOpen{Epoch: s.epoch}
	for _, e := range s.lineage {
		p := wire.Predecessor{Epoch: e}
		for _, l := range wire.Lanes {
			if rs := held[wire.Stream{Car: simCarName, Epoch: e, Lane: l}]; rs != nil {
				p.Held = append(p.Held, wire.HeldRanges{Lane: l, Ranges: rs})
			}
		}
		open.Predecessors = append(open.Predecessors, p)
	}
	s.lineage = append(s.lineage, s.epoch)
	s.seal(&simBatch{controls: []wire.Control{{EpochOpen: open}}}, wire.LaneCritical)
	s.sync()
}

// held returns the durable batches that are neither settled nor being dropped.
func (s *simCar) held() []*simBatch {
	var bs []*simBatch
	for _, ch := range s.chunks {
		for _, b := range ch.b {
			if ch.dying == 0 && !s.settled[b.id] {
				bs = append(bs, b)
			}
		}
	}
	return bs
}

func (s *simCar) seal(b *simBatch, l wire.Lane) *simBatch {
	b.id = wire.ID{Stream: wire.Stream{Car: simCarName, Epoch: s.epoch, Lane: l}, Seq: s.next[l]}
	b.sealed = s.now
	s.next[l]++
	s.truth[b.id] = b
	if l != wire.LaneCritical || b.controls == nil && s.p(0.5) {
		b.columns = simCatalogue
	}
	if l == wire.LaneLive {
		s.live = append(s.live, b)
	} else {
		s.unsynced = append(s.unsynced, b)
	}
	return b
}

func (s *simCar) sync() {
	s.lastSync = s.now
	for _, b := range s.unsynced {
		i := slices.IndexFunc(s.chunks, func(c *simChunk) bool { return c.stream == b.id.Stream && !c.sealed })
		if i < 0 {
			i = len(s.chunks)
			s.chunks = append(s.chunks, &simChunk{stream: b.id.Stream})
		}
		ch := s.chunks[i]
		ch.b = append(ch.b, b)
		ch.sealed = len(ch.b) >= 3
		b.durable = true
		for _, id := range b.lossOf {
			s.truth[id].dropped = true
		}
	}
	s.unsynced = nil
	if s.p(0.3) {
		for id := range s.settled {
			s.cursor[id] = true
		}
	}
	s.chunks = slices.DeleteFunc(s.chunks, func(ch *simChunk) bool {
		gone := ch.dying > 0
		if ch.dying == 0 && ch.sealed {
			gone = !slices.ContainsFunc(ch.b, func(b *simBatch) bool { return !s.settled[b.id] })
			for _, b := range ch.b {
				s.cursor[b.id] = s.cursor[b.id] || gone
			}
		}
		if gone {
			ch.unlinked, ch.dying = s.now, 0
			s.unlinked = append(s.unlinked, ch)
		}
		return gone
	})
}

// dropOldest makes room: the oldest chunk of a lane becomes a loss record.
func (s *simCar) dropOldest() {
	for _, l := range []wire.Lane{wire.LaneFull, wire.LaneCritical} {
		n := 0
		for _, ch := range s.chunks {
			if ch.stream.Lane == l && ch.dying == 0 {
				n++
			}
		}
		for _, ch := range s.chunks {
			if n <= s.quota || ch.stream.Lane != l || ch.dying != 0 || !ch.sealed {
				continue
			}
			if slices.ContainsFunc(ch.b, func(b *simBatch) bool {
				return len(b.controls) > 0 && b.controls[0].EpochOpen != nil && !s.settled[b.id]
			}) {
				continue
			}
			var lost []wire.ID
			for _, b := range ch.b {
				if !s.settled[b.id] {
					lost = append(append(lost, b.id), b.lossOf...)
				}
			}
			if len(lost) == 0 {
				break
			}
			b := s.seal(&simBatch{lossOf: lost}, wire.LaneCritical)
			b.columns = wire.CatalogueHash{}
			for _, id := range lost {
				s.pending[id] = b.id
				b.controls = append(b.controls, wire.Control{Loss: &wire.Loss{
					Epoch: id.Stream.Epoch, Lane: id.Stream.Lane,
					Ranges: wire.Ranges{{First: id.Seq, Last: id.Seq}}, Reason: wire.ReasonQuota,
				}})
			}
			ch.dying = 1
			break
		}
	}
}

func (s *simCar) base(x wire.Stream) uint64 {
	m := uint64(1)
	if x.Epoch == s.epoch {
		m = s.next[x.Lane]
	} else {
		m = 1 << 40
	}
	see := func(id wire.ID) {
		if id.Stream == x {
			m = min(m, id.Seq)
		}
	}
	for _, bs := range [][]*simBatch{s.held(), s.unsynced, s.live} {
		for _, b := range bs {
			see(b.id)
		}
	}
	for id := range s.pending {
		see(id)
	}
	return m
}

func (s *simCar) tick() {
	if !s.up {
		return
	}
	if s.faults {
		s.make()
	}
	if s.anchorAt > 0 && s.now >= s.anchorAt {
		s.anchorAt = 0
		b := s.seal(&simBatch{controls: []wire.Control{{Anchor: &wire.Anchor{ID: 1, BootNS: s.now, UTCNS: s.now, UncertaintyNS: 1}}}}, wire.LaneCritical)
		b.columns = wire.CatalogueHash{}
	}
	if s.now-s.lastSync >= 100 {
		s.sync()
	}
	s.dropOldest()
	s.live = slices.DeleteFunc(s.live, func(b *simBatch) bool { return s.now-b.sealed > 1000 || s.settled[b.id] })
	s.sendSome()
	live := wire.Stream{Car: simCarName, Epoch: s.epoch, Lane: wire.LaneLive}
	if b := s.base(live); len(s.live) == 0 && b > 1 && b != s.idleBase {
		s.idleBase = b
		c := s.seal(&simBatch{controls: []wire.Control{{Base: &wire.Base{Epoch: s.epoch, Lane: wire.LaneLive, Base: b}}}}, wire.LaneCritical)
		c.columns = wire.CatalogueHash{}
	}
	if s.faults && s.p(0.006) {
		s.crash()
	}
}

// make seals new batches and marks some to be pulled.
func (s *simCar) make() {
	if s.p(0.10) {
		s.seal(&simBatch{}, wire.LaneCritical)
	}
	if s.p(0.20) {
		s.seal(&simBatch{}, wire.LaneLive)
	}
	if s.p(0.35) {
		s.seal(&simBatch{}, wire.LaneFull)
	}
	if s.p(0.03) {
		for _, b := range s.held() {
			if b.id.Stream.Lane == wire.LaneFull && s.p(0.3) {
				s.pull[b.id] = true
			}
		}
	}
	if s.p(0.01) {
		clear(s.pull)
	}
}

func (s *simCar) crash() {
	s.up = false
	if s.reflash && s.p(0.5) {
		for _, b := range s.truth {
			b.gone = b.gone || !b.logged
		}
		s.old = append(s.old, s.lineage...)
		s.after(s.r.Int63n(6000), s.abandon)
		s.chunks, s.unlinked, s.lineage, s.cursor = nil, nil, nil, map[wire.ID]bool{}
		s.epoch.Counter = 0
	}
	s.after(300+s.r.Int63n(2000), s.boot)
}

func (s *simCar) sendSome() {
	held := s.held()
	var q []*simBatch
	for _, pick := range []func(*simBatch) bool{
		func(b *simBatch) bool { return b.id.Stream.Lane == wire.LaneCritical },
		func(b *simBatch) bool { return b.id.Stream.Lane == wire.LaneLive },
		func(b *simBatch) bool { return b.id.Stream.Lane == wire.LaneFull && s.pull[b.id] },
		func(b *simBatch) bool { return b.id.Stream.Lane == wire.LaneFull && !s.pull[b.id] },
	} {
		for _, bs := range [][]*simBatch{held, s.live} {
			for _, b := range bs {
				if pick(b) && !s.settled[b.id] && (s.sent[b.id] == 0 || s.now-s.sent[b.id] > 200+s.r.Int63n(500)) {
					q = append(q, b)
				}
			}
		}
	}
	for i, b := range q {
		if i >= 5 {
			return
		}
		s.send(b)
	}
}

func (s *simCar) send(b *simBatch) {
	s.sent[b.id] = s.now
	h := wire.Send{Base: min(s.base(b.id.Stream), b.id.Seq), Pulled: s.pull[b.id]}
	d := 20 + s.r.Int63n(150)
	if s.p(s.zombie) {
		d += s.r.Int63n(9000)
	}
	for range 1 + s.r.Intn(20)/19 {
		d += s.r.Int63n(40)
		if s.faults && s.p(s.loss) {
			continue
		}
		s.after(d, func() { s.arrive(b, h) })
	}
}

func (s *simCar) arrive(b *simBatch, h wire.Send) {
	samples := uint32(1)
	if b.controls != nil && b.columns == (wire.CatalogueHash{}) {
		samples = 0
	}
	s.log = append(s.log, simRecord{Input: Input{
		Offset: int64(len(s.log)) * 3, AppendMS: s.now, Send: h, Controls: b.controls,
		Header: wire.Header{
			Samples: samples,
			Stream:  b.id.Stream, Seq: b.id.Seq, Catalogue: b.columns, Control: b.controls != nil,
			PayloadCRC: uint32(b.id.Seq*2654435761) ^ uint32(b.id.Stream.Epoch.Nonce) ^ uint32(b.id.Stream.Lane)<<7,
		},
	}})
	b.logged = true
	b.gone = false
	b.pulled = b.pulled || h.Pulled
	ep := s.epoch
	if s.faults && s.p(0.15) {
		return // the ack is lost
	}
	s.after(10+s.r.Int63n(200), func() {
		if !s.up || s.epoch != ep {
			return
		}
		s.settled[b.id] = true
		for id, rec := range s.pending {
			if rec == b.id {
				delete(s.pending, id)
			}
		}
	})
}
