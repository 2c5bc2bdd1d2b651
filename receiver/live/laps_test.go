package live

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

const second = int64(1e9)

// says is a record of the sessions topic.
func says(id, event string, ns int64, more string) string {
	return fmt.Sprintf(`{"car":"c","session":%q,"event":%q,"ts_ns":%d,"boot_ns":1,"epoch":3,"nonce":"aa","clock":"synced"%s}`, id, event, day*1e6+ns, more)
}

// take lets a store read records of the sessions topic.
func takeSessions(t *testing.T, s *store, values ...string) {
	t.Helper()
	f := &follower{s: &Server{store: s}}
	for _, v := range values {
		f.session(&topic.Record{Value: []byte(v), Key: []byte("c/x")})
	}
}

func TestLapsAndSectors(t *testing.T) {
	s := quietStore()
	takeSessions(
		t, s,
		says("Q1", "session_start", 0, `,"name":"Q1","track":"Spa"`),
		says("Q1", "session_start", 0, `,"name":"Q1","track":"Spa","state":"running"`),
		says("Q1", "sector", 40*second, `,"lap":1,"sector":2,"time_ns":30000000000`),
		says("Q1", "sector", 10*second, `,"lap":1,"sector":1`), // compaction keeps no order between keys
		says("Q1", "lap", 100*second, `,"lap":1,"time_ns":90500000000,"complete":true`),
		says("Q1", "session_mark", 50*second, `,"mark":1,"text":"new tyres"`),
		says("Q1", "lap", 200*second, `,"lap":2,"complete":false`),
		says("Q1", "sector", 230*second, `,"lap":3,"sector":1,"time_ns":30000000000`),
		`no json`, `{"car":"c"}`,
	)
	got, version := s.laps("c", -1)
	if len(got.Sessions) != 1 || version == 0 {
		t.Fatalf("got %+v", got)
	}
	q := got.Sessions[0]
	if q.Name != "Q1" || q.Track != "Spa" || q.State != "running" || *q.StartMS != day || q.EndMS != nil || q.Lap != 3 || q.BestMS != 90_500 {
		t.Errorf("session %+v", q)
	}
	if len(q.Laps) != 3 || *q.Laps[0].StartMS != day+9500 || *q.Laps[0].EndMS != day+100_000 || *q.Laps[0].TimeMS != 90_500 || !q.Laps[0].Complete {
		t.Errorf("laps %+v", q.Laps)
	}
	if sec := q.Laps[0].Sectors; len(sec) != 2 || sec[0].TimeMS != nil || *sec[1].TimeMS != 30_000 || sec[1].AtMS != day+40_000 {
		t.Errorf("sectors %+v", sec)
	}
	if l := q.Laps[1]; l.StartMS != nil || l.TimeMS != nil || l.EndMS == nil {
		t.Errorf("a lap without a time: %+v", l)
	}
	if l := q.Laps[2]; *l.StartMS != day+200_000 || l.EndMS != nil {
		t.Errorf("the lap under way: %+v", l)
	}
	if len(q.Marks) != 1 || q.Marks[0].Text != "new tyres" || q.Marks[0].AtMS != day+50_000 {
		t.Errorf("marks %+v", q.Marks)
	}
	if again, v := s.laps("c", version); v != version || len(again.Sessions) != 0 {
		t.Error("nothing new is told again")
	}
	takeSessions(t, s, says("Q1", "session_stop", 300*second, `,"name":"Q1","state":"stopped","laps":2`))
	if got, _ = s.laps("c", version); got.Sessions[0].State != "stopped" || *got.Sessions[0].EndMS != day+300_000 || got.Sessions[0].Lap != 0 {
		t.Errorf("stopped: %+v", got.Sessions[0])
	}
	takeSessions(t, s, says("Q1", "session_continue", 400*second, `,"state":"running"`))
	if got, _ = s.laps("c", version); got.Sessions[0].EndMS != nil || got.Sessions[0].Name != "Q1" {
		t.Errorf("goes on: %+v", got.Sessions[0])
	}
	if n := s.counters().Malformed; n != 2 {
		t.Errorf("%d malformed", n)
	}
}

func TestSessionsAreLimited(t *testing.T) {
	s := quietStore()
	for i := range int64(20) {
		takeSessions(t, s, says(fmt.Sprint("S", i), "session_start", i*1000*second, `,"state":"running"`))
	}
	takeSessions(t, s, says("old", "session_start", -5000*second, `,"state":"running"`))
	for i := range maxSessionLaps + 50 {
		takeSessions(t, s, says("S19", "lap", int64(20_000+i)*second, fmt.Sprintf(`,"lap":%d,"time_ns":1`, i+1)))
	}
	got, _ := s.laps("c", -1)
	if len(got.Sessions) != shownSessions || got.Sessions[0].ID != "S19" || got.Sessions[2].ID != "S17" {
		t.Fatalf("sessions %d, first %s", len(got.Sessions), got.Sessions[0].ID)
	}
	if l := got.Sessions[0].Laps; len(l) != maxSessionLaps || l[len(l)-1].N != maxSessionLaps+50 {
		t.Errorf("%d laps, last %d", len(l), l[len(l)-1].N)
	}
	for i := range maxSessionCars + 10 {
		var r sessionRow
		if err := json.Unmarshal([]byte(says("x", "session_start", 0, "")), &r); err != nil {
			t.Fatal(err)
		}
		r.Car = fmt.Sprint("car-", i)
		s.session(&r)
	}
	if len(s.sessions) > maxSessionCars {
		t.Errorf("sessions of %d cars", len(s.sessions))
	}
	f := &follower{s: &Server{store: s}}
	var some string
	for some = range s.sessions {
		break
	}
	f.session(&topic.Record{Key: []byte(some + "/" + s.sessions[some].list[0].ID)})
	f.session(&topic.Record{Key: []byte("c/none/lap/1")})
}

// drive lets a car drive a circle with a position at 10 Hz.
func drive(t *testing.T, s *store, from, to int64) {
	t.Helper()
	for i := from; i < to; i++ {
		a := 2 * math.Pi * float64(i) / 1000
		fields := fmt.Sprintf(`,"gnss_latitude":%.7f,"gnss_longitude":%.7f,"speed":200.5`, 50+0.01*math.Sin(a), 6+0.01*math.Cos(a))
		put(t, s, inOrder, day+i*100, rowText("c", "full", day+i*100, fields))
		if i == from {
			s.describe(wire.CatalogueHash{1}, &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "Engine", Channels: []wire.Channel{
				{Name: "gnss_latitude", Unit: "deg"}, {Name: "gnss_longitude", Unit: "deg"}, {Name: "speed", Unit: "km/h"},
			}}}})
		}
	}
}

func TestTrack(t *testing.T) {
	s := quietStore()
	if _, known := s.track("c", day); known {
		t.Error("a car that nobody knows")
	}
	put(t, s, inOrder, day, rowText("c", "full", day, `,"rpm":1`))
	if tr, known := s.track("c", day); !known || tr.LatID != nil || tr.LonID != nil || tr.Line == nil || len(tr.Line) > 0 {
		t.Errorf("of a car without a position: %+v", tr)
	}
	drive(t, s, 0, 5000)
	now := day + 500_000
	tr, _ := s.track("c", now)
	if tr.LatID == nil || tr.LonID == nil || *tr.LatID == *tr.LonID || len(tr.Line) < 1400 || len(tr.Line) > maxLinePoints || tr.Lap != 0 {
		t.Fatalf("%d points of the last minutes, lap %d", len(tr.Line), tr.Lap)
	}
	if b := tr.Bounds; math.Abs(b[0]-49.99) > 1e-4 || math.Abs(b[1]-50.01) > 1e-4 || math.Abs(b[2]-5.99) > 1e-4 || math.Abs(b[3]-6.01) > 1e-4 {
		t.Errorf("bounds %v", b)
	}
	takeSessions(t, s, says("Q1", "session_start", 0, `,"state":"running"`), says("Q1", "lap", 300*second, `,"lap":1,"time_ns":100000000000,"complete":true`))
	if tr, _ = s.track("c", now); tr.Lap != 1 || len(tr.Line) < 495 || len(tr.Line) > 505 {
		t.Errorf("lap %d of %d points", tr.Lap, len(tr.Line))
	}
	takeSessions(t, s, says("Q1", "lap", 900*second, `,"lap":2,"time_ns":100000000000,"complete":true`))
	if tr, _ = s.track("c", now); tr.Lap != 1 || len(tr.Line) < 495 {
		t.Errorf("a lap that is still to come: lap %d of %d points", tr.Lap, len(tr.Line))
	}
	drive(t, s, 5000, 20_000)
	if n := len(s.cars["c"].place.at); n != maxPlaces {
		t.Errorf("%d points are kept", n)
	}
	v := s.list()[0]
	if v.Speed == nil || v.Speed.Name != "speed" || v.Speed.Value != 200.5 || v.Pos == nil || v.Lap != 3 {
		t.Errorf("fleet: %+v", v)
	}
}

func TestWhichChannelsAreAPosition(t *testing.T) {
	ch := func(id int, group, name, unit string) *channel {
		return &channel{id: id, group: group, name: name, unit: unit}
	}
	cases := []struct {
		name string
		list []*channel
		lat  string
	}{
		{"accelerations are none", []*channel{ch(0, "g", "g_lat", "g"), ch(1, "g", "g_long", "g")}, ""},
		{"short names", []*channel{ch(0, "gps", "lat", "deg"), ch(1, "gps", "lon", "°")}, "lat"},
		{"long names", []*channel{ch(0, "gnss", "gnss_longitude", "deg"), ch(1, "gnss", "gnss_latitude", "deg")}, "gnss_latitude"},
		{"a preview's group", []*channel{ch(0, "live.gnss", "Lat", "deg"), ch(1, "gnss", "Lng", "deg")}, "Lat"},
		{"other groups", []*channel{ch(0, "a", "lat", "deg"), ch(1, "b", "lon", "deg")}, ""},
		{"other names", []*channel{ch(0, "a", "front_lat", "deg"), ch(1, "a", "rear_lon", "deg")}, ""},
		{"only one of them", []*channel{ch(0, "a", "lat", "deg")}, ""},
		{"the first pair", []*channel{ch(0, "a", "lat", "deg"), ch(1, "b", "lat", "deg"), ch(2, "b", "lon", "deg"), ch(3, "a", "lon", "deg")}, "lat"},
		{"a lateral angle", []*channel{ch(0, "a", "slip_lateral", "deg"), ch(1, "a", "slip_long", "deg")}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			lat, lon := positionOf(c.list)
			if (lat == nil) != (c.lat == "") || (lat == nil) != (lon == nil) || lat != nil && (lat.name != c.lat || lat.group != lon.group && c.name != "a preview's group") {
				t.Errorf("got %+v, %+v", lat, lon)
			}
		})
	}
}

func TestAReceiverWithoutAFixIsNowhere(t *testing.T) {
	var p place
	for i, x := range []point{{1, 0, 0}, {2, math.NaN(), 6}, {3, 91, 6}, {4, 50, 181}, {5, math.Inf(1), 6}} {
		if p.add(x); len(p.at) != 0 {
			t.Errorf("point %d is kept", i)
		}
	}
}

func TestFleetKnowsLinksAndLag(t *testing.T) {
	s := quietStore()
	s.describe(wire.CatalogueHash{}, &wire.Catalogue{Car: "c"})
	put(t, s, inOrder, day, `{"car":"c","session":"3-aa","lane":"full","group":"agent.links","ts_ns":1,"boot_ns":1,"link_a_state":2,"link_b_state":4}`)
	s.describe(wire.CatalogueHash{2}, &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "agent", Channels: []wire.Channel{
		{Name: "link_a_state", Enum: []wire.EnumValue{{Raw: 2, Name: "up"}, {Raw: 4, Name: "dead"}}},
		{Name: "link_b_state", Enum: []wire.EnumValue{{Raw: 2, Name: "up"}, {Raw: 4, Name: "dead"}}},
	}}}})
	if v := s.list()[0]; v.LinkCount != 2 || v.LinksUp != 1 || v.LagMS != nil || v.Holes != nil {
		t.Errorf("got %+v", v)
	}
	s.step(Report{Sequence: true, Cars: map[string]CarReport{"c": {Lanes: map[string]LaneReport{"full": {Holes: 3, LagMS: 80, Missing: 2}, "live": {Holes: 1}}}}}, 1, day)
	if v := s.list()[0]; *v.LagMS != 80 || *v.Holes != 4 || v.Missing != 2 {
		t.Errorf("got %+v", v)
	}
	put(t, s, inOrder, day, rowText("d", "full", day, `,"x":1`))
	s.step(Report{Ingest: true, Cars: map[string]CarReport{"d": {Conns: []Conn{{Link: 0, SilentMS: 100}, {Link: 1, SilentMS: 20_000}}}}}, 1, day)
	if v := s.list()[1]; v.LinkCount != 2 || v.LinksUp != 1 {
		t.Errorf("a car that tells no states: %+v", v)
	}
	text, err := json.Marshal(s.list()[0])
	if err != nil {
		t.Fatal(err)
	}
	d, _ := s.detail("c", day)
	detail, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ Links int }
	var b struct{ Links []Link }
	if json.Unmarshal(text, &a) != nil || a.Links != 2 || json.Unmarshal(detail, &b) != nil || len(b.Links) != 2 {
		t.Errorf("in JSON: %s and %s", text, detail)
	}
}

// A page reads the channels again when this number has grown.
func TestWhatIsNewOfChannelsIsCounted(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, day, rowText("c", "full", day, `,"rpm":1,"gear":2`))
	for _, c := range []struct {
		name string
		rpm  wire.Channel
		want uint64
	}{
		{"nothing", wire.Channel{Name: "rpm"}, 0},
		{"a unit", wire.Channel{Name: "rpm", Unit: "1/min"}, 1},
		{"the same", wire.Channel{Name: "rpm", Unit: "1/min"}, 1},
		{"states", wire.Channel{Name: "rpm", Unit: "1/min", Enum: []wire.EnumValue{{Raw: 1, Name: "on"}}}, 2},
		{"a channel that is not there", wire.Channel{Name: "none", Unit: "V"}, 2},
	} {
		s.describe(wire.CatalogueHash{1}, &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "Engine", Channels: []wire.Channel{c.rpm}}}})
		if got := s.described("c"); got != c.want || s.list()[0].Described != c.want {
			t.Errorf("%s: %d, in the list %d, want %d", c.name, got, s.list()[0].Described, c.want)
		}
	}
	if got := s.described("d"); got != 0 {
		t.Errorf("of no car: %d", got)
	}
}
