"""What the car has sent, and the comparison of it with what a client has read.

The truth holds raw values; physical ones are worked out here, by Python's exact
integers and its own floats. A row is compared once, in the order of its group, value
by value to the last bit: a second copy is extra, what nobody has read is missing.
"""

import argparse
import json
import math
import struct
import sys


def physical(kind, scale, offset, raw):
    """Returns a raw value's physical one: an int as long as it is exact."""
    if kind in ("int", "uint"):
        n = raw - (1 << 64) if kind == "int" and raw >> 63 else raw
        if scale == int(scale) and offset == int(offset):
            return n * int(scale) + int(offset)
        return float(n) * scale + offset
    if kind == "f32":
        return struct.unpack("<f", struct.pack("<I", raw))[0]
    return struct.unpack("<d", struct.pack("<Q", raw))[0]


class Truth:
    """Rows by group: {boot_ns: (utc_ns, {channel: value})}, in order; and events."""

    def __init__(self, lines):
        self.groups, self.kinds, self.events = {}, {}, []
        delta = 0
        for line in lines:
            t = json.loads(line)
            if "anchor_boot_ns" in t:
                self.car, delta = t["car"], t["anchor_utc_ns"] - t["anchor_boot_ns"]
            elif "event" in t:
                self.events.append((t["boot_ns"] + delta, t["event"], t["detail"]))
            else:
                rows = self.groups.setdefault(t["group"], {})
                self.kinds[t["group"], t["channel"]] = t["type"]
                for boot, raw in zip(t["boot_ns"], t["raw"], strict=True):
                    row = rows.setdefault(boot, (boot + delta, {}))
                    row[1][t["channel"]] = physical(t["type"], t["scale"], t["offset"], int(raw))


def same(got, want):
    """Compares two numbers of one kind to the last bit; any NaN is one."""
    if isinstance(want, int):
        return isinstance(got, int) and got == want
    if math.isnan(want):
        return isinstance(got, float) and math.isnan(got)
    # JSON writes a whole float without a fraction.
    return float(got) == want and (not isinstance(got, int) or got == want)


NAMES = {-1: "reverse", 0: "neutral", 1: "first", 2: "second", 3: "third"}


class Check:
    """Takes rows and events as a client reads them."""

    def __init__(self, truth, real_only):
        self.truth, self.real_only = truth, real_only
        self.res = dict.fromkeys(
            ["records", "values", "events", "nan", "inf", "large", "named", "windows", "wrong", "missing", "extra"], 0)
        self.by_utc = {g: {row[0]: boot for boot, row in rows.items()} for g, rows in truth.groups.items()}
        self.seen = {g: set() for g in truth.groups}
        self.last = dict.fromkeys(truth.groups, -1)
        self.got_events = []

    def fault(self, kind, text):
        self.res[kind] += 1
        self.res.setdefault("first_fault", text)

    def row(self, group, utc, values, boot=None):
        """Takes a row; without real_only a NaN is a value, else it must not be there."""
        at = self.by_utc.get(group, {}).get(utc)
        if at is None or boot is not None and boot != at:
            return self.fault("extra", f"{group} has a row at {utc}, boot {boot}")
        if at in self.seen[group]:
            return self.fault("extra", f"{group} has its row at {utc} twice")
        if at < self.last[group]:
            self.fault("wrong", f"{group} has its row at {utc} out of order")
        self.seen[group].add(at)
        self.last[group] = at
        want = self.truth.groups[group][at][1]
        values = {k: v for k, v in values.items() if v is not None}
        for channel, w in want.items():
            got = values.pop(channel, None)
            unreal = isinstance(w, float) and not math.isfinite(w)
            if unreal and self.real_only:
                if got is not None:
                    self.fault("wrong", f"{group}.{channel} at {utc} is {got!r}, want none for {w!r}")
            elif got is None or not same(got, w):
                self.fault("wrong", f"{group}.{channel} at {utc} is {got!r}, want {w!r}")
                continue
            self.res["values"] += 1
            if unreal:
                self.res["nan" if math.isnan(w) else "inf"] += 1
            self.res["large"] += isinstance(w, int) and abs(w) > 1 << 53
            self.res["named"] += channel == "gear"
        for channel, got in values.items():
            self.fault("extra", f"{group}.{channel} at {utc} is {got!r}, want none")
        return None

    def event(self, utc, name, detail):
        self.got_events.append((utc, name, detail))

    def done(self):
        """Prints the result; a fault is no failure of the program."""
        for group, rows in self.truth.groups.items():
            lost = [at for at in rows if at not in self.seen[group]]
            if lost:
                self.res["missing"] += len(lost)
                self.res.setdefault("first_fault", f"{group} lacks {len(lost)} rows, the first at boot {lost[0]}")
        if self.got_events == self.truth.events:
            self.res["events"] = len(self.got_events)
        else:
            self.fault("wrong", f"events {self.got_events[:3]} ({len(self.got_events)}), want {self.truth.events[:3]} ({len(self.truth.events)})")
        print(json.dumps(self.res))


def start(real_only):
    """Reads the arguments and the truth."""
    p = argparse.ArgumentParser()
    for name in ("client", "broker", "topic", "truth", "registry", "kcat", "proto", "dir"):
        p.add_argument("--" + name, required=True)
    args = p.parse_args()
    with open(args.truth, encoding="utf-8") as f:
        return args, Check(Truth(f), real_only)


def records(args, topic):
    """Reads all committed records of a topic with confluent-kafka."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    c = Consumer({"bootstrap.servers": args.broker, "group.id": "nobody", "enable.auto.commit": False,
                  "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    parts = c.list_topics(topic, timeout=20).topics[topic].partitions
    c.assign([TopicPartition(topic, p, 0) for p in parts])
    ended = set()
    while len(ended) < len(parts):
        m = c.poll(20)
        if m is None:
            sys.exit(f"{topic}: no end of {sorted(set(parts) - ended)} in 20 s")
        if m.error() is None:
            yield m
        elif m.error().code() == KafkaError._PARTITION_EOF:
            ended.add(m.partition())
        else:
            sys.exit(f"{topic}: {m.error()}")
    c.close()
