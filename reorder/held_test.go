package reorder

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"telemetry/wire"
)

// oldScript is the life whose state, as version 1 wrote it, is in
// testdata/state-1.hex: epoch 1 with batches held behind holes in full and
// critical, gaps, a pulled batch that waits for its turn, and epoch 2, whose
// batches wait at the gate and for the end of epoch 1.
func oldScript(t *testing.T) *script {
	t.Helper()
	s := newScript(t, None, func(c *Config) { c.AnchorWait = time.Hour })
	s.put(1, critical, 1, "main 1/critical#1", opens())
	s.put(1, critical, 2, "main 1/critical#2, anchor 1/critical#2", anchors)
	s.put(1, full, 1, "main 1/full#1")
	s.put(1, critical, 3, "main 1/critical#3, gap 1/full#2-3 quota", loses(1, full, 2, 3, wire.ReasonQuota))
	s.put(1, full, 4, "main 1/full#4")
	s.put(1, full, 6, "")
	s.put(1, full, 7, "")
	s.put(1, full, 9, "pulled 1/full#9", pulled)
	s.put(1, critical, 5, "")
	s.put(2, full, 1, "")
	s.put(2, full, 2, "")
	s.put(2, critical, 2, "", columns)
	return s
}

// end plays what becomes of oldScript's life after a takeover.
func (s *script) end() {
	s.t.Helper()
	s.put(1, full, 5, "main 1/full#5, main 1/full#6, main 1/full#7")
	s.put(1, critical, 4, "main 1/critical#4, main 1/critical#5")
	s.put(1, full, 8, "main 1/full#8, main 1/full#9")
}

// parsed replaces the car by what a state says, and gives it the records from an
// offset on.
func (s *script) parsed(state []byte, from int64) {
	s.t.Helper()
	c, err := ParseCar(s.cfg, state)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range s.log {
		if s.log[i].Offset >= from {
			c.Rebuild(&s.log[i])
		}
	}
	s.c = c
}

func TestStateOfVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/state-1.hex")
	if err != nil {
		t.Fatal(err)
	}
	old, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || old[0] != 1 {
		t.Fatalf("testdata/state-1.hex begins with %x, error %v", old[:1], err)
	}
	t.Run("goes on", func(t *testing.T) {
		s := oldScript(t)
		held := s.c.Held()
		s.parsed(old, 0)
		if s.c.Held() != held {
			t.Fatalf("%d batches are held, want %d", s.c.Held(), held)
		}
		if b := s.c.AppendState(nil); b[0] != stateVersion {
			t.Errorf("written again it has version %d", b[0])
		}
		s.end()
	})
	t.Run("does not know what is gone", func(t *testing.T) {
		s := oldScript(t)
		s.parsed(old, 1000)
		s.put(1, full, 5, "main 1/full#5") // 6 may come yet, for all that it says
		s.put(1, full, 6, "main 1/full#6")
	})
}

func TestRule15HeldAndDeletedBeforeATakeover(t *testing.T) {
	t.Run("all of it", func(t *testing.T) {
		s := oldScript(t)
		s.parsed(s.c.AppendState(nil), 1000)
		if !s.c.Restoring() || s.c.Held() != 0 {
			t.Fatalf("restoring %v, %d held", s.c.Restoring(), s.c.Held())
		}
		if low, ok := s.c.LowestNeeded(); !ok || low > s.c.NextOffset() {
			t.Fatalf("needs %d, %v: the offset must stay until what is gone is told", low, ok)
		}
		s.advance(1, "gap 1/critical#5 retention, gap 2/critical#2 retention, gap 1/full#6-7 retention, gap 1/full#9 retention, gap 2/full#1-2 retention")
		if low, ok := s.c.LowestNeeded(); ok {
			t.Fatalf("still needs %d", low)
		}
		s.put(1, full, 5, "main 1/full#5")
		s.put(1, full, 7, "found 1/full#7, late 1/full#7") // the car has not heard the ack, and sends it again
		s.put(1, full, 8, "main 1/full#8")
		s.put(1, full, 10, "main 1/full#10")
	})
	t.Run("a part", func(t *testing.T) {
		s := oldScript(t)
		at := int64(0)
		for i := range s.log {
			if s.log[i].Header.Seq == 7 {
				at = s.log[i].Offset
			}
		}
		s.parsed(s.c.AppendState(nil), at)
		s.put(1, full, 5, "gap 1/full#6 retention, main 1/full#5, main 1/full#7")
		s.put(1, critical, 4, "main 1/critical#4, main 1/critical#5")
	})
	t.Run("a second takeover before anything comes", func(t *testing.T) {
		s := oldScript(t)
		state := s.c.AppendState(nil)
		s.parsed(state, 1000)
		if again := s.c.AppendState(nil); string(again) != string(state) {
			t.Fatal("the state of a successor that has read nothing differs")
		}
		s.parsed(s.c.AppendState(nil), 1000)
		s.put(1, full, 5, "gap 1/critical#5 retention, gap 2/critical#2 retention, gap 1/full#6-7 retention, gap 1/full#9 retention, gap 2/full#1-2 retention, main 1/full#5")
	})
}

// TestRule03WhatRetentionHasDeletedWasThere: the car drops for quota what it does
// not know to be delivered; the cloud had it.
func TestRule03WhatRetentionHasDeletedWasThere(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, full, 2, "")
	s.parsed(s.c.AppendState(nil), 1000)
	s.put(1, critical, 2, "gap 1/full#2 retention, main 1/critical#2, gap 1/full#1 quota, gap 1/full#3 quota", loses(1, full, 1, 3, wire.ReasonQuota))
	s.put(1, full, 4, "main 1/full#4")
}

// TestHeldRangesInTheStateAreBounded: the lowest stay, and a state never grows with
// what a hostile car leaves out.
func TestHeldRangesInTheStateAreBounded(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.HeldRanges = 4 * maxStateHeld })
	s.open()
	for i := range uint64(2 * maxStateHeld) {
		s.put(1, full, 2+2*i, "")
	}
	state := s.c.AppendState(nil)
	if len(state) > 16<<10 {
		t.Errorf("the state has %d bytes", len(state))
	}
	s.parsed(state, 1<<40)
	x := s.c.byStream[keyOf(streamOf(1, full))]
	if n := len(x.expect); n != maxStateHeld || x.expect[0].First != 2 {
		t.Errorf("%d ranges from %d on, want %d from 2 on", n, x.expect[0].First, maxStateHeld)
	}
}

func TestParseCarRefusesContradictions(t *testing.T) {
	for name, bad := range map[string]func(x *stream, c *Car){
		"held below the floor": func(x *stream, _ *Car) { x.held = wire.Ranges{{First: 1, Last: 2}} },
		"held and missing":     func(x *stream, _ *Car) { x.missing = x.missing.add(5, 9, wire.ReasonQuota) },
		"held above all seen":  func(x *stream, _ *Car) { x.held = wire.Ranges{{First: 500, Last: 501}} },
		"held at no offset":    func(_ *stream, c *Car) { c.order, c.orderAt = nil, 0 },
	} {
		s := newScript(t, None)
		s.open()
		s.put(1, full, 1, "main 1/full#1")
		s.put(1, full, 4, "")
		s.put(1, full, 9, "")
		bad(s.c.byStream[keyOf(streamOf(1, full))], s.c)
		if _, err := ParseCar(s.cfg, s.c.AppendState(nil)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestRule04SpentControlHoldsNothing: control records of a new card, which wait for
// the end of the old one's epoch, have taken effect and need not be read again.
func TestRule04SpentControlHoldsNothing(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, full, 2, "")
	s.put(9, critical, 1, "alarm 9/critical#1 lineage, spent 9/critical#1", opens())
	s.put(9, critical, 2, "anchor 9/critical#2, spent 9/critical#2", anchors)
	s.put(9, critical, 4, "spent 9/critical#4", tells(9, live, 1))
	s.put(1, full, 1, "main 1/full#1, main 1/full#2")
	for range 2 {
		if low, ok := s.c.LowestNeeded(); ok {
			t.Fatalf("offset %d is still needed", low)
		}
		s.put(9, critical, 4, "duplicate", tells(9, live, 1))
		s.takeover()
	}
	s.put(9, critical, 3, "")
	s.put(9, critical, 5, "")
	s.abandon(1, "main 9/critical#3, main 9/critical#5")
	s.put(9, critical, 4, "duplicate", tells(9, live, 1))
}

// TestSpentControlIsBounded: beyond its share of ranges it waits like any batch.
func TestSpentControlIsBounded(t *testing.T) {
	s := newScript(t, None, func(c *Config) { c.Limits.OtherRanges = 6 })
	s.open()
	for _, seq := range []uint64{3, 5, 7} {
		s.put(1, critical, seq, fmt.Sprintf("spent 1/critical#%d", seq), tells(1, live, 1))
	}
	s.put(1, critical, 9, "", tells(1, live, 1))
	s.put(1, critical, 2, "main 1/critical#2")
	s.put(1, critical, 4, "main 1/critical#4")
	s.put(1, critical, 11, "spent 1/critical#11", tells(1, live, 1))
	s.put(1, critical, 8, "")
	s.put(1, critical, 6, "main 1/critical#6, main 1/critical#8, main 1/critical#9")
}

// TestRule09TheCounterTellsWhileNoEpochOpenIsRead: two EpochOpen records are missing
// for longer than the window; the newer epoch came first.
func TestRule09TheCounterTellsWhileNoEpochOpenIsRead(t *testing.T) {
	s := newScript(t, 100*time.Millisecond)
	s.open()
	s.put(1, full, 1, "main 1/full#1")
	s.put(4, full, 1, "")
	s.put(3, full, 1, "")
	s.put(2, full, 1, "")
	s.takeover()
	s.advance(100, "main 2/full#1, main 3/full#1, main 4/full#1")
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	s.put(3, critical, 1, "main 3/critical#1", opens(holds(1), holds(2)))
}

// TestRule09AbandonedBehindARunningEpoch: of two cards of one image the younger is
// taken out; the epoch before it runs on.
func TestRule09AbandonedBehindARunningEpoch(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
	s.put(2, full, 1, "main 2/full#1")
	s.put(22, critical, 1, "alarm 22/critical#1 fork, spent 22/critical#1", opens(holds(1)))
	s.put(22, full, 1, "")
	s.put(22, full, 3, "")
	s.abandon(22, "gap 22/full#2 card replaced, late 22/full#1, late 22/full#3")
	if low, ok := s.c.LowestNeeded(); ok {
		t.Fatalf("offset %d is still needed", low)
	}
	s.put(22, full, 2, "found 22/full#2, late 22/full#2")
	s.put(2, full, 2, "main 2/full#2")
	s.put(3, critical, 1, "main 3/critical#1", opens(holds(1), holds(2)))
	s.put(3, full, 1, "main 3/full#1")
}

// TestRule09ANewCardRunsOn: a card that counts from 1 again comes while the old card's
// last epoch has not told what it continues, and never will.
func TestRule09ANewCardRunsOn(t *testing.T) {
	run := func(s *script) {
		s.t.Helper()
		for seq := uint64(2); seq < 5; seq++ {
			s.put(1, full, seq, fmt.Sprintf("main 1/full#%d", seq))
		}
		s.put(51, full, 2, "late 51/full#2")
	}
	t.Run("its EpochOpen comes first", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(51, full, 1, "")
		s.put(1, critical, 1, "alarm 1/critical#1 lineage, spent 1/critical#1", opens())
		s.put(1, full, 1, "")
		s.takeover()
		s.advance(100, "main 51/full#1, main 1/full#1")
		run(s)
	})
	t.Run("its EpochOpen comes late", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(51, full, 1, "")
		s.put(1, full, 1, "")
		s.put(1, critical, 1, "alarm 1/critical#1 lineage, spent 1/critical#1", opens())
		s.advance(100, "main 51/full#1, main 1/full#1")
		run(s)
	})
	t.Run("its EpochOpen never comes", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(51, full, 1, "")
		s.put(1, full, 1, "")
		s.takeover()
		s.advance(100, "main 51/full#1, main 1/full#1")
		run(s)
	})
	t.Run("its counter passes for the old card's", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(70, full, 1, "")
		s.put(60, full, 1, "") // of another car before: it has counted on there
		s.takeover()
		s.put(60, critical, 1, "alarm 60/critical#1 lineage, spent 60/critical#1", opens())
		s.advance(100, "main 70/full#1, main 60/full#1")
		s.put(60, full, 2, "main 60/full#2")
	})
	t.Run("seen first and overtaken", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(60, full, 1, "")
		s.put(61, full, 1, "")
		s.put(60, critical, 1, "alarm 60/critical#1 lineage, main 60/full#1, spent 60/critical#1", opens())
		s.advance(100, "main 61/full#1")
	})
}
