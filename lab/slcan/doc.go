// Package slcan emulates a CAN adapter that speaks Lawicel's text protocol, on a
// pseudo terminal: what tests and benches plug in where a car has a CANUSB or a
// CANable.
//
// The entry point is [New]; Run puts the frames of a feed on the emulated bus at
// their times. The adapter behaves as firmware does: it wants a bit rate before
// it opens, refuses with BEL, sends nothing in listen-only mode, stamps with its
// own drifting clock, and overflows when nobody reads. It keeps the truth of
// what was on the bus and whether the host read it.
//
// The package shares no protocol code with the source that it tests.
package slcan
