"""Compares what the receiver wrote to Kafka with what the adapter put on the bus, and prints one line of JSON.

    check_fire.py --job FILE

FILE is JSON as check.py in lab/e2e takes it, and: truth (file, one line per frame
that was on the bus: boot ns, fate, id, extended, payload), kills (of the agent:
boot ns before SIGKILL and after its end), resolution_ns (of time stamps), bound_ns
(of data that one kill may cost).
Exit code: 0 all equal, 1 not.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import check  # noqa: E402
import compare  # noqa: E402
import fire  # noqa: E402
import outputs  # noqa: E402


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--job", required=True)
    args.add_argument("--decode-only", action="store_true", help="decode the log into its cache, compare nothing")
    args = args.parse_args()
    with open(args.job, encoding="utf-8") as f:
        job = json.load(f)
    exp = check.expected(job)
    if args.decode_only:
        return 0
    truth = fire.Truth(job["truth"], job["log"], len(job["kills"]))
    truth.place(exp)
    topics = outputs.Topics(job["brokers"], job["prefix"])
    behind = topics.settled(job["group"], job["limit_s"])
    for text in behind:
        print(f"fire: the sequencer did not finish {topics.name('batches')}: {text}", file=sys.stderr)
    c = fire.Comparison(exp, truth, compare.Clock(job["clock"]), job)
    for m in topics.records("samples"):
        c.row(outputs.headers(m), json.loads(m.value()))
    for m in topics.records("batches"):
        c.batch(outputs.headers(m))
    c.finish()
    faults = []
    check.leftovers(topics, faults)
    print(
        f"fire: {c.channels()} channels, {sum(len(g.rows) for g in exp.groups.values())} frames of {len(exp.groups)} messages, "
        f"{truth.repeated} frames put on the bus again; times of the last life off by {c.times_off(truth.lives - 1)}; "
        f"UTC off by at most {c.max_utc_ns / 1e3:.1f} us where up to {c.max_unc_ns / 1e3:.1f} us are admitted; "
        f"beside them {sum(c.others.values())} rows of {len(c.others)} other groups",
        file=sys.stderr,
    )
    out = {
        "expected": exp.values, "delivered": c.delivered, "not_taken": c.not_taken, "missing": c.missing, "duplicates": c.duplicates,
        "value_errors": c.value_errors, "max_time_error_us": c.max_time_ns / 1e3,
        "order_errors": c.order_errors, "time_errors": c.time_errors, "clock_errors": c.clock_errors, "epoch_errors": c.epoch_errors,
        "strangers": c.strangers, "leftovers": len(faults), "behind": len(behind), "bus_errors": truth.errors,
    }
    print(json.dumps(out))
    bad = any(out[k] for k in out if k not in ("expected", "delivered", "not_taken", "max_time_error_us"))
    whole = exp.values > 0 and c.delivered + c.not_taken == exp.values
    return 1 if bad or not whole or c.max_time_ns > job["resolution_ns"] else 0


if __name__ == "__main__":
    sys.exit(main())
