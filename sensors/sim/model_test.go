package sim

import (
	"math"
	"math/big"
	"testing"
	"time"

	"telemetry/wire"
)

func newModel(t testing.TB, cfg Config) *Model {
	t.Helper()
	m, err := NewModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// find returns group and channel index of a name.
func find(t testing.TB, m *Model, name string) (group, channel int) {
	t.Helper()
	for g := range m.Groups() {
		for c := range m.Groups()[g].Channels {
			if m.Groups()[g].Channels[c].Name == name {
				return g, c
			}
		}
	}
	t.Fatalf("no channel %q", name)
	return 0, 0
}

func physical(c wire.Channel, raw int64) float64 { return float64(raw)*c.Scale + c.Offset }

func TestChannelCounts(t *testing.T) {
	for _, n := range []int{1, 5, 60, 100, 200, 513, 1000, 7777, MaxChannels} {
		m := newModel(t, Config{Channels: n, RateMilliHz: MaxRateMilliHz})
		names, total := map[string]bool{}, 0
		for _, g := range m.Groups() {
			if len(g.Channels) == 0 || len(g.Channels) > GroupSize {
				t.Errorf("%d channels: group %s has %d", n, g.Name, len(g.Channels))
			}
			if g.RateMilliHz < 1000 || g.RateMilliHz > MaxRateMilliHz || g.Lane != wire.LaneFull || names[g.Name] {
				t.Errorf("%d channels: group %s: rate %d lane %v, or its name is used twice", n, g.Name, g.RateMilliHz, g.Lane)
			}
			names[g.Name] = true
			for _, c := range g.Channels {
				if names["/"+c.Name] || c.Scale == 0 || c.Bits == 0 || c.Min >= c.Max {
					t.Errorf("%d channels: channel %+v", n, c)
				}
				names["/"+c.Name] = true
			}
			total += len(g.Channels)
		}
		if total != n {
			t.Errorf("got %d channels, want %d", total, n)
		}
	}
}

func TestSeeds(t *testing.T) {
	cfg := Config{Channels: 300, RateMilliHz: 500_000, Seed: 7}
	a, b := newModel(t, cfg), newModel(t, cfg)
	cfg.Seed = 8
	other := newModel(t, cfg)
	same, all := 0, 0
	for g := range a.Groups() {
		for c := range a.Groups()[g].Channels {
			for _, tick := range []int64{0, 1, 999, 1 << 33} {
				v := a.Value(g, c, tick)
				if w := b.Value(g, c, tick); v != w {
					t.Fatalf("group %d channel %d tick %d: %d and %d from one seed", g, c, tick, v, w)
				}
				all++
				if v == other.Value(g, c, tick) {
					same++
				}
			}
		}
	}
	if same > all/2 {
		t.Errorf("%d of %d values are the same with another seed", same, all)
	}
}

func TestFillIsValue(t *testing.T) {
	m := newModel(t, Config{Channels: 1200, RateMilliHz: 1_500_000, Seed: 3})
	row := make([]int64, GroupSize)
	for g := range m.Groups() {
		for _, tick := range []int64{0, 17, 4_000_000} {
			m.Fill(g, tick, row)
			for c := range m.Groups()[g].Channels {
				if got := m.Value(g, c, tick); got != row[c] {
					t.Fatalf("group %d channel %d tick %d: %d, in the row %d", g, c, tick, got, row[c])
				}
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { m.Fill(0, 5, row) }); n != 0 {
		t.Errorf("Fill allocates %v times", n)
	}
}

func TestValuesFitTheirBitsAndRange(t *testing.T) {
	m := newModel(t, Config{Channels: 2000, RateMilliHz: 200_000})
	for g, group := range m.Groups() {
		row := make([]int64, len(group.Channels))
		distinct := make([]map[int64]bool, len(row))
		for i := range distinct {
			distinct[i] = map[int64]bool{}
		}
		end := m.TickAt(g, m.LapStartNS(1))
		for tick := int64(0); tick < end; tick += 1 + end/400 {
			m.Fill(g, tick, row)
			for c, raw := range row {
				ch := &group.Channels[c]
				distinct[c][raw] = true
				lo, hi := int64(0), int64(1)<<ch.Bits-1
				if ch.Type == wire.TypeInt {
					lo, hi = -1<<(ch.Bits-1), 1<<(ch.Bits-1)-1
				}
				if v := physical(*ch, raw); raw < lo || raw > hi || v < ch.Min-ch.Scale || v > ch.Max+ch.Scale {
					t.Fatalf("%s: raw %d (%v %s) in %d bits, range %v to %v", ch.Name, raw, v, ch.Unit, ch.Bits, ch.Min, ch.Max)
				}
			}
		}
		for c, seen := range distinct {
			if ch := group.Channels[c]; len(seen) < 3 && ch.Bits > 6 && ch.Name != "lap_number" && ch.Name != "clutch" {
				t.Errorf("%s: only %d values in a lap", ch.Name, len(seen))
			}
		}
	}
}

func TestPlausibleCar(t *testing.T) {
	for seed := int64(0); seed < 6; seed++ {
		m := newModel(t, Config{RateMilliHz: 100_000, TrackSeed: seed})
		for _, tc := range []struct {
			name           string
			lowest, least  float64 // the minimum lies between
			most, greatest float64 // the maximum lies between
		}{
			{"speed", 30, 130, 200, 320},
			{"engine_rpm", 1900, 6500, 7500, 9000},
			{"gear", 1, 4, 5, 6},
			{"throttle", 0, 0, 95, 100},
			{"g_long", -4, -1.5, 0.5, 1.5},
			{"g_lat", -4, 0.1, 1, 4},
			{"g_vert", 0.5, 1, 1, 1.6},
			{"tyre_temp_fl_inner", 15, 60, 80, 130},
			{"brake_temp_fl", 130, 420, 300, 900},
			{"fuel_level", 85, 92, 91, 93},
			{"battery_voltage", 13, 14, 13.5, 14.5},
			{"oil_pressure", 2, 5, 4, 7},
		} {
			g, c := find(t, m, tc.name)
			ch := m.Groups()[g].Channels[c]
			lo, hi := math.Inf(1), math.Inf(-1)
			for tick, end := int64(0), m.TickAt(g, m.LapStartNS(1)); tick < end; tick++ {
				v := physical(ch, m.Value(g, c, tick))
				lo, hi = min(lo, v), max(hi, v)
			}
			if lo < tc.lowest || lo > tc.least || hi < tc.most || hi > tc.greatest {
				t.Errorf("track %d: %s runs from %.3f to %.3f (want a minimum of %v to %v, a maximum of %v to %v)",
					seed, tc.name, lo, hi, tc.lowest, tc.least, tc.most, tc.greatest)
			}
		}
	}
}

// The position that GNSS reports must move as fast as the speed says, close over
// a lap, and come back to the same place.
func TestClosedTrack(t *testing.T) {
	m := newModel(t, Config{RateMilliHz: 1_000_000, TrackSeed: 3})
	g, latC := find(t, m, "gnss_latitude")
	_, lonC := find(t, m, "gnss_longitude")
	_, speedC := find(t, m, "gnss_speed")
	group := m.Groups()[g]
	at := func(tick int64) (x, y float64) {
		lat := physical(group.Channels[latC], m.Value(g, latC, tick))
		lon := physical(group.Channels[lonC], m.Value(g, lonC, tick))
		return lon * metresPerDegree * math.Cos(lat*math.Pi/180), lat * metresPerDegree
	}
	step := float64(m.TickNS(g, 1)) / 1e9
	lapTicks := m.TickAt(g, m.LapStartNS(1))
	way, px, py := 0.0, 0.0, 0.0
	for tick := int64(0); tick <= lapTicks; tick++ {
		x, y := at(tick)
		if tick > 0 {
			d := math.Hypot(x-px, y-py)
			v := physical(group.Channels[speedC], m.Value(g, speedC, tick))
			if math.Abs(d/step-v) > 12 { // two fixes have 0.1 m of noise between them
				t.Fatalf("tick %d: moved at %.1f m/s, speed is %.1f m/s", tick, d/step, v)
			}
			way += d
		}
		px, py = x, y
	}
	x0, y0 := at(0)
	if d := math.Hypot(px-x0, py-y0); d > 90*step {
		t.Errorf("the lap ends %.1f m from its begin", d)
	}
	if math.Abs(way-m.TrackMetres()) > 0.02*m.TrackMetres() {
		t.Errorf("a lap is %.0f m by position, %.0f m by the track", way, m.TrackMetres())
	}
	if x, y := at(m.TickAt(g, m.LapStartNS(5))); math.Hypot(x-x0, y-y0) > 90*step {
		t.Errorf("lap 6 begins %.1f m away from lap 1", math.Hypot(x-x0, y-y0))
	}
}

func TestLapsCount(t *testing.T) {
	m := newModel(t, Config{RateMilliHz: 100_000, LapTime: 20 * time.Second, Speed: 2})
	g, lapC := find(t, m, "lap_number")
	_, distC := find(t, m, "lap_distance")
	if got, want := m.LapStartNS(1), int64(10e9); math.Abs(float64(got-want)) > 1e6 {
		t.Errorf("lap 2 begins after %d ns at twice the speed, want about %d", got, want)
	}
	for lap := int64(0); lap < 40; lap++ {
		tick := m.TickAt(g, m.LapStartNS(lap))
		if got := m.Value(g, lapC, tick); got != lap+1 {
			t.Errorf("lap_number is %d at the begin of lap %d", got, lap+1)
		}
		if lap > 0 && m.Value(g, lapC, tick-1) != lap {
			t.Errorf("lap_number is %d before the begin of lap %d", m.Value(g, lapC, tick-1), lap+1)
		}
		if d := m.Value(g, distC, tick); d > 100*1000/20 {
			t.Errorf("lap_distance is %d dm at the begin of lap %d", d, lap+1)
		}
	}
}

func TestTickTimesAreExact(t *testing.T) {
	m := newModel(t, Config{RateMilliHz: 1_500_000})
	for g := range m.Groups() {
		rate := m.Groups()[g].RateMilliHz
		for _, tick := range []int64{0, 1, 2, 1499, 1500, 1 << 30, 1 << 36} {
			want := new(big.Int).Mul(big.NewInt(tick), big.NewInt(1_000_000_000_000))
			want.Div(want, new(big.Int).SetUint64(rate))
			got := m.TickNS(g, tick)
			if !want.IsInt64() || got != want.Int64() {
				t.Errorf("rate %d tick %d: %d ns, want %v", rate, tick, got, want)
			}
			if back := m.TickAt(g, got); back != tick {
				t.Errorf("rate %d: tick %d at %d ns is found as %d", rate, tick, got, back)
			}
			if back := m.TickAt(g, got+1); back != tick+1 {
				t.Errorf("rate %d: after tick %d comes %d", rate, tick, back)
			}
		}
	}
}

func TestConfigFaults(t *testing.T) {
	for name, cfg := range map[string]Config{
		"channels": {Channels: MaxChannels + 1},
		"negative": {Channels: -1},
		"rate":     {RateMilliHz: MaxRateMilliHz + 1},
		"slow":     {RateMilliHz: 999},
		"lap":      {LapTime: time.Second},
		"speed":    {Speed: math.NaN()},
		"laps":     {Laps: -1},
	} {
		if _, err := NewModel(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a source without a clock was made")
	}
}

func BenchmarkFill(b *testing.B) {
	m := newModel(b, Config{Channels: 20_000, RateMilliHz: MaxRateMilliHz})
	for _, name := range []string{groupChassis, "vibration_001", "strain_001", "pressure_001", "temperature_001"} {
		g := 0
		for m.Groups()[g].Name != name {
			g++
		}
		row := make([]int64, len(m.Groups()[g].Channels))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			tick := int64(0)
			for b.Loop() {
				m.Fill(g, tick, row)
				tick++
			}
			b.ReportMetric(float64(b.N)*float64(len(row))/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		})
	}
}

func BenchmarkNewModel(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newModel(b, Config{Channels: MaxChannels, RateMilliHz: MaxRateMilliHz})
	}
}
