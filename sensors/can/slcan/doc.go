// Package slcan reads CAN frames from adapters that speak Lawicel's text
// protocol (SLCAN) over a serial port: CANUSB, CAN232, CANable and their kin.
//
// The entry point is [New], a source that opens the port, sets the adapter up,
// decodes frames with DBC databases and stamps them with boot time. [ParseLine]
// and [AppendLine] are the codec of one frame.
//
// The package never sends a frame, and never an empty line, which some firmware
// takes as a wish to send its last frame again. It never stops at a line that is
// no frame: it counts it and goes on with the next.
package slcan
