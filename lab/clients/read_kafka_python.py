"""Reads an output in format json with kafka-python, a client without librdkafka."""

import json

from kafka import KafkaConsumer

from read_kcat import OWN
from truth import start


def records(args, topic):
    consumer = KafkaConsumer(topic, bootstrap_servers=args.broker, group_id=args.topic + ".kafka-python", auto_offset_reset="earliest",
                             isolation_level="read_committed", consumer_timeout_ms=4000)
    yield from consumer
    consumer.close()


def main():
    args, check = start(real_only=True)
    for m in records(args, args.topic):
        row = json.loads(m.value)
        check.res["records"] += 1
        if m.key.decode() != f"{row['car']}/{row['group']}" or m.timestamp != row["ts_ms"]:
            check.fault("wrong", f"row {m.value[:200]} under {m.key} at {m.timestamp}")
        check.row(row["group"], row["ts_ns"], {k: v for k, v in row.items() if k not in OWN}, row["boot_ns"])
    for m in records(args, args.topic + ".events"):
        e = json.loads(m.value)
        check.res["records"] += 1
        check.event(e["ts_ns"], e["event"], e["detail"])
    check.done()


main()
