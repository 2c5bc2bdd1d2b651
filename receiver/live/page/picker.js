// picker owns the search for channels: by words that a name, group or unit has,
// results by group with their newest values; Enter or drag puts one on the wall.

import { byGroup } from "./catalogue.js";
import { $, el, put, show } from "./dom.js";
import { count, unit, valueText } from "./format.js";
import { channelType } from "./drag.js";

const typeMS = 150; // after the last key
const watchMS = 700; // after the list has come to rest
const page = 200;
const maxWatched = 60;

const sign = (c) => `${c.id} ${c.unit}`; // what the list shows of a channel

export class Picker {
  // watch() is called when values of other channels are wanted: watched.
  constructor(wall, values, watch) {
    this.wall = wall;
    this.values = values;
    this.watch = watch;
    this.catalogue = null;
    this.options = []; // elements, in order; each has .channel
    this.active = -1;
    this.watched = [];
    this.total = 0; // that the words found
    this.wanted = page; // as many channels are to be listed
    this.turn = 0;
    this.input = $("q");
    this.list = $("found");
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("keydown", (e) => this.key(e));
    this.list.addEventListener("click", (e) => this.click(e));
    this.list.addEventListener("dragstart", (e) => this.drag(e));
    $("more").addEventListener("click", () => this.search(this.options.length));
    this.seen = new IntersectionObserver((l) => this.see(l), { root: this.list.parentElement });
    this.visible = new Set();
    setInterval(() => this.write(), 500);
  }

  use(catalogue) {
    this.catalogue = catalogue;
    this.search();
  }

  // again searches once more, when the car has other channels than before: what is
  // marked and where the list stands stay.
  async again() {
    if (this.stale || !this.catalogue) return; // it is about to be searched anyway
    const turn = ++this.turn, of = Math.max(this.wanted, this.options.length), lists = [];
    this.stop?.abort();
    this.stop = new AbortController();
    try {
      do lists.push(await this.catalogue.ask(this.input.value.trim(), lists.length * page, page, this.stop.signal));
      while (lists.length * page < Math.min(of, lists[0].total));
    } catch {
      return; // what is listed stays
    }
    if (turn !== this.turn) return;
    const channels = lists.flatMap((l) => l.channels), total = lists.at(-1).total;
    if (total === this.total && channels.map(sign).join() === this.options.map((o) => sign(o.channel)).join()) return;
    this.redraw(channels, 0, total);
  }

  // redraw lists channels anew; what is marked and where the list stands stay.
  redraw(channels, offset, total) {
    const marked = this.options[this.active]?.channel.id, box = this.list.parentElement, top = box.scrollTop;
    this.draw(channels, offset, total, false);
    if (marked !== undefined) this.mark(this.options.findIndex((o) => o.channel.id === marked), false);
    box.scrollTop = top;
  }

  typed() {
    this.stale = true; // what is listed is not what is searched
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.search(), typeMS);
  }

  async search(offset = 0) {
    if (!this.catalogue) return this.draw([], 0, 0);
    const turn = ++this.turn;
    this.wanted = offset + page; // also of a search that takes the place of this one
    this.stop?.abort();
    this.stop = new AbortController();
    try {
      const l = await this.catalogue.ask(this.input.value.trim(), offset, page, this.stop.signal);
      if (turn !== this.turn) return;
      if (offset) this.redraw(l.channels, offset, l.total);
      else this.draw(l.channels, 0, l.total);
    } catch (e) {
      if (e.name !== "AbortError") put($("count"), e.message);
    }
  }

  draw(channels, offset, total, scroll = true) {
    this.stale = false;
    this.total = total;
    const all = offset ? [...this.options.map((o) => o.channel), ...channels] : channels;
    this.seen.disconnect();
    this.visible.clear();
    this.options = [];
    const searched = this.input.value.trim() !== "";
    this.list.replaceChildren(...byGroup(all, searched).map(([group, list], g) => {
      const title = el("div", { class: "group", id: `group-${g}`, role: "presentation", text: group || "no group" });
      return el("div", { role: "group", "aria-labelledby": title.id }, title, ...list.map((c) => this.option(c)));
    }));
    put($("count"), !this.catalogue ? "" : total ? `${count(all.length)} of ${count(total)}` : searched ? "No channel has these words" : "This car has sent no channel yet");
    show($("more"), all.length < total);
    this.mark(this.input.value && all.length ? 0 : -1, scroll);
    for (const o of this.options) this.seen.observe(o);
  }

  option(c) {
    const o = el("div", { role: "option", id: `option-${this.options.length}`, class: "option", draggable: "true", "aria-selected": "false", title: c.description || c.name },
      el("span", { class: "name", text: c.name }), el("span", { class: "last" }), el("span", { class: "unit", text: unit(c) }));
    o.channel = c;
    o.last = o.children[1];
    this.options.push(o);
    return o;
  }

  mark(i, scroll = true) {
    this.options[this.active]?.setAttribute("aria-selected", "false");
    this.active = i;
    const o = this.options[i];
    if (o) {
      o.setAttribute("aria-selected", "true");
      if (scroll) o.scrollIntoView({ block: "nearest" });
      this.input.setAttribute("aria-activedescendant", o.id);
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(e) {
    const n = this.options.length;
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[e.key];
    if (by) {
      e.preventDefault();
      if (n) this.go(by);
    } else if (e.key === "Enter") {
      e.preventDefault();
      this.enter(e.shiftKey);
    } else if (e.key === "Escape") {
      if (this.input.value) {
        this.input.value = "";
        this.search();
      } else this.input.blur();
    }
  }

  // go marks the option so many further on; behind the last one there may be more.
  async go(by) {
    if (by > 0 && this.active === this.options.length - 1 && this.options.length < this.total && !this.stale) await this.search(this.options.length);
    this.mark(Math.min(this.options.length - 1, Math.max(0, this.active + by)));
  }

  // enter puts the marked channel on the wall, of what has been typed.
  async enter(into) {
    if (this.stale) {
      clearTimeout(this.typing);
      await this.search();
    }
    if (!this.stale) this.put(this.options[Math.max(0, this.active)], into);
  }

  click(e) {
    const o = e.target.closest(".option");
    if (!o) return;
    this.mark(this.options.indexOf(o));
    this.put(o, e.shiftKey);
  }

  put(o, into) {
    if (o) this.wall.add(o.channel.name, into ? this.wall.selected : null);
  }

  drag(e) {
    const o = e.target.closest?.(".option");
    if (!o) return;
    e.dataTransfer.setData(channelType, o.channel.name);
    e.dataTransfer.effectAllowed = "copy";
  }

  see(list) {
    for (const e of list) e.isIntersecting ? this.visible.add(e.target) : this.visible.delete(e.target);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.watched = this.options.filter((o) => this.visible.has(o)).slice(0, maxWatched).map((o) => o.channel.id);
      this.watch();
    }, watchMS);
  }

  write() {
    if (document.hidden) return;
    for (const o of this.visible) {
      const v = this.values.get(o.channel.id);
      put(o.last, v === undefined ? "" : valueText(o.channel, v));
    }
  }
}
