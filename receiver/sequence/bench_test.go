package sequence_test

import (
	"fmt"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
)

// BenchmarkPartition measures the whole way of batches in order: parse, reorder,
// decode, rows, state.
func BenchmarkPartition(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d rows a batch", rows), func(b *testing.B) {
			p, err := sequence.NewPartition(config(), 0, sequence.Loaded{Partitions: 1})
			if err != nil {
				b.Fatal(err)
			}
			car := sequencetest.NewCar("car-1", 1, 1)
			cat := sequencetest.Catalogue("car-1")
			p.Learn(cat.Hash(), cat)
			offset, bytes := int64(0), 0
			apply := func(r topic.Record) {
				r.Offset, r.TimestampMS = offset, utc/ms
				offset++
				bytes = len(r.Value)
				p.Apply(&r)
			}
			apply(car.Open())
			apply(car.Anchor(1, 0, utc, ms))
			recs := make([]topic.Record, 4096)
			next := len(recs)
			b.ReportAllocs()
			for b.Loop() {
				if next == len(recs) {
					b.StopTimer()
					for i := range recs {
						recs[i] = car.Full(1000*ms, rows)
					}
					next = 0
					b.StartTimer()
				}
				apply(recs[next])
				next++
				p.Drain(1 << 20)
				if p.OutputBytes() > 1<<20 || next == len(recs) {
					p.Commit()
					p.Committed()
				}
			}
			b.SetBytes(int64(bytes))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}
