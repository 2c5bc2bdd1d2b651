"""The comparison finds what it should."""

import unittest
import zlib

import account

BLOCK = b"block of a batch"
SEALED = b"envelope" + BLOCK


def line(lane, seq, n, block=b"", epoch=1):
    return f"car-1 {epoch} 00000000000000ab {lane} {seq} {n} {len(block)} {zlib.crc32(block)}\n"


def headers(lane, seq, **more):
    return dict({"car": "car-1", "epoch": "1", "nonce": "00000000000000ab", "lane": lane, "seq": str(seq),
                 "content-type": "application/json"}, **more)


def sealed(seq, epoch=1):
    return headers("full", seq, epoch=str(epoch), **{"content-type": "application/x-telemetry-batch"})


def event(seq, n, row="1/1"):
    h = headers("critical", seq, row=row)
    v = ('{"car":"car-1","epoch":1,"nonce":"00000000000000ab","lane":"critical","seq":%d,"event":"beat","detail":"%d"}' % (seq, n)).encode()
    return h, v


def gap(lane, first, last, change="settled", reason="gap"):
    return {"car": "car-1", "epoch": 1, "nonce": "00000000000000ab", "lane": lane, "first": first, "last": last, "change": change, "reason": reason}


class AccountTest(unittest.TestCase):
    def make(self, lines, windows=False):
        return account.Account(lines, windows, lambda text: None)

    def check(self, acc, **want):
        out = acc.finish()
        for k, v in want.items():
            self.assertEqual(out[k], v, f"{k} of {out}")
        self.assertEqual(acc.ok(out), not any(want.get(k) for k in (
            "missing", "duplicates", "out_of_order", "accounted_twice", "wrong_values", "strangers", "dead_letters")))

    def test_all_is_well(self):
        acc = self.make([line("full", 1, 1, BLOCK), line("full", 2, 2, BLOCK), line("critical", 3, 1)])
        acc.output("samples", sealed(1), SEALED)
        acc.output("samples", sealed(2), SEALED)
        acc.output("events", *event(3, 1))
        self.check(acc, in_order=3, missing=0, duplicates=0, out_of_order=0)

    def test_missing(self):
        acc = self.make([line("full", 1, 1, BLOCK), line("full", 2, 2, BLOCK)])
        acc.output("samples", sealed(1), SEALED)
        self.check(acc, missing=1)

    def test_half_a_batch_is_missing(self):
        acc = self.make([line("critical", 1, 1)])
        acc.output("events", *event(1, 1, row="1/2"))
        self.check(acc, missing=1)

    def test_duplicate(self):
        acc = self.make([line("full", 1, 1, BLOCK)])
        acc.output("samples", sealed(1), SEALED)
        acc.output("samples", sealed(1), SEALED)
        self.check(acc, duplicates=1)

    def test_order(self):
        acc = self.make([line("full", 1, 1, BLOCK), line("full", 2, 2, BLOCK)])
        acc.output("samples", sealed(2), SEALED)
        acc.output("samples", sealed(1), SEALED)
        self.check(acc, out_of_order=1)

    def test_epochs_come_one_after_the_other(self):
        lines = [line("full", 1, 1, BLOCK), line("full", 7, 2, BLOCK), line("full", 1, 1, BLOCK, epoch=2), line("full", 2, 2, BLOCK, epoch=2)]
        for name, order, bad in (
                ("in order", [(1, 1), (7, 1), (1, 2), (2, 2)], 0),
                ("the older one comes last", [(1, 1), (1, 2), (2, 2), (7, 1)], 1),
                ("the older one comes between", [(1, 1), (1, 2), (7, 1), (2, 2)], 1)):
            with self.subTest(name):
                acc = self.make(lines)
                for seq, epoch in order:
                    acc.output("samples", sealed(seq, epoch), SEALED)
                self.check(acc, in_order=4, epochs=2, out_of_order=bad, missing=0)

    def test_a_preview_that_died_with_its_car(self):
        for name, lane, restarted, seen, cut, missing in (
                ("the last ones, never sent", "live", True, [], 2, 0),
                ("one after them was sent", "live", True, [3], 0, 2),
                ("the car did not restart", "live", False, [], 0, 2),
                ("not a preview", "full", True, [], 0, 2)):
            with self.subTest(name):
                acc = self.make([line(lane, seq, seq) for seq in (1, 2, 3)] + [line("critical", 1, 1, epoch=2 if restarted else 1)])
                acc.gap(gap(lane, 1, 1, reason="superseded"))
                for seq in seen:
                    acc.copy(headers(lane, seq))
                acc.output("events", headers("critical", 1, row="1/1", epoch="2" if restarted else "1"), event(1, 1)[1].replace(
                    b'"epoch":1', b'"epoch":2' if restarted else b'"epoch":1'))
                missing += lane == "full"  # given up
                self.check(acc, previews_cut=cut, missing=missing)

    def test_a_gap_of_a_preview_at_the_end_of_its_epoch(self):
        for lane, cut, missing in (("live", 1, 0), ("full", 0, 1)):
            with self.subTest(lane):
                acc = self.make([line(lane, 1, 1)])
                acc.gap(gap(lane, 1, 1, reason="epoch"))
                self.check(acc, previews_cut=cut, missing=missing)

    def test_control_record_given_up(self):
        for windows, changes, missing, gaps, twice in (
                (False, ["settled"], 1, 1, 0), (True, ["settled"], 0, 1, 0), (False, ["settled", "withdrawn"], 0, 0, 0),
                (True, ["settled", "settled"], 0, 1, 1), (True, ["withdrawn"], 0, 0, 1)):
            with self.subTest(f"{windows} {changes}"):
                acc = self.make([], windows)
                for change in changes:
                    acc.gap(gap("critical", 1, 1, change))
                self.check(acc, missing=missing, control_gaps=gaps, accounted_twice=twice)

    def test_another_block(self):
        acc = self.make([line("full", 1, 1, BLOCK)])
        acc.output("samples", sealed(1), SEALED[:-1] + b"?")
        self.check(acc, wrong_values=1)

    def test_another_value(self):
        acc = self.make([line("critical", 1, 1)])
        acc.output("events", *event(1, 2))
        self.check(acc, wrong_values=1)

    def test_stranger(self):
        acc = self.make([])
        acc.output("samples", sealed(1), SEALED)
        self.check(acc, strangers=1)

    def test_late_is_a_fault_only_without_windows(self):
        for windows, missing in ((False, 1), (True, 0)):
            acc = self.make([line("full", 1, 1, BLOCK)], windows)
            acc.output("late", sealed(1), SEALED)
            self.check(acc, late=1, missing=missing)

    def test_a_preview_may_be_late(self):
        acc = self.make([line("live", 1, 1)])
        h = headers("live", 1, row="1/1")
        acc.output("late", h, b'{"car":"car-1","epoch":1,"nonce":"00000000000000ab","lane":"live","seq":1,"n_live":100,'
                              b'"noise_live_1":1,"noise_live_2":2,"noise_live_3":3}')
        self.check(acc, late=1, missing=0)

    def test_gap_and_its_withdrawal(self):
        acc = self.make([line("full", s, s, BLOCK) for s in (1, 2)], True)
        acc.gap(gap("full", 1, 2))
        acc.gap(gap("full", 1, 1, "withdrawn", "none"))
        acc.output("late", sealed(1), SEALED)
        self.check(acc, late=1, gaps=1, missing=0, accounted_twice=0)

    def test_gap_and_delivered(self):
        acc = self.make([line("full", 1, 1, BLOCK)], True)
        acc.gap(gap("full", 1, 1))
        acc.output("samples", sealed(1), SEALED)
        self.check(acc, accounted_twice=1)

    def test_gap_of_a_batch_that_is_in_batches(self):
        for name, windows, lane, reason, copies, withdrawn, missing, late, cut in (
                ("a window ran out, and it never came", True, "full", "gap", 0, False, 0, 0, 0),
                ("it came, and nothing withdrew the gap", True, "full", "gap", 1, False, 1, 0, 0),
                ("it came twice", True, "full", "gap", 2, False, 1, 0, 0),
                ("it came, and went to late", True, "full", "gap", 1, True, 0, 1, 0),
                ("the car said it was lost, and it came", True, "full", "retention", 1, False, 1, 0, 0),
                ("a preview of the end of an epoch never came", False, "live", "epoch", 0, False, 0, 0, 1),
                ("a preview of the end of an epoch came", False, "live", "epoch", 1, False, 1, 0, 1),
                ("a preview that was given up came", False, "live", "superseded", 1, False, 1, 0, 0),
                ("a preview that was given up came, and went to late", False, "live", "superseded", 1, True, 0, 1, 0)):
            with self.subTest(name):
                acc = self.make([line(lane, 1, 1, BLOCK)], windows)
                for _ in range(copies):
                    acc.copy(headers(lane, 1))
                acc.gap(gap(lane, 1, 1, reason=reason))
                if withdrawn:
                    acc.gap(gap(lane, 1, 1, "withdrawn", "none"))
                    acc.output("late", dict(sealed(1), lane=lane), SEALED)
                self.check(acc, missing=missing, late=late, previews_cut=cut, accounted_twice=0)

    def test_gap_without_windows(self):
        acc = self.make([line("full", 1, 1, BLOCK), line("live", 1, 1)])
        acc.gap(gap("full", 1, 1))
        acc.gap(gap("live", 1, 1, reason="superseded"))
        self.check(acc, missing=1, superseded=1)

    def test_dead_letter(self):
        acc = self.make([])
        acc.dead_letter({}, b"")
        self.check(acc, dead_letters=1)


if __name__ == "__main__":
    unittest.main()
