// timeline owns which time is shown: the right edge (now, or where the viewer
// stopped it), the span, and the bins of a window that has gone by, which it asks
// the server for and otherwise takes from the browser's own memory.

import { api, ApiError, carPath, longPast, query } from "./net.js";
import { reading } from "./format.js";
import { notice } from "./report.js";
import { Store, fromPast } from "./series.js";
import { Holes } from "./holes.js";
import { zoom } from "./scale.js";

const askMS = 120; // after the last move
const againMS = 2000; // while holes of the window are open
const marginPart = 0.5; // of the span, on both sides: a move shows data at once

export class Timeline {
  // live is {store, holes, clock}; charted() are the channels that are drawn, as
  // [id, name in the past], points() the columns of the widest plot; onChange is called when other data are shown.
  constructor(state, live, charted, points, onChange) {
    this.state = state;
    this.live = live;
    this.charted = charted;
    this.points = points;
    this.onChange = onChange;
    this.window = null; // {store, holes, from, to} of a time that has gone by
    this.able = true; // the server has windows
    this.archive = true; // and an archive behind them
    this.timer = 0;
    this.turn = 0;
    state.on((changed) => {
      if (changed.has("car")) this.able = this.archive = true;
      if (["car", "at", "span", "plots"].some((k) => changed.has(k))) this.ask();
    });
  }

  get paused() {
    return this.state.at > 0;
  }

  right(nowMS) {
    return this.state.at || this.live.clock.now(nowMS);
  }

  // shown is what is drawn: of the window when it covers the view.
  get shown() {
    const w = this.window, right = this.state.at;
    return w && right && w.from <= right - this.state.span && w.to >= right ? w : this.live;
  }

  // oldest is the time before which nothing can be shown.
  oldest() {
    if (this.able && this.live.store.keptFrom) return this.live.store.keptFrom;
    let first = Infinity;
    for (const s of this.live.store.series.values()) if (s.last >= s.first) first = Math.min(first, s.first * s.step);
    return first;
  }

  toggle() {
    this.state.set({ at: this.paused ? 0 : Math.round(this.live.clock.now(performance.now())) });
  }

  follow() {
    this.state.set({ at: 0 });
  }

  // scroll moves the view by ms; at the present it goes on by itself.
  scroll(ms) {
    if (!this.live.clock.known) return;
    const now = this.live.clock.now(performance.now());
    const at = (this.state.at || now) + ms, oldest = this.archive ? Infinity : this.oldest();
    if (at >= now) return this.follow();
    this.state.set({ at: Math.round(Number.isFinite(oldest) ? Math.max(at, Math.min(oldest + this.state.span, now)) : at) });
  }

  begin() {
    const oldest = this.oldest();
    if (Number.isFinite(oldest)) this.state.set({ at: Math.round(oldest + this.state.span) });
  }

  zoom(by) {
    this.state.set({ span: zoom(this.state.span, by) });
  }

  // ask reads the window, a little later; while time goes on there is none.
  ask(wait = askMS) {
    clearTimeout(this.timer);
    this.turn++;
    this.stop?.abort();
    if (!this.paused) {
      this.window = null;
      notice("window", "");
      return;
    }
    if (this.able) this.timer = setTimeout(() => this.read(), wait);
  }

  async read() {
    const turn = this.turn, { at, span, car } = this.state, charted = this.charted();
    if (!car || !charted.length) return;
    const from = Math.round(at - span * (1 + marginPart)), to = Math.round(at + span * marginPart);
    const points = Math.round(this.points() * (1 + 2 * marginPart)), kept = this.live.store.keptFrom;
    const old = kept > 0 && at - span < kept - 1000 && !car.includes("~");
    let w;
    try {
      w = old ? await this.past(car, from, to, points, charted) : await this.kept(car, from, to, points, charted);
      notice("window", "");
    } catch (e) {
      if (turn !== this.turn || e.name === "AbortError") return;
      if (!old && e instanceof ApiError && e.status === 404) this.able = false;
      if (old && (e.status === 403 || e.status === 404)) this.archive = false;
      if (old || e.status !== 404) notice("window", `This time cannot be shown: ${e.message}`);
      return;
    }
    if (turn !== this.turn) return;
    const store = new Store(), holes = new Holes();
    store.take({ ...w, reset: true, now_ms: to }, to - from);
    const before = this.window?.from === from ? this.window.holes : null; // what fills while one looks
    if (before) Object.assign(holes, { list: before.list, filled: before.filled });
    const now = performance.now();
    holes.take(w.coverage?.lanes?.full ?? [], now, from);
    this.window = { store, holes, from, to };
    this.onChange();
    if (!old && holes.count("open") || to > this.live.clock.now(now)) this.timer = setTimeout(() => this.read(), againMS);
  }

  // kept reads a window out of what the live page keeps.
  async kept(car, from, to, points, charted) {
    const q = new URLSearchParams({ charts: charted.map(([id]) => id).join(","), from_ms: from, to_ms: to, points: Math.min(points, 1600) });
    const w = await api(`${carPath(car, "/window")}?${q}`);
    if (w.kept_from_ms) this.live.store.keptFrom = w.kept_from_ms;
    return w;
  }

  // past reads a window that is older, out of the archive.
  async past(car, from, to, points, charted) {
    this.stop?.abort();
    this.stop = new AbortController();
    const tell = (...far) => notice("window", reading("Reading a time that the live page no longer keeps", ...far));
    tell();
    const named = charted.filter(([, name]) => name), ids = new Map(named.map(([id, name]) => [name, id]));
    const q = query({ from, to, points: Math.min(points, 2000) }, named.map(([, name]) => name));
    const r = await longPast(`${carPath(car, "/past")}?${q}`, { signal: this.stop.signal, progress: tell });
    return { step_ms: r.step_ms, series: fromPast(r, ids), coverage: { lanes: { full: holesOf(r.gaps) } } };
  }
}

const holesOf = (gaps) => (gaps ?? []).filter((g) => g.lane === "full").map((g) => [g.from_ms, g.to_ms, "lost", g.reason ?? ""]);
