package live

import (
	"slices"
	"strconv"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/live/strip"
	"telemetry/receiver/sequence/jsonrow"
)

// maxStrips is how many channels can be charted at once, by all viewers together:
// strip.MaxBytes each make 200 MB, which they reach when all have been charted for
// half a day; 120 MB after a quarter of an hour. A strip that nobody looks at for
// idleStripMS is forgotten; one that nobody has looked at for busyStripMS makes room.
const (
	maxStrips   = 256
	idleStripMS = 10 * 60_000
	busyStripMS = 5000
)

// chart makes sure that a channel has a strip, filled from what is there, and
// returns it; nil when too many others are in use.
func (s *store) chart(ch *channel, nowMS int64) *strip.Strip {
	ch.strippedMS = nowMS
	if ch.strip != nil {
		return ch.strip
	}
	if len(s.striped) >= maxStrips {
		old := slices.MinFunc(s.striped, func(a, b *channel) int { return int(a.strippedMS - b.strippedMS) })
		if nowMS-old.strippedMS < busyStripMS {
			s.n.ChartsRefused++
			return nil
		}
		s.dropStrip(old)
	}
	ch.strip = &strip.Strip{}
	s.striped = append(s.striped, ch)
	if ch.hist != nil {
		ch.hist.fill(ch.strip)
	} else if ch.version > 0 {
		ch.strip.Add(ch.tsMS, ch.value)
	}
	return ch.strip
}

func (s *store) dropStrip(ch *channel) {
	if ch.strip == nil {
		return
	}
	ch.strip = nil
	s.striped = slices.DeleteFunc(s.striped, func(o *channel) bool { return o == ch })
}

// dropIdle forgets the strips that nobody looks at.
func (s *store) dropIdle(nowMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range slices.Clone(s.striped) {
		if nowMS-ch.strippedMS > idleStripMS {
			s.dropStrip(ch)
		}
	}
}

// plot is one chart of one stream.
type plot struct {
	id    int
	strip *strip.Strip // what was read last
	mark  strip.Mark   // what of it has been sent
}

// series is a run of steps of one channel.
type series struct {
	id int
	strip.Steps
}

// chartFrame is the data of the event "charts".
type chartFrame struct {
	nowMS, keptMS, stepMS int64
	reset                 bool
	series                []series

	runs   []strip.Steps
	values []float64
}

// read fills a frame with what has changed since the last one, or with everything.
// false: the car is not known any more.
func (s *store) read(f *chartFrame, car string, plots []plot, stepMS, spanMS int64, reset bool, wallMS int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[car]
	if c == nil {
		return false
	}
	c.lookedMS = wallMS
	f.nowMS, f.stepMS = c.nowMS(wallMS), stepMS
	for i := range plots {
		var now *strip.Strip
		if id := plots[i].id; id < len(c.channels) {
			now = s.chart(c.channels[id], wallMS)
		}
		// What was sent of a strip that is gone is not to be told from its successor's.
		reset = reset || plots[i].strip != now
		plots[i].strip = now
	}
	from, to := (f.nowMS-spanMS)/stepMS, (f.nowMS+aheadMS)/stepMS+1
	f.reset, f.series, f.values = reset, f.series[:0], f.values[:0]
	if reset {
		f.keptMS = f.nowMS
	}
	for i := range plots {
		p := &plots[i]
		if p.strip == nil {
			continue
		}
		since := &p.mark
		if reset {
			since = nil
		}
		f.runs, f.values = p.strip.Read(f.runs[:0], f.values, stepMS, from, to, since)
		p.mark = p.strip.Mark()
		f.take(p.id)
		if reset {
			f.kept(p.strip)
		}
	}
	return true
}

// take adds the runs of one channel.
func (f *chartFrame) take(id int) {
	for _, r := range f.runs {
		f.series = append(f.series, series{id, r})
	}
}

// kept notes how far back a strip reaches.
func (f *chartFrame) kept(s *strip.Strip) {
	if oldest := s.OldestMS(); oldest > 0 {
		f.keptMS = min(f.keptMS, oldest)
	}
}

// window fills a frame with a stretch of event time. false: the car is not known.
func (s *store) window(f *chartFrame, car string, ids []int, fromMS, toMS int64, points int, wallMS int64) (holes []coverage.Hole, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[car]
	if c == nil {
		return nil, false
	}
	c.lookedMS = wallMS
	f.nowMS, f.keptMS = c.nowMS(wallMS), c.nowMS(wallMS)
	f.stepMS = strip.Step(toMS-fromMS, points)
	for strip.KeptMS(f.stepMS) < f.nowMS-fromMS && f.stepMS < 10_000 {
		f.stepMS = strip.Step(f.stepMS+1, 1) // older event time is kept in wider bins
	}
	for _, id := range ids {
		if id >= len(c.channels) {
			continue
		}
		st := s.chart(c.channels[id], wallMS)
		if st == nil {
			continue
		}
		f.runs, f.values = st.Read(f.runs[:0], f.values, f.stepMS, fromMS/f.stepMS, toMS/f.stepMS+1, nil)
		f.take(id)
		f.kept(st)
	}
	return c.holes(nil, fromMS, toMS, wallMS), true
}

// holes returns the holes of a car's last span.
func (s *store) holes(dst []coverage.Hole, car string, spanMS, wallMS int64) (_ []coverage.Hole, nowMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[car]
	if c == nil {
		return dst, wallMS
	}
	nowMS = c.nowMS(wallMS)
	return c.holes(dst, nowMS-spanMS, nowMS+aheadMS, wallMS), nowMS
}

// holes returns the holes between two instants of event time. In a recording,
// nothing is waited for.
func (c *car) holes(dst []coverage.Hole, fromMS, toMS, wallMS int64) []coverage.Hole {
	dst = c.cover.Holes(dst, fromMS, toMS, wallMS)
	for i := range dst {
		if h := &dst[i]; c.replay != nil && h.State == coverage.Open {
			h.State, h.Reason = coverage.Lost, "not recorded"
		}
	}
	return dst
}

// passed notes that batches have been passed over unseen: what is missing of them is
// no hole.
func (s *store) passed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cars {
		if c.replay == nil {
			c.cover.Reset()
		}
	}
}

// append writes the frame as JSON. Numbers are the shortest text that reads back.
func (f *chartFrame) append(b []byte) []byte {
	b = append(b, `{"now_ms":`...)
	b = strconv.AppendInt(b, f.nowMS, 10)
	b = append(b, `,"kept_from_ms":`...)
	b = strconv.AppendInt(b, f.keptMS, 10)
	b = append(b, `,"step_ms":`...)
	b = strconv.AppendInt(b, f.stepMS, 10)
	b = append(b, `,"reset":`...)
	b = strconv.AppendBool(b, f.reset)
	b = append(b, `,"series":[`...)
	for i := range f.series {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.series[i].append(b)
	}
	return append(b, "]}"...)
}

func (r *series) append(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendInt(b, int64(r.id), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, r.First, 10)
	b = append(b, ",["...)
	for i, v := range r.Values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, v)
	}
	return append(b, "]]"...)
}

// appendNumber writes a number, null for none.
func appendNumber(b []byte, v float64) []byte {
	if v != v {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendHoles writes holes as JSON: [[from_ms,to_ms,state,reason?],…].
func appendHoles(b []byte, holes []coverage.Hole) []byte {
	b = append(b, '[')
	for i, h := range holes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, h.FromMS, 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, h.ToMS, 10)
		b = append(b, ',')
		b = strconv.AppendQuote(b, h.State.String())
		if h.Reason != "" {
			b = append(b, ',')
			b = jsonrow.AppendString(b, h.Reason)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}
