// theme owns dark and light, and the colours that canvases draw with. The system
// decides until the button is used; that choice is kept in the browser.

const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];
const names = ["bg", "card", "line", "grid", "text", "soft", "accent", "good", "warn", "bad", "open", "late", "lost", "fresh", "track", "band"];

// lines are the colours of a plot's channels, told apart by eyes that see fewer
// colours too (after Okabe and Ito); the second row is for a light page.
const palettes = {
  dark: ["#56b4e9", "#f0a81f", "#2fc49a", "#f0e442", "#e08fbf", "#ff8a5c", "#9fb0ff", "#c4c9d1"],
  light: ["#0067a8", "#a85f00", "#00785a", "#7d6d00", "#a23d75", "#bd4400", "#4152c4", "#4d5560"],
};

// colors are the colours in use, by the names of the style sheet's variables.
export const colors = { lines: palettes.dark };

export const current = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");

function read() {
  const style = getComputedStyle(probe);
  for (const n of names) {
    probe.style.color = `var(--${n})`;
    colors[n] = style.color;
  }
  colors.lines = palettes[current()];
  for (const fn of listeners) fn();
}

// onTheme calls fn whenever the colours have changed.
export function onTheme(fn) {
  listeners.push(fn);
}

// flip changes between dark and light.
export function flip() {
  const t = current() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = t;
  try {
    localStorage.setItem("theme", t);
  } catch { /* it lasts as long as the page */ }
  read();
  return t;
}

const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
try {
  const t = localStorage.getItem("theme");
  if (t in palettes) document.documentElement.dataset.theme = t;
} catch { /* no storage: the system's theme */ }
dark.addEventListener("change", read);
read();
