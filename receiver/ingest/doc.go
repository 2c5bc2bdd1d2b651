// Package ingest is the first role of the receiver: it takes sealed batches
// from the cars, writes each to telemetry.batches and tells the car what is
// received and what is durable.
//
// [Service] is the entry point: its Run owns one goroutine, which alone touches
// the [Core]; brokers and producers only post to it. The core is pure: it holds
// no goroutine, lock or clock and does no I/O; it takes messages, results and
// the time, and collects what is to be produced and published.
//
// The flow of one batch: a broker's Message → topic, peer, send header and
// envelope are checked → not listed yet: listed as received, produced →
// Produced: listed as durable → the next ack, at most 50 ms later.
//
// Ingest never decodes samples, never puts batches in order, never says durable
// before Kafka has (acks=all), and never forgets a batch that it said it had
// received (protocol rules 16 to 19).
package ingest
