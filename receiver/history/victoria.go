package history

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// victoria reads VictoriaMetrics: steps by query_range, samples by its export.
type victoria struct{ client }

// selector names a channel's series. Label values are quoted as Go quotes them,
// which is PromQL's own way.
func (v *victoria) selector(w *Window) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{__name__=%s", strconv.Quote(fill(v.cfg.Metric, w)))
	for _, label := range slices.Sorted(maps.Keys(v.cfg.Match)) {
		fmt.Fprintf(&b, ",%s=%s", label, strconv.Quote(fill(v.cfg.Match[label], w)))
	}
	b.WriteByte('}')
	return b.String()
}

// milli writes ms since 1970 as seconds.
func milli(ms int64) string { return strconv.FormatFloat(float64(ms)/1e3, 'f', 3, 64) }

// ceilMS rounds ns up to ms.
func ceilMS(ns int64) int64 { return -floorDiv(-ns, 1e6) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Bins implements [Reader]. A sample's time is whole milliseconds, so the range
// (t − step, t] with t one millisecond before a step's end is the step.
func (v *victoria) Bins(ctx context.Context, w Window, stepNS int64) ([]Bin, error) {
	if err := checkSteps(&w, stepNS); err != nil {
		return nil, err
	}
	from, step := ceilMS(w.FromNS), stepNS/1e6
	last := (ceilMS(w.ToNS) - 1 - from) / step
	bins := map[int64]*Bin{}
	for _, f := range []struct {
		name string
		take func(b *Bin, x float64)
	}{
		{"min_over_time", func(b *Bin, x float64) { b.Min = min(b.Min, x) }},
		{"max_over_time", func(b *Bin, x float64) { b.Max = max(b.Max, x) }},
	} {
		q := url.Values{
			"query": {fmt.Sprintf("%s(%s[%dms])", f.name, v.selector(&w), step)},
			"start": {milli(from + step - 1)}, "end": {milli(from + last*step + step - 1)}, "step": {fmt.Sprintf("%dms", step)},
			"nocache": {"1"}, // else it moves start and end
		}
		err := v.get(ctx, "api/v1/query_range", q, func(r io.Reader) error {
			return readMatrix(r, func(ms int64, x float64) {
				at := floorDiv(ms-from, step)
				b := bins[at]
				if b == nil {
					b = &Bin{At: at, Min: x, Max: x}
					bins[at] = b
				}
				f.take(b, x)
			})
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]Bin, 0, len(bins))
	for _, b := range bins {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Bin) int { return cmp.Compare(a.At, b.At) })
	return out, nil
}

// readMatrix reads the answer of query_range.
func readMatrix(r io.Reader, fn func(ms int64, x float64)) error {
	var a struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Values [][2]json.RawMessage
			}
		}
	}
	if err := json.NewDecoder(r).Decode(&a); err != nil {
		return fmt.Errorf("%w: its answer is not what query_range gives: %w", ErrStore, err)
	}
	if a.Status != "success" {
		return fmt.Errorf("%w: %s", ErrStore, a.Error)
	}
	for _, s := range a.Data.Result {
		for _, p := range s.Values {
			sec, err1 := strconv.ParseFloat(string(p[0]), 64)
			x, err2 := strconv.ParseFloat(strings.Trim(string(p[1]), `"`), 64)
			if err := errors.Join(err1, err2); err != nil {
				return fmt.Errorf("%w: its answer is not what query_range gives: %w", ErrStore, err)
			}
			fn(int64(sec*1e3+0.5), x)
		}
	}
	return nil
}

// Points implements [Reader]. The export gives blocks of series; those of several
// series that match are sorted together.
func (v *victoria) Points(ctx context.Context, w Window, fn func(Point) error) error {
	from, to := ceilMS(w.FromNS), ceilMS(w.ToNS)-1
	if to < from {
		return nil
	}
	var all []Point
	q := url.Values{"match[]": {v.selector(&w)}, "start": {milli(from)}, "end": {milli(to)}, "reduce_mem_usage": {"0"}}
	err := v.get(ctx, "api/v1/export", q, func(r io.Reader) error {
		d := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
		for {
			var line struct {
				Values     []*float64
				Timestamps []int64
			}
			if err := d.Decode(&line); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil || len(line.Values) != len(line.Timestamps) {
				return fmt.Errorf("%w: its answer is not what export gives: %w", ErrStore, err)
			}
			if len(all)+len(line.Values) > MaxPoints {
				return fmt.Errorf("history: more than %d samples of %s: ask for less time", MaxPoints, w.Channel)
			}
			for i, x := range line.Values {
				if x != nil {
					all = append(all, Point{line.Timestamps[i] * 1e6, *x})
				}
			}
		}
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b Point) int { return cmp.Compare(a.TNS, b.TNS) })
	for _, p := range all {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// MaxPoints bounds the samples of one window that are sorted in memory.
const MaxPoints = 4 << 20
