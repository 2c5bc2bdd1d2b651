"""Reads what the page gave to take home, with the programs that people use for it,
and prints a JSON object per table: {"ts_ns":[…],"boot_ns":[…],"columns":{name:[…]}}.
Numbers are texts, doubles in hexadecimal: nothing is rounded. Absent values are null.

    read.py FILE    (.csv, .parquet, .arrow, .mcap, or a .zip of them)
"""

import csv
import io
import json
import os
import sys
import zipfile

OTHERS = {"ts_ns", "ts", "boot_ns", "epoch", "synced"}


def text(value):
    if value is None or value == "":
        return None
    return float(value).hex()


def table(ts, boot, columns):
    print(json.dumps({"ts_ns": [str(t) for t in ts], "boot_ns": [str(t) for t in boot], "columns": columns}))


def read_csv(data):
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))
    names = [n for n in rows[0] if n not in OTHERS] if rows else []
    # A head may carry the unit: "speed [km/h]".
    table([r["ts_ns"] for r in rows], [r["boot_ns"] for r in rows], {n.split(" [")[0]: [text(r[n]) for r in rows] for n in names})


def of_arrow(t):
    import pyarrow as pa

    names = [n for n in t.column_names if n not in OTHERS]
    ts = t.column("ts").cast(pa.int64()).to_pylist()
    table(ts, t.column("boot_ns").to_pylist(), {n: [text(v) for v in t.column(n).to_pylist()] for n in names})


def read_parquet(data):
    import pyarrow.parquet

    of_arrow(pyarrow.parquet.read_table(io.BytesIO(data)))


def read_arrow(data):
    import pyarrow.ipc

    of_arrow(pyarrow.ipc.open_file(io.BytesIO(data)).read_all())


def read_mcap(data):
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory

    topics = {}
    for _, channel, message, row in make_reader(io.BytesIO(data), decoder_factories=[DecoderFactory()]).iter_decoded_messages(log_time_order=False):
        if channel.topic == "events":
            continue
        ts, boot, rows, names = topics.setdefault(channel.topic, ([], [], [], {}))
        values = {f.name: v for f, v in row.ListFields() if f.name not in OTHERS}
        names.update(dict.fromkeys(f.name for f in row.DESCRIPTOR.fields if f.name not in OTHERS))
        ts.append(message.log_time)
        boot.append(row.boot_ns)
        rows.append(values)
    for ts, boot, rows, names in topics.values():
        table(ts, boot, {n: [text(r.get(n)) for r in rows] for n in names})


READERS = {".csv": read_csv, ".parquet": read_parquet, ".arrow": read_arrow, ".mcap": read_mcap}


def main(path):
    with open(path, "rb") as f:
        data = f.read()
    if os.path.splitext(path)[1] != ".zip":
        READERS[os.path.splitext(path)[1]](data)
        return
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        for name in z.namelist():
            if name != "channels.csv":
                READERS[os.path.splitext(name)[1]](z.read(name))


if __name__ == "__main__":
    main(sys.argv[1])
