// wall owns the grid of plots: which there are, in which order and size, the
// shared cursor, and what keys do to the plot that has the focus. What is shown
// stands in the state; the wall follows it.

import { Plot } from "./plot.js";
import { counters } from "./frame.js";
import { $, button, el, put, say, show } from "./dom.js";
import { maxLines, maxPlots } from "./state.js";
import { gridRows } from "./scale.js";
import { Drag } from "./drag.js";

const gapPX = 8, leastPX = 340; // of a column
const rowPX = 84, mostRowPX = 330, widePX = 760; // of a row; narrower pages scroll
const streamLines = 60; // about what one stream can carry

export class Wall {
  // tl is the timeline; frames gets the plots to draw; changed() is called when
  // other channels are shown.
  constructor(state, tl, frames, changed) {
    this.state = state;
    this.tl = tl;
    this.frames = frames;
    this.changed = changed;
    this.catalogue = null;
    this.grid = $("grid");
    this.plots = [];
    this.selected = null; // the plot that Shift+Enter adds to
    this.cursor = -1; // part of the width, 0 to 1
    this.seen = new IntersectionObserver((list) => this.see(list), { root: null, rootMargin: "40px" });
    this.sizes = new ResizeObserver((list) => this.resized(list));
    this.sizes.observe(this.grid);
    addEventListener("resize", () => this.columns());
    this.drag = new Drag(this);
    this.grid.addEventListener("focusin", (e) => this.select(e.target.closest(".plot")?.plot));
    this.grid.addEventListener("keydown", (e) => this.key(e));
    $("menu").addEventListener("keydown", (e) => {
      const all = [...$("menu").querySelectorAll("button")], by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
      if (!by) return;
      e.preventDefault();
      e.stopPropagation();
      all[(all.indexOf(document.activeElement) + by + all.length) % all.length].focus();
    });
    state.on((c) => {
      if (c.has("plots")) this.follow();
      if (c.has("cols")) this.columns();
    });
  }

  get holes() {
    return this.tl.shown.holes;
  }

  // specs are the plots as they stand in the state, copied to be changed.
  specs() {
    return (this.state.plots ?? []).map((p) => ({ ...p, names: [...p.names] }));
  }

  // follow brings the plots in line with the state; one that stays keeps its
  // canvas.
  follow() {
    const specs = this.state.plots ?? [];
    const old = [...this.plots];
    this.plots = specs.map((spec) => {
      const key = spec.names.join("\n");
      const i = old.findIndex((p) => p && p.spec.names.join("\n") === key);
      if (i < 0) return this.make(spec);
      const p = old[i];
      old[i] = null;
      p.spec = spec;
      p.place();
      return p;
    });
    for (const p of old) if (p) this.drop(p);
    this.plots.forEach((p, i) => {
      if (this.grid.children[i] !== p.host) this.grid.insertBefore(p.host, this.grid.children[i] ?? null);
    });
    this.frames.plots = this.plots;
    if (!this.plots.includes(this.selected)) this.selected = null;
    this.tell();
    this.rows();
    this.count();
    this.changed();
  }

  // tell says what to do where there is no plot.
  tell() {
    const bare = this.catalogue?.total === 0; // the car has sent no channel yet
    show($("wall-empty"), !this.plots.length && (this.state.plots !== null || bare));
    put($("wall-empty-words"), bare ? "No channel has come from this car yet: its plots appear when one does." : "No plot here. Search a channel and press Enter, or ");
    show($("wall-default"), !bare);
  }

  make(spec) {
    const p = new Plot(spec, this);
    this.grid.append(p.host);
    this.seen.observe(p.host);
    this.sizes.observe(p.body);
    p.resolve(this.catalogue);
    return p;
  }

  drop(p) {
    this.seen.unobserve(p.host);
    this.sizes.unobserve(p.body);
    p.destroy();
  }

  // resolve looks all channels up again: of another car, or of a new catalogue.
  resolve(catalogue) {
    this.catalogue = catalogue;
    for (const p of this.plots) p.resolve(catalogue);
    this.tell();
    this.changed();
  }

  see(list) {
    for (const e of list) if (e.target.plot) {
      e.target.plot.visible = e.isIntersecting;
      e.target.plot.dirty = true;
    }
    this.count();
    if (counters.plots.lines > streamLines) this.changed();
  }

  count() {
    counters.plots.total = this.plots.length;
    counters.plots.inView = this.plots.filter((p) => p.visible).length;
    counters.plots.lines = this.plots.reduce((n, p) => n + p.lines.length, 0);
  }

  resized(list) {
    for (const e of list) {
      if (e.target === this.grid) this.columns();
      else e.target.parentElement?.plot?.fit(e.contentRect.width, e.contentRect.height);
    }
    this.changed();
  }

  // columns decides how many columns the grid has.
  columns() {
    const w = this.grid.clientWidth;
    if (!w) return;
    const fits = Math.max(1, Math.floor((w + gapPX) / (leastPX + gapPX)));
    const n = this.state.cols ? Math.min(this.state.cols, Math.max(1, Math.floor(w / 120))) : Math.min(fits, 4);
    if (n !== this.n) {
      this.n = n;
      this.grid.style.setProperty("--cols", n);
      for (const p of this.plots) p.host.style.gridColumn = `span ${Math.min(p.spec.w, n)}`;
    }
    this.rows();
  }

  // rows lets few plots have the height that is there.
  rows() {
    if (!this.grid.clientWidth) return; // hidden: its size tells when it comes
    const n = gridRows(this.plots.map((p) => p.spec), this.n ?? 1);
    const room = innerHeight - (this.grid.getBoundingClientRect().top + scrollY) - 3 * gapPX;
    const px = innerWidth <= widePX || !n ? rowPX : Math.min(mostRowPX, Math.max(rowPX, Math.floor((room + gapPX) / n) - gapPX));
    this.grid.style.setProperty("--row", `${px}px`);
  }

  // width returns the pixels of the widest plot.
  width() {
    return this.plots.reduce((w, p) => Math.max(w, p.width), 300);
  }

  dirty() {
    for (const p of this.plots) p.dirty = true;
  }

  theme() {
    for (const p of this.plots) p.theme();
  }

  // ids are those of all channels that the plots show, first of those in view: a
  // stream has room for so many.
  ids() {
    const out = new Set();
    for (const p of [...this.plots.filter((x) => x.visible), ...this.plots.filter((x) => !x.visible)]) for (const l of p.lines) if (l.channel) out.add(l.channel.id);
    return [...out];
  }

  names() {
    return [...new Set(this.plots.flatMap((p) => p.spec.names))];
  }

  select(p) {
    if (!p || p === this.selected) return;
    this.selected?.host.classList.remove("selected");
    this.selected = p;
    p.host.classList.add("selected");
    p.host.setAttribute("aria-description", p.describe());
  }

  // add shows a channel: in a plot, or in a new one.
  add(name, plot = null, before = null) {
    const specs = this.specs(), i = this.plots.indexOf(plot);
    if (i >= 0) {
      const names = specs[i].names;
      if (names.includes(name)) return;
      if (names.length >= maxLines) return say(`A plot has at most ${maxLines} channels`);
      names.push(name);
    } else {
      if (specs.length >= maxPlots) return say(`The wall has at most ${maxPlots} plots`);
      const at = this.plots.indexOf(before);
      specs.splice(at < 0 ? specs.length : at, 0, { names: [name], w: 1, h: 2 });
    }
    this.state.set({ plots: specs });
    const p = this.plots[i >= 0 ? i : this.plots.findIndex((x) => x.spec.names.length === 1 && x.spec.names[0] === name)];
    p?.host.scrollIntoView({ block: "nearest" });
    say(`${name} added`);
  }

  removeLine(plot, name) {
    const specs = this.specs(), i = this.plots.indexOf(plot);
    specs[i].names = specs[i].names.filter((n) => n !== name);
    if (!specs[i].names.length) specs.splice(i, 1);
    this.state.set({ plots: specs });
    say(`${name} removed`);
  }

  remove(plot) {
    const i = this.plots.indexOf(plot);
    this.state.set({ plots: this.specs().filter((_, k) => k !== i) });
    (this.plots[Math.min(i, this.plots.length - 1)]?.host ?? $("q")).focus();
    say("Plot removed");
  }

  // move puts a plot to another place, by so many or before another one.
  move(plot, by, before) {
    const specs = this.specs(), i = this.plots.indexOf(plot);
    let to = before === undefined ? i + by : before === null ? specs.length : this.plots.indexOf(before);
    const [spec] = specs.splice(i, 1);
    if (before !== undefined && to > i) to--;
    specs.splice(Math.min(Math.max(to, 0), specs.length), 0, spec);
    const focused = plot.host.contains(document.activeElement);
    this.state.set({ plots: specs });
    if (focused) plot.host.focus();
  }

  // resize changes a plot's width in columns and height in steps.
  resize(plot, dw, dh) {
    const specs = this.specs(), s = specs[this.plots.indexOf(plot)];
    s.w = Math.min(Math.max(s.w + dw, 1), Math.max(this.n ?? 1, s.w));
    s.h = Math.min(Math.max(s.h + dh, 1), 6);
    this.state.set({ plots: specs });
  }

  // point shows the shared cursor in all plots.
  point(part) {
    if (part === this.cursor) return;
    this.cursor = part;
    for (const p of this.plots) if (p.visible) p.point(part);
    this.onPoint?.();
  }

  step(by) {
    this.point(Math.min(1, Math.max(0, (this.cursor < 0 ? 1 : this.cursor) + by)));
  }

  menu(plot) {
    const entry = (words, f, key) => el("li", { role: "none" }, button(words, () => { m.hidePopover(); f(); }, { role: "menuitem", title: key }));
    const m = $("menu");
    m.replaceChildren(...[
      entry("Move back", () => this.move(plot, -1), "Alt ←"), entry("Move on", () => this.move(plot, 1), "Alt →"),
      entry("Wider", () => this.resize(plot, 1, 0), "]"), entry("Narrower", () => this.resize(plot, -1, 0), "["),
      entry("Higher", () => this.resize(plot, 0, 1), "}"), entry("Lower", () => this.resize(plot, 0, -1), "{"),
      ...plot.lines.map((l) => entry(`Remove ${l.name}`, () => this.removeLine(plot, l.name))),
      entry("Remove the plot", () => this.remove(plot), "Delete"),
    ]);
    const box = plot.more.getBoundingClientRect();
    m.style.top = `${Math.min(box.bottom, innerHeight - 300)}px`;
    m.style.left = `${Math.max(8, box.right - 200)}px`;
    m.showPopover();
    m.querySelector("button").focus();
  }

  key(e) {
    const p = e.target.closest?.(".plot")?.plot;
    if (!p || e.ctrlKey || e.metaKey) return;
    const f = {
      Delete: () => this.remove(p), Backspace: () => this.removeLine(p, p.spec.names.at(-1)),
      "]": () => this.resize(p, 1, 0), "[": () => this.resize(p, -1, 0), "}": () => this.resize(p, 0, 1), "{": () => this.resize(p, 0, -1),
    }[e.key] ?? (e.altKey && { ArrowLeft: () => this.move(p, -1), ArrowUp: () => this.move(p, -1), ArrowRight: () => this.move(p, 1), ArrowDown: () => this.move(p, 1) }[e.key]);
    if (!f) return;
    e.preventDefault();
    e.stopPropagation();
    f();
  }
}
