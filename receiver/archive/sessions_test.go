package archive_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// told is an event of a car about its session.
func told(c *sequencetest.Car, bootNS int64, name, detail string) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, FirstNS: bootNS, LastNS: bootNS, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: bootNS, Name: name, Detail: detail}),
	})
}

// drive makes a session of two laps, and of a third one that is under way.
func drive(car *sequencetest.Car) []topic.Record {
	recs := []topic.Record{
		car.Open(), car.Anchor(1, 1e9, utc+1e9, 1e6),
		told(car, 2e9, "session_start", `{"id":"s1","name":"Q1","track":"Spa"}`),
		told(car, 3e9, "session_mark", `{"id":"s1","n":1,"text":"new tyres"}`),
		told(car, 12e9, "sector", `{"id":"s1","lap":1,"sector":1,"time_ns":4000000000}`),
		told(car, 18e9, "lap", `{"id":"s1","lap":1,"time_ns":10000000000,"complete":true}`),
		told(car, 27e9, "lap", `{"id":"s1","lap":2,"time_ns":9000000000,"complete":true}`),
		told(car, 30e9, "sector", `{"id":"s1","lap":3,"sector":1,"time_ns":3000000000}`),
	}
	for i := range 40 {
		recs = append(recs, car.Full(int64(i)*1e9, batchRows))
	}
	return recs
}

func TestSessionsAndLaps(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	recs := drive(car)
	p.Batches(append(recs, told(car, 40e9, "session_stop", `{"id":"s1","laps":2,"best_ns":9000000000}`), told(car, 50e9, "session_start", `{"id":"s2"}`))...)
	p.Sequence(nil)
	a := p.Archive(archive.Options{})
	list, err := a.Sessions(t.Context(), "car-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sessions: %v", len(list), err)
	}
	if s := list[0]; s.ID != "s2" || s.State != "running" || s.EndNS != 0 {
		t.Errorf("newest %+v", s)
	}
	s := list[1]
	if s.ID != "s1" || s.Name != "Q1" || s.Track != "Spa" || s.State != "stopped" || s.StartNS != utc+2e9 || s.EndNS != utc+40e9 || s.BestNS != 9e9 || !slices.Equal(s.Epochs, []wire.Epoch{car.Epoch}) {
		t.Errorf("session %+v", s)
	}
	laps := []archive.Lap{
		{N: 1, StartNS: utc + 8e9, EndNS: utc + 18e9, TimeNS: 10e9, Complete: true, Sectors: []archive.Sector{{N: 1, TimeNS: 4e9, AtNS: utc + 12e9}}},
		{N: 2, StartNS: utc + 18e9, EndNS: utc + 27e9, TimeNS: 9e9, Complete: true},
		{N: 3, StartNS: utc + 27e9, Sectors: []archive.Sector{{N: 1, TimeNS: 3e9, AtNS: utc + 30e9}}},
	}
	if fmt.Sprint(s.Laps) != fmt.Sprint(laps) || len(s.Marks) != 1 || s.Marks[0] != (archive.Mark{N: 1, AtNS: utc + 3e9, Text: "new tyres"}) {
		t.Errorf("laps %+v, marks %+v", s.Laps, s.Marks)
	}
	cases := []struct {
		what     string
		from, to int64
		unknown  string
	}{
		{"s1", utc + 2e9, utc + 40e9, ""},
		{"Q1", utc + 2e9, utc + 40e9, ""},
		{"Q1/2", utc + 18e9, utc + 27e9, ""},
		{"s1/3", utc + 27e9, utc + 40e9, ""}, // never ended: up to the session's end
		{"s1/9", 0, 0, "there are 1, 2, 3"},
		{"Q7", 0, 0, "there are s2, s1 (Q1)"},
		{"Q7/1", 0, 0, "there are s2, s1 (Q1)"},
	}
	for _, c := range cases {
		from, to, err := a.Span(t.Context(), "car-1", c.what)
		if c.unknown != "" {
			if !errors.Is(err, archive.ErrUnknown) || !strings.Contains(err.Error(), c.unknown) {
				t.Errorf("%s: %v", c.what, err)
			}
		} else if from != c.from || to != c.to || err != nil {
			t.Errorf("%s: %d to %d, want %d to %d: %v", c.what, from-utc, to-utc, c.from-utc, c.to-utc, err)
		}
	}
	if cars, err := a.Cars(t.Context()); err != nil || !slices.Equal(cars, []string{"car-1"}) {
		t.Errorf("cars %v: %v", cars, err)
	}
}

// A car that tells no session has one for each of its starts.
func TestEpochsStandInForSessions(t *testing.T) {
	p := archivetest.Open(t, "")
	one, two := sequencetest.NewCar("car-1", 1, 7), sequencetest.NewCar("car-1", 2, 8)
	p.Batches(recording(one, 20, false)...)
	p.Batches(two.Open(wire.Predecessor{Epoch: one.Epoch}), two.Anchor(1, 0, utc+100e9, 1e6), two.Full(5e9, batchRows))
	a := p.Archive(archive.Options{}) // nobody has sequenced: the anchors are met in the batches
	list, err := a.Sessions(t.Context(), "car-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d: %v", len(list), err)
	}
	if s := list[1]; s.State != "epoch" || s.ID != one.Epoch.String() || s.UntilNS != utc+1_500e6 || s.EndNS != s.UntilNS+1 {
		t.Errorf("first start %+v", s)
	}
	if s := list[0]; s.UntilNS != utc+105e9+4e6 {
		t.Errorf("second start until %d", s.UntilNS-utc)
	}
	if _, to, err := a.Span(t.Context(), "car-1", one.Epoch.String()); err != nil || to != utc+1_500e6+1 {
		t.Errorf("span: %v", err)
	}
	if cars, err := a.Cars(t.Context()); err != nil || !slices.Equal(cars, []string{"car-1"}) {
		t.Errorf("cars %v: %v", cars, err)
	}
	if list, err := a.Sessions(t.Context(), "nobody"); err != nil || len(list) != 0 {
		t.Errorf("of nobody: %v, %v", list, err)
	}
}

// What came is given as it came, a window with the words of its epoch before it.
func TestArrivals(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	recs := drive(car)
	recs = append(recs, recs[20], car.Loss(wire.LaneFull, 100, 110, wire.ReasonQuota), told(car, 45e9, "later", "{}"))
	p.Batches(recs...)
	p.Sequence(nil) // writes ticks and time maps
	a := p.Archive(archive.Options{})
	given := func(q archive.Query) (out []string, again int) {
		last := int64(0)
		_, err := a.Batches(t.Context(), q, archive.ByArrival, func(b *archive.Batch) error {
			if b.AtNS < last {
				t.Errorf("%s goes back", b.Header.ID())
			}
			last = b.AtNS
			if b.Again {
				again++
			}
			out = append(out, fmt.Sprintf("%s#%d", b.Header.Stream.Lane, b.Header.Seq))
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out, again
	}
	want := make([]string, len(recs))
	for i, r := range recs {
		info, err := topic.ParseBatchHeaders(r.Headers)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = fmt.Sprintf("%s#%d", info.ID.Stream.Lane, info.ID.Seq)
	}
	if got, again := given(archive.Query{}); !slices.Equal(got, want) || again != 1 {
		t.Errorf("%d of %d records, %d of them copies:\n%v\n%v", len(got), len(want), again, got, want)
	}
	// Lap 2 lasts from 18 s to 27 s: batches 19 to 28 by number, of them number 13 came
	// again outside; the critical lane up to then, and later what settles numbers.
	got, _ := given(archive.Query{Car: "car-1", FromNS: utc + 18e9, ToNS: utc + 27e9})
	want = []string{"critical#1", "critical#2", "critical#3", "critical#4", "critical#5", "critical#6"}
	for i := 19; i <= 27; i++ {
		want = append(want, fmt.Sprintf("full#%d", i))
	}
	want = append(want, "critical#9")
	if !slices.Equal(got, want) {
		t.Errorf("a lap is %v, want %v", got, want)
	}
	if got, _ := given(archive.Query{Car: "nobody"}); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}
