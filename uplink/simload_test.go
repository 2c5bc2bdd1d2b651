package uplink

import "telemetry/wire"

// silence lets nothing pass over a link for d; old connections stay stuck longer.
func (s *sim) silence(link int, d int64) {
	l := s.links[link]
	l.silent = max(l.silent, s.now+d)
	for _, c := range l.conns {
		c.stuck = max(c.stuck, s.now+d+d*l.rtoFactor/100)
	}
}

// load makes batches of a lane every period until end.
func (s *sim) load(l wire.Lane, size int, every, end int64) {
	if s.now >= end {
		return
	}
	s.make(l, size)
	s.at(every, func() { s.load(l, size, every, end) })
}

func (s *sim) pending() int {
	return len(s.st.items[wire.LaneCritical]) + len(s.st.items[wire.LaneLive]) + len(s.st.items[wire.LaneFull])
}

// drained runs until nothing is pending, or fails at the limit.
func (s *sim) drained(limit int64) {
	s.t.Helper()
	end := s.now + limit
	s.run(end, func() bool { return s.pending() == 0 })
	if p := s.pending(); p != 0 {
		s.t.Fatalf("%d batches are stuck after %d ms: %+v", p, limit/ms, s.e.Snapshot())
	}
	for id := range s.st.settled {
		if !s.kafka[id] {
			s.t.Fatalf("%v is settled and not in Kafka", id)
		}
	}
}

func threeLinks() []*simLink {
	return []*simLink{
		{delay: 20 * ms, rate: 10e6 / 8, rtoFactor: 50},
		{delay: 30 * ms, rate: 6e6 / 8, rtoFactor: 50},
		{delay: 45 * ms, rate: 4e6 / 8, rtoFactor: 50},
	}
}
