package slcan

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"telemetry/sensors/can"
)

func TestLinesOfAdapters(t *testing.T) {
	frame := func(id uint32, data string, change func(*can.Frame)) can.Frame {
		f := can.Frame{ID: id, Len: uint8(len(data))}
		copy(f.Bytes[:], data)
		if change != nil {
			change(&f)
		}
		return f
	}
	ext := func(f *can.Frame) { f.Extended = true }
	cases := map[string]struct {
		line   string
		want   can.Frame
		stamp  uint32
		digits int
	}{
		"standard":             {"t1232AABB", frame(0x123, "\xaa\xbb", nil), 0, 0},
		"standard, ms":         {"t12311FEA5F", frame(0x123, "\x1f", nil), 59_999, 4},
		"standard, µs":         {"t12311FD693A3FF", frame(0x123, "\x1f", nil), 3_599_999_999, 8},
		"no data":              {"t7FF0", frame(0x7ff, "", nil), 0, 0},
		"no data, ms":          {"t7FF00010", frame(0x7ff, "", nil), 16, 4},
		"extended":             {"T18FEF1003010203", frame(0x18fef100, "\x01\x02\x03", ext), 0, 0},
		"remote":               {"r1234", frame(0x123, "", func(f *can.Frame) { f.RTR, f.Len = true, 4 }), 0, 0},
		"remote extended, ms":  {"R1FFFFFFF800FF", frame(0x1fffffff, "", func(f *can.Frame) { f.RTR, f.Extended, f.Len = true, true, 8 }), 255, 4},
		"length code above 8":  {"t123F0011223344556677", frame(0x123, "\x00\x11\x22\x33\x44\x55\x66\x77", func(f *can.Frame) { f.DLC = 15 }), 0, 0},
		"fd":                   {"d1239" + strings.Repeat("AB", 12), frame(0x123, strings.Repeat("\xab", 12), func(f *can.Frame) { f.FD = true }), 0, 0},
		"fd, bit rate switch":  {"B000000FFF" + strings.Repeat("01", 64) + "00000001", frame(0xff, strings.Repeat("\x01", 64), func(f *can.Frame) { f.FD, f.BRS, f.Extended = true, true, true }), 1, 8},
		"fd of 8 bytes":        {"b00180102030405060708", frame(1, "\x01\x02\x03\x04\x05\x06\x07\x08", func(f *can.Frame) { f.FD, f.BRS = true, true }), 0, 0},
		"lower case as clones": {"t1ab1ff", frame(0x1ab, "\xff", nil), 0, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var f can.Frame
			stamp, digits, err := ParseLine([]byte(c.line), &f)
			if err != nil || f != c.want || stamp != c.stamp || digits != c.digits {
				t.Fatalf("got %+v, stamp %d of %d digits, %v; want %+v, %d of %d", f, stamp, digits, err, c.want, c.stamp, c.digits)
			}
			if got, want := string(AppendLine(nil, &f, stamp, digits)), c.line+"\r"; !strings.EqualFold(got, want) {
				t.Errorf("written again it is %q, want %q", got, want)
			}
		})
	}
}

func TestLinesThatAreNoFrames(t *testing.T) {
	cases := map[string]struct {
		line  string
		other bool // not even by their first letter
	}{
		"empty":                        {"", true},
		"status":                       {"F00", true},
		"version":                      {"V1013", true},
		"answer to a frame":            {"z", true},
		"ends in the id":               {"t12", false},
		"no length":                    {"t123", false},
		"id of more than 29 bits":      {"T200000000", false},
		"id of more than 11 bits":      {"t8000", false},
		"foreign byte in the id":       {"t1\xff30", false},
		"foreign byte in the data":     {"t1231\xff0", false},
		"foreign byte in the stamp":    {"t1230\x80000", false},
		"bad length":                   {"t123G", false},
		"a byte lost":                  {"t1238112233445566778", false},
		"stamp of three digits":        {"t1230ABC", false},
		"two frames, CR lost":          {"t1230t1230", false},
		"fd of fewer bytes than coded": {"d123F00", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var f can.Frame
			_, _, err := ParseLine([]byte(c.line), &f)
			var le *can.LineError
			if errors.Is(err, ErrNoFrame) != c.other || errors.As(err, &le) == c.other {
				t.Errorf("got %v, want ErrNoFrame: %v", err, c.other)
			}
		})
	}
}

func TestSplitterFindsTheSameLinesInAnyPieces(t *testing.T) {
	long := strings.Repeat("x", MaxLineBytes+1)
	in := "t1230\r\nt1231AA\r\r\aF00\rnoise\a" + long + "\rt1232AABB\nt1230\r\n\r" + long + long + "\rend"
	type found struct {
		tok  token
		line string
	}
	want := []found{
		{tokenLine, "t1230"},
		{tokenLine, "t1231AA"},
		{tokenLine, ""},
		{tokenBell, ""},
		{tokenLine, "F00"},
		{tokenBell, "noise"},
		{tokenLong, ""},
		{tokenLine, "t1232AABB"},
		{tokenLine, "t1230"},
		{tokenLine, ""},
		{tokenLong, ""},
	}
	for _, size := range []int{1, 2, 3, 7, 64, len(in)} {
		var s splitter
		var got []found
		for piece := range slices.Chunk([]byte(in), size) {
			for len(piece) > 0 {
				tok, line, n := s.next(piece)
				if piece = piece[n:]; tok != tokenNone {
					got = append(got, found{tok, string(line)})
				}
			}
		}
		if !slices.Equal(got, want) || !s.open() {
			t.Errorf("pieces of %d: got %q, want %q; open %v", size, got, want, s.open())
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"t1232AABB", "t12311FEA5F", "T18FEF1003010203", "r1234", "R1FFFFFFF800FF", "d1239", "t123F0011223344556677", "B000000FFF" + strings.Repeat("01", 64) + "00000001", "F00", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		fr := can.Frame{Bus: "can0"}
		stamp, digits, err := ParseLine(line, &fr)
		if fr.Bus != "can0" {
			t.Fatal("the bus was changed")
		}
		if err != nil {
			return
		}
		again := AppendLine(nil, &fr, stamp, digits)
		if !bytes.EqualFold(again, append(slices.Clone(line), '\r')) {
			t.Fatalf("%q became %q", line, again)
		}
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("t1230\r\nF00\r\aV1013\r"), 3)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 || size > len(in) || len(in) > 16*MaxLineBytes {
			return
		}
		count := func(size int) (ends, bytes int) {
			var s splitter
			for piece := range slices.Chunk(in, size) {
				for len(piece) > 0 {
					tok, line, n := s.next(piece)
					if n == 0 {
						t.Fatal("no progress")
					}
					if piece = piece[n:]; tok != tokenNone {
						ends, bytes = ends+1, bytes+len(line)
					}
				}
			}
			return ends, bytes
		}
		e1, b1 := count(len(in))
		if e2, b2 := count(size); e1 != e2 || b1 != b2 {
			t.Fatalf("whole: %d ends, %d bytes; in pieces of %d: %d, %d", e1, b1, size, e2, b2)
		}
	})
}
