package pagetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// views of the page by address.
func views() []struct{ name, hash string } {
	return []struct{ name, hash string }{
		{"wall", "&p=" + wallPlots},
		{"past", "&p=" + wallPlots + "&view=past"},
		{"fleet", "&view=fleet"},
	}
}

// shown is true when a view has what it is for.
func shown(view string) string {
	switch view {
	case "past":
		return "Number(document.querySelector('[data-compare]').dataset.points) > 0"
	case "fleet":
		return "document.querySelectorAll('#fleet tbody tr').length > 0 && document.body.dataset.conn === 'live'"
	}
	return "__lab.ready > 0 && document.querySelectorAll('[data-link]').length === 3 && Number(document.querySelector('[data-map]').dataset.points) > 50"
}

// looks takes pictures of every view in every look, and lets axe judge them.
func (s *suite) looks(context.Context) error {
	axe, err := os.ReadFile(s.cfg.Axe)
	if err != nil {
		return fmt.Errorf("pagetest: axe: %w", err)
	}
	for _, look := range []Look{desktop, desktop.dark(), phone, phone.dark()} {
		p, err := s.browser.Open(look, false)
		if err != nil {
			return err
		}
		for _, v := range views() {
			if err := s.look(p, look, v.name, v.hash, string(axe)); err != nil {
				s.l.put(Result{Name: v.name + " on " + look.Name, Note: err.Error()})
			}
		}
		for _, f := range p.Faults() {
			s.l.put(Result{Name: "console on " + look.Name, Note: f})
		}
		p.Close()
	}
	return nil
}

func (s *suite) look(p *Page, look Look, view, hash, axe string) error {
	if err := p.Go("about:blank"); err != nil { // else the address changes, and the page stays
		return err
	}
	if err := p.Go(s.url + "#car=" + carName + hash); err != nil {
		return err
	}
	if _, err := p.Wait(30*time.Second, shown(view)); err != nil {
		return err
	}
	if view == "wall" {
		if err := p.moveOn(1500 * time.Millisecond); err != nil { // for the picture
			return err
		}
	}
	if err := s.portrait(p, look, view); err != nil {
		return err
	}
	var over float64
	if err := p.Eval("document.documentElement.scrollWidth - document.documentElement.clientWidth", &over); err != nil {
		return err
	}
	s.l.atMost(view+" on "+look.Name+": wider than the screen by", over, 0, "px")
	if view != "fleet" { // A and B are at the end of a row
		if err := p.Eval("Math.max(...[...document.querySelectorAll('.laps')].map(t => t.parentElement.scrollWidth - t.parentElement.clientWidth))", &over); err != nil {
			return err
		}
		s.l.atMost(view+" on "+look.Name+": laps wider than their box by", over, 0, "px")
	}
	return s.axe(p, view+" on "+look.Name, axe)
}

// portrait takes the picture of a view; that of a phone is as long as the page, so that
// all of it is drawn.
func (s *suite) portrait(p *Page, look Look, view string) error {
	path := filepath.Join(s.cfg.Dir, view+"-"+look.Name+".png")
	if !look.Phone {
		return p.Picture(path, false)
	}
	long := look
	if err := p.Eval("document.documentElement.scrollHeight", &long.Height); err != nil {
		return err
	}
	if err := p.Show(long); err != nil {
		return err
	}
	if view == "wall" {
		if _, err := p.Wait(5*time.Second, "[...document.querySelectorAll('[data-plot]')].every(p => p.dataset.newest)"); err != nil {
			return err
		}
	}
	return errors.Join(p.Picture(path, false), p.Show(look))
}

// newest is the time of the newest value of the plots, UTC ms.
const newest = "Math.max(...[...document.querySelectorAll('[data-plot]')].map(p => Number(p.dataset.newest)))"

// moveOn waits until the plots show so much more time.
func (p *Page) moveOn(by time.Duration) error {
	var now float64
	if err := p.Eval(newest, &now); err != nil {
		return err
	}
	_, err := p.Wait(10*time.Second+2*by, fmt.Sprintf("%s >= %f", newest, now+ms(by)))
	return err
}

// axe counts serious and critical faults.
func (s *suite) axe(p *Page, name, axe string) error {
	if err := p.Eval(axe+"; 0", nil); err != nil {
		return err
	}
	var found []struct{ ID, Impact, Help, Where string }
	err := p.Eval(`axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, Where: v.nodes.slice(0, 3).map(n => n.target.join(' ')).join(', ')})))`, &found)
	if err != nil {
		return err
	}
	grave, other := []string{}, []string{}
	for _, f := range found {
		text := fmt.Sprintf("%s %s: %s at %s", f.Impact, f.ID, f.Help, f.Where)
		if f.Impact == "serious" || f.Impact == "critical" {
			grave = append(grave, text)
		} else {
			other = append(other, text)
		}
	}
	bar := 0.0
	s.l.put(Result{Name: name + ": serious faults of axe", Value: float64(len(grave)), Bar: &bar, OK: len(grave) == 0, Note: strings.Join(append(grave, other...), "; ")})
	return nil
}

// roles looks what the three roles may do, and what nobody may.
func (s *suite) roles(ctx context.Context) error {
	if s.token.viewer == "" {
		return nil
	}
	nobody := &API{base: s.url}
	for _, path := range []string{"cars", "events?car=" + carName, "cars/" + carName + "/export?format=csv&from=1&to=2", "status", "replays"} {
		res, _, err := nobody.do(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		s.l.check("nobody gets "+strings.SplitN(path, "?", 2)[0], res.StatusCode == 401, "%s", res.Status)
	}
	viewer := &API{base: s.url}
	if err := viewer.Login(ctx, s.token.viewer); err != nil {
		return err
	}
	for path, want := range map[string]int{"cars": 200, "cars/" + carName + "/sessions": 403, "status": 403} {
		res, _, err := viewer.do(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		s.l.check("a viewer's "+path, res.StatusCode == want, "%s, want %d", res.Status, want)
	}
	return nil
}

// console says what the console complained of in the page that was open all along.
func (s *suite) console(context.Context) error {
	faults := s.page.Faults()
	s.l.check("no errors in the console", len(faults) == 0, "%s", strings.Join(faults, "; "))
	return nil
}
