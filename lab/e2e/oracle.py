"""What a CAN log says, decoded by cantools: the truth that the outputs are compared with.

It shares no code with the product. It reads the candump text itself, keeps the
stamps as whole nanoseconds, and lets cantools cut and scale the signals.

The rules of the product that it follows, because a log alone does not say them:
a DBC belongs to the log's first interface; a message is a group, a frame a row;
a name used twice gets the group in front; error frames and remote requests hold
no values; NaN and infinities, which JSON does not have, are no values. A message that
cantools cannot decode is said to be left out.
"""

import collections
import functools
import gzip
import logging
import math
import re
import sys
import time

import cantools
from cantools.database.utils import create_encode_decode_formats, decode_data

LOG_LINE = re.compile(
    rb"^\s*\(\s*(\d+)\.(\d{1,9})\s*\)\s+(\S{1,32})\s+"
    rb"([0-9A-Fa-f]{8}|[0-9A-Fa-f]{3})#(#[0-9A-Fa-f])?((?:[0-9A-Fa-f]{2}\.?)*|R[0-9A-Fa-f]*)(_[0-9A-Fa-f])?(?:\s+[RT])?\s*$"
)
SHOWN_LINE = re.compile(
    rb"^\s*\(\s*(\d+)\.(\d{1,9})\s*\)\s+(\S{1,32})\s+"
    rb"(?:[RT]X\s+\S*\s+\S*\s+)?([0-9A-Fa-f]{8}|[0-9A-Fa-f]{3})\s+\[(\d+)\]\s+((?:[0-9A-Fa-f]{2}\s?)*|remote request)(?:\s.*)?$"
)
ERROR_FLAG, REMOTE_FLAG = 0x20000000, 0x40000000
STEP_BACK_NS = 1_000_000_000  # stamps that fall by more are a clock that was set
MAX_GAP_NS = 3600 * 1_000_000_000  # as is a longer silence

# Fields of an output row that are no channels; a channel of such a name stands
# there under another one.
ROW_FIELDS = {
    "car", "session", "epoch", "nonce", "lane", "seq", "row", "group", "ts_ns", "ts_ms", "boot_ns",
    "clock", "clock_unc_ns", "segment", "event", "detail",
}
AGENT_RESERVED = (ROW_FIELDS - {"segment", "event", "detail"}) | {"Timestamp", "Tags"}


class Group:
    """One message: its channels, and one row per frame in the order of the log."""

    def __init__(self, name, message, keys):
        self.name = name
        self.message = message.name
        self.keys = keys  # signal name -> field of the output row
        self.times = []  # ns after the log's first frame, at the speed of the replay
        self.rows = []  # tuple of values in the order of keys; None: absent
        self.frames = []  # which frame of the log each row is, from 0


class Expected:
    """Everything that the log says."""

    def __init__(self):
        self.groups = {}  # by name
        self.left_out = set()  # names of groups that cantools cannot decode
        self.first_ns = None
        self.values = 0
        self.count = collections.Counter()


def read_lines(path):
    with open(path, "rb") as f:
        packed = f.read(2) == b"\x1f\x8b"
    opener = gzip.open if packed else open
    with opener(path, "rb") as f:
        try:
            yield from f
        except (EOFError, OSError, gzip.BadGzipFile) as err:
            print(f"oracle: the archive ends early: {err}", file=sys.stderr)


def frames(path, count):
    """Yields (stamp in ns, interface, id, extended, payload or None, whole)."""
    for line in read_lines(path):
        if not line.strip() or line.lstrip()[:1] in (b"#", b";") or line.lstrip()[:2] == b"//":
            continue
        m = LOG_LINE.match(line)
        if m:
            sec, frac, bus, ident, fd, data = m.group(1, 2, 3, 4, 5, 6)
            remote = data[:1] == b"R"
        else:
            m = SHOWN_LINE.match(line)
            if not m:
                count["bad lines"] += 1
                continue
            sec, frac, bus, ident, size, data = m.groups()
            fd, remote = len(size) == 2, data.startswith(b"remote")
        payload = None
        if not remote:
            payload = bytes.fromhex(data.replace(b".", b"").decode())
            if len(payload) > (64 if fd else 8):
                count["bad lines"] += 1
                continue
        number = int(ident, 16)
        extended = len(ident) == 8
        if extended and number & (ERROR_FLAG | REMOTE_FLAG):
            payload = None
        stamp = int(sec) * 1_000_000_000 + int(frac.ljust(9, b"0"))
        yield stamp, bus, number & 0x1FFFFFFF, extended, payload, line.endswith(b"\n")


def pgn(ident):
    number = ident >> 8 & 0x3FFFF
    return number & ~0xFF if number >> 8 & 0xFF < 240 else number


class Database:
    """A DBC file by cantools, and the names that the outputs give its signals."""

    def __init__(self, path, source):
        logging.getLogger("cantools").setLevel(logging.ERROR)
        try:
            self.db = cantools.database.load_file(path, database_format="dbc", strict=False)
        except (cantools.Error, ValueError) as err:
            raise SystemExit(f"e2e: cantools cannot read {path}: {err} (E2E_ORACLE_DBC may name a mended copy)") from err
        self.by_id, self.by_pgn = {}, {}
        for m in self.db.messages:
            self.by_id[m.frame_id, m.is_extended_frame] = m
            if m.protocol == "j1939" and m.is_extended_frame:
                self.by_pgn[pgn(m.frame_id)] = m
        self.known = {}
        messages = [m for m in self.db.messages if self.by_id[m.frame_id, m.is_extended_frame] is m and m.signals]
        self.groups = self.name(messages, source)

    @staticmethod
    def name(messages, source):
        """Gives each message its group and each signal its field."""

        def numbered(taken, name):
            out, n = name, 2
            while out in taken:
                out, n = f"{name}#{n}", n + 1
            taken.add(out)
            return out

        taken = set()
        group_names = [numbered(taken, m.name) for m in messages]
        often = collections.Counter(s.name for m in messages for s in m.signals)
        taken, groups = set(), {}
        for m, g in zip(messages, group_names):
            keys = {}
            for s in m.signals:
                key = numbered(taken, f"{g}.{s.name}" if often[s.name] > 1 else s.name)
                if key in AGENT_RESERVED:
                    key = f"{source}.{key}"
                while key in ROW_FIELDS:
                    key += "_"
                keys[s.name] = key
            name = f"{source}.{g}" if g in AGENT_RESERVED else g
            groups[m.frame_id, m.is_extended_frame] = Group(name, m, keys)
        return groups

    def lookup(self, ident, extended):
        m = self.by_id.get((ident, extended))
        if m is None and extended:
            m = self.by_pgn.get(pgn(ident))
        return m


def decode(message, data):
    """Decodes as far as the payload goes. cantools refuses a whole frame whose
    selector has a value that the file does not know, or whose signals overlap;
    then its parts are decoded one by one."""
    try:
        return message.decode(data, decode_choices=False, scaling=True, allow_truncated=True, allow_excess=True)
    except cantools.database.DecodeError:
        return walk(message._codecs, data)


def walk(node, data):
    out = {}
    for signal in node["signals"]:
        size, formats = alone(signal)
        out.update(decode_data(data, size, [signal], formats, False, True, True, True))
    for selector, branches in node["multiplexers"].items():
        branch = branches.get(out.get(selector))
        if branch is not None:
            out.update(walk(branch, data))
    return out


@functools.cache
def alone(signal):
    """Returns the bytes that a signal needs and how to cut it out of them."""
    first = signal.start
    if signal.byte_order == "big_endian":
        first = 8 * (first // 8) + 7 - first % 8
    size = (first + signal.length + 7) // 8
    return size, create_encode_decode_formats([signal], size)


def build(log, dbc, milli, source="bus"):
    """Decodes a whole log. milli is the speed of the replay in thousandths."""
    db, exp = Database(dbc, source), Expected()
    first_bus, told = None, time.monotonic()
    offset = high = 0
    for g in db.groups.values():
        exp.groups[g.name] = g
    for stamp, bus, ident, extended, data, whole in frames(log, exp.count):
        exp.count["frames"] += 1
        if first_bus is None:
            first_bus, exp.first_ns, offset = bus, stamp, -stamp
        distance = stamp + offset
        if distance < high - STEP_BACK_NS or distance > high + MAX_GAP_NS:
            offset += high - distance
            distance = high
            exp.count["clock steps"] += 1
        high = max(high, distance)
        if bus != first_bus:
            exp.count["frames of other interfaces"] += 1
            continue
        if data is None:
            exp.count["remote and error frames"] += 1
            continue
        message = db.lookup(ident, extended)
        if message is None:
            exp.count["frames of unknown ids"] += 1
            continue
        if len(data) < message.length and not whole:
            exp.count["cut frames"] += 1
            continue
        if not message.signals:
            continue
        group = db.groups[message.frame_id, message.is_extended_frame]
        try:
            values = decode(message, data)
        except cantools.database.DecodeError as err:
            if exp.groups.pop(group.name, None) is not None:
                exp.left_out.add(group.name)
                print(f"oracle: message {message.name} is left out: cantools cannot decode it: {err}", file=sys.stderr)
            exp.count["frames that cantools cannot decode"] += 1
            continue
        if not values:
            continue
        row = tuple(finite(values.get(name)) for name in group.keys)
        at = distance * 1000 // milli if distance >= 0 else -(-distance * 1000 // milli)
        if group.times and at < group.times[-1]:
            at = group.times[-1]
            exp.count["stamps raised"] += 1
        group.times.append(at)
        group.rows.append(row)
        group.frames.append(exp.count["frames"] - 1)
        if exp.count["frames"] % 4096 == 0 and time.monotonic() > told + 5:
            told = time.monotonic()
            print(f"oracle: {exp.count['frames']} frames decoded", file=sys.stderr, flush=True)
    exp.values = sum(v is not None for g in exp.groups.values() for row in g.rows for v in row)
    return exp


def finite(value):
    if value is None or isinstance(value, int):
        return value
    return value if math.isfinite(value) else None
