package reorder

import (
	"testing"

	"telemetry/wire"
)

// inOrder is a car in the middle of an epoch, and its next records.
func inOrder(tb testing.TB, l wire.Lane) (next func()) {
	tb.Helper()
	cfg := Defaults()
	c := NewCar("car-7", cfg)
	var out Out
	in := Input{Header: wire.Header{Stream: wire.Stream{Car: "car-7", Epoch: ep(1), Lane: wire.LaneCritical}, Seq: 1}}
	opens()(&in)
	anchors(&in)
	c.Apply(&in, &out)
	in = Input{Header: wire.Header{Stream: wire.Stream{Car: "car-7", Epoch: ep(1), Lane: l}, Samples: 100, Catalogue: wire.CatalogueHash{3}}}
	return func() {
		in.Offset++
		in.Header.Seq++
		in.AppendMS = in.Offset / 4
		in.Header.PayloadCRC++
		in.Send.Base = in.Header.Seq
		out.Reset()
		c.Apply(&in, &out)
		if len(out.Decisions) != 1 || out.Decisions[0].Kind != KindRelease {
			tb.Fatalf("decided %+v", out.Decisions)
		}
	}
}

func TestInOrderAllocatesNothing(t *testing.T) {
	next := inOrder(t, wire.LaneFull)
	if n := testing.AllocsPerRun(2000, next); n != 0 {
		t.Errorf("%v allocations per batch in order, want 0", n)
	}
}

func BenchmarkInOrder(b *testing.B) {
	next := inOrder(b, wire.LaneFull)
	b.ReportAllocs()
	for b.Loop() {
		next()
	}
}

// BenchmarkStriped is three links that overtake one another: every third batch
// comes late by eight.
func BenchmarkStriped(b *testing.B) {
	c := NewCar("car-7", Defaults())
	var out Out
	in := Input{Header: wire.Header{Stream: wire.Stream{Car: "car-7", Epoch: ep(1), Lane: wire.LaneCritical}, Seq: 1}}
	opens()(&in)
	anchors(&in)
	c.Apply(&in, &out)
	in = Input{Header: wire.Header{Stream: wire.Stream{Car: "car-7", Epoch: ep(1), Lane: wire.LaneFull}, Samples: 1}}
	apply := func(seq uint64) {
		in.Offset++
		in.AppendMS = in.Offset / 4
		in.Header.Seq = seq
		out.Reset()
		c.Apply(&in, &out)
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i++
		if i%3 != 0 {
			apply(i)
		} else if i > 9 {
			apply(i - 9)
		}
	}
}

func BenchmarkDuplicate(b *testing.B) {
	c := NewCar("car-7", Defaults())
	var out Out
	in := Input{Header: wire.Header{Stream: wire.Stream{Car: "car-7", Epoch: ep(1), Lane: wire.LaneCritical}, Seq: 1}}
	opens()(&in)
	c.Apply(&in, &out)
	b.ReportAllocs()
	for b.Loop() {
		in.Offset++
		out.Reset()
		c.Apply(&in, &out)
	}
}

func BenchmarkAppendState(b *testing.B) {
	sim := simulate(3, false)
	c := NewCar(simCarName, simConfig(1))
	var out Out
	for i := range sim.log {
		c.Apply(&sim.log[i].Input, &out)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = c.AppendState(buf[:0])
	}
	b.ReportMetric(float64(len(buf)), "bytes")
}
