// controls owns the buttons and keys of the page: what each does, and how they show
// what stands in the state.

import { $, put, say, show } from "./dom.js";
import { day, spanText } from "./format.js";
import { Keys } from "./keys.js";
import { passing } from "./report.js";
import { spans } from "./scale.js";
import { views } from "./state.js";
import { flip } from "./theme.js";

// bind gives the controls their work; usual() shows the default wall. It returns the
// function that brings them in line with the state.
export function bind({ state, tl, wall, replay, compare, take, select, usual }) {
  function draw() {
    const { span, view, at } = state, sel = $("span");
    if (![...sel.options].some((o) => Number(o.value) === span)) {
      sel.replaceChildren(...[...new Set([...spans, span])].sort((a, b) => a - b).map((s) => new Option(spanText(s), s)));
    }
    sel.value = String(span);
    for (const v of views) {
      show($(`view-${v}`), v === view);
      $(`to-${v}`).toggleAttribute("aria-current", v === view);
    }
    document.body.dataset.view = view;
    $("cols").value = String(state.cols);
    put($("pause"), at ? "Go live" : "Pause");
    $("pause").dataset.on = at ? "1" : "";
    put($("paused"), !at ? "" : day(at) === day(Date.now()) ? "paused" : `paused, ${day(at)}`);
    show($("lap-compare"), Boolean(state.a && state.b));
  }

  const panel = (id, yes = !$(id).classList.contains("open")) => {
    $(id).classList.toggle("open", yes);
    document.querySelector(`[aria-controls=${id}]`)?.setAttribute("aria-expanded", String(yes));
  };
  const search = () => {
    state.set({ view: "wall" });
    panel("picker", true);
    $("q").focus();
    $("q").select();
  };
  const home = () => {
    const to = tl.right(performance.now());
    take.open(to - state.span, to);
  };
  const share = async () => {
    try {
      await navigator.clipboard.writeText(state.link());
      passing("The link to this view is in the clipboard.");
    } catch {
      passing("The link to this view stands in the address bar.");
    }
  };
  const theme = () => say(`${flip()} page`);
  const cursor = (by) => (state.view === "past" ? compare.step(by * 10) : wall.step(by / 100));

  const keys = new Keys([
    [["?"], "this list", () => keys.help()],
    [["/"], "search a channel", search],
    [[" "], "pause, and live again (a replay: pause it)", () => replay.toggle() || tl.toggle()],
    [["+", "="], "less time, closer", () => tl.zoom(-1)],
    [["-"], "more time", () => tl.zoom(1)],
    [["ArrowLeft"], "back in time", () => tl.scroll(-state.span / 10)],
    [["ArrowRight"], "on in time", () => tl.scroll(state.span / 10)],
    [["Shift+ArrowLeft", "Shift+ArrowRight"], "a whole screen", null],
    [["Home"], "the oldest that is kept", () => tl.begin()],
    [["End"], "now", () => tl.follow()],
    [[","], "the cursor to the left", () => cursor(-1)],
    [["."], "the cursor to the right", () => cursor(1)],
    [["Escape"], "no cursor", () => wall.point(-1)],
    [["w"], "the wall", () => state.set({ view: "wall" })],
    [["l"], "laps and sessions", () => state.set({ view: "past" })],
    [["f"], "the fleet", () => state.set({ view: "fleet" })],
    [["c"], "choose a car", () => $("car").focus()],
    [["d"], "take data home", home],
    [["s"], "copy the link to this view", share],
    [["t"], "dark or light", theme],
  ]);
  keys.by.set("Shift+ArrowLeft", () => tl.scroll(-state.span));
  keys.by.set("Shift+ArrowRight", () => tl.scroll(state.span));

  $("car").addEventListener("change", (e) => select(e.target.value));
  $("span").replaceChildren(...spans.map((s) => new Option(spanText(s), s)));
  $("span").addEventListener("change", (e) => state.set({ span: Number(e.target.value) }));
  $("cols").addEventListener("change", (e) => state.set({ cols: Number(e.target.value) }));
  $("closer").addEventListener("click", () => tl.zoom(-1));
  $("wider").addEventListener("click", () => tl.zoom(1));
  $("back").addEventListener("click", () => tl.scroll(-state.span / 2));
  $("pause").addEventListener("click", () => tl.toggle());
  $("home").addEventListener("click", home);
  $("share").addEventListener("click", share);
  $("theme").addEventListener("click", theme);
  $("help").addEventListener("click", () => keys.help());
  $("channels").addEventListener("click", () => panel("picker"));
  $("lap-compare").addEventListener("click", () => state.set({ view: "past" }));
  $("wall-default").addEventListener("click", usual);
  for (const v of views) $(`to-${v}`).addEventListener("click", () => state.set({ view: v }));
  if (matchMedia("(min-width: 1000px)").matches) panel("picker", true);

  return draw;
}
