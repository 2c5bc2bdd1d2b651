package ingest

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"telemetry/wire"
)

// One car does its worst between every two batches of another: nothing of the
// other's is dropped, its credit stays, and memory stays within the limits.
func TestHostileCarHurtsNobodyElse(t *testing.T) {
	hash := wire.HashCatalogue([]byte("a catalogue that nobody has"))
	for name, attack := range map[string]func(r *rig, i int){
		"garbage": func(r *rig, i int) {
			for _, leaf := range []string{"critical", "live", "full", "catalogue", "answer", "nonsense"} {
				r.c.Message(r.now, Peer{Car: "foe"}, "tele/foe/"+leaf, bytes.Repeat([]byte{byte(i), 0xff}, i%700))
			}
		},
		"batches with a damaged payload": func(r *rig, i int) {
			topic, payload := r.message(msg{car: "foe", seq: uint64(i)})
			payload[len(payload)-1] ^= 1
			r.c.Message(r.now, Peer{Car: "foe"}, topic, payload)
		},
		"the topics of others": func(r *rig, i int) {
			topic, payload := r.message(msg{car: "car-1", seq: uint64(1_000_000 + i)})
			r.c.Message(r.now, Peer{Car: "foe"}, topic, payload)
			topic, payload = r.message(msg{car: "car-1", topic: "foe", seq: uint64(2_000_000 + i)})
			r.c.Message(r.now, Peer{Car: "foe"}, topic, payload)
		},
		"a flood beyond its credit": func(r *rig, i int) {
			for k := range 20 {
				r.deliver(msg{car: "foe", seq: uint64(20*i + k + 1), body: wire.Body{Payload: noiseBytes(12_000, i+k)}})
			}
		},
		"a flood of control records": func(r *rig, i int) {
			for k := range 100 {
				r.deliver(msg{car: "foe", lane: wire.LaneCritical, seq: uint64(100*i + k + 1), body: wire.Body{
					Control: true, Payload: wire.AppendBase(nil, &wire.Base{Epoch: wire.Epoch{Counter: 1, Nonce: 5}, Lane: wire.LaneFull, Base: 1}),
				}})
			}
		},
		"thousands of epochs": func(r *rig, i int) {
			for k := range 10 {
				r.deliver(msg{car: "foe", epoch: uint32(10*i + k), seq: 1})
			}
		},
		"thousands of connections": func(r *rig, i int) {
			r.deliver(msg{car: "foe", seq: uint64(i), send: wire.Send{Link: uint8(i % 16), Gen: uint32(i + 1)}})
		},
		"numbers far apart": func(r *rig, i int) {
			r.deliver(msg{car: "foe", seq: uint64(i) * 1_000_003})
		},
		"a catalogue that never comes": func(r *rig, i int) {
			r.deliver(msg{car: "foe", seq: uint64(i), body: wire.Body{Catalogue: hash, Samples: 1, Payload: noiseBytes(12_000, i)}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.CarCredit, c.TotalCredit = 1<<20, 4<<20 })
			r.listen()
			const batches = 300
			for i := 1; i <= batches; i++ {
				attack(r, i)
				before := r.c.n.Batches
				r.deliver(msg{seq: uint64(i), body: wire.Body{Payload: fmt.Appendf(nil, "batch %d", i)}})
				if r.c.n.Batches != before+1 {
					t.Fatalf("batch %d of the other car was not taken", i)
				}
				if i%10 == 0 { // Kafka is slow, but takes the other car's
					r.kafkaOf("car-1")
				}
				r.now += int64(time.Millisecond)
			}
			r.kafkaOf("car-1")
			if a := r.ack(); a.Credit < 1<<20 || a.State != wire.InstanceOK {
				t.Errorf("the other car is told a credit of %d, state %v", a.Credit, a.State)
			}
			r.wantSets(0, "", fmt.Sprintf("1-%d", batches))
			if got, limit := r.c.waiting+r.c.heldBytes, r.c.cfg.CarCredit*2+controlRoom; got > limit {
				t.Errorf("%d bytes in memory, the limit of one car is %d", got, limit)
			}
			if foe := r.c.cars["foe"]; foe != nil && (len(foe.streams) > MaxStreams || len(foe.links) > MaxLinks*MaxGens) {
				t.Errorf("%d streams and %d connections are remembered", len(foe.streams), len(foe.links))
			}
		})
	}
}

// kafkaOf takes what waits of one car only.
func (r *rig) kafkaOf(car string) {
	todo := r.out.Produce
	r.out.Produce = nil
	for _, p := range todo {
		if string(p.Record.Key) != car {
			r.out.Produce = append(r.out.Produce, p)
			continue
		}
		r.c.Produced(r.now, p.Token, nil)
	}
	r.collect()
}

// noiseBytes makes n bytes that nothing compresses.
func noiseBytes(n, seed int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*2862933555777941757 + 3037000493
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}
