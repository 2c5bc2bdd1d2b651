"""Compares what the receivers wrote to Kafka with what the cars appended, and prints one line of JSON.

    check_kafka.py --job FILE

FILE is JSON: brokers, prefix, group, truth (file, see account.py), window (true: windows run
out), limit_s (how long the sequencer may still take).
Exit code: 0 no fault, 1 some.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import account  # noqa: E402
import outputs  # noqa: E402


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--job", required=True)
    with open(args.parse_args().job, encoding="utf-8") as f:
        job = json.load(f)
    topics = outputs.Topics(job["brokers"], job["prefix"])
    with open(job["truth"], encoding="utf-8") as f:
        acc = account.Account(f, job["window"], lambda text: print(f"kafkafire: {text}", file=sys.stderr))
    topics.settled(job["group"], job["limit_s"])
    for m in topics.records("batches"):
        h = outputs.headers(m)
        if "seq" in h:  # not a tick
            acc.copy(h)
    # A copy that has come meanwhile is dealt with too before the outputs are read.
    behind = topics.settled(job["group"], job["limit_s"])
    for text in behind:
        print(f"kafkafire: the sequencer did not finish: {text}", file=sys.stderr)
    for topic in ("samples", "live", "events", "late"):
        for m in topics.records(topic):
            acc.output(topic, outputs.headers(m), m.value())
    for m in topics.records("gaps"):
        if m.value():
            acc.gap(json.loads(m.value()))
    for m in topics.records("dlq"):
        acc.dead_letter(outputs.headers(m), m.value())
    out = acc.finish()
    print(json.dumps(out))
    return 0 if acc.ok(out) and not behind else 1


if __name__ == "__main__":
    sys.exit(main())
