// Package nmea reads NMEA 0183 sentences of satellite receivers and makes fixes
// of them: one for each instant that the receiver speaks of.
//
// The entry points are [Next], which finds whole sentences with a right checksum
// in a run of bytes, and [Assembler], which takes sentences. Any talker is taken
// (GP, GN, GL, GA, GB, BD, GQ, GI and others), fields may be empty, proprietary
// sentences are passed over. It is pure: it holds no clock and does no I/O, and
// takes nothing without a checksum.
package nmea

import "bytes"

// MaxSentence bounds a sentence from $ to the checksum. The standard's 82 bytes
// are exceeded by receivers with many digits.
const MaxSentence = 256

// Token says what [Next] has found.
type Token uint8

// Tokens.
const (
	NeedMore Token = iota // a sentence has begun and may go on
	Good                  // a whole sentence with the right checksum
	Bad                   // a sentence that was cut, damaged, too long or has no checksum
)

// Next reads the sentence at the begin of b, which must begin with '$' or '!'.
// It returns the bytes between that and '*', and how many bytes of b it took. A
// sentence ends with its checksum; it is bad when a byte that is not printable
// comes before, or when another one begins: a sentence that lost its end does not
// take the next one with it.
func Next(b []byte) (tok Token, body []byte, n int) {
	end := 1
	for end < len(b) && end < MaxSentence && b[end] >= ' ' && b[end] <= '~' && b[end] != '$' && b[end] != '!' && b[end] != '*' {
		end++
	}
	switch {
	case end == MaxSentence || end < len(b) && b[end] != '*':
		return Bad, nil, end
	case end+3 > len(b):
		for i := end + 1; i < len(b); i++ {
			if _, ok := hexDigit(b[i]); !ok {
				return Bad, nil, i
			}
		}
		return NeedMore, nil, 0
	}
	if want, ok := hexByte(b[end+1], b[end+2]); ok && checksum(b[1:end]) == want {
		return Good, b[1:end], end + 3
	}
	return Bad, nil, end + 1
}

// Append appends a whole sentence around body: '$', the checksum, CR and LF.
func Append(dst, body []byte) []byte {
	const digits = "0123456789ABCDEF"
	c := checksum(body)
	dst = append(append(dst, '$'), body...)
	return append(dst, '*', digits[c>>4], digits[c&15], '\r', '\n')
}

// checksum is the exclusive or of the bytes between '$' and '*'.
func checksum(b []byte) (c byte) {
	for _, x := range b {
		c ^= x
	}
	return c
}

func hexByte(hi, lo byte) (byte, bool) {
	a, ok := hexDigit(hi)
	b, ok2 := hexDigit(lo)
	return a<<4 | b, ok && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// fields cuts a sentence at its commas. It keeps its memory over reset.
type fields struct{ list [][]byte }

// maxFields bounds a sentence: MaxSentence bytes have no more.
const maxFields = MaxSentence

func (f *fields) cut(body []byte) {
	f.list = f.list[:0]
	for len(f.list) < maxFields {
		i := bytes.IndexByte(body, ',')
		if i < 0 {
			f.list = append(f.list, body)
			return
		}
		f.list = append(f.list, body[:i])
		body = body[i+1:]
	}
}

// at returns field i, or nothing: sentences of older receivers are shorter.
func (f *fields) at(i int) []byte {
	if i < len(f.list) {
		return f.list[i]
	}
	return nil
}

// letter returns the only byte of field i, or 0.
func (f *fields) letter(i int) byte {
	if v := f.at(i); len(v) == 1 {
		return v[0]
	}
	return 0
}

// fixed reads the decimal number in field i as an integer with so many decimals,
// rounded half away from zero.
func (f *fields) fixed(i, decimals int) (int64, bool) { return fixed(f.at(i), decimals) }

// maxDigits bounds a number's digits: more do not fit the integers used here.
const maxDigits = 17

func fixed(b []byte, decimals int) (v int64, ok bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg, b = b[0] == '-', b[1:]
	}
	scale, point, digits, round := decimals, false, 0, false
	for _, c := range b {
		switch {
		case c == '.' && !point:
			point = true
			continue
		case c < '0' || c > '9':
			return 0, false
		}
		digits++
		switch {
		case !point || scale > 0:
			v = v*10 + int64(c-'0')
			if point {
				scale--
			}
		case scale == 0:
			round = c >= '5'
			scale = -1
		}
		if v > 1e17 || digits > maxDigits {
			return 0, false
		}
	}
	if digits == 0 {
		return 0, false
	}
	for ; scale > 0; scale-- {
		if v *= 10; v > 1e17 {
			return 0, false
		}
	}
	if round {
		v++
	}
	if neg {
		v = -v
	}
	return v, true
}
