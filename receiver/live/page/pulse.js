// pulse owns what the page notes of itself while it runs: the age of the data, the
// first value on the screen, and the words for the time under the cursor.

import { clock } from "./format.js";
import { counters } from "./frame.js";
import { holeText } from "./holes.js";

// measure notes the state of what is shown, at a time of the right edge.
export function measure(shown, edge) {
  let newest = -1;
  for (const s of shown.store.series.values()) newest = Math.max(newest, s.newest());
  counters.dataAge = newest < 0 ? -1 : edge - (newest + 1) * shown.store.step;
  counters.openHoles = shown.holes.count("open");
}

// ready notes that the first value is on the screen.
export function ready() {
  if (counters.firstData) return;
  counters.firstData = performance.now();
  document.body.dataset.ready = "1";
}

// cursorText says the time under the cursor, and the hole that is there.
export function cursorText(at, holes) {
  const h = holes.list.find((x) => x[0] <= at && at < x[1]);
  return h ? `${clock(at, 3)} · ${holeText(h)}` : clock(at, 3);
}
