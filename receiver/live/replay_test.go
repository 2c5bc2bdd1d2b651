package live

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// play feeds one recorded batch of rows, one a ms.
func play(t *testing.T, f *Feed, seq uint64, fromMS int64, n int) {
	t.Helper()
	cat := &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "Engine", Channels: []wire.Channel{{Name: "rpm", Type: wire.TypeInt, Unit: "1/min"}}}}}
	b := &sequence.Batch{
		ID: wire.ID{Stream: wire.Stream{Car: "c", Epoch: epoch3, Lane: wire.LaneFull}, Seq: seq}, Hash: cat.Hash(), Catalogue: cat, AppendMS: fromMS,
	}
	block := wire.Block{Columns: []wire.Column{{Type: wire.TypeInt}}}
	for i := range n {
		block.Ticks = append(block.Ticks, int64(i)*1e6)
		block.Columns[0].Values = append(block.Columns[0].Values, int64(i))
	}
	b.Blocks = append(b.Blocks, block)
	if _, err := columns.NewReader(nil).Read(b, func(tab *columns.Table) error {
		for i := range tab.UTC {
			tab.UTC[i] = (fromMS + int64(i)) * 1e6
		}
		tab.Clock.Synced = true
		f.Table(b.ID, tab)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestReplayIsACarOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareServer()
		from := time.Now().Add(-time.Hour).UnixMilli()
		put(t, s.store, inOrder, time.Now().UnixMilli(), rowText("c", "full", time.Now().UnixMilli(), `,"rpm":1`))
		s.store.read(&chartFrame{}, "c", []plot{{id: 0}}, 20, 10_000, true, time.Now().UnixMilli())
		f, err := s.AddReplay(ReplayInfo{ID: "r1", Of: "c", FromMS: from, ToMS: from + 60_000})
		if err != nil {
			t.Fatal(err)
		}
		if f.Car() != "c~r1" {
			t.Errorf("the car is %s", f.Car())
		}
		list := s.store.list()
		if len(list) != 2 || list[0].Replay != nil || list[1].Replay == nil || list[1].Replay.Of != "c" {
			t.Fatalf("cars %+v", list)
		}
		f.Set(ReplayState{AtMS: from + 1000, Speed: 2})
		play(t, f, 1, from, 1000)
		plots := []plot{{id: 0}}
		var fr chartFrame
		var p chartPage
		read := func(reset bool) shown {
			if !s.store.read(&fr, f.Car(), plots, 20, 10_000, reset, time.Now().UnixMilli()) {
				t.Fatal("the replay is gone")
			}
			return p.take(t, fr.append(nil))
		}
		// The live car's channel is charted: what came first is known in full.
		if got := read(true); got.NowMS != from+1000 || len(p.steps[0]) != 50 {
			t.Errorf("at %d ms: %d steps", got.NowMS-from, len(p.steps[0]))
		}
		time.Sleep(500 * time.Millisecond)
		if got := read(false); got.NowMS != from+2000 {
			t.Errorf("half a second later at twice the speed: at %d ms", got.NowMS-from)
		}
		time.Sleep(10 * time.Second)
		if got := read(false); got.NowMS != from+1000+2*replayCoast {
			t.Errorf("without a word for long: at %d ms", got.NowMS-from)
		}
		play(t, f, 3, from+5000, 100)
		if hs, _ := s.store.holes(nil, f.Car(), 10_000, time.Now().Add(time.Second).UnixMilli()); len(hs) != 1 || hs[0].State != coverage.Lost {
			t.Errorf("holes %+v", hs)
		}
		d, _ := s.store.detail(f.Car(), time.Now().UnixMilli())
		if d.Replay == nil || d.Replay.Speed != 2.0 || d.Replay.FromMS != from || d.CarView.Replay.ID != "r1" {
			t.Errorf("detail %+v", d.Replay)
		}
		f.Set(ReplayState{AtMS: from, Paused: true, Speed: 0})
		if got := read(false); !got.Reset || got.NowMS != from || len(p.steps[0]) != 0 {
			t.Errorf("after going back: %+v", got)
		}
		play(t, f, 1, from, 10)
		if read(false); len(p.steps[0]) != 1 {
			t.Errorf("played again: %d steps", len(p.steps[0]))
		}
		if d, _ = s.store.detail(f.Car(), time.Now().UnixMilli()); d.Replay.Speed != "max" || !d.Replay.Paused {
			t.Errorf("detail %+v", d.Replay)
		}
		time.Sleep(time.Minute)
		if f.Idle() != time.Minute {
			t.Errorf("idle for %v", f.Idle())
		}
		live, _, _ := s.store.changed("c", []int{0}, 0)
		if len(live) != 1 || live[0][1] != 1 {
			t.Errorf("the live car shows %v", live)
		}
		f.Close()
		f.Close()
		f.Event(from, "lap", "")
		play(t, f, 2, from, 10)
		if len(s.store.list()) != 1 || s.store.replays != 0 {
			t.Errorf("after the end: %+v", s.store.list())
		}
	})
}

func TestReplaysAreLimited(t *testing.T) {
	s := bareServer()
	for i := range MaxReplays {
		if _, err := s.AddReplay(ReplayInfo{ID: fmt.Sprint("r", i), Of: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name string
		info ReplayInfo
		want error
	}{
		{"one too many", ReplayInfo{ID: "r99", Of: "c"}, ErrReplays},
		{"the same again", ReplayInfo{ID: "r1", Of: "c"}, ErrReplay},
		{"no name", ReplayInfo{Of: "c"}, ErrReplay},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := s.AddReplay(c.info); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := s.AddReplay(ReplayInfo{ID: "r", Of: "../c"}); err == nil {
		t.Error("a car's name that is none")
	}
	// Replays take no car's place, and no row of a topic gets into one.
	for i := range MaxCars {
		put(t, s.store, inOrder, day, rowText(fmt.Sprint("car-", i), "full", day, `,"a":1`))
	}
	if n := len(s.store.list()); n != MaxCars+MaxReplays || s.store.counters().CarsDropped != 0 {
		t.Errorf("%d cars", n)
	}
	put(t, s.store, inOrder, day+2*forgetCarMS, rowText("new", "full", day, `,"a":1`))
	if _, ok := s.store.detail("c~r1", day); !ok {
		t.Error("a replay made room for a car")
	}
}

func TestFeedTellsSessionsAndEvents(t *testing.T) {
	s := bareServer()
	f, err := s.AddReplay(ReplayInfo{ID: "r1", Of: "c", FromMS: day, ToMS: day + 1000})
	if err != nil {
		t.Fatal(err)
	}
	early, lateMS := day, day+5000
	f.Sessions([]Session{{ID: "b", StartMS: &lateMS}, {ID: "a", StartMS: &early}})
	f.Event(day, "lap", "lap 2")
	f.Lost(epoch3, 5, 6, "quota")
	got, v := s.store.laps(f.Car(), -1)
	if len(got.Sessions) != 2 || got.Sessions[0].ID != "b" || got.Sessions[1].Laps == nil {
		t.Errorf("sessions %+v", got)
	}
	f.Sessions(nil)
	if got, _ = s.store.laps(f.Car(), v); got.Sessions == nil || len(got.Sessions) != 0 {
		t.Errorf("sessions %+v", got)
	}
	if d, _ := s.store.detail(f.Car(), day); len(d.Events) != 1 || d.Events[0].Text != "lap" {
		t.Errorf("events %+v", d.Events)
	}
	lap := func(n int, from, to int64) Lap { return Lap{N: n, StartMS: &from, EndMS: &to} }
	f.Sessions([]Session{{ID: "a", StartMS: &early, Laps: []Lap{lap(1, day, day+400), lap(2, day+400, day+900)}}})
	for i, at := range []int64{day, day + 500, day + 950} {
		f.Set(ReplayState{AtMS: at})
		if n, want := s.store.list()[0].Lap, []int{1, 2, 0}[i]; n != want {
			t.Errorf("at %d ms: lap %d, want %d", at-day, n, want)
		}
	}
	f.Close()
	if len(s.store.sessions) != 0 {
		t.Error("sessions outlive their replay")
	}
}

// What serves the past is asked for what live does not know, behind the guard, and
// its answers may take longer than others.
func TestExtraAndGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parts = 5
		var o Options
		o.Extra = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range parts {
				time.Sleep(2 * answerLimit)
				if _, err := io.WriteString(w, r.URL.Path); err != nil {
					return
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					return
				}
			}
		})
		o.Guard = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Pass") == "" {
					http.Error(w, "no", http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		s, l := virtual(t, o)
		h := s.Handler()
		for path, want := range map[string]int{"/": 401, "/api/v1/cars": 401, "/healthz": 200, "/readyz": 200} {
			r, w := httptest.NewRequest(http.MethodGet, "http://localhost"+path, http.NoBody), httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != want {
				t.Errorf("%s without a pass: %d", path, w.Code)
			}
		}
		conn := l.ask(t, "/api/v1/cars/c/export", "X-Pass: 1\r\nConnection: close\r\n")
		body, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(body, []byte("/api/v1/cars/c/export")); n != parts {
			t.Errorf("%d of %d parts: %s", n, parts, body)
		}
		r, w := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader("x")), httptest.NewRecorder()
		r.Header.Set("X-Pass", "1")
		if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("a page was written to: %d", w.Code)
		}
	})
}
