package ingest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// catalogue returns a catalogue of n channels, its hash and its parts.
func catalogue(t *testing.T, n int) (wire.CatalogueHash, []wire.CataloguePart) {
	t.Helper()
	c := wire.Catalogue{Car: "car-1", Groups: []wire.Group{{Name: "g", Source: "s", Lane: wire.LaneFull}}}
	for i := range n {
		c.Groups[0].Channels = append(c.Groups[0].Channels, wire.Channel{Name: fmt.Sprintf("channel %d %x", i, i*i*7919), Type: wire.TypeInt})
	}
	canonical := c.Append(nil)
	parts, err := wire.SplitCatalogue(canonical, 64)
	if err != nil {
		t.Fatal(err)
	}
	return wire.HashCatalogue(canonical), parts
}

func (r *rig) send(p wire.CataloguePart) {
	r.c.Message(r.now, Peer{}, "tele/car-1/catalogue", wire.AppendCataloguePart(nil, &p))
	r.collect()
}

func (r *rig) answerWith(id uint64, ok bool) {
	r.c.Message(r.now, Peer{}, "tele/car-1/answer", wire.AppendAnswer(nil, &wire.Answer{ID: id, OK: ok}))
	r.collect()
}

// seqs lists the batches in Kafka.
func (r *rig) seqs() string {
	var out []string
	for _, rec := range r.log {
		if rec.Topic == r.c.cfg.Names.Batches {
			seq, _ := rec.Get(topic.HeaderSeq)
			out = append(out, seq)
		}
	}
	return fmt.Sprint(out)
}

func TestBatchWaitsForItsCatalogue(t *testing.T) {
	r := newRig(t, nil)
	r.listen()
	h, parts := catalogue(t, 20)
	r.deliver(msg{seq: 1})                                // needs none
	r.deliver(msg{seq: 2, body: wire.Body{Catalogue: h}}) // needs it
	r.deliver(msg{seq: 3})                                // order within the stream
	r.deliver(msg{seq: 4, body: wire.Body{Control: true}})
	r.deliver(msg{lane: wire.LaneCritical, seq: 1}) // another stream
	r.kafka(nil)
	if got := r.seqs(); got != "[1 4 1]" {
		t.Errorf("produced %s, want [1 4 1]", got)
	}
	r.wantSets(0, "2-3", "1 4")
	r.pass(10 * time.Second)
	if a := r.ack(); a.State != wire.InstanceOK || a.Credit == 0 {
		t.Errorf("state %d, credit %d while only a catalogue is missing, want ok and some", a.State, a.Credit)
	}
	for i := range parts { // any order
		r.send(parts[(i+3)%len(parts)])
	}
	r.wantSets(0, "2-3", "1 4") // complete, but not durable
	r.kafka(nil)                // the catalogue
	r.kafka(nil)                // the batches
	r.wantSets(0, "", "1-4")
	if got := r.seqs(); got != "[1 4 1 2 3]" {
		t.Errorf("produced %s, want [1 4 1 2 3]", got)
	}
	r.deliver(msg{seq: 5, body: wire.Body{Catalogue: h}})
	r.kafka(nil)
	r.wantSets(0, "", "1-5")
}

func TestCatalogueIsAskedForUntilItComes(t *testing.T) {
	r := newRig(t, nil)
	h, parts := catalogue(t, 20)
	r.c.Attached(r.now, "car-1", 0, true)
	r.deliver(msg{seq: 1, body: wire.Body{Catalogue: h}})
	r.pass(100 * time.Millisecond)
	if len(r.cmds) != 1 || r.cmds[0].Verb != "catalogue" || r.cmds[0].Args["hash"] != h.String() {
		t.Fatalf("commands %+v, want one for %s", r.cmds, h)
	}
	id := r.cmds[0].ID
	r.pass(wantRetry) // no answer, no part: the same command, in case it was lost
	if len(r.cmds) != 2 || r.cmds[1].ID != id {
		t.Fatalf("%d commands, want the first repeated", len(r.cmds))
	}
	for range 5 { // parts come slowly: leave the transfer alone
		r.send(parts[0])
		r.pass(wantRetry - time.Second)
	}
	if len(r.cmds) != 2 {
		t.Errorf("%d commands while parts come", len(r.cmds))
	}
	r.answerWith(id, true) // sent, but parts were lost: a new transfer
	r.pass(wantAgain + 200*time.Millisecond)
	if len(r.cmds) != 3 || r.cmds[2].ID == id {
		t.Fatalf("%d commands, want a new one after the answer", len(r.cmds))
	}
	for _, p := range parts {
		r.send(p)
	}
	r.kafka(nil)
	r.kafka(nil)
	r.wantSets(0, "", "1")
	r.pass(time.Minute)
	if len(r.cmds) != 3 {
		t.Errorf("%d commands after it is known", len(r.cmds))
	}
}

func TestLostCatalogueDoesNotHoldDataForEver(t *testing.T) {
	r := newRig(t, nil)
	h, _ := catalogue(t, 20)
	r.c.Attached(r.now, "car-1", 0, true)
	r.deliver(msg{seq: 1, body: wire.Body{Catalogue: h}})
	for n := 0; n < maxCatalogueNo; {
		r.pass(100 * time.Millisecond)
		for ; n < len(r.cmds) && n < maxCatalogueNo; n++ {
			if len(r.out.Lost) != 0 {
				t.Fatalf("given up after %d answers", n)
			}
			r.answerWith(r.cmds[n].ID, false)
		}
	}
	if len(r.out.Lost) != 1 || r.out.Lost[0].Hash != h {
		t.Fatalf("no alarm: %+v", r.out.Lost)
	}
	r.kafka(nil)
	r.wantSets(0, "", "1")
}

func TestCatalogueOfTheTopicIsNotAskedFor(t *testing.T) {
	r := newRig(t, nil)
	r.c.loaded = false
	h, _ := catalogue(t, 20)
	r.deliver(msg{seq: 1, body: wire.Body{Catalogue: h}})
	r.pass(time.Second)
	r.c.CatalogueKnown(r.now, h)
	r.collect()
	r.c.CataloguesLoaded()
	r.pass(time.Minute)
	if len(r.cmds) != 0 {
		t.Errorf("%d requests for a catalogue that the topic has", len(r.cmds))
	}
	r.kafka(nil)
	if got := r.seqs(); got != "[1]" {
		t.Errorf("produced %s, want the batch that waited", got)
	}
}

func TestHeldBatchesAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CarCredit = 300 << 10 })
	h, _ := catalogue(t, 20)
	body := wire.Body{Catalogue: h, Payload: make([]byte, 10_000)}
	for i := range body.Payload {
		body.Payload[i] = byte(i*i*7 + i>>3*31)
	}
	for seq := range uint64(100) {
		r.deliver(msg{seq: seq + 1, body: body})
	}
	if k := r.c.cars["car-1"]; k.heldBytes > 150<<10 {
		t.Errorf("%d bytes held, want at most half of the credit", k.heldBytes)
	}
	if a := r.ack(); a.Credit < 100<<10 {
		t.Errorf("credit %d: a missing catalogue must not use it up", a.Credit)
	}
}

func TestOneCarsCataloguesDoNotHurtAnother(t *testing.T) {
	r := newRig(t, nil)
	for i := range byte(MaxWanted + 5) {
		r.deliver(msg{car: "bad", epoch: uint32(i), seq: 1, body: wire.Body{Catalogue: wire.CatalogueHash{i + 1}}})
	}
	if n := len(r.c.cars["bad"].wanted); n != MaxWanted {
		t.Errorf("%d catalogues wanted of one car, want %d", n, MaxWanted)
	}
	h, parts := catalogue(t, 20)
	r.deliver(msg{seq: 1, body: wire.Body{Catalogue: h}})
	for _, p := range parts {
		r.send(p)
	}
	r.kafka(nil)
	r.kafka(nil)
	r.wantSets(0, "", "1")
}

func TestPartsThatNobodyAskedForAreDropped(t *testing.T) {
	r := newRig(t, nil)
	_, parts := catalogue(t, 20)
	r.deliver(msg{seq: 1})
	for _, p := range parts {
		r.send(p)
	}
	if r.c.n.CatalogueUnasked != uint64(len(parts)) || len(r.out.Produce) != 1 {
		t.Errorf("%d of %d parts dropped", r.c.n.CatalogueUnasked, len(parts))
	}
}

func TestCommandAndItsAnswer(t *testing.T) {
	const carClock = int64(77 * time.Hour)
	r := newRig(t, nil)
	if _, err := r.c.Command(r.now, "car-1", "pull", nil, time.Second); !errors.Is(err, ErrUnreachable) {
		t.Errorf("unknown car: %v", err)
	}
	r.deliver(msg{seq: 1, send: wire.Send{Link: 1, Gen: 9, SentNS: carClock - int64(time.Minute)}})
	r.pass(time.Second)
	r.deliver(msg{seq: 2, send: wire.Send{Link: 0, Gen: 4, SentNS: carClock}})
	id, err := r.c.Command(r.now, "car-1", "pull", map[string]string{"from_ns": "1"}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r.collect()
	if cmd := r.cmds[len(r.cmds)-1]; cmd.ID != id || cmd.NotAfterNS != carClock+int64(time.Second) {
		t.Errorf("command %+v, want it to end a second after the car's %d", cmd, carClock)
	}
	r.c.Message(r.now, Peer{}, "tele/car-2/answer", wire.AppendAnswer(nil, &wire.Answer{ID: id}))
	r.collect()
	if len(r.out.Answered) != 0 {
		t.Fatal("another car's answer was taken")
	}
	r.answerWith(id, true)
	r.answerWith(id, true)
	if len(r.out.Answered) != 1 || !r.out.Answered[0].Answer.OK {
		t.Errorf("answers %+v", r.out.Answered)
	}
	if _, err := r.c.Command(r.now, "car-1", "pull", nil, time.Second); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * time.Second)
	if len(r.out.Answered) != 2 || r.out.Answered[1].Answer.OK {
		t.Errorf("an expired command ends as %+v", r.out.Answered)
	}
}

func TestCatalogueRecordsNameTheirCompression(t *testing.T) {
	c := wire.Catalogue{Car: "car-1"}
	recs, err := CatalogueRecords("telemetry.catalogues", "car-1", c.Append(nil))
	if err != nil || len(recs) != 1 {
		t.Fatal(recs, err)
	}
	if want := c.Hash().String() + "/"; string(recs[0].Key[:len(want)]) != want || string(recs[0].Key[len(want)+8:]) != "/0/1" {
		t.Errorf("key %q", recs[0].Key)
	}
}
