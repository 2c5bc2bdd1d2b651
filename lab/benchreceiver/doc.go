// Package benchreceiver measures the receiver beside what could stand in its
// place, on one Apache Kafka in one run: ingest beside an MQTT hook that hands
// payloads to the Kafka client, the sequencer beside a bare transactional copy;
// and alone reorder, the time from the car's spool to a reader, the live page, and
// memory.
//
// The entry point is [Run]. Peers take turns with ours, several times, and the
// medians are compared.
package benchreceiver
