package demo

import (
	"errors"
	"fmt"
	"testing"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

func batch(lane wire.Lane, nonce, seq uint64) wire.ID {
	return wire.ID{Stream: wire.Stream{Car: "car", Epoch: wire.Epoch{Counter: 1, Nonce: nonce}, Lane: lane}, Seq: seq}
}

// step is one record of a story.
type step struct {
	id      wire.ID
	place   string
	samples int
	late    bool
}

func TestTallyCountsByIdentity(t *testing.T) {
	full := func(seq uint64, place string, n int) step { return step{batch(wire.LaneFull, 1, seq), place, n, false} }
	for _, c := range []struct {
		name  string
		made  uint64
		steps []step
		want  Result
		late  uint64
		open  int
	}{
		{"nothing was made", 0, nil, Result{}, 0, 0},
		{"all is there", 9, []step{full(1, "1/2", 3), full(1, "2/2", 3), full(2, "1/1", 3)}, Result{9, 9, 0, 0}, 0, 0},
		{"rows and batches in any order", 9, []step{full(2, "1/1", 3), full(1, "2/2", 3), full(1, "1/2", 3)}, Result{9, 9, 0, 0}, 0, 0},
		{"a row is missing", 9, []step{full(1, "1/2", 3), full(2, "1/1", 3)}, Result{9, 6, 3, 0}, 0, 1},
		{"a batch is missing", 9, []step{full(1, "1/1", 4), full(3, "1/1", 4)}, Result{9, 8, 1, 0}, 0, 0},
		{"a row lacks channels", 9, []step{full(1, "1/2", 3), full(1, "2/2", 2), full(2, "1/1", 3)}, Result{9, 8, 1, 0}, 0, 0},
		{"a row twice in an open batch", 6, []step{full(1, "1/2", 3), full(1, "1/2", 3), full(1, "2/2", 3)}, Result{6, 6, 0, 3}, 0, 0},
		{"a row twice after its batch is whole", 6, []step{full(1, "1/2", 3), full(1, "2/2", 3), full(1, "1/2", 3)}, Result{6, 6, 0, 3}, 0, 0},
		{"one missing and one double do not add up to right", 6, []step{full(1, "1/2", 3), full(1, "1/2", 3)}, Result{6, 3, 3, 3}, 0, 1},
		{"late is delivered", 6, []step{full(1, "1/1", 3), {batch(wire.LaneFull, 1, 2), "1/1", 3, true}}, Result{6, 6, 0, 0}, 3, 0},
		{"in order and late is double", 3, []step{full(1, "1/1", 3), {batch(wire.LaneFull, 1, 1), "1/1", 3, true}}, Result{3, 3, 0, 3}, 0, 0},
		{"more than was made is double", 2, []step{full(1, "1/1", 3)}, Result{2, 3, 0, 1}, 0, 0},
		{"equal numbers of two epochs are two batches", 6, []step{full(1, "1/1", 3), {batch(wire.LaneFull, 2, 1), "1/1", 3, false}}, Result{6, 6, 0, 0}, 0, 0},
		{"equal numbers of two lanes are two batches", 3, []step{full(1, "1/1", 3), {batch(wire.LaneCritical, 1, 1), "1/1", 1, false}}, Result{3, 3, 0, 0}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := NewTally()
			for _, s := range c.steps {
				if _, err := tally.Add(s.id, s.place, s.samples, s.late); err != nil {
					t.Fatal(err)
				}
			}
			l := tally.Lane(wire.LaneFull)
			if got := settle(c.made, l); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if l.Late != c.late || tally.Open() != c.open {
				t.Errorf("late %d, open %d, want %d, %d", l.Late, tally.Open(), c.late, c.open)
			}
			if good := c.want.Missing == 0 && c.want.Duplicates == 0; settle(c.made, l).Good() != good {
				t.Errorf("good is %v", !good)
			}
		})
	}
}

func TestTallyRefusesTheImpossible(t *testing.T) {
	tally := NewTally()
	for _, place := range []string{"", "1", "0/3", "4/3", "x/3", "1/y", "-1/3"} {
		if _, err := tally.Add(batch(wire.LaneFull, 1, 1), place, 1, false); !errors.Is(err, errTally) {
			t.Errorf("place %q: %v", place, err)
		}
	}
	if _, err := tally.Add(batch(wire.LaneFull, 1, 1), "1/3", 1, false); err != nil {
		t.Fatal(err)
	}
	if _, err := tally.Add(batch(wire.LaneFull, 1, 1), "2/4", 1, false); !errors.Is(err, errTally) {
		t.Errorf("a batch of 3 and of 4 records: %v", err)
	}
	if _, err := tally.Add(batch(0, 1, 1), "1/1", 1, false); !errors.Is(err, errTally) {
		t.Errorf("no lane: %v", err)
	}
}

func TestTallyOfManyBatchesStaysSmall(t *testing.T) {
	tally := NewTally()
	for seq := uint64(1); seq <= 50_000; seq++ {
		for row := 1; row <= 3; row++ {
			if _, err := tally.Add(batch(wire.LaneFull, 1, seq), fmt.Sprintf("%d/3", row), 1, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := tally.streams[batch(wire.LaneFull, 1, 1).Stream]
	if len(s.whole) != 1 || len(s.part) != 0 {
		t.Errorf("%d ranges and %d open batches remain", len(s.whole), len(s.part))
	}
}

func TestIdentityComesFromHeaders(t *testing.T) {
	hs := []topic.Header{
		{Key: "car", Value: []byte("car")},
		{Key: "epoch", Value: []byte("1")},
		{Key: "nonce", Value: []byte("0000000000000007")},
		{Key: "lane", Value: []byte("full")},
		{Key: "seq", Value: []byte("12")},
		{Key: "row", Value: []byte("3/4")},
	}
	id, place, err := identityOf(&topic.Record{Headers: hs})
	if err != nil || id != batch(wire.LaneFull, 7, 12) || place != "3/4" {
		t.Errorf("got %v %q, %v", id, place, err)
	}
	if _, _, err := identityOf(&topic.Record{Headers: hs[1:]}); !errors.Is(err, errTally) {
		t.Errorf("without a car: %v", err)
	}
}
