// Package external is the way to the cars through a broker of somebody else:
// Mosquitto, EMQX, HiveMQ or any other that speaks MQTT 5. The entry points are
// [New] and [Broker.Run]; the broker's access rules tie a car's certificate to
// its topics, and ingest compares a topic's car with its batch's.
//
// Several instances share the cars' batches: each message goes to one member of
// the group. Answers and parts of catalogues go to all, because only one has
// asked. Everything travels at QoS 0 without a session: what is lost on the way
// is not acknowledged, so the car sends it again.
//
// It never gives up: whatever the broker says, it says why and what to do about
// it, and tries again. It never blocks who publishes, and never reads a message
// faster than the instance takes it.
package external
