package nmea

import "time"

// Weeks are counted modulo 1024 by the satellites of old: a receiver that has
// lost count is off by a multiple of this.
const rollover = 1024 * 7 * 24 * time.Hour

// DefaultNotBefore is the earliest day that is believed: that of the latest leap
// second. A date before it has lost a week rollover and is moved on by 1,024
// weeks until it is not, which is what gpsd does.
var DefaultNotBefore = time.Date(2017, time.January, 1, 0, 0, 0, 0, time.UTC)

// Resolve moves a time that lies before notBefore on by whole rollovers.
func Resolve(t, notBefore time.Time) (time.Time, int) {
	n := 0
	for t.Before(notBefore) && n < maxRollovers {
		t = t.Add(rollover)
		n++
	}
	return t, n
}

// maxRollovers bounds Resolve: 78 years.
const maxRollovers = 4

// century says which years the two digits of RMC mean: 80 to 99 are of the last
// one, when the system began.
const century = 80

// parseTOD reads hhmmss.sss as ns since midnight.
func parseTOD(b []byte) (int64, bool) {
	if len(b) < 6 {
		return 0, false
	}
	h, ok1 := two(b)
	m, ok2 := two(b[2:])
	s, ok3 := fixed(b[4:], 9)
	if !ok1 || !ok2 || !ok3 || b[4] < '0' || h > 23 || m > 59 || s < 0 || s >= 61e9 {
		return 0, false
	}
	return int64(h)*3600e9 + int64(m)*60e9 + s, true
}

// parseDate reads ddmmyy.
func parseDate(b []byte) (time.Time, bool) {
	if len(b) != 6 {
		return time.Time{}, false
	}
	d, ok1 := two(b)
	m, ok2 := two(b[2:])
	y, ok3 := two(b[4:])
	if !ok1 || !ok2 || !ok3 {
		return time.Time{}, false
	}
	if y += 2000; y >= 2000+century {
		y -= 100
	}
	return date(y, m, d)
}

// date refuses days that no calendar has.
func date(y, m, d int) (time.Time, bool) {
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	return t, y >= 1980 && y < 2200 && t.Day() == d && t.Month() == time.Month(m)
}

func two(b []byte) (int, bool) {
	if len(b) < 2 || b[0] < '0' || b[0] > '9' || b[1] < '0' || b[1] > '9' {
		return 0, false
	}
	return int(b[0]-'0')*10 + int(b[1]-'0'), true
}

// angle reads [d]ddmm.mmmm and its hemisphere in 1e-9 degrees.
func angle(b []byte, hemisphere, plus, minus byte, most int64) (int64, bool) {
	if hemisphere != plus && hemisphere != minus || len(b) < 3 || b[0] < '0' || b[0] > '9' {
		return 0, false
	}
	const decimals = 9 // of the minutes
	v, ok := fixed(b, decimals)
	if !ok {
		return 0, false
	}
	whole := int64(1e9)
	deg, minutes := v/(100*whole), v%(100*whole)
	if minutes >= 60*whole {
		return 0, false
	}
	out := deg*1e9 + (minutes+30)/60
	if out > most {
		return 0, false
	}
	if hemisphere == minus {
		out = -out
	}
	return out, true
}
