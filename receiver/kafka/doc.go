// Package kafka is the receiver's only way to Kafka, and the only importer of a
// Kafka client. [Open] is the entry point: it connects to a cluster, or starts
// one inside the process when none is configured, creates or checks the topics,
// and hands out what the roles need: a [Producer] for ingest, a sequence.Backend,
// the catalogues, and reading of topics for tools.
//
// It never decides anything about batches: which records are written, and when,
// is the roles' business. It never writes with less than acks=all.
package kafka
