// The live page: one event stream, tables, one chart. Everything that comes from
// a car is written as text, never as markup.

import { Chart, text } from "./chart.js";

const $ = (id) => document.getElementById(id);
const pageSize = 50; // channels on one page; the stream carries no others
const chart = new Chart($("chart"));
const state = {
  instance: "", lanes: ["", "critical", "live", "full"],
  car: "", query: "", offset: 0, total: 0,
  shown: [], // channels on the page
  plot: null, // channel in the chart
  values: new Map(), // id -> [value, time, lane, synced]
  detail: null, skew: 0, // server's clock minus ours, ms
};
let source = null, listing = 0;

const serverNow = () => Date.now() + state.skew;

// --- what stands in the address: car, chart and search survive a reload
const wanted = new URLSearchParams(location.hash.slice(1));
function remember() {
  const p = new URLSearchParams();
  if (state.car) p.set("car", state.car);
  if (state.plot) p.set("chart", state.plot.name);
  if (state.query) p.set("q", state.query);
  history.replaceState(null, "", "#" + p);
}

// --- the stream
function open() {
  source?.close();
  const p = new URLSearchParams();
  if (state.car) {
    p.set("car", state.car);
    const ids = new Set(state.shown.map((c) => c.id));
    if (state.plot) ids.add(state.plot.id);
    if (ids.size) p.set("channels", [...ids].join(","));
    if (state.plot) p.set("chart", state.plot.id);
  }
  const url = "api/v1/events?" + p;
  const es = (source = new EventSource(url));
  es.onopen = () => { connection("good", "live"); notice(""); };
  es.onerror = () => {
    if (es !== source) return;
    if (es.readyState === EventSource.CLOSED) refused(url);
    else connection("bad", "reconnecting");
  };
  on(es, "cars", takeCars);
  on(es, "car", takeCar);
  on(es, "values", takeValues);
  on(es, "chart", (f) => { if (state.plot && f.id === state.plot.id) chart.take(f); });
}

const on = (es, name, f) => es.addEventListener(name, (e) => { if (es === source) f(JSON.parse(e.data)); });

// refused finds out why there is no stream, says so, and tries again.
async function refused(url) {
  connection("bad", "no stream");
  const stop = new AbortController();
  try {
    const r = await fetch(url, { signal: stop.signal });
    if (r.status === 404) selectCar("");
    else if (!r.ok) notice(await r.text());
  } catch {
    connection("bad", "server unreachable");
  }
  stop.abort();
  setTimeout(open, 3000);
}

function connection(kind, words) {
  $("conn").dataset.kind = kind;
  put($("conn"), words);
}

function notice(words) {
  $("notice").hidden = !words;
  put($("notice"), words);
}

// --- frames
function takeCars(list) {
  state.skew = list.now_ms - Date.now();
  state.lanes = list.lanes;
  const restarted = state.instance && state.instance !== list.instance;
  state.instance = list.instance;
  const names = list.cars.map((c) => c.car);
  const sel = $("car");
  if (names.join("\n") !== [...sel.options].map((o) => o.value).join("\n")) {
    sel.replaceChildren(...(names.length ? names : [""]).map((n) => new Option(n || "none yet", n)));
    sel.disabled = !names.length;
    sel.value = state.car;
  }
  const n = list.counters;
  const odd = [[n.skipped, "records skipped to keep up"], [n.channels_dropped, "values of channels beyond the limit"], [n.malformed, "records not understood"], [n.cars_dropped, "rows of cars beyond the limit"]]
    .filter(([k]) => k).map(([k, what]) => `${count(k)} ${what}`);
  put($("foot"), [`${count(n.rows)} rows read`, `${n.streams} ${n.streams === 1 ? "page" : "pages"} open`, ...odd].join(" · "));
  if (n.kafka_error) notice("Kafka: " + n.kafka_error);
  if (restarted) selectCar(state.car && names.includes(state.car) ? state.car : "", true);
  if (!state.car && names.length) selectCar(names.includes(wanted.get("car")) ? wanted.get("car") : names[0]);
}

function takeCar(d) {
  const first = !state.detail || state.detail.channels !== d.channels;
  state.detail = d;
  state.skew = d.now_ms - Date.now();
  put($("session"), `session ${d.session || "–"} · clock ${d.synced ? "synced" : "not synced"}`);
  if (first) list();
  drawLinks(d);
  drawLanes(d);
  drawTiles(d);
  drawEvents(d);
}

function takeValues(f) {
  for (const [id, ...v] of f.values) state.values.set(id, v);
}

// --- cars and channels
function selectCar(name, force) {
  if (name === state.car && !force) return;
  Object.assign(state, { car: name, offset: 0, total: 0, shown: [], plot: null, detail: null });
  state.values.clear();
  chart.clear("", "");
  put($("chart-name"), "choose a channel below");
  put($("session"), "");
  $("car").value = name;
  for (const id of ["links", "lanes", "values", "events"]) $(id).replaceChildren();
  open();
}

// list reads the page of channels that is shown, and follows it.
async function list() {
  if (!state.car) return;
  const turn = ++listing, car = state.car;
  const p = new URLSearchParams({ q: state.query, offset: state.offset, limit: pageSize });
  const r = await fetch(`api/v1/cars/${encodeURIComponent(car)}/channels?${p}`).catch(() => null);
  if (!r?.ok || turn !== listing) return;
  const l = await r.json();
  if (turn !== listing) return;
  const before = state.shown.map((c) => c.id).join();
  Object.assign(state, { shown: l.channels, total: l.total });
  if (state.plot) state.plot = l.channels.find((c) => c.id === state.plot.id) ?? state.plot;
  drawValues();
  const plotted = !state.plot && (await choosePlot(car));
  if (turn !== listing) return;
  if (plotted || before !== l.channels.map((c) => c.id).join()) open();
}

// choosePlot finds a first channel worth looking at.
async function choosePlot(car) {
  for (const name of [wanted.get("chart"), "speed", "rpm", ""]) {
    if (name === null) continue;
    const p = new URLSearchParams({ q: name, limit: 20 });
    const r = await fetch(`api/v1/cars/${encodeURIComponent(car)}/channels?${p}`).catch(() => null);
    const found = r?.ok ? (await r.json()).channels : [];
    const c = found.find((x) => x.name === name) ?? found[0];
    if (c && car === state.car && !state.plot) {
      plot(c, true);
      return true;
    }
  }
  return false;
}

function plot(c, quiet) {
  state.plot = c;
  chart.clear(c.name, unit(c));
  put($("chart-name"), [c.name, c.unit && `[${unit(c)}]`, c.description].filter(Boolean).join(" "));
  remember();
  drawValues();
  if (!quiet) open();
}

// --- drawing
// put changes the text of an element only when it differs.
function put(el, words) {
  words = String(words);
  if (el.textContent !== words) el.textContent = words;
}

// table brings the rows of a table body in line with cells: [text, class, kind].
function table(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const tr = body.rows[i] ?? body.insertRow();
    cells.forEach(([words, cls, kind], j) => {
      const td = tr.cells[j] ?? tr.insertCell();
      if (td.className !== (cls ?? "")) td.className = cls ?? "";
      if ((td.dataset.kind ?? "") !== (kind ?? "")) td.dataset.kind = kind ?? "";
      put(td, words);
    });
  });
}

const stateKinds = { up: "good", suspect: "warn", dialing: "warn", held: "warn", quiet: "warn", dead: "bad", down: "bad" };

function drawLinks(d) {
  $("links-none").hidden = d.links.length > 0;
  $("links").parentElement.hidden = d.links.length === 0;
  const now = serverNow();
  table($("links"), d.links.map((l) => {
    const old = l.time_ms && now - l.time_ms > 5000;
    const word = l.state || (l.heard_ms === null ? "not heard" : "heard");
    const kind = old ? "soft" : stateKinds[l.state] ?? "";
    return [
      [l.name], [old ? `${word}, ${age(now - l.time_ms)} ago` : word, "", kind],
      [l.rtt_ms === null ? "–" : `${l.rtt_ms.toFixed(l.rtt_ms < 10 ? 1 : 0)} ms`, "n", old ? "soft" : ""],
      [bytes(l.in_flight), "n", old ? "soft" : ""],
      [l.in_bs === null ? (l.rate_bs === null ? "–" : bytes(l.rate_bs) + "/s") : bytes(l.in_bs) + "/s", "n"],
      [l.heard_ms === null ? "–" : age(l.heard_ms), "n", l.heard_ms > 15_000 ? "warn" : ""],
    ];
  }));
  put($("credit"), d.ingest ? `credit ${bytes(d.credit_bytes)} · waiting for Kafka ${bytes(d.waiting_bytes)}` : "ingest runs elsewhere: what the car says");
}

function drawLanes(d) {
  const now = serverNow();
  const or = (v, f = count) => (v === null ? "–" : f(v));
  table($("lanes"), d.lanes.map((l) => [
    [l.lane], [or(l.in_s, perS), "n"], [perS(l.batches_s), "n"], [perS(l.rows_s), "n"], [or(l.lag_ms, age), "n", l.lag_ms > 2000 ? "warn" : ""],
    [or(l.holes), "n", l.holes ? "warn" : ""], [count(l.missing), "n", l.missing ? "bad" : ""], [count(l.late), "n", l.late ? "warn" : ""],
    [or(l.duplicates), "n"], [l.newest_ms ? age(now - l.newest_ms) : "–", "n"],
  ]));
  put($("lanes-note"), d.sequence ? "" : "the sequencer runs elsewhere: only what is in the topics");
}

function drawTiles(d) {
  const all = (f) => d.lanes.reduce((n, l) => n + (f(l) ?? 0), 0);
  const newest = Math.max(...d.lanes.map((l) => l.newest_ms));
  const tile = (id, words, kind = "") => { $(id).dataset.kind = kind; put($(id), words); };
  const old = serverNow() - newest;
  tile("t-age", newest ? age(old) : "–", newest && old > 5000 ? "warn" : "");
  tile("t-rows", perS(all((l) => l.rows_s)) + " /s");
  tile("t-holes", d.sequence ? count(all((l) => l.holes)) : "–", all((l) => l.holes) ? "warn" : "");
  tile("t-missing", count(all((l) => l.missing)), all((l) => l.missing) ? "bad" : "");
  tile("t-late", count(all((l) => l.late)), all((l) => l.late) ? "warn" : "");
  tile("t-dups", d.sequence ? count(all((l) => l.duplicates)) : "–");
}

function drawEvents(d) {
  $("events-none").hidden = d.events.length > 0;
  const key = JSON.stringify(d.events);
  if ($("events").dataset.key === key) return;
  $("events").dataset.key = key;
  $("events").replaceChildren(...d.events.map((e) => {
    const li = document.createElement("li");
    const t = document.createElement("time");
    t.textContent = new Date(e.time_ms).toLocaleTimeString();
    const kind = document.createElement("span");
    kind.className = "kind";
    kind.dataset.kind = e.kind;
    kind.textContent = e.kind;
    const words = document.createElement("span");
    words.textContent = e.detail ? `${e.text} (${e.detail})` : e.text;
    li.append(t, kind, words);
    return li;
  }));
}

function valueText(c, v) {
  if (c.enum && c.enum[v] !== undefined) return c.enum[v];
  return text(v);
}

function drawValues() {
  const body = $("values"), now = serverNow();
  while (body.rows.length > state.shown.length) body.deleteRow(-1);
  state.shown.forEach((c, i) => {
    const tr = body.rows[i] ?? newRow(body);
    if (tr.channel !== c) {
      tr.channel = c;
      const b = tr.cells[0].firstChild;
      put(b, c.name);
      b.title = c.description ? `${c.name}: ${c.description}` : c.name;
      put(tr.cells[2], unit(c));
      put(tr.cells[5], c.group);
    }
    const v = state.values.get(c.id);
    const old = v ? now - v[1] : 0;
    put(tr.cells[1], v ? valueText(c, v[0]) : "–");
    put(tr.cells[3], v ? (v[3] ? "" : "≈") + age(old) : "–");
    put(tr.cells[4], v ? state.lanes[v[2]] : "");
    tr.classList.toggle("stale", !v || old > 5000);
    if (state.plot?.id === c.id) tr.setAttribute("aria-current", "true");
    else tr.removeAttribute("aria-current");
  });
  $("values-none").hidden = state.shown.length > 0 || !state.query;
  const last = state.offset + state.shown.length;
  put($("count"), state.total ? `${count(state.offset + 1)}–${count(last)} of ${count(state.total)}` : "");
  $("prev").disabled = state.offset === 0;
  $("next").disabled = last >= state.total;
  const p = state.plot && state.values.get(state.plot.id);
  put($("chart-value"), p ? `${valueText(state.plot, p[0])} ${unit(state.plot)}` : "");
}

function newRow(body) {
  const tr = body.insertRow();
  const b = document.createElement("button");
  b.type = "button";
  b.addEventListener("click", () => plot(tr.channel));
  tr.insertCell().append(b);
  for (const cls of ["n", "", "n", "", "group"]) tr.insertCell().className = cls;
  return tr;
}

// --- words for numbers
const degrees = { degC: "°C", degF: "°F", deg: "°" };
const unit = (c) => degrees[c.unit] ?? c.unit;
function age(ms) {
  ms = Math.max(0, ms);
  if (ms < 950) return `${Math.round(ms / 10) * 10} ms`;
  if (ms < 99_500) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}
function bytes(n) {
  if (n === null) return "–";
  for (const u of ["B", "kB", "MB"]) {
    if (n < 1000) return `${n < 10 && u !== "B" ? n.toFixed(1) : Math.round(n)} ${u}`;
    n /= 1000;
  }
  return `${n.toFixed(1)} GB`;
}
const count = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
const perS = (n) => (n < 9.95 ? n.toFixed(1) : count(Math.round(n)));

// --- controls
$("car").addEventListener("change", (e) => { selectCar(e.target.value); remember(); });
let typing = 0;
$("q").value = state.query = wanted.get("q") ?? "";
$("q").addEventListener("input", (e) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    Object.assign(state, { query: e.target.value, offset: 0 });
    remember();
    list();
  }, 150);
});
const turnPage = (by) => {
  state.offset = Math.max(0, state.offset + by);
  list();
};
$("prev").addEventListener("click", () => turnPage(-pageSize));
$("next").addEventListener("click", () => turnPage(pageSize));

const themes = { dark: "light", light: "dark" };
try {
  const t = localStorage.getItem("theme");
  if (t in themes) document.documentElement.dataset.theme = t;
} catch { /* no storage: the system's theme */ }
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const t = themes[document.documentElement.dataset.theme ?? dark];
  document.documentElement.dataset.theme = t;
  try { localStorage.setItem("theme", t); } catch { /* it lasts as long as the page */ }
  chart.theme();
});

// A page in the background costs nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); connection("wait", "paused"); } else open();
});
let ticks = 0;
setInterval(() => {
  if (document.hidden) return;
  chart.tick(serverNow());
  if (ticks++ % 2 === 0) drawValues(); // nobody reads numbers faster
}, 100);
open();
