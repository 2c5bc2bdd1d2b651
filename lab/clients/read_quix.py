"""Reads an output in format quix with the deserialiser "quix" of Quix Streams."""

import os

from quixstreams import Application

from truth import start


def main():
    args, check = start(real_only=True)
    app = Application(broker_address=args.broker, consumer_group=args.topic + ".app", auto_offset_reset="earliest",
                      state_dir=os.path.join(args.dir, "state"), loglevel="WARNING")
    rows, events = [], []
    for name, into in ((args.topic, rows), (args.topic + ".events", events)):
        topic = app.topic(name, value_deserializer="quix", key_deserializer="str",
                          timestamp_extractor=lambda v, h, ts, t: ts)
        app.dataframe(topic).update(into.append)
    app.run(timeout=8.0)
    for row in rows:
        check.res["records"] += 1
        tags, utc = row.pop("Tags"), row.pop("Timestamp")
        if tags["car"] != check.truth.car or not tags["session"] or tags["lane"] != "full":
            check.fault("wrong", f"tags {tags}")
        check.row(tags["group"], utc, row)
    for e in events:
        check.res["records"] += 1
        check.event(e["Timestamp"], e["Id"], e["Value"])
    check.done()


main()
