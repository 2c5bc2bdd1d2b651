// Package wire is the vocabulary and the byte formats that car and cloud share:
// identities, sequence ranges, batches and their columnar blocks, the send
// header, acks, control records and catalogues.
//
// The entry points are [Sealer.Seal] and [Parse] for batches, [AppendSend] and
// [ParseSend] for what travels on a link, and [AppendAck] and [ParseAck] for
// what comes back. Byte tables stand in FORMAT.md, golden vectors in testdata.
//
// The package never does I/O, never reads a clock, never starts a goroutine and
// never takes a lock. Only this package knows byte layouts.
package wire
