package pagetest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// watchLabels notes from now on which texts of one drawing of a canvas stand on each
// other, with a pixel of air around each. look() counts the texts of what was drawn last.
const watchLabels = `(() => {
  const proto = CanvasRenderingContext2D.prototype, fill = proto.fillText, clear = proto.clearRect, texts = new Map();
  const lab = window.__labels = {drawings: 0, over: new Set()};
  const check = list => list.forEach((p, i) => list.slice(i + 1).forEach(q => {
    if (p.l < q.r && q.l < p.r && p.t < q.b && q.t < p.b && lab.over.size < 5) lab.over.add(p.text + ' on ' + q.text);
  }));
  lab.look = () => [...texts.values()].reduce((n, list) => (check(list), n + list.length), 0);
  proto.fillText = function (text, x, y, ...rest) {
    if (String(text).trim()) {
      const m = this.measureText(text), air = devicePixelRatio, t = this.getTransform();
      if (!texts.has(this.canvas)) texts.set(this.canvas, []);
      texts.get(this.canvas).push({text, l: t.e + x - m.actualBoundingBoxLeft - air, r: t.e + x + m.actualBoundingBoxRight + air, t: t.f + y - m.actualBoundingBoxAscent - air, b: t.f + y + m.actualBoundingBoxDescent + air});
    }
    return fill.call(this, text, x, y, ...rest);
  };
  proto.clearRect = function (...a) {
    if (texts.has(this.canvas)) {
      check(texts.get(this.canvas));
      texts.delete(this.canvas);
      lab.drawings++;
    }
    return clear.apply(this, a);
  };
})()`

// labels looks whether labels of charts stand on each other, on plots of all sizes.
func (s *suite) labels(context.Context) error {
	const small = "&p=speed!1x1;engine_rpm,throttle!1x1;g_lat,g_long!1x1;damper_fl!1x1;brake_pressure_front!1x1;steering_angle!1x1;gear!1x1;lambda!1x1"
	for _, c := range []struct {
		name string
		look Look
		hash string
	}{
		{"desktop", desktop, "&p=" + wallPlots},
		{"desktop, 2 s", desktop, "&span=2&p=" + wallPlots},
		{"desktop, small plots", desktop, "&cols=8&span=5" + small},
		{"desktop, small plots of a minute", desktop, "&cols=6&span=60" + small},
		{"phone", phone, "&p=" + wallPlots},
		{"phone, small plots", phone, "&cols=3&span=2" + small},
		{"comparison", desktop, "&view=past&p=" + wallPlots},
		{"comparison on a phone", phone, "&view=past&by=time&p=" + wallPlots},
	} {
		if err := s.labelsOf(c.look, c.name, c.hash); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (s *suite) labelsOf(look Look, name, hash string) error {
	p, err := s.browser.Open(look, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Go(s.url + "#car=" + carName + hash); err != nil {
		return err
	}
	shown, act, enough := "__lab.ready > 0", "", "__labels.drawings >= 150"
	if strings.Contains(hash, "view=past") { // it stands still, and is drawn when other laps are chosen
		shown, act = "Number(document.querySelector('[data-compare]').dataset.points) > 0", "; document.querySelector('#swap').click()"
		enough = "__labels.look() > 10"
	}
	if _, err := p.Wait(20*time.Second, shown); err != nil {
		return err
	}
	if err := p.Eval(watchLabels+act, nil); err != nil {
		return err
	}
	if _, err := p.Wait(20*time.Second, enough); err != nil {
		return err
	}
	var over string
	if err := p.Eval("[...__labels.over].join(', ')", &over); err != nil {
		return err
	}
	s.l.check("labels on "+name+" stand apart", over == "", "%s", over)
	return p.Picture(filepath.Join(s.cfg.Dir, "labels-"+strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")+".png"), false)
}
