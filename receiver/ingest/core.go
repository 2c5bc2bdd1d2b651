package ingest

import (
	"strings"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Core decides what an ingest instance does. It is not safe for concurrent use.
// Times are ns of any clock that never goes back, the same for all calls; a
// message may carry a time slightly before that of an earlier call.
type Core struct {
	cfg  Config
	out  Outputs
	cars map[string]*car
	n    Counters

	pend       map[uint64]*pending // produced, result not known
	retry      []uint64            // tokens that failed, in the order of their next try
	token      uint64
	waiting    int64 // bytes of all pending records
	progressAt int64 // last time that something became durable, or began to wait
	heldBytes  int64 // of all batches that wait for a catalogue
	draining   bool
	nextAckNS  int64
	// counterFloor is where the ack counter of a new car begins, so that it
	// never goes back for a car that was forgotten in between.
	counterFloor uint64

	known     map[wire.CatalogueHash]bool // catalogues that are durable in their topic
	loaded    bool                        // the topic has been read up to its end at start
	commands  map[uint64]*command
	commandID uint64
}

// Peer is the sender of a message, as its broker knows it.
type Peer struct {
	// Car is whom the connection may speak for. "" means whoever the topic
	// names: an external broker has checked that by its access rules.
	Car string
	// Own says that the connection is of one car and may be read slowly: nobody
	// else waits behind it.
	Own bool
}

// Outputs is what a core wants done, in order within each list.
type Outputs struct {
	Produce  []Produce
	Publish  []Publish
	Answered []Answered
	Lost     []LostCatalogue
	Slowed   []string // cars that send more than their rates, seldom for each
}

// Produce asks for one record to be written; its result comes back through
// [Core.Produced] with the same token.
type Produce struct {
	Token  uint64
	Record topic.Record
}

// Publish asks for one MQTT message at QoS 0. Several may share one payload.
type Publish struct {
	Topic   string
	Payload []byte
}

// Answered is the end of a command that was sent by [Core.Command].
type Answered struct {
	Car    string
	Answer wire.Answer
}

// LostCatalogue says that batches of a car are produced without the catalogue
// that they name, because the car does not have it any more.
type LostCatalogue struct {
	Car  string
	Hash wire.CatalogueHash
}

// pending is one record on its way to Kafka.
type pending struct {
	car     *car
	st      *stream // nil for a part of a catalogue
	seq     uint64
	bytes   int64
	retryAt int64
	rec     topic.Record
	hash    wire.CatalogueHash // of the catalogue that the batch names, or that this is
	control bool
}

// NewCore returns a core that has heard of no car. The configuration must be
// valid.
func NewCore(cfg Config) *Core {
	return &Core{
		cfg:       cfg.withDefaults(),
		cars:      map[string]*car{},
		pend:      map[uint64]*pending{},
		known:     map[wire.CatalogueHash]bool{},
		commands:  map[uint64]*command{},
		commandID: cfg.Nonce, // ids of two starts should not meet in the car
	}
}

// Take hands over what was collected since the last call. The caller owns it.
func (c *Core) Take() Outputs {
	o := c.out
	c.out = Outputs{}
	return o
}

// Message takes one MQTT message from a car. The core owns payload from now on.
func (c *Core) Message(now int64, from Peer, topicName string, payload []byte) {
	c.n.Messages++
	c.n.Bytes += uint64(len(payload))
	name, leaf, ok := splitTopic(topicName)
	if !ok || wire.ValidCar(name) != nil {
		c.n.Unknown++
		return
	}
	if from.Car != "" && from.Car != name {
		c.n.Forbidden++
		return
	}
	c.meter(now, name, len(payload))
	switch leaf {
	case leafCatalogue:
		c.part(now, name, payload)
	case leafAnswer:
		c.answer(now, name, payload)
	default:
		lane, err := wire.ParseLane(leaf)
		if err != nil {
			c.n.Unknown++
			return
		}
		c.batch(now, name, lane, payload)
	}
}

// Attached says that a connection of a car has subscribed to the acks of one
// link (up), or that it has gone. A link with a subscriber gets acks even when
// it is silent. Brokers that cannot know this never call it.
func (c *Core) Attached(now int64, name string, link uint8, up bool) {
	if wire.ValidCar(name) != nil || link >= MaxLinks {
		c.n.Unknown++
		return
	}
	if !up {
		if k := c.cars[name]; k != nil && k.attached[link] > 0 {
			k.attached[link]--
		}
		return
	}
	if k := c.car(now, name); k != nil {
		k.attached[link]++
		k.linkAt[link] = now
	}
}

// Drain makes the instance say that it is shutting down: from now on it takes
// no new batch, only finishes what it has.
func (c *Core) Drain() { c.draining = true }

// Waiting returns how many records are on their way to Kafka.
func (c *Core) Waiting() int { return len(c.pend) }

// Leaves of the topics tele/<car>/<leaf> that are no lane.
const (
	leafCatalogue = "catalogue"
	leafAnswer    = "answer"
)

// splitTopic splits tele/<car>/<leaf>.
func splitTopic(t string) (car, leaf string, ok bool) {
	rest, ok := strings.CutPrefix(t, "tele/")
	if !ok {
		return "", "", false
	}
	car, leaf, ok = strings.Cut(rest, "/")
	return car, leaf, ok && !strings.Contains(leaf, "/")
}
