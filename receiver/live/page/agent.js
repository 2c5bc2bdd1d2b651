// agent owns what the car's own agent says of its links and lanes in channels of
// its group: state, share, signal, and batches that still lie in the spool.

import { api, carPath } from "./net.js";
import { stepMS } from "./recent.js";

const words = ["link_", "spool_"];
const wanted = /^link_.*_(state|share|rsrp_dbm|rsrp)$|^spool_.*_pending$/;
const freshMS = 5000;
const pastMS = 60_000; // that the server keeps of a channel that nobody has charted
const holdMS = 3000; // a value holds for so long

export class Agent {
  // values and stamps are the newest values and their times by id; now() is the
  // time at the right edge, NaN when it is not known.
  constructor(values, stamps, now) {
    this.values = values;
    this.stamps = stamps;
    this.now = now;
    this.clear();
  }

  clear() {
    this.catalogue = null;
    this.byName = new Map();
    this.rates = new Map(); // link -> id of its rate
    this.told = true; // the past has been asked for
  }

  // read finds the channels; it returns false when another car came meanwhile.
  async read(catalogue) {
    this.clear();
    this.catalogue = catalogue;
    const lists = await Promise.all(words.map((w) => catalogue.ask(`agent ${w}`, 0, 200)));
    if (this.catalogue !== catalogue) return false;
    for (const c of lists.flatMap((l) => l.channels)) {
      if (wanted.test(c.name)) this.byName.set(c.name, c.id);
      const link = /^link_(.*)_rate$/.exec(c.name)?.[1];
      if (link) this.rates.set(link, c.id);
    }
    this.told = false;
    return true;
  }

  // past reads, once, what the links were in the minute before a time of the server:
  // name -> [[rate, [state, …]], …], one each stepMS.
  async past(toMS) {
    const out = new Map(), links = [...this.rates].map(([name, rate]) => ({ name, rate, state: this.byName.get(`link_${name}_state`) })).filter((l) => l.state !== undefined);
    if (this.told || !links.length) return out;
    this.told = true;
    const catalogue = this.catalogue, from = Math.floor(toMS / stepMS) * stepMS - pastMS;
    const q = new URLSearchParams({ charts: links.flatMap((l) => [l.rate, l.state]).join(","), from_ms: from, to_ms: from + pastMS, points: pastMS / stepMS });
    const w = await api(`${carPath(catalogue.car, "/window")}?${q}`).catch(() => null);
    if (this.catalogue !== catalogue || w?.step_ms !== stepMS) return out;
    const bins = new Map(); // id -> slot -> [least, greatest]
    for (const [id, slot, flat] of w.series) {
      if (!bins.has(id)) bins.set(id, new Map());
      for (let i = 0; i < flat.length; i += 2) if (flat[i] !== null) bins.get(id).set(slot + i / 2, [flat[i], flat[i + 1]]);
    }
    const first = from / stepMS, last = first + pastMS / stepMS - 1;
    for (const l of links) {
      const rates = held(bins.get(l.rate), first, last), states = held(bins.get(l.state), first, last), names = catalogue.byId.get(l.state)?.enum ?? {};
      out.set(l.name, rates.map((r, i) => [r ? r[1] : null, (states[i] ?? []).map((v) => names[v] ?? "")]));
    }
    return out;
  }

  get ids() {
    return [...this.byName.values()];
  }

  value(name) {
    return this.values.get(this.byName.get(name)) ?? null;
  }

  // link is what is known of a link: null where it is not.
  link(name) {
    // The state comes when it changes, the share every second.
    const id = this.byName.get(`link_${name}_state`), age = this.now() - this.stamps.get(this.byName.get(`link_${name}_share`));
    const fresh = age < freshMS;
    return {
      fresh, state: fresh ? this.catalogue?.byId.get(id)?.enum?.[this.values.get(id)] ?? null : null,
      share: this.value(`link_${name}_share`), signal: this.value(`link_${name}_rsrp_dbm`) ?? this.value(`link_${name}_rsrp`),
    };
  }
}

// held lists bins from the first slot to the last one; one holds until the next.
function held(bins, first, last) {
  const out = [];
  let known = null, until = 0;
  for (let s = first; s <= last; s++) {
    const b = bins?.get(s);
    if (b) {
      known = b;
      until = s + holdMS / stepMS;
    }
    out.push(s < until ? known : null);
  }
  return out;
}
