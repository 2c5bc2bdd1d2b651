"""Tests of the comparison: it finds what it should."""

import contextlib
import io
import json
import math
import struct
import unittest

import truth


def bits(x):
    return str(struct.unpack("<Q", struct.pack("<d", x))[0])


LINES = [
    '{"car":"c","anchor_boot_ns":10,"anchor_utc_ns":1010}',
    '{"group":"g","channel":"i","type":"int","scale":3,"offset":-40,"boot_ns":[1,2,3],"raw":["18446744073709551615","9007199254740993","0"]}',
    '{"group":"g","channel":"f","type":"f64","scale":1,"offset":0,"boot_ns":[1,2],"raw":["%s","%s"]}' % (bits(math.nan), bits(0.1)),
    '{"event":"e","detail":"d","boot_ns":2}',
]
ROWS = [(1001, {"i": -43, "f": math.nan}, 1), (1002, {"i": 9007199254740993 * 3 - 40, "f": 0.1}, 2), (1003, {"i": -40}, 3)]


def result(rows=ROWS, events=((1002, "e", "d"),), real_only=False):
    c = truth.Check(truth.Truth(LINES), real_only)
    for utc, values, boot in rows:
        c.row("g", utc, values, boot)
    for e in events:
        c.event(*e)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        c.done()
    return json.loads(out.getvalue())


class Comparison(unittest.TestCase):
    def test_all_is_well(self):
        r = result()
        self.assertEqual((r["values"], r["nan"], r["large"], r["events"]), (5, 1, 1, 1))
        self.assertEqual((r["wrong"], r["missing"], r["extra"]), (0, 0, 0))
        real = [(ROWS[0][0], {"i": -43}, 1), *ROWS[1:]]
        r = result(real, real_only=True)
        self.assertEqual((r["values"], r["nan"], r["wrong"]), (5, 1, 0))

    def test_faults(self):
        cases = {
            "a row is missing": (ROWS[:2], {}, "missing"),
            "a row is there twice": ([*ROWS, ROWS[0]], {}, "extra"),
            "rows are swapped": ([ROWS[1], ROWS[0], ROWS[2]], {}, "wrong"),
            "a row at another time": ([*ROWS, (1004, {}, 4)], {}, "extra"),
            "another boot time": ([(1001, ROWS[0][1], 2), *ROWS[1:]], {}, "extra"),
            "a float for an integer": ([ROWS[0], (1002, {"i": float(9007199254740993 * 3 - 40), "f": 0.1}, 2), ROWS[2]], {}, "wrong"),
            "the last bit": ([ROWS[0], (1002, {**ROWS[1][1], "f": math.nextafter(0.1, 1)}, 2), ROWS[2]], {}, "wrong"),
            "a value too many": ([*ROWS[:2], (1003, {"i": -40, "f": 0.0}, 3)], {}, "extra"),
            "a value too few": ([(1001, {"i": -43}, 1), *ROWS[1:]], {}, "wrong"),
            "nan where there is none": (ROWS, {"real_only": True}, "wrong"),
            "no event": (ROWS, {"events": ()}, "wrong"),
            "an event twice": (ROWS, {"events": ((1002, "e", "d"),) * 2}, "wrong"),
        }
        for name, (rows, more, kind) in cases.items():
            with self.subTest(name):
                self.assertGreater(result(rows, **more)[kind], 0)


if __name__ == "__main__":
    unittest.main()
