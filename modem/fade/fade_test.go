package fade

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// signal is RSRP and SINR over time.
type signal func(t float64) (rsrp, sinr float64)

// announced runs the predictor at two readings a second and returns when it
// first announced a fade, −1 for never, and for how long in all.
func announced(s signal, seconds float64, noise float64) (first, total float64) {
	var p Predictor
	rng := rand.New(rand.NewPCG(1, 2))
	first = -1
	for t := 0.0; t < seconds; t += 0.5 {
		a, b := s(t)
		a += noise * (rng.Float64() - 0.5)
		b += noise * (rng.Float64() - 0.5)
		if p.Step(Reading{Now: time.Duration((t + 1) * 1e9), RSRPdBm: a, SINRdB: b, Cell: 1}) {
			if first < 0 {
				first = t
			}
			total += 0.5
		}
	}
	return first, total
}

func TestAFadeIsAnnouncedBeforeItComes(t *testing.T) {
	falling := func(t float64) (float64, float64) { return -85 - 4*max(t-10, 0), 15 - 2*max(t-10, 0) } // floor at 18.25 s
	first, _ := announced(falling, 25, 3)
	if first < 13 || first > 17.5 {
		t.Errorf("announced at %.1f s, want 1 to 5 s before 18.25 s", first)
	}
}

func TestASteadyNoisySignalIsNoFade(t *testing.T) {
	for name, s := range map[string]signal{
		"good":       func(float64) (float64, float64) { return -90, 12 },
		"weak":       func(float64) (float64, float64) { return -108, 3 },
		"rising":     func(t float64) (float64, float64) { return -110 + t, 0 + t/4 },
		"slow drift": func(t float64) (float64, float64) { return -85 - t/5, 12 },
	} {
		if first, total := announced(s, 60, 4); first >= 0 {
			t.Errorf("%s: announced at %.1f s, for %.1f s in all", name, first, total)
		}
	}
}

func TestANewCellBeginsANewHistory(t *testing.T) {
	var p Predictor
	for i := range 8 {
		r := Reading{Now: time.Duration(i) * time.Second / 2, RSRPdBm: -85 - 3*float64(i), SINRdB: 10, Cell: 1}
		if i >= 4 {
			r.Cell, r.RSRPdBm = 2, -88
		}
		if p.Step(r) {
			t.Errorf("reading %d: a fade across a change of cell", i)
		}
	}
	if p.Stats.Changes != 1 {
		t.Errorf("changes: got %d", p.Stats.Changes)
	}
}

func TestBelowTheFloorIsAFadeAtOnceAndEnds(t *testing.T) {
	var p Predictor
	if !p.Step(Reading{Now: time.Second, RSRPdBm: -125, SINRdB: 5}) {
		t.Error("a signal below the floor is no fade")
	}
	if !p.Step(Reading{Now: 2 * time.Second}) {
		t.Error("an unknown signal ended it")
	}
	if p.Step(Reading{Now: 20 * time.Second, RSRPdBm: -85, SINRdB: 12}) {
		t.Error("it never ends")
	}
	if p.Stats.Fades != 1 {
		t.Errorf("fades: got %d", p.Stats.Fades)
	}
}

func TestAFadeEndsWithItsReadings(t *testing.T) {
	var p Predictor
	for i := range 4 { // falls, and then the port dies
		p.Step(Reading{Now: time.Duration(i) * time.Second, RSRPdBm: -105 - 4*float64(i), SINRdB: 4})
	}
	if !p.Step(Reading{Now: 4 * time.Second}) {
		t.Error("a falling signal was not announced")
	}
	if p.Step(Reading{Now: 8 * time.Second}) {
		t.Error("a fade goes on without readings")
	}
}

func TestAnUnknownQualityIsNoBadOne(t *testing.T) {
	var p Predictor
	for i := range 6 {
		r := Reading{Now: time.Duration(i) * time.Second / 2, RSRPdBm: -90, SINRdB: 12}
		if i%2 == 1 {
			r.SINRdB = math.NaN()
		}
		if p.Step(r) {
			t.Errorf("reading %d: a fade out of an unknown quality", i)
		}
	}
}
