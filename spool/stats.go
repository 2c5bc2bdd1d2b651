package spool

import (
	"time"

	"telemetry/wire"
)

// counters are guarded by Spool.mu.
type counters struct {
	Commits, Committed, CommittedBytes uint64
	Syncs                              uint64
	SyncTime, SyncMax                  time.Duration
	Chunks, DiskBytes                  int64
	Settled, SettledBytes              uint64
	Overrides, Refused, RefusedControl uint64
	Bogus                              uint64
	LostQuota, LostQuotaBytes          uint64
	LostCorrupt, LostDisk              uint64
	LossRecords                        uint64
	DroppedChunks, Trimmed             uint64
	Poisoned, Failures                 uint64
	Cursors, CursorErrors, ReadErrors  uint64
	Locked                             uint64
	Disk                               DiskState
	Degraded, DiskFull                 bool
	LastError                          string
}

// DiskState says what the disk does with what it is given. The numbers stand in stored
// data: new ones are only added.
type DiskState uint8

// States, the worse the greater.
const (
	DiskOK       DiskState = 0
	DiskFull     DiskState = 1 // nothing is lost while memory lasts; it ends when there is room
	DiskReadOnly DiskState = 2 // remounted after an error, or by somebody
	DiskFailing  DiskState = 3 // it answers with other errors
)

var diskStates = [...]string{"ok", "full", "read-only", "failing"}

func (d DiskState) String() string {
	if int(d) < len(diskStates) {
		return diskStates[d]
	}
	return "unknown"
}

// LaneStats describes one lane.
type LaneStats struct {
	Appended       uint64 // batches numbered in this epoch
	Pending        int    // batches that may be sent, all epochs
	PendingBytes   int64  // their sealed bytes
	QueuedBytes    int    // sealed bytes that wait for a group commit
	OldestSealedNS int64  // boot time at which the oldest pending batch was sealed; 0 = none, or an earlier start's
}

// Stats is a snapshot of a spool. All counts are since Open.
type Stats struct {
	Epoch wire.Epoch
	Lanes map[wire.Lane]LaneStats

	Chunks          int64 // chunk directories, the open ones included
	DiskBytes       int64 // bytes of all chunks
	QuarantineBytes int64 // bytes of damaged data kept for people
	QuotaBytes      int64

	Commits        uint64        // group commits
	Committed      uint64        // batches made durable
	CommittedBytes uint64        // their sealed bytes
	Syncs          uint64        // fsyncs of group commits
	SyncTime       time.Duration // time spent in them
	SyncMax        time.Duration // the longest of them

	Settled        uint64 // batches settled by acks
	SettledBytes   uint64 // their sealed bytes
	Overrides      uint64 // batches reported lost that turned out delivered
	Refused        uint64 // batches that the cloud says it can never take
	RefusedControl uint64 // of them control records, which stay pending: the receiver is older or misconfigured
	Bogus          uint64 // acks of numbers that were never handed out, ignored
	Superseded     uint64 // previews dropped because of age or space
	LiveSettled    uint64 // previews delivered
	LostQuota      uint64 // batches dropped by the quota, each in a loss record
	LostQuotaBytes uint64 // their sealed bytes
	LostCorrupt    uint64 // batches damaged on the card, each in a loss record
	LostDisk       uint64 // batches dropped from memory while the disk failed, each in a loss record
	LossRecords    uint64 // loss records written

	DroppedChunks uint64 // chunks dropped by the quota
	Trimmed       uint64 // chunks deleted after they were settled or reported
	Poisoned      uint64 // chunks given up after a write error
	Failures      uint64 // commits that failed twice in a row
	Cursors       uint64 // cursors written
	CursorErrors  uint64 // cursors that could not be written
	ReadErrors    uint64 // batches that could not be read back at first

	// Locked is how many batches on the card are held and do not show: encrypted ones that no
	// key opens, until their key is back, and those that the card would not make durable.
	Locked uint64

	Disk DiskState // the worst that a lane meets

	Degraded  bool   // the disk takes nothing of a lane: its batches stay in memory, the oldest are dropped
	DiskFull  bool   // that is because the disk is full
	LastError string // of the disk, kept after recovery; empty = never failed

	UnackedLossRecords int // loss records that the cloud has not acked yet
	UnackedEpochOpens  int // EpochOpen records that the cloud has not acked yet

	Report Report // what Open found
}

// Report says what Open found and did.
type Report struct {
	Epoch           wire.Epoch
	Predecessors    int           // epochs that EpochOpen names
	LineageCut      int           // of 32,768 and more predecessors, those that no EpochOpen names any more
	Chunks          int           // chunk directories found
	Batches         int           // batches that wait to be sent
	Bytes           int64         // their sealed bytes
	TornTails       int           // chunks whose tail was cut
	CutBytes        int64         // bytes cut off
	Salvaged        int           // chunks rewritten because of damage in the middle
	LostBatches     uint64        // batches that could not be saved, each in a loss record (reason corrupt)
	DoubtfulBatches uint64        // with the cursor lost: numbers that were delivered and deleted, or lost; in a loss record too
	LockedBatches   uint64        // encrypted batches that no key opens
	HeldBack        uint64        // batches that the card would not make durable: held for the next start, and not shown
	Quarantined     int           // files and directories moved to quarantine
	RepairFailures  int           // repairs that the disk refused; the data is still read around the damage
	CursorLost      bool          // no valid cursor: everything on disk is sent again
	EpochLost       bool          // no valid epoch file although there was data
	Took            time.Duration // of Open
}

// Stats returns a snapshot. Safe for concurrent use; it does not touch the disk.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.count
	out := Stats{
		Epoch: s.epoch, Lanes: make(map[wire.Lane]LaneStats, len(wire.Lanes)),
		Chunks: c.Chunks, DiskBytes: c.DiskBytes, QuarantineBytes: s.quarBytes, QuotaBytes: s.cfg.QuotaBytes,
		Commits: c.Commits, Committed: c.Committed, CommittedBytes: c.CommittedBytes,
		Syncs: c.Syncs, SyncTime: c.SyncTime, SyncMax: c.SyncMax,
		Settled: c.Settled, SettledBytes: c.SettledBytes, Overrides: c.Overrides, Refused: c.Refused,
		RefusedControl: c.RefusedControl, Bogus: c.Bogus,
		LostQuota: c.LostQuota, LostQuotaBytes: c.LostQuotaBytes, LostCorrupt: c.LostCorrupt, LostDisk: c.LostDisk,
		LossRecords: c.LossRecords, DroppedChunks: c.DroppedChunks, Trimmed: c.Trimmed,
		Poisoned: c.Poisoned, Failures: c.Failures, Cursors: c.Cursors, CursorErrors: c.CursorErrors,
		ReadErrors: c.ReadErrors, Degraded: c.Degraded, DiskFull: c.DiskFull, Locked: c.Locked, Disk: c.Disk, LastError: c.LastError,
		UnackedLossRecords: len(s.losses), UnackedEpochOpens: len(s.opens), Report: s.report,
	}
	for _, l := range s.lanes() {
		next, _ := l.progress()
		queued, _ := l.load()
		ls := LaneStats{Appended: next - 1, QueuedBytes: queued}
		for _, st := range s.order[l.id.Lane] {
			if e, ok := st.nextFrom(0); ok && ls.Pending == 0 {
				ls.OldestSealedNS = e.sealed
			}
			ls.Pending += st.pending
			ls.PendingBytes += st.bytes
		}
		out.Lanes[l.id.Lane] = ls
	}
	n, bytes, oldest, appended, superseded, settled := s.live.snapshot()
	out.Lanes[wire.LaneLive] = LaneStats{Appended: appended, Pending: n, PendingBytes: bytes, OldestSealedNS: oldest}
	out.Superseded, out.LiveSettled = superseded, settled
	return out
}
