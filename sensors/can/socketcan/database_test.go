package socketcan

import (
	"fmt"
	"strings"
	"testing"

	"telemetry/sensors/dbc"
)

const testDBC = `VERSION ""
NS_ :
BS_:
BU_: A
BO_ 291 Engine: 8 A
 SG_ Speed : 0|16@1+ (0.1,0) [0|6000] "rpm" A
 SG_ Temp : 16|8@1- (1,-40) [0|0] "degC" A
BO_ 2566844672 Broadcast: 8 A
 SG_ B : 0|8@1+ (1,0) [0|0] "" A
BO_ 2565473280 Request: 8 A
 SG_ R : 0|8@1+ (1,0) [0|0] "" A
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2566844672 3;
BA_ "VFrameFormat" BO_ 2565473280 3;
`

func database(t testing.TB) []*dbc.Database {
	t.Helper()
	return compile(t, testDBC)
}

// fiveHundred is a database of 100 messages with five signals of odd widths,
// both byte orders and both signs.
func fiveHundred(t testing.TB) (db []*dbc.Database, ids []uint32) {
	t.Helper()
	var b strings.Builder
	for i := range 100 {
		id := uint32(0x100 + 7*i)
		ids = append(ids, id)
		fmt.Fprintf(&b, "BO_ %d M%d: 8 A\n", id, i)
		fmt.Fprintf(&b, " SG_ S%d_0 : 0|12@1+ (0.1,0) [0|0] \"rpm\" A\n", i)
		fmt.Fprintf(&b, " SG_ S%d_1 : 12|4@1+ (1,0) [0|0] \"\" A\n", i)
		fmt.Fprintf(&b, " SG_ S%d_2 : 23|16@0- (0.01,-40) [0|0] \"degC\" A\n", i)
		fmt.Fprintf(&b, " SG_ S%d_3 : 39|10@0+ (0.5,0) [0|0] \"bar\" A\n", i)
		fmt.Fprintf(&b, " SG_ S%d_4 : 48|16@1- (1,0) [0|0] \"Nm\" A\n", i)
	}
	return compile(t, b.String()), ids
}

func compile(t testing.TB, text string) []*dbc.Database {
	t.Helper()
	file, _, err := dbc.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	db, warnings := dbc.Compile(file)
	for _, w := range warnings {
		t.Errorf("%s", w)
	}
	return []*dbc.Database{db}
}

func TestFiltersOfADatabase(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want int
	}{
		{"known ids", Config{Databases: database(t)}, 3},
		{"raw frames are wanted", Config{Databases: database(t), Raw: true}, 0},
		{"none are wanted", Config{Databases: database(t), Filter: FilterNone}, 0},
		{"no database", Config{Raw: true}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.cfg.filters(); len(got) != tc.want {
				t.Errorf("got %v, want %d", got, tc.want)
			}
		})
	}
	passes := func(id uint32) bool {
		for _, f := range (&Config{Databases: database(t)}).filters() {
			if id&f.Mask == f.ID&f.Mask {
				return true
			}
		}
		return false
	}
	for id, want := range map[uint32]bool{
		0x123: true, 0x124: false, 0x123 | idExtended: false,
		0x18FEF1AA | idExtended: true, 0x0CFEF101 | idExtended: true, 0x18FEF2AA | idExtended: false,
		0x18EA2233 | idExtended: true, 0x18EB2233 | idExtended: false,
	} {
		if passes(id) != want {
			t.Errorf("id %X: passes %v", id, !want)
		}
	}
}
