package uplink

import (
	"testing"

	"telemetry/wire"
)

// one is an engine with one connection that is up, in the hands of the test.
type one struct {
	e   *Engine
	st  *simStore
	c   *connection
	now int64
}

func newOne(t *testing.T, links int) *one {
	t.Helper()
	o := &one{st: newSimStore(), now: 1000 * ms}
	cfg := Config{Car: simCar, Epoch: simEpoch}
	for range links {
		cfg.Links = append(cfg.Links, LinkConfig{Name: "modem", Addrs: []string{"tcp://a:1"}})
	}
	o.e = NewEngine(cfg, o.st)
	acts, _ := o.e.Step(o.now)
	for _, a := range acts {
		if d, ok := a.(Dial); ok {
			o.e.LinkUp(o.now, d.Link, d.Gen, "")
		}
	}
	o.c = o.e.links[0].cur
	return o
}

// ack tells the engine over link 0 that an instance has received some batches.
func (o *one) ack(counter uint64, name string, streams ...wire.StreamAck) {
	n := uint64(len(name)) + uint64(name[0])
	o.e.Message(o.now, 0, o.c.gen, wire.AppendAck(nil, &wire.Ack{Instance: name, Nonce: n, Counter: counter, Credit: 1 << 20, Streams: streams}))
}

func (o *one) make(l wire.Lane, seq uint64, size int) wire.ID {
	id := wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: l}, Seq: seq}
	o.st.add(wire.Item{ID: id, Size: size, FirstNS: o.now, LastNS: o.now, SealedNS: o.now})
	return id
}

// sends steps and returns the links of the sends, in order.
func (o *one) sends() (links []int) {
	acts, _ := o.e.Step(o.now)
	for _, a := range acts {
		if s, ok := a.(Send); ok {
			links = append(links, s.Link)
		}
	}
	return links
}

func TestCapFollowsWhatTheSocketSays(t *testing.T) {
	const best = 1_000_000
	tests := []struct {
		name    string
		acked   []int64 // confirmed so far, every 10 ms
		backlog []bool
		busyBps int64
		want    int64
	}{
		{"no window yet", []int64{0, 10_000}, []bool{true, true}, 0, best},
		{"busy and slow", []int64{0, 1000, 2000, 3000, 4000, 5000}, []bool{true, true, true, true, true, true}, 0, 100_000},
		{"busy and as fast as ever", []int64{0, 20_000, 40_000, 60_000, 80_000, 100_000}, []bool{true, true, true, true, true, true}, 0, best},
		{"idle meanwhile: at least half of its best", []int64{0, 1000, 2000, 3000, 4000, 5000}, []bool{true, false, true, true, true, true}, 0, best / 2},
		{"idle meanwhile: what it did when it was busy", []int64{0, 1000, 2000, 3000, 4000, 5000}, []bool{false, false, false, false, false, false}, 700_000, 700_000},
		{"idle meanwhile: twice what it did", []int64{0, 4000, 8000, 12_000, 16_000, 20_000}, []bool{false, true, true, true, true, true}, 0, 800_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &connection{}
			c.est.rateSample(0, best, false)
			c.socket.busyBps = tt.busyBps
			for i, a := range tt.acked {
				c.socket.marks[c.socket.n] = socketMark{int64(i+1) * 10 * ms, a, tt.backlog[i]}
				c.socket.n++
			}
			for _, backlog := range []bool{false, true} {
				if now, limit := c.rates(backlog); now != tt.want || limit != tt.want {
					t.Errorf("rates %d and %d with a backlog %v, want %d", now, limit, backlog, tt.want)
				}
			}
		})
	}
}

// TestPauseOfARadioKeepsTheCap: a link that paused for 50 ms is no choice for what
// is urgent, but its cap is that of a few round trips; a longer pause ends that.
func TestPauseOfARadioKeepsTheCap(t *testing.T) {
	c := &connection{}
	const bps = 1_000_000
	c.est.rateSample(0, 2*bps, false)
	at, acked := int64(0), int64(0)
	pass := func(d, rate int64) {
		for end := at + d; at < end; {
			at, acked = at+5*ms, acked+rate*5/1000
			c.socket.marks[c.socket.n%socketMarks] = socketMark{at, acked, true}
			c.socket.n++
		}
	}
	pass(300*ms, bps)
	if now, limit := c.rates(true); now != bps || limit != bps*steadyPct/100 {
		t.Errorf("at a steady rate: %d and %d, want %d and a tenth more", now, limit, bps)
	}
	pass(50*ms, 0)
	if now, limit := c.rates(true); now != 0 || limit != bps*200/250*steadyPct/100 {
		t.Errorf("after a pause of 50 ms: %d and %d, want 0 and what 200 of 250 ms brought", now, limit)
	}
	if _, limit := c.rates(false); limit != 0 {
		t.Errorf("after a pause of 50 ms without a lasting backlog: %d, want 0", limit)
	}
	pass(200*ms, 0)
	if now, limit := c.rates(true); now != 0 || limit != 0 {
		t.Errorf("after a pause of 250 ms: %d and %d, want nothing", now, limit)
	}
}

// TestProxyHidesNoQueue: a carrier's proxy confirms everything at once; then the
// proofs bound what is believed to have left.
func TestProxyHidesNoQueue(t *testing.T) {
	c := &connection{}
	c.est.rateSample(0, 1_000_000, false)
	c.push(&flight{}, 400_000, 1, 1)
	c.echoable = 400_000
	c.look(2*ms, 0)
	if got, want := c.expected(3*ms), int64(400_000-150_000); got != want {
		t.Errorf("%d bytes believed under way, want %d: all but what the link does in 150 ms", got, want)
	}
	c.look(4*ms, 390_000)
	if got := c.expected(5 * ms); got != 390_000 {
		t.Errorf("%d bytes believed under way, want what the socket says", got)
	}
}

// TestOverdueAmongProofsIsNoSuspicion: one batch is overdue, but proofs of others
// keep coming: the link is slow, not silent.
func TestOverdueAmongProofsIsNoSuspicion(t *testing.T) {
	c := &connection{up: true}
	c.est.rttSample(0, 50*ms)
	c.est.rateSample(0, 1_000_000, false)
	c.push(&flight{}, 1000, 100*ms, 100*ms)
	quiet, _ := c.suspectAt()
	c.proofNS = 600 * ms
	at, ok := c.suspectAt()
	if !ok || at < 600*ms+silenceNS || at <= quiet {
		t.Errorf("suspect at %d ms after a proof at 600 ms (before it: %d ms), want %d ms of silence first", at/ms, quiet/ms, silenceNS/ms)
	}
}

// TestCriticalOnLoanIsNotSentAgain: a connection that comes up later gets the
// critical batches that nobody has, and no others.
func TestCriticalOnLoanIsNotSentAgain(t *testing.T) {
	o := newOne(t, 2)
	other := o.e.links[1].cur
	o.e.LinkDown(o.now, 1, other.gen, "gone")
	lent := o.make(wire.LaneCritical, 1, 100)
	o.make(wire.LaneCritical, 2, 100)
	if got := o.sends(); len(got) != 2 {
		t.Fatalf("%d sends over one link, want 2", len(got))
	}
	o.ack(1, "a", wire.StreamAck{Epoch: simEpoch, Lane: wire.LaneCritical, Received: wire.Ranges{{First: lent.Seq, Last: lent.Seq}}})
	o.now += 500 * ms
	acts, _ := o.e.Step(o.now)
	for _, a := range acts {
		if d, ok := a.(Dial); ok && d.Link == 1 {
			o.e.LinkUp(o.now, 1, d.Gen, "")
		}
	}
	if got := o.sends(); len(got) != 1 || got[0] != 1 {
		t.Errorf("sent over links %v, want the one that nobody has over link 1", got)
	}
}

// TestInstanceThatKeptALoanTooLongIsShunned: the batch goes to a link where
// another instance speaks, though the first one's link is faster.
func TestInstanceThatKeptALoanTooLongIsShunned(t *testing.T) {
	o := newOne(t, 2)
	id := o.make(wire.LaneFull, 1, 4000)
	first := o.sends()
	if len(first) != 1 {
		t.Fatalf("%d sends, want 1", len(first))
	}
	f := o.e.flight[id]
	mean := &view{name: "mean", nonce: 7, credit: 1 << 20}
	kind := &view{name: "kind", nonce: 8, credit: 1 << 20}
	o.e.views = append(o.e.views, mean, kind)
	f.lend(mean, o.now)
	for o.now += 500 * ms; o.now < 1000*ms+loanNS+3000*ms; o.now += 500 * ms {
		for i, v := range []*view{mean, kind} {
			v.heardNS = o.now
			c := o.e.links[i].cur
			o.e.Sent(o.now, i, c.gen)
			c.hear(v, o.now)
			c.heardNS, c.proofNS, c.inFlight, c.fifo = o.now, o.now, 0, nil
		}
		o.e.links[0].cur.est.rateSample(o.now, 10_000_000, false)
		o.e.links[1].cur.est.rateSample(o.now, 100_000, false)
		if got := o.sends(); len(got) > 0 {
			if f.avoid != mean || got[0] != 1 {
				t.Errorf("sent over link %d, avoiding %v, want over link 1, where the instance that kept it doesn't speak", got[0], f.avoid)
			}
			return
		}
	}
	t.Error("never sent again")
}

// TestProvenSuccessorEndsTheBackOff: dials that failed before it count no more.
func TestProvenSuccessorEndsTheBackOff(t *testing.T) {
	o := newOne(t, 1)
	l := o.e.links[0]
	l.fails = 6
	o.c.dead, o.c.deadNS = true, o.now
	next := &connection{link: 0, gen: l.gen + 1, up: true, heardNS: o.now, upNS: o.now}
	l.next = next
	o.e.Step(o.now)
	if l.cur != next || l.fails != 0 {
		t.Errorf("in use %v, %d failures, want the successor and 0", l.cur == next, l.fails)
	}
}

// TestWantsTheWriterOnlyWhenSomethingWaitsForIt: a step after each message costs
// more than the message.
func TestWantsTheWriterOnlyWhenSomethingWaitsForIt(t *testing.T) {
	o := newOne(t, 1)
	o.ack(1, "a")
	o.c.est.rttSample(o.now, 50*ms)
	o.c.est.rateSample(o.now, 10_000_000, false)
	o.make(wire.LaneFull, 1, 4000)
	if n := len(o.sends()); n != 1 {
		t.Fatalf("%d sends, want 1", n)
	}
	if o.e.Wants(0, o.c.gen) {
		t.Error("the writer is wanted though nothing waits")
	}
	o.make(wire.LaneFull, 2, 4000)
	if n := len(o.sends()); n != 0 {
		t.Fatalf("%d sends while the writer is busy, want 0", n)
	}
	if !o.e.Wants(0, o.c.gen) {
		t.Error("a batch waits for nothing but the writer, and it isn't wanted")
	}
	o.e.Sent(o.now, 0, o.c.gen)
	if o.e.Wants(0, o.c.gen) {
		t.Error("the writer is wanted though it is idle")
	}
	if n := len(o.sends()); n != 1 {
		t.Errorf("%d sends after the writer was free, want 1", n)
	}
	o.c.est.rate, o.c.est.rateNow, o.c.est.ratePrev, o.c.est.flat = 10_000, 10_000, 0, startupRounds
	o.make(wire.LaneFull, 3, 14_000)
	o.sends()
	if o.e.Wants(0, o.c.gen) {
		t.Error("the writer is wanted though the link itself is full")
	}
}

func TestLatePreviewGoesOutThreeTimesAtMost(t *testing.T) {
	o := newOne(t, 1)
	for sends, want := range map[int]bool{1: true, maxLateSends - 1: true, maxLateSends: false} {
		f := &flight{sends: sends, copies: []copyOf{{c: o.c}}}
		o.e.expect(f, o.c, 2000)
		o.e.now += 60_000 * ms
		if got := o.e.late(f); got != want {
			t.Errorf("after %d sends and a minute it is late: %v, want %v", sends, got, want)
		}
	}
}

// TestEchoOfWhatWasNeverSentProvesNothing: each of its numbers may lie.
func TestEchoOfWhatWasNeverSentProvesNothing(t *testing.T) {
	for name, lie := range map[string]func(*wire.LinkEcho){
		"a later time": func(x *wire.LinkEcho) { x.LastSentNS++ },
		"more batches": func(x *wire.LinkEcho) { x.Messages++ },
		"more bytes":   func(x *wire.LinkEcho) { x.Bytes += 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 1)
			o.make(wire.LaneFull, 1, 4000)
			if len(o.sends()) != 1 {
				t.Fatal("nothing was sent")
			}
			echo := wire.LinkEcho{Gen: o.c.gen, Messages: 1, Bytes: 1, LastSentNS: o.c.lastSentNS}
			honest := echo
			lie(&echo)
			o.now += 50 * ms
			for i, x := range []wire.LinkEcho{echo, honest} {
				o.e.Message(o.now, 0, o.c.gen, wire.AppendAck(nil, &wire.Ack{Instance: "a", Nonce: 1, Counter: uint64(i + 1), Credit: 1 << 20, Links: []wire.LinkEcho{x}}))
				if bad, left := o.e.totals.BadEchoes, o.c.inFlight == 0; bad != 1 || left != (i == 1) {
					t.Errorf("echo %d: %d bad echoes, all proven: %v", i, bad, left)
				}
			}
		})
	}
}

// TestPaceIsForLinksThatStaySlow: a link is held back only when it has been slow for
// 2 s, and what it does is known.
func TestPaceIsForLinksThatStaySlow(t *testing.T) {
	s := newSim(t, 1, threeLinks()[:1])
	s.run(s.now+500*ms, nil)
	s.e.drainedNS = -lastingNS // a lasting backlog
	c := s.e.links[0].cur
	pace := func() int64 { return s.e.Pace(0, c.gen) }
	if got := pace(); got != 0 {
		t.Errorf("nothing is known: %d, want no pace", got)
	}
	c.upNS = s.e.now
	sample := func(bps int64, limited bool) {
		s.e.now += 500 * ms
		c.est.rateSample(s.e.now, bps, limited)
	}
	for range 4 {
		sample(50_000, true)
	}
	if got := pace(); got != 0 {
		t.Errorf("all that is known is what there was to send: %d, want no pace", got)
	}
	c.upNS = s.e.now
	sample(100_000, false)
	sample(100_000, false)
	sample(100_000, false)
	if got := pace(); got != 0 {
		t.Errorf("slow for 1.5 s: %d, want no pace", got)
	}
	sample(100_000, false)
	sample(100_000, false)
	if got := pace(); got != 150_000 {
		t.Errorf("slow for 2.5 s: %d, want half as much again as it does", got)
	}
	s.e.drainedNS = s.e.now - lastingNS/2
	if got := pace(); got != 0 {
		t.Errorf("without a lasting backlog: %d, want no pace", got)
	}
	s.e.drainedNS = -lastingNS
	sample(2*paceBelow, false)
	if got := pace(); got != 0 {
		t.Errorf("fast again: %d, want no pace", got)
	}
	if got := s.e.Pace(0, c.gen+1); got != 0 {
		t.Errorf("a connection that is not there: %d, want no pace", got)
	}
}

// TestPaceOfALinkThatHasFaded: never less than lets a critical copy through, and none
// while the link has to prove itself.
func TestPaceOfALinkThatHasFaded(t *testing.T) {
	s := newSim(t, 1, threeLinks()[:1])
	s.run(s.now+500*ms, nil)
	c := s.e.links[0].cur
	samples := func(bps int64) {
		for range 8 {
			s.e.now += 500 * ms
			c.est.rateSample(s.e.now, bps, false)
		}
		s.e.drainedNS = s.e.now - lastingNS
	}
	check := func(what string, want int64) {
		t.Helper()
		if got := s.e.Pace(0, c.gen); got != want {
			t.Errorf("%s: %d bytes/s, want %d", what, got, want)
		}
	}
	samples(60_000)
	check("above the floor", 90_000)
	samples(5_000)
	check("faded", paceLeast)
	c.suspect = true
	check("suspect", 0)
	s.e.revive(c, whyProof)
	check("just taken back", 0)
	s.e.now += paceAfterNS
	check("taken back 2 s ago", paceLeast)
	c.dead = true
	check("dead", 0)
}

// TestEveryChangeHasACause: whatever is told of a change in words has one of the few
// causes, and each of these has a name.
func TestEveryChangeHasACause(t *testing.T) {
	names := CauseNames()
	if len(names) != int(causeCount) || causeCount.String() != "unknown" {
		t.Errorf("%d names of %d causes, the next is %q", len(names), causeCount, causeCount)
	}
	seen := map[string]bool{}
	for i, n := range names {
		if n == "" || seen[n] || Cause(i).String() != n {
			t.Errorf("cause %d is called %q, want a name of its own", i, n)
		}
		seen[n] = true
	}
	l := &link{}
	tests := []struct {
		state, why string
		away       bool
		want       Cause
	}{
		{"up", "connected to tcp://a:1", false, CauseConnected},
		{"suspect", whyOverdue, false, CauseOverdue},
		{"down", "connection reset", false, CauseBroken},
		{"down", "uplink: a refused the connect", true, CauseRefused},
		{"down", whyTimedOut, false, CauseTimedOut},
		{"closed", whyGivenUp, false, CauseGivenUp},
	}
	for _, tt := range tests {
		l.turnedAway = tt.away
		if got := l.causeOf(tt.state, tt.why); got != tt.want {
			t.Errorf("%s: %s has the cause %v, want %v", tt.state, tt.why, got, tt.want)
		}
	}
}

// The round trips of three outages in a row are not believed, the fourth is: then the
// path is so long. One that is usual begins the count anew.
func TestOutagesAreNoRoundTrips(t *testing.T) {
	c := &connection{up: true}
	at := int64(0)
	trip := func(rtt int64, suspect bool) bool { // sent now, proven after rtt
		sent := at
		at += rtt
		c.suspect = suspect
		out := c.outlived(at, sent, rtt)
		if suspect {
			c.suspect, c.backNS = false, at
		}
		at += ms
		return out
	}
	for round := range 2 {
		for n := range maxOutages {
			if !trip(3000*ms, true) {
				t.Errorf("round %d: outage %d is taken for a round trip", round, n+1)
			}
		}
		if trip(3000*ms, true) {
			t.Errorf("round %d: a path of 3 s is never believed", round)
		}
		if trip(40*ms, false) || trip(900*ms, true) {
			t.Errorf("round %d: a usual round trip is not believed", round)
		}
	}
	if trip(1500*ms, false) {
		t.Error("a long round trip of a link that nobody suspected is not believed")
	}
}
