package ingest

import "telemetry/wire"

// Sharer is a [Broker] that gives each batch to one of several instances.
// Behind it, an instance that cannot write must not be given batches that
// another one could: it leaves its share, and tells the cars no credit, so that
// they hold when all have left.
type Sharer interface {
	Broker
	// Share says whether this instance takes its share. It never blocks, and is
	// called often with what it was told already.
	Share(take bool)
}

// share tells a Sharer what the state of the instance means for it.
func (s *Service) share() {
	if b, ok := s.opt.Broker.(Sharer); ok {
		b.Share(s.core.state(s.now()) == wire.InstanceOK)
	}
}
