// Package mqtt carries one link of package uplink over MQTT v5: a plain paho
// client over a connection from an injected dial function.
//
// The entry point is [Dialer]. Everything is QoS 0 in a clean session that
// expires at once: delivery is proven end to end by acks, so a broker must not
// keep or repeat anything. The package never reconnects, never queues, and never
// chooses a link: uplink does.
package mqtt
