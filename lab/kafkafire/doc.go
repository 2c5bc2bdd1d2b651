// Package kafkafire proves that the receiver loses, doubles and disorders nothing
// in a real Kafka, whatever is killed: cars with the real spool and uplink send
// through two receivers into three brokers while receivers are killed and frozen,
// brokers are killed, cars move between receivers and restart with new epochs; then
// what is in Kafka is compared, by a client that is not ours, with what the cars had
// appended.
//
// The entry point is [Run]. Two passes: in the first no window ever runs out and
// everything must be in the main topics, and memory is so small that what waits is
// read again; in the second windows of 100 ms run out and every batch must be
// exactly one of in order, late, or reported in a gap.
package kafkafire
