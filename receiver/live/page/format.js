// format owns how numbers, times and units are written for people. Pure; no
// state. Every number that is not known is an en dash.

const none = "–";
const minus = (s) => s.replace("-", "−");
const thin = "\u202f";

// text writes a value: at most seven digits, no noise.
export function text(v) {
  if (v === null || v === undefined || !Number.isFinite(v)) return none;
  const a = Math.abs(v);
  return minus(a !== 0 && (a >= 1e9 || a < 1e-4) ? v.toExponential(3) : String(Number(v.toPrecision(7))));
}

// short writes a value in a legend: about five digits, of steady width.
export function short(v) {
  if (v === null || v === undefined || !Number.isFinite(v)) return none;
  const a = Math.abs(v);
  if (a !== 0 && (a >= 1e7 || a < 1e-3)) return minus(v.toExponential(2));
  const digits = a >= 10000 ? 0 : a >= 1000 ? 1 : a >= 100 ? 2 : 3;
  return minus(v.toFixed(digits));
}

// valueText writes a value of a channel: the name of a state when it has one. What is
// counted is written whole, as far as a browser knows every digit of it.
export function valueText(channel, v) {
  return channel?.enum?.[v] ?? (counted.has(channel?.unit) && Number.isSafeInteger(v) ? count(v) : short(v));
}

// counted are the units of what is counted, not measured.
const counted = new Set(["", "B", "batches", "samples", "rows", "frames"]);

const units = { degC: "°C", degF: "°F", deg: "°", "deg/s": "°/s" };

// unit writes the unit of a channel.
export const unit = (channel) => units[channel?.unit] ?? channel?.unit ?? "";

// age writes how long ago something was, in ms.
export function age(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return none;
  ms = Math.max(0, ms);
  if (ms < 950) return `${Math.round(ms / 10) * 10} ms`;
  if (ms < 99_500) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

// spanText writes a span of time as it is chosen: "10 s", "2 min".
export const spanText = (ms) => (ms < 60_000 ? `${minus(String(Number((ms / 1000).toPrecision(3))))} s` : `${Number((ms / 60_000).toPrecision(3))} min`);

// bytes writes a number of bytes.
export function bytes(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return none;
  for (const u of ["B", "kB", "MB"]) {
    if (n < 1000) return `${n < 10 && u !== "B" ? n.toFixed(1) : Math.round(n)} ${u}`;
    n /= 1000;
  }
  return `${n.toFixed(1)} GB`;
}

// mbit writes bytes per second as Mbit/s, without the unit.
export function mbit(bytesPerS) {
  if (bytesPerS === null || bytesPerS === undefined || !Number.isFinite(bytesPerS)) return none;
  const m = (bytesPerS * 8) / 1e6;
  return m.toFixed(m < 10 ? 2 : m < 100 ? 1 : 0);
}

// count writes a whole number in groups of three.
export function count(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return none;
  return minus(Math.round(n).toLocaleString("en").replaceAll(",", thin));
}

// perS writes a rate.
export const perS = (n) => (n === null || n === undefined ? none : n < 9.95 ? n.toFixed(1) : count(n));

// lapTime writes a lap's or a sector's time: 1:23.456, or 23.456.
export function lapTime(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms) || ms <= 0) return none;
  const t = Math.round(ms);
  const m = Math.floor(t / 60_000), s = ((t % 60_000) / 1000).toFixed(3);
  return m ? `${m}:${s.padStart(6, "0")}` : s;
}

// delta writes a difference in ms as seconds with its sign.
export function delta(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return none;
  const s = (Math.abs(ms) / 1000).toFixed(3);
  return Number(s) === 0 ? "0.000" : `${ms < 0 ? "−" : "+"}${s}`;
}

const two = (n) => String(n).padStart(2, "0");

// clock writes the local time of day, with as many digits of a second as asked.
export function clock(ms, digits = 0) {
  const d = new Date(ms);
  const s = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return digits ? `${s}.${String(Math.floor(d.getMilliseconds())).padStart(3, "0").slice(0, digits)}` : s;
}

// day writes the local date.
export function day(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

// stamp writes local date and time, to the second.
export const stamp = (ms) => (ms ? `${day(ms)} ${clock(ms)}` : none);

// when writes the local time of day, after the date where that is not the day of now.
export const when = (ms, now, digits = 0) => (day(ms) === day(now) ? clock(ms, digits) : `${day(ms)} ${clock(ms, digits)}`);

// zone names the time zone of this browser at a time: "Europe/Berlin, UTC+01:00".
export function zone(ms) {
  const east = -new Date(ms).getTimezoneOffset(), a = Math.abs(east);
  return `${Intl.DateTimeFormat().resolvedOptions().timeZone}, UTC${east < 0 ? "−" : "+"}${two(Math.floor(a / 60))}:${two(a % 60)}`;
}

// detailText writes the detail of an event: what is JSON in words, without ids.
export function detailText(detail) {
  if (!detail?.startsWith("{")) return detail ?? "";
  let d;
  try {
    d = JSON.parse(detail);
  } catch {
    return detail;
  }
  const has = (v) => v !== "" && v !== null && v !== true && v !== undefined;
  const { id, lap, sector, time_ns: took, ...rest } = d;
  const where = Object.entries({ lap, sector }).filter(([, v]) => has(v)).map(([k, v]) => `${k} ${v}`).join(", ");
  const time = took ? lapTime(took / 1e6) : "";
  const what = [where, time && (time.includes(":") ? time : `${time} s`)].filter(Boolean).join(": ");
  const more = Object.entries(rest).filter(([, v]) => has(v)).map(([k, v]) => (v === false ? `not ${k}` : `${k.replaceAll("_", " ")} ${typeof v === "object" ? JSON.stringify(v) : v}`));
  return [what, ...more].filter(Boolean).join(", ");
}

// eventText writes an event; its detail tells a lap or a sector better than its name.
export function eventText(e) {
  const d = detailText(e.detail);
  return !d ? e.text : e.text === "sector" || e.text === "lap" ? d : `${e.text}: ${d}`;
}

// reading says how far a reading of the past is; slow: it takes long.
export const reading = (what, done, of, slow) => `${what}${of ? `, ${Math.round((100 * done) / of)} %` : " …"}${slow ? " It takes long: a shorter time or fewer channels are read sooner." : ""}`;
