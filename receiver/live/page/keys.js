// keys owns the keyboard: which key does what, and the list of them. A key does
// nothing while somebody types.

import { $, el } from "./dom.js";

// table is [keys, what they do]; the keys of a plot are the wall's.
const plotKeys = [
  ["Alt ← →", "move the plot with the focus"], ["[ ]", "make it narrower, wider"], ["{ }", "make it lower, higher"],
  ["Backspace", "remove its last channel"], ["Delete", "remove the plot"],
];

// label writes a key as it stands on the board.
const signs = { ArrowLeft: "←", ArrowRight: "→", " ": "Space", "+": "+", "-": "−" };
const label = (k) => k.split("+").filter(Boolean).map((x) => signs[x] ?? x).join(" ") || k;

export class Keys {
  // bindings are [[key, …], words, f]; a key is KeyboardEvent.key, "Shift+" before
  // it when it has to be held.
  constructor(bindings) {
    this.by = new Map();
    for (const [keys, , f] of bindings) for (const k of keys) this.by.set(k, f);
    const rows = [...bindings.map(([keys, words]) => [keys.map(label).join("  "), words]), ...plotKeys,
      ["Enter", "in the search: put the channel on the wall"], ["Shift Enter", "in the search: into the chosen plot"]];
    $("keys-list").replaceChildren(...rows.flatMap(([k, words]) => [el("dt", {}, el("kbd", { text: k })), el("dd", { text: words })]));
    $("keys-close").addEventListener("click", () => $("keys").close());
    document.addEventListener("keydown", (e) => this.down(e));
  }

  help() {
    if ($("keys").open) $("keys").close();
    else $("keys").showModal();
  }

  down(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
    const t = e.target;
    if (t.matches?.("input:not([type=range],[type=radio],[type=checkbox]),textarea,select,[contenteditable]")) return;
    if (document.querySelector("dialog[open]") && !(e.key === "?" && $("keys").open)) return;
    if (e.key === " " && t.matches?.("button,summary,a,input")) return; // it presses what has the focus
    if (e.key.startsWith("Arrow") && t.matches?.("input,[role=region]")) return;
    const f = this.by.get(e.shiftKey && e.key.length > 1 ? `Shift+${e.key}` : e.key);
    if (!f) return;
    e.preventDefault();
    f();
  }
}
