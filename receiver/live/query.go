package live

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"telemetry/receiver/live/strip"
)

// Limits of what one stream asks for.
const (
	MaxCharts     = 64
	minSpanMS     = 1000
	defaultSpanMS = 10_000
	minPoints     = 16
	defaultPoints = 600
)

// view is what one stream asks for.
type view struct {
	car    string // "": the list of cars only
	ids    []int  // last values
	charts []int
	spanMS int64
	points int
}

// errTooMany says that a list in a query is too long.
var errTooMany = errors.New("at most")

// parseView reads the query of a stream.
func parseView(r *http.Request) (v view, err error) {
	q := r.URL.Query()
	v.car = q.Get("car")
	if v.ids, err = idsOf("channels", q.Get("channels"), MaxView); err != nil {
		return v, err
	}
	if v.charts, err = idsOf("charts", q.Get("charts"), MaxCharts); err != nil {
		return v, err
	}
	span, err := within("span_ms", q.Get("span_ms"), minSpanMS, strip.MaxSpanMS, defaultSpanMS)
	if err != nil {
		return v, err
	}
	v.spanMS = span
	points, err := within("points", q.Get("points"), minPoints, strip.MaxPoints, defaultPoints)
	v.points = int(points)
	return v, err
}

// idsOf reads ids of channels with commas between them.
func idsOf(name, list string, most int) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	if strings.Count(list, ",") >= most {
		return nil, fmt.Errorf("%w %d %s", errTooMany, most, name)
	}
	var ids []int
	for w := range strings.SplitSeq(list, ",") {
		id, err := number(w, -1)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%s has %.40q (want ids of channels with commas between them)", name, w)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// within reads a number that has limits; "" is def.
func within(name, text string, least, most, def int64) (int64, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is %.40q (want a whole number from %d to %d)", name, text, least, most)
	}
	return n, nil
}

// number parses a number from 0; "" is def.
func number(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}
