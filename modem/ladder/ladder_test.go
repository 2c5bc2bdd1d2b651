package ladder

import (
	"slices"
	"testing"
	"time"
)

// model is a modem whose fault is mended by rung cure or a stronger one.
type model struct {
	obs    Observation
	cure   Rung
	broken func(*Observation) // applies the fault
	fixed  bool
	took   time.Duration // that an action takes
}

func healthy(now time.Duration) Observation {
	return Observation{Now: now, Proof: now, Present: true, AT: true, SIM: SIMReady, Reg: Home, PDP: true, RSRPdBm: -90}
}

// drive steps once a second for d and returns the rungs taken.
func drive(l *Ladder, m *model, from, d time.Duration) (rungs []Rung, recovered time.Duration) {
	for now := from; now < from+d; now += time.Second {
		o := healthy(now)
		if !m.fixed {
			o.Proof = m.obs.Proof
			m.broken(&o)
		} else if recovered == 0 {
			recovered = now - from
		}
		if dec := l.Step(o); dec.Act {
			rungs = append(rungs, dec.Rung)
			now += m.took
			l.Done(now)
			m.fixed = m.fixed || dec.Rung >= m.cure
		}
	}
	return rungs, recovered
}

const start = time.Hour

// verified returns a ladder of a modem that carried data until start.
func verified(t *testing.T) *Ladder {
	t.Helper()
	l := New(Config{})
	for now := start - 2*time.Minute; now < start; now += time.Second {
		if d := l.Step(healthy(now)); d.State != Verified || d.Act {
			t.Fatalf("healthy modem: got %+v", d)
		}
	}
	return l
}

func TestEachFaultIsMendedByTheGentlestRung(t *testing.T) {
	for name, c := range map[string]struct {
		broken func(*Observation)
		cure   Rung
		want   []Rung
	}{
		"stale context":            {func(*Observation) {}, Redial, []Rung{Redial}},
		"context lost":             {func(o *Observation) { o.PDP = false }, Redial, []Rung{Redial}},
		"registered without data":  {func(*Observation) {}, Reattach, []Rung{Redial, Reattach}},
		"radio hangs":              {func(*Observation) {}, Radio, []Rung{Redial, Reattach, Radio}},
		"not registered":           {func(o *Observation) { o.Reg, o.PDP = Searching, false }, Reattach, []Rung{Reattach}},
		"SIM does not answer":      {func(o *Observation) { o.SIM = SIMFailed }, Radio, []Rung{Radio}},
		"SIM needs a module reset": {func(o *Observation) { o.SIM = SIMFailed }, Reset, []Rung{Radio, Reset}},
		"control port is deaf":     {func(o *Observation) { o.AT = false }, USB, []Rung{USB}},
		"module hangs":             {func(o *Observation) { o.AT = false }, ResetPin, []Rung{USB, ResetPin}},
		"gone from the bus":        {func(o *Observation) { *o = Observation{Now: o.Now} }, ResetPin, []Rung{ResetPin}},
		"gone, only power helps":   {func(o *Observation) { *o = Observation{Now: o.Now} }, PowerKey, []Rung{ResetPin, PowerKey}},
		"only power helps":         {func(*Observation) {}, PowerKey, []Rung{Redial, Reattach, Radio, Reset, USB, ResetPin, PowerKey}},
	} {
		t.Run(name, func(t *testing.T) {
			l := verified(t)
			m := &model{obs: healthy(start), cure: c.cure, broken: c.broken, took: 2 * time.Second}
			got, recovered := drive(l, m, start, 15*time.Minute)
			if !slices.Equal(got, c.want) || recovered == 0 {
				t.Errorf("got rungs %v, recovered after %v; want %v", got, recovered, c.want)
			}
			if last := c.want[len(c.want)-1]; l.Stats.Helped[last] != 1 {
				t.Errorf("helped: got %v, want one at %v", l.Stats.Helped, last)
			}
		})
	}
}

func TestNothingIsTriedWhereNothingWouldHelp(t *testing.T) {
	for name, broken := range map[string]func(*Observation){
		"no SIM":           func(o *Observation) { o.SIM = SIMAbsent },
		"SIM locked":       func(o *Observation) { o.SIM = SIMLocked },
		"tunnel":           func(o *Observation) { o.AllWeak, o.RSRPdBm = true, -125 },
		"weak signal":      func(o *Observation) { o.RSRPdBm = -126 },
		"receiver stalled": func(o *Observation) { o.Stalled = true },
		"too hot":          func(o *Observation) { o.HotC = 95 },
	} {
		t.Run(name, func(t *testing.T) {
			m := &model{obs: healthy(start), cure: Redial, broken: broken}
			l := verified(t)
			if got, _ := drive(l, m, start, 20*time.Minute); len(got) != 0 {
				t.Errorf("got %v, want no action", got)
			}
			if d := l.Step(func() Observation {
				o := healthy(start + 20*time.Minute)
				o.Proof = start
				broken(&o)
				return o
			}()); !d.Resting || d.Reason == "" {
				t.Errorf("got %+v, want a resting state with its reason", d)
			}
		})
	}
}

func TestDenialWaitsLong(t *testing.T) {
	m := &model{obs: healthy(start), cure: PowerKey + 1, broken: func(o *Observation) { o.Reg, o.PDP = Denied, false }}
	got, _ := drive(verified(t), m, start, time.Hour)
	if len(got) == 0 || len(got) > 6 {
		t.Errorf("got %d attempts in an hour (%v), want one each ten minutes", len(got), got)
	}
}

func TestShortSilenceIsWaitedOut(t *testing.T) {
	l := verified(t)
	m := &model{obs: healthy(start), cure: Redial, broken: func(*Observation) {}}
	if got, _ := drive(l, m, start, 10*time.Second); len(got) != 0 {
		t.Errorf("got %v within the hysteresis", got)
	}
}

func TestOneModemIsResetAtATime(t *testing.T) {
	l := verified(t)
	m := &model{obs: healthy(start), cure: USB, broken: func(o *Observation) { o.AT, o.OtherCycling = false, o.Now < start+3*time.Minute }}
	for now := start; now < start+3*time.Minute; now += time.Second {
		o := healthy(now)
		o.Proof = start
		m.broken(&o)
		if d := l.Step(o); d.Act {
			t.Fatalf("acted while another modem was being reset: %+v", d)
		}
	}
	if got, _ := drive(l, m, start+3*time.Minute, 3*time.Minute); !slices.Equal(got, []Rung{USB}) {
		t.Errorf("afterwards: got %v, want usb", got)
	}
}

func TestAtSpeedBesideAGoodLinkAResetWaits(t *testing.T) {
	l := verified(t)
	m := &model{obs: healthy(start), cure: USB, broken: func(o *Observation) { o.AT, o.OtherCarries, o.Moving = false, true, true }}
	if got, _ := drive(l, m, start, 4*time.Minute); len(got) != 0 {
		t.Errorf("got %v within five minutes at speed", got)
	}
	if got, _ := drive(l, m, start+4*time.Minute, 4*time.Minute); !slices.Equal(got, []Rung{USB}) {
		t.Errorf("stuck for long: got %v, want usb", got)
	}
}

func TestAModemThatFailsAgainGoesOnWhereItStopped(t *testing.T) {
	l := verified(t)
	m := &model{obs: healthy(start), cure: Reattach, broken: func(*Observation) {}}
	_, _ = drive(l, m, start, time.Minute)
	again := &model{obs: healthy(start + time.Minute), cure: Radio, broken: func(*Observation) {}}
	if got, _ := drive(l, again, start+time.Minute, 2*time.Minute); !slices.Equal(got, []Rung{Radio}) {
		t.Errorf("failing again within the settling time: got %v, want radio at once", got)
	}
	later := &model{obs: healthy(start + 3*time.Minute), cure: Redial, broken: func(*Observation) {}}
	if got, _ := drive(l, later, start+3*time.Minute, time.Minute); !slices.Equal(got, []Rung{Redial}) {
		t.Errorf("failing after it: got %v, want to start from the bottom", got)
	}
}

func TestBudgetsAreKeptAndOutliveARestart(t *testing.T) {
	cfg := Config{Limits: [rungs]Limit{Redial: {PerHour: 2, Proof: time.Second}}, Can: [rungs]bool{Wait: true, Redial: true}}
	l := New(cfg)
	m := &model{obs: Observation{}, cure: PowerKey, broken: func(o *Observation) { o.Proof = 0 }}
	if got, _ := drive(l, m, start, 30*time.Minute); len(got) != 2 {
		t.Fatalf("got %v, want two dials in the hour", got)
	}
	wall := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	b, err := l.Save(wall, start+30*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	restarted := New(cfg)
	if err := restarted.Load(b, wall.Add(time.Minute), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if got, _ := drive(restarted, m, 10*time.Second, 20*time.Minute); len(got) != 0 {
		t.Errorf("after a restart: got %v, want none before the hour is over", got)
	}
	if got, _ := drive(restarted, m, 40*time.Minute, 10*time.Minute); len(got) == 0 {
		t.Error("the budget never comes back")
	}
	if err := restarted.Load([]byte("{"), wall, 0); err == nil {
		t.Error("rotten budgets were accepted")
	}
}
