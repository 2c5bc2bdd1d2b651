"""Reads an output in format json with Quix Streams: a windowed application with
exactly-once processing, stopped half way and started again."""

import json
import os
from datetime import timedelta

from quixstreams import Application

from read_kcat import OWN
from truth import records, start


def application(args, group):
    return Application(broker_address=args.broker, consumer_group=group, auto_offset_reset="earliest",
                       processing_guarantee="exactly-once", state_dir=os.path.join(args.dir, "state"), loglevel="WARNING")


def run(args, means, rows, **until):
    """Runs the application of docs/outputs.md; rows gets what it reads."""
    app = application(args, args.topic + ".app")
    topic = app.topic(args.topic, value_deserializer="json", key_deserializer="str",
                      timestamp_extractor=lambda v, h, ts, t: v["ts_ns"] // 1_000_000)
    sdf = app.dataframe(topic)
    sdf = sdf.update(rows.append)
    sdf = sdf[sdf["group"] == "engine"]
    sdf = sdf[sdf.contains("rpm")].apply(lambda row: row["rpm"])
    sdf = sdf.tumbling_window(timedelta(seconds=1)).mean().final()
    sdf.to_topic(app.topic(means, value_serializer="json", key_serializer="str"))
    app.run(**until)


def windows(check, args, means):
    """Compares the closed windows: all but the last one of the car's key."""
    want = {}
    for utc, values in check.truth.groups["engine"].values():
        want.setdefault(utc // 1_000_000_000 * 1000, []).append(values["rpm"])
    newest = max(want)
    for m in records(args, means):
        w = json.loads(m.value())
        rpm = want.pop(w["start"], None)
        if rpm is None:
            check.fault("extra", f"window {w} is not there, or there twice")
        elif w["value"] != sum(rpm) / len(rpm) or w["end"] != w["start"] + 1000:
            check.fault("wrong", f"window {w}, want a mean of {sum(rpm) / len(rpm)}")
        else:
            check.res["windows"] += 1
    if set(want) - {newest}:
        check.fault("missing", f"windows {sorted(want)} are missing")


def main():
    args, check = start(real_only=True)
    means, rows = args.topic + ".mean", []
    run(args, means, rows, count=3, timeout=30.0)  # until three windows are closed
    half = len(rows)
    run(args, means, rows, timeout=8.0)
    if not 0 < half < len(rows):
        check.fault("wrong", f"{half} rows before the restart, {len(rows)} in all")
    for row in rows:
        check.res["records"] += 1
        check.row(row["group"], row["ts_ns"], {k: v for k, v in row.items() if k not in OWN}, row["boot_ns"])
    windows(check, args, means)

    app, events = application(args, args.topic + ".events.app"), []
    app.dataframe(app.topic(args.topic + ".events", value_deserializer="json", key_deserializer="str")).update(events.append)
    app.run(timeout=6.0)
    for e in events:
        check.res["records"] += 1
        check.event(e["ts_ns"], e["event"], e["detail"])
    check.done()


if __name__ == "__main__":
    main()
