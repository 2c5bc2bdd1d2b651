// state owns what a link to the page says: all of it stands in the address after
// the #, so that a colleague who opens the link sees the same. Parsing and
// writing are pure; [State] keeps the address and its listeners in step.

export const views = ["wall", "past", "fleet"];
export const maxPlots = 64;
export const maxLines = 8; // channels of one plot

export const defaults = () => ({
  car: "", view: "wall", span: 10_000, at: 0, // right edge, UTC ms; 0: now
  plots: null, // [{names, w, h}]; null: the default wall
  cols: 0, // 0: as many as fit
  a: "", b: "", by: "distance", // laps that are compared: SESSION/LAP
  replay: null, // {car, from, to, speed} that the car is a replay of
});

// The grammar of the address after the #, fields in any order, each with its
// default when it is left out; names are escaped as in any address:
//
//	car=CAR                 the car, or a replay "CAR~r1"; default the first one
//	view=wall|past|fleet    default wall
//	span=SECONDS            0.5 to 1800; default 10
//	at=UTC_MS               right edge of what is shown; default now
//	cols=1…8                columns of plots; default as many as fit
//	p=PLOT;PLOT;…           PLOT = CHANNEL,CHANNEL,…[!WxH]: columns wide (1 to 8)
//	                        and steps high (1 to 6, default 2)
//	a=SESSION/LAP b=…       the laps that are compared
//	by=time                 compare by time instead of distance
//	replay=CAR,FROM,TO,SPEED  what the car is a replay of: UTC ms, 1… or max
//
// parse reads the part of an address after the #. What it does not understand
// keeps its default.
export function parse(hash) {
  const s = defaults();
  const p = new Map(hash.replace(/^#/, "").split("&").filter(Boolean).map((kv) => {
    const i = kv.indexOf("=");
    return i < 0 ? [kv, ""] : [kv.slice(0, i), kv.slice(i + 1)];
  }));
  s.car = decode(p.get("car") ?? "");
  if (views.includes(p.get("view"))) s.view = p.get("view");
  s.span = bounded(p.get("span"), 0.5, 1800, s.span / 1000) * 1000;
  s.at = bounded(p.get("at"), 0, 8.64e15, 0);
  s.cols = Math.round(bounded(p.get("cols"), 0, 8, 0));
  if (p.has("p")) s.plots = parsePlots(p.get("p"));
  s.a = decode(p.get("a") ?? "");
  s.b = decode(p.get("b") ?? "");
  if (p.get("by") === "time") s.by = "time";
  s.replay = parseReplay(p.get("replay"));
  return s;
}

function bounded(text, lo, hi, other) {
  const n = Number(text);
  return text && Number.isFinite(n) && n >= lo && n <= hi ? n : other;
}

function decode(s) {
  try {
    return decodeURIComponent(s);
  } catch {
    return "";
  }
}

// encode leaves readable what need not be escaped.
const encode = (s) => encodeURIComponent(s).replaceAll("%2F", "/").replaceAll("%20", "+").replaceAll("+", "%20").replaceAll("!", "%21");

// parsePlots reads plots: names with commas between them, plots with semicolons,
// behind a ! how many columns wide and how many steps high.
export function parsePlots(text) {
  const out = [];
  for (const part of text.split(";")) {
    if (!part || out.length >= maxPlots) continue;
    const [list, size = ""] = part.split("!");
    const names = list.split(",").map(decode).filter(Boolean).slice(0, maxLines);
    const [w, h] = size.split("x").map(Number);
    out.push({ names, w: w >= 1 && w <= 8 ? Math.round(w) : 1, h: h >= 1 && h <= 6 ? Math.round(h) : 2 });
  }
  return out;
}

export function writePlots(plots) {
  return plots.map(({ names, w, h }) => names.map(encode).join(",") + (w !== 1 || h !== 2 ? `!${w}x${h}` : "")).join(";");
}

function parseReplay(text) {
  const [car, from, to, speed] = (text ?? "").split(",");
  if (!speed || !(Number(from) > 0) || !(Number(to) > Number(from))) return null;
  return { car: decode(car), from: Number(from), to: Number(to), speed: speed === "max" ? "max" : Math.max(0.1, Number(speed) || 1) };
}

// write is the inverse of parse; what has its default is left out.
export function write(s) {
  const d = defaults(), out = [];
  if (s.car) out.push(`car=${encode(s.car)}`);
  if (s.view !== d.view) out.push(`view=${s.view}`);
  if (s.span !== d.span) out.push(`span=${s.span / 1000}`);
  if (s.at) out.push(`at=${Math.round(s.at)}`);
  if (s.cols) out.push(`cols=${s.cols}`);
  if (s.plots) out.push(`p=${writePlots(s.plots)}`);
  if (s.a) out.push(`a=${encode(s.a)}`);
  if (s.b) out.push(`b=${encode(s.b)}`);
  if (s.by !== d.by) out.push(`by=${s.by}`);
  if (s.replay) out.push(`replay=${[encode(s.replay.car), s.replay.from, s.replay.to, s.replay.speed].join(",")}`);
  return out.join("&");
}

// State is the one place of what is shown. set tells its listeners which fields
// have changed, and brings the address up to date.
export class State {
  constructor() {
    Object.assign(this, parse(location.hash));
    this.listeners = [];
    this.timer = 0;
    this.steps = false; // what is written next is a new entry of the browser's history
    this.written = location.hash.slice(1); // or read
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === this.written) return;
      this.forget();
      this.written = location.hash.slice(1);
      this.set(parse(location.hash), true);
    });
  }

  on(fn) {
    this.listeners.push(fn);
  }

  // set changes fields. Another car or view is a step that the browser's Back takes back;
  // what comes out of the address is none.
  set(patch, address = false) {
    const changed = new Set(Object.keys(patch).filter((k) => k === "plots" ? JSON.stringify(patch[k]) !== JSON.stringify(this[k]) : patch[k] !== this[k]));
    if (!changed.size) return;
    if (!address && this.car && !this.steps && (changed.has("car") || changed.has("view"))) {
      if (this.timer) this.write(); // as it was before
      this.steps = true;
    }
    Object.assign(this, patch);
    for (const fn of this.listeners) fn(changed);
    if (!address) this.remember();
  }

  // remember writes the address, a little later: browsers bound how often.
  remember() {
    this.timer ||= setTimeout(() => this.write(), 250);
  }

  write() {
    if (location.hash.slice(1) !== this.written) return this.forget(); // the browser has gone elsewhere, and is about to say so
    const hash = `#${write(this)}`, steps = this.steps;
    this.forget();
    if (steps && hash !== location.hash) history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
    this.written = location.hash.slice(1);
  }

  // forget drops what was about to be written.
  forget() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.steps = false;
  }

  // link returns the whole address of what is shown now.
  link() {
    return `${location.href.split("#")[0]}#${write(this)}`;
  }
}
