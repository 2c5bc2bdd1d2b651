"""What a kill may cost is told from what is missing: python -m unittest fire_test."""

import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import compare  # noqa: E402
import fire  # noqa: E402
import oracle  # noqa: E402

MS = 1_000_000
START = 1000 * MS
UTC = 1_700_000_000_000_000_000
COUNTS = ("delivered", "not_taken", "missing", "duplicates", "value_errors", "order_errors", "time_errors", "clock_errors", "epoch_errors", "strangers")


class Signal:
    name = "a"


class Message:
    name, signals = "M", [Signal()]


def frames(n=100, period=10):
    """A log of n frames, and what was on the bus: a kill comes at 500 ms."""
    log = [f"({k * period / 1000:.6f}) can0 100#{k:02X}\n" for k in range(n)]
    bus = [f"{START + k * period * MS} read 256 0 {k:02x}\n" for k in range(n)]
    return log, bus


KILL = (START + 500 * MS, START + 502 * MS)  # before frame 50 was on the bus, and after


def opening(epoch):
    return {"lane": "critical", "seq": "1", "epoch": str(epoch), "nonce": f"n{epoch}"}


def rows(ks):
    """Records of frames: 2 of them in a batch, the first life's in epoch 1."""
    out = []
    for k in ks:
        boot = START + k * 10 * MS
        epoch = 1 if boot < KILL[1] else 2
        rec = {
            "topic": "t", "car": "c", "epoch": str(epoch), "nonce": f"n{epoch}", "lane": "full", "seq": str(1 + k),
            "row": "1/1", "group": "M", "boot_ns": str(boot), "clock": "synced",
        }
        value = dict(rec, boot_ns=boot, ts_ns=UTC + boot, ts_ms=(UTC + boot) // MS, clock_unc_ns=500, a=k)
        del value["topic"]
        out.append((rec, value))
    return out


class FireTest(unittest.TestCase):
    def judge(self, log, bus, recs, kills=(KILL,), opened=(1, 2)):
        with tempfile.TemporaryDirectory() as d, contextlib.redirect_stderr(io.StringIO()):
            paths = os.path.join(d, "log"), os.path.join(d, "truth")
            for path, lines in zip(paths, (log, bus)):
                with open(path, "w", encoding="ascii") as f:
                    f.writelines(lines)
            exp = oracle.Expected()
            g = exp.groups["M"] = oracle.Group("M", Message(), {"a": "a"})
            for n, line in enumerate(log):
                g.frames.append(n)
                g.rows.append((int(line.split("#")[1], 16),))
            truth = fire.Truth(paths[1], paths[0], len(kills))
            truth.place(exp)
            clock = compare.Clock([(0, UTC, 10), (10 * START, UTC + 10 * START, 10)])
            job = {"others": [], "resolution_ns": MS, "bound_ns": 200 * MS, "kills": [list(k) for k in kills]}
            c = fire.Comparison(exp, truth, clock, job)
            for rec, value in recs:
                c.row(rec, value)
            for epoch in opened:
                c.batch(opening(epoch))
            c.finish()
        got = {k: getattr(c, k) for k in COUNTS if getattr(c, k)}
        if truth.errors:
            got["bus"] = truth.errors
        return got

    def check(self, recs, kills=(KILL,), change=None, opened=(1, 2), **want):
        log, bus = frames()
        if change:
            change(log, bus)
        self.assertEqual(self.judge(log, bus, recs, kills, opened), want)

    def test_all_is_there(self):
        self.check(rows(range(100)), delivered=100)

    def test_the_tail_of_a_life_is_not_taken(self):
        self.check(rows([*range(40), *range(51, 100)]), delivered=89, not_taken=11)

    def test_more_than_the_bound_is_missing(self):
        self.check(rows([*range(29), *range(51, 100)]), delivered=78, not_taken=21, missing=1)

    def test_a_hole_before_a_delivered_frame_is_missing(self):
        self.check(rows([*range(45), *range(46, 100)]), delivered=99, missing=1)

    def test_the_beginning_of_a_life_is_missing(self):
        self.check(rows([*range(51), *range(53, 100)]), delivered=98, missing=2)

    def test_without_a_kill_a_tail_is_missing(self):
        self.check(rows(range(95)), delivered=95, missing=5)
        self.check(rows(range(40)), kills=(), opened=(1,), delivered=40, missing=60)

    def test_what_was_not_read_and_repeated_counts_once(self):
        def change(_, bus):
            bus[50] = bus[50].replace("read", "repeated")
            bus.insert(51, f"{KILL[1] + 3 * MS} read 256 0 32\n")

        def recs():
            out = rows(range(100))
            boot = KILL[1] + 3 * MS
            for x in out[50]:
                x.update(epoch="2", nonce="n2", boot_ns=boot)
            out[50][0]["boot_ns"] = str(boot)
            out[50][1].update(ts_ns=UTC + boot, ts_ms=(UTC + boot) // MS)
            return out

        self.check(recs(), change=change, delivered=100)
        self.check([*recs()[:50], *rows([50]), *recs()[50:]], change=change, delivered=101, strangers=1)

    def test_a_frame_that_came_under_two_identities(self):
        def twice():
            rec, value = rows([30])[0]
            rec["seq"] = value["seq"] = "7000"
            return [*rows(range(31)), (rec, value), *rows(range(31, 100))]

        self.check(twice(), delivered=101, duplicates=1)

    def test_time_is_off(self):
        def late(by):
            out = rows(range(100))
            rec, value = out[10]
            value["boot_ns"] += by
            value["ts_ns"] += by
            value["ts_ms"] = value["ts_ns"] // MS
            rec["boot_ns"] = str(value["boot_ns"])
            return out

        self.check(late(MS), delivered=100)
        self.check(late(MS + 1), delivered=100, time_errors=1)

    def test_of_two_frames_in_one_millisecond_the_first_is_not_taken(self):
        def change(log, bus):
            bus[50] = f"{START + 490 * MS + 300} read 256 0 32\n"

        out = rows([*range(49), *range(51, 100)])
        rec, value = rows([50])[0]
        for x in (rec, value):
            x.update(epoch="1", nonce="n1")
        value.update(boot_ns=START + 490 * MS, ts_ns=UTC + START + 490 * MS, ts_ms=(UTC + START + 490 * MS) // MS)
        rec["boot_ns"] = str(value["boot_ns"])
        out.insert(49, (rec, value))
        self.check(out, change=change, delivered=99, missing=1)

    def test_epochs_are_lives(self):
        def same():
            out = rows(range(100))
            for rec, value in out:
                rec.update(epoch="1", nonce="n1")
                value.update(epoch="1", nonce="n1")
            return out

        self.check(same(), delivered=100, epoch_errors=1)
        self.check(rows(range(100)), opened=(2,), delivered=100, epoch_errors=1)
        self.check(rows(range(100)), opened=(1, 2, 3), delivered=100, epoch_errors=1)
        mixed = rows(range(100))
        for x in mixed[80]:
            x.update(epoch="3", nonce="n3")
        self.check(mixed, kills=(KILL, (KILL[1] + 10**9, KILL[1] + 10**9)), opened=(1, 2, 3), delivered=100, epoch_errors=1)

    def test_the_bus_is_held_against_the_log(self):
        def other(_, bus):
            bus[7] = bus[7].replace("07", "08")

        def unread(_, bus):
            bus[99] = bus[99].replace("read", "buffered")

        def short(_, bus):
            bus.pop()

        def long(_, bus):
            bus.append(bus[-1])

        for change, n in ((other, 99), (unread, 99), (short, 99), (long, 100)):
            log, bus = frames()
            change(log, bus)
            got = self.judge(log, bus, rows(range(100)))
            self.assertEqual(got.get("bus"), 1, change.__name__)
            self.assertEqual(got["delivered"], 100, change.__name__)
            self.assertEqual(n == 100, "strangers" not in got, change.__name__)


if __name__ == "__main__":
    unittest.main()
