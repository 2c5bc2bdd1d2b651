import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "../clock.js";
import { when, zone, age, bytes, count, delta, detailText, eventText, lapTime, mbit, short, spanText, text, unit, valueText } from "../format.js";
import { Holes, holeText } from "../holes.js";

test("numbers", () => {
  for (const [f, v, want] of [
    [text, 1234.5678901, "1234.568"], [text, -0.00001, "−1.000e-5"], [text, NaN, "–"], [text, null, "–"], [short, 0, "0.000"], [short, 12345.6, "12346"], [short, -7.25, "−7.250"],
    [age, 140, "140 ms"], [age, 2500, "2.5 s"], [age, 120_000, "2 min"], [age, null, "–"], [age, -5, "0 ms"], [bytes, 950, "950 B"], [bytes, 1500, "1.5 kB"], [bytes, null, "–"],
    [mbit, 125_000, "1.00"], [mbit, null, "–"], [count, 1234567, "1\u202f234\u202f567"], [lapTime, 83_456, "1:23.456"], [lapTime, 59_999.9, "1:00.000"], [lapTime, 9_870, "9.870"], [lapTime, 0, "–"],
    [delta, 123, "+0.123"], [delta, -1500, "−1.500"], [delta, 0.2, "0.000"], [delta, null, "–"], [spanText, 10_000, "10 s"], [spanText, 1_800_000, "30 min"],
  ]) assert.equal(f(v), want, `${f.name}(${v})`);
  assert.equal(unit({ unit: "degC" }), "°C");
  assert.equal(unit(undefined), "");
  assert.equal(valueText({ enum: { 2: "up" } }, 2), "up");
  assert.equal(valueText({ enum: { 2: "up" } }, 3), "3.000");
  assert.equal(valueText({ unit: "B" }, 1234567), "1\u202f234\u202f567");
  assert.equal(valueText({ unit: "" }, 2 ** 53 - 1), "9\u202f007\u202f199\u202f254\u202f740\u202f991");
  assert.equal(valueText({ unit: "" }, 2 ** 53 + 2), "9.01e+15", "no digits that nobody knows");
  assert.equal(valueText({ unit: "km/h" }, 100), "100.00");
});

test("details of events in words", () => {
  assert.equal(detailText('{"id":"1-8","lap":21,"sector":2,"time_ns":8333296304}'), "lap 21, sector 2: 8.333 s");
  assert.equal(detailText('{"complete":false,"lap":3}'), "lap 3, not complete");
  assert.equal(detailText("lap 12"), "lap 12");
  assert.equal(detailText("{broken"), "{broken");
  assert.equal(detailText(undefined), "");
  assert.equal(detailText('{"id":"1-8","lap":8,"time_ns":83456000000,"complete":false}'), "lap 8: 1:23.456, not complete");
  assert.equal(eventText({ text: "sector", detail: '{"id":"x","lap":8,"sector":2,"time_ns":8332000000}' }), "lap 8, sector 2: 8.332 s");
  assert.equal(eventText({ text: "box", detail: '{"id":"x","lap":8}' }), "box: lap 8");
  assert.equal(eventText({ text: "started", detail: "" }), "started");
  assert.equal(eventText({ text: "lap", detail: '{"id":"x"}' }), "lap");
});

test("a clock goes on between frames and takes no jitter", () => {
  const c = new Clock();
  assert.ok(!c.known);
  c.sample(1_000_000, 0);
  for (let t = 50, late = 0; t < 5000; t += 50, late = (late + 7) % 30) c.sample(1_000_000 + t - late, t);
  const off = c.now(5000) - 1_005_000;
  assert.ok(Math.abs(off) < 40, `off by ${off}`);
  assert.ok(c.now(5030) - c.now(5000) === 30);
});

test("a clock follows a replay that is faster, paused and elsewhere", () => {
  const c = new Clock();
  c.pace(10);
  for (let t = 0; t <= 3000; t += 50) c.sample(10_000 + t * 10, t);
  assert.equal(c.now(3050), 40_500, "ten times as fast");
  c.pace(0);
  c.sample(40_200, 3050);
  assert.equal(c.now(3900), 40_200, "paused");
  c.sample(5_000, 4000);
  assert.equal(c.now(4010), 5_000, "jumped back");
  c.reset();
  assert.ok(!c.known);
  c.sample(77, 0);
  assert.equal(c.now(10), 87, "live again");
});

test("a clock jumps when the server's does, and stops without frames", () => {
  const c = new Clock();
  c.sample(100_000, 0);
  c.sample(50_000, 100);
  assert.equal(c.now(100), 50_000);
  assert.equal(c.now(60_000), 55_000);
});

test("a hole that is not told of any more has filled", () => {
  const h = new Holes();
  h.take([[100, 200, "open"], [300, 400, "lost", "quota"]], 0, 0);
  assert.equal(h.count("open"), 1);
  assert.ok(h.breaks(90, 150) && h.breaks(150, 160) && !h.breaks(210, 290) && !h.breaks(400, 500));
  h.take([[150, 200, "open"], [300, 400, "lost", "quota"]], 10, 0);
  assert.deepEqual(h.filled, [[100, 150, 10]]);
  h.take([[300, 400, "lost", "quota"]], 20, 0);
  assert.deepEqual(h.filled, [[100, 150, 10], [150, 200, 20]]);
  h.forget(5000);
  assert.deepEqual(h.filled, []);
});

test("a hole that becomes late or lost, or leaves the window, has not filled", () => {
  const h = new Holes();
  h.take([[100, 200, "open"]], 0, 0);
  h.take([[100, 200, "late"]], 10, 0);
  h.take([[100, 200, "lost", "corrupt"]], 20, 0);
  h.take([], 30, 0);
  assert.deepEqual(h.filled, []);
  h.take([[100, 200, "open"]], 40, 0);
  h.take([], 50, 250);
  assert.deepEqual(h.filled, []);
});

test("holes in words", () => {
  assert.equal(holeText([0, 2500, "open"]), "2.5 s waited for");
  assert.equal(holeText([0, 900, "lost", "quota"]), "900 ms lost: quota");
});

test("a time of another day says which", () => {
  const noon = new Date(2026, 9, 25, 12).getTime();
  assert.equal(when(noon - 1000, noon), "11:59:59");
  assert.equal(when(new Date(2026, 9, 23, 10).getTime(), noon, 1), "2026-10-23 10:00:00.0");
  assert.match(zone(noon), /^[A-Z].*, UTC[+−]\d\d:\d\d$/);
});
