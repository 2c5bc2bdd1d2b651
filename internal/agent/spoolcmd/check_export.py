"""Reads what `edgeagent spool export` wrote with other tools and compares it.

    check_export.py DIR    DIR holds out.<format> and want.json
"""
import csv
import json
import math
import pathlib
import struct
import sys

import can
import cantools
from crccheck.crc import Crc32c
from mcap.reader import make_reader

UTC0 = 1767225600_000000000
STEP = 10_000_000
ROWS = 50


def check_csv(path, want):
    with open(path, newline="") as f:
        got = {(int(r["utc_ns"]), r["channel"]): float(r["value"]) for r in csv.DictReader(f) if r["group"] == "engine"}
    expected = {}
    for i, (temp, yaw) in enumerate(want["values"]):
        if temp is not None:
            expected[UTC0 + i * STEP, "temp"] = temp
        expected[UTC0 + i * STEP, "yaw"] = yaw
    assert got == expected, "csv differs"
    return len(got)


def check_mcap(path, want):
    rows = []
    with open(path, "rb") as f:
        reader = make_reader(f, validate_crcs=True)
        for schema, channel, message in reader.iter_messages(topics=["engine"]):
            assert channel.message_encoding == "json" and schema.encoding == "jsonschema"
            assert channel.metadata["car"] == "car-7"
            assert set(json.loads(schema.data)["properties"]) == {"temp", "yaw"}
            rows.append((message.log_time, json.loads(message.data)))
        total = reader.get_summary().statistics.message_count
    assert len(rows) == ROWS and total == ROWS + len(want["frames"]), (len(rows), total)
    for i, (t, row) in enumerate(rows):
        temp, yaw = want["values"][i]
        assert t == UTC0 + i * STEP
        assert row.get("temp") == temp and row["yaw"] == yaw, (i, row)
    return total


DBC = """VERSION ""
BU_: x
BO_ 291 m: 4 x
 SG_ a : 0|16@1+ (1,0) [0|0] "" x
 SG_ b : 16|16@1+ (0.5,1) [0|0] "" x
"""


def check_candump(path, want):
    messages = list(can.CanutilsLogReader(str(path)))
    assert len(messages) == len(want["frames"]), len(messages)
    for i, m in enumerate(messages):
        assert math.isclose(m.timestamp, UTC0 / 1e9 + i / 1000, abs_tol=1e-6)
        assert m.is_error_frame or m.channel == "can0"  # python-can says no more of an error frame
    a, b, c, d, e, f, g = messages
    assert (a.arbitration_id, a.is_extended_id, bytes(a.data)) == (0x123, False, bytes.fromhex("deadbeef"))
    assert (b.arbitration_id, b.is_extended_id, b.dlc) == (0x1ABCDEF0, True, 0)
    assert bytes(c.data) == bytes.fromhex("1122334455667788")
    assert d.is_remote_frame and e.is_remote_frame and e.dlc == 8
    assert f.is_fd and f.bitrate_switch and len(f.data) == 12
    assert g.is_error_frame
    db = cantools.database.load_string(DBC)
    assert db.decode_message(a.arbitration_id, a.data) == {"a": 0xADDE, "b": 0xEFBE / 2 + 1}
    return len(messages)


def uvarint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def check_batches(path, want):
    """Reads envelopes by wire/FORMAT.md alone and checks both checksums."""
    data = path.read_bytes()
    at, seqs = 0, {1: [], 3: []}
    while at < len(data):
        size, at = uvarint(data, at)
        sealed = data[at : at + size]
        at += size
        assert len(sealed) == size and sealed[:5] == b"\xa7TL\xb1\x01", "no sealed batch"
        head = sealed[5]
        stored, crc = struct.unpack_from("<II", sealed, 8)
        assert head + stored == size
        assert Crc32c.calc(sealed[: head - 4]) == struct.unpack_from("<I", sealed, head - 4)[0]
        assert Crc32c.calc(sealed[head:]) == crc
        _, p = uvarint(sealed, 16)
        _, p = uvarint(sealed, p)
        seq, p = uvarint(sealed, p + 8)
        seqs[sealed[6] & 3].append(seq)
        assert sealed[: head - 4].endswith(b"\x05car-7")
    assert seqs == {1: [1, 2], 3: [1, 2, 3, 4, 5, 6]}, seqs
    return sum(map(len, seqs.values()))


def main():
    folder = pathlib.Path(sys.argv[1])
    want = json.loads((folder / "want.json").read_text())
    for name in ("csv", "mcap", "candump", "batches"):
        n = globals()["check_" + name](folder / ("out." + name), want)
        print(f"{name}: {n} read back and equal")


main()
