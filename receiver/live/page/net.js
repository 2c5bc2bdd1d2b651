// net owns the way to the server: requests, the one event stream, what its state
// is in words, and coming back after it broke.

// ApiError is an answer that is not 2xx; its message is the server's text.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const loginNeeded = [];

// onLogin calls fn when an answer says that a login is needed.
export const onLogin = (fn) => loginNeeded.push(fn);

// api asks below api/v1/ and returns the JSON answer, null when there is none.
export async function api(path, { method = "GET", body, signal } = {}) {
  let r;
  try {
    r = await fetch(`api/v1/${path}`, {
      method, signal, credentials: "same-origin",
      headers: body === undefined ? undefined : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new ApiError(0, unreachable);
  }
  const words = await r.text().catch((e) => { throw e.name === "AbortError" ? e : new ApiError(r.status, brokeOff); });
  if (!r.ok) throw refusal(r.status, words);
  try {
    return words ? JSON.parse(words) : null;
  } catch {
    throw new ApiError(r.status, "the answer is no JSON");
  }
}

// query writes the parameters of a request; channels are names, each taken as it is.
export function query(params, channels = []) {
  return String(new URLSearchParams([...Object.entries(params), ...channels.map((n) => ["channel", n])]));
}

const slowMS = 10_000; // a reading of the past takes long

// long asks for what takes time: progress(done, of, slow) is called on the way, of is 0
// while nobody knows. What fails has words that say what to do.
export async function long(path, { signal, progress } = {}) {
  let r, done = 0, of = 0, slow = false;
  const timer = setTimeout(() => {
    slow = true;
    progress?.(done, of, slow);
  }, slowMS);
  try {
    r = await fetch(`api/v1/${path}`, { signal, credentials: "same-origin", headers: { Accept: "application/x-ndjson" } });
    if (!r.ok) throw refusal(r.status, await r.text());
    if (!r.headers.get("Content-Type")?.includes("ndjson")) return await r.json();
    return await lines(r, (d, o) => progress?.(done = d, of = o, slow));
  } catch (e) {
    if (e.name === "AbortError" || e instanceof ApiError) throw e;
    throw new ApiError(r?.status ?? 0, r ? brokeOff : unreachable);
  } finally {
    clearTimeout(timer);
  }
}

// longPast is long of values of the past: where the store that has them fails, they are
// read out of Kafka.
export async function longPast(path, options) {
  try {
    return await long(path, options);
  } catch (e) {
    if (e.status !== 502) throw e;
    return long(`${path}&source=batches`, options);
  }
}

// lines reads lines of JSON until the one with the result.
async function lines(r, progress) {
  let rest = "", result = null;
  const line = (text) => {
    if (!text.trim()) return;
    const m = JSON.parse(text);
    if (m.error) throw new ApiError(r.status, m.error);
    if (m.progress) progress(m.progress.done, m.progress.of);
    if ("result" in m) result = m.result;
  };
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    rest += value;
    const parts = rest.split("\n");
    rest = parts.pop();
    parts.forEach(line);
  }
  line(rest);
  if (result === null) throw new ApiError(r.status, brokeOff);
  return result;
}

// refusal is what an answer that is not 2xx says; what stands before the receiver may say
// nothing, or a page of its own.
export function refusal(status, words) {
  let message = words.trim();
  try {
    message = JSON.parse(words).error ?? message;
  } catch { /* plain text */ }
  if (status === 401) for (const fn of loginNeeded) fn(message);
  return new ApiError(status, !message || message.startsWith("<") ? silent(status) : message);
}

export const unreachable = "the receiver cannot be reached: look whether it runs, and try again";
const brokeOff = "the answer broke off before it was whole: try again; if it breaks off again, the receiver's log says why, and a shorter time or fewer channels may do";

// silent has words for an answer without any.
function silent(status) {
  if (status === 408 || status === 504) return "what stands between this page and the receiver has waited for too long: choose a shorter time or fewer channels, or let the proxy wait longer";
  if (status >= 500) return `the receiver did not answer (${status}): try again; if it stays so, look at its log and its status`;
  return `answer ${status}`;
}

// car is the path of a car.
export const carPath = (car, rest = "") => `cars/${encodeURIComponent(car)}${rest}`;

const settleMS = 40; // a stream is opened anew so long after the last change
const silentMS = 9000; // the server says something every 2 s
const retryMS = [500, 1000, 2000, 4000, 8000];

// Stream is the event stream. want says what it should carry; handlers get the
// events by name; onState is told "connecting", "live", "reconnecting", "silent",
// "refused", "unreachable", "login" or "paused", and the server's words.
export class Stream {
  constructor(handlers, onState) {
    this.handlers = handlers;
    this.onState = onState;
    this.query = null;
    this.source = null;
    this.tries = 0;
    this.opened = 0; // how often
    this.heard = 0;
    this.stopped = false;
    setInterval(() => this.watch(), 1000);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.resume()));
  }

  want(query) {
    if (query === this.query) return;
    this.query = query;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), settleMS);
  }

  // drop closes the stream until something is wanted again: what it carries is of
  // another car.
  drop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.query = null;
  }

  // pause closes the stream: a page in the background costs nothing.
  pause() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.stopped = true;
    this.onState("paused", "");
  }

  resume() {
    if (!this.stopped) return;
    this.stopped = false;
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    if (this.stopped || this.query === null) return;
    const url = `api/v1/events?${this.query}`;
    const es = (this.source = new EventSource(url));
    this.heard = performance.now();
    this.opened++;
    es.onopen = () => {
      if (es !== this.source) return;
      this.tries = 0;
      this.onState("live", "");
    };
    es.onerror = () => {
      if (es !== this.source) return;
      if (es.readyState === EventSource.CLOSED) this.refused(url);
      else this.onState("reconnecting", "the connection to the server broke");
    };
    for (const [name, fn] of Object.entries(this.handlers)) {
      es.addEventListener(name, (e) => {
        if (es !== this.source) return;
        this.heard = performance.now();
        fn(JSON.parse(e.data));
      });
    }
  }

  // refused finds out why there is no stream, says so, and tries again later.
  async refused(url) {
    const stop = new AbortController();
    let status = 0, words = "the server cannot be reached";
    try {
      const r = await fetch(url, { signal: stop.signal, credentials: "same-origin" });
      status = r.status;
      words = r.ok ? "" : await r.text();
    } catch { /* it stays unreachable */ }
    stop.abort();
    if (this.query === null || this.stopped) return;
    if (status === 401) {
      refusal(401, words);
      this.onState("login", "");
      return;
    }
    this.onState(status === 0 ? "unreachable" : status < 300 ? "reconnecting" : "refused", words.trim(), status);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), retryMS[Math.min(this.tries++, retryMS.length - 1)]);
  }

  watch() {
    if (!this.source || this.source.readyState !== EventSource.OPEN || performance.now() - this.heard < silentMS) return;
    this.onState("silent", "the server has said nothing for 9 s");
    this.open();
  }
}
