package live

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"telemetry/receiver/live/strip"
)

func TestParseView(t *testing.T) {
	cases := []struct {
		name, query string
		want        view
		bad         bool
	}{
		{"nothing", "", view{spanMS: defaultSpanMS, points: defaultPoints}, false},
		{"everything", "car=c&channels=1,2&charts=3&span_ms=60000&points=900", view{car: "c", ids: []int{1, 2}, charts: []int{3}, spanMS: 60_000, points: 900}, false},
		{"an empty id", "charts=1,,2", view{}, true},
		{"a negative id", "channels=-1", view{}, true},
		{"a huge id", "charts=99999999999", view{}, true},
		{"a short span", "span_ms=999", view{}, true},
		{"a span that is none", "span_ms=1e4", view{}, true},
		{"few points", "points=15", view{}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := parseView(&http.Request{URL: &url.URL{RawQuery: c.query}})
			if (err != nil) != c.bad {
				t.Fatalf("error %v", err)
			}
			if !c.bad && (v.car != c.want.car || len(v.ids) != len(c.want.ids) || len(v.charts) != len(c.want.charts) || v.spanMS != c.want.spanMS || v.points != c.want.points) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func FuzzParseView(f *testing.F) {
	f.Add("car=c&channels=1,2&charts=3&span_ms=60000&points=900")
	f.Add("charts=%00,&span_ms=-1&points=9999999999999999999")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := parseView(&http.Request{URL: &url.URL{RawQuery: query}})
		if err != nil {
			if errors.Is(err, errTooMany) && len(query) < MaxCharts {
				t.Errorf("too many in %q", query)
			}
			return
		}
		if len(v.ids) > MaxView || len(v.charts) > MaxCharts || v.spanMS < minSpanMS || v.spanMS > strip.MaxSpanMS || v.points < minPoints || v.points > strip.MaxPoints {
			t.Errorf("beyond a limit: %+v", v)
		}
		if steps := v.spanMS / strip.Step(v.spanMS, v.points); steps > int64(v.points) {
			t.Errorf("%d steps of %d", steps, v.points)
		}
	})
}
