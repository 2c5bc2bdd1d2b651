// replay owns the transport bar of a car that is a replay: play, pause, speed,
// place; and the begin and end of replays.

import { api, ApiError } from "./net.js";
import { $, put, say, show } from "./dom.js";
import { clock, stamp } from "./format.js";
import { base } from "./past.js";

const pollMS = 1000;
const waitMS = 5000; // until a new replay is among the cars

export class Replay {
  // clock is that of the charts; select(car, patch) shows a car.
  constructor(state, time, select, notice) {
    this.state = state;
    this.time = time;
    this.select = select;
    this.notice = notice;
    this.now = null; // the replay that is shown
    this.holding = false; // the slider is in the viewer's hand
    $("play").addEventListener("click", () => this.toggle());
    $("speed").addEventListener("change", (e) => this.change({ speed: e.target.value === "max" ? "max" : Number(e.target.value) }));
    $("seek").addEventListener("input", () => { this.holding = true; this.write(); });
    $("seek").addEventListener("change", (e) => {
      this.holding = false;
      this.change({ seek_ms: Math.round(Number(e.target.value)) });
    });
    $("replay-end").addEventListener("click", () => this.end());
    $("replay-again").addEventListener("click", () => this.again());
    setInterval(() => this.poll(), pollMS);
    setInterval(() => { if (this.now && !document.hidden) this.write(); }, 200);
  }

  get id() {
    const i = this.state.car.indexOf("~");
    return i < 0 ? "" : this.state.car.slice(i + 1);
  }

  // start begins a replay and shows it when it is there.
  async start({ from, to, session, lap }) {
    const car = base(this.state.car);
    const window = from > 0 && to > from ? { from_ms: Math.round(from), to_ms: Math.round(to) } : lap ? { session, lap } : { session };
    put($("past-note"), "the replay is being made …");
    try {
      const r = await api("replays", { method: "POST", body: { car, ...window, speed: 1 } });
      await this.there(r.car);
      this.take(r);
      this.select(r.car, { view: "wall", at: 0, replay: { car, from: Math.round(r.from_ms ?? from), to: Math.round(r.to_ms ?? to), speed: r.speed ?? 1 } });
      say("The replay runs");
    } catch (e) {
      this.notice(`no replay: ${e.message}`);
    }
    put($("past-note"), "");
  }

  // there waits until the server knows the car of a replay.
  async there(car) {
    for (const end = performance.now() + waitMS; performance.now() < end;) {
      try {
        await api(`cars/${encodeURIComponent(car)}`);
        return;
      } catch (e) {
        if (!(e instanceof ApiError) || e.status !== 404) throw e;
      }
      await new Promise((f) => setTimeout(f, 100));
    }
  }

  // gone offers a replay again that a link told of and that has ended.
  gone() {
    const r = this.state.replay;
    show($("replay-gone"), Boolean(r));
    if (r) put($("replay-words"), `This replay of ${r.car}, ${stamp(r.from)} to ${clock(r.to)}, has ended.`);
  }

  async again() {
    const r = this.state.replay;
    show($("replay-gone"), false);
    if (!r) return;
    this.state.set({ car: r.car });
    await this.start({ from: r.from, to: r.to });
  }

  take(r) {
    if (!r || r.id !== this.id) return;
    this.now = r;
    this.time.pace(r.paused || r.done || !(r.speed > 0) ? 0 : r.speed);
    const bar = $("transport").dataset;
    bar.replay = r.id;
    bar.speed = String(r.speed ?? 1);
    this.bar(true);
    const s = $("seek");
    s.min = r.from_ms;
    s.max = r.to_ms;
    const speed = r.speed === 0 ? "max" : String(r.speed ?? 1);
    if (document.activeElement !== $("speed")) $("speed").value = speed;
    put($("play"), r.paused || r.done ? "Play" : "Pause");
    this.write();
  }

  // bar shows or hides the transport bar; what stands beside it makes room.
  bar(yes) {
    show($("transport"), yes);
    if ((document.body.dataset.replays === "1") !== yes) document.body.dataset.replays = yes ? "1" : "";
  }

  async poll() {
    if (!this.id) {
      this.now = null;
      this.bar(false);
      return;
    }
    if (document.hidden || this.told > performance.now() - 2500) return; // the stream tells it
    const l = await api("replays").catch(() => null);
    this.take(l?.replays?.find((r) => r.id === this.id));
  }

  // hear takes what the stream says of the replay.
  hear(r) {
    if (!r) return;
    this.told = performance.now();
    this.take(r);
  }

  write() {
    const r = this.now;
    if (!r) return;
    const at = this.holding ? Number($("seek").value) : Math.min(r.to_ms, Math.max(r.from_ms, this.time.known ? this.time.now(performance.now()) : r.at_ms ?? r.from_ms));
    if (!this.holding) $("seek").value = String(at);
    $("transport").dataset.atMs = String(Math.round(at));
    const words = `${clock(at)} of ${clock(r.from_ms)} to ${clock(r.to_ms)}`;
    put($("seek-at"), words);
    $("seek").setAttribute("aria-valuetext", words);
  }

  async change(body) {
    if (!this.now) return;
    try {
      this.take(await api(`replays/${this.now.id}`, { method: "POST", body }));
    } catch (e) {
      this.notice(`the replay: ${e.message}`);
    }
    if (body.speed && this.state.replay) this.state.set({ replay: { ...this.state.replay, speed: body.speed } });
  }

  toggle() {
    if (!this.now) return false;
    if (this.now.done) this.change({ seek_ms: this.now.from_ms, paused: false });
    else this.change({ paused: !this.now.paused });
    return true;
  }

  async end() {
    const r = this.now;
    if (!r) return;
    this.now = null;
    await api(`replays/${r.id}`, { method: "DELETE" }).catch(() => null);
    this.select(base(this.state.car), { replay: null });
  }
}
