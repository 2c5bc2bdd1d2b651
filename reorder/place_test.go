package reorder

import (
	"testing"
	"time"
)

// TestRule09ReleasedInOneLaneOnly: the previews of a start are waited for shortly, and
// are released without its EpochOpen. That says nothing of the other lanes, where an
// earlier start is seen first.
func TestRule09ReleasedInOneLaneOnly(t *testing.T) {
	t.Run("nothing is known of the car", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(2, live, 1, "")
		s.advance(100, "main 2/live#1")
		s.put(1, full, 1, "")
		s.put(2, full, 1, "")
		s.put(1, live, 1, "late 1/live#1")
		s.takeover()
		s.advance(98, "main 1/full#1")
		s.advance(1, "main 2/full#1")
		s.put(1, full, 2, "late 1/full#2")
		s.put(1, critical, 1, "main 1/critical#1", opens())
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, full, 2, "main 2/full#2")
	})
	t.Run("between two that are known", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(3, live, 1, "")
		s.advance(100, "main 3/live#1")
		s.takeover()
		s.put(2, full, 1, "")
		s.put(3, full, 1, "")
		s.advance(99, "main 2/full#1")
		s.advance(1, "main 3/full#1")
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, critical, 2, "main 2/critical#2")
		s.put(3, critical, 1, "main 3/critical#1", opens(holds(1), holds(2)))
	})
	t.Run("its EpochOpen comes first", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(3, live, 1, "")
		s.advance(100, "main 3/live#1")
		s.put(3, full, 1, "")
		s.put(2, critical, 1, "main 2/critical#1", opens(holds(1)))
		s.put(2, live, 1, "late 2/live#1")
		s.put(2, full, 1, "main 2/full#1")
		s.put(3, critical, 1, "main 3/critical#1, main 3/full#1", opens(holds(1), holds(2)))
	})
}

// TestRule09StartsOfACardThatCountsAnew: two starts of a new card, whose counters the
// old one has had, come the wrong way round.
func TestRule09StartsOfACardThatCountsAnew(t *testing.T) {
	s := newScript(t, 100*time.Millisecond)
	s.put(5, critical, 1, "main 5/critical#1", opens())
	s.put(6, full, 1, "") // the old card's last
	s.put(2, live, 1, "")
	s.advance(99, "main 6/full#1")
	s.advance(1, "main 2/live#1")
	s.put(1, full, 1, "")
	s.put(2, full, 1, "")
	s.put(1, live, 1, "late 1/live#1")
	s.takeover()
	s.advance(98, "main 1/full#1")
	s.advance(1, "main 2/full#1")
	s.put(1, critical, 1, "alarm 1/critical#1 lineage, spent 1/critical#1", opens())
	s.put(1, live, 2, "late 1/live#2")
	s.put(1, full, 2, "late 1/full#2")
	s.put(2, full, 2, "main 2/full#2")
	s.put(2, critical, 1, "alarm 2/critical#1 lineage, spent 2/critical#1", opens(holds(1)))
	s.put(2, live, 2, "main 2/live#2")
}

// another is an epoch with the counter of a small number, of another card.
func another(n int) int { return n + 1<<32 }

// TestRule09FirstSightBetweenCards: a start that goes on counting where the old card
// was, and one that counts anew, may be of two cards or of a new one: the one that was
// seen first comes first, until lineage tells.
func TestRule09FirstSightBetweenCards(t *testing.T) {
	begin := func(t *testing.T) *script {
		s := newScript(t, 100*time.Millisecond)
		s.open()
		s.put(2, full, 1, "")
		s.put(another(1), full, 1, "")
		s.takeover()
		s.advance(99, "main 2/full#1")
		s.advance(1, "main 1/full#1")
		s.put(another(1), full, 2, "main 1/full#2")
		s.put(2, full, 2, "late 2/full#2")
		return s
	}
	t.Run("of two", func(t *testing.T) {
		s := begin(t)
		s.put(another(1), critical, 1, "alarm 1/critical#1 lineage, spent 1/critical#1", opens())
		s.put(2, critical, 1, "alarm 2/critical#1 lineage, main 2/critical#1", opens(holds(1)))
		s.put(another(1), full, 3, "main 1/full#3")
		s.put(2, full, 3, "late 2/full#3")
	})
	t.Run("of one", func(t *testing.T) {
		s := begin(t)
		s.put(2, critical, 1, "alarm 2/critical#1 lineage, spent 2/critical#1", opens(holds(another(1))))
		s.takeover()
		s.put(another(1), full, 3, "late 1/full#3")
		s.put(2, full, 4, "")
		s.put(2, full, 3, "main 2/full#3, main 2/full#4")
	})
}

// TestRule09ACardThatWasLateGoesOn: a new card whose counter passes for one of the old
// card's is late where the old one's last start was released, until its EpochOpen says
// that it has no predecessors.
func TestRule09ACardThatWasLateGoesOn(t *testing.T) {
	t.Run("seen when the other one was released", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(70, full, 1, "")
		s.advance(100, "main 70/full#1")
		s.put(60, full, 1, "late 60/full#1")
		s.put(60, critical, 1, "alarm 60/critical#1 lineage, spent 60/critical#1", opens())
		s.takeover()
		s.put(60, full, 2, "")
		s.advance(100, "main 60/full#2")
		s.put(70, full, 2, "late 70/full#2")
	})
	t.Run("released itself before", func(t *testing.T) {
		s := newScript(t, 100*time.Millisecond)
		s.put(50, critical, 1, "main 50/critical#1", opens())
		s.put(70, full, 1, "")
		s.put(60, full, 1, "")
		s.advance(99, "main 60/full#1, main 70/full#1")
		s.put(60, full, 2, "late 60/full#2")
		s.put(60, critical, 1, "alarm 60/critical#1 lineage, spent 60/critical#1", opens())
		s.takeover()
		s.put(60, full, 3, "main 60/full#3")
		s.put(70, full, 2, "late 70/full#2")
	})
}
