package reorder

import (
	"testing"
	"time"

	"telemetry/wire"
)

func TestRule02BaseSettlesOnlyLive(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, live, 1, "main 1/live#1", base(1))
	s.put(1, live, 5, "gap 1/live#2-4 superseded, main 1/live#5", base(5))
	s.put(1, live, 6, "main 1/live#6", base(2)) // base falls after a restart: the greatest counts
	// In full a base above unknown numbers is a broken promise, not a settlement.
	s.put(1, full, 1, "main 1/full#1", base(1))
	s.put(1, full, 4, "alarm 1/full#2-3 below base", base(4))
	s.put(1, full, 4, "duplicate", base(4))
	s.put(1, full, 2, "main 1/full#2", base(2))
	s.put(1, full, 3, "main 1/full#3, main 1/full#4", base(2))
}

func TestRule02BaseNeverExceedsItsBatch(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, live, 3, "gap 1/live#1-2 superseded, main 1/live#3", base(1<<40))
	s.put(1, live, 4, "main 1/live#4", base(4))
}

func TestRule03LossYieldsToTruth(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 3, "")
	s.put(1, full, 5, "pulled 1/full#5", pulled)
	// 1 is delivered, 3 held, 5 held pulled: 2, 4 and 6 are lost.
	s.put(1, critical, 2, "main 1/critical#2, gap 1/full#2 quota, gap 1/full#4 quota, gap 1/full#6 quota, "+
		"main 1/full#3, main 1/full#5", loses(1, full, 1, 6, wire.ReasonQuota))
	s.put(1, full, 7, "main 1/full#7")
}

func TestRule04ControlActsWhenFirstRead(t *testing.T) {
	t.Run("held behind a hole", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(1, full, 2, "")
		s.put(1, critical, 9, "gap 1/full#1 corrupt, main 1/full#2, spent 1/critical#9", loses(1, full, 1, 1, wire.ReasonCorrupt))
		s.put(1, critical, 9, "duplicate", loses(1, full, 3, 3, wire.ReasonCorrupt))
	})
	t.Run("late", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(1, critical, 3, "")
		s.advance(200, "gap 1/critical#2 gap, main 1/critical#3")
		s.put(1, full, 2, "")
		s.put(1, critical, 2, "found 1/critical#2, late 1/critical#2, gap 1/full#1 quota, main 1/full#2", loses(1, full, 1, 1, wire.ReasonQuota))
	})
	t.Run("beyond the memory limit", func(t *testing.T) {
		s := newScript(t, None, func(c *Config) { c.Limits.Streams = 3 })
		s.open()
		s.put(1, live, 1, "main 1/live#1")
		s.put(1, full, 2, "")
		s.put(7, critical, 1, "alarm limit streams, dead 7/critical#1 limit, gap 1/full#1 quota, main 1/full#2", loses(1, full, 1, 1, wire.ReasonQuota))
	})
	t.Run("opens no hole", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(1, critical, 3, "spent 1/critical#3", tells(1, live, 1))
		s.advance(1000, "")
		s.put(1, critical, 4, "")
		s.advance(100, "gap 1/critical#2 gap, main 1/critical#4")
	})
}

func TestRule06BaseRecord(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, live, 3, "")
	s.put(1, critical, 2, "main 1/critical#2, gap 1/live#1-2 superseded, gap 1/live#4-7 superseded, main 1/live#3", tells(1, live, 8))
	s.put(1, critical, 3, "main 1/critical#3", tells(1, live, 8))
}

func TestRule09Lineage(t *testing.T) {
	t.Run("settles what is named and not held", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(1, full, 1, "main 1/full#1")
		s.put(1, full, 5, "")
		s.put(2, critical, 1, "gap 1/full#2-3 epoch, main 2/critical#1", opens(holds(1, ranges(full, 4, 4))))
		s.put(1, full, 4, "main 1/full#4, main 1/full#5")
	})
	t.Run("a new card settles nothing until abandoned", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(1, full, 2, "")
		s.put(9, critical, 1, "alarm 9/critical#1 lineage, spent 9/critical#1", opens())
		s.put(9, full, 1, "")
		if got := s.c.Open(nil); len(got) != 2 || got[0] != ep(1) || got[1] != ep(9) {
			t.Fatalf("open epochs %v", got)
		}
		s.abandon(1, "gap 1/full#1 card replaced, main 1/full#2, main 9/full#1")
		s.put(1, full, 1, "found 1/full#1, late 1/full#1")
		s.put(1, full, 4, "late 1/full#4, gap 1/full#3 card replaced")
	})
	t.Run("order is lineage, not first sight", func(t *testing.T) {
		s := newScript(t, None)
		s.put(3, full, 1, "")
		s.put(2, full, 1, "")
		s.put(3, critical, 1, "main 3/critical#1, main 2/full#1, main 3/full#1", opens(holds(2)))
	})
	t.Run("the links overtake an older EpochOpen", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(3, live, 1, "")
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(3, critical, 2, "")
		s.put(3, critical, 1, "main 3/critical#1, main 3/critical#2, main 3/live#1", opens(holds(1), holds(2)))
	})
	t.Run("two cards of one image", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, full, 2, "")
		s.put(22, critical, 1, "alarm 22/critical#1 fork, spent 22/critical#1", opens(holds(1)))
		s.put(22, full, 1, "")
		// The successor of 22 decides: 2 is not waited for, until then it goes on.
		s.put(23, critical, 1, "alarm 23/critical#1 fork, main 23/critical#1, "+
			"late 2/full#2, gap 2/full#1 gap, main 22/full#1", opens(holds(1), holds(22)))
		s.put(23, full, 1, "main 23/full#1")
		s.put(2, full, 3, "late 2/full#3")
	})
}

func TestRule10BornClosed(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1, ranges(full, 1, 2))))
	s.put(1, live, 1, "late 1/live#1")
	s.put(2, full, 1, "")
	s.put(1, full, 3, "late 1/full#3")
	s.put(1, full, 2, "")
	s.put(1, full, 1, "main 1/full#1, main 1/full#2, main 2/full#1")
}

func TestRule11OrderAcrossEpochs(t *testing.T) {
	t.Run("waits for EpochOpen and the older end", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(1, full, 1, "main 1/full#1")
		s.put(2, full, 1, "")
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1, ranges(full, 2, 2))))
		s.put(1, full, 2, "main 1/full#2, main 2/full#1")
		s.put(1, full, 3, "late 1/full#3")
	})
	t.Run("named by a later one", func(t *testing.T) {
		s := newScript(t, None)
		s.open()
		s.put(2, full, 1, "")
		s.put(3, critical, 1, "gap 2/full#2 epoch, main 2/full#1, spent 3/critical#1", opens(holds(1), holds(2, ranges(critical, 1, 1), ranges(full, 3, 3))))
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, full, 3, "main 2/full#3")
	})
	t.Run("the newer statement counts, in either order", func(t *testing.T) {
		older := opens(holds(1, ranges(full, 1, 9)))
		newer := opens(holds(1, ranges(full, 1, 1)), holds(2))
		s := newScript(t, None)
		s.open()
		s.put(2, critical, 1, "main 2/critical#1", older)
		s.put(3, critical, 1, "gap 1/full#2-9 epoch, main 3/critical#1", newer)
		s.put(3, full, 1, "")
		s.takeover()
		s.put(1, full, 1, "main 1/full#1, main 3/full#1")
		s = newScript(t, None)
		s.open()
		s.put(3, critical, 1, "main 3/critical#1", newer)
		s.put(3, full, 1, "")
		s.takeover()
		s.put(2, critical, 1, "late 2/critical#1", older)
		s.put(1, full, 1, "main 1/full#1, main 3/full#1")
	})
	t.Run("the wait is a hole and obeys the window", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(1, full, 1, "main 1/full#1")
		s.put(1, full, 3, "")
		s.put(2, full, 1, "") // 99 ms later
		s.ms += 97
		s.put(2, full, 2, "")
		s.advance(2, "gap 1/full#2 gap, main 1/full#3, main 2/full#1, main 2/full#2")
		s.put(2, full, 3, "main 2/full#3")
		s.put(1, full, 4, "late 1/full#4")
		// A stream of the old epoch that nobody has seen before is released until
		// the newer one has released in that lane.
		s.put(1, live, 1, "main 1/live#1")
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, live, 1, "main 2/live#1")
		s.put(1, live, 2, "late 1/live#2")
	})
	t.Run("streams not yet seen included", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(2, full, 1, "")
		s.advance(101, "main 2/full#1")
		s.put(1, full, 2, "late 1/full#2, gap 1/full#1 gap")
		s.put(1, full, 1, "found 1/full#1, late 1/full#1")
	})
}

func TestRule12Tombstones(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Forget = time.Hour })
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, live, 1, "main 1/live#1")
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	s.put(2, full, 1, "main 2/full#1")
	s.put(2, live, 1, "main 2/live#1")
	// Closed, it still knows what was delivered.
	s.put(1, full, 1, "duplicate")
	s.put(1, full, 2, "late 1/full#2")
	s.put(1, full, 2, "duplicate")
	s.advance(time.Hour.Milliseconds()-1, "")
	s.takeover()
	s.put(1, full, 1, "dead 1/full#1 stale", pulled)
	s.put(1, critical, 2, "dead 1/critical#2 stale", loses(2, full, 2, 2, wire.ReasonQuota))
	s.takeover()
	s.put(1, full, 2, "dead 1/full#2 stale")
	s.put(2, full, 2, "main 2/full#2")
	// An epoch of a card that comes back does not wake it up.
	s.put(3, critical, 1, "main 3/critical#1", opens(holds(1, ranges(full, 9, 9)), holds(2)))
	s.put(3, full, 1, "main 3/full#1")
}

// TestRule12NewestReleasedIsKept: as long as no newer epoch has released in a lane,
// the closed one tells old from new there.
func TestRule12NewestReleasedIsKept(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Forget = time.Hour })
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	s.advance(2*time.Hour.Milliseconds(), "")
	s.takeover()
	s.put(1, full, 1, "duplicate")
	s.put(2, full, 1, "main 2/full#1")
	s.put(1, full, 2, "late 1/full#2")
	s.advance(2*time.Hour.Milliseconds(), "")
	s.put(1, full, 2, "dead 1/full#2 stale")
}

func TestRule13Overrides(t *testing.T) {
	s := newScript(t, None)
	s.open()
	// Before the floor passes it goes to main.
	s.put(1, critical, 2, "main 1/critical#2, gap 1/full#3 quota", loses(1, full, 3, 3, wire.ReasonQuota))
	s.put(1, full, 3, "found 1/full#3")
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 2, "main 1/full#2, main 1/full#3")
	// After it to late, with window none too.
	s.put(1, critical, 3, "main 1/critical#3, gap 1/full#4 quota", loses(1, full, 4, 4, wire.ReasonQuota))
	s.put(1, full, 4, "found 1/full#4, late 1/full#4")
	s.put(1, full, 4, "duplicate")
}

func TestRule13LossRefinesGap(t *testing.T) {
	s := newScript(t, 100*time.Millisecond)
	s.open()
	s.put(1, full, 6, "")
	s.advance(100, "gap 1/full#1-5 gap, main 1/full#6")
	s.put(1, full, 2, "found 1/full#2, late 1/full#2")
	s.put(1, critical, 2, "main 1/critical#2, gap 1/full#3-4 quota was gap", loses(1, full, 2, 4, wire.ReasonQuota))
	s.put(1, critical, 3, "main 1/critical#3", loses(1, full, 3, 3, wire.ReasonCorrupt))
	s.takeover()
	s.put(1, full, 4, "found 1/full#4, late 1/full#4")
	s.put(1, full, 5, "found 1/full#5, late 1/full#5")
	s.put(1, full, 5, "duplicate")
}

func TestRule14MergedGap(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.GapRanges = 2 })
	s.open()
	s.put(1, live, 2, "gap 1/live#1 superseded, main 1/live#2", base(2))
	s.put(1, live, 4, "gap 1/live#3 superseded, main 1/live#4", base(4))
	s.put(1, live, 6, "alarm limit gap ranges, gap 1/live#5 superseded, main 1/live#6", base(6))
	for seq := uint64(1); seq <= 3; seq++ { // delivered or not, nobody knows
		s.put(1, live, seq, "dead 1/live#"+string(rune('0'+seq))+" merged gap")
	}
	s.put(1, live, 4, "duplicate")
	s.put(1, live, 5, "found 1/live#5, late 1/live#5")
	// Above the floor nothing merges: a loss without room leaves its hole open.
	s.put(1, critical, 2, "main 1/critical#2, gap 1/full#3 quota", loses(1, full, 3, 3, wire.ReasonQuota))
	s.put(1, critical, 3, "main 1/critical#3", loses(1, full, 5, 5, wire.ReasonQuota))
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 2, "main 1/full#2")
	s.put(1, full, 4, "main 1/full#4")
	s.put(1, full, 5, "main 1/full#5")
}

func TestRule15Retention(t *testing.T) {
	hour := time.Hour.Milliseconds()
	s := newScript(t, None, func(c *Config) { c.Retention = time.Hour })
	s.open()
	s.put(1, full, 2, "")
	s.put(1, full, 4, "pulled 1/full#4", pulled)
	s.advance(hour/2-1, "alarm 1/full#2 retention")
	s.takeover()
	s.advance(hour/2-1, "")
	s.advance(1, "gap 1/full#2 retention")
	s.advance(1, "gap 1/full#4 retention")
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 2, "found 1/full#2, late 1/full#2") // from another copy
	s.put(1, full, 3, "main 1/full#3")
	s.put(1, full, 5, "main 1/full#5")
	// By size: the caller sees where the log begins now.
	s.put(1, full, 7, "")
	var out Out
	s.c.Gone(s.off+1, &out)
	s.compare("gone", out, "gap 1/full#7 retention")
	s.put(1, full, 6, "main 1/full#6")
}

func TestRule16OncePerTopic(t *testing.T) {
	s := newScript(t, 100*time.Millisecond)
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, full, 1, "pulled 1/full#1, duplicate", pulled) // although main had it
	s.put(1, full, 1, "duplicate", pulled)
	s.put(1, full, 9, "pulled 1/full#9", pulled)
	s.put(1, full, 9, "duplicate") // an unpulled copy opens no hole
	s.advance(10_000, "")
	s.takeover()
	s.put(1, full, 9, "duplicate", pulled)
	s.put(1, full, 8, "")
	s.put(1, full, 8, "pulled 1/full#8, duplicate", pulled)
	s.advance(100, "gap 1/full#2-7 gap, main 1/full#8, main 1/full#9")
}

func TestRule17BelowBase(t *testing.T) {
	s := newScript(t, None)
	s.open()
	// After a crash the car may send below a base that it has said before.
	s.put(1, full, 1, "main 1/full#1", base(1))
	s.put(1, live, 4, "gap 1/live#1-3 superseded, main 1/live#4", base(4))
	s.put(1, live, 2, "found 1/live#2, late 1/live#2", base(2))
	s.put(1, full, 3, "alarm 1/full#2 below base", base(3))
	s.put(1, full, 2, "main 1/full#2, main 1/full#3", base(2))
}

func TestRule20TimeBeforeRecord(t *testing.T) {
	t.Run("a hole expires before the record that carries the time", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(1, full, 2, "") // ms 1002
		s.ms = 1100
		s.put(1, full, 3, "") // 1101: one too early
		s.put(1, full, 1, "gap 1/full#1 gap, main 1/full#2, main 1/full#3, found 1/full#1, late 1/full#1")
	})
	t.Run("a hole opens at the smallest time beyond it", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(1, full, 5, "") // 1002
		s.put(1, full, 3, "") // 1003
		s.ms = 1050
		s.put(1, full, 1, "main 1/full#1")
		if at, ok := s.c.NextDeadline(); !ok || at != 1102 {
			t.Fatalf("next deadline %d, %v; want 1102", at, ok)
		}
		s.ms = 1102
		s.advance(0, "gap 1/full#2 gap, main 1/full#3, gap 1/full#4 gap, main 1/full#5")
		if at, ok := s.c.NextDeadline(); ok {
			t.Fatalf("next deadline %d, want none", at)
		}
	})
	t.Run("a broker whose clock is behind", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.ms = 5000
		s.put(1, live, 1, "main 1/live#1") // 5001
		s.ms = 4000
		s.put(1, full, 2, "") // counts as 5001
		s.takeover()
		if at, ok := s.c.NextDeadline(); ok {
			t.Fatalf("next deadline %d while rebuilding", at)
		}
		s.ms = 5000
		s.put(1, live, 2, "main 1/live#2")
		if at, _ := s.c.NextDeadline(); at != 5101 {
			t.Fatalf("next deadline %d, want 5101", at)
		}
		s.advance(99, "")
		s.advance(1, "gap 1/full#1 gap, main 1/full#2")
	})
	t.Run("time never goes back", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.advance(500, "")
		s.ms -= 400
		s.put(1, full, 2, "") // a broker whose clock is behind
		s.takeover()
		s.advance(99, "")
		if got := s.c.NowMS(); got != 1501 {
			t.Fatalf("now is %d, want 1501", got)
		}
		s.advance(400, "gap 1/full#1 gap, main 1/full#2")
	})
}

func TestRule22TakeoverRebuildsAndNeverEmits(t *testing.T) {
	s := newScript(t, 100*time.Millisecond, func(c *Config) { c.AnchorWait = 5 * time.Second })
	s.put(1, critical, 1, "main 1/critical#1", opens())
	s.put(1, full, 1, "")                                // released, waits for the anchor
	s.put(1, full, 4, "")                                // held
	s.put(1, full, 3, "", pulled)                        // held and pulled, waits for the anchor
	s.put(1, full, 3, "duplicate")                       //
	s.put(1, live, 2, "")                                // held
	s.advance(100, "gap 1/full#2 gap, gap 1/live#1 gap") // decided, still at the gate
	s.put(1, full, 2, "found 1/full#2")                  // late, at the gate
	low, ok := s.c.LowestNeeded()
	if !ok || low != s.log[1].Offset {
		t.Fatalf("lowest needed %d, %v; want %d", low, ok, s.log[1].Offset)
	}
	s.takeover()
	if got, _ := s.c.LowestNeeded(); got != low {
		t.Fatalf("after the takeover offset %d is needed, want %d", got, low)
	}
	s.takeover()
	s.put(1, full, 4, "duplicate")
	s.put(1, critical, 2, "main 1/critical#2, anchor 1/critical#2, main 1/live#2, main 1/full#1, main 1/full#3, main 1/full#4, "+
		"late 1/full#2, pulled 1/full#3", anchors)
	if got := s.c.Held(); got != 0 {
		t.Fatalf("%d batches wait, want 0", got)
	}
	// What the state knows and the log has lost is reported, not forgotten.
	s.put(2, full, 1, "")
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	c, err := ParseCar(s.cfg, s.c.AppendState(nil))
	if err != nil {
		t.Fatal(err)
	}
	s.c = c
	s.put(2, full, 2, "gap 2/full#1 retention")
}
