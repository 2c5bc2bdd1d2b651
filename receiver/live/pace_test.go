package live

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const quick, slow, stall = time.Millisecond, 40 * time.Millisecond, 400 * time.Millisecond
	frames := func(n int, took time.Duration) []time.Duration {
		out := make([]time.Duration, n)
		for i := range out {
			out[i] = took
		}
		return out
	}
	cases := []struct {
		name  string
		took  []time.Duration
		level int
	}{
		{"keeps up", frames(1000, quick), 0},
		{"one slow frame", []time.Duration{slow, quick, slow, quick, slow}, 0},
		{"three in a row", frames(slowFrames-1, slow), 0},
		{"four in a row", frames(slowFrames, slow), 1},
		{"one stall", frames(1, stall), 1},
		{"one long stall", frames(1, 5*time.Second), 2},
		{"stalls for ever", frames(20, 5*time.Second), len(paceLevels) - 1},
		{"recovers in part", append(frames(1, 5*time.Second), frames(int(leastPatience/(5*frameEvery))+2, quick)...), 1},
		{"recovers", append(frames(1, 5*time.Second), frames(400, quick)...), 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var p pace
			now := time.Unix(1000, 0)
			for _, took := range c.took {
				now = now.Add(max(took, p.every()))
				p.wrote(took, now)
			}
			if p.level != c.level {
				t.Errorf("level %d, want %d", p.level, c.level)
			}
		})
	}
}

// A viewer that can take a part of it is not sent back and forth for ever.
func TestPaceSettles(t *testing.T) {
	var p pace
	now, changes := time.Unix(1000, 0), 0
	for end := now.Add(10 * time.Minute); now.Before(end); {
		took := time.Millisecond
		if p.level < 2 {
			took = 300 * time.Millisecond // too much for it
		}
		now = now.Add(max(took, p.every()))
		if p.wrote(took, now) {
			changes++
		}
	}
	if changes > 30 {
		t.Errorf("%d changes in ten minutes", changes)
	}
}

func TestPaceTellsWhatIsLeft(t *testing.T) {
	p := pace{level: 2}
	if f := p.frame(600); f.EveryMS != 250 || f.Points != 300 || f.Level != 2 || f.Why == "" {
		t.Errorf("got %+v", f)
	}
	if p.level = 4; p.points(20) != minPoints {
		t.Errorf("%d points of 20", p.points(20))
	}
	if p.level = 0; p.frame(600).Why != "" || p.points(600) != 600 {
		t.Errorf("whole: %+v", p.frame(600))
	}
}
