package past_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"telemetry/receiver/history"
	"telemetry/receiver/past"
	"telemetry/receiver/sequence/columns/columnstest"
)

// shelf is a store that has the rpm of Engine, at 100 Hz, and Chassis.speed.
type shelf struct{ err error }

func (*shelf) Name() string { return history.QuestDB }

func (s *shelf) Bins(_ context.Context, w history.Window, step int64) ([]history.Bin, error) {
	if s.err != nil {
		return nil, s.err
	}
	if w.Channel != (history.Channel{Group: "Engine", Name: "rpm"}) || w.Car != "gt3-7" {
		return nil, nil
	}
	n := (w.ToNS - w.FromNS) / step
	return []history.Bin{{At: 0, Min: 1, Max: 2}, {At: n - 1, Min: -3, Max: 4}, {At: n, Min: 0, Max: 9}, {At: 1, Min: math.NaN(), Max: 1}}, nil
}

func (s *shelf) Points(_ context.Context, w history.Window, fn func(history.Point) error) error {
	if s.err != nil {
		return s.err
	}
	for i := range int((timeA + timeB) * 100) {
		at := startA + float64(i)/100 + 0.003
		start, lap := startA, timeA
		if at >= startB {
			start, lap = startB, timeB
		}
		share := (at - start) / lap
		p := history.Point{TNS: columnstest.UTC + int64(at*1e9), Value: 5000 + share}
		switch w.Channel.String() {
		case "Chassis.speed":
			p.Value = track / lap * (1 + sway*math.Cos(2*math.Pi*share)) * 3.6
		case "Engine.rpm":
		default:
			return nil
		}
		if p.TNS >= w.FromNS && p.TNS < w.ToNS {
			if err := fn(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestSeriesFromAStore(t *testing.T) {
	m := tour("s", "km/h", 1/3.6, [2]float64{})
	s := serve(t, past.Options{Archive: m, History: &shelf{}})
	a := answer[seriesAnswer](t, s, "cars/gt3-7/past?channels=Engine.rpm,Engine.nobody&lap=Q1/1&points=90")
	if a.Source != "questdb" || len(a.Series) != 1 || fmt.Sprint(a.Series[0].Min, a.Series[0].Max) != "[1 -3] [2 4]" || m.reads.Load() != 0 {
		t.Errorf("%+v after %d readings of batches", a, m.reads.Load())
	}
	if v := a.Series[0]; v.T[0] != a.FromMS || v.T[1] != a.ToMS-a.StepMS {
		t.Errorf("at %v of %d to %d", v.T, a.FromMS, a.ToMS)
	}
	for what, path := range map[string]string{
		"what the store has not":       "channels=Chassis.speed",
		"a name without its group":     "channels=rpm",
		"a group":                      "channels=Engine.*",
		"batches, as was asked":        "channels=Engine.rpm&source=batches",
		"the store when it has it not": "channels=Chassis.speed&source=questdb",
	} {
		if a := answer[seriesAnswer](t, s, "cars/gt3-7/past?lap=Q1/1&"+path); a.Source != "batches" || len(a.Series) == 0 {
			t.Errorf("%s: from %s, %d series", what, a.Source, len(a.Series))
		}
	}
}

func TestLapsFromAStore(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1/3.6, [2]float64{}), History: &shelf{}})
	got := answer[comparison](t, s, "cars/gt3-7/compare?a=Q1/1&b=Q1/2&points=101&channels=Engine.rpm")
	if got.Source != "questdb" || got.Distance != "speed Chassis.speed" || len(got.Series) != 1 || got.Series[0].Unit != "1/min" {
		t.Fatalf("from %s by %q: %+v", got.Source, got.Distance, got.Series)
	}
	if a := got.Series[0].A[50]; !near(a, 5000+shareAt(*got.X[50]), 0.01) || !near(got.Delta[100], timeB-timeA, 0.01) {
		t.Errorf("half way: %v; at the end b is behind by %v", show(a), show(got.Delta[100]))
	}
}

func TestAStoreThatIsDown(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1, [2]float64{}), History: &shelf{fmt.Errorf("%w: nobody answers", history.ErrStore)}})
	for _, path := range []string{"past?lap=Q1/1&channels=Engine.rpm", "compare?a=Q1/1&b=Q1/2&channels=Engine.rpm"} {
		if code, body := get(t, s, "cars/gt3-7/"+path); code != http.StatusBadGateway || !strings.Contains(body, "source=batches") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
