package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// row is one output row, cut into its fields. Its slices belong to the record.
type row struct {
	car, session, lane, group []byte
	event, detail             []byte // as they stand in the text, with quotes
	first                     bool   // first row of its batch
	tsNS                      int64  // event time, UTC; the log's time while unsynced
	bootNS                    int64  // event time, ns since boot
	seq                       uint64 // of the batch
	synced                    bool
	fields                    []field
}

// field is one channel's value.
type field struct {
	key   []byte // as it stands in the text, with quotes
	value float64
}

var errRow = errors.New("live: not a row of ours")

// parseRow cuts a flat JSON object as jsonrow writes it. It reuses r's memory,
// keeps slices of b, and accepts keys in any order. Text and null as a channel's
// value are skipped.
func parseRow(b []byte, r *row) error {
	*r = row{fields: r.fields[:0]}
	b = bytes.TrimSpace(b)
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return errRow
	}
	b = b[1 : len(b)-1]
	for len(b) > 0 {
		key, rest, ok := cutString(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return errRow
		}
		value, rest, ok := cutValue(rest[1:])
		if !ok {
			return errRow
		}
		if err := r.take(key, value); err != nil {
			return err
		}
		if len(rest) == 0 {
			break
		}
		if rest[0] != ',' || len(rest) == 1 {
			return errRow
		}
		b = rest[1:]
	}
	if len(r.car) == 0 || len(r.lane) == 0 {
		return errRow
	}
	return nil
}

// cutString cuts a quoted string off b, quotes included.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i+1], b[i+1:], true
		}
	}
	return nil, nil, false
}

// cutValue cuts a string, number, true, false or null off b.
func cutValue(b []byte) (v, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '"' {
		return cutString(b)
	}
	n := bytes.IndexByte(b, ',')
	if n < 0 {
		n = len(b)
	}
	if n == 0 || b[0] == '{' || b[0] == '[' {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// take sorts one field: the row's own ones by name, the rest are channels.
func (r *row) take(key, value []byte) error {
	switch string(key) {
	case `"car"`:
		r.car = bare(value)
	case `"session"`:
		r.session = bare(value)
	case `"lane"`:
		r.lane = bare(value)
	case `"group"`:
		r.group = value
	case `"event"`:
		r.event = value
	case `"detail"`:
		r.detail = value
	case `"clock"`:
		r.synced = string(value) == `"synced"`
	case `"row"`:
		r.first = bytes.HasPrefix(value, []byte(`"1/`))
	case `"ts_ns"`:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return errRow
		}
		r.tsNS = n
	case `"boot_ns"`:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return errRow
		}
		r.bootNS = n
	case `"seq"`:
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			return errRow
		}
		r.seq = n
	case `"epoch"`, `"nonce"`, `"ts_ms"`, `"clock_unc_ns"`, `"segment"`:
	default:
		if value[0] == '"' || string(value) == "null" {
			return nil
		}
		if len(r.fields) >= maxRowFields {
			return errRow
		}
		x, ok := parseNumber(value)
		if !ok {
			return errRow
		}
		r.fields = append(r.fields, field{key, x})
	}
	return nil
}

// tens are the powers of ten that float64 holds exactly.
var tens = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseNumber parses a JSON number. What most sensors give takes the short way,
// without memory: both operands of the one division are exact, so the result is
// what strconv gives.
func parseNumber(b []byte) (float64, bool) {
	digits, negative := b, false
	if len(b) > 1 && b[0] == '-' {
		digits, negative = b[1:], true
	}
	mantissa, fraction := uint64(0), -1
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9' && i < 16:
			mantissa = mantissa*10 + uint64(c-'0')
			if fraction >= 0 {
				fraction++
			}
		case c == '.' && fraction < 0 && i > 0:
			fraction = 0
		default:
			x, err := strconv.ParseFloat(string(b), 64)
			return x, err == nil
		}
	}
	if mantissa >= 1<<53 || fraction == 0 || len(digits) == 0 {
		x, err := strconv.ParseFloat(string(b), 64)
		return x, err == nil
	}
	x := float64(mantissa)
	if fraction > 0 {
		x /= tens[fraction]
	}
	if negative {
		x = -x
	}
	return x, true
}

// bare returns the inside of a quoted string that needs no unescaping: cars,
// sessions and lanes have no such characters. Anything else is nil.
func bare(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' || bytes.IndexByte(v, '\\') >= 0 {
		return nil
	}
	return v[1 : len(v)-1]
}

// unquote returns the text of a quoted string; "" when it is none.
func unquote(v []byte) string {
	var s string
	if len(v) == 0 || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}
