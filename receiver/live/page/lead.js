// lead owns the part of the live view that is older than what the server keeps of a
// channel that is charted for the first time: it is read out of the archive, once for
// each choice of channels and span, and joins the bins of the stream.

import { carPath, longPast, query } from "./net.js";
import { fromPast } from "./series.js";

const leastMS = 60_000; // of the view: the server keeps so much of every channel
const slack = 0.02; // of the view that may be missing
const waitMS = 400; // after the last whole frame of charts
const againMS = 30_000; // after a refusal

export class Lead {
  // store has the bins of the stream; charted() are the channels that are drawn, as
  // [id, name in the past]; may() says whether who looks may read the past; onBins is
  // called when bins have come.
  constructor(state, store, charted, may, onBins) {
    Object.assign(this, { state, store, charted, may, onBins });
    this.clear();
  }

  clear() {
    clearTimeout(this.timer);
    this.stop?.abort();
    this.of = ""; // the car and view that the archive has been asked for
    this.ids = new Set(); // for these channels
    this.bins = []; // [[id, slot, [min, max]], …]
    this.notBefore = 0;
  }

  // whole is called after a frame that brought all bins anew, with the time at the right
  // edge.
  whole(edge) {
    if (this.of === this.view()) this.join(this.bins);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(edge), waitMS);
  }

  view() {
    return [this.state.car, this.state.span, this.store.step].join();
  }

  // lacking are the channels whose bins begin within a view from a time on, and where the
  // first of them begins, UTC ms.
  lacking(from) {
    const { step, series } = this.store, late = from + slack * this.state.span, out = [];
    let to = 0;
    for (const [id, name] of this.charted()) {
      const begin = (series.get(id)?.oldest() ?? -1) * step;
      if (!name || begin <= late || this.ids.has(id)) continue; // without any bin there is nothing to lead to
      out.push([id, name]);
      to = Math.max(to, begin);
    }
    return { channels: out, to };
  }

  async ask(edge) {
    const { car, span, at } = this.state, { step } = this.store;
    if (at || span <= leastMS || !car || car.includes("~") || !this.may() || performance.now() < this.notBefore) return;
    const of = this.view();
    if (of !== this.of) {
      this.stop?.abort();
      Object.assign(this, { of, ids: new Set(), bins: [] });
    }
    const from = Math.floor((edge - span) / step) * step, { channels, to } = this.lacking(from);
    if (!channels.length) return;
    const stop = (this.stop = new AbortController()), ids = new Map(channels.map(([id, name]) => [name, id]));
    const q = query({ from, to, points: Math.round((to - from) / step) }, [...ids.keys()]);
    for (const id of ids.values()) this.ids.add(id);
    try {
      const r = await longPast(`${carPath(car, "/past")}?${q}`, { signal: stop.signal });
      if (of !== this.of || r.step_ms !== step) return;
      const bins = fromPast(r, ids);
      this.bins = this.bins.concat(bins);
      if (of === this.view()) this.join(bins);
    } catch (e) {
      if (e.name === "AbortError" || of !== this.of) return;
      for (const id of ids.values()) this.ids.delete(id); // there is no archive, or others are reading: what is there is shown
      this.notBefore = performance.now() + againMS;
    }
  }

  // join puts bins before those of the stream.
  join(bins) {
    const oldest = new Map();
    for (const [id, slot, bin] of bins) {
      const s = this.store.series.get(id);
      if (!s) continue;
      if (!oldest.has(id)) oldest.set(id, s.oldest());
      if (slot < oldest.get(id)) s.put(slot, bin);
    }
    this.store.version++;
    this.onBins();
  }
}
