package simulate

import (
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// store stands between engine and spool and lets the oracle see what passes.
type store struct {
	b  *box
	l  *life
	sp *spool.Spool
}

var _ uplink.Store = (*store)(nil)

func (s *store) Next(lane wire.Lane, after wire.ID) (wire.Item, bool) {
	if s.l.dead.Load() {
		return wire.Item{}, false
	}
	return s.shown(s.sp.Next(lane, after))
}

func (s *store) NextIn(lane wire.Lane, after wire.ID, from, to int64) (wire.Item, bool) {
	if s.l.dead.Load() {
		return wire.Item{}, false
	}
	return s.shown(s.sp.NextIn(lane, after, from, to))
}

func (s *store) shown(it wire.Item, ok bool) (wire.Item, bool) {
	if ok {
		s.b.w.act(func() { s.b.w.o.visible(s.b, &it) })
	}
	return it, ok
}

// Read is where a batch is bound to a connection: what must hold of it is checked
// here, for the message may wait for its socket.
func (s *store) Read(id wire.ID, dst []byte) ([]byte, error) {
	if s.l.dead.Load() {
		return dst, spool.ErrGone
	}
	b, err := s.sp.Read(id, dst)
	if err != nil {
		s.l.loop.rest(promptNS) // it may have asked for a loss record: that begins now, not during the next call
		return b, err
	}
	s.b.w.act(func() { s.b.w.o.read(s.l, id, b) })
	return b, nil
}

func (s *store) Base(st wire.Stream) uint64 { return s.sp.Base(st) }

func (s *store) Settle(st wire.Stream, durable wire.Ranges) {
	if s.l.dead.Load() {
		return
	}
	s.b.w.act(func() { s.b.w.o.settle(s.b, st, durable) })
	s.sp.Settle(st, durable)
}

func (s *store) Refuse(id wire.ID, why wire.Reason) {
	if s.l.dead.Load() {
		return
	}
	s.b.w.act(func() {
		s.b.w.tracef("%s: %s is refused", s.b, short(id))
		s.b.w.happened(KindRefuse)
	})
	s.sp.Refuse(id, why)
	s.l.loop.rest(promptNS)
}

func (s *store) Catalogue(h wire.CatalogueHash) ([]byte, error) { return s.sp.Catalogue(h) }

func (s *store) Wake() <-chan struct{} { return s.sp.Wake() }
