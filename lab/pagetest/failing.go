package pagetest

import (
	"context"
	"path/filepath"
	"time"
)

// withoutPast lets readings of the past fail from now on: that of the sessions breaks off,
// that of two laps gets no answer, what-if gets the page of a proxy.
const withoutPast = `(() => {
  const ask = window.fetch;
  window.fetch = (url, o = {}) => {
    if (url.includes('/sessions')) return Promise.resolve(new Response(new ReadableStream({ start(c) { c.error(new TypeError('network error')); } }), { headers: { 'Content-Type': 'application/json' } }));
    if (url.includes('/compare')) return new Promise((_, no) => o.signal?.addEventListener('abort', () => no(o.signal.reason)));
    if (url.includes('/whatif')) return Promise.resolve(new Response('<html>504</html>', { status: 504 }));
    return ask(url, o);
  };
  document.querySelector('#past-again').click();
  document.querySelector('#swap').click();
  document.querySelector('#whatif-form').requestSubmit();
})()`

// failing looks whether readings of the past that fail, or take long, are told with what
// can be done.
func (s *suite) failing(context.Context) error {
	for _, look := range []Look{desktop, phone} {
		p, err := s.browser.Open(look, false)
		if err != nil {
			return err
		}
		err = s.failingOn(p, look)
		p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) failingOn(p *Page, look Look) error {
	if err := p.Go(s.wall() + "&view=past"); err != nil {
		return err
	}
	if _, err := p.Wait(20*time.Second, "Number(document.querySelector('[data-compare]').dataset.points) > 0 && document.querySelector('#whatif-session').value !== ''"); err != nil {
		return err
	}
	if err := p.Eval(withoutPast, nil); err != nil {
		return err
	}
	for _, c := range []struct{ name, at, words string }{
		{"sessions that cannot be read", "#past-note", "broke off before it was whole: try again"},
		{"a what-if that a proxy ends", "#whatif-note", "waited for too long: choose a shorter time"},
		{"laps that take long", "#compare-note", "It takes long: a shorter time or fewer channels are read sooner."},
	} {
		said := "document.querySelector('" + c.at + "').textContent"
		_, err := p.Wait(15*time.Second, said+".includes("+quote(c.words)+")")
		var got string
		if err := p.Eval(said, &got); err != nil {
			return err
		}
		s.l.check(c.name+" say what to do on "+look.Name, err == nil, "%q", got)
	}
	var over float64
	if err := p.Eval("document.documentElement.scrollWidth - document.documentElement.clientWidth", &over); err != nil {
		return err
	}
	s.l.atMost("failures on "+look.Name+": wider than the screen by", over, 0, "px")
	return p.Picture(filepath.Join(s.cfg.Dir, "failing-"+look.Name+".png"), look.Phone)
}
