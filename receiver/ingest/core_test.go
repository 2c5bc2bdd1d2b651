package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// rig drives a core in virtual time.
type rig struct {
	t     *testing.T
	c     *Core
	now   int64
	out   Outputs // all that was not looked at yet
	acks  map[string]*wire.Ack
	cmds  []*wire.Command
	log   []topic.Record // what Kafka has taken
	seal  wire.Sealer
	taped int
}

func (r *rig) Received(wire.ID, wire.Send, []byte) { r.taped++ }

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, acks: map[string]*wire.Ack{}}
	cfg := Config{Instance: "pit", Nonce: 77, Names: topic.NewNames(""), Tap: r}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r.c = NewCore(cfg)
	r.c.CataloguesLoaded()
	return r
}

// batch seals a batch of car-1; opts change the body and the send header.
type msg struct {
	car   string
	topic string // car in the topic, if not car
	epoch uint32
	lane  wire.Lane
	seq   uint64
	send  wire.Send
	body  wire.Body
}

func (r *rig) message(m msg) (name string, payload []byte) {
	r.t.Helper()
	if m.car == "" {
		m.car = "car-1"
	}
	if m.topic == "" {
		m.topic = m.car
	}
	if m.lane == 0 {
		m.lane = wire.LaneFull
	}
	if m.send.Gen == 0 {
		m.send.Gen = 1
	}
	if m.send.Base == 0 {
		m.send.Base = 1
	}
	m.body.Lane = m.lane
	if m.body.Payload == nil {
		m.body.Payload = fmt.Appendf(nil, "payload of %d", m.seq)
	}
	id := wire.ID{Stream: wire.Stream{Car: m.car, Epoch: wire.Epoch{Counter: m.epoch + 1, Nonce: 5}, Lane: m.lane}, Seq: m.seq}
	payload = wire.AppendSend(nil, m.send)
	payload, err := r.seal.Seal(payload, id, m.body)
	if err != nil {
		r.t.Fatal(err)
	}
	return "tele/" + m.topic + "/" + m.lane.String(), payload
}

func (r *rig) deliver(m msg) {
	name, payload := r.message(m)
	r.c.Message(r.now, Peer{}, name, payload)
	r.collect()
}

func (r *rig) collect() {
	o := r.c.Take()
	r.out.Produce = append(r.out.Produce, o.Produce...)
	r.out.Answered = append(r.out.Answered, o.Answered...)
	r.out.Lost = append(r.out.Lost, o.Lost...)
	r.out.Slowed = append(r.out.Slowed, o.Slowed...)
	for _, p := range o.Publish {
		ack, cmd, err := wire.ParseCtl(p.Payload)
		if err != nil {
			r.t.Fatalf("%s: %v", p.Topic, err)
		}
		if ack != nil {
			r.acks[p.Topic] = ack
		} else {
			r.cmds = append(r.cmds, cmd)
		}
	}
	r.out.Publish = append(r.out.Publish, o.Publish...)
}

// listen keeps the acks on link 0 coming, however silent it is.
func (r *rig) listen() { r.c.Attached(r.now, "car-1", 0, true) }

// kafka takes everything that is waiting, or fails it.
func (r *rig) kafka(err error) {
	todo := r.out.Produce
	r.out.Produce = nil
	for _, p := range todo {
		if err == nil {
			r.log = append(r.log, p.Record)
		}
		r.c.Produced(r.now, p.Token, err)
	}
	r.collect()
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	for end := r.now + int64(d); r.now < end; {
		r.now += int64(10 * time.Millisecond)
		r.c.Tick(r.now)
		r.collect()
	}
}

// ack returns the newest statement to car-1 on link 0.
func (r *rig) ack() *wire.Ack {
	r.t.Helper()
	delete(r.acks, "ctl/car-1/0")
	r.pass(AckInterval + 10*time.Millisecond)
	a := r.acks["ctl/car-1/0"]
	if a == nil {
		r.t.Fatal("no ack")
	}
	return a
}

// sets returns what the newest ack says of the full lane of an epoch.
func (r *rig) sets(epoch uint32) wire.StreamAck {
	r.t.Helper()
	for _, s := range r.ack().Streams {
		if s.Epoch.Counter == epoch+1 && s.Lane == wire.LaneFull {
			return s
		}
	}
	return wire.StreamAck{}
}

func (r *rig) wantSets(epoch uint32, received, durable string) {
	r.t.Helper()
	s := r.sets(epoch)
	if got := show(s.Received); got != received {
		r.t.Errorf("received %q, want %q", got, received)
	}
	if got := show(s.Durable); got != durable {
		r.t.Errorf("durable %q, want %q", got, durable)
	}
}

func show(rs wire.Ranges) string {
	var parts []string
	for _, x := range rs {
		if x.First == x.Last {
			parts = append(parts, fmt.Sprint(x.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", x.First, x.Last))
		}
	}
	return strings.Join(parts, " ")
}

func TestReceivedThenDurable(t *testing.T) {
	r := newRig(t, nil)
	for seq := range uint64(3) {
		r.deliver(msg{seq: seq + 1})
	}
	r.wantSets(0, "1-3", "")
	r.kafka(nil)
	r.wantSets(0, "", "1-3")
	if len(r.log) != 3 || r.taped != 3 {
		t.Errorf("%d records, %d shown, want 3", len(r.log), r.taped)
	}
	info, err := topic.ParseBatchHeaders(r.log[0].Headers)
	if err != nil || info.ID.Seq != 1 || info.Instance != "pit" || string(r.log[0].Key) != "car-1" {
		t.Errorf("record says %+v, %v", info, err)
	}
	r.deliver(msg{seq: 2})
	r.kafka(nil)
	if len(r.log) != 3 || r.c.n.Duplicates != 1 {
		t.Errorf("a copy was produced again: %d records", len(r.log))
	}
}

func TestRule16FirstPulledCopyIsProducedAgainOnce(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 1}) // in memory when the pulled copy comes
	r.deliver(msg{seq: 1, send: wire.Send{Pulled: true}})
	r.deliver(msg{seq: 1, send: wire.Send{Pulled: true}})
	r.kafka(nil)
	r.deliver(msg{seq: 2})
	r.kafka(nil) // durable when the pulled copy comes
	r.deliver(msg{seq: 2, send: wire.Send{Pulled: true}})
	r.deliver(msg{seq: 2, send: wire.Send{Pulled: true}})
	r.deliver(msg{seq: 3, send: wire.Send{Pulled: true}}) // pulled first
	r.deliver(msg{seq: 3})
	r.kafka(nil)
	var got []string
	for _, rec := range r.log {
		seq, _ := rec.Get(topic.HeaderSeq)
		pulled, _ := rec.Get(topic.HeaderPulled)
		got = append(got, seq+" "+pulled)
	}
	want := "[1 false 1 true 2 false 2 true 3 true]"
	if fmt.Sprint(got) != want {
		t.Errorf("produced %v, want %v", got, want)
	}
}

func TestRule17BaseOnlyTrims(t *testing.T) {
	r := newRig(t, nil)
	for seq := range uint64(10) {
		r.deliver(msg{seq: seq + 1})
	}
	r.kafka(nil)
	r.deliver(msg{seq: 11, send: wire.Send{Base: 8}})
	r.wantSets(0, "11", "8-10")
	// The car has crashed: its base has fallen, and it sends what was below.
	r.deliver(msg{seq: 4, send: wire.Send{Base: 4}})
	r.wantSets(0, "4 11", "8-10")
	r.kafka(nil)
	r.wantSets(0, "", "4 8-11")
	if len(r.log) != 12 {
		t.Errorf("%d records, want 12: below base is produced and acked as well", len(r.log))
	}
}

func TestRule17BaseNeverExceedsItsBatch(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 3, send: wire.Send{Base: 9}})
	r.kafka(nil)
	r.wantSets(0, "", "3")
	if base, _ := r.log[0].Get(topic.HeaderBase); base != "3" {
		t.Errorf("base %s in the record, want at most the batch's own number", base)
	}
}

func TestRule18ReceivedIsNeverForgotten(t *testing.T) {
	r := newRig(t, nil)
	r.listen()
	r.deliver(msg{seq: 1})
	r.deliver(msg{seq: 2, send: wire.Send{Base: 2}}) // base passes a batch on loan
	r.kafka(errors.New("kafka: broker down"))
	r.pass(5 * time.Minute) // far beyond the idle time
	r.wantSets(0, "1-2", "")
	if r.c.n.Retries == 0 {
		t.Error("failed records were not tried again")
	}
	r.kafka(nil)
	r.wantSets(0, "", "1-2")
	if len(r.log) != 2 {
		t.Errorf("%d records, want 2", len(r.log))
	}
}

func TestRule18DrainedStreamIsForgottenAfterAMinute(t *testing.T) {
	r := newRig(t, nil)
	r.listen()
	r.deliver(msg{seq: 1})
	r.pass(3 * time.Minute)
	r.kafka(nil) // the loan ends here
	r.deliver(msg{epoch: 1, seq: 1})
	r.kafka(nil)
	r.pass(59 * time.Second)
	r.deliver(msg{epoch: 2, seq: 1}) // keeps the link heard
	r.wantSets(0, "", "1")
	r.pass(2 * time.Second)
	if s := r.sets(0); len(s.Durable) != 0 {
		t.Errorf("still lists %v a minute after the last loan", s.Durable)
	}
	r.deliver(msg{seq: 1})
	r.kafka(nil)
	if len(r.log) != 4 {
		t.Errorf("%d records, want 4 (the worst case is a duplicate)", len(r.log))
	}
}

func TestRule18TruncatedAckListsTheLowestFirst(t *testing.T) {
	r := newRig(t, nil)
	const n = 300
	for i := range uint64(n) { // every second number: as many ranges
		r.deliver(msg{seq: 2*i + 1})
	}
	r.kafka(nil)
	told := map[uint64]bool{}
	for range 40 {
		s := r.sets(0)
		if len(s.Durable) != MaxAckStreamRanges {
			t.Fatalf("%d ranges in an ack, want %d", len(s.Durable), MaxAckStreamRanges)
		}
		for i := range MaxAckStreamRanges / 2 {
			if want := uint64(2*i + 1); s.Durable[i].First != want {
				t.Fatalf("range %d begins at %d, want %d", i, s.Durable[i].First, want)
			}
		}
		if last := s.Durable[len(s.Durable)-1].Last; last != 2*n-1 {
			t.Errorf("the newest is not told: last is %d", last)
		}
		for _, x := range s.Durable {
			told[x.First] = true
		}
	}
	if len(told) != n {
		t.Errorf("%d of %d ranges were told in 40 acks", len(told), n)
	}
}

func TestRule19StalledWhileNothingBecomesDurable(t *testing.T) {
	r := newRig(t, nil)
	r.listen()
	r.deliver(msg{seq: 1})
	if a := r.ack(); a.State != wire.InstanceOK {
		t.Errorf("state %d, want ok", a.State)
	}
	r.pass(DefaultStallAfter)
	if a := r.ack(); a.State != wire.InstanceStalled {
		t.Errorf("state %d after %v without Kafka, want stalled", a.State, DefaultStallAfter)
	}
	r.kafka(nil)
	if a := r.ack(); a.State != wire.InstanceOK {
		t.Errorf("state %d, want ok again", a.State)
	}
	r.pass(8 * time.Second) // nothing waits: not stalled
	if a := r.ack(); a.State != wire.InstanceOK {
		t.Errorf("state %d while nothing waits, want ok", a.State)
	}
	r.c.Drain()
	if a := r.ack(); a.State != wire.InstanceDraining || a.Credit != 0 {
		t.Errorf("state %d, credit %d, want draining and none", a.State, a.Credit)
	}
	r.deliver(msg{seq: 2})
	if len(r.out.Produce) != 0 {
		t.Error("a draining instance took a batch")
	}
}

func TestRule19CreditFallsAndMemoryIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CarCredit, c.TotalCredit = 300<<10, 400<<10 })
	h := wire.CatalogueHash{1}
	r.c.CatalogueKnown(r.now, h)
	body := wire.Body{Catalogue: h, Payload: make([]byte, 10_000)}
	for i := range body.Payload { // does not compress
		body.Payload[i] = byte(i*i*7 + i>>3*31)
	}
	for seq := range uint64(500) {
		r.deliver(msg{seq: seq + 1, body: body})
	}
	if r.c.waiting > 300<<10+300<<10/4 {
		t.Errorf("%d bytes wait, want at most a quarter above the credit", r.c.waiting)
	}
	if a := r.ack(); a.Credit != 0 {
		t.Errorf("credit %d, want none", a.Credit)
	}
	listed := r.sets(0).Received.Count()
	if listed != uint64(len(r.out.Produce)) || r.c.n.Overflow != 500-listed {
		t.Errorf("lists %d, produces %d, dropped %d: only what was taken may be listed", listed, len(r.out.Produce), r.c.n.Overflow)
	}
	r.deliver(msg{lane: wire.LaneCritical, seq: 1, body: wire.Body{Control: true}})
	if got := r.c.n.Overflow; got != 500-listed {
		t.Error("a control record was turned away for lack of credit")
	}
	r.kafka(nil)
	if a := r.ack(); a.Credit != 300<<10 {
		t.Errorf("credit %d, want all of it again", a.Credit)
	}
}

func TestRule21KeyIsTheCar(t *testing.T) {
	r := newRig(t, nil)
	for _, lane := range wire.Lanes {
		r.deliver(msg{car: "car-7", lane: lane, seq: 1})
	}
	for _, p := range r.out.Produce {
		if string(p.Record.Key) != "car-7" || p.Record.Partition != -1 {
			t.Errorf("key %q, partition %d: all of a car belongs to the partition of its name", p.Record.Key, p.Record.Partition)
		}
	}
}

func TestAcksGoToEveryLinkHeard(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 1, send: wire.Send{Link: 0, Gen: 4, SentNS: 100}})
	r.deliver(msg{seq: 1, send: wire.Send{Link: 2, Gen: 9, SentNS: 200}})
	r.deliver(msg{seq: 1, send: wire.Send{Link: 2, Gen: 10, SentNS: 300}})
	r.pass(AckInterval + 10*time.Millisecond)
	if len(r.acks) != 2 || r.acks["ctl/car-1/2"] == nil {
		t.Fatalf("acks on %d links, want links 0 and 2", len(r.acks))
	}
	got := fmt.Sprint(r.acks["ctl/car-1/2"].Links)
	for i := range r.acks["ctl/car-1/2"].Links {
		r.acks["ctl/car-1/2"].Links[i].HeldNS = 0
	}
	links := r.acks["ctl/car-1/2"].Links
	if len(links) != 3 || links[2].Gen != 10 || links[2].LastSentNS != 300 || links[2].Messages != 1 {
		t.Errorf("echoes %s", got)
	}
	r.acks = map[string]*wire.Ack{}
	r.pass(linkHeard)
	r.acks = map[string]*wire.Ack{}
	r.pass(time.Second)
	if len(r.acks) != 0 {
		t.Errorf("still acks on %d links that are silent", len(r.acks))
	}
	r.c.Attached(r.now, "car-1", 1, true)
	r.pass(time.Minute)
	if r.acks["ctl/car-1/1"] == nil {
		t.Error("no acks on a link that is subscribed")
	}
	r.c.Attached(r.now, "car-1", 1, false)
	r.pass(linkHeard + time.Second)
	r.acks = map[string]*wire.Ack{}
	r.pass(time.Second)
	if len(r.acks) != 0 {
		t.Error("acks on a link that is gone")
	}
}

func TestCounterNeverGoesBack(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 1})
	r.kafka(nil)
	before := r.ack().Counter
	r.pass(carIdle + 2*time.Minute) // the car is forgotten
	if len(r.c.cars) != 0 {
		t.Fatal("a silent car is remembered for ever")
	}
	r.deliver(msg{seq: 2})
	if after := r.ack().Counter; after <= before {
		t.Errorf("counter %d after %d", after, before)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	cases := map[string]struct {
		change func(name string, payload []byte) (Peer, string, []byte)
		count  func(Counters) uint64
	}{
		"other car than the connection's": {func(n string, p []byte) (Peer, string, []byte) { return Peer{Car: "car-2"}, n, p }, func(c Counters) uint64 { return c.Forbidden }},
		"other car in the topic":          {func(_ string, p []byte) (Peer, string, []byte) { return Peer{}, "tele/car-2/full", p }, func(c Counters) uint64 { return c.Forbidden }},
		"other lane in the topic":         {func(_ string, p []byte) (Peer, string, []byte) { return Peer{}, "tele/car-1/live", p }, func(c Counters) uint64 { return c.Forbidden }},
		"no such lane":                    {func(_ string, p []byte) (Peer, string, []byte) { return Peer{}, "tele/car-1/fast", p }, func(c Counters) uint64 { return c.Unknown }},
		"not our topic":                   {func(_ string, p []byte) (Peer, string, []byte) { return Peer{}, "ctl/car-1/0", p }, func(c Counters) uint64 { return c.Unknown }},
		"bad car name":                    {func(_ string, p []byte) (Peer, string, []byte) { return Peer{}, "tele/c r/full", p }, func(c Counters) uint64 { return c.Unknown }},
		"damaged payload":                 {func(n string, p []byte) (Peer, string, []byte) { p[len(p)-1] ^= 1; return Peer{}, n, p }, func(c Counters) uint64 { return c.Damaged }},
		"cut short":                       {func(n string, p []byte) (Peer, string, []byte) { return Peer{}, n, p[:len(p)-3] }, func(c Counters) uint64 { return c.Damaged }},
		"damaged envelope":                {func(n string, p []byte) (Peer, string, []byte) { p[40] ^= 1; return Peer{}, n, p }, func(c Counters) uint64 { return c.Undecodable }},
		"no send header":                  {func(n string, p []byte) (Peer, string, []byte) { return Peer{}, n, p[20:] }, func(c Counters) uint64 { return c.Undecodable }},
		"empty":                           {func(n string, _ []byte) (Peer, string, []byte) { return Peer{}, n, nil }, func(c Counters) uint64 { return c.Undecodable }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			n, p := r.message(msg{seq: 1})
			peer, n, p := tc.change(n, p)
			r.c.Message(r.now, peer, n, p)
			r.collect()
			if len(r.out.Produce) != 0 {
				t.Error("it was produced")
			}
			if got := tc.count(r.c.n); got != 1 {
				t.Errorf("counted %d times, want once: %+v", got, r.c.n)
			}
			r.pass(time.Second)
			for _, a := range r.acks {
				if len(a.Streams) != 0 {
					t.Errorf("the ack says %+v of it, want nothing", a.Streams)
				}
			}
		})
	}
}

func TestOnlyKafkaCanRefuse(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 1})
	r.kafka(fmt.Errorf("too large: %w", topic.ErrUnacceptable))
	if s := r.sets(0); show(s.Refused) != "1" || len(s.Received) != 0 {
		t.Errorf("refused %v, received %v", s.Refused, s.Received)
	}
	r.deliver(msg{seq: 1}) // tried again, and this time it goes
	r.kafka(nil)
	if s := r.sets(0); show(s.Durable) != "1" || len(s.Refused) != 0 {
		t.Errorf("refused %v, durable %v", s.Refused, s.Durable)
	}
}

func TestConflictingCopyIsProduced(t *testing.T) {
	r := newRig(t, nil)
	r.deliver(msg{seq: 1})
	r.deliver(msg{seq: 1, body: wire.Body{Payload: []byte("something else")}})
	r.kafka(nil)
	if len(r.log) != 2 || r.c.n.Conflicts != 1 {
		t.Errorf("%d records, %d conflicts: the sequencer must see both", len(r.log), r.c.n.Conflicts)
	}
}

func TestStreamsAndCarsAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxCars = 2 })
	for e := range uint32(MaxStreams) {
		r.deliver(msg{epoch: e, seq: 1})
	}
	r.deliver(msg{epoch: 1000, seq: 1})
	if r.c.n.Overflow != 1 || len(r.c.cars["car-1"].streams) != MaxStreams {
		t.Errorf("%d streams, %d dropped", len(r.c.cars["car-1"].streams), r.c.n.Overflow)
	}
	r.kafka(nil)
	r.deliver(msg{epoch: 1000, seq: 1}) // now the oldest drained one makes room
	if len(r.out.Produce) != 1 {
		t.Error("no room although all is drained")
	}
	r.deliver(msg{car: "car-2", seq: 1})
	r.deliver(msg{car: "car-3", seq: 1})
	if len(r.c.cars) != 2 {
		t.Errorf("%d cars, want at most 2", len(r.c.cars))
	}
}

func FuzzMessage(f *testing.F) {
	r := newRig(&testing.T{}, nil)
	for _, lane := range wire.Lanes {
		name, payload := r.message(msg{lane: lane, seq: 7})
		f.Add(name, payload)
	}
	f.Add("tele/car-1/catalogue", wire.AppendCataloguePart(nil, &wire.CataloguePart{Count: 1, Data: []byte("x")}))
	f.Add("tele/car-1/answer", wire.AppendAnswer(nil, &wire.Answer{ID: 1, OK: true}))
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		r := newRig(t, nil)
		for range 2 {
			r.c.Message(r.now, Peer{}, name, append([]byte(nil), payload...))
			r.collect()
		}
		if len(r.out.Produce) > 2 {
			t.Errorf("%d records of one batch", len(r.out.Produce))
		}
		for _, p := range r.out.Produce {
			if _, err := topic.ParseBatchHeaders(p.Record.Headers); err != nil {
				t.Error(err)
			}
		}
		r.kafka(nil)
		r.pass(time.Second)
		r.c.Snapshot(r.now)
		if r.c.waiting != 0 {
			t.Errorf("%d bytes wait for nothing", r.c.waiting)
		}
	})
}
