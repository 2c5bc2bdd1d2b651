package agent

import (
	"math"

	"telemetry/sensors"
	"telemetry/sensors/lap"
	"telemetry/wire"
)

// tap hands a source's rows on, and shows the session those that say where the
// car is.
type tap struct {
	*sink
	session  *sessions
	group    int // of the source
	lat, lon int // columns; -1: none
	lap      int // column of the lap channel; -1: none
	channels []wire.Channel
}

var (
	_ sensors.Sink       = (*tap)(nil)
	_ sensors.AnchorSink = (*tap)(nil)
)

// tapped returns the sink for a source: with a tap if the session wants rows of
// it.
func (s *sessions) tapped(src namedSource, out *sink) sensors.Sink {
	if s == nil {
		return out
	}
	for i, g := range src.source.Groups() {
		t := &tap{sink: out, session: s, group: i, lat: -1, lon: -1, lap: -1, channels: g.Channels}
		for k := range g.Channels {
			is := func(want string) bool {
				short := g.Channels[k].Name
				return want != "" && (short == want || g.Name+"."+short == want || src.name+"."+short == want)
			}
			switch {
			case s.gates != nil && is(s.cfg.Latitude):
				t.lat = k
			case s.gates != nil && is(s.cfg.Longitude):
				t.lon = k
			case is(s.cfg.LapChannel):
				t.lap = k
			}
		}
		if t.lat >= 0 && t.lon >= 0 || t.lap >= 0 {
			return t
		}
	}
	return out
}

// Append looks at the rows and hands them on.
func (t *tap) Append(r sensors.Rows) error {
	if r.Group == t.group {
		width := len(t.channels)
		for i, tick := range r.Ticks {
			at := i * width
			has := func(col int) bool { return col >= 0 && sensors.Bit(r.Present, at+col) }
			var err error
			switch {
			case has(t.lat) && has(t.lon):
				err = t.session.position(tick, t.value(t.lat, r.Values[at+t.lat]), t.value(t.lon, r.Values[at+t.lon]))
			case has(t.lap):
				err = t.session.lapChannel(tick, r.Values[at+t.lap])
			}
			if err != nil {
				return err
			}
		}
	}
	return t.sink.Append(r)
}

// value returns a raw word in its unit.
func (t *tap) value(col int, raw int64) float64 {
	c := &t.channels[col]
	v := toFloat(c.Type, raw)
	if c.Scale != 0 {
		v *= c.Scale
	}
	return v + c.Offset
}

// position takes the car's place, in degrees.
func (s *sessions) position(tick int64, lat, lon float64) error {
	if math.IsNaN(lat) || math.IsNaN(lon) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cross = s.gates.Add(tick, lat, lon, s.cross[:0])
	for _, c := range s.cross {
		if err := s.crossed(c); err != nil {
			return err
		}
	}
	return nil
}

// lapChannel takes the value of the channel that changes at the line.
func (s *sessions) lapChannel(tick, raw int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.lapSeen && raw != s.lapRaw
	s.lapRaw, s.lapSeen = raw, true
	if !changed {
		return nil
	}
	return s.crossed(lap.Crossing{TickNS: tick})
}

// crossed takes one crossing: laps and sectors are told only within a session. The
// caller holds mu. What the disk refuses does not stop the source: the times are
// in the events.
func (s *sessions) crossed(c lap.Crossing) error {
	if s.current == nil && s.cfg.Autostart && c.Gate == 0 {
		if _, err := s.begin("auto", c.TickNS); err != nil {
			return err
		}
	}
	if s.current == nil {
		return nil
	}
	before := s.timer.State
	s.marks = s.timer.Cross(c, s.marks[:0])
	for _, m := range s.marks {
		if err := s.tell(m); err != nil {
			return err
		}
	}
	if s.timer.State != before {
		if err := s.save(); err != nil {
			s.log.Error("session not kept on disk", "error", err)
		}
	}
	return nil
}

// tell sends the event of a lap or sector. The caller holds mu.
func (s *sessions) tell(m lap.Mark) error {
	d := map[string]any{"id": s.current.ID, "lap": m.Lap}
	if m.TimeNS > 0 {
		d["time_ns"] = m.TimeNS
	}
	if m.Sector > 0 {
		d["sector"] = m.Sector
		return s.event(m.TickNS, eventSector, d)
	}
	if len(s.cfg.Sectors) > 0 {
		d["complete"] = m.Complete
	}
	if m.TimeNS > 0 {
		s.current.Laps++
		s.current.LastNS = m.TimeNS
		if s.current.BestNS == 0 || m.TimeNS < s.current.BestNS {
			s.current.BestNS = m.TimeNS
		}
	}
	return s.event(m.TickNS, eventLap, d)
}
