// report owns what the page tells about the car besides plots: the tiles, the list
// of events and gaps, the connection, how fast this viewer is served, and what is
// wrong with the server.

import { $, button, el, kind, put, say, show } from "./dom.js";
import { age, count, day, eventText, perS, stamp, when } from "./format.js";
import { counters } from "./frame.js";

const words = {
  connecting: ["wait", "connecting"], live: ["good", "live"], reconnecting: ["bad", "reconnecting"], silent: ["bad", "server silent"],
  refused: ["bad", "refused"], unreachable: ["bad", "server unreachable"], login: ["bad", "login needed"], paused: ["wait", "in the background"],
};

// connection shows the state of the stream.
export function connection(state, why) {
  const [k, w] = words[state];
  counters.stream = state;
  document.body.dataset.conn = { connecting: "connecting", live: "live", login: "login" }[state] ?? "stale";
  const c = $("conn");
  if (c.dataset.kind !== k) c.dataset.kind = k;
  put(c, w);
  c.title = why;
  if (state === "live") notice("stream", "");
  else if (why) notice("stream", `${w}: ${why}`);
}

// notice shows a line for as long as a cause has words, with a button if there is something
// to do about it: [words, f].
const notices = new Map();
export function notice(cause, text, act) {
  if ((notices.get(cause)?.[0] ?? "") === text) return;
  if (text) notices.set(cause, [text, act]);
  else notices.delete(cause);
  $("notices").replaceChildren(...[...notices].map(([c, [t, a]]) => el("p", { data: { cause: c } }, t, ...(a ? [" ", button(a[0], a[1], { class: "pick" })] : []))));
  show($("notices"), notices.size > 0);
}

// passing shows a line that goes by itself.
export function passing(text) {
  notice("passing", text);
  clearTimeout(passing.timer);
  passing.timer = setTimeout(() => notice("passing", ""), 8000);
}

// pace tells a viewer that is served more slowly than it could be, and why.
export function pace(p) {
  const slow = p && (p.level === undefined ? p.why : p.level > 0);
  counters.pace = slow ? p : null;
  document.body.dataset.pace = slow ? String(p.level ?? 1) : "0";
  $("pace").dataset.pace = document.body.dataset.pace;
  show($("pace"), Boolean(slow));
  put($("pace"), slow ? `slowed down: every ${age(p.every_ms)}, ${p.points} points` : "");
  $("pace").title = p?.why ?? "";
  notice("pace", slow ? `This view is slowed down to one picture every ${age(p.every_ms)} with ${p.points} points: ${p.why}` : "");
}

const tile = (id, text, k = "") => {
  kind($(id), k);
  put($(id), text);
};

const silentMS = 15_000; // without a row for so long, a car is silent
const heardMS = 5000; // a link that says nothing of itself is there for so long

// behind says that the newest values of a car lie before the span that is shown, why that
// may be, and offers to go there: show(ms).
export function behind(d, span, show) {
  const newest = Math.max(0, ...d.lanes.map((l) => l.newest_ms)), old = d.now_ms - newest;
  if (d.replay || !newest || old < Math.max(span, oldMS)) return notice("old", "");
  const words = d.now_ms - d.seen_ms > silentMS
    ? `${d.car} has been silent since ${stamp(newest)}.`
    : `The newest values of ${d.car} are ${old < 100_000 ? "more than 30 s" : age(old)} old: its clock is wrong, or it sends first what it has kept.`;
  behind.newest = newest;
  notice("old", words, ["Show them", () => show(behind.newest)]);
}
const oldMS = 30_000;

// tiles shows the car in six numbers.
export function tiles(d, holes) {
  const all = (f) => d.lanes.reduce((n, l) => n + (f(l) ?? 0), 0);
  const newest = Math.max(0, ...d.lanes.map((l) => l.newest_ms)), old = d.now_ms - newest;
  const said = d.links.some((l) => l.state), up = d.links.filter((l) => (said ? l.state === "up" : l.heard_ms !== null && l.heard_ms < heardMS)).length;
  const silent = !d.replay && d.now_ms - d.seen_ms > silentMS; // what it said of its links last holds no more
  tile("t-age", newest ? age(old) : "–", newest && old > 5000 ? "warn" : "");
  tile("t-rows", `${perS(all((l) => l.rows_s))} /s`);
  tile("t-links", d.links.length && !silent ? `${up} of ${d.links.length} ${said ? "up" : "heard"}` : "–", d.links.length && !silent && up < d.links.length ? (up ? "warn" : "bad") : "");
  const open = d.sequence ? all((l) => l.holes) : holes;
  tile("t-holes", `${count(open)} open`, open ? "warn" : "");
  tile("t-missing", count(all((l) => l.missing)), all((l) => l.missing) ? "bad" : "");
  tile("t-late", count(all((l) => l.late)), all((l) => l.late) ? "warn" : "");
}

// events lists events and gaps, newest first, at a time; go(ms) shows theirs.
export function events(list, now, go) {
  show($("events-none"), !list.length);
  const key = day(now) + JSON.stringify(list), ol = $("events");
  if (ol.key === key) return;
  ol.key = key;
  ol.replaceChildren(...list.map((e) => {
    const b = el("button", { type: "button", class: "link", title: "show this time on the wall", on: { click: () => go(e.time_ms) } }, el("time", { text: when(e.time_ms, now, 1) }));
    return el("li", {}, b, el("span", { class: "kind", data: { kind: e.kind }, text: e.kind }), el("span", { text: eventText(e) }));
  }));
}

// foot tells what the server counts.
export function foot(n) {
  const odd = [[n.skipped, "records skipped to keep up"], [n.channels_dropped, "values of channels beyond the limit"], [n.malformed, "records not understood"], [n.cars_dropped, "rows of cars beyond the limit"]]
    .filter(([k]) => k).map(([k, what]) => `${count(k)} ${what}`);
  put($("foot"), [`${count(n.rows)} rows read`, `${n.streams} ${n.streams === 1 ? "page" : "pages"} open`, ...odd].join(" · "));
  notice("kafka", n.kafka_error ? `Kafka: ${n.kafka_error}` : "");
}

export { say };
