package past

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"

	"telemetry/receiver/archive"
	"telemetry/receiver/history"
	"telemetry/receiver/sequence/columns"
)

// Series is a channel's extremes: of the step that begins at T, UTC ms. Steps
// without a value are left out.
type Series struct {
	Name string  `json:"name"` // group.channel
	Unit string  `json:"unit"`
	T    []int64 `json:"t"`
	Min  numbers `json:"min"`
	Max  numbers `json:"max"`
}

// Gap is a stretch of a lane that is not in the topic.
type Gap struct {
	Lane    string  `json:"lane"`
	FromMS  float64 `json:"from_ms"`
	ToMS    float64 `json:"to_ms"`
	Missing uint64  `json:"missing"` // batches
	Reason  string  `json:"reason,omitempty"`
}

// SeriesAnswer is the answer to …/past.
type SeriesAnswer struct {
	FromMS int64    `json:"from_ms"` // widened to whole steps
	ToMS   int64    `json:"to_ms"`
	StepMS int64    `json:"step_ms"`
	Source string   `json:"source"` // batches, or the store's kind
	Series []Series `json:"series"`
	Gaps   []Gap    `json:"gaps"` // known of batches only
}

// bins gathers the extremes of the steps from..to, in ns.
type bins struct {
	from, to, step int64
	series         []*binned
	at             map[*columns.Channel]*binned
}

type binned struct {
	name, unit string
	min, max   []float64
}

// of returns the series of a channel.
func (b *bins) of(g *columns.Group, c *columns.Channel) (*binned, error) {
	if s := b.at[c]; s != nil {
		return s, nil
	}
	name := g.Name + "." + c.Name
	k := slices.IndexFunc(b.series, func(s *binned) bool { return s.name == name })
	if k < 0 {
		if len(b.series) == MaxSeries {
			return nil, bad("these are more than %d channels: choose fewer", MaxSeries)
		}
		n := int((b.to - b.from) / b.step)
		s := &binned{name: name, min: make([]float64, n), max: make([]float64, n)}
		for i := range s.min {
			s.min[i], s.max[i] = math.NaN(), math.NaN()
		}
		k = len(b.series)
		b.series = append(b.series, s)
	}
	s := b.series[k]
	s.unit = c.Unit
	if b.at == nil || len(b.at) > 16*MaxSeries {
		b.at = map[*columns.Channel]*binned{}
	}
	b.at[c] = s
	return s, nil
}

// add counts a value.
func (s *binned) add(i int, lo, hi float64) {
	if !(s.min[i] <= lo) {
		s.min[i] = lo
	}
	if !(s.max[i] >= hi) {
		s.max[i] = hi
	}
}

// table counts a table's values.
func (b *bins) table(t *columns.Table) error {
	for i := range t.Columns {
		c := &t.Columns[i]
		s, err := b.of(t.Group, c.Channel)
		if err != nil {
			return err
		}
		each(c, func(row int, x float64) {
			if ns := t.UTC[row]; ns >= b.from && ns < b.to && !math.IsNaN(x) {
				s.add(int((ns-b.from)/b.step), x, x)
			}
		})
	}
	return nil
}

// each calls fn for the values of a column.
func each(c *columns.Column, fn func(row int, x float64)) {
	row := func(i int) int {
		if c.Rows != nil {
			return int(c.Rows[i])
		}
		return i
	}
	switch c.Kind {
	case columns.Int:
		for i, v := range c.Ints {
			fn(row(i), float64(v))
		}
	case columns.Uint:
		for i, v := range c.Uints {
			fn(row(i), float64(v))
		}
	case columns.Float32:
		for i, v := range c.Float32 {
			fn(row(i), float64(v))
		}
	default:
		for i, v := range c.Float64 {
			fn(row(i), v)
		}
	}
}

// answer makes the series, in the order of their names.
func (b *bins) answer(source string, gaps []archive.Gap) *SeriesAnswer {
	a := &SeriesAnswer{FromMS: b.from / millisecond, ToMS: b.to / millisecond, StepMS: b.step / millisecond, Source: source, Series: []Series{}, Gaps: gapsOf(gaps)}
	slices.SortFunc(b.series, func(x, y *binned) int { return strings.Compare(x.name, y.name) })
	for _, s := range b.series {
		o := Series{Name: s.name, Unit: s.unit, T: []int64{}, Min: numbers{}, Max: numbers{}}
		for i := range s.min {
			if !math.IsNaN(s.min[i]) {
				o.T = append(o.T, (b.from+int64(i)*b.step)/millisecond)
				o.Min, o.Max = append(o.Min, s.min[i]), append(o.Max, s.max[i])
			}
		}
		a.Series = append(a.Series, o)
	}
	return a
}

func gapsOf(in []archive.Gap) []Gap {
	out := make([]Gap, 0, len(in))
	for _, g := range in {
		out = append(out, Gap{g.Stream.Lane.String(), float64(g.FromNS) / 1e6, float64(g.ToNS) / 1e6, g.Range.Last - g.Range.First + 1, g.Reason})
	}
	return out
}

// past answers with series.
func (s *server) past(w http.ResponseWriter, r *http.Request) error {
	q, car := r.URL.Query(), r.PathValue("car")
	sel := selection(q)
	if err := sel.need(); err != nil {
		return err
	}
	n, err := points(q, 1000)
	if err != nil {
		return err
	}
	store, err := s.source(q)
	if err != nil {
		return err
	}
	from, to, free, err := s.begin(r.Context(), car, q, MaxSpan)
	if err != nil {
		return err
	}
	defer free()
	b := bins{step: stepFor(to-from, n)}
	b.from = from / b.step * b.step
	b.to = (to + b.step - 1) / b.step * b.step
	p := newReply(w, r)
	key := cacheKey(car, &sel, b.from, b.to, b.step, store)
	if a := s.cache.get(key); a != nil {
		return p.result(a, nil)
	}
	a, err := s.series(r.Context(), car, &sel, &b, store, p.progress)
	if err == nil {
		s.cache.put(key, a)
	}
	return p.result(a, err)
}

// series reads what is asked for from the store, if it has any of it, else from the
// archive.
func (s *server) series(ctx context.Context, car string, sel *Selection, b *bins, store bool, progress archive.Progress) (*SeriesAnswer, error) {
	if names := sel.exact(); store && names != nil {
		if err := s.stored(ctx, car, names, b, progress); err != nil {
			return nil, err
		}
		if len(b.series) > 0 {
			return b.answer(s.opt.History.Name(), nil), nil
		}
	}
	rep, err := s.opt.Archive.Read(ctx, archive.Query{Car: car, FromNS: b.from, ToNS: b.to, Take: sel.Take()}, func(rows *archive.Rows) error {
		if rows.Table == nil {
			return nil
		}
		return b.table(rows.Table)
	}, progress)
	if err != nil {
		return nil, err
	}
	return b.answer(sourceBatches, rep.Gaps), nil
}

// stored reads the series that the store has.
func (s *server) stored(ctx context.Context, car string, names []string, b *bins, progress archive.Progress) error {
	for i, name := range names {
		got, err := s.opt.History.Bins(ctx, history.Window{Car: car, Channel: channelOf(name), FromNS: b.from, ToNS: b.to}, b.step)
		if err != nil {
			return err
		}
		progress(int64(i+1), int64(len(names)))
		if len(got) == 0 {
			continue
		}
		g, c := channelOf(name).Group, &columns.Channel{}
		c.Name = channelOf(name).Name
		to, err := b.of(&columns.Group{Name: g}, c)
		if err != nil {
			return err
		}
		for _, x := range got {
			if x.At >= 0 && x.At < int64(len(to.min)) && !math.IsNaN(x.Min) && !math.IsNaN(x.Max) {
				to.add(int(x.At), x.Min, x.Max)
			}
		}
	}
	return nil
}

// channelOf splits a name: groups may have points in theirs, channels as a rule not.
func channelOf(name string) history.Channel {
	i := strings.LastIndexByte(name, '.')
	return history.Channel{Group: name[:max(i, 0)], Name: name[i+1:]}
}
