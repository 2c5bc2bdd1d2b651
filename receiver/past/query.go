package past

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time: ms since 1970 UTC with or without a fraction, or RFC 3339.
func ParseTime(s string) (ns int64, err error) {
	whole, frac, _ := strings.Cut(s, ".")
	if ms, err := strconv.ParseInt(whole, 10, 64); err == nil && ms > 0 && ms < maxMS {
		frac = (frac + "000000")[:6]
		if n, err := strconv.ParseUint(frac, 10, 32); err == nil {
			return ms*1e6 + int64(n), nil
		}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 || t.UnixMilli() >= maxMS {
		return 0, bad("%q is no time (want ms since 1970 UTC, or 2026-05-01T12:00:00Z)", s)
	}
	return t.UnixNano(), nil
}

// maxMS is the year 2200.
const maxMS = 7_258_118_400_000

// parseWindows reads reorder windows with commas between them.
func parseWindows(s string) ([]time.Duration, error) {
	if s == "" {
		s = "10ms,100ms,1s,10s,1m"
	}
	var out []time.Duration
	for f := range strings.SplitSeq(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(f))
		if f = strings.TrimSpace(f); f == "none" {
			d, err = -1, nil
		}
		if err != nil || d < 0 && f != "none" || d > 24*time.Hour {
			return nil, bad("%q is no window (want 10ms, 1s, 1m, …, or none)", f)
		}
		out = append(out, d)
	}
	if len(out) > maxWindows {
		return nil, bad("%d windows (want at most %d)", len(out), maxWindows)
	}
	return out, nil
}

// window reads which time a request is about: from and to, or session, or lap.
func (s *server) window(ctx context.Context, car string, q url.Values, limit time.Duration) (from, to int64, err error) {
	what := q.Get("lap")
	if what == "" {
		what = q.Get("session")
	}
	if what != "" {
		if from, to, err = s.opt.Archive.Span(ctx, car, what); err != nil {
			return 0, 0, err
		}
	} else {
		if q.Get("from") == "" {
			return 0, 0, bad("no time (want from= and to= in ms since 1970 UTC, or session=ID, or lap=SESSION/N)")
		}
		if from, err = ParseTime(q.Get("from")); err != nil {
			return 0, 0, err
		}
		if q.Get("to") != "" {
			if to, err = ParseTime(q.Get("to")); err != nil {
				return 0, 0, err
			}
		}
	}
	if to == 0 {
		to = time.Now().UnixNano()
	}
	if to <= from {
		return 0, 0, bad("to is not after from")
	}
	if time.Duration(to-from) > limit {
		return 0, 0, bad("%v is more than the %v that are told at once: ask for less", time.Duration(to-from).Round(time.Second), limit)
	}
	return from, to, nil
}

// Selection is a choice of channels.
type Selection struct {
	names []string // group.channel, channel, group.*
	whole []string // group.channel, channel, whatever stands in them
}

// selection reads the choice of a request: channels= with commas between names, and
// channel= for one name each, in which everything stands for itself.
func selection(q url.Values) Selection {
	s := ParseSelection(q["channels"]...)
	for _, n := range q["channel"] {
		if n != "" && !slices.Contains(s.whole, n) {
			s.whole = append(s.whole, n)
		}
	}
	return s
}

// ParseSelection reads names with commas between them: group.channel, channel,
// group.*; none selects all.
func ParseSelection(names ...string) Selection {
	var s Selection
	for _, n := range names {
		for n := range strings.SplitSeq(n, ",") {
			if n = strings.TrimSpace(n); n != "" && !slices.Contains(s.names, n) {
				s.names = append(s.names, n)
			}
		}
	}
	return s
}

// All reports that nothing was chosen, so that everything is.
func (s *Selection) All() bool { return len(s.names)+len(s.whole) == 0 }

// Takes reports whether a channel is chosen.
func (s *Selection) Takes(group, channel string) bool {
	if s.All() {
		return true
	}
	full := group + "." + channel
	return slices.Contains(s.whole, full) || slices.Contains(s.whole, channel) || slices.ContainsFunc(s.names, func(n string) bool { return n == full || n == channel || n == group+".*" })
}

// Take is Takes as a query has it: nil takes all.
func (s *Selection) Take() func(group, channel string) bool {
	if s.All() {
		return nil
	}
	return s.Takes
}

// exact returns the chosen channels when each is named with its group.
func (s *Selection) exact() []string {
	for _, n := range s.names {
		if !strings.Contains(n, ".") || strings.HasSuffix(n, ".*") {
			return nil
		}
	}
	for _, n := range s.whole {
		if !strings.Contains(n, ".") {
			return nil
		}
	}
	return s.all()
}

// all returns what was chosen, as it was written.
func (s *Selection) all() []string { return slices.Concat(s.names, s.whole) }

// need refuses a selection of everything where that is too much to tell.
func (s *Selection) need() error {
	if s.All() {
		return bad("no channel (want channels=group.channel,… or channel=group.channel, as often as there are channels)")
	}
	if n := len(s.all()); n > MaxSeries {
		return bad("%d channels (want at most %d)", n, MaxSeries)
	}
	return nil
}

// points reads how many points a series may have.
func points(q url.Values, def int) (int, error) {
	s := q.Get("points")
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 2 || n > MaxPoints {
		return 0, bad("points is %q (want 2 to %d)", s, MaxPoints)
	}
	return n, nil
}

// Steps of series, in ns.
const millisecond = int64(time.Millisecond)

// stepFor returns the least step of 1, 2, 5, 10, … ms that gives a span no more
// points.
func stepFor(span int64, points int) int64 {
	for step := millisecond; ; step *= 10 {
		for _, k := range []int64{1, 2, 5} {
			if span/(step*k) <= int64(points) {
				return step * k
			}
		}
	}
}

// source reads where values may come from.
func (s *server) source(q url.Values) (useStore bool, err error) {
	switch v := q.Get("source"); {
	case v == "" || v == "auto":
		return s.opt.History != nil, nil
	case v == sourceBatches:
		return false, nil
	case s.opt.History != nil && v == s.opt.History.Name():
		return true, nil
	default:
		return false, refuse(http.StatusBadRequest, "source is %q (want auto, batches, or the store that live.history names)", v)
	}
}

// begin takes a slot, which free gives back, and finds the window of a request.
func (s *server) begin(ctx context.Context, car string, q url.Values, longest time.Duration) (from, to int64, free func(), err error) {
	if free, err = s.slot(ctx); err != nil {
		return 0, 0, nil, err
	}
	if from, to, err = s.window(ctx, car, q, longest); err != nil {
		free()
		return 0, 0, nil, err
	}
	return from, to, free, nil
}

// sourceBatches is the archive's name as a source.
const sourceBatches = "batches"
