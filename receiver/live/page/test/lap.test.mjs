import assert from "node:assert/strict";
import { test } from "node:test";
import { find, key, merge, ordered, pair, sessions, table } from "../lap.js";

const answer = {
  sessions: [{
    id: "Q1", name: "Quali", laps: [
      { n: 2, start_ms: 100, end_ms: 200, time_ms: 100, complete: true, sectors: [{ n: 1, time_ms: 60 }, { n: 2, time_ms: 40 }] },
      { n: 1, start_ms: 0, end_ms: 100, time_ms: 110, complete: true, sectors: [{ n: 1, time_ms: 55 }, { n: 2, time_ms: 55 }] },
      { n: 3, start_ms: 200, end_ms: null, time_ms: null, complete: false, sectors: [{ n: 1, time_ms: 50 }] },
    ],
  }, { id: "FP", laps: null }],
};

test("sessions are read in one form, whatever is absent", () => {
  const [q, fp] = sessions(answer);
  assert.deepEqual(q.laps.map((l) => l.n), [1, 2, 3]);
  assert.equal(q.laps[2].time, 0);
  assert.equal(fp.name, "FP");
  assert.deepEqual(fp.laps, []);
  assert.deepEqual(sessions(null), []);
});

test("best lap, best sectors and what is behind", () => {
  const t = table(sessions(answer)[0]);
  assert.equal(t.best, 100);
  assert.equal(t.ideal, 50 + 40);
  assert.deepEqual(t.rows.map((r) => r.lap.n), [3, 2, 1]);
  assert.deepEqual(t.rows.map((r) => r.best), [false, true, false]);
  assert.deepEqual(t.rows.map((r) => r.behind), [null, 0, 10]);
  assert.ok(t.rows[0].running);
  assert.deepEqual(t.rows[0].sectors, [{ time: 50, best: true }, { time: 0, best: false }]);
  assert.ok(t.rows[1].sectors[1].best);
});

test("a session without laps has an empty table", () => {
  const t = table(sessions(answer)[1]);
  assert.deepEqual([t.width, t.best, t.ideal, t.rows.length], [0, 0, 0, 0]);
});

test("keys name laps, also where a session's id has a slash", () => {
  const list = sessions({ sessions: [{ id: "a/b", laps: [{ n: 4, time_ms: 1 }] }] });
  const k = key(list[0], list[0].laps[0]);
  assert.equal(find(list, k).lap.n, 4);
  assert.equal(find(list, "a/5"), null);
  assert.equal(find(list, ""), null);
});

test("the first look compares the newest complete lap with the best other one", () => {
  assert.deepEqual(pair(sessions(answer)), { a: "Q1/1", b: "Q1/2" });
  assert.equal(pair([]), null);
});

test("what is heard of laps joins what was read", () => {
  const lap = (n, end) => ({ n, start_ms: (n - 1) * 100, end_ms: end, time_ms: end ? 100 : null, complete: Boolean(end) });
  const read = sessions({ sessions: [
    { id: "old", start_ms: 1, end_ms: 50, state: "stopped", laps: [lap(1, 40)] },
    { id: "Q1", name: "Quali", track: "Spa", start_ms: 100, laps: [lap(1, 100), lap(2, null)], marks: [{ n: 1 }] },
  ] });
  const heard = sessions({ sessions: [{ id: "Q2", start_ms: 900, state: "running", laps: [] }, { id: "Q1", state: "running", laps: [lap(2, 200), lap(3, null)] }] });
  const all = merge(read, heard);
  assert.deepEqual(all.map((s) => s.id), ["Q2", "Q1", "old"], "newest first");
  const q = all[1];
  assert.deepEqual([q.name, q.track, q.state, q.start, q.end], ["Quali", "Spa", "running", 100, 0]);
  assert.deepEqual(q.laps.map((l) => [l.n, l.end]), [[1, 100], [2, 200], [3, 0]]);
  assert.equal(q.marks.length, 1);
  assert.deepEqual(all[2], read[0], "nothing was heard of it");
  assert.deepEqual(merge(all, heard), all, "the same again changes nothing");
  const over = sessions({ sessions: [{ id: "Q1", state: "stopped", end_ms: 500, laps: [] }] });
  assert.deepEqual([merge(all, over)[1].end, merge(all, over)[1].laps.length], [500, 3]);
});

test("series stand in the order of the wall", () => {
  const names = (asked) => ordered(["a.damper", "b.rpm", "drive.speed", "z.speed"].map((name) => ({ name })), asked).map((s) => s.name);
  assert.deepEqual(names(["drive.speed", "rpm"]), ["drive.speed", "b.rpm", "a.damper", "z.speed"]);
  assert.deepEqual(names([]), ["a.damper", "b.rpm", "drive.speed", "z.speed"]);
});
