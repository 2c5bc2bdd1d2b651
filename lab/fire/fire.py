"""The truth of a run in which the agent was killed, and how rows are held against it.

A frame that was on the bus is one of these:
* delivered: a row has its values and its time;
* not taken: the agent had read all of it from the port, no row has it, and it lies
  in the tail of what one life of the agent read: behind every delivered row of its
  message from that life, and no more than the bound before the last frame which
  that life read. That is what the agent held in memory when it was killed;
* put on the bus again: the agent had not read all of it at its end. The adapter
  pauses while its port has no reader and repeats it, so only the repetition counts;
* missing: anything else. What no kill ended can not be "not taken".

Lives are told apart by the moments of the kills; the stream must agree: each life
that delivered anything has one epoch, a higher one than the life before, which
begins with its opening in telemetry.batches, and no more are opened than there
were lives.
"""

import bisect
import collections
import sys

import compare
import oracle

READ, REPEATED = "read", "repeated"


class Truth:
    """What was on the bus, when, and in which life the agent read it."""

    def __init__(self, path, log, kills):
        self.errors = self.repeated = 0
        self.lives = kills + 1
        entries = []
        with open(path, encoding="ascii") as f:
            for line in f:
                boot, fate, ident, extended, data = line.rstrip("\n").split(" ")
                if fate == REPEATED:
                    self.repeated += 1
                else:
                    entries.append((int(boot), fate, int(ident), extended == "1", bytes.fromhex(data)))
        self.boots = {}  # frame of the log -> boot ns, of those that the agent has read
        self.read = []  # boot ns of these, in order
        self.align(entries, log)

    def wrong(self, text):
        self.errors += 1
        if self.errors <= compare.TOLD:
            print(f"fire: bus: {text}", file=sys.stderr)

    def align(self, entries, log):
        """Pairs what was on the bus with the frames of the log's first interface:
        each once, in order, and read by the agent."""
        first_bus, k = None, 0
        for n, (_, bus, ident, extended, data, whole) in enumerate(oracle.frames(log, collections.Counter())):
            first_bus = first_bus or bus
            if bus != first_bus or not whole or data is None:
                continue  # of another interface; cut, as logs end; a remote request or an error frame
            if k == len(entries):
                self.wrong(f"frame {n} of the log never was on the bus")
                continue
            boot, fate, on_ident, on_extended, on_data = entries[k]
            k += 1
            if (ident, extended, data) != (on_ident, on_extended, on_data):
                self.wrong(f"frame {n} of the log is {ident:X}#{data.hex()}, on the bus was {on_ident:X}#{on_data.hex()}")
            elif fate != READ:
                self.wrong(f"frame {n} of the log was on the bus at {boot} and is {fate}")
            else:
                self.boots[n] = boot
                self.read.append(boot)
        if k < len(entries):
            self.wrong(f"{len(entries) - k} frames were on the bus that the log does not have")
        if self.read != sorted(self.read):
            self.wrong("times on the bus fall")

    def place(self, exp):
        """Gives the rows that are expected the times at which they were on the bus."""
        for g in exp.groups.values():
            kept = [(self.boots[n], row) for n, row in zip(g.frames, g.rows) if n in self.boots]
            g.times, g.rows = [t for t, _ in kept], [row for _, row in kept]
        exp.values = sum(v is not None for g in exp.groups.values() for row in g.rows for v in row)


class Comparison(compare.Comparison):
    """A comparison in which the agent may be killed."""

    def __init__(self, expected, truth, clock, job):
        super().__init__(expected, 0, clock, job["others"], job["resolution_ns"])
        self.truth, self.bound = truth, job["bound_ns"]
        self.ends = [gone for _, gone in job["kills"]]  # boot ns
        self.not_taken = self.epoch_errors = 0
        self.epoch = None  # of the row at hand
        self.epochs = collections.defaultdict(set)  # life -> epochs of its rows
        self.opened = set()  # epochs
        self.newest = {}  # (group, life) -> boot ns of the last frame that has a row
        self.absent = []  # (track, frame of the message, fields)
        self.off = {}  # life -> least and greatest error of time, ns, and boot ns of the worst and of the first row

    def life(self, boot):
        """Returns in which life of the agent a frame was read, from 0."""
        return bisect.bisect_right(self.ends, boot)

    def row(self, rec, value):
        self.epoch = (int(rec["epoch"]), rec["nonce"])
        super().row(rec, value)

    def batch(self, rec):
        """Takes one record of telemetry.batches: the first of the critical lane
        opens its epoch."""
        if rec.get("lane") == "critical" and rec.get("seq") == "1":
            self.opened.add((int(rec["epoch"]), rec["nonce"]))

    def place(self, track, boot, values):
        times = track.group.times
        at = bisect.bisect_left(times, boot)
        near = min((boot - times[i] for i in (at - 1, at) if 0 <= i < len(times)), key=abs, default=0)
        life = self.life(boot)
        least, most, worst, first = self.off.get(life, (near, near, boot, boot))
        if abs(near) > max(-least, most):
            worst = boot
        self.off[life] = min(least, near), max(most, near), worst, min(first, boot)
        super().place(track, boot, values)

    def times_off(self, life):
        """Tells how far the times of one life's rows are off, without order: each
        is held against the nearest frame of its message."""
        least, most, worst, first = self.off.get(life, (0, 0, 0, 0))
        return f"{least / 1e3:+.0f} to {most / 1e3:+.0f} us, worst {(worst - first) / 1e9:.2f} s after its first row"

    def matched(self, track, i):
        boot = track.group.times[i]
        life = self.life(boot)
        if self.epoch is not None:
            self.epochs[life].add(self.epoch)
        key = (track.group.name, life)
        self.newest[key] = max(self.newest.get(key, 0), boot)

    def lost(self, track, i, lacks):
        if lacks or not any(v is not None for v in track.group.rows[i]):
            self.absent.append((track, i, lacks))

    def finish(self):
        self.epoch = None  # what is settled now is of any epoch
        super().finish()
        self.settle_epochs()
        tails = collections.defaultdict(list)  # life -> frames that its end may have cost
        for track, i, lacks in self.absent:
            boot = track.group.times[i]
            life = self.life(boot)
            if lacks != track.wanted(i):
                self.gone(track, i, lacks, "a part of the frame")
            elif life == len(self.ends):
                self.gone(track, i, lacks, "no kill came after it")
            elif boot <= self.newest.get((track.group.name, life), 0):
                self.gone(track, i, lacks, f"later frames of life {life + 1} are there")
            else:
                tails[life].append((boot, track, i, lacks))
        for life in range(len(self.ends)):
            self.tail(life, tails[life])

    def tail(self, life, frames):
        """Counts what one kill cost."""
        n = bisect.bisect_left(self.truth.read, self.ends[life])
        last = self.truth.read[n - 1] if n else 0  # that this life read
        values = 0
        for boot, track, i, lacks in sorted(frames, key=lambda f: f[0]):
            if last - boot > self.bound:
                self.gone(track, i, lacks, f"{(last - boot) / 1e6:.1f} ms before the last frame that life {life + 1} read")
            else:
                self.not_taken += len(lacks)
                values += len(lacks)
        span = last - min(f[0] for f in frames) if frames else 0
        epochs = ", ".join(f"{e} {nonce}" for e, nonce in sorted(self.epochs[life])) or "no rows"
        print(f"fire: kill {life + 1} of the agent: {len(frames)} frames in {span / 1e6:.1f} ms not taken, {values} values; epoch {epochs}; times off by {self.times_off(life)}", file=sys.stderr)

    def gone(self, track, i, lacks, why):
        self.missing += max(1, len(lacks))
        g = track.group
        self.tell("missing", f"{g.name}: frame {i} of the message, on the bus at {g.times[i]}: {sorted(lacks)}: {why}")

    def settle_epochs(self):
        """A life is an epoch: one of its own, and a later one than the one before."""
        before = (0, "")
        for life in sorted(self.epochs):
            found = sorted(self.epochs[life])
            if len(found) != 1 or found[0][0] <= before[0]:
                self.epoch_errors += 1
                self.tell("epoch", f"life {life + 1} of the agent wrote under epochs {found}, the life before under {before}")
            before = found[-1]
        silent = set().union(*self.epochs.values()) - self.opened
        if silent or len(self.opened) > self.truth.lives:
            self.epoch_errors += 1
            self.tell("epoch", f"{self.truth.lives} lives of the agent opened {sorted(self.opened)}, not {sorted(silent)}")
