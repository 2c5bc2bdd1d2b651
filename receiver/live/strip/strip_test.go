package strip

import (
	"math"
	"math/rand/v2"
	"testing"
)

// t0 is a moment far from 0, in ms.
const t0 = int64(1_800_000_000_000)

// sample is one value that was added.
type sample struct {
	ms int64
	v  float64
}

// truth returns the extremes per step of samples.
func truth(samples []sample, stepMS int64) map[int64][2]float64 {
	m := map[int64][2]float64{}
	for _, s := range samples {
		k := s.ms / stepMS
		b, ok := m[k]
		if !ok {
			b = [2]float64{s.v, s.v}
		}
		m[k] = [2]float64{min(b[0], s.v), max(b[1], s.v)}
	}
	return m
}

// read returns what a reading told, by step.
func read(s *Strip, stepMS, from, to int64, since *Mark) map[int64][2]float64 {
	runs, _ := s.Read(nil, nil, stepMS, from, to, since)
	m := map[int64][2]float64{}
	for _, r := range runs {
		for i := 0; i < len(r.Values); i += 2 {
			if !math.IsNaN(r.Values[i]) {
				m[r.First+int64(i/2)] = [2]float64{r.Values[i], r.Values[i+1]}
			}
		}
	}
	return m
}

func same(t *testing.T, what string, got, want map[int64][2]float64) {
	t.Helper()
	for k, w := range want {
		if g, ok := got[k]; !ok || g != w {
			t.Errorf("%s: step %d is %v (%v), want %v", what, k, g, ok, w)
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d steps, want %d", what, len(got), len(want))
	}
}

// shuffled returns 1,500 Hz for some seconds with single peaks, out of order and
// with a fifth of it twice.
func shuffled(seed uint64, seconds int) []sample {
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []sample
	for i := range 1500 * seconds {
		v := math.Sin(float64(i) / 40)
		if rng.IntN(700) == 0 {
			v = 100 * rng.Float64()
		}
		out = append(out, sample{t0 + int64(i)*2/3, v})
		if rng.IntN(5) == 0 {
			out = append(out, out[rng.IntN(len(out))])
		}
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestNoPeakIsLostAtAnyStep(t *testing.T) {
	samples := shuffled(1, 7)
	var s Strip
	for _, x := range samples {
		s.Add(x.ms, x.v)
	}
	for _, step := range []int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000} {
		same(t, "step", read(&s, step, t0/step-1, (t0+8000)/step+1, nil), truth(samples, step))
	}
}

func TestAReaderGetsWhatChanged(t *testing.T) {
	for _, step := range []int64{1, 2, 5, 10, 20, 50, 100, 500, 5000} {
		samples := shuffled(uint64(step), 6)
		var s Strip
		shown := map[int64][2]float64{}
		mark, sent := s.Mark(), 0
		for i, x := range samples {
			s.Add(x.ms, x.v)
			if i%97 == 0 || i == len(samples)-1 {
				news := read(&s, step, t0/step-1, (t0+7000)/step+1, &mark)
				for k, v := range news {
					shown[k] = v
				}
				sent += len(news)
				mark = s.Mark()
				if i%970 == 0 { // another reader
					s.Mark()
				}
			}
		}
		same(t, "what a reader has been told", shown, truth(samples, step))
		before := mark
		for _, x := range samples[:1000] {
			s.Add(x.ms, x.v)
		}
		if again := read(&s, step, t0/step-1, (t0+7000)/step+1, &before); len(again) != 0 {
			t.Errorf("step %d: values that came again changed %d steps", step, len(again))
		}
	}
}

func TestALateValueFillsItsBin(t *testing.T) {
	var s Strip
	for i := range int64(3000) {
		if i < 1000 || i >= 2000 {
			s.Add(t0+i, 1)
		}
	}
	hole := read(&s, 20, t0/20, (t0+3000)/20, nil)
	if len(hole) != 100 {
		t.Fatalf("%d steps with a hole of a second, want 100", len(hole))
	}
	mark := s.Mark()
	s.Add(t0+1500, 7)
	runs, _ := s.Read(nil, nil, 20, t0/20, (t0+3000)/20, &mark)
	if len(runs) != 1 || runs[0].First != (t0+1500)/20 || len(runs[0].Values) != 2 || runs[0].Values[1] != 7 {
		t.Errorf("told %+v", runs)
	}
}

func TestStepsWithNothingWithinARun(t *testing.T) {
	cases := []struct {
		name   string
		at     []int64 // ms
		runs   int
		values int
	}{
		{"side by side", []int64{0, 1, 2}, 1, 6},
		{"two missing", []int64{0, 3}, 1, 8},
		{"three missing", []int64{0, 4}, 2, 4},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var s Strip
			for _, ms := range c.at {
				s.Add(t0+ms, 1)
			}
			runs, values := s.Read(nil, nil, 1, t0, t0+10, nil)
			if len(runs) != c.runs || len(values) != c.values {
				t.Errorf("got %+v", runs)
			}
		})
	}
	// A step between two changed ones is told as it is, not as empty.
	var s Strip
	for ms := range int64(3) {
		s.Add(t0+ms, 1)
	}
	mark := s.Mark()
	s.Add(t0, 2)
	s.Add(t0+2, 2)
	runs, _ := s.Read(nil, nil, 1, t0, t0+10, &mark)
	if len(runs) != 1 || len(runs[0].Values) != 6 || runs[0].Values[2] != 1 || runs[0].Values[3] != 1 {
		t.Errorf("got %+v", runs)
	}
}

func TestCoarseStretchesAreShownUntilFinerOnesExist(t *testing.T) {
	var s Strip
	for i := range int64(10) {
		s.AddStretch(t0+100*i, 100, float64(-i), float64(i))
	}
	s.Known(t0+1000, t0+1000)
	s.Add(t0+1005, 3)
	s.Add(t0+210, 1) // late, and known to the ms
	got := read(&s, 20, t0/20, t0/20+60, nil)
	if len(got) != 12 || got[t0/20+17] != [2]float64{-3, 3} || got[t0/20+10] != [2]float64{1, 1} || got[t0/20+12] != [2]float64{-2, 2} || got[t0/20+50] != [2]float64{3, 3} {
		t.Errorf("%d steps: %v", len(got), got)
	}
	if wide := read(&s, 100, t0/100, t0/100+11, nil); wide[t0/100+2] != [2]float64{-2, 2} {
		t.Errorf("wide: %v", wide)
	}
}

// Each instant is told by the finest stretch that knows all of it, once.
func TestStretchesOfTwoWidths(t *testing.T) {
	var s Strip
	for i := range int64(6) { // 600 ms, the last 300 of them better
		s.AddStretch(t0+100*i, 100, float64(-i), float64(i))
	}
	for i := range int64(30) {
		s.AddStretch(t0+300+10*i, 10, float64(i%10)/10, float64(3+i/10))
	}
	s.Known(t0+300, t0+600)
	for ms := t0 + 600; ms < t0+700; ms++ {
		s.Add(ms, 9)
	}
	cases := []struct {
		name      string
		step      int64
		steps     int
		at        int64 // ms from t0
		want      [2]float64
		otherwise int64 // nothing is told there
	}{
		{"ms, stretches of 100", 1, 3 + 30 + 100, 150, [2]float64{-1, 1}, 151},
		{"ms, stretches of 10", 1, 3 + 30 + 100, 415, [2]float64{0.1, 4}, 416},
		{"5 ms, stretches of 10", 5, 3 + 30 + 20, 415, [2]float64{0.1, 4}, 410},
		{"10 ms, stretches of 100", 10, 3 + 30 + 10, 250, [2]float64{-2, 2}, 240},
		{"10 ms, stretches of 10", 10, 3 + 30 + 10, 590, [2]float64{0.9, 5}, 700},
		{"20 ms", 20, 3 + 15 + 5, 580, [2]float64{0.8, 5}, 280},
		{"50 ms, stretches of 100", 50, 3 + 6 + 2, 50, [2]float64{0, 0}, 0},
		{"100 ms", 100, 7, 500, [2]float64{-5, 5}, 700},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := read(&s, c.step, t0/c.step, t0/c.step+1000/c.step, nil)
			if v, ok := got[(t0+c.at)/c.step]; !ok || v != c.want {
				t.Errorf("at %d ms: %v, want %v", c.at, v, c.want)
			}
			if v, ok := got[(t0+c.otherwise)/c.step]; ok && !math.IsNaN(v[0]) {
				t.Errorf("at %d ms: %v", c.otherwise, v)
			}
			n := 0
			for _, v := range got {
				if !math.IsNaN(v[0]) {
					n++
				}
			}
			if n != c.steps {
				t.Errorf("%d steps with a value, want %d", n, c.steps)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var s Strip
	for ms := t0; ms < t0+24*3600*1000; ms += 400 {
		s.Add(ms, 1)
	}
	if s.Bytes() != MaxBytes {
		t.Errorf("%d bytes after a day, want %d", s.Bytes(), MaxBytes)
	}
	end := t0 + 24*3600*1000
	for _, c := range []struct{ step, span int64 }{{5, 8000}, {50, 80_000}, {500, 800_000}, {5000, 8_000_000}, {50_000, MaxSpanMS}} {
		if got := read(&s, c.step, (end-c.span)/c.step, end/c.step, nil); int64(len(got)) < c.span/max(c.step, 400)-1 { // a value every 400 ms
			t.Errorf("step %d: %d steps of %d are kept", c.step, len(got), c.span/c.step)
		}
		if KeptMS(c.step) < c.span {
			t.Errorf("step %d: %d ms kept, %d are to be shown", c.step, KeptMS(c.step), c.span)
		}
	}
	s.Add(t0, 9) // far older than anything
	if got := read(&s, 50_000, t0/50_000, t0/50_000+10, nil); len(got) != 0 {
		t.Errorf("an ancient value is kept: %v", got)
	}
}

func TestWhatIsNoNumberIsLeftOut(t *testing.T) {
	var s Strip
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		s.Add(t0, v)
	}
	s.Add(0, 1)
	s.Add(-5, 1)
	if s.Bytes() != 0 {
		t.Errorf("%d bytes of nothing", s.Bytes())
	}
}

func TestSteps(t *testing.T) {
	cases := []struct {
		span   int64
		points int
		want   int64
	}{{10_000, 600, 20}, {600, 600, 1}, {601, 600, 2}, {60_000, 600, 100}, {8000, 1600, 5}, {36_000_000, 1600, 50_000}, {36_000_000, 16, 5_000_000}, {1000, 0, 1000}}
	for _, c := range cases {
		if got := Step(c.span, c.points); got != c.want {
			t.Errorf("%d ms in %d points: steps of %d ms, want %d", c.span, c.points, got, c.want)
		}
	}
}

// Changes are told when their numbers wrap around.
func TestNumbersOfChangesWrapAround(t *testing.T) {
	s := Strip{gen: math.MaxUint32 - 2}
	mark := s.Mark()
	for i := range int64(6) {
		s.Add(t0+i, 1)
		if got := read(&s, 1, t0, t0+10, &mark); len(got) != 1 {
			t.Errorf("change %d: %v", i, got)
		}
		mark = s.Mark()
	}
}

func BenchmarkAdd(b *testing.B) {
	var s Strip
	ms, i := t0, 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		s.Add(ms+int64(i)*2/3, float64(i&1023))
	}
}

// BenchmarkRead is one frame of one chart: 10 s at 20 ms of which 50 ms are new.
func BenchmarkRead(b *testing.B) {
	var s Strip
	i := 0
	var runs []Steps
	var values []float64
	mark := s.Mark()
	b.ReportAllocs()
	for b.Loop() {
		for range 75 {
			i++
			s.Add(t0+int64(i)*2/3, float64(i&1023))
		}
		now := t0 + int64(i)*2/3
		runs, values = s.Read(runs[:0], values[:0], 20, (now-10_000)/20, now/20+1, &mark)
		mark = s.Mark()
	}
}
