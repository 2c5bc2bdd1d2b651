import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { reading } from "../format.js";
import { api, ApiError, long, longPast, onLogin, query, refusal } from "../net.js";

const encoder = new TextEncoder();

// answer is what a server gives: pieces of its text, and whether it breaks off behind them.
function answer({ status = 200, type = "application/x-ndjson", pieces = [], breaks = false }) {
  const left = [...pieces];
  const body = new ReadableStream({
    pull(c) {
      if (left.length) c.enqueue(encoder.encode(left.shift()));
      else if (breaks) c.error(new TypeError("network error"));
      else c.close();
    },
  });
  return new Response(body, { status, headers: { "Content-Type": type } });
}

const failure = (p) => p.then(() => assert.fail("no error"), (e) => e);

test("what fails says what to do", async () => {
  const cases = [
    ["nobody answers", null, 0, /cannot be reached.*try again/],
    ["broken off between two lines", { pieces: ['{"progress":{"done":1,"of":4}}\n'], breaks: true }, 200, /broke off.*try again.*shorter time/],
    ["broken off within a line", { pieces: ['{"progress":{"done":1,"of":4}}\n{"resu'], breaks: true }, 200, /broke off/],
    ["ended without a result", { pieces: ['{"progress":{"done":1,"of":4}}\n'] }, 200, /broke off/],
    ["half a line at the end", { pieces: ['{"result":{"x":[1'] }, 200, /broke off/],
    ["half of a plain answer", { type: "application/json", pieces: ['{"sessions":['] }, 200, /broke off/],
    ["a plain answer breaks off", { type: "application/json", pieces: ['{"sess'], breaks: true }, 200, /broke off/],
    ["the reader fails on the way", { pieces: ['{"progress":{"done":1,"of":4}}\n', '{"error":"Kafka is away: try again"}\n'] }, 200, /^Kafka is away: try again$/],
    ["the reader fails at once", { status: 503, type: "text/plain", pieces: ["3 readings are under way: try again"] }, 503, /^3 readings are under way: try again$/],
    ["a proxy has waited for too long", { status: 504, type: "text/html", pieces: ["<html><h1>504</h1></html>"] }, 504, /waited for too long: choose a shorter time/],
    ["no words", { status: 500, pieces: [] }, 500, /did not answer \(500\): try again/],
  ];
  for (const [name, a, status, words] of cases) {
    globalThis.fetch = async () => {
      if (!a) throw new TypeError("Failed to fetch");
      return answer(a);
    };
    const e = await failure(long("cars/c/past?x=1"));
    assert.ok(e instanceof ApiError, `${name}: ${e.stack}`);
    assert.equal(e.status, status, name);
    assert.match(e.message, words, name);
  }
});

test("a short answer that breaks off has words, too", async () => {
  globalThis.fetch = async () => answer({ type: "application/json", pieces: ['{"a":'], breaks: true });
  assert.match((await failure(api("cars"))).message, /broke off.*try again/);
});

test("an answer arrives in pieces", async () => {
  const far = [];
  globalThis.fetch = async () => answer({ pieces: ['{"progress":{"do', 'ne":1,"of":4}}\n{"progress":{"done":2,"of":4}}\n', '{"result":{"x":[1]}}'] });
  assert.deepEqual(await long("x", { progress: (...a) => far.push(a) }), { x: [1] });
  assert.deepEqual(far, [[1, 4, false], [2, 4, false]]);
});

test("what takes long is said after 10 s, and what the viewer ends is no failure", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const far = [], stop = new AbortController();
  globalThis.fetch = (_, { signal }) => new Promise((_, no) => signal.addEventListener("abort", () => no(signal.reason)));
  const read = failure(long("x", { signal: stop.signal, progress: (...a) => far.push(a) }));
  mock.timers.tick(9999);
  assert.deepEqual(far, []);
  mock.timers.tick(1);
  assert.deepEqual(far, [[0, 0, true]]);
  stop.abort();
  assert.equal((await read).name, "AbortError");
  mock.timers.reset();
  assert.equal(reading("reading", ...far[0]), "reading … It takes long: a shorter time or fewer channels are read sooner.");
  assert.equal(reading("reading", 1, 3, false), "reading, 33 %");
});

test("when the store of the past fails, Kafka is read", async () => {
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url);
    return url.includes("source=batches") ? answer({ pieces: ['{"result":7}\n'] }) : answer({ status: 502, pieces: ["the store does not serve"] });
  };
  assert.equal(await longPast("cars/c/past?x=1"), 7);
  assert.deepEqual(asked, ["api/v1/cars/c/past?x=1", "api/v1/cars/c/past?x=1&source=batches"]);
  globalThis.fetch = async () => answer({ status: 503, pieces: ["busy"] });
  assert.equal((await failure(longPast("cars/c/past?x=1"))).message, "busy");
});

test("a login that is needed is told", () => {
  const told = [];
  onLogin((words) => told.push(words));
  assert.equal(refusal(401, '{"error":"log in","login":true}').message, "log in");
  assert.deepEqual(told, ["log in"]);
});

test("names of channels are asked for as they are", () => {
  const q = new URLSearchParams(query({ from: 1, by: "time" }, ["g.a,b", " g. c&d=e#", "g.<b>"]));
  assert.deepEqual([...q], [["from", "1"], ["by", "time"], ["channel", "g.a,b"], ["channel", " g. c&d=e#"], ["channel", "g.<b>"]]);
  assert.equal(query({ from: 1 }), "from=1");
});
