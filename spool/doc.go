// Package spool is the car's durable memory: it numbers and seals batches, makes
// them durable in lanes of small chunk directories on tidwall/wal, hands them to
// the uplink in sending order, and deletes them once the cloud has them.
//
// The entry point is [Open]; [Spool.Run] owns the disk from then on. The layout
// of the directory stands in FORMAT.md.
//
// The package never shows a batch of the critical or the full lane before it is
// durable, never drops one without a loss record that was durable first, never
// appends to a chunk of an earlier start, never trusts a byte that no checksum
// covers, and never talks to a network.
package spool
