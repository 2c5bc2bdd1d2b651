import assert from "node:assert/strict";
import { test } from "node:test";
import { byGroup, Catalogue, choose } from "../catalogue.js";

const channels = (...names) => names.map((n, id) => ({ id, name: n, group: "g", unit: "" }));

test("a first visit shows what a racing car has", () => {
  const got = choose(channels("brake_light", "brake_pressure_front", "engine_rpm", "g_lat", "g_long", "gear", "gnss_speed", "speed", "steering_angle", "throttle", "wheel_speed_fl"));
  assert.deepEqual(got, [["speed"], ["engine_rpm"], ["throttle", "brake_pressure_front"], ["gear"], ["steering_angle"], ["g_lat", "g_long"]]);
});

test("other names, with folders and capitals", () => {
  assert.deepEqual(choose(channels("Engine.RPM", "ECU/ThrottlePos", "VehicleSpeed"))[0], ["VehicleSpeed"]);
  assert.deepEqual(choose(channels("Engine.RPM", "ECU/ThrottlePos", "VehicleSpeed"))[2], ["ECU/ThrottlePos"]);
});

test("a car of unknown channels still shows four, but not the agent's own", () => {
  const list = channels("x1", "x2", "x3", "x4", "x5", "link_a_rtt", "link_a_state");
  list[5].group = "agent";
  list[6].group = "agent.links";
  assert.deepEqual(choose(list), [["x1"], ["x2"], ["x3"], ["x4"]]);
  assert.deepEqual(choose(list.slice(5)), []);
  assert.deepEqual(choose([]), []);
});

test("no channel is shown twice", () => {
  const all = choose(channels("speed", "throttle", "brake", "gear")).flat();
  assert.equal(new Set(all).size, all.length);
});

test("groups in order, channels in theirs", () => {
  const g = byGroup([{ name: "c", group: "agent" }, { name: "b", group: "z" }, { name: "a", group: "y" }, { name: "d", group: "agent.links" }, { name: "c", group: "z" }]);
  assert.deepEqual(g.map(([n, l]) => [n, l.map((c) => c.name)]), [["y", ["a"]], ["z", ["b", "c"]], ["agent", ["c"]], ["agent.links", ["d"]]]);
});

test("groups of a search stand in the order of their best channel", () => {
  const found = ["state.link_te", "tyre.temp", "brake.brake_temp", "agent.temp", "tyre.state"].map((n) => n.split(".")).map(([group, name]) => ({ group, name }));
  assert.deepEqual(byGroup(found, true).map(([g]) => g), ["state", "tyre", "brake", "agent"]);
  assert.deepEqual(byGroup(found).map(([g]) => g), ["brake", "state", "tyre", "agent"]);
});

test("what a car has described since is read again", async () => {
  let described = 0;
  const asked = [];
  globalThis.fetch = async (url) => {
    const q = new URLSearchParams(url.split("?")[1]);
    asked.push(q.getAll("name").join() || "all");
    const names = q.has("name") ? q.getAll("name") : ["a", "b"];
    return { ok: true, status: 200, text: async () => JSON.stringify({ described, total: 5000, channels: names.map((name, id) => ({ id, name, group: "g", unit: described ? "V" : "" })) }) };
  };
  const c = new Catalogue("car");
  await c.resolve(["a", "far"]);
  assert.deepEqual([c.described, c.byName.get("far").unit], [0, ""]);
  described = 3;
  asked.length = 0;
  await c.again();
  assert.deepEqual([c.described, c.byName.get("a").unit, c.byName.get("far").unit, c.total], [3, "V", "V", 5000]);
  assert.deepEqual(asked, ["all", "a,b,far"]);
});
