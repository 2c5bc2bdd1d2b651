package simulate

import (
	"testing/synctest"

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
	it, ok := s.sp.Next(lane, after)
	if ok {
		s.b.w.o.visible(s.b, &it)
	}
	return it, ok
}

func (s *store) NextIn(lane wire.Lane, after wire.ID, from, to int64) (wire.Item, bool) {
	it, ok := s.sp.NextIn(lane, after, from, to)
	if ok {
		s.b.w.o.visible(s.b, &it)
	}
	return it, ok
}

func (s *store) Read(id wire.ID, dst []byte) ([]byte, error) {
	b, err := s.sp.Read(id, dst)
	if err != nil {
		synctest.Wait() // it may have asked for a loss record: that begins now, not during the next call
	}
	return b, err
}

func (s *store) Base(st wire.Stream) uint64 { return s.sp.Base(st) }

func (s *store) Settle(st wire.Stream, durable wire.Ranges) {
	s.b.w.o.settle(s.b, st, durable)
	s.sp.Settle(st, durable)
}

func (s *store) Refuse(id wire.ID, why wire.Reason) {
	s.b.w.tracef("%s: %s is refused", s.b, short(id))
	s.b.w.happened(KindRefuse)
	s.sp.Refuse(id, why)
	synctest.Wait()
}

func (s *store) Catalogue(h wire.CatalogueHash) ([]byte, error) { return s.sp.Catalogue(h) }

func (s *store) Wake() <-chan struct{} { return s.sp.Wake() }
