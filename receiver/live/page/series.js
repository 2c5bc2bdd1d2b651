// series owns the bins of the charts in the browser's memory: one ring of least
// and greatest values per channel, at the server's step. Pure; drawing reads it.

// capacity is how many bins a channel keeps: several screens, to scroll back.
export const capacity = 4096;

// Series is one channel. NaN stands for a bin without a value.
export class Series {
  constructor(step) {
    this.lo = new Float64Array(capacity);
    this.hi = new Float64Array(capacity);
    this.reset(step);
  }

  reset(step) {
    this.step = step;
    this.first = 0; // oldest slot kept; first > last: empty
    this.last = -1;
  }

  // put takes consecutive bins from a slot on: [min, max, min, max, …], null for
  // a bin without a value.
  put(slot0, flat) {
    const n = flat.length >> 1;
    if (!n) return;
    this.extend(slot0, slot0 + n - 1);
    for (let i = 0; i < n; i++) {
      const s = slot0 + i;
      if (s < this.first) continue;
      const k = s % capacity, lo = flat[2 * i], hi = flat[2 * i + 1];
      this.lo[k] = lo === null ? NaN : lo;
      this.hi[k] = hi === null ? NaN : hi;
    }
  }

  // extend makes room for slots from a to b; what is too old is forgotten.
  extend(a, b) {
    if (this.last < this.first || a > this.last + capacity || b < this.first - capacity) {
      this.first = Math.max(a, b - capacity + 1);
      this.last = b;
      this.blank(this.first, b);
      return;
    }
    if (b > this.last) {
      this.first = Math.max(this.first, b - capacity + 1);
      this.blank(Math.max(this.last + 1, this.first), b);
      this.last = b;
    }
    const oldest = Math.max(a, this.last - capacity + 1);
    if (oldest < this.first) {
      this.blank(oldest, this.first - 1);
      this.first = oldest;
    }
  }

  // blank empties the slots from a to b, both included.
  blank(a, b) {
    for (let s = a; s <= b; s++) {
      this.lo[s % capacity] = NaN;
      this.hi[s % capacity] = NaN;
    }
  }

  // forget empties what lies at or after a slot: before all of it comes again.
  forget(slot) {
    if (this.last >= this.first) this.blank(Math.max(slot, this.first), this.last);
  }

  // newest returns the slot of the newest value, -1 when there is none.
  newest() {
    for (let s = this.last; s >= this.first; s--) if (this.hi[s % capacity] === this.hi[s % capacity]) return s;
    return -1;
  }

  // oldest returns the slot of the oldest value, -1 when there is none.
  oldest() {
    for (let s = this.first; s <= this.last; s++) if (this.hi[s % capacity] === this.hi[s % capacity]) return s;
    return -1;
  }

  // at writes the bin next to a time into out: [min, max, time ms], and reports
  // whether there is one within a distance.
  at(ms, withinMS, out) {
    const mid = Math.floor(ms / this.step), reach = Math.max(1, Math.ceil(withinMS / this.step));
    for (let d = 0; d <= reach; d++) {
      for (const s of d ? [mid - d, mid + d] : [mid]) {
        if (s < this.first || s > this.last) continue;
        const k = s % capacity;
        if (this.hi[k] !== this.hi[k]) continue;
        out[0] = this.lo[k];
        out[1] = this.hi[k];
        out[2] = (s + 0.5) * this.step;
        return true;
      }
    }
    return false;
  }
}

// Store is the series of all channels that are watched.
export class Store {
  constructor() {
    this.step = 100;
    this.series = new Map(); // id -> Series
    this.keptFrom = 0; // what the server can give, UTC ms; 0: not known
    this.version = 0; // counts frames
  }

  clear() {
    this.series.clear();
    this.version++;
  }

  // take puts one frame of charts in; spanMS is what a whole one covers.
  take(frame, spanMS) {
    if (frame.step_ms !== this.step) {
      this.step = frame.step_ms;
      this.series.clear();
    }
    if (frame.kept_from_ms) this.keptFrom = frame.kept_from_ms;
    const begin = Math.floor((frame.now_ms - spanMS) / this.step);
    const seen = frame.reset ? new Set() : null;
    for (const [id, slot0, flat] of frame.series ?? []) {
      let s = this.series.get(id);
      if (!s) this.series.set(id, (s = new Series(this.step)));
      if (seen && !seen.has(id)) {
        seen.add(id);
        s.forget(Math.min(begin, slot0));
      }
      s.put(slot0, flat);
    }
    this.version++;
  }

  // keep drops the channels that are not in ids.
  keep(ids) {
    for (const id of this.series.keys()) if (!ids.has(id)) this.series.delete(id);
  }
}

// fromPast turns an answer of the archive into series of bins; ids are by name.
export function fromPast(r, ids) {
  const out = [];
  for (const s of r.series ?? []) {
    const id = ids.get(s.name);
    if (id === undefined) continue;
    for (let i = 0; i < s.t.length; i++) if (s.min[i] !== null) out.push([id, Math.floor(s.t[i] / r.step_ms), [s.min[i], s.max[i]]]);
  }
  return out;
}

// Columns are what one plot draws: x in UTC ms, and the least and greatest value
// of each series per column. Its arrays are made once per size.
export class Columns {
  constructor() {
    this.n = 0;
    this.x = new Float64Array(0);
    this.lo = [];
    this.hi = [];
    this.least = [];
    this.most = [];
    this.shape = "";
  }

  // size makes the arrays for so many columns of so many series, and reports
  // whether they are new ones.
  size(n, series) {
    const shape = `${n}/${series}`;
    if (shape === this.shape) return false;
    this.shape = shape;
    this.n = n;
    this.x = new Float64Array(n);
    this.lo = Array.from({ length: series }, () => new Float64Array(n));
    this.hi = Array.from({ length: series }, () => new Float64Array(n));
    this.least = new Array(series).fill(NaN);
    this.most = new Array(series).fill(NaN);
    return true;
  }

  // fill takes the bins of [from, to] ms of some series; bins are merged so that
  // there is at most about one column per pixel, always on the same bounds, so
  // that columns do not flicker while time goes on.
  fill(list, step, from, to, pixels) {
    const bins = Math.ceil((to - from) / step) + 1;
    const per = Math.max(1, Math.ceil(bins / Math.max(16, pixels)));
    const n = Math.ceil(bins / per) + 2;
    const renewed = this.size(n, list.length);
    const end = Math.floor(to / step / per) + 1; // group after the last
    const begin = end - n;
    const half = (per * step) / 2;
    for (let i = 0; i < n; i++) this.x[i] = (begin + i) * per * step + half;
    for (let j = 0; j < list.length; j++) this.one(j, list[j], begin, per);
    return renewed;
  }

  one(j, s, begin, per) {
    const lo = this.lo[j], hi = this.hi[j], n = this.n;
    let least = Infinity, most = -Infinity;
    for (let i = 0; i < n; i++) {
      let a = Infinity, b = -Infinity;
      if (s) {
        const slot = (begin + i) * per;
        for (let k = Math.max(slot, s.first), last = Math.min(slot + per - 1, s.last); k <= last; k++) {
          const l = s.lo[k % capacity], h = s.hi[k % capacity];
          if (l < a) a = l; // NaN is never less
          if (h > b) b = h;
        }
      }
      if (a > b) {
        lo[i] = hi[i] = NaN;
        continue;
      }
      lo[i] = a;
      hi[i] = b;
      if (a < least) least = a;
      if (b > most) most = b;
    }
    this.least[j] = least <= most ? least : NaN;
    this.most[j] = least <= most ? most : NaN;
  }
}
