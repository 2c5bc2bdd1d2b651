package slcan

import (
	"errors"

	"telemetry/sensors/can"
)

// ErrNoFrame is returned for lines that are no frame by their first letter:
// replies and reports.
var ErrNoFrame = errors.New("slcan: no frame on this line")

// MaxLineBytes bounds a line. The longest frame, CAN FD with an extended id and
// a stamp in microseconds, has 146.
const MaxLineBytes = 256

// Stamp digits at the end of a line.
const (
	digitsNone   = 0
	digitsMilli  = 4 // milliseconds, Z1
	digitsMicro  = 8 // microseconds, Z2
	maxStandard  = 1<<11 - 1
	maxExtended  = 1<<29 - 1
	maxClassic   = 8
	digitsInID   = 3
	digitsInLong = 8
)

// lengths are the payload bytes of CAN FD length codes.
var lengths = [16]uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64}

// hexValue gives the value of a hexadecimal digit, or 255.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range 16 {
		t["0123456789ABCDEF"[i]] = byte(i)
		t["0123456789abcdef"[i]] = byte(i)
	}
	return t
}()

// ParseLine reads one line of an adapter, without its CR, into f:
//
//	tIIILDD…  TIIIIIIIILDD…   data frame, standard and extended id
//	rIIIL     RIIIIIIIIL      remote request
//	dIIILDD…  DIIIIIIIILDD…   CAN FD; L is a length code 0 to F
//	bIIILDD…  BIIIIIIIILDD…   CAN FD with bit rate switch
//
// each with a stamp of 4 digits (ms) or 8 (µs) behind it, or none. digits says
// which it was, stamp is its value. It returns [ErrNoFrame] for lines that begin
// with another letter and a [*can.LineError] for frames that are not whole. It
// leaves f.Bus alone and spoils the rest of f on error.
func ParseLine(line []byte, f *can.Frame) (stamp uint32, digits int, err error) {
	if len(line) == 0 {
		return 0, 0, ErrNoFrame
	}
	*f = can.Frame{Bus: f.Bus}
	switch line[0] {
	case 't', 'T':
	case 'r', 'R':
		f.RTR = true
	case 'd', 'D':
		f.FD = true
	case 'b', 'B':
		f.FD, f.BRS = true, true
	default:
		return 0, 0, ErrNoFrame
	}
	rest, err := parseID(line, f)
	if err != nil {
		return 0, 0, err
	}
	if rest, err = parsePayload(rest, f); err != nil {
		return 0, 0, err
	}
	switch len(rest) {
	case digitsNone, digitsMilli, digitsMicro:
	default:
		return 0, 0, lineError("line is too short or too long for its frame", line)
	}
	stamp, ok := parseHex(rest)
	if !ok {
		return 0, 0, lineError("bad time stamp", rest)
	}
	return stamp, len(rest), nil
}

// parseID reads the id and returns what follows it.
func parseID(line []byte, f *can.Frame) ([]byte, error) {
	n, most := digitsInID, uint32(maxStandard)
	if line[0] < 'a' {
		n, most, f.Extended = digitsInLong, maxExtended, true
	}
	if len(line) < 1+n+1 {
		return nil, lineError("line ends inside the id", line)
	}
	id, ok := parseHex(line[1 : 1+n])
	if !ok || id > most {
		return nil, lineError("bad id", line)
	}
	f.ID = id
	return line[1+n:], nil
}

// parsePayload reads length code and data and returns what follows them.
func parsePayload(b []byte, f *can.Frame) ([]byte, error) {
	code := hexValue[b[0]]
	switch {
	case code > 15:
		return nil, lineError("bad length", b)
	case f.FD:
		f.Len = lengths[code]
	case code > maxClassic:
		f.Len, f.DLC = maxClassic, code
	default:
		f.Len = code
	}
	b = b[1:]
	if f.RTR {
		return b, nil
	}
	if len(b) < 2*int(f.Len) {
		return nil, lineError("fewer bytes than stated", b)
	}
	for i := range int(f.Len) {
		hi, lo := hexValue[b[2*i]], hexValue[b[2*i+1]]
		if hi|lo > 15 {
			return nil, lineError("bad data", b[2*i:])
		}
		f.Bytes[i] = hi<<4 | lo
	}
	return b[2*int(f.Len):], nil
}

func parseHex(b []byte) (uint32, bool) {
	var v uint32
	for _, c := range b {
		d := hexValue[c]
		if d > 15 {
			return 0, false
		}
		v = v<<4 | uint32(d)
	}
	return v, true
}

func lineError(reason string, at []byte) error {
	return &can.LineError{Reason: reason, At: string(at[:min(len(at), 40)])}
}

// AppendLine appends f as an adapter reports it, with a stamp of the given
// number of digits (0, 4 or 8) and a CR. Error frames have no such form and must
// not be given; a CAN FD payload is padded with zeros to the next length code.
func AppendLine(dst []byte, f *can.Frame, stamp uint32, digits int) []byte {
	kind, code := byte('t'), f.Len
	switch {
	case f.RTR:
		kind = 'r'
	case f.FD && f.BRS:
		kind = 'b'
	case f.FD:
		kind = 'd'
	}
	if f.FD {
		for code = 0; lengths[code] < f.Len; {
			code++
		}
	} else if f.DLC > maxClassic {
		code = f.DLC
	}
	idDigits := digitsInID
	if f.Extended {
		kind -= 'a' - 'A'
		idDigits = digitsInLong
	}
	dst = appendHex(append(dst, kind), f.ID, idDigits)
	dst = appendHex(dst, uint32(code), 1)
	if !f.RTR {
		n := f.Len
		if f.FD {
			n = lengths[code]
		}
		for _, b := range f.Bytes[:n] {
			dst = appendHex(dst, uint32(b), 2)
		}
	}
	return append(appendHex(dst, stamp, digits), '\r')
}

// appendHex appends the lowest digits of v.
func appendHex(dst []byte, v uint32, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, "0123456789ABCDEF"[v>>(4*i)&15])
	}
	return dst
}
