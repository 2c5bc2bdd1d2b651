package slcan

import (
	"fmt"
	"strings"

	"telemetry/sensors/can"
)

// Firmware is what the adapter runs.
type Firmware uint8

// Firmwares.
const (
	// Lawicel is a CANUSB: every command answered, stamps in ms, no CAN FD.
	Lawicel Firmware = iota
	// LawicelFD adds CAN FD and stamps in µs that turn over every hour.
	LawicelFD
	// CANable answers nothing but V, has no stamps, and is silent by M1.
	CANable
)

// Status bits.
const (
	statusRXFull   = 1 << 0
	statusOverrun  = 1 << 3
	statusPassive  = 1 << 5
	statusBusError = 1 << 7
)

const (
	answerOK    = "\r"
	answerBell  = "\a"
	maxCommand  = 160
	turnMilli   = 60_000
	turnMicro   = 3_600_000_000
	identity    = "V1013\r"
	identityFD  = "V2014\r"
	identityGit = "b158aa7 github.com/canable2-fw.git\r"
	serialNo    = "NA123\r"
)

// bitRates are those of the S command, by its digit.
var bitRates = [...]int{10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000, 83_300}

// device is the state of the firmware. It is guarded by the adapter's mutex.
type device struct {
	firmware Firmware
	refuses  string
	rate     int // bit/s; 0: not set; -1: set by registers
	open     bool
	silent   bool // listen-only
	stamps   byte // '0', '1' ms, '2' µs
	status   byte
	command  []byte
	sent     []can.Frame // put on the bus by the host since the last call
}

func newDevice(fw Firmware, refuses string) device {
	return device{firmware: fw, refuses: refuses, stamps: '0'}
}

// input takes one byte from the host and returns the answer to the command that
// it ended.
func (d *device) input(c byte) string {
	if c != '\r' {
		if d.command = append(d.command, c); len(d.command) > maxCommand {
			d.command = d.command[:0]
			return d.answer(answerBell)
		}
		return ""
	}
	command := string(d.command)
	d.command = d.command[:0]
	return d.answer(d.run(command))
}

// answer drops what the firmware does not say.
func (d *device) answer(s string) string {
	if d.firmware == CANable && (s == answerOK || s == answerBell || s == "z\r" || s == "Z\r") {
		return ""
	}
	return s
}

func ok(good bool) string {
	if good {
		return answerOK
	}
	return answerBell
}

// run executes a command.
func (d *device) run(command string) string {
	if command == "" || strings.IndexByte(d.refuses, command[0]) >= 0 {
		return answerBell
	}
	arg := command[1:]
	switch command[0] {
	case 'S':
		return ok(!d.open && d.setRate(arg))
	case 's':
		return ok(!d.open && (len(arg) == 4 || d.firmware != Lawicel && len(arg) == 8) && isHex(arg) && d.set(-1))
	case 'Y':
		return ok(!d.open && d.firmware != Lawicel && len(arg) == 1 && strings.Contains("012458", arg))
	case 'O', 'L':
		return d.openChannel(command[0], arg)
	case 'C':
		was := d.open
		d.open = false
		return ok(was && arg == "")
	case 'M', 'm':
		if d.firmware == CANable {
			d.silent = arg == "1"
			return answerOK
		}
		return ok(!d.open && len(arg) == 8 && isHex(arg))
	case 'Z':
		most := map[Firmware]string{Lawicel: "01", LawicelFD: "012", CANable: ""}[d.firmware]
		if d.open || len(arg) != 1 || !strings.Contains(most, arg) {
			return answerBell
		}
		d.stamps = arg[0]
		return answerOK
	case 'F':
		return d.readStatus(arg)
	case 'V':
		return map[Firmware]string{Lawicel: identity, LawicelFD: identityFD, CANable: identityGit}[d.firmware]
	case 'N':
		if d.firmware == CANable {
			return answerBell
		}
		return serialNo
	}
	return d.transmit(command)
}

func (d *device) set(rate int) bool {
	d.rate = rate
	return true
}

func (d *device) setRate(arg string) bool {
	if len(arg) != 1 || arg[0] < '0' || arg[0] > '9' {
		return false
	}
	rate := bitRates[arg[0]-'0']
	if d.firmware == CANable && arg == "7" {
		rate = 750_000
	}
	if d.firmware != CANable && arg == "9" {
		return false
	}
	return d.set(rate)
}

func (d *device) openChannel(command byte, arg string) string {
	if d.firmware == CANable && command == 'L' || d.open || d.rate == 0 || arg != "" {
		return answerBell
	}
	d.open, d.status = true, 0
	if d.firmware != CANable {
		d.silent = command == 'L'
	}
	return answerOK
}

func (d *device) readStatus(arg string) string {
	if !d.open || arg != "" || d.firmware == CANable {
		return answerBell
	}
	s := fmt.Sprintf("F%02X\r", d.status)
	d.status = 0
	return s
}

// transmit puts a frame on the bus, if it is one and the channel may.
func (d *device) transmit(command string) string {
	f, good := decode(command)
	if !good || f.FD && d.firmware == Lawicel || !d.open || d.silent {
		return answerBell
	}
	d.sent = append(d.sent, f)
	if f.Extended {
		return "Z\r"
	}
	return "z\r"
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789ABCDEFabcdef") == ""
}

// sizes are the bytes of CAN FD length codes.
var sizes = [16]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64}

// decode reads a frame as a host writes it.
func decode(command string) (f can.Frame, good bool) {
	kind := command[0]
	digits := 3
	switch {
	case strings.IndexByte("TRDB", kind) >= 0:
		f.Extended, digits = true, 8
	case strings.IndexByte("trdb", kind) < 0:
		return f, false
	}
	lower := kind | 0x20
	f.RTR, f.FD, f.BRS = lower == 'r', lower == 'd' || lower == 'b', lower == 'b'
	rest := command[1:]
	if len(rest) < digits+1 || !isHex(rest) {
		return f, false
	}
	var code, n int
	if _, err := fmt.Sscanf(rest[:digits+1], fmt.Sprintf("%%%dx%%1x", digits), &f.ID, &code); err != nil {
		return f, false
	}
	if n = sizes[code]; !f.FD && code > 8 {
		return f, false
	}
	f.Len = uint8(n)
	data := rest[digits+1:]
	if f.RTR {
		return f, data == ""
	}
	if len(data) != 2*n {
		return f, false
	}
	for i := range n {
		if _, err := fmt.Sscanf(data[2*i:2*i+2], "%02x", &f.Bytes[i]); err != nil {
			return f, false
		}
	}
	return f, f.ID < 1<<29 && (f.Extended || f.ID < 1<<11)
}

// encode writes a frame as the firmware reports it, stamped with the device's
// own time in ns. Firmware without CAN FD doesn't see such frames: good is false.
func (d *device) encode(dst []byte, f *can.Frame, deviceNS int64) (line []byte, good bool) {
	if f.FD && d.firmware == Lawicel || f.Err {
		return dst, false
	}
	kind := "t"
	switch {
	case f.RTR:
		kind = "r"
	case f.FD && f.BRS:
		kind = "b"
	case f.FD:
		kind = "d"
	}
	code := int(f.Len)
	for i, n := range sizes {
		if n == int(f.Len) {
			code = i
		}
	}
	if f.Extended {
		dst = fmt.Appendf(dst, "%s%08X%X", strings.ToUpper(kind), f.ID, code)
	} else {
		dst = fmt.Appendf(dst, "%s%03X%X", kind, f.ID, code)
	}
	dst = fmt.Appendf(dst, "%X", f.Data())
	switch d.stamps {
	case '1':
		dst = fmt.Appendf(dst, "%04X", deviceNS/1e6%turnMilli)
	case '2':
		dst = fmt.Appendf(dst, "%08X", deviceNS/1e3%turnMicro)
	}
	return append(dst, '\r'), true
}
