package lap

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// crossing is a line and the second at which it is crossed.
type crossing struct {
	gate int
	sec  float64
}

func TestMissedLines(t *testing.T) {
	lap := func(n int, sec, time float64, complete bool) Mark {
		return Mark{Lap: n, TickNS: int64(sec * 1e9), TimeNS: int64(time * 1e9), Complete: complete}
	}
	sector := func(n, k int, sec, time float64) Mark {
		return Mark{Lap: n, Sector: k, TickNS: int64(sec * 1e9), TimeNS: int64(time * 1e9)}
	}
	for _, c := range []struct {
		name    string
		sectors int
		in      []crossing
		want    []Mark
	}{
		// Laps of 90 s with lines at 30 and 60 s.
		{
			"the start line", 2,
			[]crossing{{0, 10}, {1, 40}, {2, 70}, {1, 130}, {2, 160}, {0, 190}, {1, 220}, {2, 250}, {0, 280}},
			[]Mark{
				sector(1, 1, 40, 30), sector(1, 2, 70, 30), lap(1, 130, 0, false),
				sector(2, 2, 160, 30), sector(2, 3, 190, 30), lap(2, 190, 0, false),
				sector(3, 1, 220, 30), sector(3, 2, 250, 30), sector(3, 3, 280, 30), lap(3, 280, 90, true),
			},
		},
		{
			"the start line of a track with one other", 1,
			[]crossing{{0, 10}, {1, 40}, {1, 130}, {0, 190}},
			[]Mark{sector(1, 1, 40, 30), lap(1, 130, 0, false), sector(2, 2, 190, 60), lap(2, 190, 0, false)},
		},
		{
			"a line between", 2,
			[]crossing{{0, 10}, {2, 70}, {0, 100}, {1, 130}, {2, 160}, {0, 190}},
			[]Mark{
				sector(1, 3, 100, 30), lap(1, 100, 90, false),
				sector(2, 1, 130, 30), sector(2, 2, 160, 30), sector(2, 3, 190, 30), lap(2, 190, 90, true),
			},
		},
		{
			"the last line and the start line", 2,
			[]crossing{{0, 10}, {1, 40}, {1, 130}, {2, 160}, {0, 190}},
			[]Mark{sector(1, 1, 40, 30), lap(1, 130, 0, false), sector(2, 2, 160, 30), sector(2, 3, 190, 30), lap(2, 190, 0, false)},
		},
		{
			"the start line, and then back over a line that lies behind", 2,
			[]crossing{{0, 10}, {1, 40}, {2, 70}, {1, 130}, {2, 160}, {1, 163}, {0, 190}, {1, 220}},
			[]Mark{
				sector(1, 1, 40, 30), sector(1, 2, 70, 30), lap(1, 130, 0, false),
				sector(2, 2, 160, 30), sector(2, 3, 190, 30), lap(2, 190, 0, false), sector(3, 1, 220, 30),
			},
		},
		{
			"the start line, twice", 2,
			[]crossing{{0, 10}, {1, 40}, {2, 70}, {1, 130}, {2, 160}, {1, 220}},
			[]Mark{sector(1, 1, 40, 30), sector(1, 2, 70, 30), lap(1, 130, 0, false), sector(2, 2, 160, 30), lap(2, 220, 0, false)},
		},
		{
			"none: a line that was passed twice at once", 2,
			[]crossing{{0, 10}, {1, 40}, {1, 45}, {2, 70}, {1, 75}, {0, 100}},
			[]Mark{sector(1, 1, 40, 30), sector(1, 2, 70, 30), sector(1, 3, 100, 30), lap(1, 100, 90, true)},
		},
	} {
		tm := Timer{Sectors: c.sectors, ShortestNS: 80e9}
		var got []Mark
		for _, x := range c.in {
			got = tm.Cross(Crossing{Gate: x.gate, TickNS: int64(x.sec * 1e9)}, got)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// TestLapsWithoutSectorsOverAGap: nothing shows whether the line was missed, so that
// a lap in which the car was lost is not called complete.
func TestLapsWithoutSectorsOverAGap(t *testing.T) {
	tm := Timer{ShortestNS: 10e9}
	tm.Lost(5e9) // before the first line: nothing is lost
	var got []Mark
	for i := range int64(4) {
		if i == 2 {
			tm.Lost(3e9)
		}
		got = tm.Cross(Crossing{TickNS: (100 + 90*i) * 1e9}, got)
	}
	for i, want := range []bool{true, false, true} {
		if got[i].Complete != want || got[i].TimeNS != 90e9 {
			t.Errorf("lap %d: %+v", i+1, got[i])
		}
	}
	whole := Timer{Sectors: 1, ShortestNS: 80e9}
	got = whole.Cross(Crossing{TickNS: 10e9}, nil)
	got = whole.Cross(Crossing{Gate: 1, TickNS: 40e9}, got)
	whole.Lost(10e9) // too short to hide the line and what follows
	got = whole.Cross(Crossing{TickNS: 100e9}, got)
	got = whole.Cross(Crossing{Gate: 1, TickNS: 130e9}, got)
	whole.Lost(95e9) // a whole lap
	got = whole.Cross(Crossing{TickNS: 280e9}, got)
	laps := slices.DeleteFunc(got, func(m Mark) bool { return m.Sector > 0 })
	if len(laps) != 2 || !laps[0].Complete || laps[1].Complete {
		t.Errorf("%+v", laps)
	}
}

func TestMissedTellsNoTime(t *testing.T) {
	tm := Timer{}
	if got := tm.Missed(5e9, nil); got != nil || tm.State.Lap != 0 {
		t.Errorf("a lap that did not begin ended: %+v", got)
	}
	tm.Cross(Crossing{TickNS: 10e9}, nil)
	got := tm.Missed(200e9, nil)
	got = tm.Cross(Crossing{TickNS: 250e9}, got)
	got = tm.Cross(Crossing{TickNS: 340e9}, got)
	want := []Mark{{Lap: 1, TickNS: 200e9}, {Lap: 2, TickNS: 250e9}, {Lap: 3, TickNS: 340e9, TimeNS: 90e9, Complete: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestStandingOnTheLine: on the grid positions tremble to and fro over the line, for
// longer than any lap.
func TestStandingOnTheLine(t *testing.T) {
	g, err := NewGates([]Line{line(490, 0, 510, 0, Any), line(-490, 0, -510, 0, Any)})
	if err != nil {
		t.Fatal(err)
	}
	timer := Timer{Sectors: 1, ShortestNS: 10e9}
	rnd := rand.New(rand.NewPCG(5, 6))
	var marks []Mark
	var crossings []Crossing
	tick := int64(1e9)
	step := func(lat, lon float64) {
		tick += 1e8
		crossings = g.Add(tick, lat, lon, crossings[:0])
		for _, c := range crossings {
			marks = timer.Cross(c, marks)
		}
	}
	stand := func(x float64) {
		for range 600 {
			step(at(x+rnd.NormFloat64(), rnd.NormFloat64()))
		}
	}
	drive := func(from, to float64) {
		for a := from; a < to; a += 2 * math.Pi / 400 {
			step(position(a))
		}
	}
	stand(500)
	drive(0, math.Pi)
	stand(-500)
	drive(math.Pi, 4*math.Pi)
	laps := slices.DeleteFunc(marks, func(m Mark) bool { return m.Sector > 0 })
	if len(laps) != 1 || !laps[0].Complete || timer.State.Ignored == 0 {
		t.Errorf("%+v, %d ignored", laps, timer.State.Ignored)
	}
}

func TestGapsAreTold(t *testing.T) {
	g, err := NewGates([]Line{line(-10, 0, 10, 0, Any)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		sec, y float64
		want   int64
	}{
		{0, -50, 0},
		{1, -20, 0},
		{4, -10, 3e9},
		{5, -5, 0},
		{6, 400, 1e9}, // a jump
		{7, 410, 0},
		{10, 600, 0}, // under a bridge, too far from the line for it
		{18, 410, 8e9},
		{19, 430, 0},
	} {
		lat, lon := at(0, s.y)
		g.Add(int64(s.sec*1e9)+1, lat, lon, nil)
		if g.GapNS != s.want {
			t.Errorf("at %v s: a gap of %d ns, want %d", s.sec, g.GapNS, s.want)
		}
	}
}
