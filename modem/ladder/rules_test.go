package ladder

import (
	"slices"
	"testing"
	"time"
)

// blind is an observation without proof of its own.
func blind(now time.Duration) Observation {
	o := healthy(now)
	o.Proof = 0
	return o
}

func TestALinkThatReconnectsIsGivenItsTime(t *testing.T) {
	l := verified(t)
	for now := start; now < start+5*time.Second; now += time.Second {
		if d := l.Step(blind(now)); d.Act || d.State != Verified {
			t.Fatalf("%v without proof: %+v", now-start, d)
		}
	}
	if d := l.Step(healthy(start + 5*time.Second)); d.State != Verified {
		t.Errorf("got %+v", d)
	}
}

func TestARecoveryIsCreditedOnce(t *testing.T) {
	l := verified(t)
	at := start + 11*time.Second
	if d := l.Step(blind(at)); !d.Act || d.Rung != Redial {
		t.Fatalf("got %+v, want redial", d)
	}
	l.Done(at)
	l.Step(healthy(at + 2*time.Second))
	if d := l.Step(blind(at + 13*time.Second)); d.State == Verified || d.Act { // it flickers, and its time is not over
		t.Fatalf("got %+v", d)
	}
	l.Step(healthy(at + 14*time.Second))
	if l.Stats.Helped != [rungs]uint64{Redial: 1} || l.Stats.Tried != [rungs]uint64{Redial: 1} {
		t.Errorf("helped %v after tried %v, want one", l.Stats.Helped, l.Stats.Tried)
	}
}

func TestACancelledRungCostsNothing(t *testing.T) {
	l := verified(t)
	deaf := func(now time.Duration) Observation {
		o := healthy(now)
		o.Proof, o.AT = start, false
		return o
	}
	now := start + 20*time.Second
	for range 100 { // another modem always has the right
		d := l.Step(deaf(now))
		if !d.Act || d.Rung != USB {
			t.Fatalf("at %v: got %+v, want usb again", now-start, d)
		}
		l.Cancel()
		now += time.Second
	}
	if l.Stats.Tried[USB] != 0 || len(l.recent(USB, now)) != 0 {
		t.Errorf("tried %d, %d of the budget", l.Stats.Tried[USB], len(l.recent(USB, now)))
	}
	if d := l.Step(deaf(now)); !d.Act || d.Rung != USB {
		t.Errorf("its turn: got %+v", d)
	}
	l.Done(now)
	l.Cancel() // too late: it was done
	if l.Stats.Tried[USB] != 1 {
		t.Errorf("a rung that was done was taken back")
	}
}

func TestAWatchedLadderCountsNothing(t *testing.T) {
	l := New(Config{Off: true})
	m := &model{cure: PowerKey, broken: func(o *Observation) { o.Proof = 0 }}
	if got, _ := drive(l, m, start, time.Hour); len(got) != 0 || l.Stats != (Stats{}) {
		t.Errorf("got %v, %+v", got, l.Stats)
	}
	if d := l.Step(blind(start + 2*time.Hour)); !d.Resting || d.Reason != "only watched: registered, but no data arrives" {
		t.Errorf("got %+v", d)
	}
}

func TestRoundsThatBringNothingComeSlower(t *testing.T) {
	l := New(Config{Can: [rungs]bool{Wait: true, Redial: true}, Seed: 7})
	var at []time.Duration
	for now := start; now < start+20*time.Minute; now += time.Second {
		if d := l.Step(blind(now)); d.Act {
			at = append(at, now)
			l.Done(now)
		}
	}
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	proof := defaultLimits[Redial].Proof
	if len(gaps) < 8 || gaps[0] < proof || gaps[0] > proof*9/8+time.Second || !slices.IsSorted(gaps[:3]) {
		t.Fatalf("got %v", gaps)
	}
	for _, g := range gaps[4:] {
		if g < 4*proof || g > 4*proof*9/8+time.Second {
			t.Errorf("later: got %v, want four times %v and at most an eighth more", g, proof)
		}
	}
	if other := New(Config{Seed: 8}); func() bool {
		other.acted, other.level, l.rounds = 1, Redial, 0
		return other.proofWait() == l.proofWait()
	}() {
		t.Error("two cars wait for the same time")
	}
}

func TestABusyControlHoldsUpOnlyWhatNeedsIt(t *testing.T) {
	for name, c := range map[string]struct {
		deaf bool
		want bool
	}{
		"redial waits":         {false, false},
		"a bus reset does not": {true, true},
	} {
		l := verified(t)
		o := healthy(start + 20*time.Second)
		o.Proof, o.Busy, o.AT = start, true, !c.deaf
		if d := l.Step(o); d.Act != c.want || d.Reason == "" {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

func TestAMissingServiceIsRest(t *testing.T) {
	l := verified(t)
	o := healthy(start + time.Hour)
	o.Proof, o.Unserved, o.AT = start, true, false
	if d := l.Step(o); d.State != Unserved || !d.Resting {
		t.Errorf("got %+v", d)
	}
	if o.Proof = o.Now; l.Step(o).State != Verified {
		t.Error("data wins over a missing service")
	}
}

// TestAMissingReceiverExcusesForAWhile: somebody in between may answer for a
// receiver although the context is dead. Nothing that takes the module off its bus
// is done for that, and nothing often.
func TestAMissingReceiverExcusesForAWhile(t *testing.T) {
	l := verified(t)
	var at []time.Duration
	var took []Rung
	for now := start; now < start+45*time.Minute; now += time.Second {
		o := blind(now)
		o.NoReceiver = true
		if d := l.Step(o); d.Act {
			took, at = append(took, d.Rung), append(at, now)
			l.Done(now)
		} else if now-start > time.Minute && !d.Resting {
			t.Fatalf("after %v: got %+v, want rest", now-start, d)
		}
	}
	if want := []Rung{Redial, Reattach, Redial, Reattach}; !slices.Equal(took, want) {
		t.Fatalf("got %v, want %v", took, want)
	}
	for i, now := range at {
		if due := start + time.Duration(i+1)*10*time.Minute; now < due || now > due+15*time.Second {
			t.Errorf("%v after %v, want about %v", took[i], now-start, due-start)
		}
	}
	deaf := New(Config{})
	m := &model{cure: USB, broken: func(o *Observation) { o.AT, o.NoReceiver = false, true }}
	if got, _ := drive(deaf, m, start, 45*time.Minute); len(got) != 0 {
		t.Errorf("a deaf module without a receiver: got %v", got)
	}
	stalled := &model{cure: Redial, broken: func(o *Observation) { o.NoReceiver, o.Stalled = true, true }}
	if got, _ := drive(New(Config{}), stalled, start, 45*time.Minute); len(got) != 0 {
		t.Errorf("a receiver that says so itself: got %v", got)
	}
}
