package filter

import (
	"context"
	"math"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/wire"
)

func group(types ...wire.ValueType) wire.Group {
	g := wire.Group{Name: "g", RateMilliHz: 8_000_000}
	for _, t := range types {
		g.Channels = append(g.Channels, wire.Channel{Name: "c", Type: t})
	}
	return g
}

// TestPhaseIsWhatItSays sends sines of many frequencies: what comes out is the
// sine at the time that stands on the row, as far as the passband reaches.
func TestPhaseIsWhatItSays(t *testing.T) {
	const rate, amplitude = 8000.0, 10_000.0
	for _, factor := range []int{2, 4, 16, 64} {
		for _, part := range []float64{0, 0.05, 0.1, 0.2, 0.3} { // of the new rate
			d, err := New(group(wire.TypeInt), factor)
			if err != nil {
				t.Fatal(err)
			}
			hz := part * rate / float64(factor)
			wave := func(tick int64) float64 { return amplitude * math.Cos(2*math.Pi*hz*float64(tick)/1e9) }
			var out [1]int64
			rows := 0
			for i := range int64(20_000) {
				tick := i * 125_000
				if at, ok := d.Add(tick, []int64{int64(math.Round(wave(tick)))}, out[:]); ok {
					rows++
					if diff := math.Abs(float64(out[0]) - wave(at)); diff > 0.011*amplitude {
						t.Fatalf("factor %d, %v Hz: %d at %d ns, want %.0f", factor, hz, out[0], at, wave(at))
					}
				}
			}
			if want := (20_000 - tapsPerFactor*factor - 1) / factor; rows < want || rows > want+1 {
				t.Errorf("factor %d: %d rows, want %d", factor, rows, want)
			}
		}
	}
}

func TestWhatWouldFoldIsGone(t *testing.T) {
	const rate = 8000.0
	for _, factor := range []int{2, 4, 16} {
		for _, part := range []float64{0.5, 0.6, 0.75, 1} {
			d, err := New(group(wire.TypeF64), factor)
			if err != nil {
				t.Fatal(err)
			}
			hz, most := part*rate/float64(factor), 0.0
			var out [1]int64
			for i := range int64(8000) {
				v := int64(math.Float64bits(math.Sin(2 * math.Pi * hz * float64(i) / rate)))
				if _, ok := d.Add(i, []int64{v}, out[:]); ok {
					most = math.Max(most, math.Abs(math.Float64frombits(uint64(out[0]))))
				}
			}
			if most > 0.00317 { // -50 dB
				t.Errorf("factor %d: %v of the new rate is left at %.1f dB", factor, part, 20*math.Log10(most))
			}
		}
	}
}

func TestKindsAndFaults(t *testing.T) {
	d, err := New(group(wire.TypeInt, wire.TypeUint, wire.TypeF32, wire.TypeF64), 2)
	if err != nil {
		t.Fatal(err)
	}
	row := []int64{-7, 9, int64(math.Float32bits(-1.5)), int64(math.Float64bits(2.25))}
	out, got := make([]int64, 4), 0
	for i := range int64(100) {
		if _, ok := d.Add(i, row, out); ok {
			got++
			if out[0] != -7 || out[1] != 9 || math.Abs(float64(math.Float32frombits(uint32(out[2])))+1.5) > 1e-6 || math.Abs(math.Float64frombits(uint64(out[3]))-2.25) > 1e-9 {
				t.Fatalf("a constant became %v", out)
			}
		}
	}
	if got == 0 {
		t.Error("nothing came out")
	}
	for _, factor := range []int{-1, 0, 1, 65} {
		if _, err := New(group(wire.TypeInt), factor); err == nil {
			t.Errorf("factor %d: taken", factor)
		}
	}
	g := group(wire.TypeInt)
	g.Channels[0].Enum = []wire.EnumValue{{Raw: 1, Name: "on"}}
	if _, err := New(g, 2); err == nil {
		t.Error("names were filtered")
	}
}

// ramp is a source whose value is the number of its row; it pauses in the middle.
type ramp struct{ g wire.Group }

func (r ramp) Groups() []wire.Group { return []wire.Group{r.g} }

func (r ramp) Run(_ context.Context, out sensors.Sink) error {
	for i := range int64(400) {
		tick := i * 125_000
		if i >= 200 {
			tick += 1e9
		}
		if err := out.Append(sensors.Rows{Ticks: []int64{tick}, Values: []int64{i}}); err != nil {
			return err
		}
	}
	return nil
}

type book struct{ ticks, values []int64 }

func (b *book) Append(r sensors.Rows) error {
	b.ticks, b.values = append(b.ticks, r.Ticks...), append(b.values, r.Values...)
	return nil
}
func (b *book) Event(wire.Event) error { return nil }

func TestSourceDoesNotFilterAcrossAPause(t *testing.T) {
	s, err := NewSource(ramp{group(wire.TypeInt)}, 4)
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Groups()[0]; g.RateMilliHz != 2_000_000 || !strings.Contains(g.Channels[0].Description, "linear-phase") {
		t.Errorf("%+v", g)
	}
	b := &book{}
	if err := s.Run(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i, tick := range b.ticks {
		want := tick / 125_000
		if tick >= 1e9 {
			want = (tick - 1e9) / 125_000
		}
		if b.values[i] != want {
			t.Errorf("row at %d is %d, want %d: a ramp passes as it is", tick, b.values[i], want)
		}
	}
	// Each half: 200 rows, of which 64 fill the filter.
	if len(b.ticks) != 2*34 || s.Counters() != nil || s.Lateness().Count != 0 {
		t.Errorf("%d rows", len(b.ticks))
	}
}
