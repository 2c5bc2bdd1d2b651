package dbc

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"telemetry/wire"
)

func compile(t testing.TB, text string) (*Database, []Warning) {
	t.Helper()
	f, warn, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	db, more := Compile(f)
	return db, append(warn, more...)
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func message(t testing.TB, db *Database, name string) *Message {
	t.Helper()
	for _, m := range db.Messages {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no message %q", name)
	return nil
}

func signal(t testing.TB, m *Message, name string) *Signal {
	t.Helper()
	for i := range m.Signals {
		if m.Signals[i].Name == name {
			return &m.Signals[i]
		}
	}
	t.Fatalf("no signal %q in %s", name, m.Name)
	return nil
}

// decode returns the present raw values by name.
func decode(m *Message, data []byte) map[string]int64 {
	values := make([]int64, len(m.Signals))
	present := make([]uint64, len(m.Signals)/64+1)
	n := m.Decode(data, values, present)
	out := map[string]int64{}
	for i, s := range m.Signals {
		if present[i/64]>>(i%64)&1 != 0 {
			out[s.Name] = values[i]
		}
	}
	if n != len(out) {
		out["count"] = int64(n)
	}
	return out
}

// golden is one frame as cantools 45.1.0 decodes it. Values are "i" and a whole
// number, or "f" and the bits of a float64.
type golden struct {
	Msg   string
	ID    uint32
	Ext   bool
	Data  string
	Trunc bool
	Raw   map[string]string
	Phys  map[string]string
}

func goldenValue(t *testing.T, s string) (int64, float64) {
	t.Helper()
	if bits, ok := strings.CutPrefix(s, "f"); ok {
		v, err := strconv.ParseUint(bits, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 0, math.Float64frombits(v)
	}
	if v, err := strconv.ParseInt(s[1:], 10, 64); err == nil {
		return v, float64(v)
	}
	v, err := strconv.ParseUint(s[1:], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(v), float64(v)
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestGoldenValues(t *testing.T) {
	db, warn := compile(t, testdata(t, "features.dbc"))
	if len(warn) != 0 {
		t.Errorf("warnings for a file without faults: %v", warn)
	}
	lines := bufio.NewScanner(strings.NewReader(testdata(t, "features_golden.jsonl")))
	values := 0
	for lines.Scan() {
		var g golden
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		m := db.Lookup(g.ID, g.Ext)
		if m == nil || m.Name != g.Msg {
			t.Fatalf("id %x is %v, want %s", g.ID, m, g.Msg)
		}
		data, err := hex.DecodeString(g.Data)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(m, data)
		if len(got) != len(g.Raw) {
			t.Errorf("%s %s: got %v, want %v", g.Msg, g.Data, got, g.Raw)
		}
		for name, text := range g.Raw {
			values++
			s := signal(t, m, name)
			raw, float := goldenValue(t, text)
			_, phys := goldenValue(t, g.Phys[name])
			ok := got[name] == raw
			switch s.Type {
			case wire.TypeF32:
				ok = same(float64(math.Float32frombits(uint32(got[name]))), float)
			case wire.TypeF64:
				ok = same(math.Float64frombits(uint64(got[name])), float)
			}
			if !ok || !same(s.Physical(got[name]), phys) {
				t.Errorf("%s.%s of %s: raw %d physical %v, want %s and %v", g.Msg, name, g.Data, got[name], s.Physical(got[name]), text, phys)
			}
		}
	}
	if values < 300 {
		t.Errorf("only %d golden values", values)
	}
}

func TestDescriptions(t *testing.T) {
	f, _, err := Parse(strings.NewReader(testdata(t, "features.dbc")))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := Compile(f)
	if f.Version != "features" || !slices.Equal(f.Nodes, []string{"ECU", "Dash"}) {
		t.Errorf("version %q, nodes %q", f.Version, f.Nodes)
	}
	little := message(t, db, "Little")
	if little.Comment != `a "quoted" word` || little.CycleMS != 20 || little.Sender != "ECU" || little.Size != 8 {
		t.Errorf("message %+v", little)
	}
	u13 := signal(t, little, "U13")
	if u13.Unit != "km/h" || u13.Comment != "speed over ground" || u13.Factor != 0.25 || u13.Offset != -10 || u13.Bits != 13 || u13.Max != 1 {
		t.Errorf("signal %+v", u13)
	}
	if e := signal(t, little, "U1").Enum; len(e) != 2 || e[0] != (wire.EnumValue{Raw: 0, Name: "closed"}) {
		t.Errorf("values %v", e)
	}
	long := message(t, db, "A_name_of_more_than_thirty_two_characters")
	signal(t, long, "A_signal_of_more_than_thirty_two_characters")
	if e := signal(t, long, "FWD_ON").Enum; len(e) != 3 || e[2].Name != "error" {
		t.Errorf("values are not sorted: %v", e)
	}
	if m := message(t, db, "FD64"); !m.FD || m.Extended {
		t.Errorf("FD64 is %+v", m)
	}
	if signal(t, message(t, db, "SimpleMux"), "Always").Muxed || !signal(t, message(t, db, "SimpleMux"), "A0").Muxed {
		t.Error("what is multiplexed is told wrongly")
	}
	for _, m := range db.Messages {
		if strings.Contains(m.Name, "INDEPENDENT") {
			t.Error("independent signals are no message")
		}
	}
}

func TestLookup(t *testing.T) {
	db, _ := compile(t, testdata(t, "features.dbc"))
	for _, tc := range []struct {
		name     string
		id       uint32
		extended bool
		want     string
	}{
		{"standard", 256, false, "Little"},
		{"standard id in an extended frame", 256, true, ""},
		{"extended", 512, true, "ExtendedPlain"},
		{"extended id in a standard frame", 512, false, ""},
		{"J1939 as written", 0x18FEF1FE, true, "J1939Speed"},
		{"J1939, other source and priority", 0x0CFEF117, true, "J1939Speed"},
		{"J1939, other group", 0x18FEF2FE, true, ""},
		{"unknown", 0x7ff, false, ""},
	} {
		got := ""
		if m := db.Lookup(tc.id, tc.extended); m != nil {
			got = m.Name
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	for id, want := range map[uint32]uint32{0x18FEF1FE: 0xFEF1, 0x0CF00400: 0xF004, 0x18EA1234: 0xEA00, 0x19ABCD01: 0x1AB00} {
		if got := PGN(id); got != want {
			t.Errorf("PGN of %x is %x, want %x", id, got, want)
		}
	}
}

// TestSourcesOfOneGroup: several devices send one parameter group, at whatever priority
// they have been given; each one's frames are its own message.
func TestSourcesOfOneGroup(t *testing.T) {
	db, _ := compile(t, `BO_ 2566843904 EngineTemp: 8 A
 SG_ T1 : 0|8@1+ (1,-40) [0|0] "degC" B
BO_ 2566844158 AnyTemp: 8 A
 SG_ T2 : 0|8@1+ (1,-40) [0|0] "degC" B
BO_ 2566843919 RetarderTemp: 8 A
 SG_ T3 : 0|8@1+ (1,-40) [0|0] "degC" B
BO_ 2565866496 Engine1: 8 A
 SG_ T4 : 0|8@1+ (1,0) [0|0] "" B
BO_ 2565866497 Engine2: 8 A
 SG_ T5 : 0|8@1+ (1,0) [0|0] "" B
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
`)
	for id, want := range map[uint32]string{
		0x18FEEE00: "EngineTemp", 0x0CFEEE00: "EngineTemp", 0x0CFEEE0F: "RetarderTemp", 0x18FEEE0F: "RetarderTemp",
		0x0CFEEEFE: "AnyTemp", 0x18FEEE21: "AnyTemp", 0x0CF00400: "Engine1", 0x0CF00401: "Engine2", 0x0CF00402: "Engine2",
	} {
		if m := db.Lookup(id, true); m == nil || m.Name != want {
			t.Errorf("%X is %+v, want %s", id, m, want)
		}
	}
}

func TestFaultsAreToldWithTheirLines(t *testing.T) {
	db, warn := compile(t, testdata(t, "faulty.dbc"))
	var got []string
	for _, w := range warn {
		got = append(got, w.String())
	}
	for _, want := range []string{
		"line 8: SG_ left out: want a length in bits",
		"line 9: SG_ B: odd unit",
		"line 10: SG_ C: odd factor and offset",
		"line 11: SG_ D: odd range",
		"line 12: SG_ E: odd unit",
		`line 13: SG_ F: odd multiplex marker "mX"`,
		"line 14: SG_ G: 0 bits",
		"line 15: SG_ H: 65 bits",
		"line 16: SG_ I: reaches byte 9",
		"line 18: BO_ left out: want a message id",
		"line 19: SG_ Orphan: belongs to no message",
		"line 20: BO_ 2048: id has more than 11 bits",
		"line 21: SG_ J: factor 0",
		"line 24: BO_ Again: id 0x64 is also that of Good",
		"SG_ P: its selectors select one another",
		`line 30: unknown statement "WHAT_IS_THIS"`,
		"line 31: CM_ SG_ 100: no signal name",
		`line 32: CM_: message Good has no signal "Nobody"`,
		"line 33: comment with a bare quote",
		"line 34: CM_: no message 999",
		"line 35: comment without its closing quote",
		"line 36: missing semicolon",
		`line 37: value "1.5" is no whole number`,
		`line 38: VAL_: no table "NoTable"`,
		"line 40: SIG_VALTYPE_: unknown type 7",
		"line 9: SG_ B: a float of 8 bits",
		"line 45: missing semicolon",
	} {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, want) }) {
			t.Errorf("no warning %q", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
	for id, want := range map[uint32][]string{
		100: {"L"}, 101: {"4WD_K"}, 102: {"P", "Q", "R"},
	} {
		m := db.Lookup(id, false)
		var names []string
		for _, s := range m.Signals {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("message %d has %q, want %q", id, names, want)
		}
	}
	first := db.Messages[0]
	values := decode(first, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	for name, want := range map[string]int64{"Long_A": 1, "B": 2, "C": 3, "D": 4, "E": 5, "F": 6} {
		if values[name] != want {
			t.Errorf("%s is %d, want %d", name, values[name], want)
		}
	}
	if s := signal(t, first, "B"); s.Factor != 0.25 || s.Unit != "unit X" {
		t.Errorf("B is %+v", s)
	}
	if m := db.Lookup(2048, true); m == nil || m.Signals[0].Physical(77) != 3 && m.Signals[0].Physical(decode(m, []byte{77})["J"]) != 3 {
		t.Errorf("message 2048 is %+v", m)
	}
}

func TestText(t *testing.T) {
	for _, tc := range []struct {
		name, text, unit string
		warned           bool
	}{
		{"UTF-8", "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"°C\" X\n", "°C", false},
		{"Windows-1252", "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\xb0C \x80\" X\n", "°C €", true},
		{"byte order mark", "\xef\xbb\xbfBO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"m\" X\n", "m", false},
		{"carriage returns", "BO_ 1 M: 8 X\r\n SG_ S : 0|8@1+ (1,0) [0|0] \"m\" X\r\n", "m", false},
		{"comments", "// one\nBO_ 1 M: 8 X // two\n SG_ S : 0|8@1+ (1,0) [0|0] \"m\" X\n", "m", false},
		{"one line", "BO_ 1 M: 8 X SG_ S : 0|8@1+ (1,0) [0|0] \"m\" X", "m", false},
		{"odd spaces", "BO_ 1 M : 8 X\nSG_ S:0|8@1+(1,0)[0|0]\"m\"X\n", "m", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db, warn := compile(t, tc.text)
			if (len(warn) != 0) != tc.warned {
				t.Errorf("warnings %v", warn)
			}
			if got := signal(t, message(t, db, "M"), "S").Unit; got != tc.unit {
				t.Errorf("unit %q, want %q", got, tc.unit)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	if _, _, err := Parse(io.LimitReader(zeros{}, MaxFileBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, _, err := Parse(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	_, warn, err := Parse(strings.NewReader(strings.Repeat("BO_ x\n", 5000)))
	if err != nil || len(warn) != MaxWarnings || !strings.Contains(warn[MaxWarnings-1].Text, "4001 more") {
		t.Errorf("%d warnings, the last %v, error %v", len(warn), warn[len(warn)-1], err)
	}
	for _, text := range []string{"", "\x00\x01\x02", "%PDF-1.4 \"", "BO_ ", "SG_", "CM_ \"", "NS_", "VAL_ 1"} {
		if _, _, err := Parse(strings.NewReader(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bitwise is the plain definition of a signal's bits, one by one.
func bitwise(data []byte, start, length int, big, signed bool) int64 {
	var u uint64
	for i := range length {
		var bit int
		if big { // from the most significant bit on
			at := start/8*8 + (7 - start%8) + i
			bit = int(data[at/8] >> (7 - at%8) & 1)
			u = u<<1 | uint64(bit)
		} else {
			at := start + i
			bit = int(data[at/8] >> (at % 8) & 1)
			u |= uint64(bit) << i
		}
	}
	if signed && length < 64 && u>>(length-1)&1 != 0 {
		u |= ^uint64(0) << length
	}
	return int64(u)
}

func TestEveryPlaceAndWidth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		size := []int{1, 8, 64, 100}[rng.IntN(4)]
		def := &SignalDef{Name: "S", shortName: "S", Start: rng.IntN(size * 8), Length: 1 + rng.IntN(64), BigEndian: rng.IntN(2) == 0, Signed: rng.IntN(2) == 0, Factor: 1}
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		db, _ := Compile(&File{Messages: []*MessageDef{{Name: "M", ID: 1, Size: size, Signals: []*SignalDef{def}}}})
		end := def.Start + def.Length
		if def.BigEndian {
			end = def.Start/8*8 + 7 - def.Start%8 + def.Length
		}
		got, ok := decode(db.Messages[0], data)["S"]
		if fits := end <= size*8; ok != fits {
			t.Fatalf("%+v in %d bytes: present %v", def, size, ok)
		}
		if ok && got != bitwise(data, def.Start, def.Length, def.BigEndian, def.Signed) {
			t.Fatalf("%+v of %x: %d, want %d", def, data, got, bitwise(data, def.Start, def.Length, def.BigEndian, def.Signed))
		}
	}
}

func TestHalfFloats(t *testing.T) {
	for bits, want := range map[uint16]float64{
		0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: 1.0 / (1 << 24), 0x0400: 1.0 / (1 << 14), 0x8000: math.Copysign(0, -1),
		0x7c00: math.Inf(1), 0xfc00: math.Inf(-1), 0x3555: 0.333251953125,
	} {
		if got := float64(math.Float32frombits(widen(bits))); got != want || math.Signbit(got) != math.Signbit(want) {
			t.Errorf("%04x is %v, want %v", bits, got, want)
		}
	}
	if got := math.Float32frombits(widen(0x7e01)); got == got {
		t.Errorf("a half NaN is %v", got)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	db, _ := compile(t, testdata(t, "features.dbc"))
	for _, m := range db.Messages {
		values, present := make([]int64, len(m.Signals)), make([]uint64, 1)
		data := make([]byte, m.Size)
		if n := testing.AllocsPerRun(50, func() { m.Decode(data, values, present) }); n != 0 {
			t.Errorf("%s: %v allocations", m.Name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(testdata(f, "features.dbc")), []byte("12345678"))
	f.Add([]byte(testdata(f, "faulty.dbc")), []byte{})
	f.Add([]byte("BO_ 1 M: 8 X\n SG_ A m0M : 0|8@1+ (1,0) [0|0] \"\" X\nSG_MUL_VAL_ 1 A A 0-9;"), []byte{1})
	f.Fuzz(func(t *testing.T, text, data []byte) {
		file, _, err := Parse(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		db, _ := Compile(file)
		for _, m := range db.Messages {
			if db.Lookup(m.ID, m.Extended) == nil {
				t.Fatalf("message %q cannot be found", m.Name)
			}
			values, present := make([]int64, len(m.Signals)), make([]uint64, (len(m.Signals)+63)/64)
			if n := m.Decode(data, values, present); n < 0 || n > len(values) {
				t.Fatalf("%d of %d values", n, len(values))
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	db, _ := compile(b, testdata(b, "features.dbc"))
	for _, name := range []string{"Little", "Big", "DeepMux", "FD64"} {
		m := message(b, db, name)
		values, present := make([]int64, len(m.Signals)), make([]uint64, 1)
		data := make([]byte, m.Size)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Decode(data, values, present)
			}
			b.ReportMetric(float64(b.N)*float64(len(m.Signals))/b.Elapsed().Seconds()/1e6, "Msignals/s")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	text := testdata(b, "features.dbc")
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		compile(b, text)
	}
}
