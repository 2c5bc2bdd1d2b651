package link

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

func pack(n int) Packet { return Packet{Data: make([]byte, n)} }

// drain pops until nothing is left to come, moving the clock as a carrier would.
func drain(d *Direction, now int64) (outs []int64) {
	for {
		_, due, ok := d.Pop(now)
		if ok {
			outs = append(outs, due)
			continue
		}
		at, ok := d.Wake()
		if !ok {
			return outs
		}
		now = max(at, now)
	}
}

func trace(t testing.TB, text string) *Trace {
	t.Helper()
	tr, err := ReadTrace(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestDirectionKeepsRateDelayAndOrder(t *testing.T) {
	tests := []struct {
		name string
		spec Spec
		at   []int64 // ms, of 1000 B each
		want []int64 // ms
	}{
		{"perfect", Spec{}, []int64{0, 0, 5}, []int64{0, 0, 5}},
		{"delay", Spec{Delay: 20 * time.Millisecond}, []int64{0, 3}, []int64{20, 23}},
		{"rate queues", Spec{BitRate: 1e6}, []int64{0, 0, 0}, []int64{8, 16, 24}},
		{"rate idles", Spec{BitRate: 1e6}, []int64{0, 100}, []int64{8, 108}},
		{"rate and delay", Spec{BitRate: 1e6, Delay: 10 * time.Millisecond}, []int64{0, 0}, []int64{18, 26}},
		{"trace", Spec{Trace: trace(t, "0\n10\n10\n19\n")}, []int64{0, 0, 0, 0}, []int64{10, 10, 10, 19}},
		{"trace loops", Spec{Trace: trace(t, "0\n10\n19\n")}, []int64{0, 21, 41}, []int64{10, 30, 50}},
		{"trace from", Spec{Trace: trace(t, "0\n10\n19\n"), TraceFrom: 5 * time.Millisecond}, []int64{0, 6}, []int64{5, 14}},
		{"trace from a later lap", Spec{Trace: trace(t, "0\n10\n19\n"), TraceFrom: 45 * time.Millisecond}, []int64{0, 6}, []int64{5, 14}},
		{"trace begins at its first moment", Spec{Trace: trace(t, "631\n641\n")}, []int64{0, 0}, []int64{10, 11}},
		{"packets wait too long", Spec{Trace: trace(t, "0\n1\n100\n"), MaxWait: 50 * time.Millisecond}, []int64{0, 10, 60}, []int64{1, 100}},
		{"wait before the wire", Spec{BitRate: 1e6, MaxWait: 10 * time.Millisecond}, []int64{0, 0, 0, 0}, []int64{8, 16}},
		{"queue of packets", Spec{BitRate: 1e6, QueuePackets: 2}, []int64{0, 0, 0, 8}, []int64{8, 16, 24}},
		{"queue of bytes", Spec{BitRate: 1e6, Queue: 2500}, []int64{0, 0, 0, 8}, []int64{8, 16, 24}},
		{"an empty queue takes any packet", Spec{BitRate: 1e6, Queue: 10}, []int64{0, 0, 8}, []int64{8, 16}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirection(tt.spec, 1)
			for _, at := range tt.at {
				d.Offer(at*ms, pack(1000))
			}
			var got []int64
			for _, out := range drain(d, tt.at[len(tt.at)-1]*ms) {
				got = append(got, out/ms)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("packets come out at %v ms, want %v", got, tt.want)
			}
			if c := d.Counters(0); c.InPackets != c.OutPackets+c.Dropped.Total() || c.Inside != 0 {
				t.Errorf("packets are missing: %+v", c)
			}
		})
	}
}

func TestAPacketLargerThanASlotTakesSeveral(t *testing.T) {
	d := NewDirection(Spec{Trace: trace(t, "0\n1\n2\n3\n")}, 1)
	d.Offer(0, pack(2000))
	d.Offer(0, pack(1000)) // shares the second slot
	d.Offer(0, pack(100))
	if got, want := drain(d, 0), []int64{2 * ms, 2 * ms, 3 * ms}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStates(t *testing.T) {
	// At 1 Mbit/s and 10 ms one way, of four packets at 0 the first flies at 10
	// ms, the second is on the wire and two wait.
	spec := Spec{BitRate: 1e6, Delay: 10 * time.Millisecond}
	tests := []struct {
		name    string
		state   State
		back    int64 // ms, when it is Up again
		want    []int64
		dropped Drops
	}{
		{"up", Up, 50, []int64{18, 26, 34, 42, 68}, Drops{}},
		{"hold", Hold, 50, []int64{18, 68, 76, 84, 92}, Drops{}},
		{"silent", Silent, 50, []int64{68}, Drops{Silent: 5}},
		{"drop", Drop, 50, []int64{18, 68}, Drops{Drop: 4}},
		{"down", Down, 50, []int64{68}, Drops{Down: 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirection(spec, 1)
			for range 4 {
				d.Offer(0, pack(1000))
			}
			d.Set(10*ms, tt.state)
			if tt.state != Up && tt.state != Hold {
				if why := d.Offer(20*ms, pack(1000)); why != stateCause(tt.state) {
					t.Errorf("offered while %v: %v", tt.state, why)
				}
			}
			got := drain(d, 20*ms)
			d.Set(tt.back*ms, Up)
			d.Offer(tt.back*ms, pack(1000))
			got = append(got, drain(d, tt.back*ms)...)
			for i := range got {
				got[i] /= ms
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("packets come out at %v ms, want %v", got, tt.want)
			}
			if c := d.Counters(0); c.Dropped != tt.dropped {
				t.Errorf("dropped %+v, want %+v", c.Dropped, tt.dropped)
			}
		})
	}
}

func TestReaddressLosesWhatIsOnItsWay(t *testing.T) {
	d := NewDirection(Spec{BitRate: 1e6, Delay: 10 * time.Millisecond}, 1)
	for range 4 {
		d.Offer(0, pack(1000))
	}
	d.Readdress(10 * ms)
	d.Offer(10*ms, pack(1000))
	if got, want := drain(d, 10*ms), []int64{28 * ms}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if c := d.Counters(0); c.Dropped != (Drops{Readdress: 4}) {
		t.Errorf("dropped %+v", c.Dropped)
	}
}

func TestCapacityCountsOnlyTimeThatServes(t *testing.T) {
	tests := []struct {
		name string
		spec Spec
		want int64 // bytes in 1 s Up of 3 s
	}{
		{"rate", Spec{BitRate: 8e6}, 1e6},
		{"trace", Spec{Trace: trace(t, "0\n5\n9\n"), TraceFrom: time.Millisecond}, 300 * SlotBytes}, // three slots per 10 ms
		{"no rate", Spec{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirection(tt.spec, 1)
			d.Set(0, Hold)
			d.Set(1000*ms-1, Up)
			d.Offer(1500*ms, pack(4000)) // serving a packet or idling is the same
			d.Set(2000*ms-1, Silent)
			if got := d.Counters(3000 * ms).CapacityBytes; got != tt.want {
				t.Errorf("capacity %d B, want %d", got, tt.want)
			}
		})
	}
}

// event is one thing that happened to a direction driven at random.
type event struct {
	seq uint64
	due int64
	n   int
}

// drive offers packets and changes states at moments that seed decides, and
// looks at the clock at moments that polls decides.
func drive(t *testing.T, s Spec, seed, polls uint64, states bool) (outs []event, offered map[uint64]int64, c Counters) {
	t.Helper()
	d := NewDirection(s, seed)
	rnd, poll := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(polls, 8))
	offered = map[uint64]int64{}
	now := int64(0)
	d.Set(now, Up) // the trace begins at 0
	pop := func(at int64) {
		for {
			p, due, ok := d.Pop(at)
			if !ok {
				return
			}
			if due > at {
				t.Fatalf("a packet of %d came out at %d", due, at)
			}
			outs = append(outs, event{seq: binary.BigEndian.Uint64(p.Data), due: due, n: len(p.Data)})
		}
	}
	for i := range uint64(3000) {
		next := now + rnd.Int64N(2*ms)
		for poll.IntN(2) == 0 {
			now += (next - now) / 2
			pop(now)
		}
		now = next
		pop(now) // what is due before an event comes out before it
		if states && rnd.IntN(50) == 0 {
			if st := State(rnd.IntN(len(stateNames) + 1)); int(st) < len(stateNames) {
				d.Set(now, st)
			} else {
				d.Readdress(now)
			}
		}
		b := make([]byte, 8+rnd.IntN(1493))
		binary.BigEndian.PutUint64(b, i)
		if d.Offer(now, Packet{Data: b}) == Kept {
			offered[i] = now
		}
		if c := d.Counters(now); c.InPackets != c.OutPackets+c.Dropped.Total()+c.Inside {
			t.Fatalf("after %d packets: %+v", i, c)
		}
	}
	if states {
		d.Set(now, Up)
	}
	for at, ok := d.Wake(); ok; at, ok = d.Wake() {
		now = max(now, at)
		pop(now)
	}
	return outs, offered, d.Counters(now)
}

func TestProperties(t *testing.T) {
	tr := trace(t, "0\n1\n1\n1\n2\n5\n9\n20\n20\n21\n22\n23\n24\n25\n40\n41\n42\n43\n")
	specs := map[string]Spec{
		"rate":    {BitRate: 6e6, Delay: 7 * time.Millisecond, Queue: 20 << 10},
		"jitter":  {BitRate: 6e6, Delay: 7 * time.Millisecond, Jitter: 9 * time.Millisecond, Loss: 0.03},
		"trace":   {Trace: tr, Delay: 3 * time.Millisecond, QueuePackets: 30},
		"wait":    {Trace: tr, TraceFrom: 77 * time.Millisecond, MaxWait: 15 * time.Millisecond},
		"no rate": {Delay: time.Millisecond, Loss: 0.2},
	}
	for name, s := range specs {
		for _, states := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/states=%v", name, states), func(t *testing.T) {
				for seed := range uint64(4) {
					outs, offered, c := drive(t, s, seed, 1, states)
					if c.Inside != 0 || c.InPackets != c.OutPackets+c.Dropped.Total() || int(c.OutPackets) != len(outs) {
						t.Fatalf("seed %d: %+v with %d packets out", seed, c, len(outs))
					}
					checkOutput(t, s, outs, offered)
					checkRate(t, s, outs)
					again, _, c2 := drive(t, s, seed, 2, states)
					if !slices.Equal(outs, again) || c != c2 {
						t.Fatalf("seed %d: the same packets, looked at at other times, came out otherwise", seed)
					}
				}
			})
		}
	}
}

// checkOutput wants order, and the delay of each packet within its bounds.
func checkOutput(t *testing.T, s Spec, outs []event, offered map[uint64]int64) {
	t.Helper()
	for i, e := range outs {
		at, ok := offered[e.seq]
		if !ok {
			t.Fatalf("packet %d came out and was refused", e.seq)
		}
		if e.due < at+int64(s.Delay) {
			t.Fatalf("packet %d took %d ns", e.seq, e.due-at)
		}
		if i > 0 && (e.seq <= outs[i-1].seq || e.due < outs[i-1].due) {
			t.Fatalf("packet %d came out after %d", e.seq, outs[i-1].seq)
		}
	}
}

// checkRate wants no interval with more bytes out than it has capacity. Jitter
// moves packets after the wire, so it is left out.
func checkRate(t *testing.T, s Spec, outs []event) {
	t.Helper()
	if s.Jitter > 0 || s.BitRate == 0 && s.Trace == nil {
		return
	}
	for i := range outs {
		sum := 0
		for _, e := range outs[i+1 : min(i+200, len(outs))] {
			sum += e.n
			span := e.due - outs[i].due
			var room int64
			if s.Trace != nil { // the slots of both ends count
				from := outs[i].due - int64(s.Delay) + int64(s.TraceFrom)
				room = (s.Trace.slots(from+span) - s.Trace.slots(from-1)) * SlotBytes
			} else {
				room = span * s.BitRate / 8 / int64(time.Second)
			}
			if int64(sum) > room {
				t.Fatalf("%d bytes in %d ns, room for %d", sum, span, room)
			}
		}
	}
}

func TestSeedDecides(t *testing.T) {
	s := Spec{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.1}
	a, _, _ := drive(t, s, 1, 1, false)
	b, _, _ := drive(t, s, 2, 1, false)
	if slices.Equal(a, b) {
		t.Error("two seeds gave the same link")
	}
}

func TestLossIsAsOftenAsAsked(t *testing.T) {
	d := NewDirection(Spec{Loss: 0.1}, 3)
	for i := range int64(20000) {
		d.Offer(i, pack(1))
		d.Pop(i)
	}
	if got := d.Counters(0).Dropped.Random; got < 1800 || got > 2200 {
		t.Errorf("%d of 20000 lost, want about 2000", got)
	}
}

func TestLateness(t *testing.T) {
	var l Lateness
	for us := range 1000 {
		l.Add(time.Duration(us) * time.Microsecond)
	}
	l.Add(-time.Second)
	if l.Disturbed() || l.Count() != 1001 {
		t.Errorf("count %d, disturbed %v", l.Count(), l.Disturbed())
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: 999 * time.Microsecond} {
		if got := l.Quantile(q); got < want || float64(got) > 1.13*float64(want) {
			t.Errorf("quantile %v: %v, want %v or up to 13 %% more", q, got, want)
		}
	}
	l.Add(21 * time.Millisecond)
	if !l.Disturbed() || l.Max() != 21*time.Millisecond {
		t.Errorf("max %v, disturbed %v", l.Max(), l.Disturbed())
	}
	l.Add(1000 * time.Hour) // beyond the histogram
	if got := l.Quantile(1); got != 1000*time.Hour && got < time.Hour {
		t.Errorf("quantile 1: %v", got)
	}
}

func BenchmarkDirection(b *testing.B) {
	d := NewDirection(Spec{BitRate: 40e6, Delay: 40 * time.Millisecond, Jitter: time.Millisecond, Queue: 1 << 20}, 1)
	p := pack(1400)
	b.ReportAllocs()
	b.SetBytes(int64(len(p.Data)))
	now := int64(0)
	for b.Loop() {
		now += 290_000 // a little less than the rate
		d.Offer(now, p)
		for _, _, ok := d.Pop(now); ok; _, _, ok = d.Pop(now) {
			continue
		}
	}
}
