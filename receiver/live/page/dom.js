// dom owns the few ways in which elements are made and changed. What comes from a
// car is always text: nothing here takes markup.

export const $ = (id) => document.getElementById(id);

// el makes an element. Properties: class, text, on (listeners), data (dataset),
// attrs of any other name; children are elements or texts.
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === null || v === false) continue;
    if (k === "class") e.className = v;
    else if (k === "text") e.textContent = v;
    else if (k === "on") for (const [name, f] of Object.entries(v)) e.addEventListener(name, f);
    else if (k === "data") Object.assign(e.dataset, v);
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// button makes a button that is named by its text, or by label when it shows a
// sign.
export function button(text, onclick, props = {}) {
  return el("button", { type: "button", text, on: { click: onclick }, ...props });
}

// put changes the text of an element only when it differs.
export function put(e, words) {
  words = String(words);
  if (e.firstChild?.nodeType === 3 && e.childNodes.length === 1) {
    if (e.firstChild.data !== words) e.firstChild.data = words;
  } else if (e.textContent !== words) e.textContent = words;
}

// kind marks what a number means: "good", "warn", "bad", "soft" or nothing.
export function kind(e, k) {
  k ??= "";
  if ((e.dataset.kind ?? "") !== k) e.dataset.kind = k;
}

// table brings the rows of a table body in line with cells: [text, class, kind].
export function table(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const tr = body.rows[i] ?? body.insertRow();
    while (tr.cells.length > cells.length) tr.deleteCell(-1);
    cells.forEach(([words, cls, k], j) => {
      const td = tr.cells[j] ?? tr.insertCell();
      if (td.className !== (cls ?? "")) td.className = cls ?? "";
      kind(td, k);
      put(td, words);
    });
  });
}

// head fills the head of a table: [text, class, title].
export function head(columns) {
  return el("thead", {}, el("tr", {}, ...columns.map(([words, cls, title]) => el("th", { scope: "col", class: cls, title }, words))));
}

// show hides or shows an element.
export function show(e, yes) {
  if (e.hidden === yes) e.hidden = !yes;
}

// say tells a change to who cannot see it; the same words are not said twice in
// a row, and not more often than every second.
let said = "", saying = 0;
export function say(words) {
  if (words === said) return;
  said = words;
  clearTimeout(saying);
  saying = setTimeout(() => put($("say"), words), 300);
}

// calm reports whether the viewer wants no motion.
const motion = matchMedia("(prefers-reduced-motion: reduce)");
export const calm = () => motion.matches;
