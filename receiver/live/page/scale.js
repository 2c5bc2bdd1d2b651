// scale owns the arithmetic of axes: round steps, ranges that hold still, ticks
// and their texts. Pure; no state.

// spans are those that can be chosen, in ms.
export const spans = [2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800].map((s) => s * 1000);

// zoom returns the next span in a direction: 1 shows more time, -1 less.
export function zoom(span, by) {
  let i = spans.findIndex((s) => s >= span);
  if (i < 0) i = spans.length - 1;
  if (by > 0 && spans[i] > span) i--; // between two: the next greater one
  return spans[Math.min(Math.max(i + by, 0), spans.length - 1)];
}

// roundStep returns the smallest of 1, 2, 5 times a power of ten that is ≥ raw.
export function roundStep(raw) {
  if (!(raw > 0) || !Number.isFinite(raw)) return 1;
  const mag = 10 ** Math.floor(Math.log10(raw));
  for (const m of [1, 2, 5]) if (m * mag >= raw * 0.999999) return m * mag;
  return 10 * mag;
}

// ticks returns the round numbers of [lo, hi], at most about n of them.
export function ticks(lo, hi, n) {
  const step = roundStep((hi - lo) / Math.max(1, n));
  const out = [];
  const first = Math.ceil(lo / step - 1e-9);
  for (let k = 0; (first + k) * step <= hi + step * 1e-9 && k < 32; k++) {
    const v = (first + k) * step || 0;
    if (!(v <= out.at(-1))) out.push(v); // beyond 2⁵³ not every step is another number
  }
  return out;
}

const mostDigits = 7; // of a tick's text

// tickText writes one of the ticks with the digits that their step needs. Where those are
// too many, its last ones stand behind an ellipsis: what differs from tick to tick.
export function tickText(v, step) {
  const a = Math.abs(v);
  if (a >= 1e7 || (step > 0 && step < 1e-4)) {
    const digits = step > 0 && a > 0 ? Math.floor(Math.log10(a) + 1e-9) - Math.floor(Math.log10(step) + 1e-9) : 1;
    if (digits < mostDigits) return v.toExponential(Math.max(1, digits)).replaceAll("-", "−");
    if (step >= 1 && a < 1e21) return `${v < 0 ? "−" : ""}${a < 1e10 ? a.toFixed(0) : `…${a.toFixed(0).slice(-6)}`}`;
    return v.toExponential(mostDigits - 1).replaceAll("-", "−");
  }
  if (Math.abs(v) >= 1e4 && step >= 100) return `${Number((v / 1000).toPrecision(4))}k`.replace("-", "−");
  const digits = Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return v.toFixed(digits).replace("-", "−");
}

// stateTicks returns the values of [lo, hi] that have names, at most about n of them: those
// that stand too close to the one before are left out. names is by value.
export function stateTicks(names, lo, hi, n) {
  const least = (hi - lo) / Math.max(1, n), out = [];
  for (const v of Object.keys(names).map(Number).sort((a, b) => a - b)) {
    if (v < lo || v > hi || v - out.at(-1) < least) continue;
    out.push(v);
  }
  return out;
}

// stateText writes the name of a state beside an axis, which has room for so many letters.
export function stateText(name, most = 10) {
  const letters = [...name];
  return letters.length <= most ? name : `${letters.slice(0, most - 1).join("").trimEnd()}…`;
}

// fits reports whether a label of a width that is centred at a place of an axis, from 0 to
// its length, stays within it, in CSS pixels: beyond either end there are labels of the
// axes beside it.
export const fits = (at, label, length) => at >= label / 2 && at + label / 2 <= length;

// axisSize returns the width of a value axis whose widest label has a width, in CSS
// pixels. It is never less than the least, and shrinks only by more than a digit, so
// that a plot holds still.
export function axisSize(label, gap, before, least) {
  const need = Math.max(least, Math.ceil((label + gap + 2) / 4) * 4);
  return need > before || need < before - 8 ? need : before;
}

// gridRows returns how many rows a grid of so many columns has when each plot, {w, h}
// in columns and rows, comes to the first place behind the one before it.
export function gridRows(plots, columns) {
  const taken = []; // by row: which columns
  let r = 0, c = 0, rows = 0;
  for (const p of plots) {
    const w = Math.min(p.w, columns);
    const free = () => c + w <= columns && Array.from({ length: p.h * w }, (_, k) => !taken[r + Math.floor(k / w)]?.[c + (k % w)]).every(Boolean);
    while (!free()) if (++c + w > columns) {
      c = 0;
      r++;
    }
    for (let i = r; i < r + p.h; i++) {
      taken[i] ??= [];
      for (let k = c; k < c + w; k++) taken[i][k] = true;
    }
    rows = Math.max(rows, r + p.h);
    c += w;
  }
  return rows;
}

const timeSteps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_200_000, 3_600_000];

// timeStep returns a step of a time axis, ms, that gives at most n ticks.
export function timeStep(spanMS, n) {
  return timeSteps.find((s) => spanMS / s <= n) ?? 3_600_000;
}

// Range holds the ends of a value axis: it grows at once, and shrinks only when
// the data fill less than half of it for a while, so that an axis holds still.
export class Range {
  constructor() {
    this.lo = 0;
    this.hi = 1;
    this.known = false;
    this.smallSince = 0;
  }

  // fit takes the least and greatest value shown, at a time in ms, and reports
  // whether the ends have changed. NaN or nothing shown changes nothing.
  fit(lo, hi, nowMS) {
    if (!(lo <= hi) || !Number.isFinite(lo) || !Number.isFinite(hi)) return false;
    const small = this.known && lo >= this.lo && hi <= this.hi;
    if (small) {
      const slack = (hi - lo) / (this.hi - this.lo) < 0.5 && !(hi === lo && this.flat);
      if (!slack) this.smallSince = 0;
      else if (!this.smallSince) this.smallSince = nowMS;
      if (!slack || nowMS - this.smallSince < holdMS) return false;
    }
    this.smallSince = 0;
    return this.set(lo, hi);
  }

  set(lo, hi) {
    this.flat = lo === hi;
    if (this.flat) {
      const by = Math.abs(lo) * 0.05 || 1;
      lo -= by;
      hi += by;
    }
    const step = roundStep((hi - lo) / 4) / 2;
    const a = Math.floor(lo / step + 1e-9) * step, b = Math.ceil(hi / step - 1e-9) * step;
    const changed = !this.known || a !== this.lo || b !== this.hi;
    this.lo = a;
    this.hi = b;
    this.known = true;
    return changed;
  }
}

// holdMS is how long an axis waits before it shrinks.
const holdMS = 1500;
