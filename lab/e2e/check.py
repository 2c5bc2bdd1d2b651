"""Compares what the receiver wrote to Kafka with the log, and prints one line of JSON.

    check.py --job FILE

FILE is JSON: log, dbc, milli (speed in thousandths), source (name in the agent's
configuration), expected (cache of the decoded log), brokers, prefix, group,
origin (boot ns of the log's first frame, as the agent says), clock (samples of
boot ns, UTC ns, width ns), limit_s (how long the sequencer may still take), others
(groups that do not come from the log).
Exit code: 0 all equal, 1 not.
"""

import argparse
import json
import os
import pickle
import sys

import compare
import oracle
import outputs


def expected(job):
    """Decodes the log, or takes what an earlier run has decoded."""
    if os.path.exists(job["expected"]):
        with open(job["expected"], "rb") as f:
            return pickle.load(f)
    exp = oracle.build(job["log"], job["dbc"], job["milli"], job["source"])
    for name, n in sorted(exp.count.items()):
        print(f"e2e: the log has {n} {name}", file=sys.stderr)
    with open(job["expected"] + ".new", "wb") as f:
        pickle.dump(exp, f)
    os.rename(job["expected"] + ".new", job["expected"])
    return exp


def leftovers(topics, faults):
    """No sample may have been given up, be late, or be broken."""
    for topic in ("late", "gaps", "dlq"):
        for m in topics.records(topic):
            h, value = outputs.headers(m), m.value()
            if topic != "dlq" and "live" in (h.get("lane"), value and json.loads(value).get("lane")):
                continue  # the preview's newer data replaces older
            faults.append(topic)
            if len(faults) <= compare.TOLD:
                print(f"e2e: {topic}: key {m.key()}, headers {h}, value {value[:300] if value else value}", file=sys.stderr)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--job", required=True)
    args.add_argument("--decode-only", action="store_true", help="decode the log into its cache, compare nothing")
    args = args.parse_args()
    with open(args.job, encoding="utf-8") as f:
        job = json.load(f)
    exp = expected(job)
    if args.decode_only:
        return 0
    topics = outputs.Topics(job["brokers"], job["prefix"])
    behind = topics.settled(job["group"], job["limit_s"])
    for text in behind:
        print(f"e2e: the sequencer did not finish {topics.name('batches')}: {text}", file=sys.stderr)
    c = compare.Comparison(exp, job["origin"], compare.Clock(job["clock"]), job["others"])
    for m in topics.records("samples"):
        c.row(outputs.headers(m), json.loads(m.value()))
    c.finish()
    faults = []
    leftovers(topics, faults)
    print(
        f"e2e: {c.channels()} channels, {sum(len(g.rows) for g in exp.groups.values())} frames of {len(exp.groups)} messages; "
        f"UTC off by at most {c.max_utc_ns / 1e3:.1f} us where up to {c.max_unc_ns / 1e3:.1f} us are admitted; "
        f"beside them {sum(c.others.values())} rows of {len(c.others)} other groups",
        file=sys.stderr,
    )
    print(json.dumps({
        "expected": exp.values, "delivered": c.delivered, "missing": c.missing, "duplicates": c.duplicates,
        "value_errors": c.value_errors, "max_time_error_us": c.max_time_ns / 1e3,
        "order_errors": c.order_errors, "time_errors": c.time_errors, "clock_errors": c.clock_errors,
        "strangers": c.strangers, "leftovers": len(faults), "behind": len(behind),
    }))
    bad = c.missing or c.duplicates or c.value_errors or c.order_errors or c.time_errors or c.clock_errors or c.strangers
    return 1 if bad or faults or behind or c.delivered != exp.values or c.max_time_ns > 1000 or exp.values == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
