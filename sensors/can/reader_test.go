package can

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// frames reads a log to its end.
func frames(t *testing.T, log io.Reader, mode StampMode) ([]Frame, ReaderStats) {
	t.Helper()
	r, err := NewReader(log, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []Frame
	for {
		var f Frame
		err := r.Next(&f)
		if errors.Is(err, io.EOF) {
			if err := r.Next(&f); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
			return out, r.Stats()
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
}

const twoBuses = `# a comment
(100.000000) can0 100#01

(100.000500) can1 200#02
(100.001000) can0 100#03
`

func TestPackedLogs(t *testing.T) {
	gz := func(s string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write([]byte(s))
		w.Close()
		return b.Bytes()
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	long := strings.Repeat(twoBuses, 3000)
	for _, tc := range []struct {
		name    string
		log     []byte
		frames  int
		damaged bool
	}{
		{"plain", []byte(twoBuses), 3, false},
		{"gzip", gz(twoBuses), 3, false},
		{"gzip in two members", append(gz(twoBuses), gz(twoBuses)...), 6, false},
		{"zstd", enc.EncodeAll([]byte(long), nil), 9000, false},
		{"gzip cut", gz(twoBuses)[:60], -1, true},
		{"zstd cut", enc.EncodeAll([]byte(long), nil)[:200], -1, true},
		{"empty", nil, 0, false},
		{"short", []byte("("), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, stats := frames(t, bytes.NewReader(tc.log), StampAuto)
			if tc.frames >= 0 && len(got) != tc.frames || (stats.Damage != "") != tc.damaged {
				t.Errorf("%d frames, stats %+v", len(got), stats)
			}
			if len(got) > 1 && (got[0].Bus != "can0" || got[1].Bus != "can1") {
				t.Errorf("buses %q and %q", got[0].Bus, got[1].Bus)
			}
		})
	}
}

func TestBadLinesAreCounted(t *testing.T) {
	log := "(1.0) can0 100#01\nrubbish\n(1.1) can0 100#0\n" + strings.Repeat("x", MaxLineBytes+1) + "\n" +
		strings.Repeat("y", 200_000) + "\n(1.2) can0 100#02\n\n# end\n(1.3) can0 100#0"
	got, stats := frames(t, strings.NewReader(log), StampAuto)
	if len(got) != 2 || stats.Lines != 9 || stats.BadLines != 5 {
		t.Errorf("%d frames, stats %+v", len(got), stats)
	}
	for i, want := range []int{2, 3, 4, 5, 9} {
		if stats.Bad[i].Line != want || stats.Bad[i].Reason == "" {
			t.Errorf("bad line %d: %+v, want line %d", i, stats.Bad[i], want)
		}
	}
	_, stats = frames(t, strings.NewReader(strings.Repeat("bad\n", 100)), StampAuto)
	if stats.BadLines != 100 || len(stats.Bad) != keptBadLines {
		t.Errorf("%d bad lines, %d kept", stats.BadLines, len(stats.Bad))
	}
	var many strings.Builder
	for i := range maxBuses + 5 {
		fmt.Fprintf(&many, "(1.0) vcan%d 100#01\n", i)
	}
	if got, stats = frames(t, strings.NewReader(many.String()), StampAuto); len(got) != maxBuses || stats.BadLines != 5 {
		t.Errorf("%d frames, %d bad lines with too many interfaces", len(got), stats.BadLines)
	}
}

func TestLastLineWithoutItsEnd(t *testing.T) {
	got, _ := frames(t, strings.NewReader("(1.0) can0 100#0102\n(1.1) can0 100#01"), StampAuto)
	if len(got) != 2 || got[0].Cut || !got[1].Cut {
		t.Errorf("%+v", got)
	}
}

func TestStampModes(t *testing.T) {
	for _, tc := range []struct {
		name, stamps string
		mode         StampMode
		want         []int64 // ms since the first
	}{
		{"clock", "1436509052.000 1436509052.005 1436509052.004", StampAuto, []int64{0, 5, 4}},
		{"from zero", "0.000 0.005 0.012", StampAuto, []int64{0, 5, 12}},
		{"delta", "0.000 0.005 0.002 0.010", StampAuto, []int64{0, 5, 7, 17}},
		{"delta, as told", "0.001 0.005 0.006", StampDelta, []int64{0, 5, 11}},
		{"falling, as told", "0.000 0.005 0.002", StampClock, []int64{0, 5, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log strings.Builder
			for s := range strings.FieldsSeq(tc.stamps) {
				fmt.Fprintf(&log, "(%s) can0 100#01\n", s)
			}
			got, _ := frames(t, strings.NewReader(log.String()), tc.mode)
			for i, ms := range tc.want {
				if d := got[i].StampNS - got[0].StampNS; d != ms*1e6 {
					t.Errorf("frame %d is at %d ns, want %d ms", i, d, ms)
				}
			}
		})
	}
}

func TestLogThatCannotBeRead(t *testing.T) {
	broken := errors.New("input/output error")
	r, err := NewReader(io.MultiReader(strings.NewReader(twoBuses), iotest.ErrReader(broken)), StampClock)
	if err != nil {
		t.Fatal(err)
	}
	var f Frame
	for range 3 {
		if err := r.Next(&f); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Next(&f); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := NewReader(iotest.ErrReader(broken), StampAuto); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// Whatever a log holds, plain or compressed, reading it ends, and what it took
// for frames are such that their own text gives them again.
func FuzzReader(f *testing.F) {
	plain := "(1.5) can0 123#11\n(2.0) can1 18FEF100##3112233\n# note\n(2.1) can0 123#R4\nbad\n(2.2)  vcan0  123   [2]  11 22\n"
	f.Add([]byte(plain))
	f.Add([]byte("(0.000000) can0 1#\n(0.1) can0 20000080#0000000000000000\n(000.000100) can0 7FF#1122334455667788_B T"))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(plain)); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(zipped.Bytes())
	f.Add(zipped.Bytes()[:zipped.Len()-9])
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x61, 0x00, 0x00, '(', '1', '.', '0', ')', ' ', 'a', ' ', '1', '2', '3', '#', '\n'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b), StampAuto)
		if err != nil {
			return
		}
		defer r.Close()
		var fr, again Frame
		for range 10_000 {
			if err := r.Next(&fr); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatalf("reading from memory failed: %v", err)
				}
				return
			}
			if err := ParseLine(AppendLine(nil, &fr), &again); err != nil {
				t.Fatalf("%+v: %v", fr, err)
			}
			again.Cut = fr.Cut
			if fr.RTR { // the requested length alone is kept
				again.Bytes = fr.Bytes
			}
			if again != fr {
				t.Fatalf("got %+v, want %+v", again, fr)
			}
		}
	})
}
