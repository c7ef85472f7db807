"""Random operations on random watchers, from random places: callbacks, destructors, conversions of
arguments, signal handlers, forked children; other threads and alarms where that is asked for, which
does not come out the same each time. No model says what must come of them (test_model.py has
one): only that the process lives, that libev and the loops find themselves in order, and that no
exception is lost.

    python -m watcher.chaos FIRST LAST             in tests/: the programs of these seeds
    python -m watcher.chaos FIRST LAST threads     with alarms and other threads
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings

import moodloop
from moodloop import event

BACKENDS = [event.EVBACKEND_EPOLL, event.EVBACKEND_EPOLL, event.EVBACKEND_POLL]
BACKENDS.append(event.EVBACKEND_SELECT)
STEPS = 120  # operations of a program
DEEPEST = 5  # runs, invoke() calls and destructors inside each other
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
EVENTS = (event.EV_READ, event.EV_WRITE, event.EV_READ | event.EV_WRITE)


class Boom(Exception):
    """An ordinary one."""


class Fatal(BaseException):
    """Ends a run, as those below."""


RAISED = (Boom, Boom, Boom, Fatal, KeyboardInterrupt, SystemExit, GeneratorExit)
EXPECTED = (event.Error, OSError, ValueError, TypeError, OverflowError, RuntimeError, *RAISED)
EXPECTED += (IndexError,)  # of the lists here, which an alarm or a thread has made shorter


class Chaos:
    def __init__(self, seed, threads):
        self.seed = seed
        self.random = random.Random(seed)
        self.left = STEPS
        self.depth = 0
        self.wrong = []
        self.raised, self.seen = [], set()
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "file")
        self.pairs = [self.new_pair() for _ in range(3)]
        self.loops = [self.new_loop(), self.new_loop()]
        self.aio = None
        self.stack = None
        self.watchers = []
        self.threads = []
        self.alarms = 0  # handlers that run
        self.replacing = False
        weights = {**WEIGHTS, **AT_ANY_MOMENT} if threads else WEIGHTS
        self.operations = [(getattr(self, name), weight) for name, weight in weights.items()]

    # ---- what is used ----------------------------------------------------------------------

    def new_loop(self):
        if self.random.random() < 0.15:
            return event.default_loop()
        return event.Loop(self.random.choice(BACKENDS) | event.EVFLAG_NOENV)

    def new_pair(self):
        pair = [s.detach() for s in socket.socketpair()]
        for fd in pair:
            os.set_blocking(fd, False)
        return pair

    def chance(self, share):
        return self.random.random() < share

    def loop(self):
        return self.random.choice(self.loops)

    def watcher(self):
        return self.random.choice(self.watchers) if self.watchers else None

    def fd(self):
        return self.random.choice(self.random.choice(self.pairs))

    # ---- places where operations come from ---------------------------------------------------

    def callback(self, *args):
        self.act(3)

    def act(self, most, throw=True):
        """Some operations, and perhaps an exception."""
        if self.depth >= DEEPEST:
            return
        self.depth += 1
        try:
            for _ in range(self.random.randrange(most + 1)):
                self.step(throw)
            if throw and self.left > 0 and self.chance(0.1):
                self.throw()
        finally:
            self.depth -= 1

    def throw(self):
        exc = self.random.choice(RAISED)(f"{self.seed}: {len(self.raised)}")
        self.raised.append(exc)
        raise exc

    def step(self, throw=True):
        if self.left <= 0:
            return
        self.left -= 1
        functions, weights = zip(*self.operations, strict=True)
        function = self.random.choices(functions, weights)[0]
        if throw and self.chance(0.15):  # what it raises goes on
            try:
                function()
            except EXPECTED as exc:
                self.note(exc)
                raise
        else:
            try:
                function()
            except EXPECTED as exc:
                self.note(exc, caught=True)
            except BaseException:
                self.fail(f"{function.__name__}: {traceback.format_exc()}")

    def note(self, exc, caught=False):
        if caught:
            while exc is not None:
                self.seen.add(id(exc))
                exc = exc.__context__
        elif not any(exc is one for one in self.raised):
            self.raised.append(exc)

    def fail(self, what):
        self.wrong.append(what)

    def unraisable(self, report):
        exc = report.exc_value
        self.note(exc, caught=True)
        if not isinstance(exc, EXPECTED) or isinstance(exc, SystemError):
            self.fail("".join(traceback.format_exception(exc)))
        self.act(1, throw=False)

    def handler(self, loop, context):
        """The asyncio loop's."""
        exc = context.get("exception")
        if exc is not None:
            self.note(exc, caught=True)
            if not isinstance(exc, EXPECTED) or isinstance(exc, SystemError):
                self.fail("".join(traceback.format_exception(exc)))
        self.act(1, throw=False)

    def on_signal(self, signum, frame):
        self.act(1)

    def on_alarm(self, signum, frame):
        """At any moment, in the midst of what notes exceptions, too: it raises none."""
        self.alarms += 1
        self.act(1, throw=False)
        self.alarms -= 1

    # ---- on watchers -------------------------------------------------------------------------

    def arguments(self, kind):
        pick = self.random.choice
        if kind is event.Io:
            fd = self.fd()
            return (Number(self, fd) if self.chance(0.2) else fd, pick(EVENTS))
        if kind is event.Timer:
            return pick([(0.0, 0.0), (0.0, 0.001), (3600, 0), (Number(self, 0.0), 0.0), (0, 3600)])
        if kind is event.Periodic:
            return pick([(0.0, 0.0), (0.0, 0.001), (0.0, 3600.0), (Number(self, 0.0), 0.0)])
        if kind is event.Scheduler:
            return (self.reschedule,)
        if kind is event.Signal:
            return (pick(SIGNALS),)
        if kind is event.Child:
            return (pick([0, 2**31 - 1]), self.chance(0.5))
        if kind is event.Stat:
            return (Number(self, self.path) if self.chance(0.2) else self.path, 0.0)
        if kind is event.Embed:
            return (self.loop(),)
        return ()

    def reschedule(self, watcher, now):
        self.act(1)
        return now + self.random.choice([0, 0, 0.001, 3600, -1, float("nan")])

    def target(self):
        return self.random.choice(
            [self.callback, event.fatal(self.callback), Trap(self), lambda *args: self.callback()]
        )

    def op_make(self):
        kind = self.random.choice(KINDS)
        loop = event.default_loop() if kind is event.Child else self.loop()
        watcher = kind(loop, *self.arguments(kind), self.target(), priority=self.number())
        if self.chance(0.7):
            watcher.start()
        if len(self.watchers) > 12:
            self.watchers[self.random.randrange(12)] = watcher
        else:
            self.watchers.append(watcher)

    def number(self):
        return self.random.randrange(-3, 4)

    def op_start(self):
        if (watcher := self.watcher()) is not None:
            watcher.start()

    def op_stop(self):
        if (watcher := self.watcher()) is not None:
            watcher.stop()

    def op_feed(self):
        if (watcher := self.watcher()) is not None:
            watcher.feed(self.random.choice([1, 2, event.EV_CUSTOM, event.EV_TIMER, 0, -1]))

    def op_fail(self):
        if (watcher := self.watcher()) is not None:
            watcher.feed(event.EV_ERROR)

    def op_clear(self):
        if (watcher := self.watcher()) is not None:
            watcher.clear()

    def op_invoke(self):
        if (watcher := self.watcher()) is not None and self.depth < DEEPEST:
            watcher.invoke(self.random.choice([0, 1, event.EV_CUSTOM, event.EV_ERROR]))

    def op_again(self):
        watcher = self.watcher()
        if watcher is None:
            return
        if hasattr(watcher, "reset"):
            watcher.reset()
        if hasattr(watcher, "modify"):
            watcher.modify(self.random.choice([0, *EVENTS]))
        if hasattr(watcher, "send"):
            watcher.send()
        if hasattr(watcher, "sweep"):
            watcher.sweep()
        if hasattr(watcher, "stat"):
            watcher.stat()

    def op_set(self):
        watcher = self.watcher()
        if watcher is not None and hasattr(watcher, "set"):
            watcher.set(*self.arguments(type(watcher)))

    def op_init(self):
        watcher = self.watcher()
        if watcher is not None:
            kind = type(watcher)
            watcher.__init__(self.loop(), *self.arguments(kind), self.target())

    def op_attribute(self):
        watcher = self.watcher()
        if watcher is None:
            return
        name = self.random.choice(["callback", "data", "priority", "ref", "repeat", "interval"])
        if name == "callback":
            watcher.callback = self.target()
        elif name == "data":
            watcher.data = self.random.choice([Trap(self), watcher, watcher.loop, None])
        elif name == "ref":
            watcher.ref = self.chance(0.5)
        elif name == "priority":
            watcher.priority = self.number()
        elif hasattr(watcher, name):
            with contextlib.suppress(AttributeError):  # of a Stat
                setattr(watcher, name, self.number() / 1000)
        repr(watcher)

    def op_drop(self):
        if self.watchers:
            del self.watchers[self.random.randrange(len(self.watchers))]

    # ---- on loops ----------------------------------------------------------------------------

    def op_run(self):
        if self.depth < DEEPEST:
            self.nested(self.loop().start, event.EVRUN_NOWAIT)

    def nested(self, function, *args):
        self.depth += 1
        try:
            function(*args)
        finally:
            self.depth -= 1

    def op_wait(self):
        """A run that waits, but not for ever."""
        if self.depth >= DEEPEST:
            return
        loop = self.loop()
        guard = event.Timer(loop, 0.0005, 0.0005, lambda *args: loop.stop(event.EVBREAK_ALL))
        guard.ref = self.chance(0.5)
        guard.start()
        try:
            self.nested(loop.start, self.random.choice([0, event.EVRUN_ONCE]))
        finally:
            if not loop.closed:
                with contextlib.suppress(event.Error):
                    guard.stop()

    def op_loop(self):
        loop = self.loop()
        self.random.choice(
            [
                loop.invoke,
                loop.stop,
                loop.ref,
                loop.unref,
                loop.reset,
                loop.suspend,
                loop.resume,
                loop.update,
                loop.verify,
                loop.watchers,
                lambda: loop.stop(event.EVBREAK_ALL),
                lambda: loop.feed_fd_event(self.fd(), event.EV_READ),
                lambda: loop.feed_signal_event(signal.SIGUSR1),
                lambda: setattr(loop, "callback", self.hook),
                lambda: setattr(loop, "callback", None),
                lambda: setattr(loop, "debug", self.chance(0.5)),
                lambda: setattr(loop, "data", Trap(self)),
                lambda: loop.once(self.fd(), self.random.choice(EVENTS), None, self.target()),
                lambda: loop.once(None, 0, 0.0, self.target()),
                lambda: loop.once(Number(self, self.fd()), 1, Number(self, 0.001), self.target()),
            ]
        )()

    def hook(self, loop):
        if self.chance(0.9):
            loop.invoke()
        self.act(1)

    def op_close(self):
        i = self.random.randrange(len(self.loops))
        try:
            self.loops[i].close()
        finally:
            if self.loops[i].closed:
                self.loops[i] = self.new_loop()

    def op_free(self):
        """Without close(): the collector has it."""
        i = self.random.randrange(len(self.loops))
        if self.aio is None or self.aio.ev is not self.loops[i]:
            self.loops[i] = self.new_loop()

    def op_collect(self):
        gc.collect()

    # ---- on descriptors, signals, files, processes --------------------------------------------

    def op_write(self):
        with contextlib.suppress(OSError):
            os.write(self.fd(), b"x")

    def op_read(self):
        with contextlib.suppress(OSError):
            os.read(self.fd(), 1000)

    def op_replace(self):
        """The files under numbers that may be watched."""
        if self.replacing or not self.in_main():  # it would close what has the number by then
            return
        self.replacing = True
        try:
            self.replace()
        finally:
            self.replacing = False

    def replace(self):
        pair = self.random.choice(self.pairs)
        copies = [os.dup(fd) for fd in pair] if self.chance(0.3) else []
        new = self.new_pair()
        if self.chance(0.5):
            for old, fd in zip(pair, new, strict=True):
                os.dup2(fd, old)
                os.close(fd)
        else:
            for fd in pair:
                os.close(fd)
            pair[:] = new
        for fd in copies:
            os.close(fd)

    def op_kill(self):
        signum = self.random.choice(SIGNALS)
        if signal.getsignal(signum) is not signal.SIG_DFL:  # asyncio's handlers leave that behind
            os.kill(os.getpid(), signum)

    def op_feed_signal(self):
        event.feed_signal(self.random.choice(SIGNALS))

    def op_touch(self):
        way = self.random.randrange(4)
        with contextlib.suppress(OSError):
            if way == 0:
                open(self.path, "a").close()
            elif way == 1:
                os.unlink(self.path)
            elif way == 2:
                os.symlink("/", self.path)
            else:
                with open(self.path, "a") as file:
                    file.write("x")

    def op_fork(self):
        """Both go on: the child for a while."""
        if not self.in_main() or self.alarms:  # which may be inside of another os.fork()
            return
        pid = os.fork()
        if pid == 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)  # faulthandler's thread is not there
            status = 1
            try:
                self.wrong.clear()
                self.threads.clear()
                self.left = min(self.left, 15)
                for _ in range(5):
                    with contextlib.suppress(*EXPECTED):
                        self.step()
                self.left = 0
                for loop in self.loops:
                    for use, *args in self.last_uses(loop):
                        with contextlib.suppress(*EXPECTED):
                            use(*args)
                status = len(self.wrong) > 0
                for what in self.wrong:
                    print("child:", what, file=sys.stderr, flush=True)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        while True:
            with contextlib.suppress(InterruptedError):
                try:
                    _, status = os.waitpid(pid, 0)
                except ChildProcessError:
                    return  # a Child watcher has it
                break
        if status:
            self.fail(f"a forked child ended with {status:#x}")

    def last_uses(self, loop):
        return (loop.start, event.EVRUN_NOWAIT), (loop.verify,), (loop.close,)

    def op_spawn(self):
        """Somebody for Child watchers."""
        pid = os.posix_spawn("/bin/true", ["true"], {})
        watcher = event.Child(event.default_loop(), pid, False, self.target())
        watcher.start()
        self.watchers.append(watcher)

    # ---- at any moment -----------------------------------------------------------------------

    def op_alarm(self):
        """A signal in the next millisecond, in a poll or wherever that finds the program."""
        if self.in_main() and signal.getsignal(signal.SIGALRM) == self.on_alarm:
            signal.setitimer(signal.ITIMER_REAL, self.random.choice([1e-5, 1e-4, 1e-3]))

    def in_main(self):
        return threading.current_thread() is threading.main_thread()

    def op_thread(self):
        if self.in_main() and sum(thread.is_alive() for thread in self.threads) < 3:
            thread = threading.Thread(target=self.elsewhere, daemon=True)
            self.threads.append(thread)
            thread.start()

    def elsewhere(self):
        """What another thread may do to loops and watchers that this one uses meanwhile."""
        for _ in range(self.random.randrange(20)):
            use = self.random.choice(ELSEWHERE)
            try:
                getattr(self, use)()
            except EXPECTED as exc:
                self.note(exc, caught=True)
            except BaseException:
                self.fail(f"thread: {use}: {traceback.format_exc()}")
            if self.chance(0.3):
                time.sleep(self.random.choice([0, 1e-4, 1e-3]))

    def call_soon_elsewhere(self):
        if (aio := self.aio) is not None:
            handle = aio.call_soon_threadsafe(self.callback)
            if self.chance(0.3):
                handle.cancel()

    def send_elsewhere(self):
        watcher = self.watcher()
        if isinstance(watcher, event.Async):
            watcher.send()

    def stop_elsewhere(self):
        self.loop().stop(self.random.choice([event.EVBREAK_ONE, event.EVBREAK_ALL]))

    # ---- asyncio -----------------------------------------------------------------------------

    def op_asyncio(self):
        if self.aio is None:
            self.aio = moodloop.EventLoop(ev=self.loop())
            self.aio.set_exception_handler(self.handler)
            return
        aio = self.aio
        self.random.choice(
            [
                lambda: aio.call_soon(self.callback),
                lambda: aio.call_soon_threadsafe(self.callback),
                lambda: aio.call_later(0.0, self.callback),
                lambda: aio.call_later(0.0005, self.callback),
                lambda: aio.add_reader(self.fd(), self.callback),
                lambda: aio.add_writer(self.fd(), self.callback),
                lambda: aio.remove_reader(self.fd()),
                lambda: aio.remove_writer(self.fd()),
                lambda: aio.add_signal_handler(self.random.choice(SIGNALS), self.callback),
                lambda: aio.remove_signal_handler(self.random.choice(SIGNALS)),
                lambda: aio.stop(),
                lambda: aio._verify(),
                lambda: aio.create_task(self.task()),
                lambda: self.attach(aio),
                lambda: self.attach(aio),
                self.detach,
                lambda: self.run_aio(aio),
                lambda: self.run_aio(aio),
                lambda: self.close_aio(aio),
            ]
        )()

    async def task(self):
        await asyncio.sleep(self.random.choice([0, 0, 0.0003]))

    def attach(self, aio):
        if self.stack is None:
            stack = contextlib.ExitStack()
            stack.enter_context(aio.attached())
            self.stack = stack

    def detach(self):
        stack, self.stack = self.stack, None
        if stack is not None:
            stack.close()

    def run_aio(self, aio):
        if self.depth < DEEPEST:
            aio.call_later(0.001, aio.stop)
            self.nested(aio.run_forever)

    def close_aio(self, aio):
        self.detach()
        aio.close()
        if self.aio is aio:
            self.aio = None

    # ---- a program ---------------------------------------------------------------------------

    def run(self):
        for signum in SIGNALS:
            signal.signal(signum, self.on_signal)
        signal.signal(signal.SIGALRM, self.on_alarm)
        sys.unraisablehook = self.unraisable
        while self.left > 0:
            try:
                self.step()
            except EXPECTED as exc:
                self.note(exc, caught=True)
        self.end()
        lost = [exc for exc in self.raised if id(exc) not in self.seen]
        if lost:
            self.fail(f"lost: {lost}")

    def end(self):
        """What is left runs once more, looks at itself, and goes."""
        self.left = 0
        signal.setitimer(signal.ITIMER_REAL, 0)
        for thread in self.threads:
            thread.join()
        self.depth = 0
        for use in (self.detach, lambda: self.aio and self.aio._verify()):
            self.safely(use)
        for loop in self.loops:
            if not loop.closed:
                loop.verify()
                self.safely(loop.start, event.EVRUN_NOWAIT)
        if self.aio is not None:
            self.safely(self.aio.close)
        for loop in self.loops:
            for _ in range(3):
                self.safely(loop.close)
            if not loop.closed:
                self.fail(f"{loop} cannot be closed")
        self.watchers.clear()
        self.loops.clear()
        gc.collect()
        for pair in self.pairs:
            for fd in pair:
                os.close(fd)

    def safely(self, use, *args):
        for _ in range(3):
            try:
                return use(*args)
            except EXPECTED as exc:
                self.note(exc, caught=True)


class Trap:
    """Acts when it is called, and when it goes."""

    def __init__(self, chaos):
        self.chaos = chaos

    def __call__(self, *args):
        self.chaos.act(2)

    def __del__(self):
        self.chaos.act(2)


class Number:
    """An argument whose conversion acts."""

    def __init__(self, chaos, value):
        self.chaos, self.value = chaos, value

    def convert(self):
        self.chaos.act(2)
        return self.value

    __float__ = __index__ = fileno = __fspath__ = convert


KINDS = (
    *(event.Io, event.Io, event.Timer, event.Timer, event.Periodic, event.Scheduler),
    *(event.Signal, event.Child, event.Stat, event.Idle, event.Prepare, event.Check),
    *(event.Embed, event.Embed, event.Fork, event.Async, event.Cleanup),
)
WEIGHTS = {
    "op_make": 12,
    "op_run": 14,
    "op_loop": 12,
    "op_asyncio": 12,
    "op_start": 6,
    "op_feed": 6,
    "op_again": 5,
    "op_attribute": 5,
    "op_wait": 5,
    "op_stop": 3,
    "op_invoke": 3,
    "op_write": 3,
    "op_read": 2,
    "op_clear": 2,
    "op_set": 2,
    "op_init": 2,
    "op_drop": 2,
    "op_close": 2,
    "op_replace": 2,
    "op_kill": 2,
    "op_fail": 1,
    "op_free": 1,
    "op_collect": 1,
    "op_feed_signal": 1,
    "op_touch": 1,
    "op_fork": 0.3,
    "op_spawn": 0.3,
}
AT_ANY_MOMENT = {"op_alarm": 1, "op_thread": 0.5}
ELSEWHERE = (
    *("call_soon_elsewhere", "call_soon_elsewhere", "send_elsewhere", "send_elsewhere"),
    *("stop_elsewhere", "op_make", "op_start", "op_stop", "op_feed", "op_drop"),
    *("op_run", "op_wait", "op_close", "op_free", "op_collect", "op_feed_signal", "op_kill"),
    *("op_write", "op_read"),
)


def main(first, last, threads=False):
    warnings.simplefilter("ignore")
    failed = False
    for seed in range(first, last):
        faulthandler.dump_traceback_later(60, exit=True)
        print("seed", seed, file=sys.stderr, flush=True)
        chaos = Chaos(seed, threads)
        chaos.run()
        for what in chaos.wrong:
            failed = True
            print(f"seed {seed}: {what}", file=sys.stderr, flush=True)
        faulthandler.cancel_dump_traceback_later()
    sys.exit(failed)


if __name__ == "__main__":
    faulthandler.enable()
    main(*map(int, sys.argv[1:3]), threads=sys.argv[3:] == ["threads"])
