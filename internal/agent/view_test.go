package agent

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

func f64(v ...float64) []int64 {
	var out []int64
	for _, x := range v {
		out = append(out, int64(math.Float64bits(x)))
	}
	return out
}

func f32(v ...float32) []int64 {
	var out []int64
	for _, x := range v {
		out = append(out, int64(math.Float32bits(x)))
	}
	return out
}

func TestStatisticOfAnInterval(t *testing.T) {
	nan := math.NaN()
	big := int64(1) << 60
	tests := []struct {
		name   string
		typ    wire.ValueType
		values []int64
		stat   wire.Stat
		want   []int64 // empty: the channel is absent
	}{
		{"last", wire.TypeInt, []int64{5, -9, 7}, wire.StatLast, []int64{7}},
		{"last keeps a NaN's bits", wire.TypeF64, f64(1, nan), wire.StatLast, f64(nan)},
		{"mean rounds", wire.TypeInt, []int64{1, 2, 2}, wire.StatMean, []int64{2}},
		{"mean of negatives", wire.TypeInt, []int64{-3, -4}, wire.StatMean, []int64{-4}},
		{"mean of floats", wire.TypeF32, f32(1, 2), wire.StatMean, f32(1.5)},
		{"mean leaves NaN out", wire.TypeF64, f64(1, nan, 3), wire.StatMean, f64(2)},
		{"only NaN", wire.TypeF64, f64(nan, nan), wire.StatMean, nil},
		{"mean at the top of int", wire.TypeInt, []int64{math.MaxInt64, math.MaxInt64}, wire.StatMean, []int64{math.MaxInt64}},
		{"mean at the top of uint", wire.TypeUint, []int64{-1, -1}, wire.StatMean, []int64{-1}},
		{"min", wire.TypeInt, []int64{5, -9, 7}, wire.StatMin, []int64{-9}},
		{"max", wire.TypeInt, []int64{5, -9, 7}, wire.StatMax, []int64{7}},
		{"min of uint", wire.TypeUint, []int64{-1, 3}, wire.StatMin, []int64{3}},
		{"max of uint", wire.TypeUint, []int64{3, -1}, wire.StatMax, []int64{-1}},
		{"min beyond a float's digits", wire.TypeInt, []int64{big + 1, big, big + 1}, wire.StatMin, []int64{big}},
		{"max with a leading NaN", wire.TypeF64, f64(nan, -2, -1), wire.StatMax, f64(-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &view{period: 1e9}
			v.add(0, wire.Channel{Type: tt.typ, Stat: tt.stat})
			for i, x := range tt.values {
				v.take(int64(i), []int64{x}, nil, 0)
			}
			tick, values, present, ok := v.finish()
			if ok != (len(tt.want) > 0) {
				t.Fatalf("a row: %v, want %v", ok, len(tt.want) > 0)
			}
			if ok && (values[0] != tt.want[0] || present[0] != 1 || tick != int64(len(tt.values)-1)) {
				t.Errorf("got %d at %d (present %b), want %d", values[0], tick, present[0], tt.want[0])
			}
		})
	}
}

// A group at 1 kHz gives ten preview rows a second at 10 Hz, each the last of
// its interval of event time, however the rows are cut into appends.
func TestPreviewRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := liveLast
		live.Channels = []string{"g.?a"}
		b := newBench(t, live, []wire.Group{group("g", 2), group("other", 1)})
		const start = int64(7_000_000_000)
		for i := int64(0); i < 3000; {
			var r sensors.Rows
			for range 10 + i%7 {
				r.Ticks = append(r.Ticks, start+i*1e6)
				r.Values = append(r.Values, i, -i)
				i++
			}
			if err := b.sinks[0].Append(r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(len(r.Ticks)) * time.Millisecond)
		}
		if err := b.sinks[0].Append(sensors.Rows{Group: 1, Ticks: []int64{start}, Values: []int64{1}}); err != nil {
			t.Fatal(err)
		}
		b.stop()
		got := b.received(t).points[wire.LaneLive]
		if len(got) < 60 || len(got) > 62 { // two channels; the last interval is a part
			t.Errorf("%d preview samples of 3 s", len(got))
		}
		for i := range int64(29) {
			n := i*100 + 99
			if got[point{"g.aa", start + n*1e6, n}] != 1 || got[point{"g.ba", start + n*1e6, -n}] != 1 {
				t.Errorf("no preview of row %d", n)
				break
			}
		}
	})
}

func TestPlanNamesAndPreviews(t *testing.T) {
	named := func(g string, channels ...string) wire.Group {
		out := wire.Group{Name: g}
		for _, c := range channels {
			out.Channels = append(out.Channels, wire.Channel{Name: c, Type: wire.TypeInt})
		}
		return out
	}
	wide := group("wide", 500)
	tests := []struct {
		name     string
		groups   []wire.Group // of source "s"
		live     config.Preview
		channels []string // some that must be there
		previews int      // channels in the live lane
	}{
		{"reserved and double names", []wire.Group{named("g", "ts_ns", "rpm"), named("g", "rpm", "")}, noLive, []string{"s.ts_ns", "rpm", "s.rpm", "s."}, 0},
		{"all", []wire.Group{named("g", "a", "b")}, liveLast, nil, 2},
		{"pattern", []wire.Group{named("g", "wheel_fl", "wheel_fr", "rpm")}, config.Preview{Rate: 10_000, Statistic: "mean", Channels: []string{"wheel_*"}}, nil, 2},
		{"bounded", []wire.Group{wide}, liveLast, nil, maxPreview},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPlan("car-7", []namedSource{{name: "s", source: &script{groups: tt.groups}}}, tt.live)
			if err != nil {
				t.Fatal(err)
			}
			names, previews := map[string]int{}, 0
			for _, g := range p.catalogue.Groups {
				for _, c := range g.Channels {
					if g.Lane == wire.LaneLive {
						previews++
					} else {
						names[c.Name]++
					}
				}
			}
			for _, c := range tt.channels {
				if names[c] != 1 {
					t.Errorf("channel %q is there %d times in %v", c, names[c], names)
				}
			}
			if previews != tt.previews {
				t.Errorf("%d previews, want %d", previews, tt.previews)
			}
			back, err := wire.ParseCatalogue(p.canonical)
			if err != nil || back.Hash() != p.hash {
				t.Errorf("catalogue does not read back: %v", err)
			}
		})
	}
	for _, channels := range []int{0, wire.MaxBlockColumns + 1} {
		bad := wire.Group{Name: "g", Channels: make([]wire.Channel, channels)}
		if _, err := newPlan("car-7", []namedSource{{name: "s", source: &script{groups: []wire.Group{bad}}}}, noLive); err == nil {
			t.Errorf("a group of %d channels was taken", channels)
		}
	}
}
