package ingest

import (
	"bytes"
	"slices"
	"time"

	"telemetry/wire"
)

// Counters counts events since the start of the instance.
type Counters struct {
	Messages          uint64 `json:"messages"`           // MQTT messages from cars
	Bytes             uint64 `json:"bytes"`              // their payload bytes
	Batches           uint64 `json:"batches"`            // batches newly received
	Produced          uint64 `json:"produced"`           // records of batches that became durable
	Duplicates        uint64 `json:"duplicates"`         // copies of batches that are listed
	PulledAgain       uint64 `json:"pulled_again"`       // first pulled copies of batches taken unpulled
	Conflicts         uint64 `json:"conflicts"`          // copies with another payload than the first
	Refused           uint64 `json:"refused"`            // batches that can never be taken
	Held              uint64 `json:"held"`               // batches that had to wait for a catalogue
	Forbidden         uint64 `json:"forbidden"`          // messages for another car or lane than their sender's
	Damaged           uint64 `json:"damaged"`            // payloads that fail their checksum
	Undecodable       uint64 `json:"undecodable"`        // messages without a readable identity
	Unknown           uint64 `json:"unknown"`            // messages on topics that are not ours
	Overflow          uint64 `json:"overflow"`           // dropped at a limit, unlisted: the car sends them again
	Slowed            uint64 `json:"slowed"`             // messages beyond a car's rates: it gets less credit and is read slower
	Forgotten         uint64 `json:"forgotten"`          // durable ranges forgotten at their limit
	ProduceErrors     uint64 `json:"produce_errors"`     // failed attempts to write a record
	Retries           uint64 `json:"retries"`            // further attempts
	Acks              uint64 `json:"acks"`               // statements to cars
	AcksCut           uint64 `json:"acks_cut"`           // of them, without room for all ranges
	Catalogues        uint64 `json:"catalogues"`         // catalogues taken from cars
	CataloguesLost    uint64 `json:"catalogues_lost"`    // catalogues that a car does not have any more: an alarm
	CatalogueErrors   uint64 `json:"catalogue_errors"`   // catalogues that were not what their hash says
	CatalogueRequests uint64 `json:"catalogue_requests"` // commands that ask for one
	CatalogueUnasked  uint64 `json:"catalogue_unasked"`  // parts that nobody asked for
	Commands          uint64 `json:"commands"`           // commands sent
	Answers           uint64 `json:"answers"`            // answers to them
	AnswersUnasked    uint64 `json:"answers_unasked"`    // answers to nothing
}

// Snapshot is the state of an instance at one time. It shares no memory with
// the core.
type Snapshot struct {
	Instance     string
	Nonce        uint64
	State        wire.InstanceState
	Waiting      int           // records on their way to Kafka
	WaitingBytes int64         // their bytes
	HeldBytes    int64         // of batches that wait for a catalogue
	StalledFor   time.Duration // since the last progress, while something waits
	Catalogues   int           // known
	Counters     Counters
	Cars         []CarSnapshot // by name
}

// CarSnapshot is what the instance knows of one car.
type CarSnapshot struct {
	Car          string
	Silent       time.Duration // since it was heard
	Credit       uint64        // bytes
	WaitingBytes int64
	HeldBytes    int64
	Wanted       []wire.CatalogueHash // catalogues asked for
	Batches      uint64
	Duplicates   uint64
	Refused      uint64
	Slowed       uint64 // messages beyond its rates
	Links        []LinkSnapshot
	Streams      []StreamSnapshot
}

// LinkSnapshot is one connection of a car.
type LinkSnapshot struct {
	Link     uint8
	Gen      uint32
	Messages uint64
	Bytes    uint64
	Silent   time.Duration
}

// StreamSnapshot is one stream of a car.
type StreamSnapshot struct {
	Epoch    wire.Epoch
	Lane     wire.Lane
	Shard    uint16
	Base     uint64
	Received uint64 // batches listed in each set
	Durable  uint64
	Refused  uint64
	High     uint64 // highest number listed
}

// Snapshot describes the core at a time.
func (c *Core) Snapshot(now int64) Snapshot {
	s := Snapshot{
		Instance: c.cfg.Instance, Nonce: c.cfg.Nonce, State: c.state(now),
		Waiting: len(c.pend), WaitingBytes: c.waiting,
		HeldBytes: c.heldBytes, Catalogues: len(c.known),
		Counters: c.n,
	}
	if len(c.pend) > 0 {
		s.StalledFor = time.Duration(max(0, now-c.progressAt))
	}
	for _, name := range sortedKeys(c.cars) {
		s.Cars = append(s.Cars, c.carSnapshot(now, c.cars[name]))
	}
	return s
}

func (c *Core) carSnapshot(now int64, k *car) CarSnapshot {
	s := CarSnapshot{
		Car: k.name, Silent: time.Duration(max(0, now-k.heardAt)), Credit: c.credit(now, k), WaitingBytes: k.waiting, HeldBytes: k.heldBytes,
		Batches: k.batches, Duplicates: k.dups, Refused: k.refused, Slowed: k.slowed,
	}
	for h := range k.wanted {
		s.Wanted = append(s.Wanted, h)
	}
	slices.SortFunc(s.Wanted, func(a, b wire.CatalogueHash) int { return bytes.Compare(a[:], b[:]) })
	for _, e := range c.links(now, k) {
		s.Links = append(s.Links, LinkSnapshot{
			Link: e.Link, Gen: e.Gen, Messages: e.Messages, Bytes: e.Bytes, Silent: time.Duration(e.HeldNS),
		})
	}
	for key, st := range k.streams {
		s.Streams = append(s.Streams, StreamSnapshot{
			Epoch: key.epoch, Lane: key.lane, Shard: key.shard, Base: st.base,
			Received: st.received.Count(), Durable: st.durable.Count(), Refused: st.refused.Count(),
			High: max(last(st.received), last(st.durable), last(st.refused)),
		})
	}
	sortStreams(s.Streams)
	return s
}

func last(rs wire.Ranges) uint64 {
	if len(rs) == 0 {
		return 0
	}
	return rs[len(rs)-1].Last
}

func sortStreams(ss []StreamSnapshot) {
	slices.SortFunc(ss, func(a, b StreamSnapshot) int {
		return compareStreams(streamKey{a.Epoch, a.Lane, a.Shard}, streamKey{b.Epoch, b.Lane, b.Shard})
	})
}
