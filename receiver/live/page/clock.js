// clock owns the time at the right edge of the charts: the server's, or that of a
// replay, which may run faster, stand still or jump. Pure: it is told the time.

const jumpMS = 1500; // so far off, it is another time and not a late frame
const aheadMS = 5000; // without a frame, time goes on for so long

// Clock follows now_ms of the frames. Between two frames it goes on at its pace.
export class Clock {
  constructor() {
    this.reset();
  }

  reset() {
    this.base = NaN; // now_ms at time at
    this.at = 0;
    this.speed = 1;
  }

  // pace tells how fast time goes: 1 live, 0 for what stands still or has no pace.
  pace(speed) {
    this.speed = speed;
  }

  // sample takes now_ms of a frame that came at a time in ms of any clock. A frame
  // that came late says less than its time: the clock follows forward at once, and
  // backward slowly.
  sample(now, at) {
    const off = now - this.now(at);
    if (!this.known || this.speed !== 1 || off > 0 || off < -jumpMS) this.base = now;
    else this.base = now - off * 0.98;
    this.at = at;
  }

  // now returns the time at the right edge.
  now(at) {
    return this.base + Math.min(at - this.at, aheadMS) * this.speed;
  }

  get known() {
    return !Number.isNaN(this.base);
  }
}
