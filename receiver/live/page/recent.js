// recent owns the short past of a strip: a ring of what is drawn as a line, and how
// bad it was. Pure; drawing reads it.

export const points = 240; // two minutes at two a second
export const stepMS = 500; // between two points

const behindMS = 2000; // a lane lags

// laneLevel is how bad it is that a lane lags and waits for batches.
export const laneLevel = (lagMS, holes) => (lagMS > behindMS || holes ? 1 : 0);

// lanePoint is what is drawn of a moment of a lane, [lag, rows/s, holes], of which any may
// be null: [v, how bad]; a moment that nobody knows is null, too.
export const lanePoint = (m) => (m ? [m[0] ?? m[1], laneLevel(m[0], m[2])] : [null, 0]);

// Recent is a ring of two numbers per point; how bad: 0 good, 1 warning, 2 bad.
export class Recent {
  constructor() {
    this.v = new Float64Array(points).fill(NaN);
    this.k = new Uint8Array(points);
    this.at = 0;
    this.n = 0; // points that are there
  }

  add(v, k) {
    this.v[this.at] = v ?? NaN;
    this.k[this.at] = k;
    this.at = (this.at + 1) % points;
    this.n = Math.min(this.n + 1, points);
  }

  // before puts older points in front of those that are there: [[v, k], …], oldest
  // first, of which the last ones are of the same time as what is there.
  before(older) {
    const own = Array.from({ length: this.n }, (_, i) => (this.at - this.n + i + points) % points).map((i) => [this.v[i], this.k[i]]);
    this.v.fill(NaN);
    this.k.fill(0);
    this.at = this.n = 0;
    for (const [v, k] of [...older.slice(0, Math.max(0, older.length - own.length)), ...own].slice(-points)) this.add(v, k);
  }
}
