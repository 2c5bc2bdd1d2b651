// frame owns when plots are drawn: a round through those in view, within a budget
// of time per animation frame, so that many plots make the page no slower, only
// each plot a little less fresh.
//
// window.__wall is what tests and the curious read. Times are in ms:
//
//	frames     animation frames since the page began
//	draws      plots drawn
//	times      lengths of the last 600 frames, a ring; at = next position
//	spent      what drawing took in each of them, a ring of the same positions
//	plots      {total, inView, lines}
//	dataAge    age of the newest bin that was drawn; -1: none
//	openHoles  holes of the full lane in the window that are waited for
//	filled     holes that have filled since the page began
//	links      state by link name
//	stream     state of the event stream; opened = how often it was opened
//	firstData  time from the page's begin to the first bin drawn; 0: none yet
//	chartFrames, resets  frames of charts taken, whole ones of them
//	pace       the server's last word on this viewer's pace, null: full speed
//	median(), worst()    of times

const ring = 600;
const budgetMS = 9; // of one frame
const slowMS = 42, quickMS = 25; // a frame; between, as many plots as before
const leastDraws = 2, mostDraws = 64; // of one frame
// every is the time between two draws of one plot, ms, by how many are in view: new
// bins come 20 times a second, and what moves under many eyes need not be as smooth.
export const every = (inView) => (inView <= 6 ? 30 : inView <= 16 ? 50 : inView <= 32 ? 66 : 100);

export const counters = (window.__wall = {
  frames: 0, draws: 0, at: 0, times: new Float64Array(ring), spent: new Float64Array(ring),
  plots: { total: 0, inView: 0, lines: 0 }, dataAge: -1, openHoles: 0, filled: 0, links: {}, stream: "connecting", opened: 0,
  firstData: 0, chartFrames: 0, resets: 0, pace: null,
  median() {
    const t = this.times.slice(0, Math.min(this.frames, ring)).sort();
    return t.length ? t[t.length >> 1] : 0;
  },
  worst() {
    return this.times.slice(0, Math.min(this.frames, ring)).reduce((a, b) => Math.max(a, b), 0);
  },
});

// Frames runs the rounds. before(nowMS) is called at the begin of each frame and
// returns whether time goes on; draw(plot, nowMS) draws one plot.
export class Frames {
  constructor(before, draw) {
    this.before = before;
    this.draw = draw;
    this.plots = []; // of the wall, in order
    this.next = 0;
    this.last = 0;
    this.usual = 17; // length of a frame, ms, smoothed
    this.room = mostDraws; // plots of one frame: fewer while the browser cannot paint as many
    this.tick = (t) => this.frame(t);
    requestAnimationFrame(this.tick);
  }

  // adapt learns from the length of a frame how many plots the next may have: most
  // of the work is the browser's, after the script has ended.
  adapt(ms) {
    this.usual += (Math.min(ms, 200) - this.usual) / 8;
    if (ms > slowMS) this.room = Math.max(leastDraws, Math.floor(this.room * 0.7));
    else if (ms < quickMS) this.room = Math.min(mostDraws, this.room + 1);
  }

  frame(t) {
    requestAnimationFrame(this.tick);
    const c = counters;
    if (this.last && !document.hidden) {
      c.times[c.at] = t - this.last;
      c.at = (c.at + 1) % ring;
      c.frames++;
      this.adapt(t - this.last);
    }
    this.last = document.hidden ? 0 : t;
    if (document.hidden) return;
    const begun = performance.now();
    const moving = this.before(begun);
    const n = this.plots.length, inView = this.plots.reduce((k, p) => k + (p.visible ? 1 : 0), 0);
    const everyMS = every(inView);
    // Their turns are spread over the frames, so that none of these is long.
    const room = Math.min(this.room, Math.max(leastDraws, Math.ceil((inView * this.usual) / everyMS)));
    for (let k = 0, drawn = 0; k < n && drawn < room; k++) {
      const p = this.plots[this.next % n];
      if (p.visible && (p.dirty || (moving && begun - p.drawnAt >= everyMS - this.usual / 2))) {
        this.draw(p, begun);
        c.draws++;
        drawn++;
      }
      this.next = (this.next + 1) % n;
      if (performance.now() - begun > budgetMS) break;
    }
    c.spent[c.at] = performance.now() - begun;
  }
}
