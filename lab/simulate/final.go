package simulate

import (
	"cmp"
	"slices"

	"telemetry/wire"
)

// final checks, once everything has come to rest, that every batch is in its
// topic, or missing for a reason that is true.
func (o *oracle) final() {
	for _, b := range o.w.boxes {
		b.addUp()
	}
	if len(o.violations) > 0 {
		return
	}
	all := make([]*fact, 0, len(o.facts))
	for _, f := range o.facts {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *fact) int {
		return compareIDs(a.id, b.id)
	})
	for _, x := range o.outs {
		for _, f := range all {
			if f.id.Seq > 0 {
				x.finalFact(f)
			}
		}
		x.finalHoles()
		x.finalLive()
	}
	for _, r := range o.w.rcvs {
		if r.inst != nil && r.budget.Used() != 0 {
			o.violate("memory", "%s still counts %d bytes of held batches", r, r.budget.Used())
		}
	}
}

// compareIDs orders batches by car, epoch, lane and number.
func compareIDs(a, b wire.ID) int {
	return cmp.Or(
		cmp.Compare(a.Stream.Car, b.Stream.Car), cmp.Compare(a.Stream.Epoch.Counter, b.Stream.Epoch.Counter),
		cmp.Compare(a.Stream.Epoch.Nonce, b.Stream.Epoch.Nonce), cmp.Compare(a.Stream.Lane, b.Stream.Lane), cmp.Compare(a.Seq, b.Seq))
}

// finalFact checks one batch.
func (x *outcome) finalFact(f *fact) {
	v := x.of(f)
	written := v.main + v.late
	gone := f.deleted && v.missing == "retention" || !x.sealed && (v.missing == "no catalogue" || v.missing == "undecodable")
	switch {
	case f.deleted && f.forged: // the other payload may have taken its place
	case f.logged > 0 && x.of(f).missing != "" && !gone:
		x.violate("lost", "%s is in telemetry.batches and missing (%s)", short(f.id), x.of(f).missing)
	case f.logged > 0 && (x.sealed || !f.control && f.tag != 0) && written == 0 && !gone:
		x.violate("lost", "%s is in telemetry.batches and in no output", short(f.id))
	case x.sealed && v.main > 0 && f.id.Stream.Lane == wire.LaneCritical && f.tag != 0 && !f.control && v.events != 1:
		x.violate("lost", "%s is in its topic, and its event is there %d times", short(f.id), v.events)
	case f.card != nil && (f.card.retired || f.hurt) && f.id.Seq > x.history(f.id.Stream).top:
		// Thrown away, or damaged at rest behind the last cursor, before anybody had
		// heard of it: nobody can name it (spool/FORMAT.md, promise 4).
	case f.logged == 0 && f.durable && x.of(f).missing == "" && f.id.Stream.Lane != wire.LaneLive:
		x.violate("lost", "%s was durable and is lost in silence", short(f.id))
	}
	if x.of(f).missing != "" {
		x.truth(f)
	}
}

// truth checks the reason for which a number is missing in the end.
func (x *outcome) truth(f *fact) {
	live := f.id.Stream.Lane == wire.LaneLive
	lie := func(why string) { x.violate("reasons", "%s is missing (%s), %s", short(f.id), x.of(f).missing, why) }
	had := func(r wire.Reason) bool { return f.box == nil || x.hasLost(f, r) }
	retired := f.box == nil || f.card.retired
	switch x.of(f).missing {
	case "superseded":
		if !live {
			lie("and its lane is never superseded")
		}
	case "quota":
		if !had(wire.ReasonQuota) {
			lie("and its card never was full")
		}
	case "disk":
		if !had(wire.ReasonDisk) || !x.onCard(f, func(c *card) bool { return c.failed() > 0 || c.full }) {
			lie("and its disk never failed")
		}
	case "refused":
		if !f.refused {
			lie("and nobody has refused it")
		}
	case "corrupt":
		if f.durable && !f.hurt { // a torn write that was never durable may be called so
			lie("and it was never damaged")
		}
	case "epoch":
		if f.durable && !live && !retired && !f.deleted && !f.hurt {
			lie("and it was durable when its epoch ended")
		}
	case "gap":
		if f.durable && !live && !retired && !f.deleted {
			lie("and its card had it")
		}
	case "card replaced":
		if !retired {
			lie("and its card was not")
		}
	case "retention":
		if !f.deleted {
			lie("and nothing has deleted it")
		}
	case "no catalogue":
		bad := func(c *card) bool { return c.bare }
		if f.card != nil && !bad(f.card) && !(f.card.retired && x.onCard(f, bad)) {
			lie("and its card had it")
		}
	default:
		lie("a reason that cannot be")
	}
}

// hasLost reports whether the car's books say that it has lost something for a
// reason. What two cards of one image hold may be lost by either.
func (o *oracle) hasLost(f *fact, why wire.Reason) bool {
	if f.box.lost[why] > 0 || !f.box.cloned {
		return f.box.lost[why] > 0
	}
	return slices.ContainsFunc(o.w.boxes, func(b *box) bool { return b.car == f.box.car && b.lost[why] > 0 })
}

// onCard reports whether something is true of a card that had the batch, or a copy
// of it.
func (o *oracle) onCard(f *fact, is func(*card) bool) bool {
	return f.card == nil || is(f.card) || f.box.cloned && o.w.anyCard(f.box.car, is)
}

// finalLive checks that what an idle live stream will never send is known to be
// missing (rule 6).
func (x *outcome) finalLive() {
	for _, b := range x.w.boxes {
		if b.life == nil || !b.life.ready {
			continue
		}
		st := wire.Stream{Car: b.car, Epoch: b.life.sp.Epoch(), Lane: wire.LaneLive}
		for seq := uint64(1); seq < b.life.sp.Base(st); seq++ {
			id := wire.ID{Stream: st, Seq: seq}
			if f := x.fact(id); f.logged == 0 && x.of(f).missing == "" {
				x.violate("rule 6", "%s will never come, and nobody was told", short(id))
				return
			}
		}
	}
}

// finalHoles checks that below the highest number that the cloud knows of nothing
// is neither there nor said to be missing.
func (x *outcome) finalHoles() {
	for st, h := range x.streams {
		for seq := uint64(1); seq < h.top; seq++ {
			f := x.facts[wire.ID{Stream: st, Seq: seq}]
			if f == nil || f.logged == 0 && x.of(f).missing == "" {
				x.violate("holes", "%s is neither there nor missing, and #%d is", short(wire.ID{Stream: st, Seq: seq}), h.top)
				break
			}
		}
	}
}
