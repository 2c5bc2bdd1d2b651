package ladder

import (
	"slices"
	"time"
)

// stateOf derives where the modem stands.
func (l *Ladder) stateOf(o Observation) State {
	switch {
	case l.flows(o): // whatever is said of its place or its registration
		return Verified
	case !o.Present:
		return Absent
	case o.Unserved:
		return Unserved
	case !o.AT:
		return Wedged
	case o.SIM == SIMAbsent || o.SIM == SIMLocked || o.SIM == SIMFailed:
		return SIMFault
	case o.Reg == Denied || permanent(o.Cause):
		return Rejected
	case o.SIM == SIMUnknown:
		return SIMWait
	case !o.Reg.Registered():
		return Registering
	case !o.PDP:
		return Attaching
	case l.wasUp:
		return Degraded
	}
	return NetUp
}

// flows reports whether proof of delivery is recent.
func (l *Ladder) flows(o Observation) bool {
	return o.Proof > 0 && o.Now-o.Proof < l.cfg.Hysteresis
}

// permanent are the causes after which trying again soon is of no use: illegal
// UE, illegal ME, EPS services not allowed, PLMN not allowed (TS 24.301, 9.9.3.9).
func permanent(cause int) bool { return cause == 3 || cause == 6 || cause == 8 || cause == 11 }

// Step takes an observation and says what to do. While an action is under way
// it only waits. Now must not go back.
func (l *Ladder) Step(o Observation) Decision {
	l.proof = max(l.proof, o.Proof) // a link that is down for a moment has no proof of its own
	o.Proof = l.proof
	st := l.stateOf(o)
	d := Decision{State: st, Rung: l.level}
	if !l.began {
		l.began, l.since = true, o.Now
	}
	if st == Verified {
		l.onProof(o)
		d.Rung, d.Reason = Wait, "data flows"
		return d
	}
	if l.verified != 0 {
		l.verified, l.since = 0, o.Proof
		l.wasUp = true
		d.State = l.stateOf(o)
	}
	if st != Rejected {
		l.denied = 0
	} else if l.denied == 0 {
		l.denied = o.Now
	}
	if !o.NoReceiver {
		l.nobody = 0
	} else if l.nobody == 0 {
		l.nobody = max(o.Now, 1)
	}
	if l.acting {
		d.Reason = "action under way"
		return d
	}
	if why := l.rest(o, st); why != "" {
		d.Resting, d.Reason = true, why
		l.since = max(l.since, o.Now-l.cfg.Hysteresis) // what it rests for is no reason to hurry afterwards
		return d
	}
	return l.climb(o, d)
}

// onProof notes that data flows, credits the rung that brought it, and comes
// down after Settle.
func (l *Ladder) onProof(o Observation) {
	if l.verified == 0 {
		l.verified = o.Now
		if l.acted != 0 && l.level > Wait && !l.credited {
			l.Stats.Helped[l.level]++
			l.credited = true
		}
	}
	l.wasUp = true
	l.acting = false
	if o.Now-l.verified >= l.cfg.Settle {
		l.level, l.acted, l.rounds = Wait, 0, 0
	}
}

// rest says why nothing should be tried, or "".
func (l *Ladder) rest(o Observation, st State) string {
	switch {
	case o.HotC != 0 && o.HotC >= l.cfg.HotC:
		return "module too hot: left to cool"
	case st == SIMFault && o.SIM == SIMAbsent:
		return "no SIM: insert one"
	case st == SIMFault && o.SIM == SIMLocked:
		return "SIM wants a PIN or PUK: set modem.pin or unlock it"
	case o.Stalled || (o.NoReceiver && !l.doubted(o, st)):
		return "receiver down: the modem is not at fault"
	case st == Unserved:
		return "its service does not run: that is started again, not the modem"
	case st == Rejected && o.Now-max(l.acted, l.denied) < l.cfg.Denied:
		return "network denies this SIM: next attempt after a long wait"
	case st == Absent || st == Wedged:
		return ""
	case o.AllWeak:
		return "no modem has signal: coverage"
	case o.RSRPdBm != 0 && o.RSRPdBm < l.cfg.FloorDBm:
		return "signal below the floor: coverage"
	}
	return ""
}

// doubted reports whether a receiver is missing for so long that what answers in
// its place may be somebody in between, as a carrier's proxy, and the data context
// is dead. Then gentle means are tried now and then.
func (l *Ladder) doubted(o Observation, st State) bool {
	return o.Now-max(l.nobody, l.acted) >= l.cfg.Excuse && lowest(st, o.SIM) <= gentlest
}

// gentlest is the highest rung that is taken while no receiver answers.
const gentlest = Reattach

// climb waits for the proof of the last rung, or takes the next one.
func (l *Ladder) climb(o Observation, d Decision) Decision {
	if l.acted == 0 {
		wait := l.cfg.Hysteresis
		if d.State == Absent || d.State == SIMWait || (d.State == Wedged && !l.wasUp) {
			wait = l.cfg.Enumerate
		}
		if o.Now-l.since < wait {
			d.Rung, d.Reason = Wait, "waiting for it to mend itself"
			return d
		}
	} else if o.Now-l.acted < l.proofWait() {
		d.Reason = "waiting for proof that " + l.level.String() + " helped"
		return d
	}
	if l.cfg.Off {
		d.Rung, d.Resting, d.Reason = Wait, true, "only watched: "+cause(d.State)
		return d
	}
	next, ok := l.next(o, d.State)
	d.Rung = next
	if !ok {
		d.Resting, d.Reason = true, "every means is used up: next attempt when its budget allows"
		return d
	}
	if why := l.held(o, next); why != "" {
		l.Stats.Suppressed++
		d.Reason = why
		return d
	}
	if o.Busy && next < USB {
		d.Reason = "its control is busy: " + next.String() + " waits"
		return d
	}
	l.act(next, o.Now)
	d.Act, d.Reason = true, cause(d.State)
	return d
}

// act notes that rung r is done now. From the top the climb begins anew, with
// longer waits.
func (l *Ladder) act(r Rung, now time.Duration) {
	before := *l
	l.undo = func() {
		l.level, l.rounds, l.acts, l.acting = before.level, before.rounds, before.acts, false
		l.used[r] = before.used[r]
		l.Stats.Tried[r]--
	}
	if l.acted != 0 && r <= l.level {
		l.rounds++
	}
	l.level, l.acting = r, true
	l.acts++
	l.used[r] = append(l.recent(r, now), now)
	l.Stats.Tried[r]++
}

// Cancel takes the last Act back: it was not done, because another modem had
// the right to it. It costs no budget, and the same rung is due again.
func (l *Ladder) Cancel() {
	if l.undo != nil {
		l.undo()
		l.undo = nil
		l.Stats.Suppressed++
	}
}

// maxRounds bounds how far the waits grow.
const maxRounds = 3

// proofWait is how long the effect of the last action is awaited: longer with
// each round from bottom to top that brought nothing, and not to the same second
// in all cars.
func (l *Ladder) proofWait() time.Duration {
	w := l.cfg.Limits[l.level].Proof * time.Duration(1+min(l.rounds, maxRounds))
	if l.cfg.Seed == 0 {
		return w
	}
	x := l.cfg.Seed + l.acts*0x9E3779B97F4A7C15 // SplitMix64
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return w + time.Duration(x>>40)*w/8>>24
}

// held says why a disruptive rung must wait, or "".
func (l *Ladder) held(o Observation, r Rung) string {
	switch {
	case !r.Disruptive():
		return ""
	case o.OtherCycling:
		return "another modem is being reset: one at a time"
	case o.OtherCarries && o.Moving && o.Now-l.since < l.cfg.Stuck:
		return "at speed beside a good link: not yet"
	}
	return ""
}

// lowest is the gentlest rung that can mend what is seen.
func lowest(st State, sim SIM) Rung {
	switch st {
	case Absent:
		return ResetPin // nothing on the bus takes a command
	case Wedged:
		return USB
	case SIMFault:
		if sim == SIMFailed {
			return Radio
		}
	case SIMWait:
		return Radio
	case Registering, Rejected:
		return Reattach
	}
	return Redial
}

// next returns the rung to take: the first at or above both the gentlest that
// fits and the one after the last that did not help, which the board can do and
// whose budget is not spent. From the top it starts over.
func (l *Ladder) next(o Observation, st State) (Rung, bool) {
	low := lowest(st, o.SIM)
	from := low
	if l.acted != 0 {
		from = max(low, l.level+1)
	}
	top := rungs - 1
	if o.NoReceiver {
		top = gentlest
	}
	for _, start := range []Rung{from, low} {
		for r := start; r <= top; r++ {
			if l.cfg.Can[r] && len(l.recent(r, o.Now)) < l.cfg.Limits[r].PerHour {
				return r, true
			}
		}
	}
	return low, false
}

// recent returns the times of rung r within the budget's window.
func (l *Ladder) recent(r Rung, now time.Duration) []time.Duration {
	return slices.DeleteFunc(slices.Clone(l.used[r]), func(t time.Duration) bool { return now-t >= budgetWindow })
}

// Force notes that an operator has rung r done: it counts against the budget,
// and its proof is awaited like any other's. Done must follow.
func (l *Ladder) Force(r Rung, now time.Duration) { l.act(r, now) }

// Done says that the action of the last Decision with Act has ended, well or
// not: its proof is awaited from now on.
func (l *Ladder) Done(now time.Duration) {
	l.acting, l.credited, l.undo = false, false, nil
	l.acted = now
}

func cause(st State) string {
	switch st {
	case Absent:
		return "not on its bus"
	case Wedged:
		return "control port does not answer"
	case SIMFault:
		return "SIM does not answer"
	case SIMWait:
		return "SIM state unknown"
	case Registering:
		return "not registered"
	case Rejected:
		return "denied by the network"
	case Attaching:
		return "registered without a data context"
	}
	return "registered, but no data arrives"
}
