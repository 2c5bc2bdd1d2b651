package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"telemetry/wire"
)

// Clock reads the boot clock.
type Clock interface {
	// BootNS returns nanoseconds since the machine's boot; it never goes back.
	BootNS() int64
}

// Config says where and how a spool keeps its data. Only Dir, Car and Clock have
// no useful zero value.
type Config struct {
	Dir    string   // directory of this car's spool; made if missing
	Car    string   // name of the car, see wire.ValidCar
	BootID [16]byte // the kernel's boot id, for EpochOpen

	// QuotaBytes is the most that chunks and quarantine may hold on disk; the
	// oldest chunk of the lowest lane goes when it is reached. 0 means 1 GiB; at
	// least four chunks.
	QuotaBytes int64
	// ChunkBytes is the size at which a chunk is sealed. 0 means 1 MiB.
	ChunkBytes int64
	// CommitBytes is how many queued bytes of a lane make a group commit at
	// once. 0 means 128 KiB; at most ChunkBytes.
	CommitBytes int
	// CommitInterval is the least time from one group commit of the full lane to the
	// next, and so the longest that a batch waits for its own, unless a group is full
	// or the disk takes longer. 0 means 100 ms.
	CommitInterval time.Duration
	// CriticalInterval is the same for the critical lane. 0 means 20 ms.
	CriticalInterval time.Duration
	// LiveMaxAge is the age at which a preview is superseded. 0 means 2 s.
	LiveMaxAge time.Duration
	// LiveMaxBytes bounds the previews in memory; beyond it the oldest is
	// superseded. 0 means 1 MiB.
	LiveMaxBytes int64
	// QueueBytes bounds what waits for a group commit, per lane: Append blocks
	// beyond it. While the disk fails it is the ring that keeps the newest
	// batches. 0 means 2.5 MiB; at least 2 × CommitBytes.
	QueueBytes int

	// WarmEntries bounds what memory holds of the single batches in sealed chunks:
	// 64 bytes each. The others are read again from the chunks when they are wanted.
	// 0 means 8,192.
	WarmEntries int

	// Keys, when not nil, encrypts what is written and opens what was encrypted before.
	// Without it encrypted batches stay on the card, held and unread.
	Keys KeyBox
	// KeysForNow says that Keys opens only what this process wraps. A catalogue that is there
	// for others is then left as it is, and this start's own is kept in memory.
	KeysForNow bool
	// EncryptedOnly makes batches that stand on the card in the clear count as damaged:
	// nobody can slip data in. Control records are always in the clear.
	EncryptedOnly bool

	Clock Clock
	Rand  io.Reader    // for the epoch's nonce; nil means crypto/rand
	Log   *slog.Logger // nil means no log
	Disk  Disk         // nil means the operating system's file system
}

const (
	defaultQuotaBytes   = 1 << 30
	defaultChunkBytes   = 1 << 20
	defaultCommitBytes  = 128 << 10
	defaultQueueBytes   = 5 << 19
	defaultLiveMaxBytes = 1 << 20
	defaultWarmEntries  = 8 << 10

	// maxChunkBytes keeps offsets and one commit inside what a scan may hold in
	// memory.
	maxChunkBytes = 64 << 20
	minChunkBytes = 4 << 10
)

// withDefaults returns c with every zero value replaced by its meaning.
func (c Config) withDefaults() Config {
	set := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	set(&c.CommitInterval, 100*time.Millisecond)
	set(&c.CriticalInterval, 20*time.Millisecond)
	set(&c.LiveMaxAge, 2*time.Second)
	if c.QuotaBytes == 0 {
		c.QuotaBytes = defaultQuotaBytes
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes = defaultChunkBytes
	}
	if c.CommitBytes == 0 {
		c.CommitBytes = int(min(defaultCommitBytes, c.ChunkBytes))
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = max(defaultQueueBytes, 2*c.CommitBytes)
	}
	if c.LiveMaxBytes == 0 {
		c.LiveMaxBytes = defaultLiveMaxBytes
	}
	if c.WarmEntries == 0 {
		c.WarmEntries = defaultWarmEntries
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Disk == nil {
		c.Disk = OS()
	}
	return c
}

// Validate reports all faults of c at once. Zero values are no faults where the
// field's comment gives them a meaning.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("spool: "+format, a...)) }
	if c.Dir == "" {
		bad("no directory given")
	}
	if err := wire.ValidCar(c.Car); err != nil {
		errs = append(errs, err)
	}
	if c.Clock == nil {
		bad("no clock given")
	}
	if c.EncryptedOnly && c.Keys == nil {
		bad("only encrypted batches wanted, and no keys given")
	}
	if c.ChunkBytes < minChunkBytes || c.ChunkBytes > maxChunkBytes {
		bad("chunk of %d bytes (want %d to %d)", c.ChunkBytes, minChunkBytes, maxChunkBytes)
	}
	if c.QuotaBytes < 4*c.ChunkBytes {
		bad("quota of %d bytes (want at least four chunks, %d)", c.QuotaBytes, 4*c.ChunkBytes)
	}
	if c.CommitBytes < 1 || int64(c.CommitBytes) > c.ChunkBytes {
		bad("commit of %d bytes (want 1 to one chunk, %d)", c.CommitBytes, c.ChunkBytes)
	}
	if c.QueueBytes < 2*c.CommitBytes {
		bad("queue of %d bytes (want at least two commits, %d)", c.QueueBytes, 2*c.CommitBytes)
	}
	if c.CommitInterval < 0 || c.CriticalInterval < 0 || c.LiveMaxAge < 0 || c.LiveMaxBytes < 0 || c.WarmEntries < 0 {
		bad("negative interval, age or size")
	}
	return errors.Join(errs...)
}
