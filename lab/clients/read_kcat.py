"""Reads an output in format json with kcat."""

import json
import subprocess

from truth import start

# Fields of a row that are no channels.
OWN = {"car", "session", "epoch", "nonce", "lane", "seq", "row", "group", "ts_ns", "ts_ms", "boot_ns",
       "clock", "clock_unc_ns", "segment"}


def lines(args, topic):
    """Runs kcat as docs/outputs.md shows it."""
    return subprocess.run(
        [args.kcat, "-b", args.broker, "-t", topic, "-C", "-o", "beginning", "-e", "-q",
         "-X", "isolation.level=read_committed", "-f", "%k\t%s\n"],
        check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


def main():
    args, check = start(real_only=True)
    for line in lines(args, args.topic):
        key, value = line.split("\t", 1)
        row = json.loads(value)
        check.res["records"] += 1
        if key != f"{row['car']}/{row['group']}" or row["clock"] != "synced" or row["ts_ms"] != row["ts_ns"] // 1_000_000:
            check.fault("wrong", f"row {value[:200]} under {key}")
        check.row(row["group"], row["ts_ns"], {k: v for k, v in row.items() if k not in OWN}, row["boot_ns"])
    for line in lines(args, args.topic + ".events"):
        e = json.loads(line.split("\t", 1)[1])
        check.res["records"] += 1
        check.event(e["ts_ns"], e["event"], e["detail"])
    check.done()


if __name__ == "__main__":
    main()
