// map owns the track: the line that the car has driven, where it is now (or under
// the cursor), and where other cars are that tell their place.

import { api, carPath } from "./net.js";
import { $, put, show } from "./dom.js";
import { colors, onTheme } from "./theme.js";

const againMS = 20_000; // the line is asked for again
const nearMS = 2000; // a position may be so far from the time that is looked at
const triesMS = 2_000; // while there is none

// project returns a function from [lat, lon] to metres east and north of the
// middle of bounds: good enough for a circuit. Pure.
export function project(line) {
  let s = Infinity, n = -Infinity, w = Infinity, e = -Infinity;
  for (const [lat, lon] of line) {
    s = Math.min(s, lat);
    n = Math.max(n, lat);
    w = Math.min(w, lon);
    e = Math.max(e, lon);
  }
  const lat0 = (s + n) / 2, lon0 = (w + e) / 2, k = 111_320, kx = k * Math.cos((lat0 * Math.PI) / 180);
  return { at: (lat, lon) => [(lon - lon0) * kx, (lat - lat0) * k], width: (e - w) * kx, height: (n - s) * k };
}

export class TrackMap {
  // values are the newest values by id; view() is {store, at}: the bins that are
  // shown and the time that is looked at, NaN: now; watch() is called when other
  // channels are needed.
  constructor(values, view, watch) {
    this.values = values;
    this.view = view;
    this.bin = [0, 0, 0];
    this.watch = watch;
    this.canvas = $("map");
    this.car = "";
    this.track = null; // {lat_id, lon_id, line}
    this.others = []; // [{car, pos}]
    this.at = [NaN, NaN];
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    onTheme(() => this.draw());
    setInterval(() => this.tick(), 100);
  }

  get ids() {
    return this.track ? [this.track.lat_id, this.track.lon_id] : [];
  }

  use(car) {
    this.car = car;
    this.track = null;
    this.at[0] = this.at[1] = NaN;
    this.known();
    put($("map-at"), "");
    this.ask();
    this.draw();
  }

  // known shows the track, or that there is none.
  known() {
    show(this.canvas, Boolean(this.track));
    show($("map-none"), !this.track);
  }

  async ask() {
    clearTimeout(this.timer);
    const car = this.car;
    if (!car) return;
    let t = null;
    if (!document.hidden) t = await api(carPath(car, "/track")).catch(() => null);
    if (car !== this.car) return;
    const before = this.ids.join();
    if (t?.line?.length > 1) {
      this.track = t;
      this.proj = project(t.line);
    }
    this.timer = setTimeout(() => this.ask(), t?.line?.length > 20 ? againMS : triesMS);
    this.known();
    if (before !== this.ids.join()) this.watch();
    $("map-box").dataset.points = String(this.track?.line.length ?? 0);
    this.dirty = true;
  }

  tick() {
    if (document.hidden || !this.track) return;
    const [a, b] = this.at;
    if (!this.place(this.at)) this.at[0] = this.at[1] = NaN;
    if (this.dirty || a !== this.at[0] || b !== this.at[1]) this.draw();
  }

  // place writes the car's latitude and longitude into out, and reports whether
  // they are known.
  place(out) {
    const { store, at } = this.view();
    for (let i = 0; i < 2; i++) {
      const id = this.ids[i];
      if (at !== at) out[i] = this.values.get(id) ?? NaN;
      else out[i] = store.series.get(id)?.at(at, nearMS, this.bin) ? (this.bin[0] + this.bin[1]) / 2 : NaN;
    }
    return out[0] === out[0] && out[1] === out[1];
  }

  draw() {
    this.dirty = false;
    const c = this.canvas, ratio = devicePixelRatio || 1, w = c.clientWidth, h = c.clientHeight;
    if (!w || !h) return;
    if (c.width !== Math.round(w * ratio) || c.height !== Math.round(h * ratio)) {
      c.width = Math.round(w * ratio);
      c.height = Math.round(h * ratio);
    }
    const g = c.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, h);
    const line = this.track?.line;
    if (!line?.length) return;
    const pad = 16, p = this.proj;
    const k = Math.min((w - 2 * pad) / Math.max(p.width, 1), (h - 2 * pad) / Math.max(p.height, 1));
    const xy = (lat, lon) => {
      const [x, y] = p.at(lat, lon);
      return [w / 2 + x * k, h / 2 - y * k];
    };
    g.lineJoin = g.lineCap = "round";
    g.beginPath();
    for (const [lat, lon] of line) g.lineTo(...xy(lat, lon));
    g.strokeStyle = colors.track;
    g.lineWidth = 4;
    g.stroke();
    for (const o of this.others) this.dot(g, xy(...o.pos), 4, colors.soft, o.car);
    const [lat, lon] = this.at;
    if (lat === lat && lon === lon) this.dot(g, xy(lat, lon), 6, colors.accent, "");
    const label = lat === lat ? `Track; the car is at ${lat.toFixed(5)}, ${lon.toFixed(5)}` : "Track; where the car is is not known";
    if (!this.labelled || performance.now() - this.labelled > 2000) {
      this.labelled = performance.now();
      c.setAttribute("aria-label", label);
      put($("map-at"), lat === lat ? `${lat.toFixed(5)}, ${lon.toFixed(5)}` : "");
    }
  }

  dot(g, [x, y], r, color, name) {
    g.beginPath();
    g.arc(x, y, r, 0, 7);
    g.fillStyle = color;
    g.fill();
    g.strokeStyle = colors.card;
    g.lineWidth = 2;
    g.stroke();
    if (!name) return;
    g.font = '10px system-ui, "DejaVu Sans", sans-serif';
    g.fillStyle = colors.text;
    g.fillText(name, x + r + 3, y + 3);
  }
}
