package receiver

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"telemetry/internal/config"
	"telemetry/receiver/archive"
	"telemetry/receiver/history"
	"telemetry/receiver/live"
	"telemetry/receiver/past"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// quiet is a Kafka in which nothing happens.
type quiet struct{}

func (quiet) Names() topic.Names { return topic.NewNames("") }

func (quiet) EndOffsets(context.Context, string) (map[int32]int64, error) { return nil, nil }

func (quiet) Follow(ctx context.Context, _ string, _ map[int32]int64, _ func(topic.Record) error) error {
	<-ctx.Done()
	return nil
}

func TestReplaysOnThePage(t *testing.T) {
	page, err := live.Listen(live.Options{Address: "127.0.0.1:0", Source: quiet{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	s := stage{&running{live: page}}
	for i := range live.MaxReplays {
		f, err := s.Add(past.ReplayInfo{ID: string(rune('a' + i)), Of: "car-1", FromNS: 1e15, ToNS: 2e15})
		if err != nil {
			t.Fatal(err)
		}
		f.Set(past.ReplayState{AtNS: 15e14, Speed: 2})
		f.Sessions([]archive.Session{{ID: "Q1", StartNS: 1e15, Laps: []archive.Lap{{N: 1, TimeNS: 90e9, Sectors: []archive.Sector{{N: 1}}}}, Marks: []archive.Mark{{Text: "box"}}}})
		f.Event(&archive.Event{UTCNS: 15e14, Name: "mark"}, wire.ID{})
		if i == 0 {
			defer f.Close()
		}
	}
	if _, err := s.Add(past.ReplayInfo{ID: "z", Of: "car-1"}); !errors.Is(err, past.ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := s.Add(past.ReplayInfo{ID: "z", Of: "no/car"}); err == nil || errors.Is(err, past.ErrFull) {
		t.Errorf("no name of a car: %v", err)
	}
}

func TestSessionsForThePage(t *testing.T) {
	got := sessionOf(&archive.Session{
		ID: "Q1", State: "running", StartNS: 5e6, BestNS: 90e9,
		Laps:  []archive.Lap{{N: 1, StartNS: 5e6, EndNS: 6e6, TimeNS: 1e6, Complete: true, Sectors: []archive.Sector{{N: 2, TimeNS: 5e5, AtNS: 6e6}}}, {N: 2, StartNS: 6e6}},
		Marks: []archive.Mark{{N: 3, AtNS: 7e6, Text: "box"}},
	})
	if *got.StartMS != 5 || got.EndMS != nil || got.BestMS != 90_000 || len(got.Laps) != 2 || got.Marks[0].AtMS != 7 {
		t.Errorf("%+v", got)
	}
	if a, b := got.Laps[0], got.Laps[1]; *a.TimeMS != 1 || *a.EndMS != 6 || *a.Sectors[0].TimeMS != 0.5 || b.TimeMS != nil || b.EndMS != nil || !a.Complete {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestHistoryOfTheConfiguration(t *testing.T) {
	if h, err := openHistory(nil); h != nil || err != nil {
		t.Errorf("none: %v, %v", h, err)
	}
	c := &config.History{Kind: "questdb", URL: "http://h:9000", User: "team", Password: &config.Secret{Env: "TELEMETRY_TEST_SECRET"}}
	if _, err := openHistory(c); err == nil {
		t.Error("a password that is not there")
	}
	t.Setenv("TELEMETRY_TEST_SECRET", "x")
	if h, err := openHistory(c); err != nil || h.Name() != "questdb" {
		t.Errorf("%v, %v", h, err)
	}
	c.Table = "{where}"
	if _, err := openHistory(c); !errors.Is(err, history.ErrConfig) {
		t.Errorf("a template: %v", err)
	}
}
