package lap

// Mark is a lap or sector that has ended.
type Mark struct {
	Lap      int // counts from 1 in a session; 0: the way to the line, which is none
	Sector   int // counts from 1; 0: the whole lap
	TickNS   int64
	TimeNS   int64 // of the lap or sector; 0: not known, as its begin or end was missed
	Complete bool  // of a lap: it has a time, and no line can have been missed in it
}

// State is what a timer must keep to go on after a restart of the process.
type State struct {
	Lap      int    `json:"lap"`                // under way; 0: the line was not crossed yet
	BeginNS  int64  `json:"begin_ns"`           // of it, boot time; 0: not known
	AfterNS  int64  `json:"after_ns,omitempty"` // where BeginNS is not known: no line of the lap is known to be crossed before; 0: nothing is known
	SectorNS int64  `json:"sector_ns"`          // begin of the sector under way; 0: not known
	Sector   int    `json:"sector"`             // under way, from 1
	Broken   bool   `json:"broken,omitempty"`   // a line was missed in this lap, or may have been
	Ignored  uint64 `json:"ignored"`            // crossings that were none: too soon, twice, or not in a lap
}

// Timer makes laps of crossings. Gate 0 is the start line, 1 and so on end the
// sectors; the last sector ends at the line. The zero value times laps alone.
type Timer struct {
	State      State
	Sectors    int   // lines beside the start line
	ShortestNS int64 // crossings of the start line that come sooner are none

	lastNS int64 // latest crossing of the line
}

// Cross takes one crossing and appends what has ended.
func (t *Timer) Cross(c Crossing, out []Mark) []Mark {
	s := &t.State
	if c.Near {
		s.Ignored++
		return out
	}
	if c.Gate > 0 {
		return t.sector(c, out)
	}
	begin := max(s.BeginNS, t.lastNS)
	if begin != 0 && c.TickNS-begin < t.ShortestNS {
		s.Ignored++
		return out
	}
	t.lastNS = c.TickNS
	if s.Lap > 0 {
		whole := s.Sector == t.Sectors+1
		if t.Sectors > 0 && whole {
			out = append(out, Mark{Lap: s.Lap, Sector: s.Sector, TickNS: c.TickNS, TimeNS: since(s.SectorNS, c.TickNS)})
		}
		out = append(out, Mark{Lap: s.Lap, TickNS: c.TickNS, TimeNS: since(s.BeginNS, c.TickNS), Complete: whole && s.BeginNS != 0 && !s.Broken})
	}
	t.begin(State{BeginNS: c.TickNS, SectorNS: c.TickNS, Sector: 1})
	return out
}

// sector takes the crossing of a line that ends a sector.
func (t *Timer) sector(c Crossing, out []Mark) []Mark {
	s := &t.State
	switch {
	case s.Lap == 0 || c.Gate > t.Sectors:
		s.Ignored++
		return out
	case c.Gate == s.Sector:
		out = append(out, Mark{Lap: s.Lap, Sector: s.Sector, TickNS: c.TickNS, TimeNS: since(s.SectorNS, c.TickNS)})
	case c.Gate > s.Sector: // those between were missed: their times are not known
		s.Broken = true
	case c.TickNS-s.passed(c.Gate) < t.ShortestNS:
		s.Ignored++ // passed once more: it went back
		return out
	default: // passed in this lap, and a lap's time ago: the start line was missed
		out = t.Missed(c.TickNS, out)
	}
	s.Sector, s.SectorNS = c.Gate+1, c.TickNS
	return out
}

// passed returns the earliest time at which a line that lies behind can have been
// crossed.
func (s *State) passed(gate int) int64 {
	if gate == s.Sector-1 {
		return s.SectorNS
	}
	return max(s.BeginNS, s.AfterNS)
}

// Missed ends the lap under way without a time: by tick, boot time, the start line
// has been crossed, and it is not known when. The next lap has no time either.
func (t *Timer) Missed(tick int64, out []Mark) []Mark {
	if t.State.Lap == 0 {
		return out
	}
	out = append(out, Mark{Lap: t.State.Lap, TickNS: tick})
	t.begin(State{Sector: 1, AfterNS: tick})
	return out
}

// begin begins the next lap.
func (t *Timer) begin(s State) {
	s.Lap, s.Ignored = t.State.Lap+1, t.State.Ignored
	t.State = s
}

// Lost tells that nothing is known of the car for some time. Lines that end sectors
// show whether the start line was missed, unless that may be a whole lap.
func (t *Timer) Lost(ns int64) {
	if t.State.Lap > 0 && (t.Sectors == 0 || ns >= t.ShortestNS) {
		t.State.Broken = true
	}
}

// Unknown forgets when the lap under way began: the clock that counted it is
// another one.
func (t *Timer) Unknown() {
	t.State.BeginNS, t.State.AfterNS, t.State.SectorNS, t.lastNS = 0, 0, 0, 0
}

func since(begin, end int64) int64 {
	if begin == 0 {
		return 0
	}
	return end - begin
}
