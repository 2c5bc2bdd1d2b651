// A chart of one channel: the last minute, least and greatest value per step.

const span = 60_000; // ms shown
const hole = 3_000; // ms without a value that break the line

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.bins = new Map(); // slot -> [min, max]
    this.step = 100;
    this.now = 0; // server's time at the right edge, ms
    this.unit = "";
    this.pointer = null; // x in CSS pixels
    canvas.addEventListener("pointermove", (e) => this.point(e.offsetX));
    canvas.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.theme());
  }

  // theme reads the colours again.
  theme() {
    colors.clear();
    this.draw();
  }

  point(x) {
    this.pointer = x;
    this.draw();
  }

  clear(name, unit) {
    this.bins.clear();
    this.name = name;
    this.unit = unit;
    this.draw();
  }

  take(frame) {
    if (frame.reset) this.bins.clear();
    this.step = frame.step_ms;
    for (const [slot, min, max] of frame.bins ?? []) this.bins.set(slot, [min, max]);
  }

  // tick moves the right edge to a time and draws.
  tick(now) {
    this.now = now;
    const first = (now - span) / this.step - 1;
    for (const slot of this.bins.keys()) if (slot < first) this.bins.delete(slot);
    this.draw();
  }

  // columns merges the steps into columns of pixels: [x, min, max, time].
  columns(width) {
    const slots = [...this.bins.keys()].sort((a, b) => a - b);
    const out = [];
    for (const s of slots) {
      const [min, max] = this.bins.get(s);
      const t = (s + 0.5) * this.step;
      const x = Math.round(width * (1 - (this.now - t) / span));
      const last = out.at(-1);
      if (last && last[0] === x) {
        last[1] = Math.min(last[1], min);
        last[2] = Math.max(last[2], max);
      } else if (x >= 0 && x <= width) out.push([x, min, max, t]);
    }
    return out;
  }

  draw() {
    const c = this.canvas;
    const ratio = devicePixelRatio || 1;
    const w = c.clientWidth, h = c.clientHeight;
    if (!w || !h) return;
    if (c.width !== Math.round(w * ratio) || c.height !== Math.round(h * ratio)) {
      c.width = Math.round(w * ratio);
      c.height = Math.round(h * ratio);
    }
    const g = c.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, h);
    const left = 62, right = 16, top = 10, bottom = 26;
    const pw = w - left - right, ph = h - top - bottom;
    const cols = this.columns(pw);
    let lo = Infinity, hi = -Infinity;
    for (const [, a, b] of cols) {
      lo = Math.min(lo, a);
      hi = Math.max(hi, b);
    }
    this.describe(lo, hi, cols.length);
    const empty = !cols.length;
    if (empty) [lo, hi] = [0, 1];
    if (lo === hi) [lo, hi] = [lo - (Math.abs(lo) * 0.05 || 1), hi + (Math.abs(hi) * 0.05 || 1)];
    const ticks = nice(lo, hi, ph < 180 ? 3 : 4);
    lo = Math.min(lo, ticks[0]);
    hi = Math.max(hi, ticks.at(-1));
    const y = (v) => top + ph * (1 - (v - lo) / (hi - lo));
    this.axes(g, { left, top, pw, ph, y, ticks, empty });
    if (empty) return;
    this.line(g, cols, left, y);
    if (this.pointer !== null) this.cross(g, cols, { left, top, pw, ph, y });
  }

  axes(g, { left, top, pw, ph, y, ticks, empty }) {
    g.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    g.lineWidth = 1;
    g.strokeStyle = color("--line");
    g.fillStyle = color("--soft");
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (const t of empty ? [] : ticks) {
      const at = Math.round(y(t)) + 0.5;
      g.beginPath();
      g.moveTo(left, at);
      g.lineTo(left + pw, at);
      g.stroke();
      g.fillText(tickText(t, ticks), left - 8, at);
    }
    g.textBaseline = "top";
    const every = pw < 420 ? 20 : 10;
    for (let s = 60; s >= 0; s -= every) {
      const x = left + pw * (1 - s / 60);
      g.textAlign = s === 0 ? "right" : s === 60 ? "left" : "center";
      g.fillText(s === 0 ? "now" : `−${s} s`, x, top + ph + 9);
    }
    g.beginPath();
    g.moveTo(left, top + ph + 0.5);
    g.lineTo(left + pw, top + ph + 0.5);
    g.stroke();
    if (empty) {
      g.textAlign = "center";
      g.textBaseline = "middle";
      g.fillText(this.name ? "no value in the last minute" : "choose a channel in the table", left + pw / 2, top + ph / 2);
    }
  }

  line(g, cols, left, y) {
    const accent = color("--accent");
    for (const run of runs(cols)) {
      g.fillStyle = color("--band");
      g.beginPath();
      for (const [x, , max] of run) g.lineTo(left + x, y(max));
      for (const [x, min] of run.slice().reverse()) g.lineTo(left + x, y(min));
      g.fill();
      g.strokeStyle = accent;
      g.lineWidth = 1.5;
      g.lineJoin = "round";
      g.beginPath();
      for (const [x, min, max] of run) {
        g.lineTo(left + x, y(max));
        if (max !== min) g.lineTo(left + x, y(min));
      }
      if (run.length === 1) g.arc(left + run[0][0], y(run[0][1]), 1.5, 0, 7);
      g.stroke();
    }
  }

  cross(g, cols, { left, top, pw, ph, y }) {
    const at = this.pointer - left;
    if (at < 0 || at > pw) return;
    let best = cols[0];
    for (const c of cols) if (Math.abs(c[0] - at) < Math.abs(best[0] - at)) best = c;
    if (Math.abs(best[0] - at) > 12) return;
    const [x, min, max, t] = best;
    g.strokeStyle = color("--soft");
    g.lineWidth = 1;
    g.setLineDash([3, 3]);
    g.beginPath();
    g.moveTo(left + x + 0.5, top);
    g.lineTo(left + x + 0.5, top + ph);
    g.stroke();
    g.setLineDash([]);
    const range = min === max ? text(min) : `${text(min)} … ${text(max)}`;
    const label = `${range} ${this.unit}  ${((t - this.now) / 1000).toFixed(1).replace("-", "−")} s`;
    const width = g.measureText(label).width + 16;
    const bx = Math.min(Math.max(left + x - width / 2, left), left + pw - width);
    g.fillStyle = color("--text");
    g.beginPath();
    g.roundRect(bx, top, width, 22, 4);
    g.fill();
    g.fillStyle = color("--card");
    g.textAlign = "left";
    g.textBaseline = "middle";
    g.fillText(label, bx + 8, top + 11.5);
    g.fillStyle = color("--accent");
    g.beginPath();
    g.arc(left + x, y((min + max) / 2), 3, 0, 7);
    g.fill();
  }

  // describe says in words what is drawn, for who cannot see it.
  describe(lo, hi, n) {
    const label = !this.name ? "no channel chosen" : !n ? `${this.name}: no value in the last minute`
      : `${this.name}, last minute: from ${text(lo)} to ${text(hi)} ${this.unit}`;
    if (this.label !== label) this.canvas.setAttribute("aria-label", (this.label = label));
  }
}

function runs(cols) {
  const out = [];
  for (const c of cols) {
    const run = out.at(-1);
    if (run && c[3] - run.at(-1)[3] <= hole) run.push(c);
    else out.push([c]);
  }
  return out;
}

function nice(lo, hi, n) {
  const raw = (hi - lo) / n;
  const mag = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * mag).find((s) => s >= raw) ?? raw;
  const out = [];
  for (let i = Math.floor(lo / step); i <= Math.ceil(hi / step) && out.length < 12; i++) out.push(i * step);
  return out;
}

function tickText(t, ticks) {
  const step = ticks[1] - ticks[0];
  if (Math.abs(t) >= 1e6 || (step < 1e-4 && step > 0)) return t.toExponential(2).replace("-", "−");
  const digits = Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (/[.]?25/.test(String(step)) ? 1 : 0)));
  return t.toFixed(digits).replace("-", "−");
}

// text writes a number for people: seven digits, no noise.
export function text(v) {
  if (!Number.isFinite(v)) return "–";
  const a = Math.abs(v);
  const s = a !== 0 && (a >= 1e9 || a < 1e-4) ? v.toExponential(3) : String(Number(v.toPrecision(7)));
  return s.replace("-", "−");
}

function color(name) {
  if (!colors.has(name)) {
    probe.style.color = `var(${name})`;
    colors.set(name, getComputedStyle(probe).color);
  }
  return colors.get(name);
}

const colors = new Map();
const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
