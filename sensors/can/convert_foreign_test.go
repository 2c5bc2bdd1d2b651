//go:build foreign

package can

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestConvertedLogs makes logs in formats of other programs with python-can and
// asammdf, turns them into candump text by the commands of docs/can.md, and reads
// that: each frame as it was, its time to the precision of the format.
func TestConvertedLogs(t *testing.T) {
	python := os.Getenv("CAN_PYTHON")
	if python == "" {
		t.Skip("it is run by check_convert.sh, which installs python-can and asammdf")
	}
	classic := func(f *Frame) bool { return !f.FD && !f.RTR }
	all := func(*Frame) bool { return true }
	for _, tt := range []struct {
		format    string
		has       func(*Frame) bool // what python-can writes into it and reads from it
		precision int64             // ns
	}{
		{"asc", all, 1e3}, {"blf", all, 1e3}, {"trc", classic, 1e6}, {"mf4", all, 1e3},
	} {
		t.Run(tt.format, func(t *testing.T) {
			dir := t.TempDir()
			var log bytes.Buffer
			var want []Frame
			for _, f := range mixedFrames() {
				if tt.has(&f) {
					log.Write(micros(&f))
					want = append(want, f)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "made.log"), log.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			convert := func(from, to string) {
				cmd := exec.CommandContext(t.Context(), python, "-m", "can.logconvert", from, to)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s to %s: %v\n%s", from, to, err, out)
				}
			}
			convert("made.log", "lap."+tt.format)
			convert("lap."+tt.format, "lap.log")
			f, err := os.Open(filepath.Join(dir, "lap.log"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, stats := frames(t, f, StampAuto)
			if len(got) != len(want) || stats.BadLines > 0 {
				t.Fatalf("%d frames of %d, %d bad lines: %+v", len(got), len(want), stats.BadLines, stats.Bad)
			}
			for i := range want {
				g, w := got[i], want[i]
				d := (g.StampNS - got[0].StampNS) - (w.StampNS - want[0].StampNS)
				if d > tt.precision || d < -tt.precision {
					t.Errorf("frame %d: %d ns off", i, d)
				}
				if w.RTR {
					w.Len, g.Len = 0, 0 // python-can writes no length of a remote request
				}
				g.StampNS, w.StampNS, g.Bus, w.Bus, g.Cut = 0, 0, "", "", false
				if g != w {
					t.Fatalf("frame %d: got  %+v\nwant %+v", i, g, w)
				}
			}
			t.Logf("%d frames, interface %s, first stamp %d ns", len(got), got[0].Bus, got[0].StampNS)
		})
	}
}

// micros is AppendLine with the six decimals that python-can reads without loss.
func micros(f *Frame) []byte {
	line := AppendLine(nil, f)
	at := bytes.IndexByte(line, ')')
	return append(line[:at-3:at-3], line[at:]...)
}

// mixedFrames are of every kind that the formats have in common.
func mixedFrames() []Frame {
	r := rand.New(rand.NewPCG(1, 2))
	var out []Frame
	at := int64(1_700_000_000_000_000_000)
	for i := range 300 {
		at += int64(1+r.IntN(3000)) * 1000
		f := Frame{StampNS: at, Bus: "can0", ID: r.Uint32() & maskStandard, Len: uint8(r.IntN(9))}
		if i%3 == 0 {
			f.ID, f.Extended = r.Uint32()&maskExtended, true
		}
		switch i % 10 {
		case 5:
			f.RTR, f.Len = true, 0
		case 6, 7:
			f.FD, f.BRS, f.Len = true, i%2 == 0, []uint8{1, 3, 8, 12, 20, 32, 48, 64}[r.IntN(8)] // python-can takes one of no bytes in an ASC file for a remote request
		}
		for k := range f.Data() {
			f.Bytes[k] = byte(r.Uint32())
		}
		out = append(out, f)
	}
	return out
}
