package lap

import (
	"math"
	"slices"
	"testing"
)

const (
	lat0, lon0 = 50.0, 6.0
	perLat     = metresPerDegree
)

var perLon = metresPerDegree * math.Cos(lat0*math.Pi/180)

// at returns degrees of metres east and north.
func at(x, y float64) (lat, lon float64) { return lat0 + y/perLat, lon0 + x/perLon }

func line(x0, y0, x1, y1 float64, d Direction) Line {
	var l Line
	l.ALat, l.ALon = at(x0, y0)
	l.BLat, l.BLon = at(x1, y1)
	l.Direction = d
	return l
}

// ring is a circular track of 500 m radius, driven counter-clockwise from east;
// gates lie across it at quarter turns.
func ring(t *testing.T, d Direction) *Gates {
	t.Helper()
	g, err := NewGates([]Line{line(490, 0, 510, 0, d), line(0, 490, 0, 510, Any), line(-490, 0, -510, 0, Any)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func position(angle float64) (lat, lon float64) {
	return at(500*math.Cos(angle), 500*math.Sin(angle))
}

func TestLapsOfARing(t *testing.T) {
	for _, hz := range []float64{1, 5, 10, 25} {
		g := ring(t, Left)
		timer := Timer{Sectors: 2, ShortestNS: 10e9}
		const lapTime = 40.25 // s
		var marks []Mark
		var crossings []Crossing
		for i := range int(lapTime * 3.5 * hz) {
			sec := float64(i) / hz
			lat, lon := position(2*math.Pi*sec/lapTime - 0.5)
			crossings = g.Add(int64(1e9+sec*1e9), lat, lon, crossings[:0])
			for _, c := range crossings {
				marks = timer.Cross(c, marks)
			}
		}
		laps, sectors := 0, 0
		for _, m := range marks {
			want := lapTime
			if m.Sector > 0 {
				sectors++
				want = lapTime * []float64{0.25, 0.25, 0.5}[m.Sector-1]
			} else {
				laps++
				if !m.Complete {
					t.Errorf("%v Hz: lap %d is not complete", hz, m.Lap)
				}
			}
			// The chord between two positions is straight, the track is not.
			tolerance := 0.002
			if hz == 1 {
				tolerance = 0.1
			}
			if got := float64(m.TimeNS) / 1e9; math.Abs(got-want) > tolerance {
				t.Errorf("%v Hz: lap %d sector %d takes %.4f s, want %.4f", hz, m.Lap, m.Sector, got, want)
			}
		}
		if laps != 3 || sectors < 9 || timer.State.Ignored != 0 {
			t.Errorf("%v Hz: %d laps, %d sectors, %d ignored", hz, laps, sectors, timer.State.Ignored)
		}
	}
}

func TestCrossings(t *testing.T) {
	type step struct{ sec, x, y float64 }
	for _, c := range []struct {
		name  string
		line  Line
		steps []step
		want  []float64 // s
	}{
		{"half way", line(-10, 0, 10, 0, Any), []step{{0, 0, -5}, {1, 0, 5}}, []float64{0.5}},
		{"a tenth of the way", line(-10, 0, 10, 0, Any), []step{{0, 0, -1}, {1, 0, 9}}, []float64{0.1}},
		{"beside the line", line(-10, 0, 10, 0, Any), []step{{0, 11, -5}, {1, 11, 5}}, nil},
		{"left wanted and driven", line(-10, 0, 10, 0, Left), []step{{0, 0, -5}, {1, 0, 5}}, []float64{0.5}},
		{"right wanted, left driven", line(-10, 0, 10, 0, Right), []step{{0, 0, -5}, {1, 0, 5}}, nil},
		{"measured right on it", line(-10, 0, 10, 0, Any), []step{{0, 0, -5}, {1, 0, 0}, {2, 0, 5}}, []float64{1}},
		{"there and back", line(-10, 0, 10, 0, Any), []step{{0, 0, -5}, {1, 0, 5}, {2, 0, -5}}, []float64{0.5, 1.5}},
		{"standing on it", line(-10, 0, 10, 0, Any), []step{{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}, nil},
		{"after a pause", line(-10, 0, 10, 0, Any), []step{{0, 0, -5}, {3, 0, 5}}, nil},
		{"a jump", line(-10, 0, 10, 0, Any), []step{{0, 0, -200}, {1, 0, 200}}, nil},
		{"back in time", line(-10, 0, 10, 0, Any), []step{{1, 0, -5}, {0.5, 0, 5}}, nil},
	} {
		g, err := NewGates([]Line{c.line})
		if err != nil {
			t.Fatal(err)
		}
		var got []float64
		for _, s := range c.steps {
			lat, lon := at(s.x, s.y)
			for _, x := range g.Add(int64(s.sec*1e9), lat, lon, nil) {
				got = append(got, math.Round(float64(x.TickNS)/1e6)/1e3)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: crossed at %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTwoLinesInOneStepComeInOrder(t *testing.T) {
	g, err := NewGates([]Line{line(-10, 8, 10, 8, Any), line(-10, 2, 10, 2, Any)})
	if err != nil {
		t.Fatal(err)
	}
	lat, lon := at(0, 0)
	g.Add(0, lat, lon, nil)
	lat, lon = at(0, 10)
	got := g.Add(1e9, lat, lon, nil)
	if len(got) != 2 || got[0].Gate != 1 || got[1].Gate != 0 || got[0].TickNS >= got[1].TickNS {
		t.Errorf("%+v", got)
	}
}

func TestTimer(t *testing.T) {
	tm := Timer{Sectors: 2, ShortestNS: 10e9}
	var got []Mark
	cross := func(gate int, sec float64) { got = tm.Cross(Crossing{Gate: gate, TickNS: int64(sec * 1e9)}, got) }
	cross(1, 1)  // before the line: none
	cross(0, 5)  // lap 1 begins
	cross(0, 6)  // too soon
	cross(1, 20) //
	cross(1, 21) // twice
	cross(2, 40) //
	cross(0, 60) // lap 1 ends
	cross(2, 70) // the line before was missed
	cross(0, 110)
	want := []Mark{
		{Lap: 1, Sector: 1, TickNS: 20e9, TimeNS: 15e9},
		{Lap: 1, Sector: 2, TickNS: 40e9, TimeNS: 20e9},
		{Lap: 1, Sector: 3, TickNS: 60e9, TimeNS: 20e9},
		{Lap: 1, TickNS: 60e9, TimeNS: 55e9, Complete: true},
		{Lap: 2, Sector: 3, TickNS: 110e9, TimeNS: 40e9},
		{Lap: 2, TickNS: 110e9, TimeNS: 50e9},
	}
	if !slices.Equal(got, want) || tm.State.Ignored != 3 {
		t.Errorf("got  %+v\nwant %+v\n%d ignored", got, want, tm.State.Ignored)
	}
	// A process that goes on with what it kept.
	next := Timer{State: tm.State, Sectors: 2, ShortestNS: 10e9}
	if got := next.Cross(Crossing{TickNS: 150e9}, nil); len(got) != 1 || got[0].Lap != 3 || got[0].TimeNS != 40e9 {
		t.Errorf("after a restart: %+v", got)
	}
	next.Unknown() // the machine was started anew
	if got := next.Cross(Crossing{TickNS: 7e9}, nil); len(got) != 1 || got[0].Lap != 4 || got[0].TimeNS != 0 || got[0].Complete {
		t.Errorf("after a boot: %+v", got)
	}
}

func TestFaults(t *testing.T) {
	for name, l := range map[string][]Line{
		"none":      nil,
		"no length": {line(0, 0, 0, 0.1, Any)},
		"long":      {line(0, 0, 0, 1000, Any)},
		"pole":      {{ALat: 89, BLat: 89, BLon: 1}},
	} {
		if _, err := NewGates(l); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
