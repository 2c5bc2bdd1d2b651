import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Lead } from "../lead.js";
import { Store } from "../series.js";

mock.timers.enable({ apis: ["setTimeout"] });
const edge = 1_000_000, span = 300_000, step = 500;

// view returns a live view whose two channels have the last minute only, at 2 bins a second.
function view(answer, patch = {}) {
  const asked = [], store = new Store(), state = { car: "c", span, at: 0, ...patch };
  globalThis.fetch = async (url) => {
    asked.push(new URLSearchParams(url.split("?")[1]));
    return answer(asked.at(-1));
  };
  const l = new Lead(state, store, () => [[1, "g.a"], [2, "g.b"], [3, ""], [4, "g.none"]], () => !state.viewer, () => {});
  const frame = () => {
    const flat = Array.from({ length: 240 }, (_, i) => i >> 1), first = (edge - 60_000) / step;
    store.take({ now_ms: edge, step_ms: step, reset: true, series: [[1, first, flat], [2, first + 10, flat]] }, span);
    l.whole(edge);
  };
  return { l, store, state, asked, frame };
}

const json = (status, body) => ({ ok: status < 300, status, headers: new Headers(), json: async () => body, text: async () => JSON.stringify(body) });

async function settle() {
  mock.timers.tick(1000);
  for (let i = 0; i < 20; i++) await null;
  await new Promise((f) => setImmediate(f));
}

const past = (q) => {
  const from = Number(q.get("from")), to = Number(q.get("to")), t = Array.from({ length: (to - from) / step }, (_, i) => from + i * step);
  return json(200, { step_ms: step, series: [{ name: "g.a", t, min: t.map(() => 7), max: t.map(() => 9) }] });
};

test("what is older than the server keeps comes out of the archive", async () => {
  const v = view(past), bin = [0, 0, 0];
  v.frame();
  await settle();
  assert.equal(v.asked.length, 1);
  assert.deepEqual([...v.asked[0]], [["from", String(edge - span)], ["to", String(edge - 60_000 + 10 * step)], ["points", "490"], ["channel", "g.a"], ["channel", "g.b"]]);
  const a = v.store.series.get(1), b = v.store.series.get(2);
  assert.ok(a.at(edge - span + 100, 0, bin) && bin[0] === 7 && bin[1] === 9);
  assert.ok(a.at(edge - 60_000 + 100, 0, bin) && bin[0] === 0, "the stream's own bins stay");
  assert.equal(b.oldest(), (edge - 60_000) / step + 10, "of the other one the archive has nothing");
  v.frame(); // the stream begins anew
  assert.ok(a.at(edge - span + 100, 0, bin), "it joins again");
  await settle();
  assert.equal(v.asked.length, 1, "and is not asked for again");
});

test("when the archive is left alone", async () => {
  for (const [why, patch] of [["short", { span: 60_000 }], ["paused", { at: edge }], ["a replay", { car: "c~r1" }], ["no car", { car: "" }], ["a viewer", { viewer: true }]]) {
    const v = view(past, patch);
    v.frame();
    await settle();
    assert.equal(v.asked.length, 0, why);
  }
});

test("where there is no archive what is there is shown, and it is asked seldom", async () => {
  const v = view(() => json(503, { error: "others read" })), bin = [0, 0, 0];
  v.frame();
  await settle();
  v.frame();
  await settle();
  assert.equal(v.asked.length, 1);
  assert.ok(!v.store.series.get(1).at(edge - span + 100, 0, bin));
});

test("an answer in other steps is not mixed in", async () => {
  const v = view(() => json(200, { step_ms: 1000, series: [] }));
  v.frame();
  await settle();
  assert.deepEqual(v.l.bins, []);
});

test("another car begins anew", async () => {
  const v = view(past);
  v.frame();
  await settle();
  v.l.clear();
  v.store.clear();
  v.frame();
  await settle();
  assert.equal(v.asked.length, 2);
});
