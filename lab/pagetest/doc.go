// Package pagetest drives the real page in a real browser on the real stack: a
// simulated car with edgeagent, links that misbehave, the receiver with its
// embedded Kafka, and Chromium.
//
// The entry point is [Run]. What the page shows is compared with what was done to
// the links and with what the simulated car has measured; what cannot be compared
// is kept as a picture. The package reads what the page shows, never its memory, and
// never goes into a product binary.
package pagetest
