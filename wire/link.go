package wire

// Send is what travels in front of a batch and may differ at each sending.
type Send struct {
	Link   uint8  // index of the link in the car's configuration, from 0
	Gen    uint32 // dial generation of that link's connection, never 0; begins at a random number per epoch
	SentNS int64  // ns since boot at the moment of binding to the link
	Base   uint64 // lowest number that this stream may still send; <= the batch's
	Pulled bool   // pulled forward: goes to telemetry.pulled at once
	// SealedNS and DurableNS say of a sampled batch, see [Sampled], when it was sealed and
	// when it was durable on the car, ns since boot, both not after SentNS; 0: not told.
	SealedNS  int64 `json:",omitempty"`
	DurableNS int64 `json:",omitempty"`
}

// sampleEvery is how many batches of a stream there are to one that is sampled.
const sampleEvery = 16

// Sampled reports whether every stage notes when it had the batch of a number.
func Sampled(seq uint64) bool { return seq%sampleEvery == 1 }

// InstanceState is what an ingest instance says of itself.
type InstanceState uint8

// Instance states.
const (
	InstanceOK       InstanceState = 1
	InstanceStalled  InstanceState = 2 // Kafka slow or down: nothing becomes durable
	InstanceDraining InstanceState = 3 // shutting down: send to another
)

// Ack is one statement of one ingest instance to one car.
type Ack struct {
	Instance string // name, at most 64 bytes
	Nonce    uint64 // of this start of the instance
	Counter  uint64 // of statements to this car under this nonce, from 1
	State    InstanceState
	Credit   uint64 // bytes that it would take from this car now
	Links    []LinkEcho
	Streams  []StreamAck
}

// LinkEcho says what arrived over one connection of the car: the proof of
// delivery and the clock for round trips.
type LinkEcho struct {
	Link       uint8
	Gen        uint32
	Messages   uint64 // batches received over this connection so far
	Bytes      uint64 // MQTT payload bytes received over it so far
	LastSentNS int64  // Send.SentNS of the last one
	HeldNS     int64  // how long ago that one arrived, at the sending of this ack
}

// StreamAck holds the three sets of one stream. A number that stands in none of
// them says nothing.
type StreamAck struct {
	Epoch    Epoch
	Lane     Lane
	Shard    uint16
	Received Ranges // in memory there: a loan
	Durable  Ranges // in Kafka with acks=all
	Refused  Ranges // can never be taken: becomes a loss record
}

// Command is a request to the car. The time is the car's, so that a command
// that was stuck in a dead modem's queue is not done when it comes out.
type Command struct {
	ID         uint64 // chosen by the sender, echoed in the answer
	NotAfterNS int64  // ns since the car's boot from which it must not be done
	Verb       string // "catalogue", "pull"
	Args       map[string]string
}

// Answer is the car's reply to a command.
type Answer struct {
	ID    uint64
	OK    bool
	Error string            // why not, when OK is false
	Data  map[string]string // may be empty
}

// CataloguePart is a piece of a catalogue on its way to the cloud.
type CataloguePart struct {
	Hash  CatalogueHash
	Index uint16 // from 0
	Count uint16 // at least 1
	Data  []byte // slice Index of the catalogue's canonical bytes, compressed as a whole
}
