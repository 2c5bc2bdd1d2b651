// catalogue owns the channels of the car that is shown: names to ids, units and
// groups, the search, and which channels a first visit shows.

import { api, carPath } from "./net.js";

const page = 200; // channels of one answer
const fetched = 1000; // a car with so many channels at most is read whole

// first are the plots of a first visit: the channels that one plot shows, each
// by words that its name has, best first. Units keep apart what only sounds alike.
const first = [
  [[/^speed$/, /^v(ehicle)?_?speed/, /gnss.*speed/, /speed/]],
  [[/^(engine_?)?rpm$/, /engine.*(rpm|speed)/, /rpm/]],
  [[/^throttle/, /throttle|accel.*pedal|^aps/], [/^brake_pressure_front/, /brake.*press|^brake/]],
  [[/^gear$/, /gear/]],
  [[/^steer(ing)?(_?angle)?$/, /steer/]],
  [[/^g_?lat$/, /acc.*(lat|_y)$|lateral/], [/^g_?long?$/, /acc.*(lon|_x)$|longitudinal/]],
  [[/^tyre_temp|^tire_temp/, /tyre|tire/], [/^brake_temp/, /disc.*temp/]],
  [[/coolant|water.*temp/, /oil.*temp/, /temp/]],
];

const words = ["speed", "rpm", "throttle", "brake", "gear", "steer", "lat", "long", "tyre", "temp"];

// choose returns the plots of a first visit out of the channels of a car, as
// lists of names. Pure.
export function choose(channels) {
  const used = new Set(), out = [];
  const find = (patterns) => {
    for (const p of patterns) {
      const hit = channels.find((c) => !used.has(c.name) && !/^(live|agent)\b/.test(c.group ?? "") && p.test(c.name.toLowerCase().replace(/^.*[./]/, "")));
      if (hit) return hit;
    }
    return null;
  };
  for (const plot of first) {
    const names = [];
    for (const patterns of plot) {
      const c = find(patterns);
      if (c) {
        used.add(c.name);
        names.push(c.name);
      }
    }
    if (names.length) out.push(names);
  }
  for (const c of channels) {
    if (out.length >= 4) break;
    if (!used.has(c.name) && !/^agent\b/.test(c.group ?? "")) out.push([c.name]);
  }
  return out;
}

// byGroup sorts channels into their groups, by name or, when the channels are in the order
// of how well they fit a search, by the best one; what the agent says of itself comes
// last. Pure.
export function byGroup(channels, fitting = false) {
  const groups = new Map();
  for (const c of channels) {
    if (!groups.has(c.group)) groups.set(c.group, []);
    groups.get(c.group).push(c);
  }
  const own = (g) => /^(agent\b|source\.|live\.)/.test(g);
  return [...groups].sort(([a], [b]) => own(a) - own(b) || (fitting ? 0 : a < b ? -1 : 1));
}

// Catalogue knows channels of one car; it asks for those it does not.
export class Catalogue {
  constructor(car) {
    this.car = car;
    this.byName = new Map();
    this.byId = new Map();
    this.total = -1; // not known yet
    this.whole = false; // byName has all of them
    this.missing = new Set(); // names that the car does not have
    this.described = Infinity; // of the oldest answer; a car that has another number knows more
  }

  add(list) {
    for (const c of list) {
      this.byName.set(c.name, c);
      this.byId.set(c.id, c);
      this.missing.delete(c.name);
    }
  }

  took(answer) {
    this.described = Math.min(this.described, answer.described ?? 0);
    this.add(answer.channels);
  }

  // again reads once more what is known: units and the like have come since.
  async again() {
    const names = [...this.byName.keys()];
    Object.assign(this, { described: Infinity, total: -1, whole: false });
    await this.all();
    for (let at = 0; at < names.length && !this.whole; at += page) await this.named(names.slice(at, at + page));
  }

  // named reads the channels of some names.
  async named(names) {
    const p = new URLSearchParams(names.map((n) => ["name", n]));
    p.set("limit", page);
    this.took(await api(`${carPath(this.car, "/channels")}?${p}`));
  }

  // ask reads one page of a search.
  async ask(q, offset = 0, limit = page, signal) {
    const l = await api(`${carPath(this.car, "/channels")}?${new URLSearchParams({ q, offset, limit })}`, { signal });
    this.took(l);
    if (!q && !offset) {
      this.total = l.total;
      this.whole = l.channels.length === l.total;
    }
    return l;
  }

  // resolve makes sure that the names are known, or known to be absent.
  async resolve(names) {
    const want = () => names.filter((n) => !this.byName.has(n));
    if (want().length) await this.all();
    if (want().length && !this.whole) await this.named(want().slice(0, page));
    const left = want();
    if (!this.whole) await Promise.all(left.slice(0, 32).map((n) => this.ask(n, 0, 20)));
    for (const n of want()) this.missing.add(n);
  }

  // all reads all channels of a car that has not too many.
  async all() {
    if (this.total < 0) await this.ask("");
    if (this.whole || this.total > fetched) return;
    const rest = [];
    for (let at = page; at < this.total; at += page) rest.push(this.ask("", at));
    await Promise.all(rest);
    this.whole = true;
  }

  // start returns the plots of a first visit.
  async start() {
    await this.all();
    if (!this.whole) await Promise.all(words.map((w) => this.ask(w, 0, 40)));
    return choose([...this.byName.values()]);
  }
}
