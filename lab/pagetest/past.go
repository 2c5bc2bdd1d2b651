package pagetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/sensors/sim"
)

// laps waits for two laps and the one under way, and compares the two.
func (s *suite) laps(ctx context.Context) error {
	const complete = "document.querySelectorAll('#laps tr[data-lap]').length"
	if _, err := s.page.Wait(90*time.Second, complete+" >= 3 && Number(document.querySelector('[data-map]').dataset.points) > 50"); err != nil {
		return err
	}
	var rows int
	if err := s.page.Eval(complete, &rows); err != nil {
		return err
	}
	s.l.atLeast("laps in the table", float64(rows), 3, "laps")
	s.snap("wall-laps")
	if err := s.page.Go(s.wall() + "&view=past"); err != nil {
		return err
	}
	took, err := s.page.Wait(30*time.Second, "Number(document.querySelector('[data-compare]').dataset.points) > 0")
	s.l.check("two laps are compared", err == nil, "%v", err)
	s.l.told("the comparison was there after", ms(took), "ms")
	s.snap("compare")
	if err != nil {
		return nil
	}
	if err := s.compared(ctx); err != nil {
		return err
	}
	if err := s.hears(); err != nil {
		return err
	}
	return s.leads()
}

// leads looks whether a channel that nobody has charted is shown for as long as it has
// been there: the live page keeps a minute of it.
func (s *suite) leads() error {
	p, err := s.browser.Open(desktop, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Go(s.url + "#car=" + carName + "&span=120&p=oil_temp;water_temp"); err != nil {
		return err
	}
	took, err := p.Wait(20*time.Second, "document.querySelectorAll('[data-plot]').length === 2 && [...document.querySelectorAll('[data-plot]')].every(p => Number(p.dataset.oldest) > 0 && Date.now() - Number(p.dataset.oldest) > 80000)")
	s.l.check("a chart of two minutes begins with what the archive has", err == nil, "%v", err)
	s.l.told("it was there after", ms(took), "ms")
	return nil
}

// hears waits for another lap in the list, while two are chosen.
func (s *suite) hears() error {
	const ended = "document.querySelectorAll('#sessions button[aria-label^=\"Replay lap\"]').length"
	const chosen = "[...document.querySelectorAll('#sessions [aria-pressed=true]')].map(b => b.getAttribute('aria-label')).join() + document.querySelector('#compare').dataset.points + location.hash + document.activeElement.getAttribute('aria-label') + document.querySelector('#sessions details').open"
	var laps int
	if err := s.page.Eval("document.querySelector('#sessions button[aria-label^=\"Replay lap\"]').focus()", nil); err != nil {
		return err
	}
	if err := s.page.Eval(ended, &laps); err != nil {
		return err
	}
	var before, after string
	if err := s.page.Eval(chosen, &before); err != nil {
		return err
	}
	_, err := s.page.Wait(2*lapTime, fmt.Sprintf("%s > %d", ended, laps))
	if err == nil {
		err = s.page.Eval(chosen, &after)
	}
	s.l.check("another lap is in the list by itself, and changes no choice", err == nil && after == before, "%v, %s, then %s", err, before, after)
	return nil
}

// asWall looks whether the comparison has its channels in the order of the wall.
func (s *suite) asWall() error {
	var titles []string
	if err := s.page.Eval("[...document.querySelectorAll('#compare .plot-head b')].slice(1).map(b => b.textContent.replace(/^.*\\./, ''))", &titles); err != nil {
		return err
	}
	want := strings.FieldsFunc(wallPlots, func(r rune) bool { return r == ';' || r == ',' })[:mostCompared]
	s.l.check("the comparison has the order of the wall", slices.Equal(titles, want), "%v, want %v", titles, want)
	return nil
}

// mostCompared is how many channels the page compares.
const mostCompared = 8

// compared asks what the page has drawn: the simulated car drives every lap alike.
func (s *suite) compared(ctx context.Context) error {
	if err := s.asWall(); err != nil {
		return err
	}
	var hash string
	if err := s.page.Eval("location.hash", &hash); err != nil {
		return err
	}
	var a, b string
	if err := s.page.Eval("new URLSearchParams(location.hash.slice(1)).get('a')", &a); err != nil {
		return err
	}
	if err := s.page.Eval("new URLSearchParams(location.hash.slice(1)).get('b')", &b); err != nil {
		return err
	}
	var c struct {
		X      []float64 `json:"x"`
		Delta  []*float64
		Series []struct {
			Name string
			A, B []*float64
		}
	}
	if err := s.api.Get(ctx, fmt.Sprintf("cars/%s/compare?a=%s&b=%s&channels=speed&by=distance&points=500", carName, a, b), &c); err != nil {
		return err
	}
	m, err := sim.NewModel(s.car)
	if err != nil {
		return fmt.Errorf("pagetest: %w", err)
	}
	if len(c.X) == 0 || len(c.Series) != 1 {
		s.l.check("the laps compared are of the track", false, "%d points, %d series", len(c.X), len(c.Series))
		return nil
	}
	off := math.Abs(c.X[len(c.X)-1]/m.TrackMetres()-1) * 100
	s.l.atMost("length of a lap beside the track's", off, 3, "%")
	worst, behind := 0.0, 0.0
	for i := range c.X {
		if p, q := c.Series[0].A[i], c.Series[0].B[i]; p != nil && q != nil {
			worst = max(worst, math.Abs(*p-*q))
		}
		if i < len(c.Delta) && c.Delta[i] != nil {
			behind = max(behind, math.Abs(*c.Delta[i]))
		}
	}
	s.l.atMost("speeds of two laps that are alike differ by", worst, 8, "km/h")
	s.l.atMost("one is behind the other by", behind, 0.1, "s")
	return nil
}

// home is what is taken home: channels of two groups.
func home() []string { return []string{"speed", "engine_rpm", "g_lat", "damper_fl", "gear"} }

// take takes a window home in every format, by the page's own form, and compares it
// with what the simulated car has measured.
func (s *suite) take(ctx context.Context) error {
	wall := s.url + "#car=" + carName + "&p=speed;engine_rpm;g_lat,damper_fl;gear"
	if err := s.page.Go(wall); err != nil {
		return err
	}
	if _, err := s.page.Wait(20*time.Second, "document.querySelectorAll('[data-plot]').length === 4 && [...document.querySelectorAll('[data-plot]')].every(p => p.dataset.newest)"); err != nil {
		return err
	}
	truth, err := readTruth(ctx, s.stack.Brokers(), s.car)
	if err != nil {
		return err
	}
	from, to := truth.SpanNS()
	// Ten seconds that are long in Kafka, on whole milliseconds as the form has them.
	toMS := min(to/1e6-2000, from/1e6+15_000)
	fromMS := max(from/1e6+1, toMS-10_000)
	for _, format := range []string{"csv", "parquet", "arrow", "mcap"} {
		begun := time.Now()
		file, err := s.download(ctx, format, fromMS, toMS)
		if err != nil {
			s.l.put(Result{Name: "take home " + format, Note: err.Error()})
			continue
		}
		tables, err := s.readTables(ctx, file)
		if err != nil {
			s.l.put(Result{Name: "take home " + format, Note: err.Error()})
			continue
		}
		c := truth.Compare(tables, home(), fromMS*1e6, toMS*1e6)
		s.l.put(Result{
			Name: "take home " + format + ": values equal to the simulator's", Value: float64(c.Values), Unit: "values", OK: c.good(),
			Note: fmt.Sprintf("%d rows, %d wrong, %d missing, %d too many %s, %.1f s", c.Rows, c.Wrong, c.Missing, c.Extra, c.First, time.Since(begun).Seconds()),
		})
	}
	return nil
}

// fill fills in the form and presses its button.
const fill = `((from, to, format) => {
  const local = ms => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 23);
  document.querySelector('#home').click();
  document.querySelector('#take-from').value = local(from);
  document.querySelector('#take-to').value = local(to);
  document.querySelector('#take-form input[name=format][value=' + format + ']').checked = true;
  document.querySelector('#take-go').click();
})`

func (s *suite) download(ctx context.Context, format string, fromMS, toMS int64) (string, error) {
	dir := filepath.Join(s.cfg.Dir, "downloads")
	before, err := files(dir)
	if err != nil {
		return "", err
	}
	// Two formats may come as archives of the same name.
	for name := range before {
		if err := os.Remove(name); err != nil {
			return "", fmt.Errorf("pagetest: downloads: %w", err)
		}
	}
	if err := s.page.Eval(fmt.Sprintf("%s(%d, %d, %q)", fill, fromMS, toMS, format), nil); err != nil {
		return "", err
	}
	if format == "csv" {
		s.snap("take")
	}
	var file string
	err = wait(ctx, 30*time.Second, "download as "+format, func() bool {
		now, lerr := files(dir)
		for name := range now {
			if lerr == nil && filepath.Ext(name) != ".crdownload" && filepath.Base(name)[0] != '.' {
				file = name
			}
		}
		return file != ""
	})
	var note string
	if err != nil {
		err = errors.Join(err, s.page.Eval("document.querySelector('#take-note').textContent", &note))
		err = fmt.Errorf("%w; the form says %q", err, note)
	}
	return file, errors.Join(err, s.page.Eval("document.querySelector('#take').close()", nil))
}

func files(dir string) (map[string]bool, error) {
	l, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("pagetest: downloads: %w", err)
	}
	out := map[string]bool{}
	for _, e := range l {
		out[filepath.Join(dir, e.Name())] = true
	}
	return out, nil
}

// readTables reads a file with the programs that people use for it.
func (s *suite) readTables(ctx context.Context, file string) ([]Table, error) {
	cmd := exec.CommandContext(ctx, s.cfg.Python, "-B", s.cfg.Reader, file)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("pagetest: read %s: %w: %s", filepath.Base(file), err, errs.String())
	}
	return parseTables(out)
}

func parseTables(out []byte) ([]Table, error) {
	var tables []Table
	lines := bufio.NewReader(bytes.NewReader(out))
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 {
			return tables, nil
		}
		if err != nil {
			return nil, fmt.Errorf("pagetest: table: %w", err)
		}
		var raw struct {
			TSNS    []json.Number        `json:"ts_ns"`
			BootNS  []json.Number        `json:"boot_ns"`
			Columns map[string][]*string `json:"columns"`
		}
		if err := json.Unmarshal(line, &raw); err != nil {
			return nil, fmt.Errorf("pagetest: table: %w", err)
		}
		t := Table{Columns: map[string][]*float64{}}
		for i := range raw.TSNS {
			ts, err1 := strconv.ParseInt(raw.TSNS[i].String(), 10, 64)
			boot, err2 := strconv.ParseInt(raw.BootNS[i].String(), 10, 64)
			if err := errors.Join(err1, err2); err != nil {
				return nil, fmt.Errorf("pagetest: table: time: %w", err)
			}
			t.TSNS, t.BootNS = append(t.TSNS, ts), append(t.BootNS, boot)
		}
		for name, cells := range raw.Columns {
			if len(cells) != len(t.TSNS) {
				return nil, fmt.Errorf("pagetest: table: %s has %d cells in %d rows", name, len(cells), len(t.TSNS))
			}
			for _, c := range cells {
				var x *float64
				if c != nil {
					v, err := strconv.ParseFloat(*c, 64)
					if err != nil {
						return nil, fmt.Errorf("pagetest: table: %s: %w", name, err)
					}
					x = &v
				}
				t.Columns[name] = append(t.Columns[name], x)
			}
		}
		tables = append(tables, t)
	}
}

// replay replays a lap in the page, and makes it faster.
func (s *suite) replay(context.Context) error {
	if err := s.page.Go(s.wall() + "&view=past"); err != nil {
		return err
	}
	const button = "document.querySelector('#sessions button[aria-label=\"Replay lap 1\"]')"
	if _, err := s.page.Wait(20*time.Second, button); err != nil {
		return err
	}
	// Words that the replay's car has no channel for until its rows come.
	if err := s.page.Eval("(() => { const q = document.querySelector('#q'); q.value = 'yaw'; q.dispatchEvent(new Event('input')); })()", nil); err != nil {
		return err
	}
	if err := s.page.Eval(button+".click()", nil); err != nil {
		return err
	}
	took, err := s.page.Wait(20*time.Second, "document.querySelector('#transport').dataset.replay && !document.querySelector('#transport').hidden && document.querySelector('#car').value.includes('~')")
	s.l.check("a lap is replayed in the page", err == nil, "%v", err)
	if err != nil {
		return nil
	}
	s.l.told("the replay was there after", ms(took), "ms")
	if _, err := s.page.Wait(15*time.Second, "[...document.querySelectorAll('[data-plot]')].every(p => Number(p.dataset.newest) > 0)"); err != nil {
		return err
	}
	_, err = s.page.Wait(10*time.Second, "[...document.querySelectorAll('#found [role=option]')].some(o => o.textContent.includes('yaw_rate'))")
	s.l.check("the search finds the replay's channels when they come", err == nil, "%v", err)
	one, err := s.pace(2000)
	if err != nil {
		return err
	}
	s.l.put(Result{Name: "a replay at ×1 runs at", Value: one, Unit: "×", OK: one > 0.9 && one < 1.1})
	if err := s.page.Eval("(() => { const e = document.querySelector('#speed'); e.value = '5'; e.dispatchEvent(new Event('change', {bubbles: true})); })()", nil); err != nil {
		return err
	}
	if _, err := s.page.Wait(5*time.Second, "document.querySelector('#transport').dataset.speed === '5'"); err != nil {
		return err
	}
	five, err := s.pace(2000)
	if err != nil {
		return err
	}
	s.l.put(Result{Name: "a replay at ×5 runs at", Value: five, Unit: "×", OK: five > 4.25 && five < 5.75})
	var links int
	if err := s.page.Eval("document.querySelectorAll('[data-link]').length", &links); err != nil {
		return err
	}
	s.l.put(Result{Name: "recorded links are shown with it", Value: float64(links), Unit: "links", OK: links == 3})
	_, err = s.page.Wait(15*time.Second, "document.querySelector('#map').clientWidth > 0 && Number(document.querySelector('[data-map]').dataset.points) > 20")
	s.l.check("the track of the replay is drawn", err == nil, "%v", err)
	s.snap("replay")
	if err := s.page.Eval("document.querySelector('#replay-end').click()", nil); err != nil {
		return err
	}
	_, err = s.page.Wait(10*time.Second, "document.querySelector('#transport').hidden && !document.querySelector('#car').value.includes('~')")
	s.l.check("the replay ends", err == nil, "%v", err)
	return nil
}

// pace returns how fast the newest value drawn moves on.
func (s *suite) pace(waitMS int) (float64, error) {
	var v float64
	err := s.page.Eval(fmt.Sprintf("(async () => { const t0 = performance.now(), a = %s; await new Promise(f => setTimeout(f, %d)); return (%s - a) / (performance.now() - t0); })()", newest, waitMS, newest), &v)
	return v, err
}
