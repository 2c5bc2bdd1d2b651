package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/sensors/sim"
)

// Bars of the issue of the page.
const (
	minFrames    = 20.0  // a second, in the median
	maxFrameMS   = 250.0 // of the longest frame
	maxCores     = 1.0
	speedPlots   = 50
	settleMS     = 2000 // long frames before that are of the page's begin
	measuredMS   = 20_000
	clockTicks   = 100 // a second, of /proc on every Linux that Go runs on
	fastRateMHz  = sim.MaxRateMilliHz
	statUserTime = 11 // field of /proc/PID/stat behind the name; that of the system follows
)

func speedSteps() []step { return []step{{"speed", (*suite).speed, nil}} }

// fastChannels returns channels at 1,500 Hz.
func fastChannels(car sim.Config, n int) ([]string, error) {
	m, err := sim.NewModel(car)
	if err != nil {
		return nil, fmt.Errorf("pagetest: %w", err)
	}
	var names []string
	for _, g := range m.Groups() {
		if g.RateMilliHz != fastRateMHz {
			continue
		}
		for _, c := range g.Channels {
			names = append(names, c.Name)
		}
	}
	if len(names) < n {
		return nil, fmt.Errorf("pagetest: the car has %d channels at 1,500 Hz (want %d)", len(names), n)
	}
	return names[:n], nil
}

// speed measures frames of 50 charts at 1,500 Hz: as a person has them on a laptop,
// who scrolls, and all in view on a large screen.
func (s *suite) speed(ctx context.Context) (err error) {
	if err := s.reports(ctx); err != nil {
		return err
	}
	names, err := fastChannels(s.car, speedPlots+1)
	if err != nil {
		return err
	}
	names, other := names[:speedPlots], names[speedPlots]
	base := s.url + "#car=" + carName + "&p=" + strings.Join(names, ";")
	for _, c := range []struct {
		name, hash string
		look       Look
	}{
		{"50 charts at 1,500 Hz, laptop", "&cols=2", desktop},
		{"50 charts at 1,500 Hz, all in view", "&cols=8", Look{Name: "wide", Width: 2560, Height: 1600}},
	} {
		if s.page != nil {
			s.page.Close()
		}
		if s.page, err = s.browser.Open(c.look, false); err != nil {
			return err
		}
		if err := s.page.Go(base + c.hash); err != nil {
			return err
		}
		if _, err := s.page.Wait(20*time.Second, fmt.Sprintf("document.querySelectorAll('[data-plot]').length === %d && __lab.ready > 0", speedPlots)); err != nil {
			return err
		}
		// The page was opened before the catalogue was read.
		_, err := s.page.Wait(15*time.Second, "document.querySelector('[data-plot] .legend .unit').textContent !== ''")
		s.l.check(c.name+": units are there", err == nil, "%v", err)
		if err := s.frames(c.name); err != nil {
			return err
		}
		s.snap("speed-" + c.look.Name)
		faults := s.page.Faults()
		s.l.check(c.name+": no errors in the console", len(faults) == 0, "%s", strings.Join(faults, "; "))
	}
	return s.newChart(ctx, other)
}

// newChart looks what a window of 10 s begins with when nobody has charted its channel:
// all but the newest 3 s, which may still be on their way.
func (s *suite) newChart(ctx context.Context, name string) error {
	var list struct {
		Channels []struct {
			ID int `json:"id"`
		} `json:"channels"`
	}
	if err := s.api.Get(ctx, fmt.Sprintf("cars/%s/channels?name=%s", carName, url.QueryEscape(name)), &list); err != nil {
		return err
	}
	if len(list.Channels) != 1 {
		return fmt.Errorf("pagetest: %d channels are called %s", len(list.Channels), name)
	}
	var w struct {
		StepMS int64 `json:"step_ms"`
		Series [][3]json.RawMessage
	}
	to := time.Now().UnixMilli() - 3000
	from := to - 6500
	if err := s.api.Get(ctx, fmt.Sprintf("cars/%s/window?charts=%d&from_ms=%d&to_ms=%d&points=650", carName, list.Channels[0].ID, from, to), &w); err != nil {
		return err
	}
	var steps int
	for _, run := range w.Series {
		var flat []*float64
		if err := json.Unmarshal(run[2], &flat); err != nil {
			return fmt.Errorf("pagetest: window: %w", err)
		}
		for i := 0; i < len(flat); i += 2 {
			if flat[i] != nil {
				steps++
			}
		}
	}
	s.l.put(Result{Name: "a new chart of 10 s begins in steps of", Value: float64(w.StepMS), Unit: "ms", OK: w.StepMS == 10})
	s.l.atLeast("steps of them that have a value", float64(steps)/float64((to-from)/w.StepMS), 0.9, "")
	return nil
}

// frames measures one wall, and the receiver behind it.
func (s *suite) frames(name string) error {
	if err := s.page.Eval(fmt.Sprintf("new Promise(f => setTimeout(f, %d))", settleMS), nil); err != nil {
		return err
	}
	cpu, err := cpuTime(s.stack.ReceiverPID())
	if err != nil {
		return err
	}
	begun := time.Now()
	var out struct {
		Frames [][2]float64
		Draws  float64
		Charts int
		InView int
	}
	const draws = "__lab.draws().reduce((a, b) => a + b, 0)"
	err = s.page.eval(measuredMS*time.Millisecond+callLimit, fmt.Sprintf(`(async () => {
  const before = %s;
  const frames = await __lab.record(%d);
  const inView = [...document.querySelectorAll('[data-plot]')].filter(p => { const r = p.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight; }).length;
  return {Frames: frames, Draws: %s - before, InView: inView};
})()`, draws, measuredMS, draws), &out)
	if err != nil {
		return err
	}
	span := time.Since(begun).Seconds()
	after, err := cpuTime(s.stack.ReceiverPID())
	if err != nil {
		return err
	}
	var lengths []float64
	for _, f := range out.Frames {
		lengths = append(lengths, f[1])
	}
	slices.Sort(lengths)
	if len(lengths) == 0 {
		return fmt.Errorf("pagetest: %s: no frame in %v ms", name, measuredMS)
	}
	s.l.atLeast(name+": median frames a second", 1000/lengths[len(lengths)/2], minFrames, "1/s")
	s.l.atMost(name+": longest frame", lengths[len(lengths)-1], maxFrameMS, "ms")
	s.l.told(name+": frame of 99 %", lengths[len(lengths)*99/100], "ms")
	s.l.told(name+": charts in view", float64(out.InView), "charts")
	s.l.told(name+": draws of a chart in view", out.Draws/span/float64(max(1, out.InView)), "1/s")
	s.l.atMost(name+": the receiver's processor", (after-cpu).Seconds()/span, maxCores, "cores")
	return nil
}

// cpuTime returns the processor time that a process has used.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("pagetest: processor time: %w", err)
	}
	return parseStat(string(b))
}

func parseStat(text string) (time.Duration, error) {
	f := strings.Fields(text[strings.LastIndex(text, ")")+1:]) // a name may hold anything
	if len(f) < statUserTime+2 {
		return 0, fmt.Errorf("pagetest: processor time in %q", text)
	}
	user, err1 := strconv.ParseInt(f[statUserTime], 10, 64)
	system, err2 := strconv.ParseInt(f[statUserTime+1], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("pagetest: processor time in %q", text)
	}
	return time.Duration(user+system) * time.Second / clockTicks, nil
}
