package sequencetest

import (
	"fmt"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Catalogue returns a small catalogue: group 0 "Engine" (full: rpm, gear) and
// group 1 "Preview" (live: rpm).
func Catalogue(car string) *wire.Catalogue {
	return &wire.Catalogue{Car: car, Groups: []wire.Group{
		{Name: "Engine", Source: "sim", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "rpm", Type: wire.TypeInt, Scale: 0.25},
			{Name: "gear", Type: wire.TypeInt},
		}},
		{Name: "Preview", Source: "sim", Lane: wire.LaneLive, Channels: []wire.Channel{
			{Name: "rpm_live", Type: wire.TypeInt, Scale: 0.25, Stat: wire.StatLast},
		}},
	}}
}

// Car seals batches as a car does. Errors panic: the car of a test makes none.
type Car struct {
	Name  string
	Epoch wire.Epoch
	Hash  wire.CatalogueHash
	Base  uint64 // of the send header; 0 means 1
	Link  uint8

	seqs   map[wire.Lane]uint64
	sealer wire.Sealer
}

// NewCar returns a car whose catalogue is [Catalogue].
func NewCar(name string, counter uint32, nonce uint64) *Car {
	return &Car{
		Name: name, Epoch: wire.Epoch{Counter: counter, Nonce: nonce},
		Hash: Catalogue(name).Hash(), seqs: make(map[wire.Lane]uint64),
	}
}

// Seal numbers and seals one batch and returns its record.
func (c *Car) Seal(b wire.Body) topic.Record {
	c.seqs[b.Lane]++
	id := wire.ID{Stream: wire.Stream{Car: c.Name, Epoch: c.Epoch, Lane: b.Lane}, Seq: c.seqs[b.Lane]}
	sealed, err := c.sealer.Seal(nil, id, b)
	if err != nil {
		panic(fmt.Sprintf("sequencetest: seal %s: %v", id, err))
	}
	send := wire.Send{Link: c.Link, Gen: 1, SentNS: b.LastNS, Base: max(c.Base, 1)}
	return Record(id, send, sealed)
}

// Record returns the record that ingest writes for a sealed batch.
func Record(id wire.ID, send wire.Send, sealed []byte) topic.Record {
	return topic.Record{
		Key: []byte(id.Stream.Car), Value: sealed, Headers: topic.BatchHeaders(id, send, "ingest-1"), Partition: -1,
	}
}

// Pulled returns a copy of a record that was pulled forward.
func Pulled(r topic.Record) topic.Record {
	info, err := topic.ParseBatchHeaders(r.Headers)
	if err != nil {
		panic("sequencetest: " + err.Error())
	}
	info.Send.Pulled = true
	return Record(info.ID, info.Send, r.Value)
}

// Open returns the epoch's EpochOpen.
func (c *Car) Open(pred ...wire.Predecessor) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, Control: true,
		Payload: wire.AppendEpochOpen(nil, &wire.EpochOpen{Epoch: c.Epoch, Predecessors: pred}),
	})
}

// Anchor returns a time anchor.
func (c *Car) Anchor(id uint32, bootNS, utcNS, uncNS int64) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, Control: true, FirstNS: bootNS, LastNS: bootNS,
		Payload: wire.AppendAnchor(nil, &wire.Anchor{ID: id, BootNS: bootNS, UTCNS: utcNS, UncertaintyNS: uncNS, Source: wire.AnchorNTP}),
	})
}

// Loss returns a loss record about the car's own epoch.
func (c *Car) Loss(lane wire.Lane, first, last uint64, why wire.Reason) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, Control: true,
		Payload: wire.AppendLoss(nil, &wire.Loss{
			Epoch: c.Epoch, Lane: lane, Ranges: wire.Ranges{{First: first, Last: last}}, Reason: why,
		}),
	})
}

// Event returns an event.
func (c *Car) Event(bootNS int64, name string) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, FirstNS: bootNS, LastNS: bootNS, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: bootNS, Name: name}),
	})
}

// Full returns a batch of n rows of the group Engine, a millisecond apart.
func (c *Car) Full(bootNS int64, n int) topic.Record {
	b := wire.Block{Group: 0, Columns: []wire.Column{{Type: wire.TypeInt}, {Type: wire.TypeInt}}}
	for i := range n {
		b.Ticks = append(b.Ticks, bootNS+int64(i)*1e6)
		b.Columns[0].Values = append(b.Columns[0].Values, bootNS/1e6%20000+int64(i))
		b.Columns[1].Values = append(b.Columns[1].Values, int64(i%7))
	}
	return c.block(wire.LaneFull, &b)
}

// Live returns a batch of one row of the group Preview.
func (c *Car) Live(bootNS int64) topic.Record {
	return c.block(wire.LaneLive, &wire.Block{
		Group: 1, Ticks: []int64{bootNS},
		Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{bootNS / 1e6 % 20000}}},
	})
}

func (c *Car) block(l wire.Lane, b *wire.Block) topic.Record {
	payload, err := wire.AppendBlock(nil, b)
	if err != nil {
		panic("sequencetest: block: " + err.Error())
	}
	return c.Seal(wire.Body{
		Lane: l, Catalogue: c.Hash, FirstNS: b.Ticks[0], LastNS: b.Ticks[len(b.Ticks)-1],
		Samples: uint32(len(b.Ticks) * len(b.Columns)), Payload: payload,
	})
}
