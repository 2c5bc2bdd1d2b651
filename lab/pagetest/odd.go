package pagetest

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// manyChannels lets the server of a page answer the search for "many" with 450 channels
// of ten groups, and all other requests as ever.
const manyChannels = `(() => {
  const real = window.fetch, all = Array.from({length: 450}, (_, i) => ({id: 90000 + i, name: 'many_' + String(i).padStart(3, '0'), group: 'group ' + i % 10, unit: 'V'}));
  window.fetch = (url, options) => {
    const q = new URL(url, location.href).searchParams, at = Number(q.get('offset'));
    if (q.get('q') !== 'many') return real(url, options);
    return Promise.resolve(new Response(JSON.stringify({described: 0, total: all.length, offset: at, channels: all.slice(at, at + 200)})));
  };
})()`

// marked is the number of the marked option, "none" without one, how many are listed, and
// whether the marked one is in sight.
const marked = `(() => {
  const all = [...document.querySelectorAll('#found [role=option]')], i = all.findIndex(o => o.getAttribute('aria-selected') === 'true');
  if (i < 0) return 'none';
  const box = document.querySelector('#found').parentElement.getBoundingClientRect(), row = all[i].getBoundingClientRect();
  return i + ' of ' + all.length + (row.top >= box.top - 1 && row.bottom <= box.bottom + 1 ? '' : ' out of sight');
})()`

// notOwn are cars, times and links as no car of the suite has them; it returns what the
// page says of them.
const notOwn = `(async () => {
  const load = name => import(new URL(name, location.href).href), out = {};
  const { behind, tiles } = await load('report.js'), { Fleet } = await load('fleet.js'), { Strips } = await load('strips.js');
  const notice = () => document.querySelector('#notices [data-cause=old]')?.textContent ?? '';
  const now = 1790000000000, lane = { lane: 'full', rows_s: 0, lag_ms: 0, holes: 0, missing: 0, late: 0, newest_ms: now - 86400000 };
  const car = { car: 'c', now_ms: now, seen_ms: now, lanes: [lane], links: [], sequence: true };
  let asked = 0;
  behind(car, 10000, ms => { asked = ms; });
  out.old = notice();
  document.querySelector('#notices [data-cause=old] button')?.click();
  out.asked = asked - lane.newest_ms;
  behind({ ...car, seen_ms: now - 600000, lanes: [{ ...lane, newest_ms: now - 600000 }] }, 10000, () => {});
  out.silent = notice().replace(/\d\d\d\d-.*\d\d:\d\d:\d\d/, 'then');
  behind({ ...car, lanes: [{ ...lane, newest_ms: now - 100 }] }, 10000, () => {});
  out.fresh = notice();
  behind(car, Infinity, () => {});
  out.elsewhere = notice();
  const links = [{ name: 'a', state: '', heard_ms: 20 }, { name: 'b', state: '', heard_ms: 9000 }], tile = d => { tiles(d, 0); return document.querySelector('#t-links').textContent; };
  out.links = [tile({ ...car, links }), tile({ ...car, links: links.map(l => ({ ...l, state: 'up' })) }), tile({ ...car, links: links.map(l => ({ ...l, state: 'up' })), seen_ms: now - 60000 })].join();
  const s = new Strips(() => ({}), () => null);
  s.take({ ...car, lanes: [lane] });
  out.lane = s.lanes.get('full').state.textContent;
  s.clear();
  const f = new Fleet(() => {}), one = (name, silent) => ({ car: name, seen_ms: now - silent, links: 2, links_up: 2, lag_ms: 0, holes: 0, missing: 0, lap: 0, channels: 1, session: '' });
  const cars = ['a-silent', 'b-sends', 'c-silent', 'd-sends'].map(n => one(n, n.includes('sends') ? 100 : 600000));
  f.take({ now_ms: now, cars }, '');
  f.take({ now_ms: now, cars: cars.map(c => c.car === 'c-silent' ? { ...c, seen_ms: now } : c) }, '');
  out.fleet = [...f.body.rows].map(r => r.cells[0].textContent + ' ' + r.cells[2].textContent).join();
  out.count = document.querySelector('#fleet-count').textContent;
  f.body.parentElement.remove();
  return JSON.stringify(out);
})()`

// wantNotOwn is what the page is to say of them.
const wantNotOwn = `{"old":"The newest values of c are 24 h old: its clock is wrong, or it sends first what it has kept. Show them","asked":0,` +
	`"silent":"c has been silent since then. Show them","fresh":"","elsewhere":"","links":"1 of 2 heard,2 of 2 up,–","lane":"· quiet",` +
	`"fleet":"b-sends 2 of 2,c-silent 2 of 2,d-sends 2 of 2,a-silent –","count":"4 cars, 3 of them send"}`

// standing are the legends whose value or unit stands on what is beside it.
const standing = `[...document.querySelectorAll('.legend li')].filter(li => {
  const [name, value, unit] = ['.name', 'b', '.unit'].map(s => li.querySelector(s).getBoundingClientRect());
  const word = document.createRange();
  word.selectNodeContents(li.querySelector('b'));
  return name.right > value.left + 1 || word.getBoundingClientRect().right > (unit.width ? unit.left : li.getBoundingClientRect().right) + 1;
}).map(li => li.textContent).join(', ')`

// odd looks at what no car of the suite has by itself: thousands of channels found, a
// silent car, a wrong clock, legends without room, and the browser's Back.
func (s *suite) odd(ctx context.Context) error {
	p, err := s.browser.Open(desktop, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Go(s.wall()); err != nil {
		return err
	}
	if _, err := p.Wait(20*time.Second, "__lab.ready > 0"); err != nil {
		return err
	}
	if err := s.search(p); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	if err := s.back(p); err != nil {
		return fmt.Errorf("back: %w", err)
	}
	if err := s.legends(p); err != nil {
		return fmt.Errorf("legends: %w", err)
	}
	var got string
	if err := p.Eval(notOwn, &got); err != nil {
		return err
	}
	s.l.check("silent cars, wrong clocks and links without a state are told", got == wantNotOwn, "%s, want %s", got, wantNotOwn)
	return ctx.Err()
}

// search finds the best channel first, and goes on behind the end of the list by keyboard.
func (s *suite) search(p *Page) error {
	if err := p.Eval("document.activeElement.blur()", nil); err != nil {
		return err
	}
	if err := p.Keys("/speed"); err != nil {
		return err
	}
	const first = "document.querySelector('#found [aria-selected=true] .name')?.textContent"
	_, err := p.Wait(5*time.Second, first+" === 'speed'")
	s.l.check("the channel that has the name is found first", err == nil, "%v", err)
	if err := p.Eval("document.querySelector('#q').select(); "+manyChannels, nil); err != nil {
		return err
	}
	if err := p.Keys("many"); err != nil {
		return err
	}
	if _, err := p.Wait(5*time.Second, marked+" === '0 of 200'"); err != nil {
		return err
	}
	const press = "document.querySelector('#q').dispatchEvent(new KeyboardEvent('keydown', {key: 'PageDown', bubbles: true, cancelable: true}))"
	if err := p.Eval("for (let i = 0; i < 20; i++) "+press, nil); err != nil {
		return err
	}
	if _, err := p.Wait(3*time.Second, marked+" === '199 of 200'"); err != nil {
		return err
	}
	// A list that is read again just then, because the car has told more, needs another key.
	_, err = p.Wait(5*time.Second, "(at => at.startsWith('199 of') ? ("+press+", false) : at.endsWith(' of 400') && parseInt(at) > 199)("+marked+")")
	var at string
	if err := p.Eval(marked, &at); err != nil {
		return err
	}
	s.l.check("the keyboard goes on behind the end of a list", err == nil && !strings.Contains(at, "sight"), "%s, %v", at, err)
	if err := p.Eval("document.querySelector('#more').click()", nil); err != nil {
		return err
	}
	_, err = p.Wait(5*time.Second, marked+".includes(' of 450')")
	var after string
	if err := p.Eval(marked, &after); err != nil {
		return err
	}
	s.l.check("more channels leave the list where it was", err == nil && !strings.HasPrefix(after, "0 of") && !strings.HasPrefix(after, "none"), "%s, then %s, %v", at, after, err)
	return p.Eval("document.querySelector('#q').value = ''; document.activeElement.blur()", nil)
}

// back goes to another view and back.
func (s *suite) back(p *Page) error {
	for _, step := range []struct{ act, view string }{
		{"document.querySelector('#to-fleet').click()", "fleet"},
		{"document.querySelector('#to-past').click()", "past"},
		{"history.back()", "fleet"},
		{"history.back()", "wall"},
		{"history.forward()", "fleet"},
		{"history.back()", "wall"},
	} {
		if err := p.Eval(step.act, nil); err != nil {
			return err
		}
		where := fmt.Sprintf("document.body.dataset.view === %q && (new URLSearchParams(location.hash.slice(1)).get('view') ?? 'wall') === %[1]q", step.view)
		if _, err := p.Wait(5*time.Second, where); err != nil {
			s.l.check("the browser's Back leads through the views", false, "%s: %v", step.act, err)
			return nil
		}
	}
	_, err := p.Wait(10*time.Second, "[...document.querySelectorAll('[data-plot]')].some(p => p.dataset.newest)")
	s.l.check("the browser's Back leads through the views", err == nil, "%v", err)
	return nil
}

// legends makes plots narrow, and looks whether words stand on each other.
func (s *suite) legends(p *Page) error {
	for _, look := range []Look{{Name: "768", Width: 768, Height: 1024}, phone} {
		if err := p.Show(look); err != nil {
			return err
		}
		_, err := p.Wait(5*time.Second, "[...document.querySelectorAll('.legend b')].every(b => b.textContent !== '–') && ("+standing+") === ''")
		var on string
		if err := p.Eval(standing, &on); err != nil {
			return err
		}
		s.l.check("legends on "+look.Name+" stand apart", err == nil, "%s, %v", on, err)
	}
	return p.Show(desktop)
}
