package uplink

import (
	"testing"

	"telemetry/wire"
)

// FuzzMessage: no message on ctl makes the engine fail, and what it says of
// batches that were never sent settles no flight.
func FuzzMessage(f *testing.F) {
	f.Add(wire.AppendAck(nil, &wire.Ack{Instance: "a", Nonce: 1, Counter: 1, State: wire.InstanceOK, Credit: 9, Links: []wire.LinkEcho{{Gen: firstGen, Messages: 1, LastSentNS: 5}}}))
	f.Add(wire.AppendCommand(nil, &wire.Command{ID: 1, Verb: "pull", NotAfterNS: 1_000_000_000, Args: map[string]string{"from_ns": "1", "to_ns": "2"}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSim(t, 1, threeLinks())
		s.run(s.now+200*ms, nil)
		s.e.Message(s.now, 0, s.e.links[0].cur.gen, b)
		s.step()
		s.run(s.now+200*ms, nil)
		s.e.Snapshot()
	})
}
