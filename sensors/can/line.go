package can

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Limits of a line.
const (
	MaxLineBytes = 4096 // a CAN FD line has 180
	maxBusName   = 32   // kernel names have at most 15
)

// ErrNoFrame is returned for blank lines and comments.
var ErrNoFrame = errors.New("can: no frame on this line")

// LineError says why a line is no frame.
type LineError struct {
	Reason string // constant text
	At     string // the part of the line it is about; may be cut
}

func (e *LineError) Error() string { return fmt.Sprintf("can: %s: %q", e.Reason, e.At) }

func lineError(reason string, at []byte) error {
	return &LineError{Reason: reason, At: string(at[:min(len(at), 40)])}
}

// ParseLine reads one line of a candump log, without its newline, in the log
// form
//
//	(1436509052.249713) can0 123#1122334455667788
//
// or in the form that candump shows on a terminal
//
//	(1436509052.249713)  can0  123   [8]  11 22 33 44 55 66 77 88
//
// Stamps have one to nine decimals or are dates, which are taken as UTC. In the
// log form an id has three hexadecimal digits (standard) or eight (extended, or
// an error frame by bit 0x20000000); "##" and a flag digit announce CAN FD, "R"
// and an optional length a remote request, "_" a raw DLC; "R" or "T" after the
// frame is its direction. It returns [ErrNoFrame] for blank lines and comments
// ("#", ";" or "//" first), and a [*LineError] for all else. f.Bus keeps its
// string if the name has not changed; f is spoiled on error.
func ParseLine(line []byte, f *Frame) error {
	bus, err := parseLine(line, f)
	if err == nil && f.Bus != string(bus) {
		f.Bus = string(bus)
	}
	return err
}

// parseLine is ParseLine but for the name of the bus, which it returns.
func parseLine(line []byte, f *Frame) ([]byte, error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] == '#' || line[0] == ';' || bytes.HasPrefix(line, []byte("//")) {
		return nil, ErrNoFrame
	}
	*f = Frame{Bus: f.Bus}
	if line[0] != '(' {
		return nil, lineError("no time stamp", line)
	}
	end := bytes.IndexByte(line, ')')
	if end < 0 {
		return nil, lineError("time stamp without an end", line)
	}
	var ok bool
	if f.StampNS, ok = parseStamp(bytes.TrimSpace(line[1:end])); !ok {
		return nil, lineError("bad time stamp", line[:end+1])
	}
	bus, rest := field(line[end+1:])
	if len(bus) == 0 || len(bus) > maxBusName {
		return nil, lineError("no interface name", line[end+1:])
	}
	tok, rest := field(rest)
	if bytes.IndexByte(tok, '#') < 0 {
		return bus, parseShown(tok, rest, f)
	}
	if err := parseCompact(tok, f); err != nil {
		return nil, err
	}
	dir, rest := field(rest)
	switch string(dir) {
	case "", "R":
	case "T":
		f.TX = true
	default:
		return nil, lineError("text after the frame", dir)
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, lineError("text after the frame", rest)
	}
	return bus, nil
}

// field cuts the next run of non-blanks off.
func field(b []byte) (tok, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' {
		j++
	}
	return b[i:j], b[j:]
}

// maxStampSeconds keeps stamps inside int64 ns (the year 2262).
const maxStampSeconds = 9_223_372_035

func parseStamp(b []byte) (int64, bool) {
	sec, i := int64(0), 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if sec = sec*10 + int64(b[i]-'0'); sec > maxStampSeconds {
			return 0, false
		}
	}
	if i == 0 || i == len(b) {
		return 0, false
	}
	if b[i] == '-' {
		t, err := time.Parse("2006-01-02 15:04:05.999999999", string(b))
		return t.UnixNano(), err == nil && t.Year() >= 1970 && t.Year() < 2262
	}
	frac := b[i+1:]
	if b[i] != '.' || len(frac) == 0 || len(frac) > 9 {
		return 0, false
	}
	ns := int64(0)
	for k := range 9 {
		ns *= 10
		if k < len(frac) {
			if frac[k] < '0' || frac[k] > '9' {
				return 0, false
			}
			ns += int64(frac[k] - '0')
		}
	}
	return sec*1e9 + ns, true
}

// parseID reads an id of three or eight digits with its flags.
func parseID(b []byte, f *Frame) error {
	if len(b) != 3 && len(b) != 8 {
		return lineError("id has neither 3 nor 8 digits", b)
	}
	v, ok := parseHex(b)
	switch {
	case !ok:
		return lineError("bad id", b)
	case len(b) == 3 && v > maskStandard:
		return lineError("standard id has more than 11 bits", b)
	}
	f.ID = v & maskExtended
	f.Err = v&flagError != 0
	f.RTR = v&flagRemote != 0
	f.Extended = len(b) == 8 && !f.Err
	return nil
}

func parseHex(b []byte) (uint32, bool) {
	var v uint32
	for _, c := range b {
		d := nibble(c)
		if d > 15 {
			return 0, false
		}
		v = v<<4 | uint32(d)
	}
	return v, true
}

// nibble returns the value of a hexadecimal digit, or 255.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// parseCompact reads ID#DATA and its variants.
func parseCompact(tok []byte, f *Frame) error {
	hash := bytes.IndexByte(tok, '#')
	if err := parseID(tok[:hash], f); err != nil {
		return err
	}
	data := tok[hash+1:]
	if len(data) > 0 && data[0] == '#' {
		if len(data) < 2 || nibble(data[1]) > 15 {
			return lineError("no flags of a CAN FD frame", tok)
		}
		if f.RTR {
			return lineError("CAN FD has no remote requests", tok)
		}
		flags := nibble(data[1])
		f.FD, f.BRS, f.ESI = true, flags&1 != 0, flags&2 != 0
		return parseBytes(data[2:], f, maxFD)
	}
	if bytes.IndexByte(data, '#') >= 0 {
		return lineError("CAN XL frames are not read", tok)
	}
	if i := bytes.IndexByte(data, '_'); i >= 0 {
		if i != len(data)-2 || nibble(data[i+1]) < 9 || nibble(data[i+1]) > 15 {
			return lineError("bad raw DLC", data[i:])
		}
		f.DLC, data = nibble(data[i+1]), data[:i]
	}
	if len(data) > 0 && (data[0] == 'R' || data[0] == 'r') {
		f.RTR = true
		switch {
		case len(data) == 1:
		case len(data) == 2 && nibble(data[1]) <= maxClassic:
			f.Len = nibble(data[1])
		default:
			return lineError("bad length of a remote request", data)
		}
	} else if err := parseBytes(data, f, maxClassic); err != nil {
		return err
	}
	if f.DLC != 0 && f.Len != maxClassic {
		return lineError("raw DLC of a frame without 8 bytes", tok)
	}
	return nil
}

// parseBytes reads pairs of digits, which dots may part.
func parseBytes(b []byte, f *Frame, most int) error {
	n := 0
	for i := 0; i < len(b); {
		if b[i] == '.' && i > 0 {
			i++
			continue
		}
		if i+1 >= len(b) {
			return lineError("half a byte", b)
		}
		hi, lo := nibble(b[i]), nibble(b[i+1])
		if hi > 15 || lo > 15 {
			return lineError("bad data", b[i:])
		}
		if n == most {
			return lineError("too many bytes", b)
		}
		f.Bytes[n] = hi<<4 | lo
		n++
		i += 2
	}
	f.Len = uint8(n)
	return nil
}

// parseShown reads the terminal form after the name of the bus. tok is the
// first field, rest what follows.
func parseShown(tok, rest []byte, f *Frame) error {
	if string(tok) == "RX" || string(tok) == "TX" { // candump -x: direction, B, E
		var brs, esi []byte
		f.TX = tok[0] == 'T'
		brs, rest = field(rest)
		esi, rest = field(rest)
		f.BRS, f.ESI = string(brs) == "B", string(esi) == "E"
		tok, rest = field(rest)
	}
	if err := parseID(tok, f); err != nil {
		return err
	}
	size, rest := field(rest)
	n, digits := 0, len(size)-2
	if digits < 1 || digits > 2 {
		return lineError("no length", size)
	}
	switch {
	case size[0] == '[' && size[digits+1] == ']':
		v, err := strconv.Atoi(string(size[1 : 1+digits]))
		if err != nil || v < 0 || v > maxFD || digits == 1 && v > maxClassic {
			return lineError("bad length", size)
		}
		n, f.FD = v, digits == 2
	case size[0] == '{' && size[digits+1] == '}' && digits == 1 && nibble(size[1]) > 8 && nibble(size[1]) <= 15:
		n, f.DLC = maxClassic, nibble(size[1])
	default:
		return lineError("bad length", size)
	}
	f.Len = uint8(n)
	f.BRS, f.ESI = f.BRS && f.FD, f.ESI && f.FD // classical CAN has no such bits, whatever the line says
	if bytes.HasPrefix(bytes.TrimSpace(rest), []byte("remote request")) {
		f.RTR = true
	}
	if f.RTR {
		if f.FD {
			return lineError("CAN FD has no remote requests", size)
		}
		return nil
	}
	for i := range n {
		tok, rest = field(rest)
		v, ok := parseHex(tok)
		if len(tok) != 2 || !ok {
			return lineError("fewer bytes than stated", tok)
		}
		f.Bytes[i] = byte(v)
	}
	return nil // ASCII, ERRORFRAME and notes may follow
}

// AppendLine appends f in the log form with nine decimals and a newline.
func AppendLine(dst []byte, f *Frame) []byte {
	dst = fmt.Appendf(dst, "(%010d.%09d) %s ", f.StampNS/1e9, f.StampNS%1e9, f.Bus)
	switch {
	case f.Err:
		dst = fmt.Appendf(dst, "%08X#", f.ID|flagError)
	case f.Extended:
		dst = fmt.Appendf(dst, "%08X#", f.ID)
	default:
		dst = fmt.Appendf(dst, "%03X#", f.ID)
	}
	switch {
	case f.FD:
		flags := byte('0')
		if f.BRS {
			flags |= 1
		}
		if f.ESI {
			flags |= 2
		}
		dst = append(dst, '#', flags)
		dst = fmt.Appendf(dst, "%X", f.Bytes[:f.Len])
	case f.RTR:
		dst = append(dst, 'R')
		if f.Len > 0 {
			dst = append(dst, '0'+f.Len)
		}
	default:
		dst = fmt.Appendf(dst, "%X", f.Bytes[:f.Len])
	}
	if f.DLC != 0 {
		dst = fmt.Appendf(dst, "_%X", f.DLC)
	}
	if f.TX {
		dst = append(dst, " T"...)
	}
	return append(dst, '\n')
}
