package can

import (
	"errors"
	"reflect"
	"testing"
)

// frame builds a wanted frame.
func frame(id uint32, data string, set func(*Frame)) Frame {
	f := Frame{StampNS: 1436509052249713000, Bus: "can0", ID: id, Len: uint8(len(data))}
	copy(f.Bytes[:], data)
	if set != nil {
		set(&f)
	}
	return f
}

func TestParseLine(t *testing.T) {
	const at = "(1436509052.249713) can0 "
	stamp := func(ns int64) func(*Frame) { return func(f *Frame) { f.StampNS = ns } }
	ext := func(f *Frame) { f.Extended = true }
	for _, tc := range []struct {
		name, line string
		want       Frame
	}{
		{"standard", at + "123#11223344", frame(0x123, "\x11\x22\x33\x44", nil)},
		{"lower case", at + "7ff#aBcD", frame(0x7ff, "\xab\xcd", nil)},
		{"no data", at + "000#", frame(0, "", nil)},
		{"dots", at + "123#11.22.33.44.55.66.77.88", frame(0x123, "\x11\x22\x33\x44\x55\x66\x77\x88", nil)},
		{"extended", at + "18FEF100#01", frame(0x18FEF100, "\x01", ext)},
		{"extended, small id", at + "00000123#01", frame(0x123, "\x01", ext)},
		{"extended flag set", at + "98FEF100#01", frame(0x18FEF100, "\x01", ext)},
		{"remote", at + "123#R", frame(0x123, "", func(f *Frame) { f.RTR = true })},
		{"remote with length", at + "123#R4", frame(0x123, "", func(f *Frame) { f.RTR, f.Len = true, 4 })},
		{"error frame", at + "20000080#0000000000000000", frame(0x80, "\x00\x00\x00\x00\x00\x00\x00\x00", func(f *Frame) { f.Err = true })},
		{"received", at + "123#11 R", frame(0x123, "\x11", nil)},
		{"sent", at + "123#11 T", frame(0x123, "\x11", func(f *Frame) { f.TX = true })},
		{"raw dlc", at + "123#1122334455667788_E", frame(0x123, "\x11\x22\x33\x44\x55\x66\x77\x88", func(f *Frame) { f.DLC = 14 })},
		{"remote, raw dlc", at + "123#R8_9", frame(0x123, "", func(f *Frame) { f.RTR, f.Len, f.DLC = true, 8, 9 })},
		{"fd", at + "123##0112233", frame(0x123, "\x11\x22\x33", func(f *Frame) { f.FD = true })},
		{"fd, flags", at + "12345678##3AA", frame(0x12345678, "\xaa", func(f *Frame) { f.Extended, f.FD, f.BRS, f.ESI = true, true, true, true })},
		{"fd, no data", at + "123##1", frame(0x123, "", func(f *Frame) { f.FD, f.BRS = true, true })},
		{"nanoseconds", "(1436509052.249713123) can0 123#", frame(0x123, "", stamp(1436509052249713123))},
		{"milliseconds", "(1436509052.249) can0 123#", frame(0x123, "", stamp(1436509052249000000))},
		{"from zero", "(000.001234) can0 123#", frame(0x123, "", stamp(1234000))},
		{"date", "(2015-07-10 06:17:32.249713) can0 123#", frame(0x123, "", stamp(1436509052249713000))},
		{"wide columns", " (1436509052.249713)\tcan0   123#11  \r", frame(0x123, "\x11", nil)},
		{"shown", "(1436509052.249713)  can0  123   [4]  11 22 33 44", frame(0x123, "\x11\x22\x33\x44", nil)},
		{"shown with text", "(1436509052.249713)  can0  18FEF100   [2]  41 42   'AB'", frame(0x18FEF100, "AB", ext)},
		{"shown, fd", "(1436509052.249713)  can0  123  [04]  11 22 33 44", frame(0x123, "\x11\x22\x33\x44", func(f *Frame) { f.FD = true })},
		{"shown, flags of CAN FD on a classical frame", "(1436509052.249713)  can0  RX B E  123  [1]  11", frame(0x123, "\x11", nil)},
		{"shown, flags", "(1436509052.249713)  can0  TX B -  123  [01]  11", frame(0x123, "\x11", func(f *Frame) { f.TX, f.FD, f.BRS = true, true, true })},
		{"shown, remote", "(1436509052.249713)  can0  123   [3]  remote request", frame(0x123, "", func(f *Frame) { f.RTR, f.Len = true, 3 })},
		{"shown, raw dlc", "(1436509052.249713)  can0  123   {B}  11 22 33 44 55 66 77 88", frame(0x123, "\x11\x22\x33\x44\x55\x66\x77\x88", func(f *Frame) { f.DLC = 11 })},
		{"shown, error", "(1436509052.249713)  can0  20000004   [2]  00 04   ERRORFRAME", frame(4, "\x00\x04", func(f *Frame) { f.Err = true })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f Frame
			if err := ParseLine([]byte(tc.line), &f); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f, tc.want) {
				t.Errorf("got %+v\nwant %+v", f, tc.want)
			}
			var again Frame
			if err := ParseLine(AppendLine(nil, &f), &again); err != nil || again != f {
				t.Errorf("written and read again: %+v, %v", again, err)
			}
		})
	}
}

func TestParseLineFaults(t *testing.T) {
	const at = "(1436509052.249713) can0 "
	for _, tc := range []struct{ name, line string }{
		{"no stamp", "can0 123#11"},
		{"stamp cut", "(1436509052.2497"},
		{"stamp without decimals", "(1436509052) can0 123#11"},
		{"stamp with letters", "(14x.249713) can0 123#11"},
		{"stamp too long", "(1436509052.2497130001) can0 123#11"},
		{"stamp too great", "(99999999999.0) can0 123#11"},
		{"bad date", "(2015-17-10 06:17:32.249713) can0 123#11"},
		{"no interface", "(1436509052.249713)"},
		{"no frame", at},
		{"id cut", at + "12"},
		{"id of four digits", at + "1234#11"},
		{"id of 12 bits", at + "8FF#11"},
		{"id with letters", at + "1G3#11"},
		{"half a byte", at + "123#112"},
		{"bad digit", at + "123#1X"},
		{"nine bytes", at + "123#112233445566778899"},
		{"65 bytes", at + "123##0" + string(make65())},
		{"fd without flags", at + "123##"},
		{"remote of nine bytes", at + "123#R9"},
		{"bad dlc", at + "123#1122334455667788_8"},
		{"dlc of a short frame", at + "123#11_9"},
		{"can xl", at + "123#81:00:12345678#11"},
		{"text after", at + "123#11 R 12"},
		{"unknown direction", at + "123#11 Q"},
		{"shown without length", at + " 123  11 22"},
		{"shown, too few bytes", at + " 123  [3]  11 22"},
		{"shown, nine bytes", at + " 123  [9]  11 22"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var f Frame
			var fault *LineError
			if err := ParseLine([]byte(tc.line), &f); !errors.As(err, &fault) || fault.Reason == "" {
				t.Errorf("got %v and %+v", err, f)
			}
		})
	}
	for _, line := range []string{"", "  \r", "# comment", "; comment", "// comment"} {
		if err := ParseLine([]byte(line), &Frame{}); !errors.Is(err, ErrNoFrame) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func make65() []byte {
	out := make([]byte, 130)
	for i := range out {
		out[i] = '0'
	}
	return out
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{
		"(1436509052.249713) can0 123#11223344", "(0.5) can0 12345678##3AA", "(1.0) c 20000080#R8_9 T",
		"(1.0)  can0  RX B E  123  [04]  11 22 33 44", "(2015-07-10 06:17:32.249713) can0 123#", "# x",
		"(0.0)0 RX 0 E 000 [0]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var a, b Frame
		if ParseLine(line, &a) != nil {
			return
		}
		text := AppendLine(nil, &a)
		if err := ParseLine(text, &b); err != nil {
			t.Fatalf("%q was read, %q was not: %v", line, text, err)
		}
		if a.RTR { // the requested length alone is kept
			b.Bytes = a.Bytes
		}
		if a != b {
			t.Fatalf("%q: %+v\n%q: %+v", line, a, text, b)
		}
	})
}

func BenchmarkParseLine(b *testing.B) {
	line := []byte("(1436509052.249713) can0 123#1122334455667788")
	var f Frame
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := ParseLine(line, &f); err != nil {
			b.Fatal(err)
		}
	}
}
