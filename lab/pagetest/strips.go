package pagetest

import (
	"context"
	"path/filepath"
	"strings"
	"time"
)

// linkNames lists the strips of links.
const linkNames = "[...document.querySelectorAll('[data-link]')].map(e => e.dataset.link).sort().join()"

// renamed gives strips of their own a car whose links get their names late.
const renamed = `(async () => {
  const { Strips } = await import(new URL('strips.js', location.href).href);
  const none = { state: null, share: null, signal: null, fresh: false }, s = new Strips(() => none, () => null);
  const link = name => ({ name, state: '', rtt_ms: null, rate_bs: null, in_flight: null, time_ms: 0, heard_ms: 5, in_bs: 1 });
  const lane = lane => ({ lane, rows_s: 0, lag_ms: null, holes: null, missing: 0, late: 0, newest_ms: 0 });
  const take = (links, lanes) => { s.take({ links: links.map(link), lanes: lanes.map(lane), now_ms: 1 }); return [...s.links.keys(), ...s.lanes.keys()].join() + ' ' + [...s.links.values(), ...s.lanes.values()].every(x => x.row.isConnected); };
  const first = take(['link 0', 'link 1'], ['full', 'odd']), rows = [...s.links.values(), s.lanes.get('odd')].map(x => x.row);
  const then = take(['early', 'link 1'], ['full']), last = take(['early', 'late'], ['full']);
  const left = rows.filter(r => r.isConnected).length;
  s.clear();
  return [first, then, last, left].join('; ');
})()`

// drawn is true when a strip shows something: the newest part of its width, 4 %, is left
// out, which is what a page has seen for 5 s.
func drawn(row string) string {
	return `(c => {
  if (!c?.width) return false;
  const own = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
  own.drawImage(c, 0, 0);
  return own.getImageData(0, 0, Math.floor(c.width * 0.96), c.height).data.some(x => x > 0);
})(document.querySelector('` + row + ` canvas.spark'))`
}

// strips looks whether the strips are those of the links that the car names, and whether
// they know that one of them was dead, and what the lanes were, before the page was opened.
func (s *suite) strips(context.Context) error {
	var got string
	if err := s.page.Eval(renamed, &got); err != nil {
		return err
	}
	const want = "link 0,link 1,full,odd true; link 1,early,full true; early,late,full true; 0"
	s.l.check("strips that a report no longer lists go", got == want, "%s, want %s", got, want)
	_, err := s.page.Wait(10*time.Second, linkNames+" === "+quote(strings.Join([]string{"lte-a", "lte-b", "sat-c"}, ",")))
	s.l.check("a strip for each link, and no other", err == nil, "%v", err)
	p, err := s.browser.Open(desktop, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Go(s.wall()); err != nil {
		return err
	}
	took, err := p.Wait(4*time.Second, drawn(`[data-link="lte-a"]`)+" && "+drawn(`[data-lane="full"]`))
	s.l.check("a strip knows that its link was dead, and what its lane was", err == nil, "%v", err)
	s.l.told("they knew after", ms(took), "ms")
	return p.Picture(filepath.Join(s.cfg.Dir, "strips.png"), false)
}
