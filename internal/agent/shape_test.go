package agent

import (
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

func channels(names ...string) []wire.Channel {
	var out []wire.Channel
	for _, n := range names {
		out = append(out, wire.Channel{Name: n, Type: wire.TypeInt, Scale: 1})
	}
	return out
}

func band(w config.Band) *config.Band { return &w }

// layout writes a plan's groups as "group/lane: channel channel".
func layout(p *plan) []string {
	var out []string
	for _, g := range p.catalogue.Groups {
		var names []string
		for _, c := range g.Channels {
			names = append(names, c.Name)
		}
		out = append(out, g.Name+"/"+g.Lane.String()+": "+strings.Join(names, " "))
	}
	return out
}

func TestShapeOfASource(t *testing.T) {
	engine := wire.Group{Name: "Engine", Channels: channels("rpm", "oil", "crc", "a/b")}
	gear := wire.Group{Name: "Gear", Channels: channels("Gear.crc", "Gear.no")}
	for _, tt := range []struct {
		name  string
		shape config.Shape
		live  config.Preview
		want  []string
		notes []string
	}{
		{"as it is", config.Shape{}, noLive, []string{"Engine/full: rpm oil crc a/b", "Gear/full: Gear.crc Gear.no"}, nil},
		{
			"include",
			config.Shape{Include: config.Patterns{"r?m", "Gear.*"}},
			noLive,
			[]string{"Engine/full: rpm", "Gear/full: Gear.crc Gear.no"},
			nil,
		},
		{"exclude wins", config.Shape{Include: config.Patterns{"Engine.*"}, Exclude: config.Patterns{"*crc", "a*"}}, noLive, []string{"Engine/full: rpm oil"}, nil},
		{
			"rename by either name",
			config.Shape{Rename: map[string]string{"rpm": "engine_speed", "Engine.oil": "oil_pressure"}},
			noLive,
			[]string{"Engine/full: engine_speed oil_pressure crc a/b", "Gear/full: Gear.crc Gear.no"},
			nil,
		},
		{
			"a name that is taken",
			config.Shape{Include: config.Patterns{"rpm", "oil"}, Rename: map[string]string{"oil": "rpm"}},
			noLive,
			[]string{"Engine/full: rpm s.rpm"},
			[]string{`sources[0].rename.oil: "rpm" is taken: the channel is called "s.rpm"`},
		},
		{
			"lane of a channel",
			config.Shape{Channels: []config.ChannelRule{{Match: config.Patterns{"oil", "Gear.*"}, Lane: "critical"}}},
			noLive,
			[]string{"Engine/full: rpm crc a/b", "Engine.critical/critical: oil", "Gear/critical: Gear.crc Gear.no"},
			nil,
		},
		{
			"later rules win",
			config.Shape{Include: config.Patterns{"Engine.*"}, Channels: []config.ChannelRule{{Match: config.Patterns{"*"}, Lane: "critical"}, {Match: config.Patterns{"oil"}, Lane: "full"}}},
			noLive,
			[]string{"Engine/full: oil", "Engine.critical/critical: rpm crc a/b"},
			nil,
		},
		{
			"previews",
			config.Shape{Include: config.Patterns{"Engine.*"}, Channels: []config.ChannelRule{
				{Match: config.Patterns{"crc"}, Preview: &config.ChannelPreview{Off: true}},
				{Match: config.Patterns{"oil", "a/b"}, Preview: &config.ChannelPreview{Rate: 2000, Statistic: "max"}},
			}},
			liveLast,
			[]string{"Engine/full: rpm oil crc a/b", "live.Engine/live: rpm", "live.Engine@2Hz/live: oil a/b"},
			nil,
		},
		{
			"a preview that live leaves out",
			config.Shape{Include: config.Patterns{"Engine.*"}, Channels: []config.ChannelRule{
				{Match: config.Patterns{"oil"}, Lane: "critical", Preview: &config.ChannelPreview{}},
			}},
			config.Preview{Rate: 10_000, Statistic: "last", Channels: config.Patterns{"none"}},
			[]string{"Engine/full: rpm crc a/b", "Engine.critical/critical: oil", "live.Engine.critical/live: oil"},
			nil,
		},
		{
			"nothing fits",
			config.Shape{
				Exclude: config.Patterns{"nosuch", "Gear.*"}, Rename: map[string]string{"Gear.no": "x"},
				Channels: []config.ChannelRule{{Match: config.Patterns{"Gear.*"}, Lane: "critical"}},
			},
			noLive,
			[]string{"Engine/full: rpm oil crc a/b"},
			[]string{
				`sources[0].exclude[0]: "nosuch" fits no channel`, "sources[0].rename.Gear.no: is no channel that is taken",
				"sources[0].channels[0].match: fits no channel that is taken",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := namedSource{name: "s", source: &script{groups: []wire.Group{engine, gear}}, at: "sources[0]", shape: tt.shape}
			p, err := newPlan("car-7", []namedSource{s}, tt.live)
			if err != nil {
				t.Fatal(err)
			}
			if got := layout(p); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if len(p.notes) != len(tt.notes) {
				t.Errorf("notes %v, want %q", p.notes, tt.notes)
			}
			for i, n := range p.notes[:min(len(p.notes), len(tt.notes))] {
				if got := n.path + ": " + n.text; !strings.HasPrefix(got, tt.notes[i]) {
					t.Errorf("note %q, want %q", got, tt.notes[i])
				}
			}
		})
	}
}

// What is said of signals, with a pattern that fits anything, leaves raw frames
// whole, in their lane and out of the preview.
func TestRawFramesStayWhole(t *testing.T) {
	s := namedSource{name: "s", source: &script{groups: []wire.Group{{Name: "Engine", Channels: channels("rpm", "oil")}, can.RawGroup("can0")}}, shape: config.Shape{
		Include: config.Patterns{"rpm"}, Exclude: config.Patterns{"*id"},
		Channels: []config.ChannelRule{{Match: config.Patterns{"*"}, Lane: "critical", Deadband: band(0), Preview: &config.ChannelPreview{}}},
	}}
	p, err := newPlan("car-7", []namedSource{s}, liveLast)
	if err != nil {
		t.Fatal(err)
	}
	got := layout(p)
	if len(got) != 3 || got[0] != "Engine/critical: rpm" || !strings.HasPrefix(got[1], "can0.raw/full: can0.raw.id ") || got[2] != "live.Engine/live: rpm" {
		t.Errorf("got %q", got)
	}
	if raw := &p.catalogue.Groups[1]; can.RawKeys(raw) == 0 || p.bands[1] != nil || p.routes[0][1][0].columns != nil {
		t.Errorf("raw frames are not whole: %+v", p.routes)
	}
}

// Each channel arrives in its lane, under its name, with its own values, however
// the rows are laid out; rows without a value of a part are not in it.
func TestRowsGoWhereTheirChannelsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := wire.Group{Name: "g", Channels: channels("a", "b", "c", "d")}
		b := newBenchOf(t, noLive, namedSource{name: "s", source: &script{groups: []wire.Group{g}}, shape: config.Shape{
			Exclude: config.Patterns{"c"}, Rename: map[string]string{"d": "dd"}, Channels: []config.ChannelRule{{Match: config.Patterns{"b"}, Lane: "critical"}},
		}})
		full, critical := map[point]int{}, map[point]int{}
		for i := range int64(500) {
			rows := sensors.Rows{Ticks: []int64{2 * i, 2*i + 1}, Values: []int64{i, -i, 7, i + 1, 10 * i, 20 * i, 8, 0}}
			full[point{"a", 2 * i, i}]++
			full[point{"dd", 2 * i, i + 1}]++
			if i%3 == 0 { // the second row holds c alone, and d
				rows.Present = []uint64{0b1100_1101}
				full[point{"dd", 2*i + 1, 0}]++
			} else if i%3 == 1 {
				rows.Present = []uint64{0b0100_1111} // c alone
				critical[point{"b", 2 * i, -i}]++
			} else {
				critical[point{"b", 2 * i, -i}]++
				critical[point{"b", 2*i + 1, 20 * i}]++
				full[point{"a", 2*i + 1, 10 * i}]++
				full[point{"dd", 2*i + 1, 0}]++
			}
			if err := b.sinks[0].Append(rows); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		b.stop()
		got := b.received(t)
		got.check(t, wire.LaneFull, full)
		got.check(t, wire.LaneCritical, critical)
	})
}

func TestDeadband(t *testing.T) {
	nan := int64(math.Float64bits(math.NaN()))
	f := func(x float64) int64 { return int64(math.Float64bits(x)) }
	const ms = int64(1e6)
	type in struct {
		tick, value int64
		out         bool
	}
	for _, tt := range []struct {
		name  string
		typ   wire.ValueType
		scale float64
		width config.Band
		rows  []in
	}{
		{"any change", wire.TypeInt, 1, 0, []in{{0, 5, true}, {ms, 5, false}, {2 * ms, 6, true}, {3 * ms, 6, false}, {4 * ms, 5, true}}},
		{"a width is inclusive", wire.TypeInt, 0.1, 0.7, []in{{0, 0, true}, {1, 6, false}, {2, 7, true}, {3, 1, false}, {4, 0, true}}},
		{"slow drift adds up", wire.TypeInt, 1, 3, []in{{0, 0, true}, {1, 1, false}, {2, 2, false}, {3, 3, true}, {4, 4, false}}},
		{"a second at most", wire.TypeInt, 1, 100, []in{{0, 0, true}, {999 * ms, 1, false}, {1000 * ms, 2, true}, {1999 * ms, 3, false}, {2000 * ms, 3, true}}},
		{"negative scale", wire.TypeInt, -2, 4, []in{{0, 0, true}, {1, -1, false}, {2, -2, true}}},
		{"no scale is 1", wire.TypeInt, 0, 2, []in{{0, 0, true}, {1, 1, false}, {2, 2, true}}},
		{"unsigned from the top", wire.TypeUint, 1, 10, []in{{0, -1, true}, {1, 0, true}, {2, 5, false}}},
		{"no number", wire.TypeF64, 1, 1, []in{{0, f(1), true}, {1, nan, true}, {2, nan, false}, {3, f(1), true}, {4, f(1.5), false}}},
		{"time goes back", wire.TypeInt, 1, 100, []in{{5000 * ms, 0, true}, {10 * ms, 0, true}}},
		{"large integers", wire.TypeInt, 1, 0, []in{{0, math.MaxInt64, true}, {1, math.MaxInt64 - 1, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := wire.Group{Channels: []wire.Channel{{Name: "free", Type: wire.TypeInt}, {Name: "x", Type: tt.typ, Scale: tt.scale}}}
			b := newBands(&g, []*shaped{{}, {band: band(tt.width)}})
			for i, r := range tt.rows {
				out, some := b.filter(r.tick, []int64{1, r.value}, nil, 0)
				if got := out[0]&2 != 0; got != r.out || out[0]&1 == 0 || !some {
					t.Errorf("row %d: goes out %v, want %v (map %b)", i, got, r.out, out)
				}
			}
		})
	}
	g := wire.Group{Channels: channels("x")}
	b := newBands(&g, []*shaped{{band: band(1)}})
	if _, some := b.filter(0, []int64{1}, []uint64{0b10}, 0); some {
		t.Error("an absent value went out")
	}
	b.filter(0, []int64{1}, []uint64{0b10}, 1)
	if _, some := b.filter(1, []int64{1}, nil, 0); some {
		t.Error("a row without a change went out")
	}
}

// The preview sees every value, the full lane those that have changed.
func TestDeadbandAndPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := wire.Group{Name: "g", Channels: channels("x")}
		b := newBenchOf(t, liveLast, namedSource{name: "s", source: &script{groups: []wire.Group{g}}, shape: config.Shape{
			Channels: []config.ChannelRule{{Match: config.Patterns{"x"}, Deadband: band(100), Preview: &config.ChannelPreview{Statistic: "mean", Rate: 2000}}},
		}})
		for i := range int64(2000) { // 0 to 10 again and again, 2 s
			if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{i * 1e6}, Values: []int64{i % 11}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		b.stop()
		got := b.received(t)
		got.check(t, wire.LaneFull, map[point]int{{"x", 0, 0}: 1, {"x", 1000e6, 1000 % 11}: 1})
		got.check(t, wire.LaneLive, map[point]int{{"x", 499e6, 5}: 1, {"x", 999e6, 5}: 1, {"x", 1499e6, 5}: 1, {"x", 1999e6, 5}: 1})
	})
}
