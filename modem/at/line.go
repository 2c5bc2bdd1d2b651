package at

import (
	"strconv"
	"strings"
)

// Limits of what a port may send.
const (
	// maxLine bounds one line: the longest known reply (a neighbour list) stays
	// below 1 KiB. What is longer is cut and counted.
	maxLine = 4 << 10
	// maxInfo bounds the information lines of one reply.
	maxInfo = 256
)

// Line is one line of a reply or an unsolicited code, as "+CREG: 2,1".
type Line struct {
	Prefix string   // "+CREG"; empty for lines without a colon, whose text is Fields[0]
	Fields []string // comma-separated, without quotes
	Raw    string   // as the modem wrote it
	quoted []bool
}

// ParseLine splits a line. It never fails: what has no prefix is one field.
func ParseLine(s string) Line {
	if len(s) > 0 && (s[0] == '+' || s[0] == '^' || s[0] == '#' || s[0] == '$' || s[0] == '*' || s[0] == '%') {
		if i := strings.IndexByte(s, ':'); i > 0 {
			l := Line{Prefix: s[:i], Raw: s}
			l.Fields, l.quoted = split(s[i+1:])
			return l
		}
		return Line{Prefix: s, Raw: s}
	}
	return Line{Fields: []string{s}, quoted: []bool{false}, Raw: s}
}

// split cuts at commas outside quotes and parentheses.
func split(s string) (fields []string, quoted []bool) {
	depth, in, start := 0, false, 0
	cut := func(end int) {
		f := strings.TrimSpace(s[start:end])
		q := len(f) >= 2 && f[0] == '"' && f[len(f)-1] == '"'
		if q {
			f = f[1 : len(f)-1]
		}
		fields, quoted = append(fields, f), append(quoted, q)
		start = end + 1
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			in = !in
		case in:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			cut(i)
		}
	}
	cut(len(s))
	return fields, quoted
}

// String returns field i, or "" if there is none.
func (l Line) String(i int) string {
	if i < 0 || i >= len(l.Fields) {
		return ""
	}
	return l.Fields[i]
}

// Quoted reports whether field i stood in quotes.
func (l Line) Quoted(i int) bool { return i >= 0 && i < len(l.quoted) && l.quoted[i] }

// Int returns field i as a decimal number.
func (l Line) Int(i int) (int, bool) {
	v, err := strconv.Atoi(l.String(i))
	return v, err == nil
}

// Hex returns field i as a hexadecimal number, as cell ids are written.
func (l Line) Hex(i int) (uint64, bool) {
	v, err := strconv.ParseUint(l.String(i), 16, 64)
	return v, err == nil
}

// final reports whether a line ends a reply, and what it ends it with: nil for OK.
func final(s string) (result error, is bool) {
	switch s {
	case "OK":
		return nil, true
	case "ERROR", "NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE", "COMMAND NOT SUPPORT":
		return &ResultError{Result: s, Code: -1}, true
	}
	for _, kind := range []string{"+CME ERROR:", "+CMS ERROR:"} {
		if rest, ok := strings.CutPrefix(s, kind); ok {
			rest = strings.TrimSpace(rest)
			code, cerr := strconv.Atoi(rest)
			if cerr != nil {
				code = -1
			}
			return &ResultError{Result: strings.TrimSuffix(kind, ":") + ": " + rest, Code: code}, true
		}
	}
	return nil, false
}

// ResultError is a final result code other than OK.
type ResultError struct {
	Result string // as the modem wrote it
	Code   int    // of +CME or +CMS ERROR; -1 if it gave none, or a text
}

func (e *ResultError) Error() string { return "at: modem answered " + e.Result }

// Codes of +CME ERROR (3GPP TS 27.007, 9.2) that say what state the card is in.
const (
	CMESIMNotInserted  = 10
	CMESIMPINRequired  = 11
	CMESIMPUKRequired  = 12
	CMESIMFailure      = 13
	CMESIMBusy         = 14
	CMESIMWrong        = 15
	CMESIMPIN2Required = 17
	CMESIMPUK2Required = 18
)
