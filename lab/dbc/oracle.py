"""Decodes payloads with cantools for lab/dbc: one JSON request a line, one
answer a line.

    {"load": "a.dbc"}                          -> {"messages": [...]} or {"error": "..."}
    {"id": 1, "extended": false, "data": [..]} -> {"values": [{name: [raw, physical]} or null, ...]}

null stands for a payload that cantools refuses. Floats are given as the
hexadecimal digits of their 64 bits behind an f.
"""

import collections
import json
import logging
import struct
import sys
import warnings

import cantools


def number(value):
    if isinstance(value, float):
        return "f" + struct.pack(">d", value).hex()
    return str(int(value))


def load(path):
    try:
        return cantools.database.load_file(path, database_format="dbc")
    except Exception:  # noqa: BLE001 whatever a damaged file makes of it
        return cantools.database.load_file(path, database_format="dbc", strict=False)


def decode(message, data):
    def once(scaling):
        return message.decode(data, decode_choices=False, scaling=scaling, allow_truncated=True)

    try:
        raw, physical = once(False), once(True)
    except Exception:  # noqa: BLE001
        return None
    return {plain(name): [number(raw[name]), number(physical[name])] for name in raw}


def plain(name):
    """A name in UTF-8 that cantools took for Windows-1252."""
    try:
        return name.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return name


def reachable(tree):
    """The names in a tree of signals and what their values select."""
    for entry in tree:
        if isinstance(entry, str):
            yield entry
            continue
        for name, selected in entry.items():
            yield name
            for subtree in selected.values():
                yield from reachable(subtree)


def describe(message):
    known = set(reachable(message.signal_tree))
    names = collections.Counter(s.name for s in message.signals)
    return {
        "id": message.frame_id,
        "extended": message.is_extended_frame,
        "name": message.name,
        "size": message.length,
        # cantools gives one value for all signals of one name
        "ambiguous": [s.start for s in message.signals if names[s.name] > 1],
        # cantools loses what a selector with a long name selects, or one without a marker
        "unreachable": [plain(s.name) for s in message.signals if s.name not in known],
        "dropped": [plain(n) for n, k in names.items() if k > 1],
    }


def answer(request, known):
    if "load" in request:
        known.clear()
        try:
            messages = load(request["load"]).messages
        except Exception as e:  # noqa: BLE001
            return {"error": f"{type(e).__name__}: {e}"[:300]}
        for m in messages:
            known[m.frame_id, m.is_extended_frame] = m  # the last one counts
        return {"messages": [describe(m) for m in known.values()]}
    message = known[request["id"], request["extended"]]
    return {"values": [decode(message, bytes.fromhex(d)) for d in request["data"]]}


def main():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    known = {}
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line), known)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
