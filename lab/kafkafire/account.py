"""Accounts for every batch that the cars appended: pure, and tested without Kafka."""

import json
import zlib
from collections import defaultdict

TOLD = 20  # faults of one kind that are told in full


class Batch:
    __slots__ = ("n", "length", "crc", "main", "late", "gap", "superseded", "cut", "rows")

    def __init__(self, n, length, crc):
        self.n, self.length, self.crc = n, length, crc
        self.main = self.late = self.gap = self.superseded = self.cut = 0
        self.rows = None


class Account:
    """The truth is one line per batch: car epoch nonce lane seq n length crc.

    Without windows everything must be in its main topic, but for previews (lane live): the car
    gives one up for a newer one after 2 s, says so, and it may still come after that, to late.
    Previews are in a car's memory only: when it restarts, the last ones may never have been sent.

    Whatever the reason, a gap is of what is not in batches: what comes after the gap was told goes
    to late and withdraws it. So the copies must have been read before a time at which the sequencer
    had dealt with all of batches, and the outputs after it."""

    def __init__(self, lines, windows, tell):
        self.batches, self.windows, self.tell = {}, windows, tell
        self.last_epoch = defaultdict(int)
        for line in lines:
            car, epoch, nonce, lane, seq, n, length, crc = line.split()
            self.batches[(car, epoch, nonce, lane, int(seq))] = Batch(int(n), int(length), int(crc))
            self.last_epoch[car] = max(self.last_epoch[car], int(epoch))
        # By topic, car and lane: epoch, number and row of the newest record. A car's epochs come
        # one after the other, whatever its number was in the one before.
        self.newest = {}
        self.control = defaultdict(int)  # gaps of numbers that are no batch's: the car's own records
        self.faults = defaultdict(int)
        self.dead = 0
        self.seen_in = defaultdict(int)
        self.highest = defaultdict(int)  # number in batches, by stream

    def fault(self, kind, text):
        self.faults[kind] += 1
        if self.faults[kind] <= TOLD:
            self.tell(f"{kind}: {text}")

    def ident(self, h):
        return h["car"], h["epoch"], h["nonce"], h["lane"], int(h["seq"])

    def output(self, topic, h, value):
        """One record of samples, live, events or late."""
        key = self.ident(h)
        b = self.batches.get(key)
        if b is None:
            self.fault("strangers", f"{topic}: {key}")
            return
        late = topic == "late"
        if h["content-type"] == "application/x-telemetry-batch":
            i, n = 1, 1
            if len(value) < b.length or zlib.crc32(value[len(value) - b.length:]) != b.crc:
                self.fault("wrong_values", f"{topic}: {key}: the block is not what was appended")
        else:
            i, n = (int(x) for x in h["row"].split("/"))
            self.row(topic, key, b, json.loads(value), i)
        if b.rows is None:
            b.rows = set()
        if (i, late) in b.rows or b.late and not late or b.main and late:
            self.fault("duplicates", f"{topic}: {key} row {i}/{n}")
            return
        b.rows.add((i, late))
        if not late:
            self.order(topic, key, i)
        if len(b.rows) == n:
            if late:
                b.late = 1
            else:
                b.main = 1

    def order(self, topic, key, i):
        car, epoch, nonce, lane, seq = key
        stream = (topic, car, lane)
        at = (int(epoch), seq, i)
        if at <= self.newest.get(stream, (0, 0, 0)):
            self.fault("out_of_order", f"{topic}: {key} row {i} after {self.newest[stream]}")
        self.newest[stream] = max(at, self.newest.get(stream, at))

    def row(self, topic, key, b, v, i):
        """Every channel of a JSON row is there, and the one that counts says what it must."""
        if key[3] == "critical":
            ok = v.get("event") == "beat" and v.get("detail") == str(b.n)
        else:
            ok = v.get("n_live") == b.n * 100 + i - 1 and all(f"noise_live_{k}" in v for k in (1, 2, 3))
        if not ok or (v["car"], str(v["epoch"]), v["nonce"], v["lane"], v["seq"]) != key:
            self.fault("wrong_values", f"{topic}: {key}: {v}")

    def gap(self, g):
        """One record of gaps. What is reported and withdrawn again cancels out."""
        for seq in range(g["first"], g["last"] + 1):
            b = self.batches.get((g["car"], str(g["epoch"]), g["nonce"], g["lane"], seq))
            if b is None:
                self.control[(g["car"], g["epoch"], g["nonce"], g["lane"], seq)] += {"settled": 1, "withdrawn": -1}.get(g["change"], 0)
                continue
            if g["change"] == "settled":
                b.gap += 1
                b.superseded, b.cut = g["reason"] == "superseded", g["reason"] == "epoch"
            elif g["change"] == "withdrawn":
                b.gap -= 1
            elif g["change"] == "refined":
                b.superseded, b.cut = g["reason"] == "superseded", g["reason"] == "epoch"

    def dead_letter(self, h, value):
        self.dead += 1
        if self.dead <= TOLD:
            self.tell(f"dead letter: {h}")

    def copy(self, h):
        """One record of batches."""
        key = self.ident(h)
        self.seen_in[key] += 1
        self.highest[key[:4]] = max(self.highest[key[:4]], key[4])

    def unsent(self, key):
        """A preview that was in a car's memory when it restarted, and was the last thing it knew."""
        car, epoch, _, lane, seq = key
        return lane == "live" and int(epoch) < self.last_epoch[car] and seq > self.highest[key[:4]]

    def finish(self):
        out = {"in_order": 0, "late": 0, "gaps": 0, "superseded": 0, "previews_cut": 0}
        for key, b in self.batches.items():
            if b.rows and not b.main and not b.late:
                self.fault("missing", f"{key}: only rows {sorted(b.rows)}")
                continue
            if b.gap not in (0, 1):
                self.fault("accounted_twice", f"{key}: reported missing {b.gap} times")
            ways = b.main + b.late + (b.gap > 0)
            if ways == 0 and self.unsent(key):
                out["previews_cut"] += 1
            elif ways == 0:
                self.fault("missing", f"{key}")
            elif ways > 1:
                self.fault("accounted_twice", f"{key}: in order {b.main}, late {b.late}, gap {b.gap}")
            elif b.gap > 0 and self.seen_in.get(key):
                self.fault("missing", f"{key}: given up, and {self.seen_in[key]} times in batches: late has not withdrawn it")
            elif b.late and not self.windows and key[3] != "live":
                self.fault("missing", f"{key}: late, with no window to run out")
            elif b.gap and not self.windows and not (key[3] == "live" and (b.superseded or b.cut)):
                self.fault("missing", f"{key}: given up, with no window to run out")
            out["in_order"] += b.main
            out["late"] += b.late
            out["superseded"] += bool(b.gap > 0 and b.superseded)
            cut = b.cut and key[3] == "live"
            out["previews_cut"] += bool(b.gap > 0 and cut)
            out["gaps"] += bool(b.gap > 0 and not b.superseded and not cut)
        for key, n in self.control.items():
            if n not in (0, 1):
                self.fault("accounted_twice", f"{key}: control record reported missing {n} times")
            elif n and not self.windows and key[3] != "live":
                self.fault("missing", f"{key}: control record given up, with no window to run out")
        out["control_gaps"] = sum(n > 0 for n in self.control.values())
        out["epochs"] = len({key[:3] for key in self.batches})
        for kind in ("missing", "duplicates", "out_of_order", "accounted_twice", "wrong_values", "strangers"):
            out[kind] = self.faults[kind]
        out["dead_letters"] = self.dead
        out["copies_in"] = sum(n > 1 for n in self.seen_in.values())
        return out

    def ok(self, out):
        return not any(out[k] for k in ("missing", "duplicates", "out_of_order", "accounted_twice", "wrong_values", "strangers", "dead_letters"))
