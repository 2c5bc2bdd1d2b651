package gnss

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"telemetry/sensors/nmea"
	"telemetry/sensors/ubx"
	"telemetry/wire"
)

const (
	utcBase = int64(1_784_000_000) * secondNS
	bootOff = int64(90)*secondNS - utcBase + 123_456_789 // boot time less UTC, the truth
)

// feed gives a clock n fixes of a receiver at 10 Hz whose delay is at least
// least, and returns the worst error of a tick.
func feed(c *stampClock, from, n int, least, jitter int64, each func(f *fix)) (worst int64) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := from; i < from+n; i++ {
		utc := utcBase + int64(i)*secondNS/10
		f := &fix{utc: utc, utcOK: true, located: true, accNS: 40, arrival: utc + bootOff + least + rnd.Int64N(jitter)}
		if each != nil {
			each(f)
		}
		tick := c.at(f)
		if i >= from+50 {
			worst = max(worst, tick-utc-bootOff, -(tick - utc - bootOff))
		}
	}
	return worst
}

func TestTicksRestOnTheLeastDelay(t *testing.T) {
	c := &stampClock{latency: 50e6, errNS: 100e6}
	if worst := feed(c, 0, 600, 60e6, 40e6, nil); worst > 15e6 {
		t.Errorf("ticks are %d ns off: the delay of 60 ms is known to be 50", worst)
	}
}

func TestTicksNeverGoBackNorAhead(t *testing.T) {
	c := &stampClock{latency: 250e6, errNS: 500e6}
	last := int64(0)
	check := func(f *fix) {
		tick := c.at(f)
		if tick < last || tick > f.arrival {
			t.Fatalf("tick %d after %d, arrival %d", tick, last, f.arrival)
		}
		last = tick
	}
	feed(&stampClock{}, 0, 100, 10e6, 700e6, check)
	check(&fix{arrival: last + 1e9}) // without a time
	feed(&stampClock{}, 1000, 10, 10e6, 1, check)
}

func TestAnchorsAreHonest(t *testing.T) {
	for _, least := range []int64{0, 100e6, 130e6} {
		c := &stampClock{latency: 50e6, errNS: 100e6}
		n := 0
		var before wire.Anchor
		feed(c, 0, 600, least, 20e6, func(f *fix) {
			a, ok := c.due(f.arrival)
			if !ok {
				return
			}
			n++
			off := a.BootNS - a.UTCNS - bootOff
			if max(off, -off) > a.UncertaintyNS || a.Source != wire.AnchorGNSS {
				t.Errorf("delay %d: anchor %+v is %d ns off", least, a, off)
			}
			if n > 1 && a.BootNS-before.BootNS < anchorEvery {
				t.Errorf("anchors %d ns apart", a.BootNS-before.BootNS)
			}
			before = a
		})
		if n < 5 || n > 7 {
			t.Errorf("delay %d: %d anchors in a minute", least, n)
		}
	}
}

func TestPulseTellsTheSecond(t *testing.T) {
	c := &stampClock{latency: 250e6, errNS: 500e6 - 1}
	seq := uint64(0)
	var best wire.Anchor
	worst := feed(c, 0, 600, 300e6, 100e6, func(f *fix) {
		if f.utc%secondNS == 0 && f.utc > utcBase+2*secondNS {
			seq++
			c.edge(f.utc+bootOff+3_000, seq) // the interrupt is 3 µs late
			c.edge(f.utc+bootOff+3_000, seq) // seen twice
		}
		if a, ok := c.due(f.arrival); ok && a.Source == wire.AnchorPPS {
			best = a
		}
	})
	if worst > 5_000 {
		t.Errorf("ticks are %d ns off", worst)
	}
	if off := best.BootNS - best.UTCNS - bootOff; best.Source != wire.AnchorPPS || off != 3_000 || best.UncertaintyNS < off || best.UncertaintyNS > 300_000 {
		t.Errorf("anchor %+v is %d ns off", best, off)
	}
	if c.pulse.edges != seq {
		t.Errorf("%d edges counted, %d seen", c.pulse.edges, seq)
	}
	c.edge(c.pulse.boot+secondNS+300_000_000, seq+1) // UTC was set between the edge and the look
	if c.pulsed(c.pulse.boot) {
		t.Error("an edge that contradicts the one before is believed at once")
	}
}

func TestPulseOfTwoPossibleSecondsIsNone(t *testing.T) {
	c := &stampClock{latency: 600e6, errNS: 700e6}
	feed(c, 0, 50, 100e6, 1e6, nil)
	c.edge(utcBase+5*secondNS+bootOff, 1)
	c.edge(utcBase+6*secondNS+bootOff, 2)
	if c.pulse.good != 0 {
		t.Error("a second was chosen where two are possible")
	}
}

func TestTimeThatJumpsIsNotBelievedAtOnce(t *testing.T) {
	c := &stampClock{latency: 50e6, errNS: 100e6}
	feed(c, 0, 100, 60e6, 1e6, nil)
	good := c.offset
	jump := func(i int64) {
		utc := utcBase + 10*secondNS + i*secondNS/10
		c.at(&fix{utc: utc + 3600*secondNS, utcOK: true, arrival: utc + bootOff + 60e6})
	}
	jump(0)
	jump(1)
	if c.offset != good || c.resets != 0 {
		t.Errorf("two strange fixes moved the clock by %d ns", c.offset-good)
	}
	if _, ok := c.due(utcBase + bootOff + 99*secondNS); ok {
		t.Error("an anchor between strange fixes")
	}
	jump(2)
	if d := c.offset - good + 3600*secondNS; c.resets != 1 || max(d, -d) > 2e6 {
		t.Errorf("after three: %d resets, %d ns", c.resets, c.offset-good)
	}
}

func TestAssert(t *testing.T) {
	for in, want := range map[string]struct {
		ns  int64
		seq uint64
		ok  bool
	}{
		"1234567890.123456789#42\n": {1_234_567_890_123_456_789, 42, true},
		"0.000000000#0\n":           {0, 0, true},
		"12.5#1":                    {12_500_000_000, 1, true},
		"":                          {},
		"12#1":                      {},
		"1.5":                       {},
		"x.5#1":                     {},
	} {
		ns, seq, err := parseAssert([]byte(in))
		if (err == nil) != want.ok || want.ok && (ns != want.ns || seq != want.seq) {
			t.Errorf("%q: %d %d %v", in, ns, seq, err)
		}
	}
}

// pulseClock is at a fixed moment.
type pulseClock struct{ boot, utc int64 }

func (c *pulseClock) BootNS() int64        { return c.boot }
func (c *pulseClock) Pair() (int64, int64) { return c.boot, c.utc }

func TestPulseOfTheKernel(t *testing.T) {
	clk := &pulseClock{}
	tree := fstest.MapFS{}
	src, err := New(Config{Port: "none", PPS: "pps0", Root: tree, Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	r := src.newRun(nil)
	r.clock.latency, r.clock.errNS = 50e6, 100e6
	feed(&r.clock, 0, 50, 60e6, 1e6, nil)
	r.lookAtPulse(1) // no such file: said once, and nothing else
	for i := range int64(4) {
		edge := utcBase + (5+i)*secondNS
		// The system's UTC is 7 s ahead of the truth, as is the kernel's stamp.
		tree["sys/class/pps/pps0/assert"] = &fstest.MapFile{Data: fmt.Appendf(nil, "%d.%09d#%d\n", edge/secondNS+7, 2_000, i+1)}
		clk.boot = edge + bootOff + 400_000_000
		clk.utc = edge + 7*secondNS + 400_000_000
		r.lookAtPulse(clk.boot)
	}
	if !r.clock.pulsed(clk.boot) || r.clock.pulse.offset != bootOff+2_000 || r.clock.pulse.good != 4 {
		t.Errorf("%+v", r.clock.pulse)
	}
	clk.boot += 5 * secondNS // the receiver has lost its fix: the edge is an old one
	clk.utc += 5 * secondNS
	r.lookAtPulse(clk.boot)
	if r.clock.pulse.edges != 4 {
		t.Errorf("%d edges", r.clock.pulse.edges)
	}
}

func TestScannerFindsWhatFalseBeginsHide(t *testing.T) {
	line := nmea.Append(nil, []byte("GPGLL,4717.11,N,00833.91,E,131110,A"))
	frame := ubx.Append(nil, ubx.NavPVT, ubx.AppendPVT(nil, &ubx.PVT{}))
	// A false head that claims more bytes than will ever come.
	stream := append([]byte{ubx.Sync1, ubx.Sync2, 1, 7, 0, 8}, line...)
	stream = append(stream, frame...)
	stream = append(stream, ubx.Sync1, ubx.Sync2, 1, 7, 40, 0)
	stream = append(stream, frame...)
	for _, step := range []int{1, 2, 3, 7, 64, len(stream)} {
		var lines, frames int
		s := scanner{
			line: func([]byte, int64) { lines++ },
			ubx:  func(ubx.ID, []byte, int64) { frames++ },
		}
		for i := 0; i < len(stream); i += step {
			s.feed(stream[i:min(i+step, len(stream))], int64(i))
		}
		s.idle()
		if lines != 1 || frames != 2 || len(s.buf) != 0 {
			t.Errorf("steps of %d: %d sentences and %d frames, want 1 and 2; %d bytes left", step, lines, frames, len(s.buf))
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(nmea.Append(nil, []byte("GPGLL,4717.11,N,00833.91,E,131110,A")), uint8(3))
	f.Add(ubx.Append(nil, ubx.NavPVT, ubx.AppendPVT(nil, &ubx.PVT{Valid: 7})), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		// However the bytes are cut, the same things are found.
		found := func(step int) (out []string) {
			s := scanner{
				line: func(l []byte, _ int64) { out = append(out, string(l)) },
				ubx:  func(id ubx.ID, p []byte, _ int64) { out = append(out, fmt.Sprint(id, p)) },
			}
			for i := 0; i < len(b); i += step {
				s.feed(b[i:min(i+step, len(b))], int64(i))
				if len(s.buf) >= maxPending {
					t.Fatal("it keeps more and more")
				}
			}
			s.idle()
			return out
		}
		a, c := found(len(b)+1), found(int(step)+1)
		if fmt.Sprint(a) != fmt.Sprint(c) {
			t.Fatalf("whole: %q, in steps of %d: %q", a, step+1, c)
		}
	})
}
