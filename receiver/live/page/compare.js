// compare owns two laps on top of each other: channels of the wall by distance or
// by time, and how far B is behind A.

import { carPath, longPast, query } from "./net.js";
import { $, el, put, show } from "./dom.js";
import { delta, lapTime, reading, short, unit } from "./format.js";
import { find, ordered } from "./lap.js";
import { colors, onTheme } from "./theme.js";
import { tickText, ticks } from "./scale.js";
import { base } from "./past.js";

const most = 8; // channels
const font = '11px system-ui, "DejaVu Sans", sans-serif';

export class Compare {
  // names() are the channels to compare, list() the sessions that are known.
  constructor(state, names, list) {
    this.state = state;
    this.names = names;
    this.list = list;
    this.charts = []; // {u, a, b, name}
    this.asked = "";
    this.sync = uPlot.sync("compare");
    for (const by of ["distance", "time"]) $(`by-${by}`).addEventListener("change", () => state.set({ by }));
    $("swap").addEventListener("click", () => state.set({ a: state.b, b: state.a }));
    new ResizeObserver(() => this.fit()).observe($("compare"));
    onTheme(() => this.charts.forEach((c) => c.u.redraw(false, true)));
    state.on((c) => { if (["a", "b", "by", "view", "car"].some((k) => c.has(k))) this.show(); });
  }

  show() {
    const { a, b, by, view, car } = this.state;
    $(`by-${by}`).checked = true;
    this.title();
    if (view !== "past" || !a || !b || !car || !this.names().length) return;
    const q = query({ a, b, by, points: 2000 }, this.names().slice(0, most));
    const path = `${carPath(base(car), "/compare")}?${q}`;
    if (path === this.asked) return;
    this.asked = path;
    this.read(path);
  }

  title() {
    const one = (k) => {
      const f = find(this.list(), k);
      return f ? `${f.session.name}, lap ${f.lap.n} (${lapTime(f.lap.time)})` : k || "choose a lap";
    };
    put($("lap-a"), one(this.state.a));
    put($("lap-b"), one(this.state.b));
  }

  async read(path) {
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    put($("compare-note"), "reading both laps …");
    try {
      const r = await longPast(path, { signal: stop.signal, progress: (...far) => put($("compare-note"), reading("reading both laps", ...far)) });
      const notes = [r.distance && this.state.by === "distance" ? `distance from ${r.distance}` : "", ...(r.notes ?? [])].filter(Boolean);
      put($("compare-note"), r.x?.length ? notes.join("; ") : ["these laps have none of the wall's channels", ...notes].join("; "));
      this.draw(r);
    } catch (e) {
      if (e.name === "AbortError") return;
      this.asked = "";
      put($("compare-note"), `The laps cannot be compared: ${e.message}`);
    }
  }

  draw(r) {
    for (const c of this.charts) c.u.destroy();
    this.charts = [];
    $("compare").replaceChildren();
    this.x = r.x ?? [];
    if (!this.x.length) return;
    if (r.delta?.length) this.chart("B behind A", "s", [r.delta], true);
    for (const s of ordered(r.series ?? [], this.names())) this.chart(s.name, unit(s), [s.a, s.b], false);
    $("compare").dataset.points = String(this.x.length);
    this.write(null);
  }

  // chart adds one plot: of two laps, or of the difference.
  chart(name, unitText, data, isDelta) {
    const value = el("span", { class: "meta" });
    const host = el("div", { class: "plot-body" });
    $("compare").append(el("section", { class: "plot compare", "aria-label": isDelta ? "How far B is behind A" : `${name} of both laps` },
      el("div", { class: "plot-head" }, el("b", { text: name }), el("span", { class: "unit", text: unitText }), value), host));
    const range = (_, lo, hi) => (lo === null ? [0, 1] : lo === hi ? [lo - 1, hi + 1] : isDelta ? [Math.min(lo, 0), Math.max(hi, 0)] : [lo, hi]);
    const line = (i) => ({
      stroke: () => (isDelta ? colors.text : colors.lines[i]), width: 1.3, dash: i ? [6, 3] : undefined, points: { show: false }, spanGaps: true,
      ...(isDelta ? { fill: () => colors.band, fillTo: 0 } : {}),
    });
    const u = new uPlot({
      width: Math.max(120, host.clientWidth), height: isDelta ? 110 : 150, padding: [6, 24, 0, 0], legend: { show: false },
      cursor: { sync: { key: "compare", setSeries: false }, y: false, points: { show: false }, drag: { x: true, y: false } },
      scales: { x: { time: false, range: (_, lo, hi) => [lo, hi] }, y: { range } },
      axes: [
        { size: 22, gap: 7, font, stroke: () => colors.soft, ticks: { show: false }, grid: { stroke: () => colors.grid, width: 1 }, values: (_, s) => s.map((v) => (this.state.by === "time" ? `${short(v)} s` : `${Math.round(v)} m`)) },
        { size: 44, gap: 4, font, stroke: () => colors.soft, ticks: { show: false }, grid: { stroke: () => colors.grid, width: 1 },
          splits: (_, i, lo, hi) => ticks(lo, hi, 4), values: (_, s) => s.map((v) => tickText(v, s.length > 1 ? s[1] - s[0] : 1)) },
      ],
      series: [{}, ...data.map((_, i) => line(i))],
      hooks: { setCursor: [(p) => { if (p.cursor.event || p === this.charts[0]?.u) this.write(p.cursor.idx); }] },
    }, [this.x, ...data], host);
    this.charts.push({ u, data, value, isDelta, unit: unitText });
  }

  // write shows the values under the cursor.
  write(i) {
    if (i === this.at) return;
    this.at = i;
    const known = i !== null && i !== undefined;
    put($("compare-at"), !known ? "" : this.state.by === "time" ? `${this.x[i].toFixed(2)} s` : `${Math.round(this.x[i])} m`);
    for (const c of this.charts) {
      const v = c.data.map((d) => (known ? d[i] : null));
      put(c.value, !known ? "" : c.isDelta ? delta(v[0] === null ? null : v[0] * 1000) : `A ${short(v[0])}   B ${short(v[1])}`);
    }
  }

  // step moves the cursor by columns.
  step(by) {
    const c = this.charts[0];
    if (!c) return;
    const i = Math.min(this.x.length - 1, Math.max(0, (this.at ?? 0) + by));
    for (const k of this.charts) k.u.setCursor({ left: k.u.valToPos(this.x[i], "x"), top: 10 }, false);
    this.write(i);
  }

  fit() {
    for (const c of this.charts) {
      const w = c.u.root.parentElement.clientWidth;
      if (w > 40 && w !== c.u.width) c.u.setSize({ width: w, height: c.u.height });
    }
    show($("compare-none"), !this.charts.length);
  }
}
