package sequence

import (
	"context"
	"errors"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// ErrLost means that this owner has lost its partition: the group moved it, or
// a successor fenced its transactions. Whatever was not committed is void; the
// partition must be loaded again by whoever owns it next.
var ErrLost = errors.New("sequence: partition lost to another owner")

// ErrGone means that a record asked for by offset does not exist any more:
// retention has deleted it (protocol rule 15).
var ErrGone = errors.New("sequence: record deleted by retention")

// Backend hands out partitions of telemetry.batches. One instance serves one
// group member.
type Backend interface {
	// Own joins the group and runs fn once for each partition assigned, each in
	// its own goroutine. The context given to fn ends when the partition is
	// revoked or ctx ends; Own gives the partition up only after fn has
	// returned. When fn returns an error while the partition is still assigned,
	// Own makes a new Session, fencing the old one, and runs fn again; fn has
	// already waited if waiting was called for. Own returns nil when ctx ends,
	// and an error when it cannot be a member any more.
	Own(ctx context.Context, fn func(ctx context.Context, p Session) error) error
}

// Membership is implemented by a [Backend] that knows more of its group than what
// partitions it was given: a member may have none.
type Membership interface {
	// Membership reports whether Own, which is under way, is a member of its group,
	// and what keeps it from that, or is about to; both are lost when Own returns. It
	// is safe for concurrent use.
	Membership() (joined bool, err error)
}

// Session is one ownership of one partition. Its methods are called from one
// goroutine. An error that wraps ErrLost ends the session. Errors of Load, Fetch
// and Read otherwise mean "try again"; after an error of Commit the outcome is
// unknown, and the session is given up.
type Session interface {
	// Partition is the partition's number in telemetry.batches, and in every
	// topic that is co-partitioned with it.
	Partition() int32
	// Load fences every earlier owner first (in a real cluster:
	// InitProducerID with a transactional id of group and partition) and then
	// reads what it left. It is called before anything else, and again while it
	// fails.
	Load(ctx context.Context) (Loaded, error)
	// Fetch returns the next records in offset order, up to max of them, with
	// LogAppendTime in TimestampMS; none after wait. end is the partition's end
	// offset, or an earlier one, but never before what was its end at Load. An error
	// that wraps [ErrTruncated] says that it ends before what was read. brokerNowMS
	// is not used: ticks tell the time. The records belong to the caller.
	Fetch(ctx context.Context, max int, wait time.Duration) (recs []topic.Record, end, brokerNowMS int64, err error)
	// Tick appends a record to the partition of telemetry.batches that carries
	// nothing but the time at which the log takes it: header [HeaderTick], empty
	// value, explicit partition. It is asked for when something waits for time
	// and nothing else moves it, so that no host's clock decides anything. It may
	// be skipped when the last one is younger than 250 ms.
	Tick(ctx context.Context) error
	// Catalogue returns the canonical bytes of a catalogue. When the hash is not
	// known it reads telemetry.catalogues up to an end offset taken after the
	// call began; ok is false when it is not there either.
	Catalogue(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error)
	// Read reads one record again; ErrGone when it no longer exists.
	Read(ctx context.Context, offset int64) (topic.Record, error)
	// Commit makes outputs, state and the group's offset durable. In a real
	// cluster the three are one transaction. Embedded, without transactions,
	// they are written in this order, each flushed before the next: outputs;
	// state, with the end offsets of the output topics at that moment; offset.
	// state is never empty and its last record is the partition's own (key
	// [PartitionKey]), to be written last. Records with Partition -1 go where
	// their key belongs; state records name theirs. Records and all their bytes
	// may be reused as soon as Commit returns; it returns nil only when all is
	// durable.
	Commit(ctx context.Context, out, state []topic.Record, offset int64) error
}

// Loaded is what earlier owners of a partition left.
type Loaded struct {
	// State holds the newest record per key of the state topic's partition,
	// read up to the end offset taken after fencing. Order does not matter.
	State []topic.Record
	// Offset is where Fetch begins: the lower of the group's committed offset and
	// what [CommittedOffset] finds in State, either of which may be missing
	// (group offsets expire); 0 without both. Fetch begins at the first offset
	// that still exists when Offset has been deleted.
	Offset int64
	// LogStart is the first offset that still exists in the partition.
	LogStart int64
	// Topic is the id of telemetry.batches, which another topic of that name does not
	// share; zero where it is not known, and then not compared.
	Topic [16]byte
	// Partitions is how many partitions telemetry.batches has; at least 1.
	Partitions int32
	// Written holds the identities of outputs that a commit wrote which was cut
	// off before its state: they are not written again. It is nil where commits
	// are atomic. What of it has not been made again when the next commit is
	// durable is kept in the state itself, so a backend only looks at the one
	// commit that was cut off.
	Written map[topic.Identity]struct{}
}
