import assert from "node:assert/strict";
import { test } from "node:test";
import { defaults, maxLines, maxPlots, parse, parsePlots, write, writePlots } from "../state.js";

test("an empty address is the default", () => assert.deepEqual(parse(""), defaults()));

test("what is written is read again", () => {
  const s = {
    ...defaults(), car: "gt3-7~r1", view: "past", span: 2500, at: 1_790_000_000_123, cols: 3, a: "Q1/3", b: "R &=#1/12", by: "time",
    plots: [{ names: ["speed", "a,b;c!d&e=f %"], w: 2, h: 4 }, { names: ["<b>ü</b>"], w: 1, h: 2 }],
    replay: { car: "gt3-7", from: 1000, to: 2000, speed: "max" },
  };
  assert.deepEqual(parse(`#${write(s)}`), s);
});

test("names that need no escaping stay readable", () => {
  assert.equal(write({ ...defaults(), car: "demo-car", plots: [{ names: ["speed", "drive/rpm"], w: 1, h: 2 }] }), "car=demo-car&p=speed,drive/rpm");
});

test("what is not understood keeps its default", () => {
  for (const bad of ["span=-1", "span=99999", "span=x", "view=admin", "at=-5", "cols=99", "by=luck", "replay=a,b", "replay=x,5,4,1", "car=%E0%A4%A", "&&=&x"]) {
    assert.deepEqual(parse(bad), defaults(), bad);
  }
});

test("sizes and numbers of plots are bounded", () => {
  assert.deepEqual(parsePlots("a!9x9;b!0x0;c!2x3"), [{ names: ["a"], w: 1, h: 2 }, { names: ["b"], w: 1, h: 2 }, { names: ["c"], w: 2, h: 3 }]);
  assert.equal(parsePlots("a;".repeat(200)).length, maxPlots);
  assert.equal(parsePlots(new Array(30).fill("x").join(","))[0].names.length, maxLines);
});

test("an empty wall is not the default wall", () => {
  assert.deepEqual(parse("p=").plots, []);
  assert.equal(parse("car=x").plots, null);
  assert.equal(writePlots([]), "");
});
