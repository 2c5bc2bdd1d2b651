package reorder

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"telemetry/wire"
)

func TestAnchorGate(t *testing.T) {
	wait := func(c *Config) { c.AnchorWait = 5 * time.Second }
	t.Run("until the first anchor", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond, wait)
		s.put(1, critical, 1, "main 1/critical#1", opens())
		s.put(1, full, 1, "")
		s.put(1, live, 1, "")
		s.put(1, critical, 2, "", columns)
		s.put(1, critical, 3, "") // behind 2 in its lane
		s.advance(4000, "")       // no gap, no hole
		s.put(1, critical, 4, "anchor 1/critical#4, main 1/critical#2, main 1/critical#3, main 1/critical#4, main 1/live#1, main 1/full#1", anchors)
		s.put(1, full, 2, "main 1/full#2")
	})
	t.Run("or five seconds", func(t *testing.T) {
		s := newScript(t, None, wait)
		s.put(1, full, 1, "") // ms 1001
		s.put(1, critical, 1, "main 1/critical#1", opens())
		if at, ok := s.c.NextDeadline(); !ok || at != 6001 {
			t.Fatalf("next deadline %d, %v; want 6001", at, ok)
		}
		s.advance(4998, "")
		s.advance(1, "main 1/full#1")
		if _, ok := s.c.NextDeadline(); ok {
			t.Fatal("a deadline without anything to wait for")
		}
	})
}

func TestWindows(t *testing.T) {
	for _, w := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond, time.Minute, None} {
		t.Run(w.String(), func(t *testing.T) {
			s := newScript(t, w)
			s.open()
			s.put(1, full, 1, "main 1/full#1") // in order nothing waits
			s.put(1, full, 3, "")
			if w == None {
				s.advance(1<<40, "")
				s.put(1, full, 2, "main 1/full#2, main 1/full#3")
				return
			}
			if w > 0 {
				s.advance(w.Milliseconds()-1, "")
			}
			s.advance(1, "gap 1/full#2 gap, main 1/full#3")
			s.put(1, full, 2, "found 1/full#2, late 1/full#2")
			s.put(1, full, 4, "main 1/full#4")
		})
	}
}

func TestCRCConflict(t *testing.T) {
	const alarm = ", alarm 1/full#1 crc conflict"
	s := newScript(t, None)
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 1, "duplicate")
	s.put(1, full, 1, "dead 1/full#1 crc conflict"+alarm, crc(7), loses(1, full, 2, 2, wire.ReasonQuota))
	s.put(1, full, 1, "dead 1/full#1 crc conflict"+alarm, crc(7), pulled)
	s.put(1, full, 3, "")
	s.put(1, full, 3, "dead 1/full#3 crc conflict, alarm 1/full#3 crc conflict", crc(7))
	s.put(1, full, 2, "main 1/full#2, main 1/full#3")
	for seq := uint64(4); seq <= CRCWindow+1; seq++ {
		s.put(1, full, seq, fmt.Sprintf("main 1/full#%d", seq))
	}
	s.put(1, full, 2, "dead 1/full#2 crc conflict, alarm 1/full#2 crc conflict", crc(7))
	s.put(1, full, 1, "duplicate", crc(7)) // beyond the window
}

func TestStartInside(t *testing.T) {
	s := newScript(t, None)
	s.c.StartInside()
	s.put(6, full, 9001, "gap 6/full#1-8999 retention", base(9000))
	s.put(6, full, 9000, "main 6/full#9000, main 6/full#9001", base(9000))
	s.put(6, critical, 40, "gap 6/critical#1-39 retention, main 6/critical#40", base(40))
	s.put(6, full, 12, "found 6/full#12, late 6/full#12")
	s.takeover()
	s.put(6, live, 8, "gap 6/live#1-7 retention, main 6/live#8", base(8))
	s.put(7, full, 1, "")
	s.put(7, critical, 1, "main 7/critical#1, main 7/full#1", opens(holds(6)))
	s = newScript(t, None)
	s.c.StartInside() // but the car's own start is there
	s.put(1, critical, 1, "main 1/critical#1", opens())
	s.put(1, full, 2, "")
}

func TestInvalidRecords(t *testing.T) {
	s := newScript(t, None)
	s.put(1, full, 0, "dead 1/full#0 invalid")
	s.put(1, full, MaxSeq+1, fmt.Sprintf("dead 1/full#%d invalid", MaxSeq+1))
	s.put(1, 9, 1, "dead 1/lane-9#1 invalid")
	s.put(1, full, 1, "dead 1/full#1 invalid", func(in *Input) { in.Header.Stream.Car = "other" })
	s.open()
	s.put(1, critical, 2, "main 1/critical#2, alarm 1/critical#2 control",
		control(wire.Control{EpochOpen: &wire.EpochOpen{Epoch: ep(5), Predecessors: []wire.Predecessor{holds(1)}}}))
	s.put(1, critical, 3, "main 1/critical#3, alarm 1/critical#3 control", loses(1, 7, 1, 1, wire.ReasonQuota))
	s.put(1, critical, 4, "main 1/critical#4, alarm 1/critical#4 control", opens(holds(1)))
	s.put(1, critical, 5, "main 1/critical#5", loses(1, full, 5, 4, wire.ReasonQuota))
	s.put(1, full, 1, "main 1/full#1")
}

func TestHeldLimit(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.Held = 4 })
	s.open()
	for seq := uint64(2); seq <= 3; seq++ {
		s.put(1, full, seq, "")
	}
	s.put(1, full, 5, "alarm limit held")
	s.put(1, full, 6, "")
	s.put(1, full, 8, "gap 1/full#1 gap, main 1/full#2, main 1/full#3")
	s.put(1, full, 9, "")
	s.put(1, full, 4, "gap 1/full#4 gap, main 1/full#5, main 1/full#6, found 1/full#4, late 1/full#4")
}

func TestOtherRangesLimit(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.OtherRanges = 2 })
	s.open()
	s.put(1, full, 2, "pulled 1/full#2", pulled)
	s.put(1, full, 4, "pulled 1/full#4", pulled)
	s.put(1, full, 6, "alarm limit other ranges, pulled 1/full#6", pulled)
	s.put(1, full, 3, "", pulled) // counts as pulled already: never twice
	s.put(1, full, 1, "main 1/full#1, main 1/full#2, main 1/full#3, main 1/full#4")
	// Beyond the end of a stream that is not complete there is no room either.
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1, ranges(full, 5, 7))))
	s.put(1, full, 9, "dead 1/full#9 limit")
	s.put(1, full, 5, "main 1/full#5, main 1/full#6")
	s.put(1, full, 7, "main 1/full#7")
	s.put(1, full, 9, "late 1/full#9, gap 1/full#8 epoch")
}

func TestShardsAreStreams(t *testing.T) {
	shard := func(n uint16) option { return func(in *Input) { in.Header.Stream.Shard = n } }
	s := newScript(t, None)
	s.open()
	s.put(1, full, 2, "", shard(2))
	s.put(1, full, 2, "", shard(1))
	s.put(1, full, 1, "main 1/full#1")
	s.takeover()
	s.put(2, critical, 1, "gap 1/full#1 epoch, gap 1/full#1 epoch, main 2/critical#1, main 1/full#2, main 1/full#2", opens(holds(1)))
}

func TestHeldRangesLimit(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.HeldRanges = 2 })
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(2, full, 2, "")
	s.put(2, full, 4, "")
	// First the older epoch is not waited for any more, then the holes go.
	s.put(2, full, 6, "alarm limit held ranges")
	s.takeover()
	s.put(1, full, 2, "late 1/full#2")
	s.put(2, full, 8, "gap 2/full#1 gap, main 2/full#2")
	s.put(2, full, 3, "gap 2/full#3 gap, main 2/full#4, found 2/full#3, late 2/full#3")
}

func TestHeldLimitOpensTheGate(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.Held, c.AnchorWait = 3, time.Hour })
	s.put(1, critical, 1, "main 1/critical#1", opens())
	s.put(1, full, 1, "")
	s.put(1, full, 2, "alarm limit held")
	s.put(1, live, 1, "")
	s.put(1, full, 3, "main 1/live#1, main 1/full#1, main 1/full#2, main 1/full#3")
}

func TestEpochLimits(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.Epochs, c.Limits.Tombstones = 3, 2 })
	s.open()
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	s.put(3, critical, 1, "main 3/critical#1", opens(holds(1), holds(2)))
	// 1 is over: it makes room early, and what comes of it is stale.
	s.put(4, critical, 1, "alarm limit epochs, main 4/critical#1", opens(holds(2), holds(3)))
	s.put(1, critical, 1, "dead 1/critical#1 stale")
	s.put(5, critical, 1, "main 5/critical#1", opens(holds(3), holds(4)))
	// Epochs without an EpochOpen cannot be over.
	s.put(6, full, 1, "alarm limit tombstones")
	s.put(7, full, 1, "")
	s.put(8, full, 1, "dead 8/full#1 limit")
	s.put(5, full, 1, "main 5/full#1")
}

// cpuTime returns the CPU time of the process, which no other one adds to.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHostileCar floods a car with what no car sends: it stays small and quick.
func TestHostileCar(t *testing.T) {
	cfg := Defaults()
	cfg.AnchorWait = 0
	c := NewCar("car", cfg)
	var out Out
	off := int64(0)
	put := func(e int, l wire.Lane, seq uint64, opts ...option) {
		off++
		in := Input{Offset: off, AppendMS: off / 8, Header: wire.Header{Stream: streamOf(e, l), Seq: seq, Samples: 1}}
		for _, f := range opts {
			f(&in)
		}
		c.Apply(&in, &out)
		out.Reset()
	}
	begin := cpuTime(t)
	put(1, critical, 1, opens())
	for i := range uint64(4_000) {
		l := wire.Lanes[i%3]
		put(1, l, 1<<47+2*i, base(1<<47))                                        // huge jumps, every other number
		put(1, critical, 1<<30-2*i, loses(1, l, 3*i+1, 1<<48, wire.ReasonQuota)) // and backwards
		put(int(i)+2, full, 1<<40)                                               // a new epoch each time
		put(1, full, 1<<20+2*i, pulled)
		put(int(i)+2, critical, 1, opens(holds(int(i)), holds(int(i)+1, ranges(full, 1, 1<<48))))
	}
	if d := cpuTime(t) - begin; d > 20*time.Second {
		t.Errorf("20,000 records took %v of a processor", d)
	}
	l := cfg.Limits
	if len(c.epochs) > l.Epochs || c.streamCount > l.Streams || c.gapCount > l.GapRanges+l.HeldRanges ||
		c.otherCount > l.OtherRanges || c.entryCount > l.Held || len(c.tombs) > l.Tombstones {
		t.Errorf("%d epochs, %d streams, %d gaps, %d other ranges, %d held, %d tombstones",
			len(c.epochs), c.streamCount, c.gapCount, c.otherCount, c.entryCount, len(c.tombs))
	}
	state := c.AppendState(nil)
	if len(state) > 300_000 {
		t.Errorf("the state has %d bytes", len(state))
	}
	if _, err := ParseCar(cfg, state); err != nil {
		t.Error(err)
	}
	checkCounts(t, c)
}

// checkCounts compares the running counts with what is there.
func checkCounts(t *testing.T, c *Car) {
	t.Helper()
	gaps, other, entries, streams := 0, 0, 0, 0
	for _, ln := range c.lanes {
		waiting := 0
		for i, x := range ln.streams {
			streams++
			gaps += len(x.missing)
			other += len(x.done) + len(x.pulled)
			entries += len(x.entries)
			waiting += int(x.wait[outMain].Count())
			if c.byStream[keyOf(x.id)] != x || ln.index(x) != i {
				t.Errorf("%v stands in the wrong place", x.id)
			}
			if x.released && i > ln.cur {
				t.Errorf("%v was released and is newer than the current one", x.id)
			}
			for seq, e := range x.entries {
				if e.flags&flagsKeep == 0 || (e.flags&flagHeld != 0) != x.held.Contains(seq) {
					t.Errorf("%v#%d is kept with flags %b", x.id, seq, e.flags)
				}
			}
		}
		if waiting != ln.waiting {
			t.Errorf("lane %v: %d wait, counted %d", ln.lane, waiting, ln.waiting)
		}
	}
	if gaps != c.gapCount || other != c.otherCount || entries != c.entryCount || streams != c.streamCount {
		t.Errorf("gaps %d, counted %d; other ranges %d, %d; entries %d, %d; streams %d, %d",
			gaps, c.gapCount, other, c.otherCount, entries, c.entryCount, streams, c.streamCount)
	}
}

func TestHoles(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 5, "") // ms 1003
	s.put(1, full, 7, "")
	s.put(1, critical, 2, "main 1/critical#2, gap 1/full#4 quota", loses(1, full, 4, 4, wire.ReasonQuota))
	got := s.c.Holes(nil)
	want := Hole{Stream: streamOf(1, full), Range: wire.Range{First: 2, Last: 3}, SinceMS: 1003, Held: 2}
	if len(got) != 1 || got[0] != want {
		t.Fatalf("holes %+v, want %+v", got, want)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Defaults()
	bad.Windows[full] = -2
	bad.AnchorWait = -1
	bad.Retention, bad.Forget = time.Hour, time.Minute
	bad.Limits.Held = 0
	bad.Limits.Epochs = 1 << 20
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"window of lane full", "anchor wait", "below the retention", "held batches", "at most"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}
