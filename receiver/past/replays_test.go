package past_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/past"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// stage is a page that notes what it is shown.
type stage struct {
	mu    sync.Mutex
	feeds []*feed
}

type feed struct {
	info past.ReplayInfo

	mu       sync.Mutex
	rows     []int64 // UTC of what came
	states   []past.ReplayState
	sessions int
	lost     []lost
	idle     time.Duration
	closed   bool
}

// lost is a gap that a feed was told of, before how many rows.
type lost struct {
	gap  archive.Gap
	rows int
}

func (s *stage) Add(i past.ReplayInfo) (past.Feed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &feed{info: i}
	s.feeds = append(s.feeds, f)
	return f, nil
}

func (s *stage) feed(i int) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feeds[i]
}

func (f *feed) Table(t *columns.Table, _ wire.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows = append(f.rows, t.UTC[0])
}

func (f *feed) Event(*archive.Event, wire.ID) {}

func (f *feed) Lost(g *archive.Gap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = append(f.lost, lost{*g, len(f.rows)})
}

func (f *feed) Sessions(l []archive.Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions += len(l)
}

func (f *feed) Set(s past.ReplayState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states = append(f.states, s)
}

func (f *feed) IdleFor() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idle
}

func (f *feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

func (f *feed) look(fn func()) bool { // under the lock; true for await
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	return true
}

func (f *feed) is(cond func() bool) func() bool {
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return cond()
	}
}

func begin(t *testing.T, opt past.Options, body string) (st *stage, do2 func(method, path, body string) (int, past.Replay), one past.Replay) {
	t.Helper()
	st = &stage{}
	opt.Stage = st
	s := serve(t, opt)
	do2 = func(method, path, body string) (int, past.Replay) {
		code, text := do(t, s, method, path, body)
		var r past.Replay
		if code == http.StatusOK {
			check(t, json.Unmarshal([]byte(text), &r))
		}
		return code, r
	}
	code, one := do2(http.MethodPost, "replays", body)
	if code != http.StatusOK {
		t.Fatalf("%s: %d", body, code)
	}
	return st, do2, one
}

func TestReplayAtFullSpeed(t *testing.T) {
	m := tour("", "", 1, [2]float64{})
	st, ask, r := begin(t, past.Options{Archive: m}, `{"car":"gt3-7","lap":"Q1/1","speed":"max"}`)
	if r.ID != "r1" || r.Car != "gt3-7~r1" || r.Of != "gt3-7" || r.Speed != "max" || r.FromMS != float64(utc(startA)/1e6) {
		t.Errorf("%+v", r)
	}
	f := st.feed(0)
	await(t, f.is(func() bool { return len(f.rows) == int(timeA*100) }))
	await(t, func() bool { _, r := ask(http.MethodGet, "replays/r1", ""); return r.Done && r.AtMS == r.ToMS })
	f.look(func() {
		for i := range f.rows {
			if i > 0 && f.rows[i] < f.rows[i-1] {
				t.Fatalf("row %d goes back", i)
			}
		}
		if f.sessions != 1 || f.states[0].AtNS != utc(startA) || !f.states[len(f.states)-1].Done {
			t.Errorf("%d sessions, states %+v", f.sessions, f.states)
		}
		f.rows = nil
	})
	// Elsewhere after the end: the time before it comes at once.
	if code, r := ask(http.MethodPost, "replays/r1", fmt.Sprintf(`{"seek_ms":%d}`, utc(startA+60)/1e6)); code != http.StatusOK || r.ID != "r1" {
		t.Errorf("seek: %d %+v", code, r)
	}
	await(t, f.is(func() bool { return len(f.rows) == 45*100 && f.rows[0] == utc(startA+45.003) }))
	if code, _ := ask(http.MethodDelete, "replays/r1", ""); code != http.StatusNoContent {
		t.Errorf("delete: %d", code)
	}
	if f.look(func() {}); !f.closed {
		t.Error("the feed is open")
	}
	if code, _ := ask(http.MethodGet, "replays/r1", ""); code != http.StatusNotFound {
		t.Errorf("it is there still: %d", code)
	}
}

// Rows that were written before the car's time was known have the log's, which may be
// hours behind. They come in their place, and nothing waits for them.
func TestReplayDoesNotWaitForTheLogsTime(t *testing.T) {
	m := &memory{groups: []wire.Group{{Name: "Engine", Channels: []wire.Channel{{Name: "gear", Type: wire.TypeInt}}}}}
	for i := range 10 {
		m.row(0, 100+float64(i)/100, 1)
	}
	m.batches[0].Clock, m.batches[0].AppendMS = nil, utc(5000)/1e6
	st, _, _ := begin(t, past.Options{Archive: m}, fmt.Sprintf(`{"car":"gt3-7","from_ms":%d,"to_ms":%d,"speed":1}`, utc(100)/1e6, utc(160)/1e6))
	f := st.feed(0)
	await(t, f.is(func() bool { return len(f.rows) == 10 && f.rows[0] == utc(5000) && f.rows[9] == utc(100.09) }))
}

func TestReplayAtItsOwnPace(t *testing.T) {
	m := tour("", "", 1, [2]float64{})
	st, ask, _ := begin(t, past.Options{Archive: m}, fmt.Sprintf(`{"car":"gt3-7","from_ms":%d,"to_ms":%d,"speed":1}`, utc(100)/1e6, utc(160)/1e6))
	f := st.feed(0)
	await(t, f.is(func() bool { return len(f.rows) > 20 }))
	f.look(func() {
		if len(f.rows) > 3000 {
			t.Errorf("%d rows at once: it is not paced", len(f.rows))
		}
	})
	if _, r := ask(http.MethodPost, "replays/r1", `{"paused":true}`); !r.Paused {
		t.Errorf("%+v", r)
	}
	_, before := ask(http.MethodGet, "replays/r1", "")
	_, after := ask(http.MethodGet, "replays/r1", "")
	if before.AtMS != after.AtMS {
		t.Errorf("paused, it went from %v to %v", before.AtMS, after.AtMS)
	}
	// Back while it is paused: everything is forgotten first, by a word from the end.
	ask(http.MethodPost, "replays/r1", fmt.Sprintf(`{"seek_ms":%d,"paused":false,"speed":"max"}`, utc(100)/1e6))
	await(t, f.is(func() bool { return len(f.rows) > 0 && f.rows[len(f.rows)-1] == utc(159.993) }))
	f.look(func() {
		turned := false
		for i := 1; i < len(f.states); i++ {
			turned = turned || f.states[i-1].AtNS == utc(160) && f.states[i].AtNS == utc(100)
		}
		if !turned {
			t.Errorf("states %+v", f.states)
		}
	})
}

func TestReplayThatNobodySees(t *testing.T) {
	st, ask, _ := begin(t, past.Options{Archive: tour("", "", 1, [2]float64{})}, `{"car":"gt3-7","session":"Q1"}`)
	f := st.feed(0)
	f.look(func() { f.idle = 61 * time.Second })
	await(t, f.is(func() bool { return f.closed }))
	await(t, func() bool { code, _ := ask(http.MethodGet, "replays/r1", ""); return code == http.StatusNotFound })
}

func TestReplaysThatCannotBe(t *testing.T) {
	st := &stage{}
	s := serve(t, past.Options{Archive: tour("", "", 1, [2]float64{}), Stage: st})
	for _, c := range []struct {
		name, body string
		code       int
		want       string
	}{
		{"no JSON", `{`, 400, "not what is wanted"},
		{"a field that is not there", `{"car":"c","tempo":3}`, 400, "tempo"},
		{"no car", `{"session":"Q1"}`, 400, "no car"},
		{"no time", `{"car":"gt3-7"}`, 400, "no time"},
		{"no such lap", `{"car":"gt3-7","session":"Q1","lap":9}`, 404, "unknown"},
		{"a lap without its session", `{"car":"gt3-7","lap":2}`, 400, "session"},
		{"too fast", `{"car":"gt3-7","session":"Q1","speed":5000}`, 400, "max"},
		{"too long", `{"car":"gt3-7","from_ms":1,"to_ms":1e12}`, 400, "24h"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, body := do(t, s, http.MethodPost, "replays", c.body); code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	for i := range past.MaxReplays + 1 {
		code, body := do(t, s, http.MethodPost, "replays", `{"car":"gt3-7","session":"Q1","lap":2,"paused":true}`)
		if full := i == past.MaxReplays; full != (code == http.StatusServiceUnavailable) || full && !strings.Contains(body, "end one") {
			t.Errorf("replay %d: %d %s", i, code, body)
		}
	}
	got := answer[struct{ Replays []past.Replay }](t, s, "replays")
	if len(got.Replays) != past.MaxReplays || !got.Replays[0].Paused || got.Replays[1].Car != "gt3-7~r2" {
		t.Errorf("%+v", got)
	}
	if code, body := do(t, s, http.MethodPost, "replays/r1", `{"seek_ms":5}`); code != 400 || !strings.Contains(body, "outside") {
		t.Errorf("seek elsewhere: %d %s", code, body)
	}
}

// What a recording does not have is told where it lacks, again after a seek; other
// lanes have no charts.
func TestReplayTellsWhatIsLost(t *testing.T) {
	m := tour("", "", 1, [2]float64{})
	gap := func(lane wire.Lane, first uint64, from float64) archive.Gap {
		return archive.Gap{Stream: wire.Stream{Car: "gt3-7", Lane: lane}, Range: wire.Range{First: first, Last: first + 4}, FromNS: utc(from), ToNS: utc(from + 1)}
	}
	m.gaps = []archive.Gap{gap(wire.LaneFull, 10, 120), gap(wire.LaneCritical, 3, 121), gap(wire.LaneFull, 40, 150)}
	st, ask, _ := begin(t, past.Options{Archive: m}, `{"car":"gt3-7","lap":"Q1/1","speed":"max"}`)
	f := st.feed(0)
	await(t, f.is(func() bool { return len(f.rows) == int(timeA*100) }))
	f.look(func() {
		if len(f.lost) != 2 || f.lost[0].gap.Range.First != 10 || f.lost[0].rows != 2000 || f.lost[1].gap.Range.First != 40 || f.lost[1].rows != 5000 {
			t.Errorf("told %+v", f.lost)
		}
		f.rows, f.lost = nil, nil
	})
	await(t, func() bool { _, r := ask(http.MethodGet, "replays/r1", ""); return r.Done })
	ask(http.MethodPost, "replays/r1", fmt.Sprintf(`{"seek_ms":%d}`, utc(startA+40)/1e6))
	await(t, f.is(func() bool { return len(f.rows) == 65*100 }))
	f.look(func() {
		if len(f.lost) != 2 || f.lost[0].rows > 0 {
			t.Errorf("after the seek: %+v", f.lost)
		}
	})
}
