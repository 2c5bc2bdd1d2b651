// Package kafkapeer holds what the receiver is measured against: the least that
// could stand in its place, without a promise. [Ingest] is an MQTT broker whose
// hook hands payloads to the Kafka client unread; [Copy] reads a topic and writes
// it to another one in transactions, by the client library's own group session.
//
// It lies below receiver/kafka because only that may use the Kafka client. The
// receiver never imports it.
package kafkapeer
