package agent

import (
	"errors"
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

// tapped returns the sink for a source, which is number i: with a tap if the session
// wants rows of it.
func (s *sessions) tapped(i int, src sensors.Source, out *sink) sensors.Sink {
	if s == nil {
		return out
	}
	t := &tap{sink: out, session: s, lat: -1, lon: -1, lap: -1}
	w := &s.wanted
	switch {
	case s.gates != nil && w.lat != nil && w.lat.source == i:
		t.group, t.lat, t.lon = w.lat.group, w.lat.column, w.lon.column
	case w.lap != nil && w.lap.source == i:
		t.group, t.lap = w.lap.group, w.lap.column
	default:
		return out
	}
	t.channels = src.Groups()[t.group].Channels
	return t
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
	before := s.timer.State
	s.cross = s.gates.Add(tick, lat, lon, s.cross[:0])
	switch {
	case s.gates.GapNS > 0:
		s.timer.Lost(s.gates.GapNS)
	case s.resumed && tick-s.seen > lap.MaxStepNS:
		s.timer.Lost(tick - s.seen) // while the process did not run
	}
	s.resumed, s.seen = false, tick
	var events []told
	for _, c := range s.cross {
		events = s.crossed(c, events)
	}
	if s.current != nil && s.timer.State != before {
		s.changed()
	}
	s.mu.Unlock()
	return s.send(events)
}

// lapChannel takes the value of the channel that changes at the line.
func (s *sessions) lapChannel(tick, raw int64) error {
	s.mu.Lock()
	before, resumed := s.lapRaw, s.resumed
	s.resumed, s.seen = false, tick
	if before != nil && *before == raw {
		s.mu.Unlock()
		return nil
	}
	s.lapRaw = &raw
	var events []told
	switch {
	case before == nil:
	case resumed: // it changed while the process did not run
		s.marks = s.timer.Missed(tick, s.marks[:0])
		events = s.tell(events)
	default:
		events = s.crossed(lap.Crossing{TickNS: tick}, nil)
	}
	if s.current != nil {
		s.changed()
	}
	s.mu.Unlock()
	return s.send(events)
}

// crossed takes one crossing and appends what it tells: laps and sectors are told
// only within a session. The caller holds mu.
func (s *sessions) crossed(c lap.Crossing, events []told) []told {
	if s.current == nil && s.cfg.Autostart && c.Gate == 0 {
		events = append(events, s.begin("auto", c.TickNS))
	}
	if s.current == nil {
		return events
	}
	s.marks = s.timer.Cross(c, s.marks[:0])
	return s.tell(events)
}

// tell appends the events of the laps and sectors that have ended. The caller holds
// mu.
func (s *sessions) tell(events []told) []told {
	for _, m := range s.marks {
		d := map[string]any{"id": s.current.ID, "lap": m.Lap}
		if m.TimeNS > 0 {
			d["time_ns"] = m.TimeNS
		}
		if m.Sector > 0 {
			d["sector"] = m.Sector
			events = append(events, told{m.TickNS, eventSector, d})
			continue
		}
		d["complete"] = m.Complete
		if m.TimeNS > 0 {
			s.current.Laps++
			s.current.LastNS = m.TimeNS
		}
		if m.Complete && (s.current.BestNS == 0 || m.TimeNS < s.current.BestNS) {
			s.current.BestNS = m.TimeNS
		}
		events = append(events, told{m.TickNS, eventLap, d})
	}
	return events
}

// send sends events. It fails only when the agent is stopping.
func (s *sessions) send(events []told) error {
	for _, e := range events {
		if err := s.event(e.at, e.name, e.detail); errors.Is(err, errStopping) {
			return err
		} else if err != nil {
			s.log.Error("session event not sent", "event", e.name, "error", err)
		}
	}
	return nil
}
