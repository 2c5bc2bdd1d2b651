"""Reads an output in format arrow with pyarrow or with polars."""

import io

import polars
import pyarrow

from truth import NAMES, records, start


def with_pyarrow(value):
    """Returns columns by name, times as integers, and what the schema says."""
    with pyarrow.ipc.open_stream(value) as r:
        t, s = r.read_all(), r.schema
    if str(s.field("ts").type) != "timestamp[ns, tz=UTC]":
        raise ValueError(f"ts is of type {s.field('ts').type}")
    meta = {k.decode(): v.decode() for k, v in s.metadata.items()}
    names = {}
    if "gear" in s.names:
        names = {int(k[5:]): v.decode() for k, v in s.field("gear").metadata.items() if k.startswith(b"enum.")}
    columns = {f.name: t.column(f.name) for f in s}
    columns["ts"] = columns["ts"].cast(pyarrow.int64())
    return {k: v.to_pylist() for k, v in columns.items()}, meta["group"] if "group" in meta else "", names


def with_polars(value):
    df = polars.read_ipc_stream(io.BytesIO(value))
    if df.schema["ts"] != polars.Datetime("ns", "UTC"):
        raise ValueError(f"ts is of type {df.schema['ts']}")
    return df.with_columns(polars.col("ts").to_physical()).to_dict(as_series=False), None, None


def main():
    args, check = start(real_only=False)
    read = {"pyarrow": with_pyarrow, "polars": with_polars}[args.client]
    for topic in (args.topic, args.topic + ".events"):
        for m in records(args, topic):
            columns, group, names = read(m.value())
            check.res["records"] += 1
            if group is None:
                group = dict(m.headers()).get("group", b"").decode()
            if names and names != NAMES:
                check.fault("wrong", f"gear is named {names}")
            ts, boot = columns.pop("ts"), columns.pop("boot_ns")
            if "event" in columns and not group:
                for i, utc in enumerate(ts):
                    check.event(utc, columns["event"][i], columns["detail"][i])
                continue
            for i, utc in enumerate(ts):
                check.row(group, utc, {k: v[i] for k, v in columns.items()}, boot[i])
    check.done()


main()
