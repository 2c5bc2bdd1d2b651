package reorder

import (
	"strconv"

	"telemetry/wire"
)

// Input is one record of the input topic, parsed.
type Input struct {
	Offset   int64 // of the record; grows from call to call
	AppendMS int64 // the record's LogAppendTime, ms since 1970
	Header   wire.Header
	Send     wire.Send
	Controls []wire.Control // of the payload, in order; kept only during the call
}

// Out collects decisions in the order in which they were made. The zero value is
// ready; [Out.Reset] empties it and keeps its memory.
type Out struct {
	Decisions  []Decision
	Duplicates int // records dropped because the batch was seen before
	Held       int // records that have to wait; a later call decides
}

// Reset empties the collection.
func (o *Out) Reset() {
	clear(o.Decisions)
	o.Decisions = o.Decisions[:0]
	o.Duplicates, o.Held = 0, 0
}

// add appends an empty decision of a kind about a batch.
func (o *Out) add(k Kind, x *stream, seq uint64) *Decision {
	return o.addID(k, wire.ID{Stream: x.id, Seq: seq})
}

// addID is add for a batch whose stream is not known.
func (o *Out) addID(k Kind, id wire.ID) *Decision {
	o.Decisions = append(o.Decisions, Decision{Kind: k, ID: id})
	return &o.Decisions[len(o.Decisions)-1]
}

// Kind says what a decision is about.
type Kind uint8

// Kinds of decisions, with the fields that each one fills beside ID.
const (
	KindRelease    Kind = 1 // the batch goes to its lane's main topic now: Offset
	KindLate       Kind = 2 // it goes to the late topic: Offset
	KindPulled     Kind = 3 // it goes to the pulled topic: Offset
	KindDeadLetter Kind = 4 // it goes to the dead-letter topic: Offset, Why
	KindGap        Kind = 5 // ID.Seq to Last: Gap, Reason, Was
	KindAnchor     Kind = 6 // a time anchor of ID.Stream.Epoch, at its first reading: Anchor, Offset
	KindAlarm      Kind = 7 // somebody should look: Alarm, and what its comment names
	KindSpent      Kind = 8 // it has control records only, which have taken effect: it is never released: Offset
)

// String returns the kind's name for logs and tests.
func (k Kind) String() string {
	return name(int(k), "kind", "release", "late", "pulled", "dead letter", "gap", "anchor", "alarm", "spent")
}

// Decision is one thing that the caller has to do or to publish. Kind says which
// fields count.
type Decision struct {
	Kind   Kind
	Gap    GapChange
	Why    Why
	Alarm  Alarm
	Reason wire.Reason // why the numbers are missing; after a withdrawal none
	Was    wire.Reason // the earlier reason of a refined or withdrawn gap
	ID     wire.ID
	Last   uint64 // last number of a range that begins at ID.Seq, both included
	Offset int64  // of the record that holds the batch
	Anchor wire.Anchor
}

// GapChange says what happened to the numbers of a gap.
type GapChange uint8

// Changes of gaps. Of a number, GapSettled comes first; withdrawn and settled
// then take turns.
const (
	GapSettled   GapChange = 1 // the numbers are missing, for Reason
	GapRefined   GapChange = 2 // the car has said why: Reason replaces Was
	GapWithdrawn GapChange = 3 // they were delivered after all
)

// String returns the change's name as it stands in telemetry.gaps.
func (g GapChange) String() string {
	return name(int(g), "gap", "settled", "refined", "withdrawn")
}

// Why says why a batch is a dead letter.
type Why uint8

// Reasons for the dead-letter topic.
const (
	WhyStale     Why = 1 // its epoch is forgotten: it may have been delivered before
	WhyMergedGap Why = 2 // inside a merged gap: it may have been delivered before
	WhyCRC       Why = 3 // the same identity was delivered with another payload
	WhyLimit     Why = 4 // no room for its epoch, stream or number
	WhyInvalid   Why = 5 // a lane, number or car that cannot be
	WhyCatalogue Why = 6 // its catalogue does not exist: a finding of the caller, never of Car
)

// String returns the reason's name as it stands in the dead letter's header.
func (w Why) String() string {
	return name(int(w), "why", "stale", "merged gap", "crc conflict", "limit", "invalid", "no catalogue")
}

// Alarm is a condition that a person should know of.
type Alarm uint8

// Alarms.
const (
	AlarmLineage   Alarm = 1 // EpochOpen of ID.Stream.Epoch does not continue the car's open epochs (see Car.Open): their lanes stand until they are abandoned
	AlarmBelowBase Alarm = 2 // ID.Seq to Last never came, are below base and have no loss record
	AlarmCRC       Alarm = 3 // ID came with another payload
	AlarmRetention Alarm = 4 // ID has waited for half the retention
	AlarmLimit     Alarm = 5 // a limit was reached; Last is the [Limit] as a number
	AlarmFork      Alarm = 6 // EpochOpen of ID.Stream.Epoch and another one continue the same epoch: two cards of one image
	AlarmControl   Alarm = 7 // the control record in ID contradicts its envelope or names itself
)

// String returns the alarm's name.
func (a Alarm) String() string {
	return name(int(a), "alarm", "lineage", "below base", "crc conflict", "retention", "limit", "fork", "control")
}

// Limit names one of [Limits].
type Limit uint8

// The limits, in the order of [Limits].
const (
	LimitEpochs      Limit = 1
	LimitStreams     Limit = 2
	LimitTombstones  Limit = 3
	LimitHeld        Limit = 4
	LimitHeldRanges  Limit = 5
	LimitGapRanges   Limit = 6
	LimitOtherRanges Limit = 7
)

// String returns the limit's name.
func (l Limit) String() string {
	return name(int(l), "limit", "epochs", "streams", "tombstones", "held", "held ranges", "gap ranges", "other ranges")
}

// name returns names[i-1], or kind and number when there is none.
func name(i int, kind string, names ...string) string {
	if i >= 1 && i <= len(names) {
		return names[i-1]
	}
	return kind + "-" + strconv.Itoa(i)
}
