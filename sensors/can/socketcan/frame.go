package socketcan

import (
	"encoding/binary"
	"errors"

	"telemetry/sensors/can"
)

// Sizes of the kernel's struct can_frame and struct canfd_frame, in bytes.
const (
	classicSize = 16
	fdSize      = 72
	dataAt      = 8
)

// Bits of the kernel's ids and of the flags of an FD frame.
const (
	idError    = 1 << 29
	idRemote   = 1 << 30
	idExtended = 1 << 31
	idMask     = 1<<29 - 1
	idStandard = 1<<11 - 1
	fdBRS      = 1 << 0
	fdESI      = 1 << 1
	fdMark     = 1 << 2 // CANFD_FDF, which newer kernels set
)

// ErrNoFrame is returned for bytes that are no CAN frame, as those of CAN XL.
var ErrNoFrame = errors.New("socketcan: no CAN or CAN FD frame")

// ParseFrame reads a frame as the kernel hands it over, in the machine's byte
// order. It sets all of f but the stamp and the bus.
func ParseFrame(b []byte, f *can.Frame) error {
	if len(b) != classicSize && len(b) != fdSize {
		return ErrNoFrame
	}
	*f = can.Frame{StampNS: f.StampNS, Bus: f.Bus, FD: len(b) == fdSize}
	id := binary.NativeEndian.Uint32(b)
	f.ID, f.Extended, f.RTR, f.Err = id&idMask, id&idExtended != 0, id&idRemote != 0, id&idError != 0
	if !f.Extended && !f.Err {
		f.ID &= idStandard
	}
	n := b[4]
	if int(n) > len(b)-dataAt || f.FD && f.RTR {
		return ErrNoFrame
	}
	f.Len = n
	if f.FD {
		f.BRS, f.ESI = b[5]&fdBRS != 0, b[5]&fdESI != 0
	} else if dlc := b[7]; n == 8 && dlc > 8 && dlc <= 15 {
		f.DLC = dlc
	}
	if !f.RTR {
		copy(f.Bytes[:n], b[dataAt:])
	}
	return nil
}

// AppendFrame appends f as the kernel takes it.
func AppendFrame(dst []byte, f *can.Frame) []byte {
	id := f.ID
	for i, set := range [...]bool{f.Err, f.RTR, f.Extended} {
		if set {
			id |= idError << i
		}
	}
	var b [fdSize]byte
	binary.NativeEndian.PutUint32(b[:], id)
	b[4] = f.Len
	copy(b[dataAt:], f.Data())
	if !f.FD {
		b[7] = f.DLC
		return append(dst, b[:classicSize]...)
	}
	b[5] = fdMark
	if f.BRS {
		b[5] |= fdBRS
	}
	if f.ESI {
		b[5] |= fdESI
	}
	return append(dst, b[:]...)
}
