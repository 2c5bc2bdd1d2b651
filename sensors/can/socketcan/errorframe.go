package socketcan

import (
	"fmt"
	"strings"

	"telemetry/sensors/can"
)

// Classes of an error frame, which are its id.
const (
	errTimeout     = 1 << 0
	errArbitration = 1 << 1
	errController  = 1 << 2
	errProtocol    = 1 << 3
	errTransceiver = 1 << 4
	errNoAck       = 1 << 5
	errBusOff      = 1 << 6
	errBus         = 1 << 7
	errRestarted   = 1 << 8
	errCounters    = 1 << 9
)

// Bits of byte 1 of an error frame of the class errController.
const (
	controllerRXFull    = 1 << 0
	controllerRXWarning = 1 << 2
	controllerTXWarning = 1 << 3
	controllerRXPassive = 1 << 4
	controllerTXPassive = 1 << 5
	controllerActive    = 1 << 6
)

// busState is what a controller thinks of its bus. Its order is the kernel's.
type busState uint8

const (
	stateActive busState = iota
	stateWarning
	statePassive
	stateBusOff
	stateStopped
	stateSleeping
	stateUnknown
)

func (s busState) String() string {
	names := [...]string{"error active", "error warning", "error passive", "bus off", "stopped", "sleeping"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// stateOf returns the state that an error frame tells of, if it does.
func stateOf(f *can.Frame) (busState, bool) {
	var bits byte
	if f.ID&errController != 0 && f.Len > 1 {
		bits = f.Bytes[1]
	}
	switch {
	case f.ID&errBusOff != 0:
		return stateBusOff, true
	case bits&(controllerRXPassive|controllerTXPassive) != 0:
		return statePassive, true
	case bits&(controllerRXWarning|controllerTXWarning) != 0:
		return stateWarning, true
	case bits&controllerActive != 0, f.ID&errRestarted != 0:
		return stateActive, true
	}
	return stateUnknown, false
}

// errorClasses names the classes, lowest bit first.
var errorClasses = [...]string{
	"send timeout", "arbitration lost", "controller", "protocol violation", "transceiver",
	"no acknowledge", "bus off", "bus error", "restarted", "error counters",
}

// describeError says in words what an error frame tells.
func describeError(f *can.Frame) string {
	var parts []string
	for i, name := range errorClasses {
		if f.ID>>i&1 == 0 || 1<<i == errCounters {
			continue
		}
		if 1<<i == errController && f.Len > 1 {
			name = describeController(f.Bytes[1])
		}
		parts = append(parts, name)
	}
	if len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("class 0x%X", f.ID))
	}
	text := strings.Join(parts, ", ")
	if f.ID&errCounters != 0 && f.Len == 8 {
		text += fmt.Sprintf(" (send errors %d, receive errors %d)", f.Bytes[6], f.Bytes[7])
	}
	return text
}

func describeController(bits byte) string {
	names := [8]string{
		"receive buffer overflow", "send buffer overflow", "warning on receiving", "warning on sending",
		"error passive on receiving", "error passive on sending", "error active", "bit 7",
	}
	var set []string
	for i, n := range names {
		if bits>>i&1 != 0 {
			set = append(set, n)
		}
	}
	if len(set) == 0 {
		return "controller"
	}
	return strings.Join(set, ", ")
}
