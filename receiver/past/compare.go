package past

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/history"
	"telemetry/receiver/sequence/columns"
)

// Comparison is the answer to …/compare: both laps at the same places, or at the
// same times since their start.
type Comparison struct {
	By     string  `json:"by"`     // distance or time
	XUnit  string  `json:"x_unit"` // m or s
	X      numbers `json:"x"`
	Source string  `json:"source"`
	// Distance says how the distance is known: "speed Engine.speed"; "" when it is
	// not, and Delta is null throughout.
	Distance string       `json:"distance"`
	Series   []PairSeries `json:"series"`
	// Delta is how far b is behind a at the same place, s.
	Delta numbers  `json:"delta"`
	A     LapSide  `json:"a"`
	B     LapSide  `json:"b"`
	Notes []string `json:"notes"` // what to know of the answer
}

// LapSide is one of the two laps.
type LapSide struct {
	Session  string  `json:"session"`
	Lap      int     `json:"lap"`
	StartMS  float64 `json:"start_ms"`
	TimeMS   float64 `json:"time_ms"`
	LengthM  float64 `json:"length_m"` // as measured; 0: unknown
	Complete bool    `json:"complete"`
}

// PairSeries is one channel in both laps; null where a lap has no value near.
type PairSeries struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	A    numbers `json:"a"`
	B    numbers `json:"b"`
}

// sameLength is how much the lengths of two complete laps may differ to be those of
// the same track.
const sameLength = 0.05

// findLap finds SESSION/LAP and what is known of it.
func (s *server) findLap(ctx context.Context, car, what string, list []archive.Session) (*lap, LapSide, error) {
	session, number, ok := cutLast(what, '/')
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return nil, LapSide{}, bad("%q is no lap (want SESSION/LAP, as Q1/3)", what)
	}
	from, to, err := s.opt.Archive.Span(ctx, car, what)
	if err != nil {
		return nil, LapSide{}, err
	}
	side := LapSide{Session: session, Lap: n, StartMS: float64(from) / 1e6}
	if to == 0 {
		to = time.Now().UnixNano()
	}
	for i := range list {
		if list[i].ID != session && list[i].Name != session {
			continue
		}
		if k := slices.IndexFunc(list[i].Laps, func(l archive.Lap) bool { return l.N == n }); k >= 0 {
			l := &list[i].Laps[k]
			side.Complete = l.Complete && l.EndNS > 0
			if l.EndNS == 0 && list[i].UntilNS > from {
				to = min(to, list[i].UntilNS)
			}
			break
		}
	}
	if to <= from || time.Duration(to-from) > MaxSpan {
		return nil, side, bad("lap %s takes %v: nothing to compare (want 0 to %v)", what, time.Duration(to-from).Round(time.Second), MaxSpan)
	}
	side.TimeMS = float64(to-from) / 1e6
	return newLap(from, to, side.Complete), side, nil
}

// cutLast cuts at the last c.
func cutLast(s string, c byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, c)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (s *server) compare(w http.ResponseWriter, r *http.Request) error {
	q, car, ctx := r.URL.Query(), r.PathValue("car"), r.Context()
	sel := selection(q)
	if err := sel.need(); err != nil {
		return err
	}
	n, err := points(q, 2000)
	if err != nil {
		return err
	}
	by := q.Get("by")
	if by == "" {
		by = "distance"
	}
	if by != "distance" && by != "time" {
		return bad("by is %q (want distance or time)", by)
	}
	store, err := s.source(q)
	if err != nil {
		return err
	}
	free, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	list, err := s.opt.Archive.Sessions(ctx, car)
	if err != nil {
		return err
	}
	c := Comparison{By: by, Series: []PairSeries{}, Notes: []string{}}
	var a, b *lap
	if a, c.A, err = s.findLap(ctx, car, q.Get("a"), list); err != nil {
		return err
	}
	if b, c.B, err = s.findLap(ctx, car, q.Get("b"), list); err != nil {
		return err
	}
	p := newReply(w, r)
	if c.Source, err = s.readLaps(ctx, car, &sel, a, b, store, p.progress); err == nil {
		err = c.fill(&sel, a, b, q.Get("distance"), n)
	}
	return p.result(&c, err)
}

// readLaps reads both laps, from the store if it has them.
func (s *server) readLaps(ctx context.Context, car string, sel *Selection, a, b *lap, store bool, progress archive.Progress) (string, error) {
	if names := sel.exact(); store && names != nil {
		for _, l := range []*lap{a, b} {
			if err := s.storedLap(ctx, car, names, l); err != nil {
				return "", err
			}
		}
		if len(a.traces) > 0 && len(b.traces) > 0 {
			return s.opt.History.Name(), nil
		}
		a.traces, b.traces = nil, nil
	}
	take := func(group, channel string) bool { return sel.Takes(group, channel) || mayTell(channel) }
	for i, l := range []*lap{a, b} {
		_, err := s.opt.Archive.Read(ctx, archive.Query{Car: car, FromNS: l.from, ToNS: l.to, Take: take}, func(rows *archive.Rows) error {
			if rows.Table == nil {
				return nil
			}
			return l.table(rows.Table)
		}, func(done, of int64) { progress(int64(i)*of+done, 2*of) })
		if err != nil {
			return "", err
		}
	}
	return sourceBatches, nil
}

// storedLap reads a lap from the store. What channels mean is asked of the archive,
// which may know no more.
func (s *server) storedLap(ctx context.Context, car string, names []string, l *lap) error {
	known, err := s.describe(ctx, car, l)
	if err != nil {
		return err
	}
	all := slices.Clone(names)
	for name := range known {
		if ch := channelOf(name); mayTell(ch.Name) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for _, name := range all[:min(len(all), 2*MaxSeries)] {
		tr := &trace{name: name}
		if c := known[name]; c != nil {
			tr.unit, tr.step = c.Unit, stepped(c)
		}
		err := s.opt.History.Points(ctx, history.Window{Car: car, Channel: channelOf(name), FromNS: l.from, ToNS: l.to}, func(p history.Point) error {
			l.add(tr, p.TNS, p.Value)
			return nil
		})
		if err != nil {
			return err
		}
		if len(tr.t) > 0 {
			l.traces = append(l.traces, tr)
		}
	}
	return nil
}

// describeTables is how many tables are looked at for what channels mean.
const describeTables = 500

// describe returns the channels that the archive has at a lap's start, by name.
func (s *server) describe(ctx context.Context, car string, l *lap) (map[string]*columns.Channel, error) {
	out, n := map[string]*columns.Channel{}, 0
	_, err := s.opt.Archive.Read(ctx, archive.Query{Car: car, FromNS: l.from, ToNS: min(l.to, l.from+5*int64(time.Second))}, func(rows *archive.Rows) error {
		if rows.Table == nil {
			return nil
		}
		for i := range rows.Group.Channels {
			c := rows.Group.Channels[i]
			out[rows.Group.Name+"."+c.Name] = &c
		}
		if n++; n == describeTables {
			return archive.ErrStop
		}
		return nil
	}, nil)
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil, err
	}
	return out, nil // without units it goes on by time
}

// fill lays the laps over each other.
func (c *Comparison) fill(sel *Selection, a, b *lap, distance string, n int) error {
	for _, l := range []*lap{a, b} {
		for _, tr := range l.traces {
			tr.settle()
		}
	}
	pa, pb, err := c.paths(a, b, distance)
	if err != nil {
		return err
	}
	end := max(a.seconds(), b.seconds())
	c.XUnit = "s"
	if c.By == "distance" {
		c.XUnit, end = "m", max(pa.length(), pb.length())
	}
	for i := range n {
		x := end * float64(i) / float64(n-1)
		c.X = append(c.X, x)
		ta, tb := x, x
		at := x
		if c.By == "distance" {
			ta, tb = pa.when(x), pb.when(x)
		} else if pa != nil {
			at = pa.where(x)
		}
		d := math.NaN()
		if pa != nil {
			d = pb.when(at) - pa.when(at)
		}
		c.Delta = append(c.Delta, d)
		c.row(sel, a, b, ta, tb)
	}
	if len(c.Series) == 0 {
		return refuse(http.StatusNotFound, "neither lap has a value of these channels")
	}
	return nil
}

// row adds the values of both laps at their times.
func (c *Comparison) row(sel *Selection, a, b *lap, ta, tb float64) {
	if len(c.Series) == 0 {
		c.series(sel, a, b)
	}
	value := func(l *lap, name string, t float64) float64 {
		tr := l.trace(name)
		if tr == nil || math.IsNaN(t) || t > l.seconds() {
			return math.NaN()
		}
		return tr.value(t)
	}
	for i := range c.Series {
		s := &c.Series[i]
		s.A, s.B = append(s.A, value(a, s.Name, ta)), append(s.B, value(b, s.Name, tb))
	}
}

// series lists the chosen channels that one of the laps has, in order of names.
func (c *Comparison) series(sel *Selection, a, b *lap) {
	for _, tr := range slices.Concat(a.traces, b.traces) {
		ch := channelOf(tr.name)
		if sel.Takes(ch.Group, ch.Name) && len(tr.t) > 0 && !slices.ContainsFunc(c.Series, func(s PairSeries) bool { return s.Name == tr.name }) {
			c.Series = append(c.Series, PairSeries{Name: tr.name, Unit: tr.unit})
		}
	}
	slices.SortFunc(c.Series, func(a, b PairSeries) int { return strings.Compare(a.Name, b.Name) })
}

// paths works out how far the car had come in both laps; nil when nothing tells.
func (c *Comparison) paths(a, b *lap, wanted string) (pa, pb *path, err error) {
	w := agree(a, b)
	if wanted != "" {
		if w, err = wayOf(a, wanted); err != nil {
			return nil, nil, err
		}
		if b.trace(w.name) == nil {
			return nil, nil, bad("lap b has no value of distance=%s", wanted)
		}
	}
	if w == nil {
		why := "nothing tells how far the car had come in both laps: no channel of a distance (m, km), of a speed (km/h, m/s, mph) or of positions (deg)"
		if c.By == "distance" {
			return nil, nil, refuse(http.StatusUnprocessableEntity, "%s; compare by=time, or name a channel with distance=", why)
		}
		c.Notes = append(c.Notes, why)
		return nil, nil, nil
	}
	pa, pb = w.path(a), w.path(b)
	c.Distance, c.A.LengthM, c.B.LengthM = w.String(), pa.length(), pb.length()
	if pa.length() <= 0 || pb.length() <= 0 {
		if c.By == "distance" {
			return nil, nil, refuse(http.StatusUnprocessableEntity, "by %s the car did not move in one of the laps: compare by=time", w)
		}
		return nil, nil, nil
	}
	if ratio := pa.length() / pb.length(); a.complete && b.complete && math.Abs(ratio-1) <= sameLength {
		for i := range pb.m {
			pb.m[i] *= ratio // the same track: both end at the line
		}
	} else {
		c.Notes = append(c.Notes, fmt.Sprintf("the laps are compared as measured (%.0f m and %.0f m): they are not both complete laps of one length", pa.length(), pb.length()))
	}
	return pa, pb, nil
}

// wayOf makes the way of a channel that was named.
func wayOf(l *lap, name string) (*way, error) {
	tr := l.trace(name)
	switch {
	case tr == nil:
		return nil, bad("lap a has no value of distance=%s", name)
	case unitOf(lengths, tr.unit) > 0:
		return &way{byDistance, 0, name, "", unitOf(lengths, tr.unit)}, nil
	case unitOf(speeds, tr.unit) > 0:
		return &way{bySpeed, 0, name, "", unitOf(speeds, tr.unit)}, nil
	}
	return nil, bad("distance=%s has the unit %q (want m, km, mi, ft, or km/h, m/s, mph, kn)", name, tr.unit)
}
