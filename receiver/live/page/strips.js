// strips owns one strip per link and per lane: what it does now in numbers, and a
// short history beside them.

import { $, el, kind, put, show } from "./dom.js";
import { age, bytes, count, mbit, perS } from "./format.js";
import { colors, onTheme } from "./theme.js";
import { counters } from "./frame.js";
import { api, carPath } from "./net.js";
import { laneLevel, lanePoint, points, Recent, stepMS } from "./recent.js";

const stateKinds = { up: "good", suspect: "warn", dialing: "warn", held: "warn", quiet: "warn", dead: "bad", down: "bad" };
const signs = { good: "●", warn: "◐", bad: "○", soft: "·" };

const quietMS = 15_000; // without a row for so long, a lane does not flow

const levels = { good: 0, soft: 0, warn: 1, bad: 2 };

// spark draws a short past: the line, and behind it where things were bad.
function spark(canvas, h) {
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, ht = canvas.clientHeight;
  if (!w) return;
  if (canvas.width !== Math.round(w * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(ht * ratio);
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, w, ht);
  let most = 0;
  for (const v of h.v) if (v > most) most = v;
  const dx = w / points, y = (v) => ht - 2 - (ht - 5) * (most ? v / most : 0);
  for (let i = 0; i < points; i++) {
    const k = h.k[(h.at + i) % points];
    if (!k) continue;
    g.fillStyle = k === 2 ? colors.bad : colors.warn;
    g.globalAlpha = k === 2 ? 0.45 : 0.25;
    g.fillRect(i * dx, k === 2 ? 0 : ht / 2, dx + 0.5, ht);
  }
  g.globalAlpha = 1;
  g.strokeStyle = colors.accent;
  g.lineWidth = 1.2;
  g.beginPath();
  let pen = false;
  for (let i = 0; i < points; i++) {
    const v = h.v[(h.at + i) % points];
    if (v !== v) pen = false;
    else {
      if (pen) g.lineTo(i * dx, y(v));
      else g.moveTo(i * dx, y(v));
      pen = true;
    }
  }
  g.stroke();
}

class Strip {
  constructor(list, name, words, what) {
    this.recent = new Recent();
    this.state = el("span", { class: "state" });
    this.canvas = el("canvas", { class: "spark", "aria-hidden": "true" });
    this.cells = words.map(([t, title]) => ({ dt: el("dt", { text: t, title }), dd: el("dd", { text: "–" }) }));
    this.row = el("li", { class: "strip" }, el("div", { class: "strip-head" }, el("b", { class: "name", text: name }), this.state, this.canvas),
      el("dl", {}, ...this.cells.map((c) => el("div", {}, c.dt, c.dd))));
    this.row.dataset[what] = name;
    list.append(this.row);
  }

  set(i, words, k) {
    put(this.cells[i].dd, words);
    kind(this.cells[i].dd, k);
  }

  say(words, k) {
    put(this.state, k ? `${signs[k]} ${words}` : words);
    kind(this.state, k);
  }
}

const linkWords = [["RTT", "round trip, smoothed"], ["Mbit/s", "what arrives, or what the car measures"], ["Share", "of what all links delivered lately"],
  ["Signal", "reference signal power"], ["In flight", "without proof of delivery"], ["Heard", "since the receiver heard it"]];
const laneWords = [["Lag", "of what is written behind what was read"], ["Waits", "backlog: batches waited for behind holes"], ["Missing", "batches that will never come"],
  ["Late", "batches after their window"], ["Rows/s", "written"], ["Age", "of the newest sample"]];

export class Strips {
  // extra(link) gives {state, share, signal} of channels that the car has, pending(lane)
  // batches that still lie in its spool; null where it has none.
  constructor(extra, pending) {
    this.extra = extra;
    this.pending = pending;
    this.links = new Map();
    this.lanes = new Map();
    this.car = "";
    onTheme(() => this.sparks());
  }

  clear() {
    for (const m of [this.links, this.lanes]) {
      for (const s of m.values()) s.row.remove();
      m.clear();
    }
    this.last = null;
    this.car = ""; // whose lanes have been asked for
    counters.links = {};
    for (const id of ["credit", "lanes-note"]) put($(id), "");
    for (const id of ["links-none", "lanes-none"]) show($(id), true);
  }

  of(map, list, name, words) {
    if (!map.has(name)) map.set(name, new Strip($(list), name, words, list === "links" ? "link" : "lane"));
    return map.get(name);
  }

  // keep takes away the strips that a report does not list any more, as those of links
  // that had no name yet.
  keep(map, names) {
    for (const [name, s] of map) if (!names.has(name)) {
      s.row.remove();
      map.delete(name);
      if (map === this.links) delete counters.links[name];
    }
  }

  take(d) {
    this.last = d;
    this.keep(this.links, new Set(d.links.map((l) => l.name)));
    this.keep(this.lanes, new Set(d.lanes.map((l) => l.lane)));
    show($("links-none"), !d.links.length);
    show($("lanes-none"), !d.lanes.length);
    for (const l of d.links) this.link(l, d.now_ms, true);
    for (const l of d.lanes) this.lane(l, d);
    put($("credit"), d.ingest ? `credit ${bytes(d.credit_bytes)} · waiting for Kafka ${bytes(d.waiting_bytes)}` : "ingest runs elsewhere: what the car says");
    put($("lanes-note"), d.sequence ? "" : "the sequencer runs elsewhere: only what is in the topics");
  }

  // recall puts the last minute of links before what has been seen of them:
  // name -> [[rate, [state, …]], …].
  recall(past) {
    for (const [name, list] of past) {
      const s = this.links.get(name);
      if (!s) continue;
      // What the car measures is no part of a line of what arrives.
      const arrives = this.last?.links.find((l) => l.name === name)?.in_bs != null;
      s.recent.before(list.map(([rate, states]) => [arrives ? null : rate, Math.max(0, ...states.map((w) => levels[stateKinds[w]] ?? 0))]));
      spark(s.canvas, s.recent);
    }
  }

  // remember puts what the server knows of the lanes of a car, of the time before the page
  // was opened, before what has been seen of them. It is asked once.
  async remember(car) {
    if (this.car === car) return;
    this.car = car;
    const past = await api(carPath(car, "/lanes")).catch(() => null);
    if (this.car !== car || past?.step_ms !== stepMS) return;
    for (const [name, list] of Object.entries(past.lanes)) {
      const s = this.lanes.get(name);
      if (!s) continue;
      s.recent.before(list.map(lanePoint));
      spark(s.canvas, s.recent);
    }
  }

  // states shows new states between two reports.
  states() {
    for (const l of this.last?.links ?? []) this.link(l, this.last.now_ms, false);
  }

  link(l, now, whole) {
    const s = this.of(this.links, "links", l.name, linkWords), x = this.extra(l.name);
    const said = x.state ?? l.state, old = !x.fresh && l.time_ms && now - l.time_ms > 5000;
    const word = said || (l.heard_ms === null ? "not heard" : "heard");
    const k = old ? "soft" : stateKinds[said] ?? "";
    s.say(old ? `${word}, ${age(now - l.time_ms)} ago` : word, k);
    counters.links[l.name] = said;
    s.row.dataset.state = said;
    if (!whole) return;
    const rate = l.in_bs ?? l.rate_bs;
    s.set(0, l.rtt_ms === null ? "–" : `${l.rtt_ms.toFixed(l.rtt_ms < 10 ? 1 : 0)} ms`);
    s.set(1, mbit(rate));
    s.set(2, x.share === null ? "–" : `${Math.round(x.share)} %`);
    s.set(3, x.signal === null ? "–" : `${Math.round(x.signal)} dBm`.replace("-", "−"), x.signal !== null && x.signal < -115 ? "warn" : "");
    s.set(4, bytes(l.in_flight));
    s.set(5, age(l.heard_ms), l.heard_ms > 15_000 ? "warn" : "");
    s.recent.add(rate, levels[k] ?? 0);
    spark(s.canvas, s.recent);
  }

  lane(l, d) {
    const s = this.of(this.lanes, "lanes", l.lane, laneWords), pending = this.pending(l.lane);
    const behind = laneLevel(l.lag_ms, 0), waits = l.holes ? "warn" : "", flows = l.rows_s >= 0.05 || d.now_ms - l.newest_ms < quietMS;
    const k = behind || l.holes ? "warn" : l.newest_ms && flows ? "good" : "soft";
    s.say(l.holes ? "waits" : behind ? "behind" : !l.newest_ms ? "nothing yet" : flows ? "flows" : "quiet", k);
    s.set(0, age(l.lag_ms), behind ? "warn" : "");
    s.set(1, pending === null ? count(l.holes) : `${count(l.holes)} + ${count(pending)} in car`, waits);
    s.set(2, count(l.missing), l.missing ? "bad" : "");
    s.set(3, count(l.late), l.late ? "warn" : "");
    s.set(4, perS(l.rows_s));
    s.set(5, l.newest_ms ? age(d.now_ms - l.newest_ms) : "–");
    s.row.dataset.holes = String(l.holes ?? 0);
    s.recent.add(l.lag_ms ?? l.rows_s, levels[k]);
    spark(s.canvas, s.recent);
  }

  sparks() {
    for (const m of [this.links, this.lanes]) for (const s of m.values()) spark(s.canvas, s.recent);
  }
}
