// Package topic is the vocabulary that ingest, sequence and the Kafka client
// share: what a record is, how topics are named and configured, which partition
// a key belongs to, and the text headers of a batch record. [Record] and
// [NewNames] are the entry points.
//
// It never imports a Kafka client, and holds no state, clock or I/O.
package topic
