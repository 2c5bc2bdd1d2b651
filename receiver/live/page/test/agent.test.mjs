import assert from "node:assert/strict";
import { test } from "node:test";
import { Agent } from "../agent.js";
import { lanePoint, points, Recent } from "../recent.js";

const listed = (r) => Array.from({ length: r.n }, (_, i) => (r.at - r.n + i + points) % points).map((i) => [r.v[i], r.k[i]]);

test("older points come before what has been seen", () => {
  const r = new Recent();
  r.add(7, 0);
  r.add(null, 2);
  r.before([[1, 0], [2, 1], [3, 0], [99, 0], [99, 0]]); // the last two are of the time of what is there
  assert.deepEqual(listed(r), [[1, 0], [2, 1], [3, 0], [7, 0], [NaN, 2]]);
  r.before([[5, 0]]);
  assert.equal(r.n, 5, "nothing is older");
  for (let i = 0; i < points; i++) r.add(i, 0);
  r.before(Array.from({ length: 2 * points }, () => [1, 1]));
  assert.deepEqual([r.n, listed(r)[0], listed(r).at(-1)], [points, [0, 0], [points - 1, 0]], "a full ring stays");
});

test("what is drawn of a moment of a lane", () => {
  for (const [moment, want] of [
    [[70, null, 0], [70, 0]], [[70, 512, 3], [70, 1]], [[2500, null, 0], [2500, 1]], [[2000, null, 0], [2000, 0]],
    [[null, 512, null], [512, 0]], [[null, null, null], [null, 0]], [null, [null, 0]],
  ]) assert.deepEqual(lanePoint(moment), want, JSON.stringify(moment));
});

// agent returns one of a car with a link, whose window the server answers with.
async function agent(window, asked) {
  globalThis.fetch = async (url) => {
    asked.push(url);
    return { ok: window !== null, status: window ? 200 : 404, text: async () => JSON.stringify(window) };
  };
  const a = new Agent(new Map(), new Map(), () => NaN);
  const channels = [{ id: 3, name: "link_a_state", enum: { 2: "up", 4: "dead" } }, { id: 4, name: "link_a_rate" }, { id: 5, name: "link_b_rate" }];
  await a.read({ car: "c", byId: new Map(channels.map((c) => [c.id, c])), ask: async (q) => ({ channels: q.includes("link_") ? channels : [] }) });
  return a;
}

test("what a link was before the page was opened", async () => {
  const first = 60_000 / 500, asked = [];
  const a = await agent({ step_ms: 500, series: [[3, first, [2, 2]], [3, first + 20, [2, 4, null, null, 4, 4]], [4, first + 1, [100, 200]]] }, asked);
  const past = await a.past(120_400);
  assert.match(asked[0], /cars\/c\/window\?charts=4%2C3&from_ms=60000&to_ms=120000&points=120$/);
  assert.deepEqual([...past.keys()], ["a"], "only of links whose state is known");
  const list = past.get("a");
  assert.equal(list.length, 120);
  assert.deepEqual([list[0], list[1], list[6], list[7]], [[null, ["up", "up"]], [200, ["up", "up"]], [200, []], [null, []]], "a value holds for 3 s");
  assert.deepEqual([list[20][1], list[21][1], list[22][1]], [["up", "dead"], ["up", "dead"], ["dead", "dead"]]);
  assert.equal((await a.past(120_900)).size, 0, "asked once");
});

test("a server that has nothing of a link's past", async () => {
  for (const answer of [null, { step_ms: 1000, series: [[3, 60, [2, 2]]] }]) {
    const a = await agent(answer, []);
    assert.equal((await a.past(120_400)).size, 0);
  }
});
