package filter

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/wire"
)

// tape is a source that plays rows, and tells an anchor at its end.
type tape struct {
	groups []wire.Group
	rows   []sensors.Rows
	err    error
}

func (s *tape) Groups() []wire.Group { return s.groups }

func (s *tape) Run(_ context.Context, out sensors.Sink) error {
	for _, r := range s.rows {
		if err := out.Append(r); err != nil {
			return err
		}
	}
	if a, ok := out.(sensors.AnchorSink); ok {
		return errors.Join(s.err, a.Anchor(wire.Anchor{BootNS: 7}))
	}
	return s.err
}

func (s *tape) Counters() []sensors.Counter { return []sensors.Counter{{Name: "played"}} }

// timedTape is polled.
type timedTape struct{ tape }

func (*timedTape) Lateness() sensors.Lateness { return sensors.Lateness{MaxNS: 5} }

// shelf keeps rows.
type shelf struct {
	t       *testing.T
	groups  []wire.Group
	group   int
	ticks   []int64
	values  []int64
	has     []bool
	anchors int
}

func (b *shelf) Append(r sensors.Rows) error {
	if err := r.Check(b.groups); err != nil {
		b.t.Fatal(err)
	}
	if r.Group != b.group {
		return nil
	}
	b.ticks, b.values = append(b.ticks, r.Ticks...), append(b.values, r.Values...)
	for i := range r.Values {
		b.has = append(b.has, sensors.Bit(r.Present, i))
	}
	return nil
}

func (b *shelf) Event(wire.Event) error   { return nil }
func (b *shelf) Anchor(wire.Anchor) error { b.anchors++; return nil }

func twoColumns() []wire.Group {
	return []wire.Group{
		{Name: "other", Channels: []wire.Channel{{Name: "x"}}},
		{Name: "g", RateMilliHz: 1_000_000, Channels: []wire.Channel{{Name: "v", Type: wire.TypeInt, Description: "a value"}, {Name: "raw", Type: wire.TypeInt}}},
	}
}

// play runs rows of (wave, number) through a low pass of hz and returns what comes
// out.
func play(t *testing.T, hz float64, parts []sensors.Rows) *shelf {
	t.Helper()
	src, err := Smooth(&tape{groups: twoColumns(), rows: parts}, []Cut{{Group: 1, Column: 0, Hz: hz}})
	if err != nil {
		t.Fatal(err)
	}
	b := &shelf{t: t, groups: src.Groups(), group: 1}
	if err := src.Run(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b
}

// wave makes n rows at 1 kHz from row first on, in runs of so many.
func wave(first, n, run int, at func(sec float64) float64) (parts []sensors.Rows) {
	for from := first; from < first+n; from += run {
		r := sensors.Rows{Group: 1}
		for i := from; i < min(from+run, first+n); i++ {
			r.Ticks = append(r.Ticks, int64(1e9)+int64(i)*1e6)
			r.Values = append(r.Values, int64(math.Round(at(float64(i)/1000))), int64(i))
		}
		parts = append(parts, r)
	}
	return parts
}

// TestLowPassKeepsThePhase: what passes comes out at the very time at which it went
// in, and what is faster does not.
func TestLowPassKeepsThePhase(t *testing.T) {
	const amplitude, cut = 1e6, 20.0
	for _, c := range []struct{ hz, least, most float64 }{
		{0.1, 0.99, 1.01}, {5, 0.99, 1.01}, {10, 0.99, 1.01}, {20, 0.48, 0.52}, {30, 0, 0.004}, {47, 0, 0.003}, {499, 0, 0.003},
	} {
		sine := func(sec float64) float64 { return amplitude * math.Sin(2*math.Pi*c.hz*sec) }
		b := play(t, cut, wave(0, 3000, 17, sine))
		worst, top := 0.0, 0.0
		for i := 200; i < 2800; i++ {
			want := sine(float64(i) / 1000)
			top = max(top, math.Abs(float64(b.values[2*i])))
			worst = max(worst, math.Abs(float64(b.values[2*i])-want*(c.least+c.most)/2))
		}
		if c.hz >= 5 && (top < c.least*amplitude || top > c.most*amplitude) {
			t.Errorf("%v Hz: %v of it comes out, want %v to %v", c.hz, top/amplitude, c.least, c.most)
		}
		if worst > 0.021*amplitude {
			t.Errorf("%v Hz: up to %v of the height away from where it should be", c.hz, worst/amplitude)
		}
	}
}

// TestEveryRowComesOutOnce with its time, over runs of any length, pauses, late rows
// and the end.
func TestEveryRowComesOutOnce(t *testing.T) {
	flat := func(float64) float64 { return 1000 }
	for _, run := range []int{1, 7, 500, 5000} {
		parts := wave(0, 1234, run, flat)
		parts = append(parts, wave(2000, 1, 1, flat)...) // alone between two pauses
		parts = append(parts, wave(3000, 900, run, flat)...)
		parts = append(parts, wave(3100, 3, 3, flat)...) // late
		parts = append(parts, sensors.Rows{Group: 0, Ticks: []int64{1}, Values: []int64{1}})
		b := play(t, 20, parts)
		var want, late []int64
		for _, p := range parts {
			if p.Group == 1 && p.Values[1] == 3100 && len(p.Ticks) == 3 && len(want) > 2000 {
				late = p.Ticks
				continue
			}
			if p.Group == 1 {
				want = append(want, p.Ticks...)
			}
		}
		got := slices.Clone(b.ticks)
		slices.Sort(got)
		all := append(slices.Clone(want), late...)
		slices.Sort(all)
		if !slices.Equal(got, all) {
			t.Errorf("runs of %d: %d rows came out, want %d", run, len(got), len(all))
		}
		for i, tick := range b.ticks {
			if b.values[2*i] != 1000 || b.values[2*i+1] != (tick-1e9)/1e6 {
				t.Fatalf("runs of %d: row %d is %v", run, i, b.values[2*i:2*i+2])
			}
		}
		if b.anchors != 1 {
			t.Errorf("%d anchors", b.anchors)
		}
	}
}

// TestAbsentValuesStayAbsent, and leave those beside them as they are.
func TestAbsentValuesStayAbsent(t *testing.T) {
	parts := wave(0, 400, 50, func(sec float64) float64 { return 1e5 * sec })
	for i := range parts {
		parts[i].Present = []uint64{^uint64(0), ^uint64(0)}
		parts[i].Present[0] &^= 1 << 20 // the value of row 10
	}
	b := play(t, 50, parts)
	for i := range b.ticks {
		if has := i%50 != 10; b.has[2*i] != has || !b.has[2*i+1] {
			t.Fatalf("row %d: present %t %t", i, b.has[2*i], b.has[2*i+1])
		}
		// A ramp passes a symmetric filter unchanged.
		if want := int64(i * 100); b.has[2*i] && (b.values[2*i] < want-1 || b.values[2*i] > want+1) {
			t.Errorf("row %d: %d, want %d", i, b.values[2*i], want)
		}
	}
}

func TestSmoothTellsWhatItIs(t *testing.T) {
	src, err := Smooth(&tape{groups: twoColumns()}, []Cut{{Group: 1, Column: 0, Hz: 20}, {Group: 1, Column: 1, Hz: 100}})
	if err != nil {
		t.Fatal(err)
	}
	g := src.Groups()[1]
	if want := "a value; linear-phase low pass of 20 Hz over 166 ms, delay 0"; !strings.HasPrefix(g.Channels[0].Description, want) || g.RateMilliHz != 1_000_000 {
		t.Errorf("%q", g.Channels[0].Description)
	}
	if _, timed := src.(sensors.Timed); timed || src.(sensors.Health).Counters()[0].Name != "played" {
		t.Error("it tells of another source")
	}
	polled, err := Smooth(&timedTape{tape{groups: twoColumns()}}, []Cut{{Group: 1, Column: 0, Hz: 20}})
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := polled.(sensors.Timed); !ok || l.Lateness().MaxNS != 5 {
		t.Error("how late reads were is lost")
	}
	named := twoColumns()
	named[1].Channels[0].Enum = []wire.EnumValue{{Raw: 1, Name: "on"}}
	for name, c := range map[string]struct {
		groups []wire.Group
		cut    Cut
	}{
		"no rate": {twoColumns(), Cut{Group: 0, Hz: 1}},
		"names":   {named, Cut{Group: 1, Hz: 20}},
		"fast":    {twoColumns(), Cut{Group: 1, Hz: 334}},
		"slow":    {twoColumns(), Cut{Group: 1, Hz: 0.3}},
		"none":    {twoColumns(), Cut{Group: 1}},
	} {
		if _, err := Smooth(&tape{groups: c.groups}, []Cut{c.cut}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSmoothEndsWithItsSource(t *testing.T) {
	failed := errors.New("device is gone")
	src, err := Smooth(&tape{groups: twoColumns(), rows: wave(0, 10, 10, func(float64) float64 { return 3 }), err: failed}, []Cut{{Group: 1, Column: 0, Hz: 20}})
	if err != nil {
		t.Fatal(err)
	}
	b := &shelf{t: t, groups: src.Groups(), group: 1}
	if err := src.Run(t.Context(), b); !errors.Is(err, failed) || len(b.ticks) != 10 {
		t.Errorf("%d rows, %v", len(b.ticks), err)
	}
}
