import assert from "node:assert/strict";
import { test } from "node:test";
import { Range, axisSize, gridRows, roundStep, spans, stateText, stateTicks, ticks, tickText, timeStep, zoom, fits } from "../scale.js";

test("zoom goes through the spans and stops at both ends", () => {
  assert.equal(zoom(10_000, 1), 20_000);
  assert.equal(zoom(10_000, -1), 5_000);
  assert.equal(zoom(spans[0], -1), spans[0]);
  assert.equal(zoom(spans.at(-1), 1), spans.at(-1));
  assert.equal(zoom(7_000, -1), 5_000, "between two, the next smaller");
  assert.equal(zoom(9e9, -1), spans.at(-2));
});

test("steps are round and never smaller than asked", () => {
  for (const raw of [0.0013, 0.2, 1, 1.1, 3, 7, 49, 50, 51, 99_999]) {
    const s = roundStep(raw);
    assert.ok(s >= raw * 0.999, `${s} of ${raw}`);
    assert.match(String(Number(s.toPrecision(3))).replace(/[0.e+-]/g, ""), /^[125]/);
  }
  assert.equal(roundStep(NaN), 1);
  assert.equal(roundStep(0), 1);
});

test("ticks lie within the axis, on round numbers", () => {
  assert.deepEqual(ticks(0, 100, 4), [0, 50, 100]);
  assert.deepEqual(ticks(-1, 1, 4), [-1, -0.5, 0, 0.5, 1]);
  assert.ok(ticks(0, 1e9, 5).length <= 6);
});

test("texts of ticks have the digits that the step needs", () => {
  assert.equal(tickText(0.5, 0.1), "0.5");
  assert.equal(tickText(-50, 50), "−50");
  assert.equal(tickText(20_000, 5000), "20k");
  assert.equal(tickText(2e7, 1e6), "2.0e+7");
});

test("no two ticks of an axis have the same text", () => {
  for (const [lo, hi] of [[9007199254825518, 9007199254825522], [1.8e19, 1.9e19], [1.2e9, 1.2e9 + 40], [-1e-12, 1e-12], [101324.999, 101325.001], [2 ** 53, 2 ** 53 + 1000], [-(2 ** 40), -(2 ** 40) + 3]]) {
    const s = ticks(lo, hi, 5), texts = s.map((v) => tickText(v, s[1] - s[0]));
    assert.ok(s.length > 1 && new Set(texts).size === s.length, texts.join(" "));
    for (const t of texts) assert.ok(t.length <= 14, t);
  }
  assert.equal(tickText(9007199254825520, 1), "…825520", "the digits that differ");
});

test("an axis of states has ticks where states are, as far as there is room", () => {
  const names = { 0: "on track", 1: "pit lane", 2: "garage", 255: "not available" };
  assert.deepEqual(stateTicks(names, -0.5, 2.5, 8), [0, 1, 2]);
  assert.deepEqual(stateTicks(names, 0, 300, 8), [0, 255]);
  assert.deepEqual(stateTicks(names, 10, 20, 8), []);
  assert.equal(stateText("garage"), "garage");
  assert.equal(stateText("On track, flying lap"), "On track,…");
  assert.equal(stateText("🏁🏁🏁🏁", 3), "🏁🏁…", "whole letters");
});

test("a value axis has room for its widest label, and holds still", () => {
  assert.equal(axisSize(20, 4, 32, 32), 32, "the least");
  for (const w of [27, 34.2, 41, 60.5]) assert.ok(axisSize(w, 4, 32, 32) >= w + 4, `a label of ${w}`);
  assert.equal(axisSize(34, 4, 44, 32), 44, "a digit less");
  assert.equal(axisSize(20, 4, 52, 32), 32, "much less");
});

test("rows of a grid", () => {
  const plot = (w, h) => ({ w, h });
  assert.equal(gridRows([], 3), 0);
  assert.equal(gridRows([plot(1, 2), plot(1, 2), plot(1, 2)], 3), 2);
  assert.equal(gridRows([plot(1, 2), plot(1, 2), plot(1, 2), plot(1, 2)], 3), 4);
  assert.equal(gridRows([plot(2, 2), plot(2, 1), plot(5, 1)], 3), 4, "wider than the grid");
  assert.equal(gridRows([plot(1, 4), plot(2, 2), plot(2, 2)], 3), 4, "beside a high one");
});

test("time axes have a step that fits", () => {
  assert.equal(timeStep(10_000, 5), 2000);
  assert.equal(timeStep(1_800_000, 6), 300_000);
});

test("a range grows at once and shrinks late", () => {
  const r = new Range();
  assert.ok(r.fit(0, 100, 0));
  assert.deepEqual([r.lo, r.hi], [0, 100]);
  assert.ok(r.fit(0, 180, 10), "grows");
  assert.ok(r.hi >= 180);
  assert.ok(!r.fit(0, 20, 20), "holds still");
  assert.ok(!r.fit(0, 20, 1000));
  assert.ok(r.fit(0, 20, 1600), "shrinks after a while");
  assert.ok(r.hi < 60);
});

test("a range that is nearly filled is not touched", () => {
  const r = new Range();
  r.fit(0, 100, 0);
  for (let t = 0; t < 10_000; t += 100) assert.ok(!r.fit(5, 95, t));
});

test("a flat line lies in the middle, and nothing changes nothing", () => {
  const r = new Range();
  r.fit(42, 42, 0);
  assert.ok(r.lo < 42 && r.hi > 42);
  const { lo, hi } = r;
  assert.ok(!r.fit(42, 42, 5000));
  assert.ok(!r.fit(NaN, NaN, 6000));
  assert.ok(!r.fit(Infinity, -Infinity, 7000));
  assert.deepEqual([r.lo, r.hi], [lo, hi]);
});

test("a label of an axis that would stand beyond its ends is left out", () => {
  for (const [at, label, length, want] of [[23, 46, 300, true], [22.9, 46, 300, false], [0, 46, 300, false], [277, 46, 300, true], [277.1, 46, 300, false], [20, 46, 40, false], [23, 46, 46, true]]) {
    assert.equal(fits(at, label, length), want, `${label} px at ${at} of ${length}`);
  }
});
