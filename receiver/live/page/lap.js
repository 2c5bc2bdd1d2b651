// lap owns the arithmetic of laps: what the server says in one form, the best lap
// and sectors, and how far behind the best each is. Pure.

// sessions reads an answer of laps or sessions; what is absent gets its zero.
export function sessions(answer) {
  return (answer?.sessions ?? []).map((s) => ({
    id: s.id ?? "", name: s.name || s.id || "session", track: s.track ?? "", state: s.state ?? "",
    start: s.start_ms ?? 0, end: s.end_ms ?? 0,
    laps: (s.laps ?? []).map((l) => ({
      n: l.n, start: l.start_ms ?? 0, end: l.end_ms ?? 0, time: l.time_ms ?? 0, complete: l.complete ?? (l.time_ms > 0),
      sectors: (l.sectors ?? []).map((x) => ({ n: x.n, time: x.time_ms ?? 0 })),
    })).sort((a, b) => a.n - b.n),
    marks: s.marks ?? [],
  }));
}

// merge lays sessions that are heard now over those that were read: of what both
// know, what is heard is newer. Newest first.
export function merge(read, heard) {
  const known = new Map(read.map((s) => [s.id, s]));
  for (const s of heard) {
    const old = known.get(s.id);
    if (!old) {
      known.set(s.id, s);
      continue;
    }
    const laps = new Map([...old.laps, ...s.laps].map((l) => [l.n, l]));
    known.set(s.id, {
      ...old, name: s.name !== s.id ? s.name : old.name, track: s.track || old.track, state: s.state || old.state,
      start: s.start || old.start, end: s.state ? s.end : s.end || old.end,
      laps: [...laps.values()].sort((a, b) => a.n - b.n), marks: s.marks.length ? s.marks : old.marks,
    });
  }
  return [...known.values()].sort((a, b) => b.start - a.start);
}

// ordered puts series in the order of the names that were asked for, GROUP.CHANNEL or
// CHANNEL; what nobody asked for comes last.
export function ordered(series, names) {
  const place = (s) => {
    const i = names.findIndex((n) => s.name === n || s.name.endsWith(`.${n}`));
    return i < 0 ? names.length : i;
  };
  return [...series].sort((a, b) => place(a) - place(b));
}

// table returns the rows of a session's lap table, newest first: lap, whether its
// time or a sector is the best of the session, and ms behind the best lap (null:
// not known).
export function table(session) {
  const laps = session.laps;
  const width = laps.reduce((n, l) => Math.max(n, l.sectors.length), 0);
  const best = least(laps.filter((l) => l.complete).map((l) => l.time));
  const bestSectors = Array.from({ length: width }, (_, i) => least(laps.map((l) => sector(l, i))));
  return {
    width, best,
    ideal: width && bestSectors.every((t) => t > 0) ? bestSectors.reduce((a, b) => a + b, 0) : 0,
    rows: laps.map((l) => ({
      lap: l, running: !l.end && !l.time,
      best: l.complete && l.time > 0 && l.time === best,
      behind: l.complete && l.time > 0 && best ? l.time - best : null,
      sectors: Array.from({ length: width }, (_, i) => ({ time: sector(l, i), best: sector(l, i) > 0 && sector(l, i) === bestSectors[i] })),
    })).reverse(),
  };
}

const sector = (l, i) => l.sectors.find((s) => s.n === i + 1)?.time ?? 0;

function least(times) {
  const known = times.filter((t) => t > 0);
  return known.length ? Math.min(...known) : 0;
}

// key names a lap in the address and to the server: SESSION/LAP.
export const key = (session, lap) => `${session.id}/${lap.n}`;

// find returns the session and lap of a key, null when there is none.
export function find(list, k) {
  const i = k.lastIndexOf("/");
  const session = list.find((s) => s.id === k.slice(0, i));
  const lap = session?.laps.find((l) => String(l.n) === k.slice(i + 1));
  return lap ? { session, lap } : null;
}

// pair returns the two laps that a first look compares: the newest complete one
// with the best of the others.
export function pair(list) {
  const all = list.flatMap((s) => s.laps.filter((l) => l.complete && l.time > 0).map((l) => ({ k: key(s, l), l })));
  if (all.length < 2) return null;
  const last = all.reduce((x, y) => (y.l.start > x.l.start ? y : x));
  const best = all.filter((x) => x !== last).reduce((x, y) => (y.l.time < x.l.time ? y : x));
  return { a: best.k, b: last.k };
}
