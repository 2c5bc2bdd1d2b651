// paths owns what a plot puts on its canvas besides axes: the envelope of least
// and greatest values, and the shading of holes. It keeps no state but patterns.

import { colors, onTheme } from "./theme.js";
import { flashMS } from "./holes.js";
import { calm } from "./dom.js";

const gapMS = 3000; // without a value for so long, the line breaks

// envelope returns uPlot's path builder for one series of a plot. Values come
// from cols.lo and cols.hi: one stroke goes through both, so that at one column
// per pixel every extreme is on the screen.
export function envelope(cols, j, scale, owner, stepped) {
  return (u) => {
    const path = new Path2D();
    const x = cols.x, lo = cols.lo[j], hi = cols.hi[j], n = cols.n;
    const sx = u.scales.x, sy = u.scales[scale], box = u.bbox;
    const kx = box.width / (sx.max - sx.min), ky = box.height / (sy.max - sy.min);
    const x0 = box.left - sx.min * kx, y0 = box.top + box.height + sy.min * ky;
    const spacing = n > 1 ? x[1] - x[0] : 1, holes = owner.holes;
    let last = NaN, lastX = 0, lastY = 0;
    for (let i = 0; i < n; i++) {
      const h = hi[i];
      if (h !== h) continue;
      const l = lo[i], at = x[i], px = x0 + at * kx, top = y0 - h * ky, bottom = y0 - l * ky;
      const near = Math.abs(top - lastY) < Math.abs(bottom - lastY) ? top : bottom;
      const gap = at - last;
      if (!(gap <= gapMS) || (gap > spacing * 1.5 && holes.breaks(last, at))) {
        if (lastX && last === last) path.lineTo(lastX + 0.5, lastY); // a lone value is a dot
        path.moveTo(px, near);
      } else {
        if (stepped) path.lineTo(px, lastY);
        path.lineTo(px, near);
      }
      lastY = near === top ? bottom : top;
      if (Math.abs(top - bottom) > 0.5) path.lineTo(px, lastY);
      else lastY = near;
      last = at;
      lastX = px;
    }
    if (last === last) path.lineTo(lastX + 0.5, lastY);
    return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 1 };
  };
}

const patterns = new Map();
onTheme(() => patterns.clear());

// hatch returns a pattern of a kind of hole: told apart by form, not only by
// colour. open: lines rising; late: points; lost: lines crossing.
function hatch(g, kind) {
  let p = patterns.get(kind);
  if (p) return p;
  const c = document.createElement("canvas"), n = 8;
  c.width = c.height = n;
  const k = c.getContext("2d");
  k.strokeStyle = k.fillStyle = colors[kind] ?? colors.open;
  k.globalAlpha = 0.75;
  k.lineWidth = 1;
  k.beginPath();
  if (kind === "late") {
    k.arc(2, 2, 1, 0, 7);
    k.arc(6, 6, 1, 0, 7);
    k.fill();
  } else {
    for (const d of [-n, 0, n]) {
      k.moveTo(d - 1, n + 1);
      k.lineTo(d + n + 1, -1);
      if (kind === "lost") {
        k.moveTo(d - 1, -1);
        k.lineTo(d + n + 1, n + 1);
      }
    }
    k.stroke();
  }
  p = g.createPattern(c, "repeat");
  patterns.set(kind, p);
  return p;
}

// shade draws the holes of [sx.min, sx.max] behind the lines, and for a moment
// those that have filled.
export function shade(u, holes, atMS) {
  if (!holes.list.length && !holes.filled.length) return;
  const g = u.ctx, box = u.bbox, sx = u.scales.x, kx = box.width / (sx.max - sx.min);
  const right = box.left + box.width;
  g.save();
  for (const [from, to, when] of holes.filled) {
    const a = Math.max(box.left, box.left + (from - sx.min) * kx), b = Math.min(right, box.left + (to - sx.min) * kx);
    const left = 1 - (atMS - when) / flashMS;
    if (b <= a || left <= 0) continue;
    g.globalAlpha = calm() ? 0.25 : 0.45 * left;
    g.fillStyle = colors.fresh;
    g.fillRect(a, box.top, Math.max(b - a, 2), box.height);
  }
  for (const [from, to, kind, reason] of holes.list) {
    if (to <= sx.min || from >= sx.max) continue;
    const a = Math.max(box.left, box.left + (from - sx.min) * kx), b = Math.min(right, box.left + (to - sx.min) * kx);
    const w = Math.max(b - a, 2);
    g.globalAlpha = 0.14;
    g.fillStyle = colors[kind] ?? colors.open;
    g.fillRect(a, box.top, w, box.height);
    g.globalAlpha = 0.6;
    g.fillStyle = hatch(g, kind);
    g.fillRect(a, box.top, w, box.height);
    label(g, a, w, box, kind, reason);
  }
  g.restore();
}

const names = { open: "waiting", late: "late", lost: "lost" };

function label(g, a, w, box, kind, reason) {
  const ratio = devicePixelRatio || 1;
  if (w < 52 * ratio) return;
  g.globalAlpha = 1;
  g.font = `600 ${10 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
  g.textAlign = "center";
  g.textBaseline = "top";
  const name = names[kind] ?? kind;
  let words = reason ? `${name}: ${reason}` : name;
  if (g.measureText(words).width + 10 * ratio > w) words = name;
  const tw = g.measureText(words).width + 8 * ratio;
  if (tw > w) return;
  g.fillStyle = colors.card;
  g.fillRect(a + w / 2 - tw / 2, box.top + 3 * ratio, tw, 14 * ratio);
  g.fillStyle = colors[kind] ?? colors.open;
  g.fillText(words, a + w / 2, box.top + 5 * ratio);
}
