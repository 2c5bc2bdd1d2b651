package past_test

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"telemetry/receiver/past"
)

// maybe is a number that may be null.
type maybe = *float64

type comparison struct {
	By, XUnit, Source, Distance string
	X                           []maybe
	Series                      []struct {
		Name, Unit string
		A, B       []maybe
	}
	Delta []maybe
	A, B  past.LapSide
	Notes []string
}

const compareAB = "cars/gt3-7/compare?a=Q1/1&b=Q1/2&points=501&channels=Engine.rpm,gear"

// shareAt is the share of the lap's time at which the car is at x.
func shareAt(x float64) float64 {
	lo, hi := 0.0, 1.0
	for range 60 {
		if mid := (lo + hi) / 2; place(mid) < x {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

func near(got maybe, want, by float64) bool { return got != nil && math.Abs(*got-want) <= by }

func TestLapsByDistance(t *testing.T) {
	cases := []struct {
		name, with, unit string
		factor           float64
		how              string
		length           float64 // m by which the measured length may differ
	}{
		{"speed in km/h", "s", "km/h", 1 / 3.6, "speed Chassis.speed", 5},
		{"speed in m/s", "s", "m/s", 1, "speed Chassis.speed", 5},
		{"speed in mph", "s", "mph", 0.44704, "speed Chassis.speed", 5},
		{"positions", "g", "km/h", 1, "positions gnss.gnss_latitude, gnss.gnss_longitude", 15},
		{"a distance channel before all else", "sgd", "km/h", 1 / 3.6, "distance odo.Lap_Distance", 5},
		{"a speed without a unit tells nothing", "sg", "", 1, "positions gnss.gnss_latitude, gnss.gnss_longitude", 15},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, past.Options{Archive: tour(c.with, c.unit, c.factor, [2]float64{})})
			got := answer[comparison](t, s, compareAB)
			if got.Distance != c.how || got.Source != "batches" || math.Abs(got.A.LengthM-track) > c.length || math.Abs(got.B.LengthM-track) > c.length {
				t.Errorf("distance %q from %s: %.1f and %.1f m", got.Distance, got.Source, got.A.LengthM, got.B.LengthM)
			}
			if len(got.X) != 501 || len(got.Delta) != 501 || len(got.Series) != 2 || got.Series[1].Name != "Engine.rpm" || got.Series[1].Unit != "1/min" {
				t.Fatalf("%d x, %d delta, %d series", len(got.X), len(got.Delta), len(got.Series))
			}
			rpm, gear := got.Series[1], got.Series[0]
			for i := range got.X {
				share := shareAt(*got.X[i] * track / got.A.LengthM)
				if !near(got.Delta[i], share*(timeB-timeA), 0.03) {
					t.Fatalf("delta at %.0f m: %v, want %.3f s", *got.X[i], show(got.Delta[i]), share*(timeB-timeA))
				}
				if !near(rpm.A[i], 1000+100*share, 0.6) || !near(rpm.B[i], 1000+100*share, 0.6) {
					t.Fatalf("rpm at %.0f m: %v and %v, want %.2f", *got.X[i], show(rpm.A[i]), show(rpm.B[i]), 1000+100*share)
				}
				if g := gear.A[i]; g == nil || *g != math.Trunc(*g) {
					t.Fatalf("gear at %.0f m: %v: there is nothing between two gears", *got.X[i], show(g))
				}
			}
			if !near(got.Delta[500], timeB-timeA, 1e-3) {
				t.Errorf("delta at the line: %v, want the laps' difference", show(got.Delta[500]))
			}
		})
	}
}

// An odometer that counts in steps makes none in the delta.
func TestLapsBySteps(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("q", "", 1, [2]float64{})})
	got := answer[comparison](t, s, strings.Replace(compareAB, "501", "2000", 1))
	if got.Distance != "distance odo.Lap_Distance" {
		t.Fatalf("by %s", got.Distance)
	}
	const slowest = track / timeB * (1 - sway) // m/s
	worst, last := 0.0, 0.0
	for i := range got.X {
		share := shareAt(*got.X[i] * track / got.A.LengthM)
		want := share * (timeB - timeA)
		if !near(got.Delta[i], want, step/slowest) {
			t.Fatalf("delta at %.1f m: %v, want %.4f s", *got.X[i], show(got.Delta[i]), want)
		}
		off := *got.Delta[i] - want
		worst, last = max(worst, math.Abs(off-last)), off
	}
	if worst > 0.004 {
		t.Errorf("the delta jumps by %.4f s where none of the laps does", worst)
	}
}

func show(v maybe) any {
	if v == nil {
		return "null"
	}
	return *v
}

func TestLapsByTime(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1/3.6, [2]float64{})})
	got := answer[comparison](t, s, compareAB+"&by=time")
	rpm := got.Series[1]
	for i := range got.X {
		x := *got.X[i]
		if x < timeA-0.1 && (!near(rpm.A[i], 1000+100*x/timeA, 0.5) || !near(got.Delta[i], x/timeA*(timeB-timeA), 0.03)) {
			t.Fatalf("at %.2f s: rpm %v, delta %v", x, show(rpm.A[i]), show(got.Delta[i]))
		}
		if x > timeA+0.01 && (rpm.A[i] != nil || rpm.B[i] == nil) {
			t.Fatalf("at %.2f s lap a is over: %v, %v", x, show(rpm.A[i]), show(rpm.B[i]))
		}
	}
	if *got.X[500] != timeB {
		t.Errorf("x ends at %v", *got.X[500])
	}
}

func TestALapWithAHole(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1/3.6, [2]float64{120, 140})})
	got := answer[comparison](t, s, compareAB+"&by=time")
	holes := 0
	for i := range got.X {
		x, a := *got.X[i]+startA, got.Series[1].A[i]
		if x > 120.05 && x < 139.95 {
			holes++
			if a != nil {
				t.Fatalf("at %.2f s, within the hole: %v", x, *a)
			}
		} else if (x < 119.9 || x > 140.1 && x < startA+timeA) && a == nil {
			t.Fatalf("at %.2f s: null", x)
		}
		if got.Series[1].B[i] == nil {
			t.Fatalf("lap b at %.2f s: null", *got.X[i])
		}
	}
	if holes < 90 {
		t.Errorf("%d points within the hole", holes)
	}
}

func TestAnUnfinishedLap(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1/3.6, [2]float64{})})
	got := answer[comparison](t, s, strings.Replace(compareAB, "Q1/2", "Q1/3", 1))
	end := place(40 / timeB)
	if got.B.Complete || !got.A.Complete || math.Abs(got.B.LengthM-end) > 5 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "as measured") {
		t.Errorf("lap b %+v, notes %v", got.B, got.Notes)
	}
	for i := range got.X {
		b, d := got.Series[1].B[i], got.Delta[i]
		if x := *got.X[i]; x > end+10 && (b != nil || d != nil) || x < end-10 && (b == nil || d == nil) {
			t.Fatalf("at %.0f m of %.0f: %v, delta %v", x, end, show(b), show(d))
		}
	}
}

func TestNothingTellsTheDistance(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("", "", 1, [2]float64{})})
	if code, body := get(t, s, compareAB); code != http.StatusUnprocessableEntity || !strings.Contains(body, "by=time") {
		t.Errorf("%d %s", code, body)
	}
	got := answer[comparison](t, s, compareAB+"&by=time")
	if len(got.Notes) != 1 || got.Delta[100] != nil || got.Series[1].A[100] == nil {
		t.Errorf("by time: notes %v, delta %v", got.Notes, show(got.Delta[100]))
	}
}

func TestANamedDistance(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("sgd", "km/h", 1/3.6, [2]float64{})})
	if got := answer[comparison](t, s, compareAB+"&distance=Chassis.speed"); got.Distance != "speed Chassis.speed" {
		t.Errorf("by %q", got.Distance)
	}
	for q, want := range map[string]string{"Engine.rpm": `unit "1/min"`, "Engine.none": "no value"} {
		if code, body := get(t, s, compareAB+"&distance="+q); code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", q, code, body)
		}
	}
}

func TestComparisonsThatCannotBe(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1/3.6, [2]float64{})})
	asked{
		{"no channel", "compare?a=Q1/1&b=Q1/2", 400, "no channel"},
		{"no lap", "compare?a=Q1&b=Q1/2&channels=x", 400, "SESSION/LAP"},
		{"unknown lap", "compare?a=Q1/9&b=Q1/2&channels=x", 404, "unknown"},
		{"unknown channel", "compare?a=Q1/1&b=Q1/2&channels=nobody", 404, "neither lap"},
		{"by what", "compare?a=Q1/1&b=Q1/2&channels=rpm&by=feel", 400, "distance or time"},
		{"too many points", "compare?a=Q1/1&b=Q1/2&channels=rpm&points=9999", 400, "2 to 5000"},
		{"too many channels", "compare?a=Q1/1&b=Q1/2&channels=" + manyNames(65), 400, "at most 64"},
		{"another source", "compare?a=Q1/1&b=Q1/2&channels=rpm&source=questdb", 400, "live.history"},
	}.check(t, s)
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("g.c" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + ",")
	}
	return b.String()
}
