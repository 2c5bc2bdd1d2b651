// Package sequence is the second role of the receiver: it reads
// telemetry.batches, drops what it has seen, puts batches in order with package
// reorder, decodes them and writes rows, events, gaps and late data, each once.
//
// The entry point is [Runner]: it owns partitions through a [Backend], feeds
// each into a [Partition] and commits outputs, state and offset together. The
// partition is a pure core: it holds no goroutine, lock or clock and does no
// I/O; time comes to it only as Kafka's LogAppendTime, at a partition's end by
// ticks, so a replay decides as the original did (protocol rule 20).
//
// A partition's loop, in order: Load → rebuild (records below the state's input
// offset fill what is held and emit nothing, rule 22) → Fetch → Apply → Read
// what memory did not keep → Commit.
//
// The package never talks to Kafka itself (package receiver/kafka implements
// [Backend]), never keeps the bytes of more batches than its [Budget] allows
// (beyond it only offsets stay, and batches are read again), and never drops a
// record without a counter and a record on the dead-letter or gaps topic.
package sequence
