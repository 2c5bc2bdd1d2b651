// drag owns what a pointer does on the wall: channels dropped on plots or beside
// them, plots put elsewhere, their size, time pulled along, and the cursor.

// kinds of what is dragged, as the browser keeps them.
export const channelType = "text/x-channel";
const plotType = "text/x-plot";

export class Drag {
  constructor(wall) {
    this.wall = wall;
    this.plot = null; // that is being moved
    this.target = null;
    const g = wall.grid, zone = g.parentElement;
    g.addEventListener("dragstart", (e) => this.start(e));
    zone.addEventListener("dragover", (e) => this.over(e));
    zone.addEventListener("dragleave", (e) => { if (!zone.contains(e.relatedTarget)) this.mark(null); });
    zone.addEventListener("drop", (e) => this.drop(e));
    g.addEventListener("dragend", () => { this.plot = null; this.mark(null); });
    g.addEventListener("pointerdown", (e) => this.down(e));
    g.addEventListener("pointermove", (e) => this.hover(e));
    g.addEventListener("pointerleave", () => wall.point(-1));
    g.addEventListener("dblclick", (e) => { if (e.target.closest(".plot-body")) wall.tl.follow(); });
    g.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
  }

  start(e) {
    const p = e.target.closest?.(".grip") && e.target.closest(".plot")?.plot;
    if (!p) return;
    this.plot = p;
    e.dataTransfer.setData(plotType, "1");
    e.dataTransfer.effectAllowed = "move";
    e.dataTransfer.setDragImage(p.host, 20, 12);
  }

  // mark shows where what is dragged would go.
  mark(host, how = "") {
    if (this.target && this.target !== host) delete this.target.dataset.drop;
    this.target = host;
    if (host) host.dataset.drop = how;
  }

  over(e) {
    const channel = e.dataTransfer.types.includes(channelType);
    if (!channel && !this.plot) return;
    e.preventDefault();
    const host = e.target.closest?.(".plot");
    if (!host) return this.mark(this.wall.grid.parentElement, "end");
    if (this.plot) return this.mark(host === this.plot.host ? null : host, "before");
    const box = host.getBoundingClientRect();
    this.mark(host, e.clientX < box.left + Math.min(28, box.width * 0.15) ? "before" : "into");
  }

  drop(e) {
    const name = e.dataTransfer.getData(channelType), host = e.target.closest?.(".plot"), how = host?.dataset.drop;
    this.mark(null);
    if (!name && !this.plot) return;
    e.preventDefault();
    if (this.plot) {
      if (host?.plot !== this.plot) this.wall.move(this.plot, 0, host?.plot ?? null);
    } else if (host && how === "into") this.wall.add(name, host.plot);
    else this.wall.add(name, null, host?.plot ?? null);
    this.plot = null;
  }

  down(e) {
    const p = e.target.closest(".plot")?.plot;
    if (!p || e.button !== 0) return;
    if (e.target === p.size) return this.resize(e, p);
    if (e.target.closest(".plot-body") && p.u) this.pan(e, p);
  }

  // follow calls move with what a pointer has done since the button went down.
  follow(e, move) {
    const x = e.clientX, y = e.clientY, el = e.target, id = e.pointerId;
    el.setPointerCapture(id);
    const on = (ev) => { if (ev.pointerId === id) move(ev.clientX - x, ev.clientY - y); };
    const end = (ev) => {
      if (ev.pointerId !== id) return;
      el.removeEventListener("pointermove", on);
      el.removeEventListener("pointerup", end);
      el.removeEventListener("pointercancel", end);
    };
    el.addEventListener("pointermove", on);
    el.addEventListener("pointerup", end);
    el.addEventListener("pointercancel", end);
  }

  resize(e, p) {
    e.preventDefault();
    const w0 = p.spec.w, h0 = p.spec.h, col = p.host.clientWidth / w0, row = p.host.clientHeight / h0;
    this.follow(e, (dx, dy) => {
      const w = Math.max(1, w0 + Math.round(dx / col)), h = Math.max(1, h0 + Math.round(dy / row));
      if (w !== p.spec.w || h !== p.spec.h) this.wall.resize(p, w - p.spec.w, h - p.spec.h);
    });
  }

  // pan pulls time along; the view stops where it is let go.
  pan(e, p) {
    const tl = this.wall.tl, perPX = tl.state.span / p.u.over.clientWidth;
    const from = tl.right(performance.now());
    let begun = false;
    this.follow(e, (dx) => {
      if (!begun && Math.abs(dx) < 5) return;
      begun = true;
      tl.scroll(from - dx * perPX - tl.right(performance.now()));
    });
  }

  hover(e) {
    const p = e.target.closest?.(".plot")?.plot;
    if (!p?.u || !p.body.contains(e.target)) return this.wall.point(-1);
    const box = p.u.over.getBoundingClientRect(), part = (e.clientX - box.left) / box.width;
    this.wall.point(part >= 0 && part <= 1 ? part : -1);
  }

  // wheel: with Ctrl the span, with Shift or sideways the time.
  wheel(e) {
    if (!e.target.closest?.(".plot-body")) return;
    const tl = this.wall.tl;
    if (e.ctrlKey) {
      e.preventDefault();
      const now = performance.now();
      if (now - (this.zoomed ?? 0) > 150) {
        this.zoomed = now;
        tl.zoom(Math.sign(e.deltaY));
      }
    } else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      e.preventDefault();
      tl.scroll(((e.deltaX || e.deltaY) / 1000) * tl.state.span);
    }
  }
}
