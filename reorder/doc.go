// Package reorder is the sequencer's state machine: it takes the records of one
// car out of telemetry.batches, in offset order, and decides for each batch
// whether it is released in order, late, pulled forward, a duplicate or a dead
// letter, and for each number that never comes, why.
//
// The entry point is [Car.Apply] for a record and [Car.Advance] for time; both
// append what they decided to an [Out]. [Car.AppendState] and [ParseCar] carry
// the state over a takeover, [Car.Rebuild] restores what the state leaves out.
//
// The same records and the same times give the same decisions, whatever the
// grouping of calls and however often the state was carried over. The package
// never does I/O, never reads a clock, never starts a goroutine and never takes
// a lock; its decisions never depend on the order of a Go map. Memory is bounded
// by [Limits], whatever a car sends.
//
// The rules are those of the protocol (rules 2 to 4, 9 to 16, 20 and 22); the
// tests are named after them.
package reorder
