// paths owns what a plot puts on its canvas besides axes: the least and greatest
// values, and the shading of holes. It keeps no state but patterns.

import { colors, onTheme } from "./theme.js";
import { flashMS } from "./holes.js";
import { calm } from "./dom.js";

const gapMS = 3000; // without a value for so long, the line breaks

// What is drawn as bars: columns this close, in CSS pixels, that are this high in the
// mean. A line through thousands of extremes costs ten times as much to paint.
const closePX = 2.5, highPX = 5;

// draw puts one series of a plot on its canvas. Values come from cols.lo and cols.hi:
// both are drawn, so that at one column per pixel every extreme is on the screen.
export function draw(u, cols, j, scale, owner, stepped, color) {
  const g = u.ctx, ratio = devicePixelRatio || 1, sx = u.scales.x, sy = u.scales[scale], box = u.bbox;
  const kx = box.width / (sx.max - sx.min), ky = box.height / (sy.max - sy.min);
  const at = { x: box.left - sx.min * kx, y: box.top + box.height + sy.min * ky, kx, ky };
  const spacing = cols.n > 1 ? cols.x[1] - cols.x[0] : 1;
  const broken = (last, now) => !(now - last <= gapMS) || (now - last > spacing * 1.5 && owner.holes.breaks(last, now));
  if (!stepped && spacing * kx <= closePX * ratio && height(cols.lo[j], cols.hi[j]) * ky > highPX * ratio) bars(g, cols, j, at, broken, spacing, color, ratio);
  else line(g, cols, j, at, broken, stepped, color, ratio);
}

// height is the mean distance of the extremes of columns that have them.
function height(lo, hi) {
  let sum = 0, n = 0;
  for (let i = 0; i < lo.length; i++) if (hi[i] === hi[i]) {
    sum += hi[i] - lo[i];
    n++;
  }
  return n ? sum / n : 0;
}

// bars fills each column from its least to its greatest value, drawn out to where the
// column before it ends. They lie on whole pixels: that is what browsers paint quickly.
function bars(g, cols, j, at, broken, spacing, color, ratio) {
  const { x } = cols, lo = cols.lo[j], hi = cols.hi[j], half = (spacing * at.kx) / 2, least = Math.max(1, Math.round(1.5 * ratio));
  let last = NaN, top = 0, bottom = 0;
  g.fillStyle = color;
  for (let i = 0; i < cols.n; i++) {
    const h = hi[i];
    if (h !== h) continue;
    const px = at.x + x[i] * at.kx, left = Math.round(px - half), y0 = Math.round(at.y - h * at.ky), y1 = Math.max(y0 + least, Math.round(at.y - lo[i] * at.ky));
    const joined = !broken(last, x[i]);
    const a = joined && y0 > bottom ? bottom : y0, b = joined && y1 < top ? top : y1;
    g.fillRect(left, a, Math.max(1, Math.round(px + half) - left), b - a);
    last = x[i];
    top = y0;
    bottom = y1;
  }
}

// line goes through both extremes of each column with one stroke.
function line(g, cols, j, at, broken, stepped, color, ratio) {
  const { x } = cols, lo = cols.lo[j], hi = cols.hi[j];
  let last = NaN, lastX = 0, lastY = 0;
  g.strokeStyle = color;
  g.lineWidth = 1.3 * ratio;
  g.lineJoin = "bevel"; // round ones cost as much as the line
  g.beginPath();
  for (let i = 0; i < cols.n; i++) {
    const h = hi[i];
    if (h !== h) continue;
    const px = at.x + x[i] * at.kx, top = at.y - h * at.ky, bottom = at.y - lo[i] * at.ky;
    const near = Math.abs(top - lastY) < Math.abs(bottom - lastY) ? top : bottom;
    if (broken(last, x[i])) {
      if (last === last) g.lineTo(lastX + 0.5, lastY); // a lone value is a dot
      g.moveTo(px, near);
    } else {
      if (stepped) g.lineTo(px, lastY);
      g.lineTo(px, near);
    }
    lastY = near === top ? bottom : top;
    if (Math.abs(top - bottom) > 0.5) g.lineTo(px, lastY);
    else lastY = near;
    last = x[i];
    lastX = px;
  }
  if (last === last) g.lineTo(lastX + 0.5, lastY);
  g.stroke();
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
