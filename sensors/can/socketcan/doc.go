// Package socketcan reads CAN and CAN FD frames of a network interface, as Linux
// offers controllers, USB adapters and virtual buses.
//
// The entry point is [New]. A [Source] takes frames in batches with the stamps
// of the controller or the kernel, counts every frame that the kernel says it
// dropped, turns error frames into counters and events, and goes on when its
// interface is set down or is taken away and comes back.
//
// The package never sends a frame. Unless it is told otherwise it sets a
// controller that it configures to listen only, so that not even an acknowledge
// leaves it.
package socketcan
