package spool

import "telemetry/wire"

// stampsKept is how many sampled batches the spool knows the times of, per lane: those
// that are sent soon. It is a power of two.
const stampsKept = 64

// stamp is when one sampled batch was sealed and when it was durable, ns since boot.
type stamp struct {
	id                wire.ID
	sealedNS, durable int64
}

// stamps keeps the times of the newest sampled batches of this start.
type stamps [wire.LaneFull + 1][stampsKept]stamp

// note is called when a batch has become durable.
func (t *stamps) note(s *Spool, id wire.ID, sealedNS int64) {
	if wire.Sampled(id.Seq) && sealedNS > 0 {
		t[id.Stream.Lane][id.Seq/16%stampsKept] = stamp{id, sealedNS, max(sealedNS, s.cfg.Clock.BootNS())}
	}
}

// Stamps returns when a sampled batch was sealed and when it was durable, ns since
// boot. It is false for others, for what is older than the newest few of its lane or
// of an earlier start; live batches are never durable.
func (s *Spool) Stamps(id wire.ID) (sealedNS, durableNS int64, ok bool) {
	if !wire.Sampled(id.Seq) || !id.Stream.Lane.Valid() {
		return 0, 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.stamps[id.Stream.Lane][id.Seq/16%stampsKept]
	return e.sealedNS, e.durable, e.id == id
}
