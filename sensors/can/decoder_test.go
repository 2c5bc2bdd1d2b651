package can

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

func database(t testing.TB, text string) *dbc.Database {
	t.Helper()
	file, _, err := dbc.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	return db
}

const engineDBC = `
BO_ 256 Engine: 4 ECU
 SG_ RPM : 0|16@1+ (0.5,0) [0|12000] "rpm" X
 SG_ Temp : 16|8@1- (1,40) [0|0] "degC" X
 SG_ On : 24|1@1+ (1,0) [0|1] "" X
BO_ 257 Muxed: 3 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" X
 SG_ A m0 : 8|8@1+ (1,0) [0|0] "" X
 SG_ B m1 : 8|8@1+ (1,0) [0|0] "" X
 SG_ C m1 : 16|8@1+ (1,0) [0|0] "" X
BO_ 258 Nothing: 0 ECU
BO_ 2566844926 Vehicle: 8 ECU
 SG_ Speed : 8|16@1+ (0.00390625,0) [0|250] "km/h" X
VAL_ 256 On 0 "off" 1 "on" ;
CM_ SG_ 256 RPM "engine speed";
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_ "VFrameFormat" BO_ 2566844926 3;
`

// table is a sink that writes down what it takes: "group tick a b -".
type table struct {
	groups []wire.Group
	lines  []string
	err    error
}

func (s *table) Append(r sensors.Rows) error {
	if err := r.Check(s.groups); err != nil {
		return err
	}
	width := len(s.groups[r.Group].Channels)
	for i, tick := range r.Ticks {
		line := fmt.Sprintf("%s %d", s.groups[r.Group].Name, tick)
		for k := range width {
			if sensors.Bit(r.Present, i*width+k) {
				line += fmt.Sprintf(" %d", r.Values[i*width+k])
			} else {
				line += " -"
			}
		}
		s.lines = append(s.lines, line)
	}
	return s.err
}

func (s *table) Event(wire.Event) error { return s.err }

func counter(t *testing.T, h sensors.Health, name string) uint64 {
	t.Helper()
	for _, c := range h.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no counter %q", name)
	return 0
}

func add(t *testing.T, d *Decoder, tick int64, line string) {
	t.Helper()
	var f Frame
	if err := ParseLine([]byte("(1.0) "+line), &f); err != nil {
		t.Fatal(err)
	}
	d.Add(&f, tick)
}

func TestDecoderRows(t *testing.T) {
	d, err := NewDecoder([]Bus{{Databases: []*dbc.Database{database(t, engineDBC)}}})
	if err != nil {
		t.Fatal(err)
	}
	out := &table{groups: d.Groups()}
	add(t, d, 10, "can0 100#10270001")
	add(t, d, 11, "can0 101#0005")       // page 0; C would be beyond the frame anyway
	add(t, d, 12, "can0 101#010607")     // page 1
	add(t, d, 13, "can0 100#1027")       // short: RPM only
	add(t, d, 12, "can0 100#00008000")   // before the row above
	add(t, d, 14, "can0 100#0000FF01AA") // longer than stated
	add(t, d, 15, "can0 18FEF117#FF00640000000000")
	add(t, d, 15, "can0 123#00")
	add(t, d, 15, "can0 123#00")
	add(t, d, 15, "can0 00000100#00") // extended: another id
	add(t, d, 15, "can1 100#00")
	add(t, d, 15, "can0 20000080#00")
	add(t, d, 15, "can0 100#R4")
	add(t, d, 15, "can0 101#")
	add(t, d, 15, "can0 102#")
	if d.Pending() != 7 {
		t.Errorf("%d rows wait", d.Pending())
	}
	if err := d.Flush(out); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Engine 10 10000 0 1", "Engine 13 10000 - -", "Engine 13 0 -128 0", "Engine 14 0 -1 1",
		"Muxed 11 0 5 - -", "Muxed 12 1 - 6 7", "Vehicle 15 25600",
	}
	if !reflect.DeepEqual(out.lines, want) {
		t.Errorf("got  %q\nwant %q", out.lines, want)
	}
	for name, n := range map[string]uint64{
		"frames": 15, "rows": 7, "values": 16, "frames_unknown": 3, "frames_unmapped": 1, "frames_error": 1,
		"frames_remote": 1, "frames_length": 4, "frames_empty": 2, "frames_cut": 0, "ticks_raised": 1,
	} {
		if got := counter(t, d, name); got != n {
			t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
	unknown := []UnknownID{{"can0", 0x123, false, 2}, {"can0", 0x100, true, 1}}
	if got := d.Unknown(5); !reflect.DeepEqual(got, unknown) {
		t.Errorf("unknown ids %+v", got)
	}
	if err := d.Flush(out); err != nil || len(out.lines) != 7 {
		t.Errorf("a second flush gave %d rows, %v", len(out.lines)-7, err)
	}
}

func TestDecoderCatalogue(t *testing.T) {
	d, err := NewDecoder([]Bus{{Databases: []*dbc.Database{database(t, engineDBC)}}})
	if err != nil {
		t.Fatal(err)
	}
	g := d.Groups()[0]
	want := []wire.Channel{
		{Name: "RPM", Unit: "rpm", Description: "engine speed", Type: wire.TypeUint, Bits: 16, Scale: 0.5, Max: 12000},
		{Name: "Temp", Unit: "degC", Type: wire.TypeInt, Bits: 8, Scale: 1, Offset: 40},
		{Name: "On", Type: wire.TypeUint, Bits: 1, Scale: 1, Max: 1, Enum: []wire.EnumValue{{Raw: 0, Name: "off"}, {Raw: 1, Name: "on"}}},
	}
	if g.Name != "Engine" || g.Lane != wire.LaneFull || g.RateMilliHz != 0 || !reflect.DeepEqual(g.Channels, want) {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
	if len(d.Groups()) != 3 {
		t.Errorf("%d groups: a message without signals has none", len(d.Groups()))
	}
}

func TestNamesAreUnique(t *testing.T) {
	one := database(t, "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ Own : 8|8@1+ (1,0) [0|0] \"\" X\nBO_ 2 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n")
	two := database(t, "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\nBO_ 3 N: 8 X\n SG_ Else : 0|8@1+ (1,0) [0|0] \"\" X\n")
	d, err := NewDecoder([]Bus{{Name: "", Databases: []*dbc.Database{one, one}}, {Name: "can1", Databases: []*dbc.Database{two}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range d.Groups() {
		line := g.Name + ":"
		for _, c := range g.Channels {
			line += " " + c.Name
		}
		got = append(got, line)
	}
	want := []string{"M: M.S Own", "M#2: M#2.S", "can1.M: can1.M.S", "N: Else"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if _, err := NewDecoder([]Bus{{Name: "can0"}, {Name: "can0"}}); err == nil {
		t.Error("an interface was taken twice")
	}
}

func TestUnnamedDatabaseIsOfTheFirstInterface(t *testing.T) {
	db := database(t, engineDBC)
	other := database(t, "BO_ 512 Other: 1 X\n SG_ O : 0|8@1+ (1,0) [0|0] \"\" X\n")
	d, err := NewDecoder([]Bus{{Databases: []*dbc.Database{db}}, {Name: "can1", Databases: []*dbc.Database{other}}})
	if err != nil {
		t.Fatal(err)
	}
	out := &table{groups: d.Groups()}
	add(t, d, 1, "can1 20000080#00")  // an error frame tells it as well
	add(t, d, 1, "can1 100#00000000") // the first interface: both databases hold
	add(t, d, 2, "can1 200#07")
	add(t, d, 3, "can0 100#00000000")
	if err := d.Flush(out); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Engine 1 0 0 0", "Other 2 7"}; !reflect.DeepEqual(out.lines, want) {
		t.Errorf("got %q", out.lines)
	}
	if counter(t, d, "frames_unmapped") != 1 {
		t.Error("can0 has no database")
	}
}

// Presence bits must be right at every offset, however wide the message.
func TestPresenceAcrossWords(t *testing.T) {
	for _, width := range []int{1, 3, 63, 64, 65, 130} {
		var text strings.Builder
		fmt.Fprintf(&text, "BO_ 1 W: 64 X\n")
		for i := range width {
			fmt.Fprintf(&text, " SG_ S%d : %d|1@1+ (1,0) [0|0] \"\" X\n", i, i*8%512+i*8/512)
		}
		d, err := NewDecoder([]Bus{{Databases: []*dbc.Database{database(t, text.String())}}})
		if err != nil {
			t.Fatal(err)
		}
		out := &table{groups: d.Groups()}
		for row := range 70 {
			f := Frame{Bus: "can0", ID: 1, FD: true, Len: 64}
			if row > 1 {
				f.Len = uint8(1 + row%64)
			}
			d.Add(&f, int64(row))
		}
		if err := d.Flush(out); err != nil {
			t.Fatal(err)
		}
		for row, line := range out.lines {
			n := 64
			if row > 1 {
				n = 1 + row%64
			}
			for i, v := range strings.Fields(line)[2:] {
				if want := i%64 < n; (v == "0") != want {
					t.Fatalf("width %d row %d signal %d: %q, in the frame: %v", width, row, i, v, want)
				}
			}
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	d, err := NewDecoder([]Bus{{Databases: []*dbc.Database{database(b, engineDBC)}}})
	if err != nil {
		b.Fatal(err)
	}
	out := &discard{}
	f := Frame{Bus: "can0", ID: 0x100, Len: 4}
	b.ReportAllocs()
	tick := int64(0)
	for b.Loop() {
		tick++
		d.Add(&f, tick)
		if d.Pending() == 64 {
			if err := d.Flush(out); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type discard struct{ rows, values int }

func (d *discard) Append(r sensors.Rows) error {
	d.rows += len(r.Ticks)
	d.values += len(r.Values)
	return nil
}
func (d *discard) Event(wire.Event) error { return nil }
