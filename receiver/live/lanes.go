package live

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"telemetry/wire"
)

// Of each lane lanePoints moments of the last 2 minutes are kept, one each laneStepMS of
// the wall's time, whether somebody looks or not: what its strip on the page begins with.
const (
	laneStepMS = 500
	lanePoints = 240
)

// idleReports is how often the other roles are asked while nobody looks. What they say
// holds for laneHoldSteps, until they are asked again.
const (
	idleReports   = 2 * time.Second
	laneHoldSteps = int64(idleReports/time.Millisecond)/laneStepMS + 1
)

// laneMoment is what was known of a lane at a moment.
type laneMoment struct {
	rowsS        float32 // as [LaneView] has it
	lagMS, holes int32   // the same
	what         laneKnown
}

// laneKnown says what of a [laneMoment] is known.
type laneKnown uint8

const (
	rowsKnown laneKnown = 1 << iota
	lagKnown
	holesKnown
)

// lanePast is a ring of moments by step; 4 KB.
type lanePast struct {
	newest  int64 // step; 0: empty
	moments [lanePoints]laneMoment
}

// note takes one moment.
func (p *lanePast) note(nowMS int64, m laneMoment) {
	step := nowMS / laneStepMS
	if step < p.newest-lanePoints {
		*p = lanePast{} // the clock was set back
	}
	for s := max(p.newest+1, step-lanePoints+1); s < step; s++ {
		p.moments[s%lanePoints] = laneMoment{}
	}
	if step > p.newest-lanePoints {
		p.moments[step%lanePoints] = m
		p.newest = max(p.newest, step)
	}
}

// each calls fn for every step from the oldest moment to that of now; a moment holds for
// laneHoldSteps, beyond there is nothing.
func (p *lanePast) each(nowMS int64, fn func(laneMoment)) {
	now, last, begun := nowMS/laneStepMS, int64(0), false
	var held laneMoment
	for s := max(1, now-lanePoints+1); s <= now; s++ {
		if m := p.moments[s%lanePoints]; s <= p.newest && s > p.newest-lanePoints && m.what != 0 {
			held, last, begun = m, s, true
		} else if s-last >= laneHoldSteps {
			held = laneMoment{}
		}
		if begun {
			fn(held)
		}
	}
}

// noteLanes notes what is known of the lanes of all cars. Rates hold while somebody
// looks: else some topics are not followed. Guarded by the store's mu.
func (s *store) noteLanes(nowMS int64, watched bool) {
	for _, c := range s.cars {
		if c.replay != nil {
			continue // its time is another one
		}
		views := c.lanesOf(s.here)
		for i, id := range wire.Lanes {
			v, m := &views[i], laneMoment{}
			if watched {
				m.rowsS, m.what = float32(v.RowsS), rowsKnown
			}
			if v.LagMS != nil {
				m.lagMS, m.what = int32(min(*v.LagMS, 1<<31-1)), m.what|lagKnown
			}
			if v.Holes != nil {
				m.holes, m.what = int32(min(*v.Holes, 1<<31-1)), m.what|holesKnown
			}
			if m.what != 0 {
				c.lanes[id].past.note(nowMS, m)
			}
		}
	}
}

// idle takes a report while nobody looks.
func (s *store) idle(rep Report, nowMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.here = rep
	for name, c := range s.cars {
		c.report = rep.Cars[name]
	}
	s.noteLanes(nowMS, false)
}

// lanesPast writes what is kept of a car's lanes; false: the car is not known.
func (s *store) lanesPast(b []byte, car string, nowMS int64) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[car]
	if c == nil {
		return b, false
	}
	b = strconv.AppendInt(append(b, `{"now_ms":`...), nowMS, 10)
	b = strconv.AppendInt(append(b, `,"step_ms":`...), laneStepMS, 10)
	b = append(b, `,"lanes":{`...)
	for i, id := range wire.Lanes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, id.String()), ':', '[')
		first := true
		c.lanes[id].past.each(nowMS, func(m laneMoment) {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = m.append(b)
		})
		b = append(b, ']')
	}
	return append(b, "}}\n"...), true
}

func (m laneMoment) append(b []byte) []byte {
	if m.what == 0 {
		return append(b, "null"...)
	}
	part := func(known laneKnown, v float64, end byte) {
		if m.what&known == 0 {
			v = math.NaN()
		}
		b = append(appendNumber(b, v), end)
	}
	b = append(b, '[')
	part(lagKnown, float64(m.lagMS), ',')
	part(rowsKnown, math.Round(float64(m.rowsS)*10)/10, ',')
	part(holesKnown, float64(m.holes), ']')
	return b
}

func (s *Server) carLanes(w http.ResponseWriter, r *http.Request) {
	b, ok := s.store.lanesPast(nil, r.PathValue("car"), time.Now().UnixMilli())
	if !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // a browser that went away is not our fault
}
