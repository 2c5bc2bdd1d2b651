package can

import (
	"errors"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/wire"
)

// rawRows gives the frames of raw rows back.
type rawRows struct {
	t      *testing.T
	frames []Frame
	ticks  []int64
}

func (s *rawRows) Append(r sensors.Rows) error {
	if err := r.Check([]wire.Group{{}, RawGroup("can0")}); err != nil {
		s.t.Error(err)
	}
	for i, tick := range r.Ticks {
		row := make([]int64, rawColumns)
		for k := range row {
			if sensors.Bit(r.Present, i*rawColumns+k) {
				row[k] = r.Values[i*rawColumns+k]
			}
		}
		f, err := RawFrame(row)
		if err != nil {
			s.t.Error(err)
		}
		s.frames, s.ticks = append(s.frames, f), append(s.ticks, tick)
	}
	return nil
}

func (s *rawRows) Event(wire.Event) error { return nil }

func TestRawRowsHoldFramesAsTheyWere(t *testing.T) {
	lines := []string{
		"can0 123#1122334455667788",
		"can0 123#11223344556677",
		"can0 000#",
		"can0 1FFFFFFF#FFFFFFFFFFFFFFFF",
		"can0 123#R4",
		"can0 18FEF100#R",
		"can0 20000080#0000000000000000",
		"can0 123##3" + strings.Repeat("8F", 64),
		"can0 00000123##0" + strings.Repeat("01", 20),
		"can0 123#1122334455667788_F",
		"can0 123#01 T",
	}
	raw, out := NewRaw(1), &rawRows{t: t}
	var want []Frame
	for round := range 3 { // presence maps of any alignment
		for i, l := range lines {
			var f Frame
			if err := ParseLine([]byte("(1.0) "+l), &f); err != nil {
				t.Fatal(err)
			}
			raw.Add(&f, int64(1000*round+i))
			f.Bus, f.StampNS = "", 0
			want = append(want, f)
		}
		if err := raw.Flush(out); err != nil {
			t.Fatal(err)
		}
		lines = lines[1:]
	}
	if len(out.frames) != len(want) {
		t.Fatalf("got %d frames, want %d", len(out.frames), len(want))
	}
	for i := range want {
		if out.frames[i] != want[i] {
			t.Errorf("frame %d: got %+v, want %+v", i, out.frames[i], want[i])
		}
	}
	raw.Add(&Frame{}, 7)
	if err := raw.Flush(out); err != nil || raw.Pending() != 0 || out.ticks[len(out.ticks)-1] != 2008 {
		t.Errorf("an earlier tick: got %v, %d pending, tick %d; want it raised to 2008", err, raw.Pending(), out.ticks[len(out.ticks)-1])
	}
}

func TestRowsThatAreNoRawFrames(t *testing.T) {
	row := func(change func(r []int64)) []int64 {
		r := make([]int64, rawColumns)
		change(r)
		return r
	}
	cases := map[string][]int64{
		"too few columns":       make([]int64, rawColumns-1),
		"id of 33 bits":         row(func(r []int64) { r[rawID] = 1 << 32 }),
		"longer than any frame": row(func(r []int64) { r[rawLength] = 65 }),
		"unknown flags":         row(func(r []int64) { r[rawFlags] = 256 }),
		"bytes past its length": row(func(r []int64) { r[rawData], r[rawLength] = 0x0100, 1 }),
	}
	for name, r := range cases {
		if _, err := RawFrame(r); !errors.Is(err, ErrNotRaw) {
			t.Errorf("%s: got %v, want %v", name, err, ErrNotRaw)
		}
	}
}
