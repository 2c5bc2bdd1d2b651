package ingest_test

import (
	"testing"

	"telemetry/internal/config"
	"telemetry/receiver/ingest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Every link that a car may be given is heard, and acked.
func TestEveryLinkOfACarIsHeard(t *testing.T) {
	core := ingest.NewCore(ingest.Config{Instance: "pit", Nonce: 1, Names: topic.NewNames("")})
	var sealer wire.Sealer
	for link := range config.MaxLinks {
		id := wire.ID{Stream: wire.Stream{Car: "car-1", Epoch: wire.Epoch{Counter: 1, Nonce: 1}, Lane: wire.LaneCritical}, Seq: uint64(link + 1)}
		payload, err := sealer.Seal(wire.AppendSend(nil, wire.Send{Link: uint8(link), Gen: 1, SentNS: 1, Base: 1}), id,
			wire.Body{Lane: wire.LaneCritical, Payload: wire.AppendEvent(nil, &wire.Event{Name: "mark"}), Samples: 1})
		if err != nil {
			t.Fatal(err)
		}
		core.Message(0, ingest.Peer{Car: "car-1"}, "tele/car-1/critical", payload)
		if o := core.Take(); len(o.Produce) != 1 {
			t.Errorf("link %d: %d records", link, len(o.Produce))
		}
	}
	core.Tick(int64(ingest.AckInterval))
	if o := core.Take(); len(o.Publish) != config.MaxLinks {
		t.Errorf("acks on %d links, want %d", len(o.Publish), config.MaxLinks)
	}
}
