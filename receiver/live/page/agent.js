// agent owns what the car's own agent says of its links and lanes in channels of
// its group: state, share, signal, and batches that still lie in the spool.

const words = ["link_", "spool_"];
const wanted = /^link_.*_(state|share|rsrp_dbm|rsrp)$|^spool_.*_pending$/;
const freshMS = 5000;

export class Agent {
  // values and stamps are the newest values and their times by id; now() is the
  // time at the right edge, NaN when it is not known.
  constructor(values, stamps, now) {
    this.values = values;
    this.stamps = stamps;
    this.now = now;
    this.clear();
  }

  clear() {
    this.catalogue = null;
    this.byName = new Map();
  }

  // read finds the channels; it returns false when another car came meanwhile.
  async read(catalogue) {
    this.clear();
    this.catalogue = catalogue;
    const lists = await Promise.all(words.map((w) => catalogue.ask(`agent ${w}`, 0, 200)));
    if (this.catalogue !== catalogue) return false;
    for (const c of lists.flatMap((l) => l.channels)) if (wanted.test(c.name)) this.byName.set(c.name, c.id);
    return true;
  }

  get ids() {
    return [...this.byName.values()];
  }

  value(name) {
    return this.values.get(this.byName.get(name)) ?? null;
  }

  // link is what is known of a link: null where it is not.
  link(name) {
    const id = this.byName.get(`link_${name}_state`), age = this.now() - this.stamps.get(id);
    const fresh = age < freshMS;
    return {
      fresh, state: fresh ? this.catalogue?.byId.get(id)?.enum?.[this.values.get(id)] ?? null : null,
      share: this.value(`link_${name}_share`), signal: this.value(`link_${name}_rsrp_dbm`) ?? this.value(`link_${name}_rsrp`),
    };
  }
}
