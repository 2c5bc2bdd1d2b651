package sequence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// One car on a partition does its worst between every two batches of another: the
// other's come out at once and in order, and state and memory stay small.
func TestHostileCarHurtsNobodyElse(t *testing.T) {
	foe := func(epoch uint32) *sequencetest.Car { return sequencetest.NewCar("foe", epoch, 9) }
	one := foe(1)
	for name, attack := range map[string]func(i int) []topic.Record{
		"garbage": func(i int) []topic.Record {
			return []topic.Record{{Key: []byte("foe"), Value: []byte(strings.Repeat("?", i))}}
		},
		"thousands of epochs": func(i int) []topic.Record {
			var recs []topic.Record
			for k := range 10 {
				c := foe(uint32(10*i + k + 2))
				recs = append(recs, c.Open(), c.Event(1, "x"))
			}
			return recs
		},
		"holes without end": func(int) []topic.Record {
			one.Seal(wire.Body{Lane: wire.LaneFull, Payload: []byte{100, 0}}) // a number that never comes
			return []topic.Record{one.Full(1000*ms, 3)}
		},
		"losses of everything": func(i int) []topic.Record {
			return []topic.Record{one.Loss(wire.LaneFull, uint64(3*i), uint64(3*i), wire.ReasonQuota)}
		},
		"catalogues that nobody has": func(i int) []topic.Record {
			c := foe(1)
			c.Hash = wire.HashCatalogue(fmt.Append(nil, i))
			return []topic.Record{c.Full(int64(i)*ms, 1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.CarBytes = 1 << 20
			b, car := opened(t, cfg)
			b.apply(one.Open())
			b.write()
			for i := 1; i <= 300; i++ {
				b.nowMS += 10
				b.apply(attack(i)...)
				b.apply(car.Full(int64(1000+i)*ms, 1))
				var mine []string
				for _, p := range b.write() {
					if string(p.Key) == "car-1/Engine" {
						mine = append(mine, places([]topic.Record{p})...)
					}
				}
				if w := []string{fmt.Sprintf("samples full#%d:1/1 synced", i)}; !slices.Equal(mine, w) {
					t.Fatalf("beside attack %d: %q came out, want %q", i, mine, w)
				}
			}
			b.tick(2 * time.Minute)
			b.write()
			if n := len(b.state["foe"].Value); n > 200_000 {
				t.Errorf("state of the hostile car has %d bytes", n)
			}
			if n := len(b.state["car-1"].Value); n > 2000 {
				t.Errorf("state of the other car has %d bytes", n)
			}
			if used := b.cfg.Budget.Used(); used > cfg.CarBytes {
				t.Errorf("%d bytes are held, the limit of a car is %d", used, cfg.CarBytes)
			}
		})
	}
}
