package timemap

import (
	"encoding/json"
	"testing"

	"telemetry/wire"
)

func TestBefore(t *testing.T) {
	full, shard, live := wire.Stream{Lane: wire.LaneFull}, wire.Stream{Lane: wire.LaneFull, Shard: 2}, wire.Stream{Lane: wire.LaneLive}
	var b Before
	b.Add(&full, wire.Ranges{{First: 1, Last: 4}, {First: 6, Last: 6}})
	b.Add(&shard, nil)
	text, err := json.Marshal(&b)
	if want := `{"streams":[{"lane":"full","numbers":[[1,4],[6,6]]}]}`; err != nil || string(text) != want {
		t.Errorf("written as %s, want %s: %v", text, want, err)
	}
	var read *Before
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	for seq, want := range map[uint64]bool{0: false, 1: true, 4: true, 5: false, 6: true, 7: false} {
		if got := read.Has(&full, seq); got != want {
			t.Errorf("has number %d: %v", seq, got)
		}
		if got := read.Reaches(&full, seq); got != (seq <= 6) {
			t.Errorf("reaches number %d: %v", seq, got)
		}
	}
	if read.Has(&shard, 1) || read.Has(&live, 1) || read.Reaches(&live, 1) || (*Before)(nil).Has(&full, 1) || (*Before)(nil).Reaches(&full, 1) {
		t.Error("another stream, or nothing, has some")
	}
}

// What a car does, or somebody in its name, does not make a time map too large.
func TestBeforeIsBounded(t *testing.T) {
	var holes wire.Ranges
	for i := range uint64(10 * MaxBefore) {
		holes = append(holes, wire.Range{First: 1 + 2*i, Last: 1 + 2*i})
	}
	var b Before
	for i := range 10 * MaxBefore {
		b.Add(&wire.Stream{Lane: wire.LaneFull, Shard: uint16(i)}, holes)
	}
	if len(b.Streams) != MaxBefore || len(b.Streams[0].Numbers) != MaxBefore {
		t.Fatalf("%d streams, %d runs", len(b.Streams), len(b.Streams[0].Numbers))
	}
	st := wire.Stream{Lane: wire.LaneFull}
	last := holes[len(holes)-1].Last
	if !b.Has(&st, 1) || !b.Has(&st, 2) || !b.Has(&st, last) || b.Has(&st, last-1) || b.Has(&st, last+1) {
		t.Errorf("its runs are %v", b.Streams[0].Numbers)
	}
}
