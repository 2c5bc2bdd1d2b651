// holes owns what is missing by event time: the server's list of holes per lane,
// and which of them have just filled. Pure; drawing reads it.

// flashMS is how long a hole that has filled is shown as such.
export const flashMS = 2500;

// Holes is one lane's list.
export class Holes {
  constructor() {
    this.list = []; // [from ms, to ms, "open"|"late"|"lost", reason]
    this.filled = []; // [from ms, to ms, when it filled]
  }

  // take takes the whole list as it is now, at a time in ms. What was open or
  // late before and is not missing any more has filled; what left the window to
  // the left of oldestMS has not.
  take(list, atMS, oldestMS) {
    for (const [from, to, kind] of this.list) {
      if (kind === "lost") continue;
      for (const [a, b] of minus(from, to, list)) if (b > oldestMS && b - a >= 1) this.filled.push([Math.max(a, oldestMS), b, atMS]);
    }
    this.list = list.slice().sort((x, y) => x[0] - y[0]);
    this.forget(atMS);
  }

  forget(atMS) {
    if (this.filled.length) this.filled = this.filled.filter((f) => atMS - f[2] < flashMS).slice(-64);
  }

  // breaks reports whether a line between two times crosses a hole.
  breaks(a, b) {
    for (const h of this.list) {
      if (h[0] >= b) return false;
      if (h[1] > a) return true;
    }
    return false;
  }

  count(kind) {
    let n = 0;
    for (const h of this.list) if (h[2] === kind) n++;
    return n;
  }
}

// minus returns the parts of [from, to] that no hole of list covers any more.
function minus(from, to, list) {
  let parts = [[from, to]];
  for (const [a, b] of list) {
    if (b <= from || a >= to) continue;
    parts = parts.flatMap(([x, y]) => [[x, Math.min(y, a)], [Math.max(x, b), y]].filter(([p, q]) => q > p));
  }
  return parts;
}

const words = { open: "waited for", late: "came late", lost: "lost" };

// holeText says a hole in words.
export function holeText([from, to, kind, reason]) {
  const ms = to - from;
  const long = ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
  return `${long} ${words[kind] ?? kind}${reason ? `: ${reason}` : ""}`;
}
