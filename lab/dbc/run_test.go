package dbc

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/sensors/dbc"
)

const small = `BO_ 1 M: 2 A
 SG_ S : 0|8@1- (0.5,1) [0|0] "" A
 SG_ T : 15|8@0+ (1,0) [0|0] "" A
`

// compare runs the comparison with a shell script in place of cantools.
func compare(t *testing.T, describes, decodes string) (Summary, []Mismatch, error) {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "oracle.sh")
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "a.DBC"), []byte(small), 0o600),
		os.WriteFile(script, []byte("read -r line; echo '"+describes+"'; read -r line || exit 0\n"+
			"n=$(echo \"$line\" | sed 's/[^,]//g' | tr -d '\\n' | wc -c)\n"+ // commas: two keys and the payloads
			"printf '{\"values\":['; printf '%s' '"+decodes+"'; i=2; while [ $i -lt $n ]; do printf ',null'; i=$((i+1)); done; echo ']}'\n"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	var found []Mismatch
	sum, err := Run(Config{Dir: dir, Python: "sh", Script: script, Seed: 1, OnMismatch: func(m Mismatch) { found = append(found, m) }})
	return sum, found, err
}

func TestDifferencesAreFound(t *testing.T) {
	const describes = `{"messages":[{"id":1,"extended":false,"name":"M","size":2}]}`
	// The first payload is all zeros: S is 0 -> 1, T is 0.
	for _, tc := range []struct{ name, describes, decodes, signal string }{
		{"none", describes, `{"S":["0","f3ff0000000000000"],"T":["0","0"]}`, ""},
		{"raw value", describes, `{"S":["1","f3ff0000000000000"],"T":["0","0"]}`, "S"},
		{"physical value", describes, `{"S":["0","f3ff0000000000001"],"T":["0","0"]}`, "S"},
		{"signal absent", describes, `{"S":["0","f3ff0000000000000"]}`, "T"},
		{"signal unknown", describes, `{"S":["0","f3ff0000000000000"],"T":["0","0"],"U":["0","0"]}`, "U"},
		{"signal that cantools never tells", strings.Replace(describes, `"size"`, `"unreachable":["T"],"size"`, 1), `{"S":["0","f3ff0000000000000"]}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sum, found, err := compare(t, tc.describes, tc.decodes)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Files != 1 || sum.Loaded != 1 || sum.LoadedByCantools != 1 || sum.Values == 0 || sum.Mismatches != len(found) {
				t.Errorf("summary: %+v", sum)
			}
			switch {
			case tc.signal == "" && len(found) > 0:
				t.Errorf("found %+v", found)
			case tc.signal != "" && (len(found) != 1 || found[0].Signal != tc.signal):
				t.Errorf("found %+v, want one of signal %s", found, tc.signal)
			}
		})
	}
	if sum, found, err := compare(t, `{"messages":[{"id":2,"name":"N","size":1}]}`, "null"); err != nil || sum.Mismatches != 1 || found[0].Message != "N" {
		t.Errorf("message unknown: %+v, %+v, %v", sum, found, err)
	}
	if sum, found, err := compare(t, `{"error":"ParseError"}`, ""); err != nil || sum.LoadedByCantools != 0 || len(found) != 0 {
		t.Errorf("file that cantools can't load: %+v, %+v, %v", sum, found, err)
	}
}

func TestBitsAreWrittenWhereTheDecoderReadsThem(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s := &dbc.SignalDef{Name: "S", Start: rng.IntN(64 * 8), Length: 1 + rng.IntN(64), BigEndian: rng.IntN(2) == 0, Factor: 1}
		db, _ := dbc.Compile(&dbc.File{Messages: []*dbc.MessageDef{{ID: 1, Size: 64, Signals: []*dbc.SignalDef{s}}}})
		b := make([]byte, 64)
		want := rng.Uint64() & (math.MaxUint64 >> (64 - s.Length))
		setBits(b, s, want)
		var got [1]int64
		var present [1]uint64
		if db.Lookup(1, false).Decode(b, got[:], present[:]) == 1 && uint64(got[0]) != want {
			t.Fatalf("%+v: wrote %x, read %x", s, want, uint64(got[0]))
		}
	}
}
