package past_test

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"testing"

	"telemetry/receiver/past"
	"telemetry/wire"
)

// A name may have a comma, spaces around it or a star: channel= takes it as it is, beside
// channels= or alone, and two choices are not taken for each other.
func TestChannelsOfOddNames(t *testing.T) {
	m := &memory{groups: []wire.Group{{Name: "Öl, warm", Lane: wire.LaneFull, Channels: []wire.Channel{
		{Name: "temp,in", Type: wire.TypeF64}, {Name: " out", Type: wire.TypeF64}, {Name: "*", Type: wire.TypeF64}, {Name: "a&b=c", Type: wire.TypeF64},
	}}}}
	for i := range 100 {
		v := int64(math.Float64bits(float64(i)))
		m.row(0, 1+float64(i)/100, v, v, v, v)
	}
	s := serve(t, past.Options{Archive: m})
	for _, c := range []struct {
		name string
		q    url.Values
		want []string
	}{
		{"a comma", url.Values{"channel": {"Öl, warm.temp,in"}}, []string{"Öl, warm.temp,in"}},
		{"a space", url.Values{"channel": {"Öl, warm. out"}}, []string{"Öl, warm. out"}},
		{"without its group", url.Values{"channel": {" out"}}, []string{"Öl, warm. out"}},
		{"a star", url.Values{"channel": {"Öl, warm.*"}}, []string{"Öl, warm.*"}},
		{"several", url.Values{"channel": {"Öl, warm.*", "temp,in"}}, []string{"Öl, warm.temp,in", "Öl, warm.*"}},
		{"beside the list", url.Values{"channel": {"temp,in"}, "channels": {"a&b=c,nobody"}}, []string{"Öl, warm.temp,in", "Öl, warm.a&b=c"}},
		{"parts of one", url.Values{"channel": {"Öl", " warm.temp", "in"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := answer[seriesAnswer](t, s, fmt.Sprintf("cars/gt3-7/past?%s&points=10&%s", span(0.5, 2.5), c.q.Encode()))
			var got []string
			for _, v := range a.Series {
				got = append(got, v.Name)
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
