package nmea

import "time"

// view is what the talker of one constellation says of its satellites.
type view struct {
	talker     [2]byte
	satellites uint8
	tod        int64 // time of day when it was said; -1: not known yet
}

// Limits of views.
const (
	maxViews   = 16                      // talkers; there are seven constellations
	maxInAView = 128                     // satellites
	viewLasts  = int64(30 * time.Second) // what has not been said again for so long is not so any more
	dayNS      = int64(24 * time.Hour)
)

// see notes how many satellites a talker has in view.
func (a *Assembler) see(talker []byte, n uint8) {
	v := view{[2]byte(talker), n, a.tod}
	for i := range a.views {
		if a.views[i].talker == v.talker {
			a.views[i] = v
			return
		}
	}
	if len(a.views) < maxViews {
		a.views = append(a.views, v)
	}
}

// inView adds up what all talkers have said lately, and forgets the others.
func (a *Assembler) inView() (sum int64) {
	kept := a.views[:0]
	for _, v := range a.views {
		if v.tod < 0 {
			v.tod = a.tod
		}
		age := (a.tod - v.tod + dayNS) % dayNS
		if age > viewLasts && age < dayNS-viewLasts {
			continue
		}
		sum += int64(v.satellites)
		kept = append(kept, v)
	}
	a.views = kept
	return sum
}
