package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind names a kind of fault.
type Kind string

// Fault is one thing that goes wrong.
type Fault struct {
	At     time.Duration // since the run began
	For    time.Duration // how long, where it lasts
	Kind   Kind
	Target int   // car, link, instance or partition; taken modulo what there is
	Arg    int64 // what the kind makes of it
}

// String returns the fault as it stands in traces.
func (f Fault) String() string {
	return fmt.Sprintf("%s at %v for %v, target %d, arg %d", f.Kind, f.At, f.For, f.Target, f.Arg)
}

// Plan is one run: what there is, and what happens to it.
type Plan struct {
	Seed       uint64
	Cars       int
	Links      int // of a car
	Instances  int
	Partitions int32
	External   bool // one broker in front of all instances, else one in each
	Embedded   bool // the embedded Kafka, without transactions
	NoWindow   bool // critical and full wait for ever
	Window     time.Duration
	AnchorWait time.Duration
	HeldBytes  int64 // memory for held batches; 0: all are read again
	Quota      int64 // of a spool, in chunks
	FullEvery  time.Duration
	FullBytes  int
	Two        bool          // a second output, with the sealed batches and a window of its own
	Window2    time.Duration // of it; 0: none
	Plain      int           // links, as bits, whose connections can only send and wait
	Blind      int           // links, as bits, whose sockets don't tell what was confirmed
	CalmAt     time.Duration // the faults are over
	Tail       time.Duration // the sources go on for so long afterwards
	Bound      time.Duration // and so long later all must have arrived
	Faults     []Fault

	drop map[int]bool
}

// Without returns the plan without some of its faults, by index.
func (p *Plan) Without(drop []int) *Plan {
	q := *p
	q.drop = map[int]bool{}
	for _, i := range drop {
		q.drop[i] = true
	}
	return &q
}

func (p *Plan) dropped(i int) bool { return p.drop[i] }

// String describes the plan for people.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d cars, %d links, %d instances, %d partitions, external broker %v, embedded kafka %v, window %v (none %v), anchor wait %v, held bytes %d, quota %d chunks, second output %v with window %v, plain links %b, blind sockets %b\n",
		p.Seed, p.Cars, p.Links, p.Instances, p.Partitions, p.External, p.Embedded, p.Window, p.NoWindow, p.AnchorWait, p.HeldBytes, p.Quota, p.Two, p.Window2, p.Plain, p.Blind)
	for i, f := range p.Faults {
		mark := ""
		if p.dropped(i) {
			mark = " (left out)"
		}
		fmt.Fprintf(&b, "  %2d %s%s\n", i, f, mark)
	}
	return b.String()
}

// NewPlan makes the plan of a seed.
func NewPlan(seed uint64) *Plan {
	r := rand.New(rand.NewPCG(seed, 0x706c616e))
	p := &Plan{
		Seed: seed, Cars: 1 + r.IntN(2), Links: 2 + r.IntN(2), Instances: 1 + r.IntN(3), Partitions: int32(1 + r.IntN(3)),
		External: r.IntN(3) == 0, NoWindow: r.IntN(4) == 0,
		Window:     time.Duration(1+r.IntN(4)) * time.Second,
		AnchorWait: time.Duration(r.IntN(4)) * time.Second,
		HeldBytes:  []int64{0, 2 << 10, 1 << 20}[r.IntN(3)],
		Quota:      []int64{4, 6, 64, 256}[r.IntN(4)],
		FullEvery:  time.Duration(100+r.IntN(200)) * time.Millisecond,
		FullBytes:  200 + r.IntN(800),
		Tail:       1500 * time.Millisecond, Bound: 150 * time.Second,
	}
	if r.IntN(6) == 0 {
		p.Embedded, p.Instances, p.External = true, 1, false
	}
	span := 6*time.Second + time.Duration(r.Int64N(int64(9*time.Second)))
	for range 3 + r.IntN(10) {
		p.add(r, kinds, span)
	}
	p.more(span)
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	p.CalmAt += 200 * time.Millisecond
	return p
}

// more adds what concerns the uplink's loop, out of numbers of its own, so that the
// rest of a plan stays what it is.
func (p *Plan) more(span time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 0x6c6f6f70))
	if r.IntN(3) == 0 {
		p.Plain = r.IntN(1 << p.Links)
	}
	if r.IntN(3) == 0 {
		p.Blind = r.IntN(1 << p.Links)
	}
	for range r.IntN(4) {
		p.add(r, agentKinds, span)
	}
	if p.Two = r.IntN(3) == 0; p.Two && r.IntN(4) > 0 {
		p.Window2 = time.Duration(500+r.IntN(5000)) * time.Millisecond
	}
}

// add adds one fault out of a list.
func (p *Plan) add(r *rand.Rand, of []kindSpec, span time.Duration) {
	k := of[r.IntN(len(of))]
	f := Fault{Kind: k.kind, Target: r.IntN(64), Arg: r.Int64()}
	f.At = time.Duration(r.Int64N(int64(span)))
	f.For = k.min + time.Duration(r.Int64N(int64(k.max-k.min)+1))
	p.Faults = append(p.Faults, f)
	p.CalmAt = max(p.CalmAt, f.At+f.For)
}

// Kinds lists all kinds of faults.
func Kinds() []Kind {
	var out []Kind
	for _, k := range slices.Concat(kinds, agentKinds) {
		out = append(out, k.kind)
	}
	return out
}
