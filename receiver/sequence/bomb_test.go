package sequence_test

import (
	"slices"
	"strings"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/wire"
)

// rowsOf returns the payload of blocks that say nothing often: one column of zeros each.
func rowsOf(t *testing.T, rows ...int) (payload []byte) {
	t.Helper()
	for _, n := range rows {
		b := wire.Block{Ticks: make([]int64, n), Columns: []wire.Column{{Type: wire.TypeInt, Values: make([]int64, n)}}}
		var err error
		if payload, err = wire.AppendBlock(payload, &b); err != nil {
			t.Fatal(err)
		}
	}
	return payload
}

// Less than a hundred bytes of a car can say a million times the same: as rows that is
// more than any transaction takes, and it would be read again after each start.
func TestFewBytesMakeNoOutputWithoutEnd(t *testing.T) {
	b, car := opened(t, config())
	foe := sequencetest.NewCar("foe", 1, 9)
	foe.Hash = car.Hash
	b.apply(foe.Open(), foe.Anchor(1, 1, utc, 1))
	b.write()
	var rows []int
	for range wire.MaxBatchCells / wire.MaxBlockRows {
		rows = append(rows, wire.MaxBlockRows)
	}
	bomb := foe.Seal(wire.Body{Lane: wire.LaneFull, Catalogue: foe.Hash, LastNS: 1, Samples: wire.MaxBatchCells, Payload: rowsOf(t, rows...)})
	if len(bomb.Value) > 100 {
		t.Errorf("the batch has %d bytes", len(bomb.Value))
	}
	b.apply(bomb, car.Full(1000*ms, 1))
	most, mark := 0, len(b.out)
	for {
		n := b.p.Drain(b.cfg.CommitBytes)
		most = max(most, b.p.OutputBytes())
		if b.answer(n); !n.Any() {
			if !b.p.Dirty() {
				break
			}
			b.commit()
		}
	}
	if most > b.cfg.CommitBytes+sequence.MaxMadeBytes {
		t.Errorf("%d bytes of output waited for one commit", most)
	}
	want(t, "output", b.out[mark:], "dlq undecodable", "gaps full#1-1 settled undecodable", "samples full#1:1/1 synced")
	if a := b.p.Alarms(); len(a) == 0 || !strings.Contains(a[len(a)-1].What, "of one batch") {
		t.Errorf("alarms: %+v", a)
	}
}

// A large block that stands in another place each time does not make every place large.
func TestDecoderForgetsLargeBlocks(t *testing.T) {
	car := sequencetest.NewCar("car-1", 1, 1)
	var d sequence.Decoder
	var b sequence.Batch
	small := []int{}
	for range 100 {
		r := car.Seal(wire.Body{Lane: wire.LaneFull, Catalogue: car.Hash, Payload: rowsOf(t, append(small, wire.MaxBlockRows)...)})
		if err := d.Decode(&b, r.Value); err != nil {
			t.Fatal(err)
		}
		small = append(small, 1)
	}
	cells := 0
	for _, k := range b.Blocks[:cap(b.Blocks)] {
		if cells += cap(k.Ticks); cap(k.Columns) > 0 {
			cells += cap(k.Columns[:1][0].Values)
		}
	}
	if cells > 5*wire.MaxBatchCells {
		t.Errorf("memory for %d cells is kept, a batch has %d at most", cells, wire.MaxBatchCells)
	}
}

// A car that describes itself anew again and again, at length, does not fill the memory
// with what it was.
func TestLargeCataloguesMakeRoom(t *testing.T) {
	b, car := opened(t, config())
	large := &wire.Catalogue{Car: "car-1", Groups: []wire.Group{{Name: "Engine", Channels: make([]wire.Channel, wire.MaxChannels)}}}
	var hashes []wire.CatalogueHash
	for i := range 3 {
		hashes = append(hashes, wire.HashCatalogue([]byte{byte(i)}))
		b.p.Learn(hashes[i], large)
	}
	for i, h := range hashes {
		car.Hash = h
		b.apply(car.Full(1000*ms, 1))
		n := b.p.Drain(1 << 20)
		if asked := slices.Contains(n.Catalogues, h); asked != (i < 2) {
			t.Errorf("catalogue %d is asked for: %v", i, asked)
		}
		if n.Any() {
			b.p.Learn(h, large)
			b.p.Drain(1 << 20)
			b.p.Learn(hashes[2], large)
		}
	}
}
