"""Holds delivered rows against what the log says; see oracle.py."""

import bisect
import collections
import math
import sys

import oracle

MATCH_NS = 1000  # a row belongs to a frame whose time is that near, unless told otherwise
PAIR_NS = 50_000_000  # what is left over is paired up to here, as an error of time
TOLD = 5  # differences of a kind that are described
EXACT = 2**53


def same(got, want):
    """Values are equal as numbers. Beyond 2^53 not every integer is a float64:
    there the order of rounding may show, by one unit in the last place."""
    if got == want:
        return True
    if abs(want) < EXACT or isinstance(got, bool) or not isinstance(got, (int, float)):
        return False
    got, want = float(got), float(want)
    return got in (want, math.nextafter(want, math.inf), math.nextafter(want, -math.inf))


class Clock:
    """The machine's own pairing of boot time and UTC, sampled during the run."""

    def __init__(self, samples):
        self.samples = sorted(samples)  # (boot ns, utc ns, width ns)
        self.boots = [s[0] for s in self.samples]

    def utc(self, boot):
        """Returns UTC at a boot time and how far that may be off, both in ns."""
        i = max(0, bisect.bisect_right(self.boots, boot) - 1)
        a, b = self.samples[i], self.samples[min(i + 1, len(self.samples) - 1)]
        off_a, off_b = a[1] - a[0], b[1] - b[0]
        return boot + off_a, abs(off_b - off_a) + a[2] + b[2]


class Track:
    """One group on its way: what of it has arrived."""

    def __init__(self, group):
        self.group = group
        self.fields = dict(zip(group.keys.values(), range(len(group.keys))))
        self.i = 0  # first frame that has not arrived whole
        self.left = None  # what frame i lacks when a part of it has arrived
        self.missing = []  # (frame, fields)
        self.astray = []  # (time, values) that came where no frame was expected

    def wanted(self, i):
        return {k for k, n in self.fields.items() if self.group.rows[i][n] is not None}


class Comparison:
    def __init__(self, expected, origin, clock, others=(), match_ns=MATCH_NS):
        self.expected, self.origin, self.clock, self.match_ns = expected, origin, clock, match_ns
        self.tracks = {name: Track(g) for name, g in expected.groups.items()}
        self.delivered = self.missing = self.duplicates = self.value_errors = 0
        self.order_errors = self.time_errors = self.clock_errors = self.strangers = 0
        self.max_time_ns = self.max_utc_ns = self.max_unc_ns = 0
        self.seen = {}  # batch -> [rows it has, bits of rows seen]
        self.foreign = set(others) | expected.left_out  # groups that are not compared
        self.others = collections.Counter()  # their rows
        self.told = collections.Counter()

    def tell(self, kind, text):
        self.told[kind] += 1
        if self.told[kind] <= TOLD:
            print(f"e2e: {kind}: {text}", file=sys.stderr)
        elif self.told[kind] == TOLD + 1:
            print(f"e2e: {kind}: more of it is only counted", file=sys.stderr)

    def identity(self, rec):
        """Notes a record by its identity; False: it was there before."""
        key = (rec["car"], rec["epoch"], rec["nonce"], rec["lane"], rec["seq"])
        place, _, n = rec["row"].partition("/")
        bit, entry = 1 << int(place), self.seen.setdefault(key, [int(n), 0])
        if entry[1] & bit:
            self.tell("duplicate", f"{rec['topic']} {rec['group']}: row {rec['row']} of batch {key} stands twice")
            return False
        entry[1] |= bit
        return True

    def row(self, rec, value):
        """Takes one row of telemetry.samples: its headers, its JSON."""
        track = self.tracks.get(rec["group"])
        values = {k: v for k, v in value.items() if k not in oracle.ROW_FIELDS}
        if not self.identity(rec):
            self.duplicates += max(1, len(values)) if track else 0
            return
        if track is None:
            self.others[rec["group"]] += 1
            if rec["group"] not in self.foreign:
                self.strangers += 1
                self.tell("stranger", f"a row of group {rec['group']!r}, which the log does not make: {value}")
            return
        self.delivered += len(values)
        for field in ("car", "epoch", "nonce", "lane", "seq", "row", "group", "boot_ns", "clock"):
            if str(value.get(field)) != str(rec[field]):
                self.value_errors += 1
                self.tell("header", f"{field} is {rec[field]} in the header and {value.get(field)} in the value")
        self.utc(rec, value)
        self.place(track, value["boot_ns"], values)

    def utc(self, rec, value):
        where = f"{rec['group']} at boot {value['boot_ns']}"
        if value["clock"] != "synced":
            self.clock_errors += 1
            self.tell("clock", f"{where}: {value['clock']}")
            return
        truth, slack = self.clock.utc(value["boot_ns"])
        err = abs(value["ts_ns"] - truth)
        self.max_utc_ns, self.max_unc_ns = max(self.max_utc_ns, err), max(self.max_unc_ns, value["clock_unc_ns"])
        if err > value["clock_unc_ns"] + slack or value["ts_ms"] != value["ts_ns"] // 1_000_000:
            self.clock_errors += 1
            self.tell("clock", f"{where}: ts_ns {value['ts_ns']} is {err} ns off, clock_unc_ns is {value['clock_unc_ns']}")

    def place(self, track, boot, values):
        """Finds the frame that a row belongs to."""
        if self.origin is None:
            self.origin = boot - track.group.times[0] if track.group.times else boot
        t, times = boot - self.origin, track.group.times
        while track.i < len(times):
            dt = t - times[track.i]
            if dt < -self.match_ns:
                break
            if dt <= self.match_ns and (track.left is None or values.keys() <= track.left) and not self.rather(track, t, values):
                self.max_time_ns = max(self.max_time_ns, abs(dt))
                wanted = track.wanted(track.i) if track.left is None else track.left
                self.equal(track, track.i, values)
                self.matched(track, track.i)
                track.left = wanted - values.keys()
                if track.left:
                    return  # the rest may come in a record of its own
                track.i, track.left = track.i + 1, None
                return
            self.skip(track)
        track.astray.append((t, values))

    def rather(self, track, t, values):
        """Reports whether a row is a later frame as near in time: it has that
        one's values and not those of the frame in turn."""
        times, i = track.group.times, track.i
        if track.left is not None or self.fits(track, i, values):
            return False
        while (i := i + 1) < len(times) and times[i] <= t + self.match_ns:
            if self.fits(track, i, values):
                return True
        return False

    @staticmethod
    def fits(track, i, values):
        row = track.group.rows[i]
        wants = ((track.fields.get(k), got) for k, got in values.items())
        return all(n is not None and row[n] is not None and same(got, row[n]) for n, got in wants)

    def matched(self, track, i):
        """Is told each frame that a row was found for."""

    def skip(self, track):
        lacks = track.wanted(track.i) if track.left is None else track.left
        track.missing.append((track.i, lacks))
        track.i, track.left = track.i + 1, None

    def equal(self, track, i, values):
        row = track.group.rows[i]
        for key, got in values.items():
            n = track.fields.get(key)
            want = None if n is None else row[n]
            if want is None or not same(got, want):
                self.value_errors += 1
                said = "nothing" if want is None else repr(want)
                self.tell("value", f"{track.group.name}.{key}, frame {i} of the message: got {got!r}, the log says {said}")

    def finish(self):
        """Settles what is left and returns the counts."""
        for track in self.tracks.values():
            while track.i < len(track.group.times):
                self.skip(track)
            self.settle(track)
        for key, (n, bits) in self.seen.items():
            if bits != (1 << n + 1) - 2:
                self.tell("batch", f"of {n} rows of batch {key} only {bits.bit_count()} are there")
                self.strangers += 1

    def settle(self, track):
        """Pairs rows that came out of place with frames that lack theirs."""
        times, lacking = track.group.times, collections.defaultdict(list)
        for i, lacks in track.missing:
            lacking[times[i]].append((i, lacks))
        rest = []
        for t, values in track.astray:
            if lacking.get(t):
                i, lacks = lacking[t].pop(0)
                self.order_errors += 1
                self.tell("order", f"{track.group.name}: frame {i} came after a later one of its message")
                self.equal(track, i, values)
                self.matched(track, i)
                self.lost(track, i, lacks - values.keys())
            else:
                rest.append((t, values))
        missing = collections.deque(sorted(((i, lacks) for left in lacking.values() for i, lacks in left), key=lambda m: m[0]))
        for t, values in sorted(rest, key=lambda r: r[0]):
            while missing and times[missing[0][0]] < t - PAIR_NS:
                self.lost(track, *missing.popleft())
            if not missing or times[missing[0][0]] > t + PAIR_NS:
                self.stranger(track, t, values)
                continue
            i, lacks = missing.popleft()
            self.time_errors += 1
            self.max_time_ns = max(self.max_time_ns, abs(t - times[i]))
            self.tell("time", f"{track.group.name}: frame {i} is {t - times[i]} ns off")
            self.equal(track, i, values)
            self.matched(track, i)
            self.lost(track, i, lacks - values.keys())
        for i, lacks in missing:
            self.lost(track, i, lacks)

    def lost(self, track, i, lacks):
        if lacks or not any(v is not None for v in track.group.rows[i]):
            self.missing += max(1, len(lacks))
            self.tell("missing", f"{track.group.name}: frame {i} of the message, {track.group.times[i] / 1e9:.6f} s after the first: {sorted(lacks)}")

    def stranger(self, track, t, values):
        at = bisect.bisect_left(track.group.times, t - self.match_ns)
        if at < len(track.group.times) and track.group.times[at] <= t + self.match_ns:
            self.duplicates += len(values)
            self.tell("duplicate", f"{track.group.name}: a second row {t / 1e9:.6f} s after the first frame, under an identity of its own")
        else:
            self.strangers += 1
            self.tell("stranger", f"{track.group.name}: a row {t / 1e9:.6f} s after the first frame, where the log has none: {values}")

    def channels(self):
        """Channels of the log, and how many of them have a value."""
        return sum(any(r[n] is not None for r in g.rows) for g in self.expected.groups.values() for n in range(len(g.keys)))
