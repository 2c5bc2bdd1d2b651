package columns_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/wire"
)

func TestTablesStayWithinTheirLimits(t *testing.T) {
	for seed := range uint64(80) {
		b := columnstest.Random(rand.New(rand.NewPCG(seed, 4)))
		r := columns.NewReader(nil)
		places, last := 0, 0
		of, err := r.Read(b, func(tab *columns.Table) error {
			places++
			if len(tab.Columns) > columns.MaxColumns || len(tab.UTC)*len(tab.Columns) > columns.MaxCells || len(tab.UTC) != len(tab.Boot) {
				t.Errorf("seed %d: a table of %d rows and %d columns", seed, len(tab.UTC), len(tab.Columns))
			}
			if tab.Place <= last || tab.Place > tab.Of {
				t.Errorf("seed %d: place %d of %d after %d", seed, tab.Place, tab.Of, last)
			}
			last = tab.Place
			for i := range tab.Columns {
				c := &tab.Columns[i]
				if n := c.Len(); n == 0 || n > len(tab.UTC) || c.Rows == nil && n != len(tab.UTC) || c.Rows != nil && n != len(c.Rows) {
					t.Errorf("seed %d: column %s has %d values in %d rows at %v", seed, c.Channel.Name, n, len(tab.UTC), c.Rows)
				}
			}
			return nil
		})
		if err != nil || of < places+len(b.Events) || places == 0 {
			t.Errorf("seed %d: %d tables, %d places: %v", seed, places, of, err)
		}
	}
}

func TestNamesThatAreTaken(t *testing.T) {
	cat := &wire.Catalogue{Groups: []wire.Group{{Name: "g", Channels: []wire.Channel{{Name: "ts"}, {Name: "ts_"}, {Name: "other"}}}}}
	g := columns.NewPlans(func(_, c string) bool { return c != "other" }, "ts").Of(wire.CatalogueHash{1}, cat)[0]
	if g.Channels[0].Field != "ts__" || g.Channels[1].Field != "ts_" || g.Channels[2].Field != "other" {
		t.Errorf("fields %q %q %q", g.Channels[0].Field, g.Channels[1].Field, g.Channels[2].Field)
	}
	if !g.Channels[0].Taken || g.Channels[2].Taken || !g.Any {
		t.Errorf("taken: %v %v, any %v", g.Channels[0].Taken, g.Channels[2].Taken, g.Any)
	}
}

func TestPhysicalValues(t *testing.T) {
	channel := func(typ wire.ValueType, scale, offset float64) *columns.Channel {
		c := wire.Channel{Name: "c", Type: typ, Scale: scale, Offset: offset}
		g := columns.NewPlans(nil).Of(wire.CatalogueHash{}, &wire.Catalogue{Groups: []wire.Group{{Channels: []wire.Channel{c}}}})
		return &g[0].Channels[0]
	}
	ints := []struct {
		scale, offset float64
		raw, want     int64
		ok            bool
	}{
		{0, 0, math.MinInt64, math.MinInt64, true},
		{1, 5, math.MaxInt64 - 5, math.MaxInt64, true},
		{1, 5, math.MaxInt64 - 4, 0, false},
		{-1, 0, math.MinInt64, 0, false},
		{-1, 0, math.MaxInt64, -math.MaxInt64, true},
		{1000, -40, 1<<53 + 1, (1<<53+1)*1000 - 40, true},
		{1000, 0, math.MaxInt64 / 999, 0, false},
		{0.5, 0, 2, 0, false},
	}
	for _, c := range ints {
		got, ok := channel(wire.TypeInt, c.scale, c.offset).Int(wire.TypeInt, c.raw)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%d × %v + %v = %d, %v; want %d, %v", c.raw, c.scale, c.offset, got, ok, c.want, c.ok)
		}
	}
	if _, ok := channel(wire.TypeUint, 2, 0).Int(wire.TypeUint, -1); ok {
		t.Error("2^64 - 1 doubled fits")
	}
	nan := uint64(0x7ff8_0000_0000_1234)
	if got := math.Float64bits(channel(wire.TypeF64, 1, 0).Float(wire.TypeF64, int64(nan))); got != nan {
		t.Errorf("NaN's payload is %x, want %x", got, nan)
	}
	if got := channel(wire.TypeUint, 0.1, 0).Float(wire.TypeUint, -1); got != float64(math.MaxUint64)*0.1 {
		t.Errorf("unsigned: %v", got)
	}
}

func TestEnumValuesThatOccur(t *testing.T) {
	b := columnstest.Batch()
	var gear *columns.Column
	_, err := columns.NewReader(nil).Read(b, func(tab *columns.Table) error {
		for i := range tab.Columns {
			if c := &tab.Columns[i]; c.Channel.Name == "gear" {
				gear = c
				for k, want := range []bool{true, true, false} {
					if v, ok := c.EnumValue(&c.Channel.Enum[k]); ok != want || ok && v != c.Channel.Enum[k].Raw {
						t.Errorf("%s: %d, %v, want %v", c.Channel.Enum[k].Name, v, ok, want)
					}
				}
			}
		}
		return nil
	})
	if err != nil || gear == nil {
		t.Errorf("no gear: %v", err)
	}
}
