// laps owns the lap table beside the wall: sectors, the best ones marked, how far
// behind the best; a lap can be looked at, and two can be compared.

import { $, button, el, put, show } from "./dom.js";
import { delta, lapTime, stamp } from "./format.js";
import { key, sessions, table } from "./lap.js";

// lapTable makes the table of one session. look(from, to) shows a lap on the wall,
// buttons(lap) gives what else a row offers.
export function lapTable(session, look, buttons, most = Infinity) {
  const t = table(session);
  const cells = ["Lap", "Time", "Behind", ...Array.from({ length: t.width }, (_, i) => `S${i + 1}`)];
  const rows = t.rows.slice(0, most).map((r) => el("tr", { class: r.best ? "best-lap" : "", data: { lap: key(session, r.lap) } },
    el("th", { scope: "row" }, r.lap.start && r.lap.end ? button(String(r.lap.n), () => look(r.lap.start, r.lap.end), { class: "link", "aria-label": `Lap ${r.lap.n}: show on the wall`, title: "show on the wall" }) : String(r.lap.n)),
    time(r.running ? "running" : lapTime(r.lap.time), r.best, r.running ? "soft" : r.lap.complete ? "" : "soft"),
    el("td", { class: "n", text: r.best ? "best" : delta(r.behind) }),
    ...r.sectors.map((s) => time(lapTime(s.time), s.best)),
    el("td", { class: "do" }, ...buttons(r.lap))));
  const head = el("thead", {}, el("tr", {}, ...cells.map((c, i) => el("th", { scope: "col", class: i ? "n" : "", text: c })), el("th", { scope: "col" }, el("span", { class: "hidden", text: "Do" }))));
  const out = el("table", { class: "laps" }, el("caption", { class: "hidden", text: `Laps of ${session.name}` }), head, el("tbody", {}, ...rows));
  return { table: out, ideal: t.ideal };
}

function time(words, best, k) {
  return el("td", { class: best ? "n best" : "n", data: k ? { kind: k } : {} }, best ? el("span", { class: "star", title: "best of the session", role: "img", "aria-label": "best", text: "◆" }) : "", words);
}

// choose makes the two buttons that pick a lap for the comparison.
export function choose(state, session, lap) {
  const k = key(session, lap);
  const one = (side, other) => button(side.toUpperCase(), () => state.set({ [side]: k }), {
    class: "pick", "aria-pressed": String(state[side] === k), "aria-label": `Lap ${lap.n} as ${side.toUpperCase()} of the comparison`, title: `compare as ${side.toUpperCase()} with ${other}` });
  return [one("a", "B"), one("b", "A")];
}

export class Laps {
  // look(from, to) shows a time on the wall.
  constructor(state, look) {
    this.state = state;
    this.look = look;
    this.list = [];
    state.on((c) => { if (c.has("a") || c.has("b")) this.draw(); });
  }

  clear() {
    this.list = [];
    this.draw();
  }

  take(answer) {
    const list = sessions(answer), now = JSON.stringify(list);
    if (now === this.drawn) return;
    this.drawn = now;
    this.list = list;
    this.draw();
  }

  draw() {
    const s = this.list.find((x) => x.laps.length) ?? this.list[0];
    show($("laps-none"), !s?.laps.length);
    put($("lap-session"), s ? [s.name, s.track, s.state].filter(Boolean).join(" · ") : "");
    if (!s?.laps.length) {
      if (!s) this.drawn = "";
      $("laps").replaceChildren();
      return;
    }
    const { table: t, ideal } = lapTable(s, this.look, (lap) => (lap.complete ? choose(this.state, s, lap) : []), 12);
    const focus = document.activeElement?.getAttribute?.("aria-label");
    const within = $("laps").contains(document.activeElement);
    $("laps").replaceChildren(t);
    if (within) [...$("laps").querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focus)?.focus();
    put($("lap-ideal"), ideal ? `best sectors together ${lapTime(ideal)}` : `since ${stamp(s.start)}`);
    show($("lap-compare"), Boolean(this.state.a && this.state.b));
  }
}
