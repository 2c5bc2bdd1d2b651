package slcan

import (
	"fmt"
	"slices"
)

// Dialect names a family of firmware.
type Dialect string

// Dialects.
const (
	// Lawicel is the original: CANUSB, CAN232 and most others. Every command is
	// answered; stamps count milliseconds.
	Lawicel Dialect = "lawicel"
	// LawicelFD is Lawicel with CAN FD (d, D, b, B and Y) and stamps in
	// microseconds (Z2), as newer CANable 2 firmware has it.
	LawicelFD Dialect = "lawicel-fd"
	// CANable is the firmware that CANable and CANable 2 were shipped with: no
	// command is answered, there are no stamps and no status, listen-only is M1,
	// S7 is 750 kbit/s.
	CANable Dialect = "canable"
)

// Dialects lists the known dialects.
func Dialects() []Dialect { return []Dialect{Lawicel, LawicelFD, CANable} }

// traits is what sets dialects apart.
type traits struct {
	answers  bool // commands are answered: CR or BEL
	listen   string
	normal   string
	setMode  bool // listen and normal are modes that an O must follow
	rates    map[int]byte
	fdRates  map[int]byte
	stampMax int // digits of the finest stamp
}

func (d Dialect) traits() (traits, bool) {
	lawicel := map[int]byte{
		10_000: '0', 20_000: '1', 50_000: '2', 100_000: '3', 125_000: '4',
		250_000: '5', 500_000: '6', 800_000: '7', 1_000_000: '8',
	}
	switch d {
	case Lawicel:
		return traits{answers: true, listen: "L", normal: "O", rates: lawicel, stampMax: digitsMilli}, true
	case LawicelFD:
		fd := map[int]byte{500_000: '0', 1_000_000: '1', 2_000_000: '2', 4_000_000: '4', 5_000_000: '5', 8_000_000: '8'}
		return traits{answers: true, listen: "L", normal: "O", rates: lawicel, fdRates: fd, stampMax: digitsMicro}, true
	case CANable:
		delete(lawicel, 800_000)
		lawicel[750_000], lawicel[83_300] = '7', '9'
		fd := map[int]byte{2_000_000: '2', 5_000_000: '5'}
		return traits{listen: "M1", normal: "M0", setMode: true, rates: lawicel, fdRates: fd}, true
	}
	return traits{}, false
}

// rateCommand returns the command that sets a bit rate out of a table.
func rateCommand(letter byte, rates map[int]byte, bitrate int) (string, error) {
	c, ok := rates[bitrate]
	if !ok {
		known := make([]int, 0, len(rates))
		for r := range rates {
			known = append(known, r)
		}
		slices.Sort(known)
		return "", fmt.Errorf("%d bit/s (the dialect has %v)", bitrate, known)
	}
	return string([]byte{letter, c}), nil
}
