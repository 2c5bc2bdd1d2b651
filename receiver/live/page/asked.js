// asked owns which channels the page wants of the server for what it shows, and
// under which names: the live side knows ids, the past GROUP.CHANNEL.

const maxWatched = 200; // channels of one stream
const maxCharts = 64; // of them, with bins
const leastSpan = 1000; // ms of a stream's charts

export class Asked {
  // catalogue() is that of the car that is shown, null while there is none;
  // watched() are ids of channels whose newest values are wanted besides.
  constructor(state, wall, map, catalogue, watched) {
    Object.assign(this, { state, wall, map, catalogue, watched });
  }

  // points is how many columns the server should give the widest plot.
  points() {
    const w = this.wall.width();
    return w <= 320 ? 300 : w <= 640 ? 600 : 1200;
  }

  // charts are the ids of what is drawn, always in the same order.
  charts() {
    return [...new Set([...this.map.ids, ...this.wall.ids()])].slice(0, maxCharts).sort((a, b) => a - b);
  }

  // charted are the channels that are drawn: [id, name in the past].
  charted() {
    return this.charts().map((id) => {
      const c = this.catalogue()?.byId.get(id);
      return [id, c ? `${c.group}.${c.name}` : ""];
    });
  }

  // names are the wall's channels as the past knows them.
  names() {
    return this.wall.names().map((n) => {
      const g = this.catalogue()?.byName.get(n)?.group;
      return g ? `${g}.${n}` : n;
    });
  }

  // query is that of the event stream.
  query() {
    const q = new URLSearchParams();
    if (!this.state.car || !this.catalogue()) return "";
    q.set("car", this.state.car);
    const ids = this.charts(), watched = [...new Set([...ids, ...this.watched()])].slice(0, maxWatched);
    if (watched.length) q.set("channels", watched.join(","));
    if (ids.length) {
      q.set("charts", ids.join(","));
      q.set("span_ms", Math.max(leastSpan, Math.round(this.state.span)));
      q.set("points", this.points());
    }
    return q.toString().replaceAll("%2C", ",");
  }
}
