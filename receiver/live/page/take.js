// take owns the dialog that takes data home: a window, channels and a format. The
// file comes from the server, value by value as in Kafka.

import { carPath, query, refusal, unreachable } from "./net.js";
import { $, put, show } from "./dom.js";
import { zone } from "./format.js";
import { base } from "./past.js";

const pad = (n, w = 2) => String(n).padStart(w, "0");

// local writes a time as a field of a form has it; utc is the inverse.
export function local(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
}

export const utc = (text) => new Date(text).getTime();

export class Take {
  // names() are the wall's channels; me() is who looks.
  constructor(state, names, me) {
    this.state = state;
    this.names = names;
    this.me = me;
    this.dialog = $("take");
    $("take-form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.download();
    });
    $("take-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.stop?.abort());
  }

  open(from, to) {
    if (!this.state.car) return;
    this.from = Math.floor(from);
    this.to = Math.ceil(to);
    $("take-from").value = local(this.from);
    $("take-to").value = local(this.to);
    put($("take-zone"), `Times are those of this browser: ${zone(to)}.`);
    const names = this.names();
    put($("take-some-words"), names.length ? `the wall's: ${names.join(", ")}` : "the wall has none");
    $("take-some").disabled = !names.length;
    $("take-some").checked = names.length > 0;
    $("take-every").checked = !names.length;
    const viewer = this.me()?.role === "viewer";
    $("take-go").disabled = viewer;
    this.note(viewer ? "Taking data home needs the role engineer; yours is viewer." : "");
    this.dialog.showModal();
  }

  note(words) {
    show($("take-note"), words !== "");
    put($("take-note"), words);
  }

  url() {
    const time = (id, ms) => ($(id).value === local(ms) ? ms : utc($(id).value)); // a time of day may come twice
    const from = time("take-from", this.from), to = time("take-to", this.to);
    if (!(to > from)) throw new Error("The end lies before the begin: set To to a later time.");
    const what = { format: new FormData($("take-form")).get("format"), from: Math.round(from), to: Math.round(to) };
    const q = query(what, $("take-some").checked ? this.names() : []);
    return `api/v1/${carPath(base(this.state.car), "/export")}?${q}`;
  }

  // download asks whether there is something, and then leaves the rest to the
  // browser: the data never pass through the page's memory.
  async download() {
    this.stop?.abort();
    const stop = (this.stop = new AbortController());
    try {
      const url = this.url();
      this.note("asking the server …");
      const r = await fetch(url, { signal: stop.signal, credentials: "same-origin" }).catch((e) => { throw e.name === "AbortError" ? e : new Error(unreachable); });
      if (!r.ok) throw refusal(r.status, await r.text());
      stop.abort();
      const a = document.createElement("a");
      a.href = url;
      a.download = "";
      document.body.append(a);
      a.click();
      a.remove();
      this.note("The browser is fetching it.");
    } catch (e) {
      if (e.name !== "AbortError") this.note(e.message);
    }
  }
}
