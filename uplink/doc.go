// Package uplink makes one good link out of several bad ones: it takes sealed
// batches from a store, binds each to the link that can deliver it first, and
// settles it when an ingest instance says that Kafka has it.
//
// The entry point is [Uplink.Run]. Underneath, [Engine] holds every decision: it
// takes events and the time and returns actions, and it has no goroutine, lock,
// clock or I/O apart from the [Store] it was given. How a link is dialled is
// behind [Dialer]; package uplink/mqtt is the one over MQTT v5.
//
// The package never settles a batch that no instance called durable, never sends
// a batch again while an instance holds it on loan, and never tears a connection
// down because it is slow.
package uplink
