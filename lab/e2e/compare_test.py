"""The comparison finds every kind of difference: python -m unittest compare_test."""

import contextlib
import copy
import io
import unittest

import compare
import oracle

ORIGIN, UTC = 5_000_000_000, 1_700_000_000_000_000_000
COUNTS = ("missing", "duplicates", "value_errors", "order_errors", "time_errors", "clock_errors", "strangers")


class Signal:
    def __init__(self, name):
        self.name = name


class Message:
    name, signals = "M", [Signal("a"), Signal("b")]


def expected():
    exp = oracle.Expected()
    g = exp.groups["M"] = oracle.Group("M", Message(), {"a": "a", "b": "M.b"})
    g.times = [0, 1_000_000, 1_000_000, 2_000_000, 500_000_000]
    g.rows = [(1, 0.1), (2, None), (3, 0.3), (4, 2**60 + 1), (None, 0.5)]
    exp.values = 8
    return exp


def records():
    out = []
    exp = expected().groups["M"]
    for i, (t, row) in enumerate(zip(exp.times, exp.rows)):
        rec = {
            "topic": "t", "car": "c", "epoch": "1", "nonce": "n", "lane": "full", "seq": str(7 + i // 3),
            "row": f"{i % 3 + 1}/{3 if i < 3 else 2}", "group": "M", "boot_ns": str(ORIGIN + t), "clock": "synced",
        }
        value = dict(rec, boot_ns=ORIGIN + t, ts_ns=UTC + ORIGIN + t + 300, ts_ms=(UTC + ORIGIN + t) // 10**6, clock_unc_ns=500)
        del value["topic"]
        value.update({k: v for k, v in zip(("a", "M.b"), row) if v is not None})
        out.append((rec, value))
    return out


def run(recs):
    clock = compare.Clock([(ORIGIN - 10**9, UTC + ORIGIN - 10**9, 10), (ORIGIN + 10**9, UTC + ORIGIN + 10**9, 10)])
    c = compare.Comparison(expected(), ORIGIN, clock)
    with contextlib.redirect_stderr(io.StringIO()):
        for rec, value in recs:
            c.row(rec, value)
        c.finish()
    return c, {k: getattr(c, k) for k in COUNTS if getattr(c, k)}


class CompareTest(unittest.TestCase):
    def check(self, change, **want):
        recs = copy.deepcopy(records())
        change(recs)
        got = run(recs)[1]
        self.assertEqual(got, want)

    def test_equal(self):
        c, got = run(records())
        self.assertEqual((got, c.delivered, c.max_time_ns), ({}, 8, 0))

    def test_a_row_is_missing(self):
        self.check(lambda r: r.pop(0), missing=2, strangers=1)  # and its batch has a hole
        self.check(lambda r: r.__delitem__(slice(3, 5)), missing=3)  # with its batch

    def test_a_value_is_missing(self):
        self.check(lambda r: r[2][1].pop("M.b"), missing=1)

    def test_a_value_is_wrong(self):
        self.check(lambda r: r[0][1].update({"M.b": 0.10000000000000002}), value_errors=1)
        self.check(lambda r: r[1][1].update({"M.b": 7}), value_errors=1)
        self.check(lambda r: r[0][1].update({"unheard": 7}), value_errors=1)

    def test_beyond_float64_one_unit_is_admitted(self):
        self.check(lambda r: r[3][1].update({"M.b": 2**60}))
        self.check(lambda r: r[3][1].update({"M.b": 2**60 + 2000}), value_errors=1)

    def test_a_record_stands_twice(self):
        self.check(lambda r: r.append(r[0]), duplicates=2)

    def test_a_sample_stands_twice_under_two_identities(self):
        def change(r):
            rec, value = copy.deepcopy(r[0])
            for x in (rec, value):
                x.update(seq="99", row="1/1")
            r.append((rec, value))

        self.check(change, duplicates=2)

    def test_time_is_off(self):
        def shift(by):
            def change(r):
                r[3][1]["boot_ns"] += by
                r[3][0]["boot_ns"] = str(r[3][1]["boot_ns"])
                r[3][1]["ts_ns"] += by
                r[3][1]["ts_ms"] = r[3][1]["ts_ns"] // 10**6

            return change

        self.check(shift(900))
        self.check(shift(-2000), time_errors=1)
        self.check(shift(2_000_000), time_errors=1)

    def test_of_two_frames_at_one_time_the_first_is_missing(self):
        self.check(lambda r: r.pop(1), missing=1, strangers=1)  # and its batch has a hole

    def test_order(self):
        def change(r):
            r[0], r[3] = r[3], r[0]

        self.assertGreater(run_changed(change)["order_errors"], 0)

    def test_utc(self):
        self.check(lambda r: r[0][1].update(clock_unc_ns=200), clock_errors=1)
        self.check(lambda r: (r[0][1].update(clock="unsynced"), r[0][0].update(clock="unsynced")), clock_errors=1)

    def test_a_row_the_log_does_not_have(self):
        def change(r):
            rec, value = copy.deepcopy(r[0])
            rec.update(seq="99", row="1/1", boot_ns=str(ORIGIN + 300_000_000))
            value.update(seq="99", row="1/1", boot_ns=ORIGIN + 300_000_000, ts_ns=UTC + ORIGIN + 300_000_000, ts_ms=(UTC + ORIGIN + 300_000_000) // 10**6)
            r.insert(4, (rec, value))

        self.check(change, strangers=1)

    def test_a_group_the_log_does_not_have(self):
        def change(r):
            for x in r[3:]:
                for y in x:
                    y["group"] = "N"

        self.check(change, missing=3, strangers=2)

    def test_header_and_value_differ(self):
        self.check(lambda r: r[0][1].update(nonce="m"), value_errors=1)


def run_changed(change):
    recs = copy.deepcopy(records())
    change(recs)
    return run(recs)[1]


if __name__ == "__main__":
    unittest.main()
