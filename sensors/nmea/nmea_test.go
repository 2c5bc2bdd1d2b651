package nmea

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// whole returns a whole sentence around body.
func whole(body string) string { return string(Append(nil, []byte(body))) }

func TestNext(t *testing.T) {
	const body = "GPGLL,4717.11,N,00833.91,E,131110,A"
	good := whole(body)
	for _, c := range []struct {
		name, in string
		tok      Token
		n        int
	}{
		{"whole", good, Good, len(good) - 2},
		{"small hexadecimal digits", strings.ToLower(good[len(good)-4:]) + "", NeedMore, 0},
		{"cut by the next one", good[:len(good)-2] + "$GP", Good, len(good) - 2},
		{"cut in the middle", "$GPGLL,4717" + good, Bad, 11},
		{"cut behind the star", "$GPGLL,1*" + good, Bad, 9},
		{"cut behind the first digit", "$GPGLL,1*0\r", Bad, 9},
		{"digits to come", "$GPGLL,1*0", NeedMore, 0},
		{"no end yet", good[:20], NeedMore, 0},
		{"wrong checksum", "$GPGLL,1*00\r\n", Bad, 9},
		{"no checksum", "$GPGLL,1\r\n", Bad, 8},
		{"line noise", "$GPGLL,\x80717", Bad, 7},
		{"too long", "$" + strings.Repeat("A", MaxSentence), Bad, MaxSentence},
		{"encapsulated", "!" + good[1:], Good, len(good) - 2},
		{"dollar alone", "$", NeedMore, 0},
		{"digits that are none", "$GPGLL,1*G0\r\n", Bad, 9},
	} {
		in := c.in
		if c.name == "small hexadecimal digits" {
			in = good[:len(good)-4] + c.in
			c.tok, c.n = Good, len(good)-2
		}
		tok, got, n := Next([]byte(in))
		if tok != c.tok || n != c.n || tok == Good && string(got) != body {
			t.Errorf("%s: %d %q %d, want %d %d", c.name, tok, got, n, c.tok, c.n)
		}
	}
}

// run feeds bodies and returns all instants.
func run(t *testing.T, bodies ...string) ([]Fix, Counts) {
	t.Helper()
	a := Assembler{NotBefore: DefaultNotBefore}
	var out []Fix
	for i, b := range bodies {
		if f, ok := a.Add([]byte(b), int64(i+1)); ok {
			out = append(out, f)
		}
	}
	if f, ok := a.Flush(); ok {
		out = append(out, f)
	}
	return out, a.Counts
}

func utc(y int, m time.Month, d, h, min, s, ns int) int64 {
	return time.Date(y, m, d, h, min, s, ns, time.UTC).UnixNano()
}

func TestOneInstantOfManySentences(t *testing.T) {
	got, counts := run(t,
		"GNRMC,055234.200,A,4739.71890,N,12219.58362,W,10.00,286.35,050826,,,A,V",
		"GNVTG,286.35,T,,M,10.00,N,18.52,K,A",
		"GNGGA,055234.200,4739.71890,N,12219.58362,W,2,14,0.9,76.5,M,-21.6,M,,",
		"GNGLL,4739.71890,N,12219.58362,W,055234.200,A,A",
		"GNGSA,A,3,02,07,,,,,,,,,,,1.5,0.9,1.2,1",
		"GPGSV,3,1,12,14,79,041,29", "GLGSV,3,1,10,74,52,302,", "BDGSV,1,1,03,13,19,043,17",
		"GNGST,055234.200,1.2,,,,0.8,1.1,2.0", "GNZDA,055234.200,05,08,2026,00,00",
	)
	if len(got) != 1 {
		t.Fatalf("%d instants, want 1: %+v", len(got), got)
	}
	want := Fix{
		Has:  HasUTC | HasPosition | HasAltitude | HasSpeed | HasCourse | HasSatellites | HasHDOP | HasError | HasGeoid,
		Mode: Mode3D, Quality: 2, UTCNS: utc(2026, 8, 5, 5, 52, 34, 200e6), LatNano: 47_661_981_667, LonNano: -122_326_393_667,
		AltMM: 76_500, GeoidMM: -21_600, SpeedMMS: 5144, CourseMD: 286_350, Satellites: 14, InView: 25, HDOPCenti: 90,
		ErrorMM: 1100, ArrivalNS: 1,
	}
	if got[0] != want {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
	if counts.Sentences != 10 || counts.Malformed != 0 || counts.Fixes != 1 {
		t.Errorf("counts %+v", counts)
	}
}

// TestSatellitesInView adds up talkers that speak, and forgets those that have
// fallen silent.
func TestSatellitesInView(t *testing.T) {
	const pos = ",A,4719.9737,N,00749.2639,E,1,2,311225,,,A"
	got, _ := run(t,
		"GPGSV,1,1,09,,,,",                                         // before any time
		"GPRMC,235940"+pos, "GAGSV,1,1,05,,,,", "BDGSV,1,1,04,,,,", // these two differ in both letters, and not in their sum
		"GPRMC,235950"+pos, "GPGSV,1,1,08,,,,", "GAGSV,1,1,05,,,,", "BDGSV,1,1,02,,,,",
		"GPRMC,000009"+pos, "GPGSV,1,1,07,,,,", // over midnight
		"GPRMC,000021"+pos, // the others have been silent for 31 s
		"GPRMC,000041"+pos,
	)
	for i, want := range []int64{18, 15, 14, 7, 0} {
		if i >= len(got) || got[i].InView != want {
			t.Fatalf("instant %d: %+v, want %d in view", i, got, want)
		}
	}
}

func TestInstants(t *testing.T) {
	const pos = "4719.9737,N,00749.2639,E"
	for _, c := range []struct {
		name   string
		bodies []string
		utc    []int64
		located,
		malformed int
	}{
		{
			"midnight with dates",
			[]string{"GPRMC,235959.800,A," + pos + ",1,2,311225,,,A", "GPRMC,000000.000,A," + pos + ",1,2,010126,,,A"},
			[]int64{utc(2025, 12, 31, 23, 59, 59, 800e6), utc(2026, 1, 1, 0, 0, 0, 0)},
			2, 0,
		},
		{
			"midnight without a date",
			[]string{"GPRMC,235959,A," + pos + ",1,2,311225,,,A", "GPGGA,000000," + pos + ",1,7,1.6,533.4,M,48.0,M,,", "GPGGA,000001," + pos + ",1,7,1.6,533.4,M,48.0,M,,"},
			[]int64{utc(2025, 12, 31, 23, 59, 59, 0), utc(2026, 1, 1, 0, 0, 0, 0), utc(2026, 1, 1, 0, 0, 1, 0)},
			3, 0,
		},
		{
			"week rollover, as gpsd moves it",
			[]string{"GPRMC,112226.041,A," + pos + ",0.00,,030410,,,A"},
			[]int64{utc(2029, 11, 17, 11, 22, 26, 41e6)},
			1, 0,
		},
		{
			"two rollovers",
			[]string{"GPRMC,120005,A," + pos + ",0.00,,010185,,,A"},
			[]int64{utc(2024, 4, 2, 12, 0, 5, 0)},
			1, 0,
		},
		{"no date at all", []string{"GPGGA,112228.037," + pos + ",1,07,1.6,533.4,M,48.0,M,,"}, []int64{0}, 1, 0},
		{"void", []string{"GPRMC,112227.037,V,,,,,,,030426,,,N"}, []int64{utc(2026, 4, 3, 11, 22, 27, 37e6)}, 0, 0},
		{
			"void beside a position of before",
			[]string{"GPRMC,112227.037,V," + pos + ",,,030426,,,N", "GPGGA,112227.037," + pos + ",0,00,,,M,,M,,"},
			[]int64{utc(2026, 4, 3, 11, 22, 27, 37e6)},
			0, 0,
		},
		{
			"a fix is lost, and the time with it",
			[]string{"GPGGA,112227," + pos + ",1,7,1.6,533.4,M,48.0,M,,", "GPRMC,112227,A," + pos + ",1,2,030426,,,A", "GPVTG,,T,,M,,N,,K,N", "GPGSA,A,1,,,,,,,,,,,,,,,,", "GPGGA,,,,,,0,,,,,,,,", "GPRMC,,V,,,,,,,,,,N"},
			[]int64{utc(2026, 4, 3, 11, 22, 27, 0)},
			1, 0,
		},
		{"a position without a time, as of old", []string{"GPRMC,112227,A," + pos + ",1,2,030426,,,A", "GPGLL," + pos + ",,A", "GPGGA,112227," + pos + ",1,7,1.6,533.4,M,48.0,M,,"}, []int64{utc(2026, 4, 3, 11, 22, 27, 0)}, 1, 0},
		{"no time", []string{"GPRMC,,V,,,,,,,,,,N"}, nil, 0, 0},
		{"time that is none", []string{"GPRMC,253027.037,A," + pos + ",1,2,030426,,,A"}, nil, 0, 1},
		{"minutes that are none", []string{"GPRMC,112227,A,4760.0000,N,00749.2639,E,1,2,030426,,,A"}, []int64{utc(2026, 4, 3, 11, 22, 27, 0)}, 0, 1},
		{"latitude beyond the pole", []string{"GPRMC,112227,A,9000.0001,N,00749.2639,E,1,2,030426,,,A"}, []int64{utc(2026, 4, 3, 11, 22, 27, 0)}, 0, 1},
		{"day that is none", []string{"GPRMC,112227,A," + pos + ",1,2,310226,,,A"}, []int64{0}, 1, 0},
		{"leap second", []string{"GPRMC,235960.500,A," + pos + ",1,2,311225,,,A"}, []int64{utc(2026, 1, 1, 0, 0, 0, 500e6)}, 1, 0},
		{"southern, western, GNS", []string{"GNRMC,112227,V,,,,,,,030426,,,N", "GNGNS,112228," + "3644.759368,S,17444.072860,W,ANNN,07,1.1,56.1,37.0,,"}, []int64{utc(2026, 4, 3, 11, 22, 27, 0), utc(2026, 4, 3, 11, 22, 28, 0)}, 1, 0},
		{"proprietary and foreign", []string{"PSRF151,3,1577,55936,0x3D92CBF7", "GPXTE,A,A,0.67,L,N", "PUBX,00,1"}, nil, 0, 0},
	} {
		got, counts := run(t, c.bodies...)
		located := 0
		if len(got) != len(c.utc) {
			t.Errorf("%s: %d instants, want %d", c.name, len(got), len(c.utc))
			continue
		}
		for i, f := range got {
			if f.UTCNS != c.utc[i] {
				t.Errorf("%s: instant %d is at %v, want %v", c.name, i, time.Unix(0, f.UTCNS).UTC(), time.Unix(0, c.utc[i]).UTC())
			}
			if f.Has&HasPosition != 0 {
				located++
			}
		}
		if located != c.located || int(counts.Malformed) != c.malformed {
			t.Errorf("%s: %d positions, %d malformed, want %d and %d", c.name, located, counts.Malformed, c.located, c.malformed)
		}
	}
}

func TestFixed(t *testing.T) {
	for _, c := range []struct {
		in       string
		decimals int
		want     int64
		ok       bool
	}{
		{"1", 3, 1000, true},
		{"1.5", 3, 1500, true},
		{"1.23456", 3, 1235, true},
		{"1.23449", 3, 1234, true},
		{"-0.0005", 3, -1, true},
		{"+7", 0, 7, true},
		{"0.5", 0, 1, true},
		{".5", 1, 5, true},
		{"", 1, 0, false},
		{"-", 1, 0, false},
		{".", 1, 0, false},
		{"1.2.3", 1, 0, false},
		{"1e5", 1, 0, false},
		{"99999999999999999999", 0, 0, false},
		{"999999999999", 9, 0, false},
	} {
		if got, ok := fixed([]byte(c.in), c.decimals); got != c.want || ok != c.ok {
			t.Errorf("%q with %d decimals: %d %t, want %d %t", c.in, c.decimals, got, ok, c.want, c.ok)
		}
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(whole("GPRMC,112226.041,A,4719.9736,N,00749.2625,E,0.00,,030410,,,A") + "$GPG" + whole("GPGGA,112228.037,4719.9584,N,00749.2468,E,1,07,1.6,533.4,M,48.0,M,,0000")))
	f.Add([]byte(whole("GNGNS,112228,3644.759368,S,17444.072860,W,ANNN,07,1.1,56.1,37.0,,") + whole("GNZDA,055234.000,05,08,2026,00,00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Assembler{NotBefore: DefaultNotBefore}
		check := func(x Fix) {
			if x.Has&HasPosition != 0 && (max(x.LatNano, -x.LatNano) > 90e9 || max(x.LonNano, -x.LonNano) > 180e9) {
				t.Fatalf("a position beyond the globe: %+v", x)
			}
			if x.Has&HasUTC != 0 && x.UTCNS < DefaultNotBefore.UnixNano() {
				t.Fatalf("a time before all times: %+v", x)
			}
		}
		for len(b) > 0 {
			if b[0] != '$' {
				b = b[1:]
				continue
			}
			tok, body, n := Next(b)
			if tok == NeedMore {
				break
			}
			if n < 1 || n > MaxSentence {
				t.Fatalf("took %d bytes", n)
			}
			if tok == Good {
				again := Append(nil, body)
				if tok2, body2, _ := Next(again); tok2 != Good || !bytes.Equal(body, body2) {
					t.Fatalf("%q does not come back", body)
				}
				if x, ok := a.Add(body, 1); ok {
					check(x)
				}
			}
			b = b[n:]
		}
		if x, ok := a.Flush(); ok {
			check(x)
		}
	})
}
