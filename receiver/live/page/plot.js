// plot owns one plot of the wall: a uPlot with several channels, a value axis per
// unit (the first two are drawn), its holes, and the legend with the values.

import { Columns } from "./series.js";
import { Range, axisSize, fits, stateText, stateTicks, ticks, tickText, timeStep } from "./scale.js";
import { draw, shade } from "./paths.js";
import { clock, day, short, unit, valueText } from "./format.js";
import { button, el, put, show } from "./dom.js";
import { colors } from "./theme.js";

const font = '11px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
const axisW = 44, axisNarrowW = 32, axisGap = 4, axisH = 18, narrowPX = 240; // CSS pixels
const legendMS = 200; // between two writings of the values

// textWidth measures a label of an axis, in CSS pixels.
const ruler = document.createElement("canvas").getContext("2d"), widths = new Map();
function textWidth(text) {
  let w = widths.get(text);
  if (w === undefined) {
    if (widths.size > 2000) widths.clear();
    ruler.font = font;
    widths.set(text, (w = ruler.measureText(text).width));
  }
  return w;
}

export class Plot {
  // spec is {names, w, h}; owner has holes, removeLine(plot, name) and menu(plot).
  constructor(spec, owner) {
    this.spec = spec;
    this.owner = owner;
    this.lines = []; // {name, channel (null: not there), scale, row}
    this.cols = new Columns();
    this.ranges = new Map(); // scale -> Range
    this.list = []; // Series of the lines
    this.data = [[]];
    this.u = null;
    this.stale = true; // the uPlot is to be built anew
    this.width = 0; // of the body, CSS pixels
    this.height = 0;
    this.visible = false;
    this.dirty = true;
    this.drawnAt = 0;
    this.legendAt = 0;
    this.spoken = "";
    this.value = [0, 0, 0];
    this.legend = el("ul", { class: "legend" });
    this.grip = el("span", { class: "grip", draggable: "true", title: "Drag to move this plot", "aria-hidden": "true", text: "⠿" });
    this.more = button("⋯", () => owner.menu(this), { class: "quiet more", "aria-label": "What can be done with this plot", "aria-haspopup": "menu" });
    this.empty = el("p", { class: "plot-empty", hidden: true });
    this.body = el("div", { class: "plot-body" }, this.empty);
    this.size = el("span", { class: "plot-size", title: "Drag to change the size", "aria-hidden": "true" });
    this.line = el("i", { class: "cursor", hidden: true });
    this.host = el("section", { class: "plot", tabindex: "0" }, el("div", { class: "plot-head" }, this.grip, this.legend, this.more), this.body, this.size);
    this.host.plot = this;
    this.host.dataset.plot = "";
    this.place();
  }

  // place takes width and height of the spec.
  place() {
    this.host.dataset.w = this.spec.w;
    this.host.style.gridColumn = `span ${this.spec.w}`;
    this.host.style.setProperty("--h", this.spec.h);
  }

  // resolve looks the channels up and builds the plot anew.
  resolve(catalogue) {
    const scales = new Map();
    this.lines = this.spec.names.map((name, i) => {
      const channel = catalogue?.byName.get(name) ?? null;
      const key = channel ? unit(channel) || (channel.enum ? `state ${name}` : "") : "";
      if (!scales.has(key)) scales.set(key, `y${scales.size}`);
      return { name, channel, scale: scales.get(key), unit: key.startsWith("state ") ? "" : key, color: i };
    });
    this.scales = [...new Set(this.lines.map((l) => l.scale))];
    for (const k of this.ranges.keys()) if (!this.scales.includes(k)) this.ranges.delete(k);
    for (const k of this.scales) if (!this.ranges.has(k)) this.ranges.set(k, new Range());
    this.host.setAttribute("aria-label", `Plot of ${this.spec.names.join(", ") || "nothing yet"}`);
    this.host.dataset.channels = this.lines.map((l) => (l.channel ? `${l.channel.group}.${l.name}` : l.name)).join(",");
    this.host.dataset.newest = ""; // that of another car
    this.drawLegend();
    this.stale = true;
    this.dirty = true;
  }

  drawLegend() {
    this.legend.classList.toggle("many", this.lines.length > 4); // more than there is room for at once
    this.legend.replaceChildren(...this.lines.map((l) => {
      l.value = el("b", { text: "–" });
      l.row = el("li", { class: l.channel ? "" : "absent", title: [l.name, l.channel?.description].filter(Boolean).join(": ") },
        el("i", { class: "swatch" }), el("span", { class: "name", text: l.name }), l.value, el("span", { class: "unit", text: l.unit }),
        button("×", () => this.owner.removeLine(this, l.name), { class: "quiet drop", "aria-label": `Remove ${l.name} from this plot` }));
      l.row.firstChild.style.background = colors.lines[l.color];
      return l.row;
    }));
  }

  // build makes the uPlot: when it is first drawn, so that a wall of many plots
  // comes up within the budget of its frames.
  build() {
    this.stale = false;
    this.u?.destroy();
    this.u = null;
    this.cols = new Columns();
    this.dirty = true;
    const w = this.width, h = this.height;
    if (w < 40 || h < 40 || !this.lines.length) return;
    const cols = this.cols;
    this.cols.size(2, this.lines.length);
    this.data = [cols.x, ...cols.hi];
    this.u = new uPlot({
      width: w, height: h, padding: [6, this.scales.length > 1 ? 0 : 8, 0, 0], legend: { show: false }, cursor: { show: false }, select: { show: false },
      scales: { x: { time: false, auto: false, min: 0, max: 1 }, ...Object.fromEntries(this.scales.map((k) => [k, { auto: false, min: 0, max: 1 }])) },
      axes: [this.timeAxis(), ...this.scales.slice(0, 2).map((k, i) => this.valueAxis(k, i))],
      series: [{}, ...this.lines.map((l) => ({
        scale: l.scale, points: { show: false }, paths: () => null,
      }))],
      hooks: { drawClear: [(u) => shade(u, this.owner.holes, performance.now())], draw: [(u) => this.lay(u)] },
    }, this.data, this.body);
    this.u.over.append(this.line);
  }

  timeAxis() {
    return {
      scale: "x", size: axisH, gap: 3, font, stroke: () => colors.soft, ticks: { show: false }, grid: { stroke: () => colors.grid, width: 1 },
      splits: (u, _, lo, hi) => {
        const step = (u.timeStep = timeStep(hi - lo, Math.max(1, u.bbox.width / devicePixelRatio / 84)));
        const out = [];
        for (let t = Math.ceil(lo / step) * step; t <= hi; t += step) out.push(t);
        return out;
      },
      values: (u, splits) => {
        const { min, max } = u.scales.x, w = u.bbox.width / devicePixelRatio, digits = u.timeStep < 10 ? 3 : u.timeStep < 100 ? 2 : u.timeStep < 1000 ? 1 : 0;
        return splits.map((t) => {
          const time = clock(t, digits), text = /^[0:.]+$/.test(time) ? day(t) : time;
          return fits(((t - min) / (max - min)) * w, textWidth(text), w) ? text : "";
        });
      },
    };
  }

  valueAxis(scale, i) {
    const state = this.lines.find((l) => l.scale === scale)?.channel?.enum;
    const least = this.width < narrowPX ? axisNarrowW : axisW;
    let size = least;
    return {
      scale, side: i ? 1 : 3, gap: axisGap, font,
      size: (_, words) => (size = axisSize(words?.reduce((w, t) => Math.max(w, textWidth(t)), 0) ?? 0, axisGap, size, least)), ticks: { show: false }, grid: { show: i === 0, stroke: () => colors.grid, width: 1 },
      stroke: () => (this.scales.length > 1 ? colors.lines[this.lines.find((l) => l.scale === scale).color] : colors.soft),
      splits: (u, _, lo, hi) => {
        if (!this.ranges.get(scale)?.known) return []; // no number is known yet
        const most = Math.max(2, u.bbox.height / devicePixelRatio / 30);
        const named = state ? stateTicks(state, lo, hi, most) : [], s = named.length > 1 ? named : ticks(lo, hi, most);
        return state ? s.filter(Number.isInteger) : s;
      },
      values: (_, s) => s.map((v) => (state?.[v] === undefined ? tickText(v, s.length > 1 ? s[1] - s[0] : Math.abs(v) || 1) : stateText(state[v], least < axisW ? 5 : 10))),
    };
  }

  // fit takes a new size, in CSS pixels.
  fit(w, h) {
    const narrow = (this.width < narrowPX) !== (w < narrowPX);
    this.width = Math.floor(w);
    this.height = Math.floor(h);
    if (!this.u || narrow) this.stale = true;
    else if (w > 40 && h > 40) this.u.setSize({ width: this.width, height: this.height });
    this.dirty = true;
  }

  // draw shows [from, to] of a store.
  draw(store, from, to, nowMS) {
    this.dirty = false;
    this.drawnAt = nowMS;
    if (this.stale) this.build();
    if (!this.u) return;
    const u = this.u, cols = this.cols;
    for (let j = 0; j < this.lines.length; j++) this.list[j] = (this.lines[j].channel && store.series.get(this.lines[j].channel.id)) || null;
    this.list.length = this.lines.length;
    if (cols.fill(this.list, store.step, from, to, u.bbox.width / devicePixelRatio)) this.data = [cols.x, ...cols.hi];
    u.batch(() => {
      u.setData(this.data, false);
      for (const k of this.scales) {
        const r = this.fitRange(k, nowMS), s = u.scales[k];
        if (s.min !== r.lo || s.max !== r.hi) u.setScale(k, { min: r.lo, max: r.hi });
      }
      u.setScale("x", { min: from, max: to });
    });
  }

  // lay puts the lines on the canvas, the first one uppermost.
  lay(u) {
    const g = u.ctx, box = u.bbox;
    g.save();
    g.beginPath();
    g.rect(box.left, box.top, box.width, box.height);
    g.clip();
    for (let j = this.lines.length - 1; j >= 0; j--) {
      const l = this.lines[j];
      if (this.cols.least[j] <= this.cols.most[j]) draw(u, this.cols, j, l.scale, this.owner, Boolean(l.channel?.enum), colors.lines[l.color]);
    }
    g.restore();
  }

  // any reports whether the last draw had a value.
  get any() {
    return this.cols.least.some((v) => v === v);
  }

  fitRange(scale, nowMS) {
    const r = this.ranges.get(scale);
    let lo = Infinity, hi = -Infinity;
    this.lines.forEach((l, j) => {
      if (l.scale !== scale || !(this.cols.least[j] <= this.cols.most[j])) return;
      lo = Math.min(lo, this.cols.least[j]);
      hi = Math.max(hi, this.cols.most[j]);
    });
    r.fit(lo, hi, nowMS);
    return r;
  }

  // point shows the shared cursor at a part of the width, 0 to 1; -1: none.
  point(part) {
    show(this.line, part >= 0);
    if (part >= 0 && this.u) this.line.style.transform = `translateX(${Math.round((part * this.u.bbox.width) / devicePixelRatio)}px)`;
    this.legendAt = 0;
  }

  // write brings the legend up to date: values at a time (NaN: the newest ones,
  // out of values, a map from id to value), at most every legendMS; it reports whether.
  write(store, at, span, values, nowMS) {
    if (nowMS - this.legendAt < legendMS) return false;
    this.legendAt = nowMS;
    let any = false;
    for (let j = 0; j < this.lines.length; j++) {
      const l = this.lines[j];
      any ||= this.cols.least[j] <= this.cols.most[j];
      if (l.channel) put(l.value, this.words(l, store, at, span, values));
    }
    const empty = !this.lines.length ? "Drag a channel here" : this.lines.every((l) => !l.channel) ? (this.owner.catalogue?.total > 0 ? "This car does not have it" : "Nothing has come from this car yet") : any ? "" : "No value in this window";
    show(this.empty, empty !== "");
    if (empty) put(this.empty, empty);
    this.tell(store);
    return true;
  }

  // tell writes down what is drawn for who reads the page by program.
  tell(store) {
    let newest = -1, oldest = Infinity;
    for (const s of this.list) {
      const slot = s?.newest() ?? -1;
      if (slot < 0) continue;
      newest = Math.max(newest, slot);
      oldest = Math.min(oldest, s.oldest());
    }
    const x = this.u?.scales.x, holes = this.owner.holes.list;
    this.host.dataset.newest = newest < 0 ? "" : String(Math.round((newest + 1) * store.step));
    this.host.dataset.oldest = newest < 0 ? "" : String(Math.round(oldest * store.step));
    this.host.dataset.holes = String(x ? holes.reduce((n, h) => n + (h[1] > x.min && h[0] < x.max ? 1 : 0), 0) : 0);
  }

  words(l, store, at, span, values) {
    const v = this.value;
    if (at !== at) {
      const known = values.get(l.channel.id);
      return known === undefined ? "–" : valueText(l.channel, known);
    }
    const s = store.series.get(l.channel.id);
    if (!s || !s.at(at, Math.max(store.step * 2, span / 40), v)) return "–";
    const lo = valueText(l.channel, v[0]), hi = valueText(l.channel, v[1]);
    return lo === hi ? lo : `${lo} … ${hi}`;
  }

  // describe says in words what is drawn, for who cannot see it.
  describe() {
    const parts = this.lines.map((l, j) => (this.cols.least[j] <= this.cols.most[j] ? `${l.name} from ${short(this.cols.least[j])} to ${short(this.cols.most[j])} ${l.unit}` : `${l.name} without a value`));
    return parts.join("; ");
  }

  theme() {
    for (const l of this.lines) if (l.row) l.row.firstChild.style.background = colors.lines[l.color];
    this.u?.redraw(false, true);
    this.dirty = true;
  }

  destroy() {
    this.u?.destroy();
    this.u = null;
    this.host.remove();
  }
}
