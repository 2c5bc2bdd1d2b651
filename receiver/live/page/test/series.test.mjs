import assert from "node:assert/strict";
import { test } from "node:test";
import { capacity, Columns, fromPast, Series, Store } from "../series.js";

const slot = (s, n) => [s.lo[n % capacity], s.hi[n % capacity]];

test("bins come in, later ones fill what was empty", () => {
  const s = new Series(10);
  s.put(1000, [1, 2, null, null, 5, 6]);
  assert.deepEqual(slot(s, 1000), [1, 2]);
  assert.deepEqual(slot(s, 1001), [NaN, NaN]);
  s.put(1001, [3, 4]);
  assert.deepEqual(slot(s, 1001), [3, 4]);
  assert.deepEqual(slot(s, 1002), [5, 6]);
  assert.equal(s.newest(), 1002);
});

test("slots between two frames are empty, not old values", () => {
  const s = new Series(10);
  s.put(0, new Array(2 * capacity).fill(7));
  s.put(capacity + 5, [1, 1]);
  assert.deepEqual(slot(s, capacity + 3), [NaN, NaN]);
  assert.equal(s.first, 6);
  assert.equal(s.last, capacity + 5);
});

test("a jump in time forgets what was before, in both directions", () => {
  const s = new Series(10);
  s.put(50_000, [1, 1]);
  s.put(90_000, [2, 2]);
  assert.deepEqual([s.first, s.last], [90_000, 90_000]);
  s.put(10_000, [3, 3]);
  assert.deepEqual([s.first, s.last], [10_000, 10_000]);
});

test("older bins extend what is kept", () => {
  const s = new Series(10);
  s.put(5000, [1, 1]);
  s.put(4990, [2, 2]);
  assert.equal(s.first, 4990);
  assert.deepEqual(slot(s, 4995), [NaN, NaN]);
  assert.deepEqual(slot(s, 4990), [2, 2]);
  assert.deepEqual(slot(s, 5000), [1, 1]);
});

test("what is too old for the ring is left out", () => {
  const s = new Series(10);
  s.put(10_000, [1, 1]);
  s.put(10_000 - capacity + 1, [5, 5, 6, 6]);
  assert.equal(s.first, 10_000 - capacity + 1);
  s.put(10_100, [2, 2]);
  assert.equal(s.first, 10_100 - capacity + 1);
  assert.deepEqual(slot(s, 10_000), [1, 1]);
});

test("the value next to a time is found within a distance", () => {
  const s = new Series(100), out = [0, 0, 0];
  s.put(10, [1, 2, null, null, null, null, 7, 9]);
  assert.ok(s.at(1050, 0, out));
  assert.deepEqual(out, [1, 2, 1050]);
  assert.ok(s.at(1250, 200, out));
  assert.deepEqual(out, [7, 9, 1350]);
  assert.ok(!s.at(5000, 300, out));
});

test("a whole frame empties what it does not bring, another step begins anew", () => {
  const st = new Store();
  st.take({ now_ms: 10_000, step_ms: 10, reset: true, series: [[1, 900, [1, 1, 2, 2, 3, 3]]] }, 2000);
  st.take({ now_ms: 10_000, step_ms: 10, reset: true, series: [[1, 900, [1, 1]], [1, 902, [3, 3]]] }, 2000);
  assert.deepEqual(slot(st.series.get(1), 901), [NaN, NaN]);
  assert.deepEqual(slot(st.series.get(1), 900), [1, 1], "a second part does not empty the first");
  assert.deepEqual(slot(st.series.get(1), 902), [3, 3]);
  st.take({ now_ms: 10_000, step_ms: 20, kept_from_ms: 77, series: [[2, 500, [1, 1]]] }, 2000);
  assert.deepEqual([...st.series.keys()], [2]);
  assert.equal(st.keptFrom, 77);
  st.keep(new Set());
  assert.equal(st.series.size, 0);
});

test("no peak is lost when bins are merged into columns", () => {
  const s = new Series(1), flat = [];
  for (let i = 0; i < 2000; i++) flat.push(i === 777 ? -50 : 0, i === 1234 ? 99 : 1);
  s.put(100_000, flat);
  const c = new Columns();
  c.fill([s], 1, 100_000, 102_000, 100);
  assert.equal(c.least[0], -50);
  assert.equal(c.most[0], 99);
  const i = c.hi[0].indexOf(99), per = c.x[1] - c.x[0];
  assert.ok(Math.abs(c.x[i] - 101_234) <= per / 2, "it stands at its time");
  assert.ok(c.n <= 104);
});

test("columns keep their bounds while time goes on, and their arrays", () => {
  const s = new Series(10);
  s.put(0, Array.from({ length: 4000 }, (_, i) => i >> 1));
  const c = new Columns();
  c.fill([s], 10, 5000, 15_000, 200);
  const x = c.x, per = c.x[1] - c.x[0], phase = c.x[0] % per;
  assert.equal(c.fill([s], 10, 5033, 15_033, 200), false);
  assert.equal(c.x, x);
  assert.equal(c.x[0] % per, phase);
  assert.ok(c.x[0] <= 5033 && c.x.at(-1) >= 15_033 - per);
});

test("no series and empty ones give no values", () => {
  const c = new Columns();
  c.fill([null, new Series(10)], 10, 0, 1000, 50);
  assert.ok(Number.isNaN(c.most[0]) && Number.isNaN(c.most[1]));
  assert.ok(Number.isNaN(c.hi[1][3]));
});

test("an answer of the archive becomes bins by id", () => {
  const r = { step_ms: 20, series: [{ name: "g.a", t: [1000, 1020, 1080], min: [1, null, 3], max: [2, null, 4] }, { name: "g.unknown", t: [1000], min: [1], max: [1] }] };
  assert.deepEqual(fromPast(r, new Map([["g.a", 7]])), [[7, 50, [1, 2]], [7, 54, [3, 4]]]);
  assert.deepEqual(fromPast({ series: null }, new Map()), []);
});
