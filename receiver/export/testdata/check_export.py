"""Reads what the export wrote with other tools and compares it, bit for bit.

    check_export.py DIR    DIR holds a folder per format, web.<format> and want.json
"""
import json
import math
import pathlib
import struct
import sys

import mcap.reader
import mcap_protobuf.decoder
import pandas
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet

OWN = ["ts", "boot_ns", "epoch", "synced"]


def bits(kind, value):
    """A value as want.json has it: kind and bits."""
    if kind in "iu":
        return f"{kind}{value}"
    if kind == "f":
        return "f" + struct.pack(">f", value).hex()
    return "d" + struct.pack(">d", value).hex()


def kind_of(t):
    return {"int64": "i", "uint64": "u", "float": "f", "double": "d"}[str(t)]


def raw(column):
    """The values of an Arrow column with their bits: Python's floats would make a NaN quiet."""
    kind = kind_of(column.type)
    out = []
    for chunk in column.chunks:
        data = memoryview(chunk.buffers()[1])
        width, letter = (4, "I") if kind == "f" else (8, "Q")
        whole = struct.unpack_from(f"<{len(chunk)}{letter}", data, chunk.offset * width)
        for valid, n in zip(chunk.is_valid().to_pylist(), whole):
            if not valid:
                out.append(None)
            elif kind == "i":
                out.append(f"i{n - (n >> 63 << 64)}")
            elif kind == "u":
                out.append(f"u{n}")
            else:
                out.append(f"{kind}{n:0{2 * width}x}")
    return out


def rows(into, group, table):
    assert table.schema.names[:4] == OWN and str(table.schema.field("ts").type) == "timestamp[ns, tz=UTC]", table.schema
    utc = table["ts"].cast(pa.int64()).to_pylist()
    boot = table["boot_ns"].to_pylist()
    for field in table.schema:
        if field.name in OWN:
            continue
        name = field.metadata[b"channel"].decode() if field.metadata else field.name
        for t, b, v in zip(utc, boot, raw(table[field.name])):
            if v is not None:
                into.setdefault(f"{group}.{name}", []).append([str(t), str(b), v])


def same(what, got, want, quiet=False):
    """Compares; quiet: a NaN of a float may have become quiet, or any NaN."""
    assert got.keys() == want.keys(), (what, got.keys() ^ want.keys())
    count = 0
    for name, points in want.items():
        if got[name] != points:
            assert len(got[name]) == len(points), (what, name, len(got[name]), len(points))
            for g, w in zip(got[name], points):
                nan = quiet and g[:2] == w[:2] and is_nan(w[2]) and is_nan(g[2])
                assert g == w or nan, (what, name, g, w)
        count += len(points)
    return count


def is_nan(text):
    if text[0] == "f":
        return math.isnan(struct.unpack(">f", bytes.fromhex(text[1:]))[0])
    return text[0] == "d" and math.isnan(struct.unpack(">d", bytes.fromhex(text[1:]))[0])


def check_parquet(folder, want):
    got = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        if path.stem != "events":
            rows(got, table.schema.metadata[b"group"].decode(), table)
        polars_too(polars.read_parquet(path), table)
    engine = pyarrow.parquet.read_table(folder / "Engine.parquet")
    assert engine.schema.field("rpm").metadata[b"unit"] == b"1/min"
    assert engine.schema.field("gear").metadata[b"enum.-1"] == b"reverse"
    assert engine.schema.metadata[b"car"] == b"gt3-7"
    frame = pandas.read_parquet(folder / "Engine.parquet")
    assert str(frame["ts"].dtype) == "datetime64[ns, UTC]" and frame["rpm"].tolist() == [1000.25, 1000.5, 1000.75]
    return same("parquet", got, want)


def polars_too(frame, table):
    """polars sees the same table."""
    assert frame.columns == table.schema.names
    other = frame.to_arrow()
    for name in table.schema.names:
        a, b = table[name], other[name]
        if a.type in (pa.float32(), pa.float64()):
            assert raw(pa.chunked_array([a.combine_chunks()])) == raw(pa.chunked_array([b.combine_chunks()])), name
        else:
            assert a.to_pylist() == b.to_pylist(), name


def check_arrow(folder, want):
    got = {}
    for path in sorted(folder.glob("*.arrow")):
        table = pyarrow.ipc.open_file(path).read_all()
        if path.stem == "events":
            assert table["event"].to_pylist()[0] == "mark" and table["detail"].to_pylist()[0] == "pit \\ box"
            continue
        rows(got, table.schema.metadata[b"group"].decode(), table)
        polars_too(polars.read_ipc(path), table)
    assert pandas.read_feather(folder / "Engine.arrow")["gear"].isna().tolist() == [True, False, False]
    return same("arrow", got, want)


def check_csv(folder, want):
    kinds = {name: points[0][2][0] for name, points in want.items()}
    got = {}
    for path in sorted(folder.glob("*.csv")):
        if path.stem in ("channels", "events"):
            continue
        frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
        assert list(frame.columns[:4]) == ["ts_ns", "boot_ns", "epoch", "synced"]
        group = path.stem
        for column in frame.columns[4:]:
            name = f"{group}.{column}" if f"{group}.{column}" in kinds else f"{group}.{column.rstrip('_')}"
            for t, b, v in zip(frame["ts_ns"], frame["boot_ns"], frame[column]):
                if v != "":
                    k = kinds[name]
                    got.setdefault(name, []).append([t, b, bits(k, int(v) if k in "iu" else float(v))])
    meaning = pandas.read_csv(folder / "channels.csv", keep_default_na=False)
    gear = meaning[(meaning.group == "Engine") & (meaning.channel == "gear")].iloc[0]
    assert gear.enumeration == "-1=reverse; 1=first; 2=second", gear
    # As people read it, without being told any type.
    engine = pandas.read_csv(folder / "Engine.csv")
    assert engine["rpm"].tolist() == [1000.25, 1000.5, 1000.75] and engine["Tags"][2] == math.inf, engine
    assert engine["ts_ns"].dtype == "int64" and engine["t_oil"].dtype == "int64"
    box = pandas.read_csv(folder / "Box.csv")
    assert box["serial"].tolist() == [2**64 - 1, 2**53 + 1, 0] and box["serial"].dtype == "uint64"
    frame = polars.read_csv(folder / "Engine.csv")
    assert frame["rpm"].dtype == polars.Float64 and frame["t_oil"].dtype == polars.Int64 and frame["gear"].to_list() == [None, 1, -1]
    assert frame["Tags"][2] == math.inf and math.isnan(frame.to_series(7)[1])
    return same("csv", got, want, quiet=True)


def check_mcap(folder, want):
    got = {}
    (path,) = folder.glob("*.mcap")
    kinds = {name: points[0][2][0] for name, points in want.items()}
    with open(path, "rb") as f:
        reader = mcap.reader.make_reader(f, validate_crcs=True, decoder_factories=[mcap_protobuf.decoder.DecoderFactory()])
        events = 0
        for schema, channel, message, row in reader.iter_decoded_messages(log_time_order=False):
            assert schema.encoding == channel.message_encoding == "protobuf" and channel.metadata["car"] == "gt3-7"
            if channel.topic == "events":
                events += 1
                continue
            for field, value in row.ListFields():
                if field.name in OWN:
                    continue
                says = json.loads(channel.metadata["field." + field.name])
                name = f"{channel.topic}.{says['channel']}"
                got.setdefault(name, []).append([str(message.log_time), str(row.boot_ns), bits(kinds[name], value)])
        assert events == 2
        for channel in reader.get_summary().channels.values():
            if channel.topic == "Engine":
                assert json.loads(channel.metadata["field.rpm"])["unit"] == "1/min"
                assert json.loads(channel.metadata["field.gear"])["enum"]["2"] == "second"
    return same("mcap", got, want, quiet=True)


def check_web(folder):
    """What a browser gets of one group."""
    assert pandas.read_csv(folder / "web.csv").shape == (3, 9)
    assert polars.read_parquet(folder / "web.parquet").shape == (3, 9)
    assert pyarrow.feather.read_table(folder / "web.arrow").shape == (3, 9)
    with open(folder / "web.mcap", "rb") as f:
        assert mcap.reader.make_reader(f).get_summary().statistics.message_count == 3


def main():
    folder = pathlib.Path(sys.argv[1])
    want = json.loads((folder / "want.json").read_text())
    for name in ("csv", "parquet", "arrow", "mcap"):
        n = globals()["check_" + name](folder / name, want)
        print(f"{name}: {n} values read back and equal")
    check_web(folder)


main()
