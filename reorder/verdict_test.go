package reorder

import (
	"fmt"
	"slices"

	"telemetry/wire"
)

// verdict holds decisions against the truth of a simulated car.
type verdict struct {
	s       *simCar
	cfg     Config
	over    map[wire.Stream]bool // released, and another epoch after it
	main    map[wire.ID]bool
	late    map[wire.ID]bool
	spent   map[wire.ID]bool
	pulled  map[wire.ID]bool
	missing map[wire.ID]wire.Reason
	top     map[wire.Stream]uint64
	newest  [wire.LaneFull + 1]int
	offsets map[int64]wire.ID
}

func newVerdict(s *simCar, cfg Config) *verdict {
	v := &verdict{
		s: s, cfg: cfg, main: map[wire.ID]bool{}, late: map[wire.ID]bool{}, spent: map[wire.ID]bool{}, pulled: map[wire.ID]bool{},
		missing: map[wire.ID]wire.Reason{}, top: map[wire.Stream]uint64{}, offsets: map[int64]wire.ID{}, over: map[wire.Stream]bool{},
	}
	for i := range s.log {
		v.offsets[s.log[i].Offset] = s.log[i].Header.ID()
	}
	return v
}

// check goes through the decisions in order.
func (v *verdict) check(ds []Decision) string {
	for i, d := range ds {
		if msg := v.one(d); msg != "" {
			return fmt.Sprintf("decision %d, %s: %s", i, show(d), msg)
		}
	}
	return ""
}

func (v *verdict) one(d Decision) string {
	id := d.ID
	switch d.Kind {
	case KindRelease, KindLate, KindPulled, KindDeadLetter:
		if v.offsets[d.Offset] != id {
			return "the offset holds another batch"
		}
	}
	switch d.Kind {
	case KindRelease, KindLate:
		if v.main[id] || v.late[id] || v.spent[id] {
			return "delivered twice"
		}
		if v.missing[id] != 0 {
			return "delivered, and its gap was not withdrawn"
		}
		if d.Kind == KindLate {
			v.late[id] = true
			return ""
		}
		v.main[id] = true
		if id.Seq <= v.top[id.Stream] {
			return fmt.Sprintf("after #%d", v.top[id.Stream])
		}
		v.top[id.Stream] = id.Seq
		return v.order(id)
	case KindSpent:
		if v.main[id] || v.late[id] || v.spent[id] || v.missing[id] != 0 {
			return "spent, and something else"
		}
		if b := v.s.truth[id]; b == nil || b.controls == nil {
			return "spent, and it has data"
		}
		v.spent[id] = true
	case KindPulled:
		if v.pulled[id] {
			return "pulled twice"
		}
		v.pulled[id] = true
	case KindGap:
		return v.gap(d)
	case KindDeadLetter:
		return "a dead letter"
	case KindAlarm:
		if d.Alarm == AlarmLineage && v.s.reflash {
			return ""
		}
		return "an alarm"
	}
	return ""
}

// order checks that epochs follow one another in a lane: in their true order, or,
// when cards were replaced and only first sight tells, each in one piece.
func (v *verdict) order(id wire.ID) string {
	e := slices.Index(v.s.epochs, id.Stream.Epoch) + 1
	newest := &v.newest[id.Stream.Lane]
	if v.s.reflash {
		if e != *newest && v.over[id.Stream] {
			return "after another epoch that came after it"
		}
		if *newest != 0 && e != *newest {
			x := id.Stream
			x.Epoch = v.s.epochs[*newest-1]
			v.over[x] = true
		}
	} else if e < *newest {
		return "after a newer epoch"
	}
	*newest = e
	return ""
}

func (v *verdict) gap(d Decision) string {
	for seq := d.ID.Seq; seq <= d.Last; seq++ {
		id := wire.ID{Stream: d.ID.Stream, Seq: seq}
		b := v.s.truth[id]
		was := v.missing[id]
		if d.Gap == GapSettled && was != 0 || d.Gap != GapSettled && was != d.Was {
			return fmt.Sprintf("#%d was missing for %d", seq, was)
		}
		if v.main[id] || v.late[id] || v.spent[id] {
			return fmt.Sprintf("#%d was delivered before", seq)
		}
		if d.Gap == GapWithdrawn {
			delete(v.missing, id)
			continue
		}
		v.missing[id] = d.Reason
		lane := id.Stream.Lane
		switch {
		case b == nil:
			return fmt.Sprintf("#%d never existed", seq)
		case d.Reason == wire.ReasonQuota && !b.dropped:
			return fmt.Sprintf("#%d was not dropped", seq)
		case d.Reason == wire.ReasonEpoch && lane != wire.LaneLive && b.durable && !b.gone:
			return fmt.Sprintf("#%d was durable", seq)
		case d.Reason == wire.ReasonSuperseded && lane != wire.LaneLive:
			return "not a preview"
		case d.Reason == wire.ReasonGap && v.cfg.Windows[lane] == None && !v.s.reflash:
			return "a gap without a window"
		case d.Reason == wire.ReasonCardReplaced && !slices.Contains(v.s.old, id.Stream.Epoch):
			return "the card was not replaced"
		}
	}
	return ""
}

// checkEnd checks that every number is accounted for when all has been sent.
func (v *verdict) checkEnd(c *Car) string {
	tops := map[wire.Stream]uint64{}
	for id, b := range v.s.truth {
		if b.logged {
			tops[id.Stream] = max(tops[id.Stream], id.Seq)
		}
	}
	for id, b := range v.s.truth {
		n := 0
		for _, in := range []bool{v.main[id], v.late[id], v.spent[id], v.missing[id] != 0} {
			if in {
				n++
			}
		}
		if n > 1 {
			return fmt.Sprintf("%v is accounted for %d times", id, n)
		}
		switch {
		case n == 0 && b.logged:
			return fmt.Sprintf("%v is in the log and came to nothing", id)
		case n == 0 && id.Seq <= tops[id.Stream] && !v.s.reflash:
			return fmt.Sprintf("%v is missing without a word", id)
		case b.logged && !v.main[id] && !v.late[id] && !v.spent[id]:
			return fmt.Sprintf("%v is in the log and was reported missing for %d", id, v.missing[id])
		case b.durable && !b.dropped && !b.gone && !b.logged && id.Stream.Lane != wire.LaneLive && !v.s.reflash:
			return fmt.Sprintf("%v was never sent: the simulation is at fault", id)
		case b.dropped && !b.logged && v.missing[id] != wire.ReasonQuota && !v.s.reflash:
			return fmt.Sprintf("%v was dropped by quota and is missing for %d", id, v.missing[id])
		case b.pulled && !v.pulled[id]:
			return fmt.Sprintf("%v has a pulled copy and is not in pulled", id)
		case v.late[id] && v.cfg.Windows[id.Stream.Lane] == None && b.durable && !b.dropped && id.Stream.Lane != wire.LaneLive && !v.s.reflash:
			return fmt.Sprintf("%v is late although there is no window", id)
		}
	}
	if c.Held() > 0 && !v.s.reflash {
		return fmt.Sprintf("%d batches still wait", c.Held())
	}
	return ""
}
