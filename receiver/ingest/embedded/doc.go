// Package embedded is the MQTT broker inside the receiver: mochi-mqtt, told to
// hand everything that cars publish to an ingest handler and to carry acks and
// commands back. [Listen] is the entry point.
//
// It keeps nothing: no sessions, no retained messages, no wills, no quality of
// service above 0. A car may publish only on tele/<car>/… and subscribe only to
// ctl/<car>/…; which car it is says its certificate.
package embedded
