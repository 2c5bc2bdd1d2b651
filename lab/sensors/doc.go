// Package sensors holds what shows that sources work: pseudo terminals with
// emulated devices, comparisons with foreign decoders, and measurements.
//
// The entry points are [OpenPTY], [CompareGPSD] and [Poll]. It is never linked
// into the car's binary.
package sensors
