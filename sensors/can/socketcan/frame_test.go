package socketcan

import (
	"testing"

	"telemetry/sensors/can"
)

func FuzzParseFrame(f *testing.F) {
	for _, line := range []string{
		"(1.0) can0 123#1122334455667788", "(1.0) can0 18FEF100#R4", "(1.0) can0 20000040#0000000000000000", "(1.0) can0 123##3112233445566778899AABBCC",
		"(1.0) can0 123#1122334455667788_F",
	} {
		var fr can.Frame
		if err := can.ParseLine([]byte(line), &fr); err != nil {
			f.Fatal(err)
		}
		f.Add(AppendFrame(nil, &fr))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, again can.Frame
		if ParseFrame(b, &a) != nil {
			return
		}
		if err := ParseFrame(AppendFrame(nil, &a), &again); err != nil || a != again {
			t.Fatalf("%x: %+v, then %+v, %v", b, a, again, err)
		}
	})
}

func TestFramesOfTheKernel(t *testing.T) {
	for _, line := range []string{
		"123#1122334455667788", "000#", "1FFFFFFF#01", "123#R", "123#R8", "20000040#0000000000000000",
		"123##0", "123##1112233445566778899AABBCC", "18FEF100##3" + sixtyFour(), "123#1122334455667788_9",
	} {
		var want, got can.Frame
		if err := can.ParseLine([]byte("(1.000000) can0 "+line), &want); err != nil {
			t.Fatal(err)
		}
		got.Bus, got.StampNS = want.Bus, want.StampNS
		if err := ParseFrame(AppendFrame(nil, &want), &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", line, got, err, want)
		}
	}
	for name, b := range map[string][]byte{
		"empty":              {},
		"cut":                make([]byte, classicSize-1),
		"can xl":             make([]byte, 2060),
		"longer than it can": append([]byte{0, 0, 0, 0, 9}, make([]byte, classicSize-5)...),
	} {
		if err := ParseFrame(b, &can.Frame{}); err == nil {
			t.Errorf("%s: taken for a frame", name)
		}
	}
}

func sixtyFour() string {
	b := make([]byte, 128)
	for i := range b {
		b[i] = "0123456789ABCDEF"[i%16]
	}
	return string(b)
}
