package past_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/past"
	"telemetry/wire"
)

type seriesAnswer struct {
	FromMS, ToMS, StepMS int64
	Source               string
	Series               []struct {
		Name, Unit string
		T          []int64
		Min, Max   []float64
	}
	Gaps []past.Gap
}

// UnmarshalJSON reads the fields with underscores.
func (a *seriesAnswer) UnmarshalJSON(b []byte) error {
	var v past.SeriesAnswer
	var plain struct {
		Series []struct {
			Name, Unit string
			T          []int64
			Min, Max   []float64
		}
	}
	if err := errors.Join(json.Unmarshal(b, &v), json.Unmarshal(b, &plain)); err != nil {
		return err
	}
	a.FromMS, a.ToMS, a.StepMS, a.Source, a.Series, a.Gaps = v.FromMS, v.ToMS, v.StepMS, v.Source, plain.Series, v.Gaps
	return nil
}

// infinite is the row of spiky that JSON cannot say.
const infinite = 60*1500 - 1

// spiky is one channel at 1,500 Hz for a minute, with one spike each way.
func spiky() *memory {
	m := &memory{groups: []wire.Group{{Name: "Vib", Channels: []wire.Channel{{Name: "x", Unit: "g", Type: wire.TypeF64}}}}}
	for i := range 60 * 1500 {
		v := math.Sin(float64(i) / 50)
		switch i {
		case 31_234:
			v = 99
		case 77_001:
			v = -77
		case 100, 101:
			v = math.NaN()
		case infinite:
			v = math.Inf(1)
		}
		m.row(0, float64(i)/1500, f64(v))
	}
	return m
}

func span(from, to float64) string {
	return fmt.Sprintf("from=%d&to=%d", utc(from)/1e6, utc(to)/1e6)
}

func TestNoPeakIsMissed(t *testing.T) {
	m := spiky()
	m.batches = m.batches[:infinite]
	m.gaps = []archive.Gap{{Stream: wire.Stream{Lane: wire.LaneFull}, Range: wire.Range{First: 3, Last: 5}, FromNS: utc(1), ToNS: utc(2), Reason: "quota"}}
	s := serve(t, past.Options{Archive: m})
	for _, points := range []int{2, 16, 100, 1000, 5000} {
		a := answer[seriesAnswer](t, s, fmt.Sprintf("cars/gt3-7/past?%s&channels=Vib.x&points=%d", span(1, 59), points))
		if len(a.Series) != 1 || a.Series[0].Name != "Vib.x" || a.Series[0].Unit != "g" || a.Source != "batches" {
			t.Fatalf("%+v", a)
		}
		v := a.Series[0]
		lo, hi := math.Inf(1), math.Inf(-1)
		for i := range v.T {
			lo, hi = min(lo, v.Min[i]), max(hi, v.Max[i])
			if v.Min[i] > v.Max[i] || i > 0 && v.T[i] <= v.T[i-1] || v.T[i]%a.StepMS != 0 {
				t.Fatalf("step %d at %d: %v to %v", i, v.T[i], v.Min[i], v.Max[i])
			}
		}
		if lo != -77 || hi != 99 || len(v.T) > points+1 || len(v.T) < points/3 {
			t.Errorf("%d points: %d steps from %v to %v", points, len(v.T), lo, hi)
		}
		if len(a.Gaps) != 1 || a.Gaps[0].Missing != 3 || a.Gaps[0].Lane != "full" || a.Gaps[0].Reason != "quota" {
			t.Errorf("gaps %+v", a.Gaps)
		}
	}
}

func TestEachStepIsWhole(t *testing.T) {
	s := serve(t, past.Options{Archive: spiky()})
	a := answer[seriesAnswer](t, s, fmt.Sprintf("cars/gt3-7/past?%s&channels=Vib.*&points=1000", span(10.0005, 10.9)))
	v := a.Series[0]
	if a.StepMS != 1 || len(v.T) < 895 || v.T[0] != utc(10)/1e6 {
		t.Fatalf("step %d ms, %d steps from %d", a.StepMS, len(v.T), v.T[0]-utc(10)/1e6)
	}
	for i, at := range v.T {
		lo, hi := math.Inf(1), math.Inf(-1)
		for k := int64(0); k < 60*1500; k++ {
			if ns := utc(float64(k) / 1500); ns/1e6 == at {
				x := math.Sin(float64(k) / 50)
				lo, hi = min(lo, x), max(hi, x)
			}
		}
		if lo != v.Min[i] || hi != v.Max[i] {
			t.Fatalf("step at %d ms: %v to %v, want %v to %v", at, v.Min[i], v.Max[i], lo, hi)
		}
		if i == 20 {
			break
		}
	}
}

func TestNumbersThatJSONHasNot(t *testing.T) {
	s := serve(t, past.Options{Archive: spiky()})
	a := answer[seriesAnswer](t, s, fmt.Sprintf("cars/gt3-7/past?%s&channels=x&points=100", span(59.99, 60)))
	if v := a.Series[0]; v.Max[len(v.Max)-1] != math.MaxFloat64 || v.Min[0] < -1 {
		t.Errorf("infinity is %v", v.Max)
	}
	a = answer[seriesAnswer](t, s, fmt.Sprintf("cars/gt3-7/past?%s&channels=x&points=100", span(0.06, 0.07)))
	if v := a.Series[0]; len(v.T) != 9 { // of the 10 ms, that of two NaN is left out
		t.Errorf("%d steps at %v", len(v.T), v.T)
	}
}

func TestAnswersAreKeptAWhile(t *testing.T) {
	m := spiky()
	m.batches = m.batches[:4500]
	s := serve(t, past.Options{Archive: m})
	path := "cars/gt3-7/past?channels=x&" + span(1, 2)
	_, one := get(t, s, path)
	_, two := get(t, s, path)
	if n := m.reads.Load(); n != 1 || one != two {
		t.Errorf("%d readings", n)
	}
	get(t, s, path+"&points=100")
	if n := m.reads.Load(); n != 2 {
		t.Errorf("%d readings", n)
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	m := tour("s", "km/h", 1, [2]float64{})
	wide := wire.Group{Name: "wide"}
	raw := make([]int64, 70)
	for i := range 70 {
		wide.Channels = append(wide.Channels, wire.Channel{Name: fmt.Sprint("c", i), Type: wire.TypeInt})
	}
	m.groups = append(m.groups, wide)
	m.row(4, 281, raw...)
	s := serve(t, past.Options{Archive: m})
	asked{
		{"no channel", "past?" + span(1, 2), 400, "channels=group.channel"},
		{"no time", "past?channels=x", 400, "from="},
		{"bad time", "past?channels=x&from=yesterday", 400, "no time"},
		{"backwards", "past?channels=x&" + span(2, 1), 400, "not after"},
		{"too long", "past?channels=x&" + span(0, 90_000), 400, "24h"},
		{"too many channels in a group", "past?channels=wide.*&" + span(280, 282), 400, "more than 64"},
		{"unknown session", "past?channels=x&session=Q7", 404, "unknown"},
		{"unknown format", "export?format=xls&" + span(1, 2), 400, "csv, parquet, arrow or mcap"},
		{"nothing there", "export?format=csv&" + span(1, 2), 404, "sessions"},
		{"no what-if", "whatif?" + span(1, 2), 404, "what-if"},
	}.check(t, s)
}

func TestKafkaIsDown(t *testing.T) {
	m := &memory{err: errors.New("kafka: no broker answers")}
	s := serve(t, past.Options{Archive: m})
	for _, path := range []string{"past?channels=x&", "export?format=csv&"} {
		if code, body := get(t, s, "cars/gt3-7/"+path+span(1, 2)); code != http.StatusServiceUnavailable || !strings.Contains(body, "no broker answers") {
			t.Errorf("%d %s", code, body)
		}
	}
}

// TestReadingsAreFew: one more than the limit is refused, and a request that ends
// stops its reading and makes room.
func TestReadingsAreFew(t *testing.T) {
	m := spiky()
	m.batches = m.batches[:4500]
	m.block = make(chan struct{})
	s := serve(t, past.Options{Archive: m, Scans: 1})
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/cars/gt3-7/past?channels=x&"+span(1, 2), nil)
		if err == nil {
			var resp *http.Response
			if resp, err = s.Client().Do(req); err == nil {
				resp.Body.Close()
			}
		}
		gone <- err
	}()
	await(t, func() bool { return m.reads.Load() == 1 })
	if code, body := get(t, s, "cars/gt3-7/past?channels=x&"+span(3, 4)); code != http.StatusServiceUnavailable || !strings.Contains(body, "1 readings") {
		t.Errorf("beyond the limit: %d %s", code, body)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the request: %v", err)
	}
	await(t, func() bool { return m.ended.Load() == 1 })
	close(m.block)
	if code, _ := get(t, s, "cars/gt3-7/past?channels=x&"+span(3, 4)); code != http.StatusOK {
		t.Errorf("after it: %d", code)
	}
}

// await waits for a condition.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}

func lines(t testing.TB, s *httptest.Server, path string) []map[string]json.RawMessage {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL+"/api/v1/"+path, nil)
	check(t, err)
	req.Header.Set("Accept", "application/x-ndjson")
	resp, err := s.Client().Do(req)
	check(t, err)
	defer resp.Body.Close()
	var out []map[string]json.RawMessage
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		var m map[string]json.RawMessage
		check(t, json.Unmarshal(sc.Bytes(), &m))
		out = append(out, m)
	}
	return out
}

func TestProgress(t *testing.T) {
	m := spiky()
	slow := &slowly{memory: m, every: 20_000}
	s := serve(t, past.Options{Archive: slow})
	got := lines(t, s, "cars/gt3-7/past?channels=x&"+span(1, 2))
	last := got[len(got)-1]
	if len(got) < 3 || got[0]["progress"] == nil || last["result"] == nil {
		t.Errorf("%d lines, the last has %d keys", len(got), len(last))
	}
	slow.err, slow.breakAt = errors.New("the broker is gone"), 60_000
	got = lines(t, s, "cars/gt3-7/past?channels=x&"+span(3, 4))
	if last := got[len(got)-1]; !strings.Contains(string(last["error"]), "the broker is gone") {
		t.Errorf("the last of %d lines: %s", len(got), last["error"])
	}
}

// slowly is an archive that takes its time between rows.
type slowly struct {
	*memory
	every int
}

func (s *slowly) Read(ctx context.Context, q archive.Query, fn func(*archive.Rows) error, progress archive.Progress) (archive.Report, error) {
	n := 0
	return s.memory.Read(ctx, q, fn, func(done, of int64) {
		if n++; n%s.every == 0 {
			time.Sleep(300 * time.Millisecond) // longer than progress is told apart
		}
		progress(done, of)
	})
}

func TestSessionsAsJSON(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("", "", 1, [2]float64{})})
	got := answer[struct{ Sessions []past.Session }](t, s, "cars/gt3-7/sessions")
	if len(got.Sessions) != 1 || got.Sessions[0].ID != "Q1" || len(got.Sessions[0].Laps) != 3 || *got.Sessions[0].Laps[1].TimeMS != timeB*1e3 || len(got.Sessions[0].Marks) != 1 {
		t.Errorf("%+v", got)
	}
}
