package pagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"telemetry/lab/link"
)

// Bars of the issue of the page.
const (
	maxWeight    = 300_000.0 // bytes
	maxFirstMS   = 1000.0
	maxSuspectMS = 1000.0
	maxDeadMS    = 4000.0
)

// wallPlots is the wall of the suite: several plots, one of them with four channels.
const wallPlots = "speed;engine_rpm,throttle;g_lat,g_long;damper_fl,damper_fr,damper_rl,damper_rr;brake_pressure_front;steering_angle"

func wallSteps() []step {
	page, lapped := []string{"open"}, []string{"open", "laps"}
	return []step{
		{"open", (*suite).open, nil},
		{"moves", (*suite).moves, page},
		{"links", (*suite).narrow, page},
		{"strips", (*suite).strips, []string{"open", "links"}},
		{"holes", (*suite).holes, page},
		{"keys", (*suite).keys, page},
		{"address", (*suite).address, []string{"open", "keys"}},
		{"odd", (*suite).odd, page},
		{"slow", (*suite).slow, page},
		{"laps", (*suite).laps, page},
		{"take", (*suite).take, lapped},
		{"replay", (*suite).replay, lapped},
		{"looks", (*suite).looks, lapped},
		{"labels", (*suite).labels, lapped},
		{"failing", (*suite).failing, lapped},
		{"roles", (*suite).roles, page},
		{"console", (*suite).console, page},
	}
}

// wall is the address of the suite's wall.
func (s *suite) wall() string { return s.url + "#car=" + carName + "&p=" + wallPlots }

// open logs in as somebody would, with a wrong token first, and looks at how the page
// loads.
func (s *suite) open(ctx context.Context) (err error) {
	if err := s.reports(ctx); err != nil {
		return err
	}
	if s.page, err = s.browser.Open(desktop, false); err != nil {
		return err
	}
	s.page.Pardon("401")
	if err := s.page.Go(s.wall()); err != nil {
		return err
	}
	if s.token.engineer != "" {
		if err := s.login(); err != nil {
			return err
		}
	}
	_, err = s.page.Wait(20*time.Second, "__lab.ready > 0")
	s.l.check("data after login", err == nil, "%v", err)
	weight, files := s.page.Weight()
	s.l.atMost("page weight", weight, maxWeight, "bytes")
	s.l.told("page files", float64(files), "files")
	s.page.Pardon()
	return s.first()
}

// reports waits until the receiver has the car's catalogue and its first rows.
func (s *suite) reports(ctx context.Context) error {
	var err error
	return errors.Join(wait(ctx, 30*time.Second, "car on the page", func() bool {
		var cars struct {
			Cars []struct {
				Car string `json:"car"`
			} `json:"cars"`
		}
		err = s.api.Get(ctx, "cars", &cars)
		for _, c := range cars.Cars {
			if c.Car == carName {
				return true
			}
		}
		return false
	}), err)
}

func (s *suite) login() error {
	_, err := s.page.Wait(10*time.Second, "document.querySelector('#login').open")
	s.l.check("login is asked for", err == nil, "%v", err)
	s.snap("login")
	enter := func(token string) error {
		return s.page.Eval("document.querySelector('#token').value = "+quote(token)+"; document.querySelector('#login-form').requestSubmit()", nil)
	}
	if err := enter("page_" + strings.Repeat("A", 43)); err != nil {
		return err
	}
	_, err = s.page.Wait(5*time.Second, "document.querySelector('#login-note').textContent !== ''")
	var in bool
	if err := s.page.Eval("!document.querySelector('#login').open || [...document.querySelectorAll('[data-plot]')].some(p => p.dataset.newest)", &in); err != nil {
		return err
	}
	s.l.check("a wrong token is refused, and told so", err == nil && !in, "%v, in: %v", err, in)
	if err := enter(s.token.engineer); err != nil {
		return err
	}
	_, err = s.page.Wait(10*time.Second, "document.querySelector('#who')?.textContent.includes('engineer')")
	s.l.check("the right token lets in", err == nil, "%v", err)
	return err
}

// first measures how soon a page that is loaded again has data: the median of five.
func (s *suite) first() error {
	var ms []float64
	for range 5 {
		p, err := s.browser.Open(desktop, false)
		if err != nil {
			return err
		}
		if err := p.Go(s.wall()); err != nil {
			return err
		}
		if _, err := p.Wait(10*time.Second, "__lab.ready > 0"); err != nil {
			p.Close()
			return err
		}
		var t float64
		err = p.Eval("__lab.ready - performance.getEntriesByType('navigation')[0].loadEventEnd", &t)
		p.Close()
		if err != nil {
			return err
		}
		ms = append(ms, t)
	}
	slices.Sort(ms)
	s.l.atMost("first data after load", ms[len(ms)/2], maxFirstMS, "ms")
	return nil
}

// hashes of what every plot shows, of a copy: what reads pixels back makes a canvas of
// its own slow, and the browser complains.
const canvases = `[...document.querySelectorAll('[data-plot] canvas')].map(c => { const own = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true }); own.drawImage(c, 0, 0); const d = own.getImageData(0, 0, c.width, c.height).data; let h = 0; for (let i = 0; i < d.length; i += 97) h = (h * 31 + d[i]) | 0; return h; })`

// moves looks whether all charts draw something else within a second, and something
// new.
func (s *suite) moves(context.Context) error {
	var before []int64
	if err := s.page.Eval(canvases, &before); err != nil {
		return err
	}
	b, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("pagetest: %w", err)
	}
	took, err := s.page.Wait(time.Second, fmt.Sprintf("((now, then) => now.length === then.length && now.every((h, i) => h !== then[i]))(%s, %s)", canvases, b))
	s.l.check("charts move", len(before) >= 6 && err == nil, "%d canvases, %v", len(before), err)
	s.l.told("all of them have moved after", ms(took), "ms")
	var age float64
	if err := s.page.Eval("Math.max(...[...document.querySelectorAll('[data-plot]')].map(p => Date.now() - Number(p.dataset.newest)))", &age); err != nil {
		return err
	}
	s.l.put(Result{Name: "age of the newest value drawn", Value: age, Unit: "ms", OK: age < 2500})
	return nil
}

// someHole is true while a plot shows one.
const someHole = "[...document.querySelectorAll('[data-plot]')].some(p => Number(p.dataset.holes) > 0)"

// hole lets the far link fall silent while batches are on it, until a hole shows; then
// the picture is taken, and the link comes back.
func (s *suite) hole(picture func() error) (err error) {
	relay := s.stack.Relay(2)
	for try := range 6 { // now and then the link carries nothing
		relay.Set(link.Silent)
		_, err = s.page.Wait(4*time.Second, someHole)
		if err == nil {
			err = picture()
			relay.Set(link.Up)
			return err
		}
		relay.Set(link.Up)
		s.say("no hole at try %d", try+1)
		if _, err := s.page.Wait(20*time.Second, "document.querySelector('[data-link=\"sat-c\"]')?.dataset.state === 'up'"); err != nil {
			return err
		}
	}
	return err
}

// holes looks whether a hole shows in the plots, and fills.
func (s *suite) holes(context.Context) error {
	err := s.hole(func() error { s.snap("hole"); return nil })
	s.l.check("a hole shows", err == nil, "%v", err)
	if err != nil {
		return nil
	}
	took, err := s.page.Wait(30*time.Second, "!("+someHole+")")
	s.l.check("the hole fills", err == nil, "%v", err)
	s.l.told("the hole was filled after", ms(took), "ms")
	s.snap("hole-filled")
	return nil
}

// keys uses the page without a mouse: a search, Enter, and the channel is on the wall.
func (s *suite) keys(context.Context) error {
	var before int
	if err := s.page.Eval("document.querySelectorAll('[data-plot]').length", &before); err != nil {
		return err
	}
	if err := s.page.Eval("document.activeElement.blur()", nil); err != nil {
		return err
	}
	if err := s.page.Keys("/"); err != nil {
		return err
	}
	if _, err := s.page.Wait(3*time.Second, "document.activeElement?.id === 'q'"); err != nil {
		return err
	}
	if err := s.page.Keys("yaw"); err != nil {
		return err
	}
	if _, err := s.page.Wait(5*time.Second, "[...document.querySelectorAll('#found [role=option]')].some(o => o.textContent.includes('yaw_rate')) && document.querySelectorAll('#found [role=option]').length < 5"); err != nil {
		return err
	}
	if err := s.page.Keys("\r"); err != nil {
		return err
	}
	_, err := s.page.Wait(5*time.Second, fmt.Sprintf("document.querySelectorAll('[data-plot]').length === %d && [...document.querySelectorAll('[data-plot]')].at(-1).dataset.channels.includes('yaw_rate')", before+1))
	s.l.check("a channel is added by keyboard alone", err == nil, "%v", err)
	return s.page.Eval("document.activeElement.blur()", nil)
}

// address opens what the address says in another tab.
func (s *suite) address(context.Context) error {
	const shown = "[...document.querySelectorAll('[data-plot]')].map(p => p.dataset.channels).join('|') + ' ' + document.querySelector('#span').value + ' ' + document.querySelector('#cols').value"
	err := s.page.Eval("(() => { const set = (id, v) => { const e = document.querySelector(id); e.value = v; e.dispatchEvent(new Event('change', {bubbles: true})); }; set('#cols', '3'); const o = document.querySelector('#span').options; set('#span', o[Math.min(o.length - 1, document.querySelector('#span').selectedIndex + 1)].value); })()", nil)
	if err != nil {
		return err
	}
	if _, err := s.page.Wait(3*time.Second, "location.hash.includes('cols=3') && location.hash.includes('yaw_rate')"); err != nil {
		return err
	}
	var want, got, address string
	if err := s.page.Eval(shown, &want); err != nil {
		return err
	}
	if err := s.page.Eval("location.href", &address); err != nil {
		return err
	}
	p, err := s.browser.Open(desktop, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Go(address); err != nil {
		return err
	}
	if _, err := p.Wait(10*time.Second, "__lab.ready > 0"); err != nil {
		return err
	}
	if _, err := p.Wait(5*time.Second, shown+" === "+quote(want)); err != nil {
		if err := p.Eval(shown, &got); err != nil {
			return err
		}
	}
	s.l.check("the address restores the wall", got == "", "want %s, got %s", want, got)
	return s.page.Go(s.wall())
}

// slowBytes a second are a quarter of what the viewers of the suite are sent; the word
// about it waits behind what lies in the buffers of both sides.
const slowBytes = 25_000

// slow puts a viewer beside the page who reads far too slowly: he is cut down and
// told so, and nobody else notices.
func (s *suite) slow(ctx context.Context) error {
	ids, err := s.channelIDs(ctx, 24)
	if err != nil {
		return err
	}
	query := url.Values{"car": {carName}, "charts": {ids}, "span_ms": {"2000"}, "points": {"600"}}
	fast, err := s.api.View(ctx, query, 0)
	if err != nil {
		return err
	}
	defer func() { _ = fast.Close() }()
	if err := wait(ctx, 10*time.Second, "charts for the fast viewer", func() bool { return fast.Count("charts") > 5 || fast.Err() != nil }); err != nil {
		return errors.Join(err, fast.Err())
	}
	const span = 6 * time.Second
	alone, err := s.charts(ctx, fast, span)
	if err != nil {
		return err
	}
	slow, err := s.api.View(ctx, query, slowBytes)
	if err != nil {
		return err
	}
	defer func() { _ = slow.Close() }()
	beside, err := s.charts(ctx, fast, span)
	if err != nil {
		return err
	}
	err = wait(ctx, 40*time.Second, "a word about the slow viewer's pace", func() bool { level, _ := slow.Pace(); return level > 0 || slow.Err() != nil })
	level, words := slow.Pace()
	s.l.check("a slow viewer is cut down and told so", err == nil && level > 0 && slow.Err() == nil, "level %d, %v, %v", level, err, slow.Err())
	s.say("it was told %s", words)
	fastLevel, fastWords := fast.Pace()
	s.l.check("a fast viewer is not cut down", fastLevel == 0, "it was told %s", fastWords)
	s.l.told("charts a second for a fast viewer", alone, "1/s")
	s.l.atLeast("the same beside a slow one, as a share", beside/alone, 0.8, "")
	var pace string
	if err := s.page.Eval("document.body.dataset.pace ?? '0'", &pace); err != nil {
		return err
	}
	s.l.put(Result{Name: "the browser beside it is not cut down", Value: 1, OK: pace == "0", Note: "level " + pace})
	return nil
}

// charts counts how often a viewer is told of charts in a while, by second.
func (s *suite) charts(ctx context.Context, v *Viewer, span time.Duration) (float64, error) {
	begun, first := time.Now(), v.Count("charts")
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return float64(v.Count("charts")-first) / time.Since(begun).Seconds(), nil
}

// channelIDs returns the ids of the first channels, with commas between them.
func (s *suite) channelIDs(ctx context.Context, n int) (string, error) {
	var list struct {
		Channels []struct {
			ID   int    `json:"id"`
			Name string `json:"name"`
		} `json:"channels"`
	}
	if err := s.api.Get(ctx, fmt.Sprintf("cars/%s/channels?limit=%d", carName, n), &list); err != nil {
		return "", err
	}
	var ids []string
	for _, c := range list.Channels[:min(n, len(list.Channels))] {
		ids = append(ids, fmt.Sprint(c.ID))
	}
	return strings.Join(ids, ","), nil
}

// wait polls a condition.
func wait(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	deadline := time.Now().Add(limit)
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("pagetest: no %s within %v", what, limit)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// list writes texts as JavaScript does.
func list(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, quote(w))
	}
	return "[" + strings.Join(out, ",") + "]"
}
