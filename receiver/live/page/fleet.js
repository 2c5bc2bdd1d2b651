// fleet owns the view of all cars: what each does in one row, and the replays
// that are open.

import { $, button, el, put, show } from "./dom.js";
import { age, count, short, unit } from "./format.js";

const words = [["Car", ""], ["State", ""], ["Links", "n", "up of all"], ["Lag", "n", "of what is written behind what was read"], ["Holes", "n", "batches waited for"],
  ["Missing", "n", "batches that will never come"], ["Lap", "n"], ["Speed", "n"], ["Channels", "n"], ["Session", ""]];

const quietMS = 15_000; // a car that has sent nothing for so long is silent

export class Fleet {
  // select(car) shows a car on the wall.
  constructor(select) {
    this.select = select;
    this.rows = new Map();
    $("fleet").append(el("table", {}, el("thead", {}, el("tr", {}, ...words.map(([t, c, title]) => el("th", { scope: "col", class: c, title, text: t })))), (this.body = el("tbody"))));
  }

  take(list, chosen) {
    const names = new Set(list.cars.map((c) => c.car));
    for (const [name, r] of this.rows) if (!names.has(name)) {
      r.tr.remove();
      this.rows.delete(name);
    }
    const cars = list.cars.map((c) => [c, c.replay ? 0 : c.seen_ms ? list.now_ms - c.seen_ms : Infinity]).sort((a, b) => (a[1] > quietMS) - (b[1] > quietMS)); // those that send come first
    for (const [c, silent] of cars) this.row(c, silent, chosen);
    cars.forEach(([c], i) => {
      const tr = this.rows.get(c.car).tr;
      if (this.body.rows[i] !== tr && !tr.contains(document.activeElement)) this.body.insertBefore(tr, this.body.rows[i] ?? null);
    });
    const sending = cars.filter(([, silent]) => silent <= quietMS).length;
    show($("fleet-none"), !list.cars.length);
    put($("fleet-count"), `${list.cars.length} ${list.cars.length === 1 ? "car" : "cars"}${sending < cars.length ? `, ${sending} of them ${sending === 1 ? "sends" : "send"}` : ""}`);
  }

  // row writes what a car does that has been silent for so long, in ms.
  row(c, silent, chosen) {
    let r = this.rows.get(c.car);
    if (!r) {
      const b = button(c.car, () => this.select(c.car), { class: "link", title: c.car });
      const cells = words.slice(1).map(([, cls]) => el("td", { class: cls }));
      r = { tr: el("tr", {}, el("th", { scope: "row" }, b), ...cells), cells, b };
      this.rows.set(c.car, r);
      this.body.append(r.tr);
    }
    r.tr.classList.toggle("chosen", c.car === chosen);
    const set = (i, text, k) => {
      put(r.cells[i], text);
      r.cells[i].dataset.kind = k ?? "";
    };
    const replay = Boolean(c.replay) || c.car.includes("~");
    set(0, replay ? `↺ replay of ${c.replay?.of ?? c.car.split("~")[0]}` : silent < 3000 ? "● live" : silent < Infinity ? `○ silent for ${age(silent)}` : "· nothing yet",
      replay ? "soft" : silent < 3000 ? "good" : silent < quietMS ? "warn" : "bad");
    set(1, !c.links || silent > quietMS ? "–" : `${count(c.links_up)} of ${count(c.links)}`, c.links && silent <= quietMS && c.links_up < c.links ? (c.links_up ? "warn" : "bad") : "");
    set(2, age(c.lag_ms), c.lag_ms > 2000 ? "warn" : "");
    set(3, count(c.holes), c.holes ? "warn" : "");
    set(4, count(c.missing), c.missing ? "bad" : "");
    set(5, c.lap ? String(c.lap) : "–");
    set(6, c.speed ? `${short(c.speed.value)} ${unit(c.speed)}` : "–");
    set(7, count(c.channels));
    set(8, c.session || "–", "soft");
  }
}
