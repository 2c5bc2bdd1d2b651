package wire

// Reason says why a sequence number will never come, or came late.
type Reason uint8

// Reasons, with the strings that stand in telemetry.gaps. New ones are only
// appended: numbers are part of the wire format.
const (
	ReasonNone         Reason = 0
	ReasonQuota        Reason = 1 // "quota": the spool was full
	ReasonCorrupt      Reason = 2 // "corrupt": damaged on the card
	ReasonRefused      Reason = 3 // "refused": the receiver can never take it
	ReasonSuperseded   Reason = 4 // "superseded": a preview that was too old
	ReasonEpoch        Reason = 5 // "epoch": never durable when its epoch ended
	ReasonGap          Reason = 6 // "gap": the window ran out
	ReasonRetention    Reason = 7 // "retention": Kafka deleted it while it waited
	ReasonCardReplaced Reason = 8 // "card replaced": abandoned by an operator
	ReasonDisk         Reason = 9 // "disk": the spool could not be written

	// Given by the receiver alone.
	ReasonUndecodable Reason = 10 // "undecodable": whole, but not to be understood
	ReasonCatalogue   Reason = 11 // "no catalogue": nobody has the batch's any more
	ReasonLimit       Reason = 12 // "limit": beyond what the sequencer can hold
)

// EpochOpen is the first record of an epoch on the critical lane. It settles
// what its predecessors will never send.
type EpochOpen struct {
	Epoch        Epoch
	BootID       [16]byte      // the kernel's boot id: boot times compare within one
	OpenedNS     int64         // ns since boot
	Predecessors []Predecessor // oldest first; lineage order
}

// Predecessor is an earlier epoch of the same card and what the car still holds
// of it. A held set may be coarser than the truth by numbers that are known to
// be settled otherwise, never finer.
type Predecessor struct {
	Epoch Epoch
	Held  []HeldRanges // nothing held: the epoch is closed
}

// HeldRanges names batches of one stream of a known epoch.
type HeldRanges struct {
	Lane   Lane
	Shard  uint16
	Ranges Ranges
}

// Loss says that batches of one stream will never be sent, and why.
type Loss struct {
	Epoch   Epoch
	Lane    Lane
	Shard   uint16
	Ranges  Ranges
	Reason  Reason
	FirstNS int64 // event time covered, ns since boot; 0,0 if not known
	LastNS  int64
}

// Base repeats the base of an idle stream: the lowest number that it may still
// send (protocol rule 6).
type Base struct {
	Epoch Epoch
	Lane  Lane
	Shard uint16
	Base  uint64
}

// AnchorSource names what a time anchor was taken from.
type AnchorSource uint8

// Anchor sources, worst first.
const (
	AnchorRTC    AnchorSource = 1
	AnchorManual AnchorSource = 2
	AnchorNTP    AnchorSource = 3
	AnchorGNSS   AnchorSource = 4
	AnchorPPS    AnchorSource = 5
	AnchorPTP    AnchorSource = 6
)

// Anchor pairs one instant of the boot clock with UTC.
type Anchor struct {
	ID            uint32 // counts from 1 inside an epoch
	BootNS        int64
	UTCNS         int64 // ns since 1970-01-01 UTC
	UncertaintyNS int64 // half width; never 0
	Source        AnchorSource
}

// Event is something that happened at one instant: a driver's button, a mark, a
// trigger.
type Event struct {
	BootNS int64
	Name   string // at most 64 bytes
	Detail string // at most 128 bytes; may be empty
}

// Control is one record out of a batch's payload that is not a block: exactly
// one pointer is set.
type Control struct {
	EpochOpen *EpochOpen
	Loss      *Loss
	Base      *Base
	Anchor    *Anchor
	Event     *Event
}
