package gnss

import (
	"telemetry/sensors/nmea"
	"telemetry/sensors/ubx"
	"telemetry/wire"
)

// Columns of the one group, in order: what stands in a row.
const (
	colUTC = iota
	colLat
	colLon
	colAlt
	colSpeed
	colCourse
	colClimb
	colFix
	colSatellites
	colInView
	colHDOP
	colPDOP
	colHAcc
	colVAcc
	colSAcc
	colTAcc
	colDelay
	columns
)

// fix is one row in the making.
type fix struct {
	values  [columns]int64
	present uint64
	utc     int64 // ns since 1970; 0: not known
	utcOK   bool  // and it is right to the second
	located bool
	accNS   int64 // of utc as the receiver says; 0: it says nothing
	arrival int64
}

func (f *fix) set(col int, v int64) {
	f.values[col] = v
	f.present |= 1 << col
}

// group describes the row.
func group(rateMilliHz uint64) wire.Group {
	ch := func(name, unit, text string, scale float64) wire.Channel {
		return wire.Channel{Name: "gnss_" + name, Unit: unit, Description: text, Type: wire.TypeInt, Scale: scale}
	}
	g := wire.Group{Name: "gnss", Lane: wire.LaneFull, RateMilliHz: rateMilliHz, Channels: []wire.Channel{
		colUTC:        ch("utc", "ns", "time of the fix, since 1970 UTC", 1),
		colLat:        ch("lat", "deg", "latitude, north", 1e-9),
		colLon:        ch("lon", "deg", "longitude, east", 1e-9),
		colAlt:        ch("alt", "m", "height above mean sea level", 1e-3),
		colSpeed:      ch("speed", "m/s", "speed over ground", 1e-3),
		colCourse:     ch("course", "deg", "course over ground from true north", 1e-5),
		colClimb:      ch("climb", "m/s", "vertical speed, up", 1e-3),
		colFix:        ch("fix", "", "kind of fix", 1),
		colSatellites: ch("satellites", "", "satellites used", 1),
		colInView:     ch("in_view", "", "satellites in view, all constellations", 1),
		colHDOP:       ch("hdop", "", "horizontal dilution of precision", 1e-2),
		colPDOP:       ch("pdop", "", "dilution of precision in space", 1e-2),
		colHAcc:       ch("h_acc", "m", "horizontal accuracy, as estimated by the receiver", 1e-3),
		colVAcc:       ch("v_acc", "m", "vertical accuracy", 1e-3),
		colSAcc:       ch("s_acc", "m/s", "accuracy of the speed", 1e-3),
		colTAcc:       ch("t_acc", "ns", "accuracy of the time", 1),
		colDelay:      ch("delay", "ms", "from the fix to its arrival, as far as the clocks tell", 1e-6),
	}}
	g.Channels[colFix].Enum = []wire.EnumValue{
		{Raw: fixNone, Name: "none"},
		{Raw: fixEstimated, Name: "estimated"},
		{Raw: fix2D, Name: "2d"},
		{Raw: fix3D, Name: "3d"},
		{Raw: fixDifferential, Name: "differential"},
		{Raw: fixRTKFloat, Name: "rtk_float"},
		{Raw: fixRTK, Name: "rtk"},
	}
	return g
}

// Kinds of fix in the data: only appended to.
const (
	fixNone = iota
	fixEstimated
	fix2D
	fix3D
	fixDifferential
	fixRTKFloat
	fixRTK
)

func fromNMEA(n *nmea.Fix) fix {
	f := fix{utc: n.UTCNS, utcOK: n.Has&nmea.HasUTC != 0, located: n.Has&nmea.HasPosition != 0, arrival: n.ArrivalNS}
	if f.utcOK {
		f.set(colUTC, n.UTCNS)
	}
	f.set(colFix, kindNMEA(n))
	put := func(has nmea.Has, col int, v int64) {
		if n.Has&has != 0 {
			f.set(col, v)
		}
	}
	put(nmea.HasPosition, colLat, n.LatNano)
	put(nmea.HasPosition, colLon, n.LonNano)
	put(nmea.HasAltitude, colAlt, n.AltMM)
	put(nmea.HasSpeed, colSpeed, n.SpeedMMS)
	put(nmea.HasCourse, colCourse, n.CourseMD*100)
	put(nmea.HasSatellites, colSatellites, n.Satellites)
	put(nmea.HasHDOP, colHDOP, n.HDOPCenti)
	put(nmea.HasError, colHAcc, n.ErrorMM)
	if n.InView > 0 {
		f.set(colInView, n.InView)
	}
	return f
}

func kindNMEA(n *nmea.Fix) int64 {
	switch {
	case n.Has&nmea.HasPosition == 0:
		return fixNone
	case n.Quality == 6:
		return fixEstimated
	case n.Quality == 5:
		return fixRTKFloat
	case n.Quality == 4:
		return fixRTK
	case n.Quality == 2:
		return fixDifferential
	case n.Mode == nmea.Mode2D:
		return fix2D
	}
	return fix3D
}

func fromPVT(p *ubx.PVT, utcNS, arrival int64) fix {
	f := fix{arrival: arrival, located: p.Located()}
	if !p.Time.IsZero() {
		f.utc, f.utcOK, f.accNS = utcNS, p.Resolved(), int64(p.AccuracyNS)
		f.set(colUTC, f.utc)
		f.set(colTAcc, f.accNS)
	}
	f.set(colFix, kindPVT(p))
	f.set(colSatellites, int64(p.Satellites))
	f.set(colPDOP, int64(p.PDOPCenti))
	if !f.located {
		return f
	}
	f.set(colLat, int64(p.Lat)*100)
	f.set(colLon, int64(p.Lon)*100)
	f.set(colAlt, int64(p.MSLMM))
	f.set(colSpeed, int64(p.SpeedMMS))
	f.set(colCourse, int64(p.CourseE5))
	f.set(colClimb, -int64(p.DownMMS))
	f.set(colHAcc, int64(p.HAccMM))
	f.set(colVAcc, int64(p.VAccMM))
	f.set(colSAcc, int64(p.SAccMMS))
	return f
}

func kindPVT(p *ubx.PVT) int64 {
	switch {
	case !p.Located():
		return fixNone
	case !p.OK():
		return fixEstimated
	case p.Flags>>6 == 2:
		return fixRTK
	case p.Flags>>6 == 1:
		return fixRTKFloat
	case p.FixType == 2:
		return fix2D
	case p.Flags&2 != 0:
		return fixDifferential
	}
	return fix3D
}
