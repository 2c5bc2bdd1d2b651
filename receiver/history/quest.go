package history

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// quest reads QuestDB by SQL over its CSV export.
type quest struct {
	client
	mu    sync.Mutex
	units map[string]int64 // ns per unit of a table's timestamp
}

// maxUnits bounds the tables whose unit is remembered.
const maxUnits = 4096

// ident quotes an identifier.
func ident(s string) (string, error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f }) {
		return "", fmt.Errorf("history: questdb: %q is no name of a table or column", s)
	}
	return `"` + s + `"`, nil
}

// literal quotes a text.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// instant writes a time as a literal that QuestDB uses to find the partition.
func instant(ns int64) string {
	return literal(time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z"))
}

// names are the quoted names of a window's table.
type names struct{ table, column, time string }

func (q *quest) names(w *Window) (n names, err error) {
	if n.table, err = ident(fill(q.cfg.Table, w)); err != nil {
		return n, err
	}
	if n.column, err = ident(fill(q.cfg.Column, w)); err != nil {
		return n, err
	}
	n.time, err = ident(q.cfg.Time)
	return n, err
}

// where says whose samples, and when.
func (q *quest) where(n *names, w *Window, unit int64) (string, error) {
	from, to := w.FromNS, w.ToNS
	if unit > 1 { // a literal finer than the column would be cut: [from, to) must stay what it is
		from, to = -floorDiv(-from, unit)*unit, -floorDiv(-to, unit)*unit
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s >= %s AND %s < %s AND %s IS NOT NULL", n.time, instant(from), n.time, instant(to), n.column)
	for _, c := range slices.Sorted(maps.Keys(q.cfg.Match)) {
		col, err := ident(c)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " AND %s = %s", col, literal(fill(q.cfg.Match[c], w)))
	}
	return b.String(), nil
}

// unit returns how many ns one unit of the table's timestamp is; 0: no such table.
func (q *quest) unit(ctx context.Context, n *names) (int64, error) {
	q.mu.Lock()
	u, ok := q.units[n.table]
	q.mu.Unlock()
	if ok {
		return u, nil
	}
	u = 1000
	err := q.rows(ctx, fmt.Sprintf("SELECT \"type\" FROM table_columns(%s) WHERE \"column\" = %s", literal(strings.Trim(n.table, `"`)), literal(strings.Trim(n.time, `"`))),
		func(f []string) error {
			if f[0] == "TIMESTAMP_NS" {
				u = 1
			}
			return nil
		})
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.units == nil || len(q.units) >= maxUnits {
		q.units = map[string]int64{}
	}
	q.units[n.table] = u
	return u, nil
}

// absent reports whether a refusal says that there is no such table or column.
func absent(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return false
	}
	t := strings.ToLower(r.text)
	return strings.Contains(t, "table does not exist") || strings.Contains(t, "invalid column")
}

// prepare returns what a question about a window needs; there is false when the store
// has no such table.
func (q *quest) prepare(ctx context.Context, w *Window) (n names, where string, unit int64, there bool, err error) {
	if n, err = q.names(w); err != nil {
		return n, "", 0, false, err
	}
	if unit, err = q.unit(ctx, &n); absent(err) {
		return n, "", 0, false, nil
	} else if err != nil {
		return n, "", 0, false, err
	}
	where, err = q.where(&n, w, unit)
	return n, where, unit, err == nil, err
}

// Bins implements [Reader].
func (q *quest) Bins(ctx context.Context, w Window, stepNS int64) ([]Bin, error) {
	if err := checkSteps(&w, stepNS); err != nil {
		return nil, err
	}
	n, where, unit, there, err := q.prepare(ctx, &w)
	if !there {
		return nil, err
	}
	from := -floorDiv(-w.FromNS, unit)
	sql := fmt.Sprintf("SELECT b, min(v), max(v) FROM (SELECT (cast(%s AS long) - %d) / %d b, %s v FROM %s WHERE %s) GROUP BY b ORDER BY b",
		n.time, from, stepNS/unit, n.column, n.table, where)
	var out []Bin
	err = q.rows(ctx, sql, func(f []string) error {
		at, err := strconv.ParseInt(f[0], 10, 64)
		lo, err1 := strconv.ParseFloat(f[1], 64)
		hi, err2 := strconv.ParseFloat(f[2], 64)
		if err := errors.Join(err, err1, err2); err != nil {
			return fmt.Errorf("%w: %s is no column of numbers: %w", ErrStore, n.column, err)
		}
		out = append(out, Bin{at, lo, hi})
		return nil
	})
	if absent(err) {
		return nil, nil
	}
	return out, err
}

// Points implements [Reader].
func (q *quest) Points(ctx context.Context, w Window, fn func(Point) error) error {
	n, where, unit, there, err := q.prepare(ctx, &w)
	if !there {
		return err
	}
	sql := fmt.Sprintf("SELECT cast(%s AS long), %s FROM %s WHERE %s ORDER BY %s", n.time, n.column, n.table, where, n.time)
	err = q.rows(ctx, sql, func(f []string) error {
		t, err := strconv.ParseInt(f[0], 10, 64)
		x, err1 := strconv.ParseFloat(f[1], 64)
		if err := errors.Join(err, err1); err != nil {
			return fmt.Errorf("%w: %s is no column of numbers: %w", ErrStore, n.column, err)
		}
		return fn(Point{t * unit, x})
	})
	if absent(err) {
		return nil
	}
	return err
}

// rows asks a question and calls fn for each row of the answer.
func (q *quest) rows(ctx context.Context, sql string, fn func(fields []string) error) error {
	return q.get(ctx, "exp", url.Values{"query": {sql}}, func(r io.Reader) error {
		in := csv.NewReader(bufio.NewReaderSize(r, 64<<10))
		in.ReuseRecord = true
		for line := 0; ; line++ {
			f, err := in.Read()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return fmt.Errorf("%w: its answer is not what /exp gives: %w", ErrStore, err)
			case line == 0:
				continue // names
			}
			if err := fn(f); err != nil {
				return err
			}
		}
	})
}
