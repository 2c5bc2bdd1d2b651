// past owns the view of what has been: sessions and laps that are kept, looking
// at them, replaying them, and what another waiting window would have made.

import { carPath, long } from "./net.js";
import { $, button, el, head, put, show, table } from "./dom.js";
import { age, clock, count, lapTime, reading, stamp } from "./format.js";
import { merge, pair, sessions, table as lapRows } from "./lap.js";
import { choose, lapTable } from "./laps.js";

const many = (list) => `${count(list.length)} ${list.length === 1 ? "session" : "sessions"}`;

// base is the car that a replay is of.
export const base = (car) => car.split("~")[0];

export class Past {
  // act has look(from, to), replay({from, to, session, lap}) and take(from, to);
  // live() are the sessions that the stream has told of; see hear.
  constructor(state, act, live) {
    this.state = state;
    this.act = act;
    this.live = live;
    this.list = []; // sessions of the archive, and what the stream has told of them
    this.car = "";
    this.asking = false; // the archive
    this.open = new Set();
    $("past-again").addEventListener("click", () => this.ask());
    $("whatif-form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.whatif();
    });
    $("whatif-stop").addEventListener("click", () => this.stop?.abort());
    state.on((c) => {
      if (c.has("a") || c.has("b")) this.draw();
      if (c.has("view") || c.has("car")) this.show();
    });
  }

  show() {
    const car = base(this.state.car);
    if (this.state.view !== "past" || !car) return;
    if (car === this.car) return this.hear();
    this.car = car;
    this.list = [];
    this.open.clear();
    this.draw();
    this.ask();
  }

  async ask() {
    const car = this.car;
    if (!car) return;
    put($("past-note"), "reading the sessions that are kept …");
    let list = [], note = "";
    this.asking = true;
    try {
      list = sessions(await long(carPath(car, "/sessions"), { progress: (...far) => { if (car === this.car) put($("past-note"), reading("reading the sessions that are kept", ...far)); } }));
    } catch (e) {
      note = e.status === 404 ? "no archive here: only what the page has seen live" : `The sessions that are kept cannot be read: ${e.message}`;
    }
    if (car !== this.car) return;
    this.asking = false;
    this.list = this.merged(list);
    put($("past-note"), note || many(this.list));
    const first = this.list.find((s) => s.laps.length);
    if (first && !this.open.size) this.open.add(first.id);
    this.told();
  }

  // merged are sessions with what the stream tells of them; a replay tells nothing new.
  merged(list) {
    return this.car === this.state.car ? merge(list, this.live()) : list;
  }

  // hear takes what the stream has told of laps. What is chosen, open or has the focus
  // stays so.
  hear() {
    if (this.state.view !== "past" || !this.car || this.asking) return;
    const list = this.merged(this.list);
    if (JSON.stringify(list) === JSON.stringify(this.list)) return;
    if (list.length !== this.list.length) put($("past-note"), many(list));
    this.list = list;
    this.told();
  }

  // told shows the list; where nothing is compared yet, it begins with a first pair.
  told() {
    this.draw();
    if (!this.state.a && !this.state.b) {
      const p = pair(this.list);
      if (p) this.state.set(p);
    }
    this.onRead?.();
  }

  draw() {
    const label = (e) => e.getAttribute("aria-label") ?? e.textContent;
    const within = $("sessions").contains(document.activeElement) && label(document.activeElement), top = $("sessions").scrollTop, chosen = $("whatif-session").value;
    $("sessions").replaceChildren(...this.list.map((s) => this.session(s)));
    $("sessions").scrollTop = top;
    if (within) [...$("sessions").querySelectorAll("button,summary")].find((b) => label(b) === within)?.focus();
    $("whatif-session").replaceChildren(...this.list.map((s) => new Option(`${s.name}, ${stamp(s.start)}`, s.id)));
    if (this.list.some((s) => s.id === chosen)) $("whatif-session").value = chosen;
    show($("sessions-none"), !this.list.length);
  }

  session(s) {
    const { best } = lapRows(s), to = s.end || s.laps.at(-1)?.end || 0;
    const d = el("details", { open: this.open.has(s.id) });
    d.addEventListener("toggle", () => (d.open ? this.open.add(s.id) : this.open.delete(s.id)));
    const facts = [stamp(s.start), s.end ? age(s.end - s.start) : "running", s.track, `${count(s.laps.length)} laps`, best ? `best ${lapTime(best)}` : ""].filter(Boolean).join(" · ");
    const what = (words, label, f) => button(words, f, { class: "pick", "aria-label": `${label} ${s.name}`, title: label });
    d.append(el("summary", {}, el("b", { text: s.name }), el("span", { class: "meta", text: facts })),
      el("div", { class: "row" }, what("Replay", "Replay", () => this.act.replay({ session: s.id, from: s.start, to })),
        what("Take home", "Take home", () => this.act.take(s.start, to || Date.now()))));
    if (s.laps.length) {
      d.append(el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Laps of ${s.name}` }, lapTable(s, this.act.look, (lap) => [
        lap.end ? button("▶", () => this.act.replay({ session: s.id, lap: lap.n, from: lap.start, to: lap.end }), { class: "pick", "aria-label": `Replay lap ${lap.n}`, title: "replay" }) : "",
        ...(lap.complete ? choose(this.state, s, lap) : []),
      ]).table));
    }
    return d;
  }

  async whatif() {
    const s = this.list.find((x) => x.id === $("whatif-session").value);
    if (!s) return put($("whatif-note"), "choose a session first");
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    const q = new URLSearchParams({ from: Math.round(s.start), to: Math.round(s.end || Date.now()), windows: $("whatif-windows").value.replaceAll(" ", "") });
    show($("whatif-stop"), true);
    put($("whatif-note"), "reading …");
    try {
      const r = await long(`${carPath(this.car, "/whatif")}?${q}`, { signal: stop.signal, progress: (...far) => put($("whatif-note"), reading("reading", ...far)) });
      this.outcome(r.rows ?? []);
      put($("whatif-note"), `${s.name}, at ${clock(Date.now())}`);
    } catch (e) {
      put($("whatif-note"), e.name === "AbortError" ? "stopped" : `What other windows would have made cannot be told: ${e.message}`);
    }
    show($("whatif-stop"), false);
  }

  outcome(rows) {
    const cols = [["Window"], ["Lane"], ["Delayed", "n", "batches that waited for an earlier one"], ["p50", "n"], ["p99", "n"], ["Longest", "n"], ["Late", "n", "after their window"], ["Lost", "n", "never came"]];
    const body = el("tbody");
    table(body, rows.map((r) => [[String(r.window)], [r.lane], [count(r.delayed), "n"], [age(r.p50_ms), "n"], [age(r.p99_ms), "n"], [age(r.max_ms), "n"],
      [count(r.late), "n", r.late ? "warn" : ""], [count(r.lost), "n", r.lost ? "bad" : ""]]));
    $("whatif").replaceChildren(el("table", {}, el("caption", { class: "hidden", text: "What waiting windows would have made" }), head(cols), body));
  }
}
