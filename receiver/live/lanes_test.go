package live

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"telemetry/wire"
)

// keptLanes asks for what is kept of a car's lanes.
func keptLanes(t *testing.T, s *store, nowMS int64) map[string][]*[3]*float64 {
	t.Helper()
	b, ok := s.lanesPast(nil, "c", nowMS)
	var a struct {
		NowMS  int64                     `json:"now_ms"`
		StepMS int64                     `json:"step_ms"`
		Lanes  map[string][]*[3]*float64 `json:"lanes"`
	}
	if err := json.Unmarshal(b, &a); !ok || err != nil || a.NowMS != nowMS || a.StepMS != laneStepMS || len(a.Lanes) != 3 {
		t.Fatalf("%v, %v: %s", ok, err, b)
	}
	return a.Lanes
}

func laneRep(holes uint64, lagMS int64) Report {
	return Report{Sequence: true, Cars: map[string]CarReport{"c": {Lanes: map[string]LaneReport{"full": {Holes: holes, LagMS: lagMS}}}}}
}

func TestThePastOfLanesIsKept(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, day, rowText("c", "full", day, `,"rpm":1`))
	if l := keptLanes(t, s, day); len(l["full"]) != 0 {
		t.Errorf("before the first report: %d moments", len(l["full"]))
	}
	s.idle(laneRep(0, 70), day) // nobody looks
	s.idle(laneRep(6, 2500), day+2000)
	s.step(laneRep(1, 80), 0.5, day+4000) // somebody does
	full := keptLanes(t, s, day+4000)["full"]
	if len(full) != 9 {
		t.Fatalf("%d moments in 4 s", len(full))
	}
	for i, want := range []float64{70, 70, 70, 70, 2500, 2500, 2500, 2500, 80} {
		if full[i] == nil || *full[i][0] != want || (full[i][1] != nil) != (i == 8) {
			t.Errorf("moment %d: %v, want a lag of %v", i, full[i], want)
		}
	}
	if *full[3][2] != 0 || *full[4][2] != 6 || *full[8][2] != 1 {
		t.Errorf("holes %v, %v, %v", *full[3][2], *full[4][2], *full[8][2])
	}
	// The process was suspended: nothing is known of that time.
	s.step(laneRep(0, 90), 0.5, day+34_000)
	full = keptLanes(t, s, day+34_500)["full"]
	if n := len(full); n != 70 || full[8+int(laneHoldSteps)-1] == nil || full[8+int(laneHoldSteps)] != nil || full[n-3] != nil || *full[n-2][0] != 90 || *full[n-1][0] != 90 {
		t.Errorf("%d moments around a hole: %v", n, full)
	}
	if l := keptLanes(t, s, day+34_000+laneStepMS*lanePoints); len(l["full"]) != 0 {
		t.Errorf("after two minutes: %d moments", len(l["full"]))
	}
}

func TestThePastOfLanesIsBounded(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, day, rowText("c", "full", day, `,"rpm":1`))
	for i := range int64(3 * lanePoints) {
		s.step(laneRep(0, i), 0.5, day+i*laneStepMS)
	}
	last := int64(3*lanePoints - 1)
	full := keptLanes(t, s, day+last*laneStepMS)["full"]
	if len(full) != lanePoints || *full[0][0] != float64(last-lanePoints+1) || *full[lanePoints-1][0] != float64(last) {
		t.Fatalf("%d moments, from %v", len(full), full[0])
	}
	s.step(laneRep(0, 7), 0.5, day-1e6) // the clock was set back
	if full = keptLanes(t, s, day-1e6)["full"]; len(full) != 1 || *full[0][0] != 7 {
		t.Errorf("after the clock was set back: %v", full)
	}
}

func TestLanesWhoseSequencerRunsElsewhere(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, day, rowText("c", "full", day, `,"rpm":1`))
	s.idle(Report{}, day)
	if l := keptLanes(t, s, day); len(l["full"]) != 0 {
		t.Errorf("nobody looks: %v", l["full"])
	}
	s.step(Report{}, 0.5, day+2000)
	if l := keptLanes(t, s, day+2000)["full"]; len(l) != 1 || l[0][0] != nil || l[0][1] == nil || l[0][2] != nil {
		t.Errorf("somebody looks: %v", l)
	}
}

func TestLanesAreAskedForWhileNobodyLooks(t *testing.T) {
	var asked atomic.Int64
	s := start(t, Options{Source: newLog(), Report: func(context.Context) Report { asked.Add(1); return laneRep(2, 70) }})
	s.store.mu.Lock()
	s.store.car([]byte("c"), day)
	s.store.mu.Unlock()
	eventually(t, "a moment of the lane", func() bool {
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		return s.store.cars["c"].lanes[wire.LaneFull].past.newest > 0
	})
	if s.watched() || asked.Load() == 0 {
		t.Fatalf("watched: %v, asked %d times", s.watched(), asked.Load())
	}
	for path, want := range map[string]int{"/api/v1/cars/c/lanes": 200, "/api/v1/cars/d/lanes": 404} {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.Host = "localhost"
		s.Handler().ServeHTTP(w, r)
		if w.Code != want || want == 200 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
