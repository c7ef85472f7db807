"""A walk of owners of one signal that come and go, beside a model of who is to be told.

The rules, which `Model` states: one libev loop holds the signal. Its watchers and the handler of
the asyncio loop on it share it; other asyncio loops' handlers wait, and who asked last comes first.
What signal.signal() sets is the program's: it has the signal until the next owner asks, and
handlers, but not watchers alone, are told beside it. Whoever leaves changes nothing for those who
stay. The last one to leave puts back what the program had there, or, if it is an asyncio loop, the
default action.

    python -m support.signalwalk FIRST_SEED LAST_SEED STEPS
"""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time
import warnings

import moodloop
from moodloop import event, evergreen

SIG = signal.SIGUSR1
OURS, DEFAULT, IGNORED, MINE = "ours", "default", "ignored", "mine"


class Model:
    def __init__(self):
        self.claims = []  # asyncio loops' names, who asked last first
        self.watchers = []  # names of the loops they are on
        self.table = DEFAULT  # signal.getsignal()
        self.beneath = DEFAULT  # the program's, to come back
        self.displaced = False  # by signal.signal()

    @property
    def holder(self):
        return next(iter(self.watchers or self.claims), None)

    def can_watch(self, where):
        return self.holder in (None, where)

    def watch(self, where):
        if self.holder is None or (self.displaced and not self.claims):
            self.beneath, self.displaced = self.table, False
        self.watchers.append(where)

    def unwatch(self, where):
        self.watchers.remove(where)
        self.left()

    def can_claim(self, where):
        return not self.watchers or self.watchers[0] == where

    def claim(self, where):
        if where in self.claims:
            self.claims.remove(where)
        self.claims.insert(0, where)
        if self.table != OURS:
            self.beneath = self.table
        self.table, self.displaced = OURS, False

    def unclaim(self, where):
        if where not in self.claims:
            return
        self.claims.remove(where)
        if self.holder is None:
            self.table = DEFAULT
        elif not self.claims and self.table == OURS:
            self.table, self.displaced = self.beneath, False
        self.left()

    def left(self):
        if self.holder is None:
            self.displaced = False

    def program(self, handler):
        self.table = handler
        self.displaced = self.holder is not None and handler != OURS

    def action(self):
        if self.holder is None or self.displaced:
            return self.table
        return OURS

    def told(self):
        owners = set(self.watchers)
        if self.holder in self.claims:
            owners.add("handler " + self.holder)
        if self.action() == OURS:
            return owners
        if self.action() == MINE:
            return {MINE} | (owners if self.holder in self.claims else set())
        return set()


class Green:
    """A loop of evergreen in a thread of its own."""

    def __init__(self, got):
        self.got = got
        self.handler = None
        started = threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(started,), daemon=True)
        self.thread.start()
        started.wait()

    def serve(self, started):
        self.loop = evergreen.EventLoop()
        self.loop.call_soon(started.set)
        self.loop.run_forever()
        self.loop.destroy()

    def call(self, func):
        raised, done = [], threading.Event()

        def call():
            try:
                func()
            except RuntimeError as exc:
                raised.append(exc)
            done.set()

        self.loop.call_from_thread(call)
        done.wait()
        for exc in raised:
            raise exc

    def add(self):
        self.handler = self.loop.add_signal_handler(SIG, self.got.append, "G")

    def cancel(self):
        self.handler.cancel()
        self.handler = None

    def end(self):
        self.loop.call_from_thread(self.loop.stop)
        self.thread.join()


class Walk:
    """The owners: asyncio loops A (with a loop of its own) and B (on E), watchers on the loop of A,
    on E and on F, and a handler of evergreen, which has a loop G in a thread."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.model = Model()
        self.got = []
        self.evs = {"E": event.Loop(), "F": event.Loop()}
        self.loops = {}
        self.make("A")
        self.make("B")
        self.watchers = []
        self.green = Green(self.got)

    def make(self, name):
        self.loops[name] = moodloop.EventLoop(ev=self.evs["E"] if name == "B" else None)
        if name == "A":
            self.evs[name] = self.loops[name].ev

    def place(self, name):
        """The name of the loop that a claim of this asyncio loop is on."""
        return "E" if name == "B" else name

    # ---- steps ---------------------------------------------------------------------------

    def claim(self):
        name = self.random.choice("AB")
        told = "handler " + self.place(name)
        try:
            self.loops[name].add_signal_handler(SIG, self.got.append, told)
        except RuntimeError:
            assert not self.model.can_claim(self.place(name)), "refused"
        else:
            assert self.model.can_claim(self.place(name)), "not refused"
            self.model.claim(self.place(name))

    def unclaim(self):
        name = self.random.choice("AB")
        had = self.loops[name].remove_signal_handler(SIG)
        assert had == (self.place(name) in self.model.claims)
        self.model.unclaim(self.place(name))

    def close(self):
        name = self.random.choice("AB")
        if self.random.random() < 0.5:
            self.loops[name].close()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                del self.loops[name]
                gc.collect()
        self.model.unclaim(self.place(name))
        if name == "A":
            for entry in [w for w in self.watchers if w[0] == "A"]:
                self.watchers.remove(entry)
                self.model.unwatch("A")
        self.make(name)

    def watch(self):
        name = self.random.choice("AEF")
        watcher = self.evs[name].signal(SIG, lambda w, revents: self.got.append(name))
        try:
            self.somewhere(watcher.start)
        except event.Error:
            assert not self.model.can_watch(name), "refused"
        else:
            assert self.model.can_watch(name), "not refused"
            self.model.watch(name)
            self.watchers.append((name, watcher))

    def unwatch(self):
        if self.watchers:
            name, watcher = self.watchers.pop(self.random.randrange(len(self.watchers)))
            self.somewhere(watcher.stop)
            self.model.unwatch(name)

    def somewhere(self, call):
        """In this thread or in another one."""
        if self.random.random() < 0.7:
            call()
            return
        raised = []

        def run():
            try:
                call()
            except event.Error as exc:
                raised.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        for exc in raised:
            raise exc

    def green_claim(self):
        if self.green.handler is None:
            try:
                self.green.call(self.green.add)
            except RuntimeError:
                assert not self.model.can_watch("G"), "refused"
            else:
                assert self.model.can_watch("G"), "not refused"
                self.model.watch("G")

    def green_unclaim(self):
        if self.green.handler is not None:
            self.green.call(self.green.cancel)
            self.model.unwatch("G")

    def program(self):
        kind = self.random.choice([MINE, MINE, IGNORED, DEFAULT])
        signal.signal(SIG, self.handlers()[kind])
        self.model.program(kind)

    def program_and_back(self):
        signal.signal(SIG, signal.signal(SIG, self.mine))
        self.model.program(self.model.table)

    # ---- what is so then -----------------------------------------------------------------

    def mine(self, signum, frame):
        self.got.append(MINE)

    def handlers(self):
        return {MINE: self.mine, IGNORED: signal.SIG_IGN, DEFAULT: signal.SIG_DFL}

    def action(self):
        """What the kernel does with the signal."""
        masks = {}
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(("SigCgt", "SigIgn")):
                    masks[line[:6]] = int(line.split()[1], 16) >> (SIG - 1) & 1
        return "caught" if masks["SigCgt"] else IGNORED if masks["SigIgn"] else DEFAULT

    def check(self):
        expected = self.model.action()
        actual = self.action()
        assert actual == (expected if expected in (IGNORED, DEFAULT) else "caught"), actual
        table = signal.getsignal(SIG)
        if self.model.table == OURS:
            assert table not in self.handlers().values(), table
        else:
            assert table == self.handlers()[self.model.table], table
        if expected == DEFAULT:
            return
        self.got.clear()
        told = self.model.told()
        holder = next((n for n in self.loops if self.place(n) == self.model.holder), None)
        if holder in self.loops and self.model.holder in self.model.claims:
            loop = self.loops[holder]
            loop.call_soon(os.kill, os.getpid(), SIG)
        else:
            os.kill(os.getpid(), SIG)
        deadline = time.monotonic() + 20
        while "G" in told and "G" not in self.got and time.monotonic() < deadline:
            time.sleep(0.0005)
        for loop in self.loops.values():
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
        for ev in self.evs.values():
            ev.start(event.EVRUN_NOWAIT)
            ev.start(event.EVRUN_NOWAIT)
        wanted = sorted(list(self.model.watchers) + [t for t in told if t not in "AEFG"])
        wanted = wanted if told else []
        if told == {MINE}:
            wanted = [MINE]
        assert sorted(self.got) == wanted, (sorted(self.got), wanted)

    STEPS = (claim, claim, unclaim, close, watch, watch, unwatch, unwatch, green_claim)
    STEPS += (green_unclaim, program, program_and_back)

    def run(self, steps):
        done = []
        for _ in range(steps):
            step = self.random.choice(self.STEPS)
            done.append(step.__name__)
            try:
                step(self)
                self.check()
            except AssertionError as exc:
                raise AssertionError(f"{exc} after {done}: {vars(self.model)}") from exc
        self.end()

    def end(self):
        self.green_unclaim()
        while self.watchers:
            self.unwatch()
        for name in "AB":
            self.loops[name].close()
            self.model.unclaim(self.place(name))
        self.evs["A"] = self.evs["E"]
        self.loops.clear()
        self.check()
        signal.signal(SIG, signal.SIG_DFL)
        self.green.end()
        for ev in self.evs.values():
            ev.close()


if __name__ == "__main__":
    first, last, length = map(int, sys.argv[1:])
    for seed in range(first, last):
        try:
            Walk(seed).run(length)
        except BaseException:
            print("seed", seed, file=sys.stderr)
            raise
