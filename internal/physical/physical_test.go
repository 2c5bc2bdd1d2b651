package physical_test

import (
	"math"
	"testing"

	"telemetry/internal/physical"
	"telemetry/wire"
)

func TestText(t *testing.T) {
	f64 := func(x float64) int64 { return int64(math.Float64bits(x)) }
	f32 := func(x float32) int64 { return int64(math.Float32bits(x)) }
	for _, c := range []struct {
		name          string
		t             wire.ValueType
		scale, offset float64
		raw           int64
		want          string
	}{
		{"integer", wire.TypeInt, 0, 0, math.MinInt64, "-9223372036854775808"},
		{"unsigned", wire.TypeUint, 1, 0, -1, "18446744073709551615"},
		{"whole scale that fits", wire.TypeInt, 10, -5, 1 << 58, "2882303761517117435"},
		{"whole scale that does not", wire.TypeInt, 10, -5, 1 << 60, "11529215046068470000.0"},
		{"unsigned that does not", wire.TypeUint, 2, 0, -1, "36893488147419103000.0"},
		{"fraction", wire.TypeInt, 0.1, 0, 3, "0.30000000000000004"},
		{"whole number of a fraction", wire.TypeInt, 0.5, 0, 4, "2.0"},
		{"two roundings", wire.TypeInt, 0.1, -0.3, 3, "5.551115123125783e-17"},
		{"float32", wire.TypeF32, 1, 0, f32(0.1), "0.10000000149011612"},
		{"minus zero", wire.TypeF64, 1, 0, f64(math.Copysign(0, -1)), "-0.0"},
		{"large", wire.TypeF64, 1, 0, f64(1e300), "1e+300"},
		{"a million", wire.TypeF64, 1, 0, f64(1e6), "1000000.0"},
		{"least", wire.TypeF64, 1, 0, f64(5e-324), "5e-324"},
		{"not a number", wire.TypeF64, 1, 0, f64(math.NaN()), "NaN"},
		{"infinity", wire.TypeF64, -2, 0, f64(math.Inf(1)), "-inf"},
		{"overflow", wire.TypeF64, 1e300, 0, f64(1e300), "inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := physical.Of(&wire.Channel{Type: c.t, Scale: c.scale, Offset: c.offset})
			if got := string(v.AppendText(nil, c.t, c.raw)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestWhatStaysExact(t *testing.T) {
	for _, c := range []struct {
		scale, offset float64
		exact, plain  bool
	}{{0, 0, true, true}, {1, 0, true, true}, {1, 2, true, false}, {0.5, 0, false, false}, {1e16, 0, false, false}, {1, math.NaN(), false, false}} {
		v := physical.Of(&wire.Channel{Scale: c.scale, Offset: c.offset})
		if v.Exact() != c.exact || v.Plain() != c.plain {
			t.Errorf("× %v + %v: exact %v, plain %v", c.scale, c.offset, v.Exact(), v.Plain())
		}
	}
}
