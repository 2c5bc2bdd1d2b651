package nmea

import (
	"bytes"
	"time"
)

// Mode is the kind of a fix.
type Mode uint8

// Modes, as GSA numbers them.
const (
	ModeUnknown Mode = 0
	ModeNone    Mode = 1 // the receiver says that it has no fix
	Mode2D      Mode = 2
	Mode3D      Mode = 3
)

// Has says which fields of a [Fix] the sentences of its instant have given.
type Has uint16

// Fields of a fix.
const (
	HasUTC Has = 1 << iota
	HasPosition
	HasAltitude
	HasSpeed
	HasCourse
	HasSatellites
	HasHDOP
	HasError
	HasGeoid
)

// Fix is what a receiver says of one instant.
type Fix struct {
	Has        Has
	Mode       Mode
	Quality    uint8 // of GGA: 1 autonomous, 2 differential, 4 and 5 RTK, 6 estimated
	UTCNS      int64 // ns since 1970
	Rollovers  int   // weeks added to the date, in units of 1,024
	LatNano    int64 // 1e-9 degrees, north
	LonNano    int64 // 1e-9 degrees, east
	AltMM      int64 // above mean sea level, mm
	GeoidMM    int64 // of the ellipsoid, mm
	SpeedMMS   int64 // over ground, mm/s
	CourseMD   int64 // 1e-3 degrees from true north
	Satellites int64 // used
	InView     int64 // of all constellations; 0: not said
	HDOPCenti  int64
	ErrorMM    int64 // standard deviation of the horizontal position (GST), mm
	ArrivalNS  int64 // boot time at which its first sentence began to come
}

// Counts is what an assembler has met.
type Counts struct {
	Sentences uint64 // taken
	Other     uint64 // of a kind that tells nothing here
	Malformed uint64 // a right checksum around fields that make no sense
	Fixes     uint64
	Rollovers uint64 // dates that were moved
}

// Assembler joins the sentences of an instant to a [Fix]. NotBefore must be set;
// it is not safe for concurrent use.
type Assembler struct {
	NotBefore time.Time // see [Resolve]
	Counts    Counts

	f         fields
	open      bool
	tod       int64 // time of day of the open instant, ns; -1: none yet
	fix       Fix
	day       time.Time // latest known date; zero: none
	lastTOD   int64     // of the instant that the date was last used for; -1: none
	views     []view    // satellites in view, by talker
	invalid   bool      // a sentence of the instant says that there is no fix
	refreshed bool      // the day came with this instant
	begun     bool
}

// Add takes the body of a sentence that came at a boot time. It returns the
// instant before when the sentence begins another one.
func (a *Assembler) Add(body []byte, arrivalNS int64) (fix Fix, ok bool) {
	if !a.begun {
		a.begun, a.tod, a.lastTOD = true, -1, -1
	}
	a.f.cut(body)
	kind := a.f.at(0)
	if len(kind) != 5 || kind[0] == 'P' {
		a.Counts.Other++
		return Fix{}, false
	}
	todField := 0
	switch string(kind[2:]) {
	case "RMC", "GGA", "GNS", "GST", "ZDA":
		todField = 1
	case "GLL":
		todField = 5
	case "VTG", "GSA", "GSV":
	default:
		a.Counts.Other++
		return Fix{}, false
	}
	timed := todField != 0 && len(a.f.at(todField)) > 0
	if todField != 0 && !timed && a.void(string(kind[2:])) {
		// No fix and no time: it does not speak of the instant before.
		a.Counts.Sentences++
		return a.Flush()
	}
	if timed {
		tod, good := parseTOD(a.f.at(todField))
		if !good {
			a.Counts.Malformed++
			return Fix{}, false
		}
		if a.open && tod != a.tod {
			fix, ok = a.Flush()
		}
		a.begin(tod, arrivalNS)
	}
	if a.take(string(kind[2:]), kind) {
		a.Counts.Sentences++
	} else {
		a.Counts.Malformed++
	}
	return fix, ok
}

// void reports a sentence that says that there is no fix.
func (a *Assembler) void(kind string) bool {
	switch kind {
	case "RMC":
		return a.f.letter(2) != 'A'
	case "GGA":
		q := a.f.letter(6)
		return q == '0' || q == 0
	case "GNS":
		return len(bytes.Trim(a.f.at(6), "N")) == 0
	case "GLL":
		return a.f.letter(6) == 'V'
	}
	return false
}

func (a *Assembler) begin(tod, arrivalNS int64) {
	if a.open {
		return
	}
	a.open, a.tod = true, tod
	a.fix = Fix{ArrivalNS: arrivalNS, Mode: a.fix.Mode}
	a.invalid, a.refreshed = false, false
}

// Flush ends the open instant and returns it, if there is one: to be called when
// the receiver has fallen silent after its sentences. What comes later for the
// same instant makes a fix of its own.
func (a *Assembler) Flush() (Fix, bool) {
	if !a.open {
		return Fix{}, false
	}
	a.open = false
	f := a.fix
	if !a.day.IsZero() {
		// Where only sentences without a date follow, midnight moves it on.
		if !a.refreshed && a.lastTOD >= 0 && a.tod < a.lastTOD-int64(12*time.Hour) {
			a.day = a.day.AddDate(0, 0, 1)
		}
		t, n := Resolve(a.day.Add(time.Duration(a.tod)), a.NotBefore)
		f.UTCNS, f.Rollovers = t.UnixNano(), n
		f.Has |= HasUTC
		if n > 0 {
			a.Counts.Rollovers++
		}
		a.lastTOD = a.tod
	}
	switch {
	case a.invalid || f.Has&HasPosition == 0:
		f.Has &^= HasPosition | HasAltitude | HasSpeed | HasCourse
		f.Mode = ModeNone
	case f.Mode < Mode2D && f.Has&HasAltitude != 0:
		f.Mode = Mode3D
	case f.Mode < Mode2D:
		f.Mode = Mode2D
	}
	f.InView = a.inView()
	a.Counts.Fixes++
	return f, true
}

// take reads a sentence into the open instant. It reports false for fields that
// make no sense.
func (a *Assembler) take(kind string, talker []byte) bool {
	switch kind {
	case "RMC":
		return a.rmc()
	case "GGA":
		return a.gga()
	case "GNS":
		return a.gns()
	case "GLL":
		return a.gll()
	case "VTG":
		a.course(1)
		if v, ok := a.f.fixed(7, 6); ok { // km/h
			a.speed((v + 1800) / 3600)
		} else if v, ok := a.f.fixed(5, 6); ok {
			a.speed(knots(v))
		}
	case "GSA":
		if v, ok := a.f.fixed(2, 0); ok && v >= 1 && v <= 3 {
			a.fix.Mode = Mode(v)
		}
		if v, ok := a.f.fixed(16, 2); ok && a.open && a.fix.Has&HasHDOP == 0 {
			a.fix.HDOPCenti = v
			a.fix.Has |= HasHDOP
		}
	case "GSV":
		if v, ok := a.f.fixed(3, 0); ok && v >= 0 && v < maxInAView {
			a.see(talker[:2], uint8(v))
		}
	case "GST":
		lat, ok1 := a.f.fixed(6, 3)
		lon, ok2 := a.f.fixed(7, 3)
		if ok1 && ok2 && lat >= 0 && lon >= 0 {
			a.fix.ErrorMM = max(lat, lon)
			a.fix.Has |= HasError
		}
	case "ZDA":
		d, ok1 := a.f.fixed(2, 0)
		m, ok2 := a.f.fixed(3, 0)
		y, ok3 := a.f.fixed(4, 0)
		if t, good := date(int(y), int(m), int(d)); good && ok1 && ok2 && ok3 {
			a.day, a.refreshed = t, true
		}
	}
	return true
}

func (a *Assembler) rmc() bool {
	if len(a.f.list) < 10 {
		return false
	}
	if t, ok := parseDate(a.f.at(9)); ok {
		a.day, a.refreshed = t, true
	}
	if a.f.letter(2) != 'A' {
		a.invalid = true
		return true
	}
	if !a.position(3) {
		return false
	}
	if v, ok := a.f.fixed(7, 6); ok {
		a.speed(knots(v))
	}
	a.course(8)
	return true
}

func (a *Assembler) gga() bool {
	if len(a.f.list) < 10 {
		return false
	}
	q, ok := a.f.fixed(6, 0)
	if !ok || q <= 0 || q > 9 {
		a.invalid = a.invalid || ok && q == 0
		return true
	}
	if !a.position(2) {
		return false
	}
	a.fix.Quality = uint8(q)
	a.heights(7)
	return true
}

func (a *Assembler) gns() bool {
	if len(a.f.list) < 10 {
		return false
	}
	valid := false
	for _, c := range a.f.at(6) {
		valid = valid || c != 'N'
	}
	if !valid {
		a.invalid = true
		return true
	}
	if !a.position(2) {
		return false
	}
	a.heights(7)
	return true
}

// heights reads satellites, HDOP, altitude and geoid from field i on.
func (a *Assembler) heights(i int) {
	if v, ok := a.f.fixed(i, 0); ok && v >= 0 {
		a.fix.Satellites = v
		a.fix.Has |= HasSatellites
	}
	if v, ok := a.f.fixed(i+1, 2); ok && v >= 0 {
		a.fix.HDOPCenti = v
		a.fix.Has |= HasHDOP
	}
	if v, ok := a.f.fixed(i+2, 3); ok {
		a.fix.AltMM = v
		a.fix.Has |= HasAltitude
	}
	geoid := i + 3
	if a.f.letter(geoid) == 'M' {
		geoid++ // GGA names the unit between, GNS does not
	}
	if v, ok := a.f.fixed(geoid, 3); ok {
		a.fix.GeoidMM = v
		a.fix.Has |= HasGeoid
	}
}

func (a *Assembler) gll() bool {
	if a.f.letter(6) != 'A' {
		a.invalid = a.invalid || a.f.letter(6) == 'V'
		return true
	}
	return a.position(1)
}

func (a *Assembler) position(i int) bool {
	lat, ok1 := angle(a.f.at(i), a.f.letter(i+1), 'N', 'S', 90e9)
	lon, ok2 := angle(a.f.at(i+2), a.f.letter(i+3), 'E', 'W', 180e9)
	if !ok1 || !ok2 {
		return false
	}
	a.fix.LatNano, a.fix.LonNano = lat, lon
	a.fix.Has |= HasPosition
	return true
}

func (a *Assembler) speed(mms int64) {
	if a.open && mms >= 0 && mms < 1e8 {
		a.fix.SpeedMMS = mms
		a.fix.Has |= HasSpeed
	}
}

func (a *Assembler) course(i int) {
	if v, ok := a.f.fixed(i, 3); ok && a.open && v >= 0 && v <= 360_000 {
		a.fix.CourseMD = v
		a.fix.Has |= HasCourse
	}
}

// knots returns mm/s of 1e-6 knots: a knot is 1852 m in an hour.
func knots(micro int64) int64 {
	if micro < 0 || micro > 1e12 {
		return -1
	}
	return (micro*1852 + 1_800_000) / 3_600_000
}
