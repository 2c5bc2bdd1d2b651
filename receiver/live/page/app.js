// app owns the page as a whole: it joins state, stream and views. In order: the
// login, the list of cars, the car, its channels, the stream with their bins.

import { Agent } from "./agent.js";
import { Asked } from "./asked.js";
import { Catalogue } from "./catalogue.js";
import { Clock } from "./clock.js";
import { Compare } from "./compare.js";
import { bind } from "./controls.js";
import { $, put, say, show } from "./dom.js";
import { Fleet } from "./fleet.js";
import { counters, Frames } from "./frame.js";
import { Holes } from "./holes.js";
import { Laps } from "./laps.js";
import { Lead } from "./lead.js";
import { Login } from "./login.js";
import { TrackMap } from "./map.js";
import { api, carPath, Stream } from "./net.js";
import { Past } from "./past.js";
import { Picker } from "./picker.js";
import { cursorText, measure, ready } from "./pulse.js";
import { Replay } from "./replay.js";
import { behind, connection, events, foot, notice, pace, passing, tiles } from "./report.js";
import { Store } from "./series.js";
import { State } from "./state.js";
import { Strips } from "./strips.js";
import { Take } from "./take.js";
import { onTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Wall } from "./wall.js";

const placed = /(^|[_./ ])lat(itude)?$/i; // names of channels that say where a car is

const state = new State();
const live = { store: new Store(), holes: new Holes(), clock: new Clock() };
const values = new Map(); // id -> newest value
const stamps = new Map(); // id -> its time, UTC ms
let catalogue = null, instance = "", cars = [];
let turn = 0, begun = -1; // of begin: the newest, the one that the cars wait for; -1: no login yet

const frames = new Frames(before, (p, now) => {
  p.draw(tl.shown.store, edge - state.span, edge, now);
  if (p.any) ready();
});
const tl = new Timeline(state, live, () => asked.charted(), () => asked.points(), () => wall.dirty());
const wall = new Wall(state, tl, frames, () => askSoon());
const picker = new Picker(wall, values, () => askSoon());
const map = new TrackMap(values, () => ({ store: tl.shown.store, at: cursorAt() }), () => askSoon());
const asked = new Asked(state, wall, map, () => catalogue, () => [...agent.ids, ...picker.watched]);
const lead = new Lead(state, live.store, () => asked.charted(), () => login.who?.role !== "viewer", () => wall.dirty());
const agent = new Agent(values, stamps, () => live.clock.now(performance.now()));
const strips = new Strips((link) => agent.link(link), (lane) => agent.value(`spool_${lane}_pending`));
const laps = new Laps(state, look);
const fleet = new Fleet((car) => select(car, { view: "wall" }));
const login = new Login();
const take = new Take(state, () => asked.names(), () => login.who);
const replay = new Replay(state, live.clock, select, (words) => passing(words));
const past = new Past(state, { look, replay: (w) => replay.start(w), take: (from, to) => take.open(from, to) }, () => laps.list);
const compare = new Compare(state, () => asked.names(), () => past.list);
past.onRead = () => compare.show();
const stream = new Stream({
  cars: takeCars, car: takeCar, values: takeValues, charts: takeCharts, coverage: takeCoverage, laps: (f) => { laps.take(f); past.hear(); map.dirty = true; }, pace,
}, (s, why, status) => {
  connection(s, why);
  counters.opened = stream?.opened ?? 0;
  if (status === 404) lost();
});

// --- time and drawing
let edge = 0, legendAt = 0, legendNext = 0, ageAt = 0;

// cursorAt is the time under the cursor, or that of a view that stands still; NaN:
// now.
const cursorAt = () => (wall.cursor >= 0 ? edge - state.span * (1 - wall.cursor) : tl.paused ? edge - tl.shown.store.step / 2 : NaN);

// before prepares a frame and reports whether time goes on.
function before(now) {
  if (!live.clock.known) return false;
  edge = tl.right(now);
  const shown = tl.shown;
  shown.holes.forget(now);
  const at = cursorAt(), all = at === at && now - legendAt > 100;
  for (let k = 0, left = all ? wall.plots.length : 4; k < wall.plots.length && left > 0; k++) { // a few in each frame
    const p = wall.plots[legendNext++ % wall.plots.length];
    if (p.visible && p.write(shown.store, at, state.span, values, now)) left--;
  }
  if (now - legendAt > 100) {
    legendAt = now;
    put($("cursor-at"), at === at ? cursorText(at, shown.holes) : "");
  }
  if (now - ageAt > 500) {
    ageAt = now;
    measure(shown, live.clock.now(now));
  }
  if (tl.paused && !shown.holes.filled.length && shown.version === shown.store.version) return false;
  shown.version = shown.store.version;
  return true;
}

// --- the stream
// ask says what the stream should carry now.
function ask() {
  if (begun < 0) return; // not let in yet
  stream.want(asked.query());
}

// askSoon waits for what else comes: a stream that is opened anew begins with all
// bins.
let soon = 0;
function askSoon() {
  clearTimeout(soon);
  soon = setTimeout(ask, 300);
}

function takeCars(list) {
  cars = list.cars;
  const restarted = instance && instance !== list.instance;
  instance = list.instance;
  const names = cars.map((c) => c.car), sel = $("car");
  if (names.join("\n") !== [...sel.options].map((o) => o.value).join("\n")) {
    sel.replaceChildren(...(names.length ? names : [""]).map((n) => new Option(n || "none yet", n)));
    sel.disabled = !names.length;
    sel.value = state.car;
  }
  fleet.take(list, state.car);
  map.others = cars.filter((c) => c.pos && c.car !== state.car && !c.car.includes("~"));
  foot(list.counters);
  if (restarted) return begin();
  if (turn === begun && (!state.car || names.includes(state.car))) begin();
}

// clear forgets what was of another car: ids of channels are each car's own.
function clear() {
  stream.drop();
  catalogue = null;
  notice("old", "");
  agent.clear();
  picker.watched = [];
  for (const m of [values, stamps]) m.clear();
  live.store.clear();
  lead.clear();
  live.clock.reset();
  Object.assign(live.holes, { list: [], filled: [] });
  map.use("");
  strips.clear();
  laps.clear();
  $("car").value = state.car;
}

// there reports whether the server knows a car that its last list did not have.
const there = (car) => (car ? api(carPath(car)).then(() => true, () => false) : Promise.resolve(false));

// begin shows the car of the address, or the first one, from nothing.
async function begin() {
  const mine = ++turn, names = cars.map((c) => c.car);
  clear();
  if (!state.car) {
    begun = mine;
    if (!names.length) return ask();
    return state.set({ car: names.find((n) => !n.includes("~")) ?? names[0] });
  }
  if (!names.includes(state.car) && !(await there(state.car))) {
    if (mine !== turn) return;
    begun = mine; // the list of cars tells when it is there
    if (state.car.includes("~")) replay.gone();
    else notice("car", `The car ${state.car} has sent nothing yet; it is shown as soon as it does.`);
    return ask();
  }
  if (mine !== turn) return;
  notice("car", "");
  show($("replay-gone"), false);
  const c = new Catalogue(state.car);
  try {
    const plots = state.plots ?? (await c.start()).map((n) => ({ names: n, w: 1, h: 2 }));
    await c.resolve(plots.flatMap((p) => p.names));
    if (mine !== turn) return;
    catalogue = c;
    if (state.plots || !plots.length) wall.follow(); // none: its channels are still to come
    else state.set({ plots });
    wall.resolve(c);
    ask();
    picker.use(c);
    if ([...c.byName.keys()].some((n) => placed.test(n))) map.use(state.car);
    past.show();
    compare.show();
    if (await agent.read(c)) askSoon();
  } catch (e) {
    if (mine !== turn) return;
    ask();
    if (e.status !== 401) notice("car", `The channels of ${state.car}: ${e.message}`);
    setTimeout(() => { if (mine === turn) begin(); }, 2000);
  }
}

// lost is called when the server does not know the car any more.
function lost() {
  clear();
  ask();
  begun = turn;
}

function takeCar(d) {
  if (d.car !== state.car) return;
  if (catalogue && catalogue.total >= 0 && (d.channels !== catalogue.total || d.described !== catalogue.described || (catalogue.missing.size && d.channels !== catalogue.seen)) && !catalogue.asking) more(d);
  if (!d.replay) live.clock.sample(d.now_ms, performance.now());
  else d.now_ms = d.replay.at_ms; // ages are those of then
  put($("session"), `${d.session ? `session ${d.session} · ` : ""}${d.synced ? "clock synced" : "clock not synced"} · ${d.channels} channels`);
  strips.take(d);
  if (!d.replay) strips.remember(d.car);
  if (!agent.told && !d.replay) agent.past(d.now_ms).then((past) => strips.recall(past));
  tiles(d, live.holes.count("open"));
  behind(d, state.view === "wall" && !state.at ? state.span : Infinity, (ms) => state.set({ at: Math.round(ms) }));
  events(d.events, d.now_ms, (ms) => state.set({ at: Math.round(ms + state.span / 2), view: "wall" }));
  replay.hear(d.replay);
}

// more looks again when the car has other channels than before, or knows more of them.
async function more(d) {
  const c = catalogue, told = d.described !== c.described;
  c.asking = true;
  const names = [...c.missing];
  await (told ? c.again() : c.ask("")).catch(() => null);
  if (c === catalogue && (told || names.length || d.channels !== c.seen)) {
    await c.resolve(names).catch(() => null);
    if (c === catalogue) {
      if (told || names.some((n) => c.byName.has(n))) wall.resolve(c);
      if (!map.car && [...c.byName.keys()].some((n) => placed.test(n))) map.use(state.car);
      if (told || !agent.ids.length) agent.read(c).then((here) => here && askSoon());
      picker.again();
      if (!state.plots) usual();
    }
  }
  c.seen = d.channels;
  setTimeout(() => { c.asking = false; }, names.length ? 500 : 3000);
}

function takeValues(f) {
  for (const [id, v, at] of f.values) {
    values.set(id, v);
    stamps.set(id, at);
  }
  strips.states();
}

function takeCharts(f) {
  counters.chartFrames++;
  if (f.reset) counters.resets++;
  live.clock.sample(f.now_ms, performance.now());
  live.store.take(f, Math.max(1000, state.span));
  if (f.reset) lead.whole(f.now_ms);
}

function takeCoverage(f) {
  const before = live.holes.filled.length, now = performance.now();
  live.holes.take(f.lanes?.full ?? [], now, (f.now_ms ?? live.clock.now(now)) - state.span);
  counters.filled += Math.max(0, live.holes.filled.length - before);
  wall.dirty();
}

// --- what viewers do
function select(car, patch = {}) {
  state.set({ at: 0, ...patch, car });
}

function look(from, to) {
  state.set({ span: Math.min(1_800_000, Math.max(500, Math.ceil((to - from) / 100) * 100)), at: Math.round(to), view: "wall" });
  $("main").scrollIntoView({ block: "start" });
}

// usual shows the plots of a first visit.
async function usual() {
  const c = catalogue, names = await c?.start();
  if (c && c === catalogue && names.length) state.set({ plots: names.map((n) => ({ names: n, w: 1, h: 2 })) });
}

const controls = bind({ state, tl, wall, replay, compare, take, select, usual });

state.on((c) => {
  controls();
  if (c.has("car")) {
    show($("replay-gone"), false);
    begin();
  } else if (c.has("span")) ask();
  if (c.has("plots")) state.plots ? ask() : usual();
  if (c.has("at") || c.has("span")) wall.dirty();
  if (c.has("view") && state.view === "wall") wall.dirty();
  if (c.has("at")) say(state.at ? "Paused" : "Live");
});
wall.onPoint = () => { legendAt = 0; };
onTheme(() => wall.theme());

wall.columns();
controls();
const list = api("cars").catch(() => null);
if (await login.read()) {
  begun = 0;
  const l = await list;
  if (l) takeCars(l);
  else ask();
}
