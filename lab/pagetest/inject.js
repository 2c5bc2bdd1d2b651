// Runs in every page before its own code: counts frames and drawing, and notes when
// the first value was drawn. Nothing of it changes what the page does.
(() => {
  const lab = {drawn: new Map(), frames: [], recording: false, ready: 0};
  window.__lab = lab;
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...a) {
    lab.drawn.set(this.canvas, (lab.drawn.get(this.canvas) || 0) + 1);
    return clear.apply(this, a);
  };
  lab.draws = () => [...lab.drawn].filter(([c]) => c.isConnected).map(([, n]) => n);
  lab.record = ms => new Promise(done => {
    const frames = [];
    const begun = performance.now();
    let last = 0;
    const frame = () => {
      const now = performance.now();
      if (last) frames.push([last - begun, now - last]);
      last = now;
      if (now - begun < ms) requestAnimationFrame(frame);
      else done(frames);
    };
    requestAnimationFrame(frame);
  });
  const look = () => {
    if ([...document.querySelectorAll('[data-plot]')].some(p => p.dataset.newest)) { lab.ready = performance.now(); return; }
    setTimeout(look, 5);
  };
  look();
})();
