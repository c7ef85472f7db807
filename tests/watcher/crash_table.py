"""What kills a process that uses libev, and what moodloop does instead.

One row for each input. test_crashes.py runs the rows, each in a process of its own on each backend;
docs/robustness.md shows them to the reader, and a test holds the two together.

The code of a row sees `loop` (on the backend in question), make() for more of them, and what
PRELUDE defines. It ends normally, and then the loop must be closed or still work.
"""

from typing import NamedTuple

PRELUDE = """
import contextlib, fcntl, gc, math, resource, subprocess, time, warnings
from support import hygiene
from moodloop.event import *

INF, NAN = math.inf, math.nan
NOTHING = lambda *args: None
unraisable = []
sys.unraisablehook = lambda u: unraisable.append(u.exc_value)

def make():
    return Loop(BACKEND | EVFLAG_NOENV)

@contextlib.contextmanager
def raises(*types):
    try:
        yield
    except types as exc:
        assert type(exc) in types, repr(exc)
    else:
        raise AssertionError(f"no {types}")

def refuses(types, *calls):
    for call in calls:
        with raises(*types if isinstance(types, tuple) else (types,)):
            call()

def pipe():
    return os.pipe()

def in_thread(call):
    failed = []
    def run():
        try:
            call()
        except BaseException as exc:
            failed.append(exc)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if failed:
        raise failed[0]

def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    files = []
    with contextlib.suppress(OSError):
        while True:
            files.append(os.dup(0))
    return files

def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)

def own_descriptors():
    "What making the loop opened."
    return [fd for fd, what in hygiene.open_fds().items() if fd not in BEFORE]

def works():
    "After all that the loop still does what it is there for."
    loop.verify()
    fired = []
    r, w = os.pipe()
    os.write(w, b"x")
    io = loop.io(r, EV_READ, lambda w, e: (fired.append("io"), w.stop()))
    timer = loop.timer(0, 0, lambda w, e: fired.append("timer"))
    io.start(); timer.start()
    guard = time.monotonic() + 20
    while len(fired) < 2:
        assert time.monotonic() < guard, fired
        loop.start(EVRUN_ONCE)
    assert sorted(fired) == ["io", "timer"]
    os.close(r); os.close(w)
    loop.verify()

from moodloop import event
from moodloop.event import time as event_time
import signal, time
BEFORE = hygiene.open_fds()
loop = make()
loop.start(EVRUN_NOWAIT)  # the first run opens the pair that ends polls for Python's signals
"""


class Row(NamedTuple):
    """An input, what libev makes of it, what moodloop does, and code that shows it."""

    input: str
    libev: str
    here: str
    code: str
    # False: the code leaves the loop in a state in which it cannot go on, by its nature.
    goes_on: bool = True


TABLE = {
    "Io": [
        Row(
            "A negative descriptor",
            "assertion",
            "`ValueError`",
            "refuses(ValueError, lambda: loop.io(-1, EV_READ, NOTHING),"
            " lambda: loop.feed_fd_event(-1, 1))",
        ),
        Row(
            "Events other than `EV_READ` and `EV_WRITE`",
            "assertion",
            "`Error`",
            """
            r, w = pipe()
            for events in (4, 0x80, -1, EV_TIMER):
                refuses(Error, lambda: loop.io(r, events, NOTHING),
                        lambda: loop.once(r, events, None, NOTHING))
            io = loop.io(r, EV_READ, NOTHING)
            refuses(Error, lambda: io.modify(0x80), lambda: setattr(io, "events", 0x80))
            """,
        ),
        Row(
            "A number that no descriptor has (300,000,000, `INT_MAX`)",
            "memory fault: its table is indexed by it",
            "`OSError` (EBADF) from the watcher's `start()`",
            """
            for fd in (300_000_000, 2**31 - 1):
                refuses(OSError, loop.io(fd, EV_READ, NOTHING).start,
                        lambda: loop.once(fd, EV_READ, None, NOTHING))
                loop.feed_fd_event(fd, EV_READ)
            refuses(OverflowError, lambda: loop.io(2**31, EV_READ, NOTHING))
            """,
        ),
        Row(
            "A descriptor closed before `start()` of the watcher",
            "assertion, in the loop's next run",
            "`OSError` (EBADF) from the watcher's `start()`",
            """
            r, w = pipe()
            io = loop.io(r, EV_READ, NOTHING)
            os.close(r)
            refuses(OSError, io.start, lambda: loop.once(r, EV_READ, None, NOTHING))
            assert not io.active
            """,
        ),
        Row(
            "A descriptor closed after that, before the loop runs",
            "assertion",
            "the watcher stops; `OSError` (EBADF) from the loop's `start()`",
            """
            r, w = pipe()
            io = loop.io(r, EV_READ, NOTHING)
            io.start()
            os.close(r)
            refuses(OSError, lambda: loop.start(EVRUN_NOWAIT))
            assert not io.active
            r, w = pipe()
            loop.once(r, EV_READ, None, NOTHING)
            os.close(r)
            refuses(OSError, lambda: loop.start(EVRUN_NOWAIT))
            """,
        ),
        Row(
            "A watcher changed after its descriptor was closed",
            "assertion",
            "the watcher stops; `OSError` (EBADF) from the loop's `start()`",
            """
            r, w = socket.socketpair()
            io = loop.io(r, EV_READ, NOTHING)
            io.start(); loop.start(EVRUN_NOWAIT)
            r.close()
            io.modify(EV_READ | EV_WRITE)
            refuses(OSError, lambda: loop.start(EVRUN_NOWAIT))
            assert not io.active
            """,
        ),
        Row(
            "A descriptor closed while it is watched, by a callback or between runs",
            "assertion (poll), silence (epoll), `EBADF` (select)",
            "the watcher stops with `OSError` (EBADF) from the loop's `start()`, or is never told",
            """
            for run in range(3):
                r, w = pipe()
                io = loop.io(r, EV_READ, NOTHING)
                io.start(); loop.start(EVRUN_NOWAIT)
                if run == 0:
                    os.close(r)
                else:
                    loop.timer(0, 0, lambda *a: os.close(r)).start()
                with contextlib.suppress(OSError):
                    for _ in range(3):
                        loop.start(EVRUN_NOWAIT)
                io.stop()
            """,
        ),
        Row(
            "Another file under the number of a descriptor that is watched",
            "silence or events of the old file (epoll)",
            "nothing, or events of either file; a `stop()` and `start()` sets it right",
            """
            for duplicate in (False, True):
                r, w = pipe()
                r2, w2 = pipe()
                io = loop.io(r, EV_READ, NOTHING)
                io.start(); loop.start(EVRUN_NOWAIT)
                keep = os.dup(r) if duplicate else None
                os.dup2(r2, r)
                os.write(w2, b"x")
                for _ in range(3):
                    with contextlib.suppress(OSError):
                        loop.start(EVRUN_NOWAIT)
                seen = []
                io.stop()
                io.callback = lambda *a: seen.append(1)
                io.start(); loop.start(EVRUN_NOWAIT)
                assert seen == [1]
                io.stop()
            """,
        ),
        Row(
            "Stopped, closed, the number opened again, started",
            "never told",
            "told",
            """
            r, w = pipe()
            seen = []
            io = loop.io(r, EV_READ, lambda *a: seen.append(1))
            io.start(); loop.start(EVRUN_NOWAIT); io.stop()
            os.close(r); os.close(w)
            again, w = pipe()
            assert again == r
            os.write(w, b"x")
            io.start(); loop.start(EVRUN_ONCE)
            assert seen == [1]
            io.stop()
            """,
        ),
        Row(
            "The descriptor of the loop's own backend",
            "assertion (epoll)",
            "`Error` (epoll), or watched as any other",
            """
            for fd in own_descriptors():
                with contextlib.suppress(Error, OSError):
                    io = loop.io(fd, EV_READ, NOTHING)
                    io.start(); loop.start(EVRUN_NOWAIT)
                    io.stop()
            """,
        ),
        Row(
            "An epoll descriptor that contains the loop's own",
            "assertion (ELOOP)",
            "`OSError` from the loop's `start()` on epoll, watched elsewhere",
            """
            import select
            around = select.epoll()
            for fd in own_descriptors():
                with contextlib.suppress(OSError):
                    around.register(fd, select.EPOLLIN)
            io = loop.io(around, EV_READ, NOTHING)
            with contextlib.suppress(OSError):
                io.start(); loop.start(EVRUN_NOWAIT)
            io.stop(); around.close()
            """,
        ),
        Row(
            "A regular file",
            "always ready (epoll: by a list of its own)",
            "always ready",
            """
            file = open(__import__("os").__file__)
            seen = []
            io = loop.io(file, EV_READ, lambda w, e: (seen.append(e), w.stop()))
            io.start()
            while not seen: loop.start(EVRUN_ONCE)
            """,
        ),
        Row(
            "An invented event of a descriptor (`feed_fd_event`)",
            "none",
            "told to its watchers; nothing without any",
            """
            loop.feed_fd_event(10**6, 1); loop.feed_fd_event(0, -1)
            refuses(OverflowError, lambda: loop.feed_fd_event(10**10, 1))
            """,
        ),
    ],
    "Timer, Periodic, Scheduler": [
        Row(
            "Timer: `repeat` negative or NaN, `after` NaN",
            "assertion",
            "`ValueError`",
            """
            for after, repeat in ((0, -1), (0, NAN), (NAN, 0)):
                refuses(ValueError, lambda: loop.timer(after, repeat, NOTHING))
            timer = loop.timer(INF, INF, NOTHING)
            refuses(ValueError, lambda: timer.set(0, -1), lambda: timer.set(NAN, 0),
                    lambda: setattr(timer, "repeat", NAN), lambda: setattr(timer, "repeat", -1))
            for after, repeat in ((INF, 0), (-INF, 0), (-INF, INF), (0, 5e-324), (1e308, 1e308)):
                timer = loop.timer(after, repeat, NOTHING)
                timer.start(); loop.verify(); loop.start(EVRUN_NOWAIT); loop.start(EVRUN_NOWAIT)
                timer.reset(); timer.remaining; timer.at
                loop.start(EVRUN_NOWAIT); loop.verify(); timer.stop()
            """,
        ),
        Row(
            "Periodic: `interval` negative, NaN, infinite or tiny, `offset` NaN or infinite",
            "assertion, or an endless loop",
            "`ValueError`",
            """
            for offset, interval in ((0, -1), (0, NAN), (0, INF), (NAN, 0), (INF, 0), (-INF, 1),
                                     (0, 1e-9), (2, 1), (-1, 1)):
                periodic = loop.periodic(0, 0, NOTHING)
                refuses(ValueError, lambda: loop.periodic(offset, interval, NOTHING),
                        lambda: periodic.set(offset, interval))
            for offset, interval in ((1e300, 0), (-1e300, 0), (0, 1e300), (1e300, 1e300)):
                periodic = loop.periodic(offset, interval, NOTHING)
                periodic.start(); loop.start(EVRUN_NOWAIT); periodic.reset()
                loop.start(EVRUN_NOWAIT); loop.verify(); periodic.stop()
            """,
        ),
        Row(
            "Scheduler: the callable returns NaN, infinity, the past or no number, or raises",
            "assertion",
            "the watcher stops, `RuntimeWarning`, the exception goes where those of callbacks go",
            """
            warnings.simplefilter("ignore")
            for answer in (NAN, INF, -INF, 1.0, None, "x", 10**400):
                count = len(unraisable)
                scheduler = loop.scheduler(lambda w, now: answer, NOTHING)
                scheduler.start(); loop.start(EVRUN_NOWAIT)
                assert not scheduler.active and len(unraisable) == count + 1, answer
            scheduler = loop.scheduler(lambda w, now: 1 / 0, NOTHING)
            scheduler.start(); assert not scheduler.active
            answers = [lambda now: now, lambda now: NAN]
            scheduler = loop.scheduler(lambda w, now: answers.pop(0)(now), NOTHING)
            scheduler.start()
            while scheduler.active: loop.start(EVRUN_ONCE)
            assert not answers
            """,
        ),
        Row(
            "Scheduler: the callable changes the loop",
            "use of freed memory",
            "`Error`, in the callable",
            """
            other = loop.timer(1, 0, NOTHING)
            tried = []
            def reschedule(w, now):
                for call in (w.stop, other.start, loop.start, loop.close, loop.stop, loop.invoke,
                             loop.update, lambda: w.feed(1), loop.ref):
                    with raises(Error):
                        call()
                    tried.append(call)
                return now + 3600
            scheduler = loop.scheduler(reschedule, NOTHING)
            scheduler.start()
            assert len(tried) == 9 and scheduler.active
            scheduler.stop()
            """,
        ),
    ],
    "Signal, Child": [
        Row(
            "Signal: a number out of range",
            "assertion",
            "`ValueError`",
            """
            one = loop.signal(10, NOTHING)
            for number in (0, -1, 65, 1000):
                refuses(ValueError, lambda: loop.signal(number, NOTHING), lambda: one.set(number))
            """,
        ),
        Row(
            "Signal: SIGKILL or SIGSTOP",
            "never told",
            "`ValueError`",
            "refuses(ValueError, lambda: loop.signal(signal.SIGKILL, NOTHING),"
            " lambda: loop.signal(signal.SIGSTOP, NOTHING))",
        ),
        Row(
            "The same signal on two loops",
            "assertion",
            "`Error` from the second watcher's `start()`",
            """
            other = make()
            first, second = loop.signal(10, NOTHING), other.signal(10, NOTHING)
            first.start()
            refuses(Error, second.start)
            first.stop(); second.start(); other.close()
            """,
        ),
        Row(
            "A signal's owners, asyncio's handlers too, leave or are refused in any order",
            "`SIG_DFL` after the last `stop()`",
            "who stays is told; the last one puts back what was there",
            """
            import moodloop
            one, two = moodloop.EventLoop(), moodloop.EventLoop(ev=loop)
            signal.signal(10, signal.SIG_IGN)
            watcher = loop.signal(10, NOTHING)
            watcher.start()
            refuses(RuntimeError, lambda: one.add_signal_handler(10, print))
            two.add_signal_handler(10, print)
            one.close(); two.close()
            signal.raise_signal(10)
            watcher.stop()
            assert signal.getsignal(10) == signal.SIG_IGN
            signal.raise_signal(10)
            """,
        ),
        Row(
            "SIGCHLD on a loop beside the default loop",
            "assertion",
            "`Error` from the second of the two",
            """
            first = loop.signal(signal.SIGCHLD, NOTHING)
            first.start()
            refuses(Error, default_loop)
            first.stop()
            default = default_loop()
            refuses(Error, first.start)
            """,
        ),
        Row(
            "`feed_signal()` and `feed_signal_event()` with a number out of range",
            "memory fault, or a write out of bounds",
            "`ValueError`; `OverflowError` beyond a C `long`",
            """
            for number in (0, -1, 65, 10**8, -10**8):
                refuses(ValueError, lambda: feed_signal(number),
                        lambda: loop.feed_signal_event(number))
            refuses(OverflowError, lambda: feed_signal(10**30),
                    lambda: loop.feed_signal_event(10**30))
            feed_signal(10); loop.feed_signal_event(10); loop.feed_signal_event(signal.SIGCHLD)
            """,
        ),
        Row(
            "Child on a loop that is not the default loop",
            "assertion",
            "`Error`",
            "refuses(Error, lambda: loop.child(os.getpid(), False, NOTHING))",
        ),
        Row(
            "Child: a number that is no process",
            "none",
            "`ValueError`, `OverflowError`, or never told",
            """
            default = default_loop()
            refuses(ValueError, lambda: default.child(-1, False, NOTHING))
            refuses(OverflowError, lambda: default.child(2**40, False, NOTHING))
            child = default.child(2**31 - 1, False, NOTHING)
            child.start(); default.start(EVRUN_NOWAIT); child.stop()
            """,
        ),
        Row(
            "Children of others while the default loop exists",
            "reaped: their parent's `wait()` gets the wrong status",
            "left alone",
            """
            default = default_loop()
            default.start(EVRUN_NOWAIT)
            child = subprocess.Popen(["sh", "-c", "exit 5"])
            default.timer(0.05, 0, NOTHING).start(); default.start()
            assert child.wait() == 5
            """,
        ),
    ],
    "Embed": [
        Row(
            "A loop embedded in itself, or in one that it embeds",
            "assertion, or an endless recursion",
            "`Error`",
            """
            refuses(Error, lambda: loop.embed(loop))
            try:
                one, two = (Loop(EVBACKEND_EPOLL | EVFLAG_NOENV) for _ in range(2))
                first = one.embed(two); first.start()
                with raises(Error):
                    two.embed(one).start()
            finally:
                two.close(); one.close()
            """,
        ),
        Row(
            "A loop whose backend cannot be embedded",
            "assertion",
            "`Error`",
            """
            for backend in (EVBACKEND_POLL, EVBACKEND_SELECT):
                other = Loop(backend | EVFLAG_NOENV)
                refuses(Error, lambda: loop.embed(other))
                other.close()
            """,
        ),
        Row(
            "The embedded loop closed or freed",
            "use of freed memory",
            "the watcher stops",
            """
            other = Loop(EVBACKEND_EPOLL | EVFLAG_NOENV)
            embed = loop.embed(other); embed.start(); loop.start(EVRUN_NOWAIT)
            other.close(); assert not embed.active
            loop.start(EVRUN_NOWAIT)
            refuses(Error, embed.start)
            other = Loop(EVBACKEND_EPOLL | EVFLAG_NOENV)
            embed = loop.embed(other); embed.start()
            del other, embed; gc.collect(); loop.start(EVRUN_NOWAIT)
            """,
        ),
    ],
    "All watchers": [
        Row(
            "Arguments set, or `__init__` called, while active",
            "assertion, or lists out of order",
            "`Error`",
            """
            timer = loop.timer(1, 0, NOTHING); timer.start()
            refuses(Error, lambda: timer.set(1, 1), lambda: timer.__init__(loop, 1, 0, NOTHING))
            r, w = pipe()
            io = loop.io(r, EV_READ, NOTHING); io.start()
            refuses(Error, lambda: io.set(w, 1), lambda: setattr(io, "events", EV_WRITE),
                    lambda: io.__init__(loop, r, EV_READ, NOTHING))
            timer.stop(); timer.feed(1)
            refuses(Error, lambda: timer.__init__(loop, 1, 0, NOTHING))
            io.stop()
            """,
        ),
        Row(
            "A priority out of range",
            "memory fault: arrays are indexed by it",
            "the next one in range; `OverflowError` beyond a C `int`",
            """
            for value in (10**6, -10**6, 2**31 - 1, -2**31):
                timer = loop.timer(0, 0, NOTHING, None, value)
                timer.feed(EV_CUSTOM); loop.invoke()
                assert EV_MINPRI <= timer.priority <= EV_MAXPRI
                timer.priority = value
                timer.start(); loop.start(EVRUN_NOWAIT); timer.stop()
            refuses(OverflowError, lambda: setattr(timer, "priority", 2**31))
            """,
        ),
        Row(
            "The priority changed while active or pending",
            "memory fault",
            "`Error`",
            """
            timer = loop.timer(1, 0, NOTHING)
            timer.feed(EV_CUSTOM)
            refuses(Error, lambda: setattr(timer, "priority", 1))
            timer.clear(); timer.start()
            refuses(Error, lambda: setattr(timer, "priority", 1))
            timer.stop()
            """,
        ),
        Row(
            "`Async.send()` on a watcher that was not started",
            "assertion",
            "nothing",
            """
            one = loop.async_(NOTHING)
            one.send(); one.start(); one.stop(); one.send()
            loop.start(EVRUN_NOWAIT)
            """,
        ),
        Row(
            "A subclass whose `__init__` does not call that of the base",
            "memory fault (in a binding that does not look)",
            "`Error`",
            """
            for kind in (Io, Timer, Periodic, Scheduler, Signal, Child, Stat, Idle, Prepare, Check,
                         Embed, Fork, Async, Cleanup):
                class Odd(kind):
                    def __init__(self): pass
                odd = Odd()
                assert odd.loop is None and not odd.active and not odd.pending
                refuses(Error, odd.start, odd.stop, odd.clear, lambda: odd.feed(1),
                        lambda: odd.invoke(1))
                repr(odd)
                for name in dir(odd):
                    with contextlib.suppress(Error, TypeError):
                        value = getattr(odd, name)
                        if callable(value) and not name.startswith("_"): value()
                del odd; gc.collect()
            class OddLoop(Loop):
                def __init__(self): pass
            odd = OddLoop()
            refuses(Error, odd.start, odd.stop, odd.verify, odd.watchers, odd.invoke,
                    lambda: odd.timer(0, 0, NOTHING), lambda: odd.pending)
            odd.close()
            """,
        ),
        Row(
            "A callback that drops the last reference to its own watcher, and raises",
            "use of freed memory (in a binding that does not look)",
            "the exception is reported, the loop goes on",
            """
            def fail(w, r):
                w.stop(); holder.clear(); gc.collect(); raise ZeroDivisionError
            for kind, own in ((Timer, (0, 0)), (Idle, ()), (Prepare, ()), (Check, ())):
                holder = [kind(loop, *own, fail)]
                holder[0].start(); loop.start(EVRUN_NOWAIT)
                assert not holder
            assert [type(e) for e in unraisable] == [ZeroDivisionError] * 4
            """,
        ),
        Row(
            "A callback that stops and frees others that are pending",
            "use of freed memory",
            "those are not told",
            """
            timers = []
            def first(w, r):
                for t in timers: t.stop()
                timers.clear(); gc.collect()
            timers += [loop.timer(0, 0, first) for _ in range(50)]
            for t in timers: t.start()
            del t
            loop.start(EVRUN_ONCE)
            assert not timers and not loop.watchers()
            """,
        ),
        Row(
            "`EV_ERROR` and any other number fed or invoked",
            "passed on",
            "`EV_ERROR`: the watcher and the run stop with `Error`; others: passed on",
            """
            timer = loop.timer(1, 0, NOTHING)
            for number in (-1, -2**31, EV_ERROR):
                refuses(Error, lambda: timer.invoke(number))
                timer.feed(number); refuses(Error, lambda: loop.start(EVRUN_NOWAIT))
            for number in (0, 0x80, 2**30, 2**31 - 1):
                with contextlib.suppress(Error):
                    timer.feed(number); loop.invoke(); timer.invoke(number)
            refuses(OverflowError, lambda: timer.feed(2**31), lambda: timer.invoke(10**30))
            """,
        ),
        Row(
            "Stat: a path with a NUL, an endless one, none at all",
            "cut off at the NUL",
            "`ValueError`; a path that does not exist; `TypeError`",
            """
            refuses(ValueError, lambda: loop.stat("a\\0b", 0, NOTHING))
            refuses(TypeError, lambda: loop.stat(None, 0, NOTHING))
            for path in ("", "x" * 5000, "/x" * 5000, b"\\xff"):
                stat = loop.stat(path, 0, NOTHING)
                stat.start(); stat.stat(); loop.start(EVRUN_NOWAIT)
                assert stat.current.nlink == 0; stat.stop()
            """,
        ),
    ],
    "Loop": [
        Row(
            "More `unref()` than `ref()` and watchers",
            "assertion in `verify()`, or a run that never ends",
            "`Error`",
            """
            refuses(Error, loop.unref, loop.decref)
            timer = loop.timer(1, 0, NOTHING)
            timer.start(); loop.unref(); timer.stop()
            refuses(Error, loop.unref)
            loop.verify(); assert loop.start() is False
            """,
        ),
        Row(
            "`start()`, `invoke()` or `close()` while another thread runs the loop",
            "assertion, or damaged memory",
            "`Error`",
            """
            loop.timer(3600, 0, NOTHING).start()
            thread = threading.Thread(target=loop.start); thread.start()
            wait_until(lambda: loop.depth)
            refuses(Error, loop.start, loop.invoke, loop.close)
            loop.verify()
            loop.stop(); thread.join(20); assert not thread.is_alive()
            """,
        ),
        Row(
            "Watchers started, stopped and freed while another thread is in the loop's poll",
            "damaged memory",
            "they are; the loop wakes to look again",
            """
            keep = loop.timer(3600, 0, NOTHING); keep.start()
            thread = threading.Thread(target=loop.start); thread.start()
            wait_until(lambda: loop.depth)
            for _ in range(200):
                r, w = pipe()
                made = [loop.io(r, EV_READ, NOTHING), loop.timer(0, 1, NOTHING),
                        loop.idle(), loop.async_(NOTHING), loop.prepare(NOTHING)]
                for one in made: one.start(); one.feed(EV_CUSTOM)
                made[3].send()
                for one in made: one.stop()
                os.close(r); os.close(w)
            loop.stop(); thread.join(20); assert not thread.is_alive()
            """,
        ),
        Row(
            "`stop()` with a number that is none of `EVBREAK_*`",
            "assertion in the next run",
            "`ValueError`",
            """
            for how in (0x80, 3, -1, 2**31 - 1):
                loop.timer(0, 0, lambda *a: (loop.stop(how), loop.start())).start()
                loop.start()
            assert [type(e) for e in unraisable] == [ValueError] * 4
            refuses(OverflowError, lambda: loop.stop(2**31))
            """,
        ),
        Row(
            "`start()` with any number",
            "none",
            "as libev takes its bits",
            """
            timer = loop.timer(3600, 0, NOTHING); timer.start()
            loop.start(-1); loop.start(EVRUN_NOWAIT | 0x700)
            refuses(OverflowError, lambda: loop.start(2**31))
            timer.stop()
            """,
        ),
        Row(
            "Flags that are no backend",
            "`NULL`",
            "`Error`; `OverflowError` beyond a C `unsigned int`",
            """
            refuses(Error, lambda: Loop(EVBACKEND_KQUEUE | EVFLAG_NOENV),
                    lambda: Loop(EVBACKEND_DEVPOLL | EVFLAG_NOENV))
            refuses(OverflowError, lambda: Loop(-1), lambda: Loop(2**32))
            Loop(2**32 - 1).close()
            Loop(EVFLAG_FORKCHECK | EVFLAG_NOENV | EVFLAG_NOTIMERFD | EVFLAG_NOINOTIFY).close()
            """,
        ),
        Row(
            "Runs that start each other without end",
            "the C stack overflows",
            "`RecursionError`",
            """
            from operator import methodcaller
            found = []
            def again(w, r):
                w.feed(EV_CUSTOM)
                w.loop.start(EVRUN_NOWAIT)
            again = fatal(again)
            timer = loop.timer(3600, 0, again); timer.feed(EV_CUSTOM)
            refuses(RecursionError, lambda: loop.start(EVRUN_NOWAIT))
            timer.clear(); timer.callback = NOTHING
            timer.feed(EV_CUSTOM)
            loop.callback = methodcaller("start", EVRUN_NOWAIT)  # no Python function in between
            refuses(RecursionError, lambda: loop.start(EVRUN_NOWAIT))
            loop.callback = None
            @fatal
            def invoke(w, r): w.invoke(r)
            timer.clear(); timer.callback = invoke
            refuses(RecursionError, lambda: timer.invoke(1))
            timer.callback = NOTHING
            """,
        ),
        Row(
            "`close()` inside a callback",
            "use of freed memory",
            "`Error`",
            """
            loop.timer(0, 0, lambda w, r: loop.close()).start(); loop.start()
            timer = loop.timer(0, 0, lambda w, r: loop.close()); timer.invoke(1)
            loop.callback = lambda loop: loop.close()
            timer.feed(1); refuses(Error, loop.start)
            loop.callback = None; timer.clear()
            assert [type(e) for e in unraisable] == [Error] * 2
            """,
        ),
        Row(
            "Closed, or freed, with active and pending watchers",
            "use of freed memory",
            "they are stopped first",
            """
            def fill(loop):
                r, w = pipe()
                made = [loop.io(r, EV_READ, NOTHING), loop.timer(1, 0, NOTHING), loop.idle(),
                        loop.periodic(0, 1, NOTHING), loop.scheduler(lambda w, n: n + 1, NOTHING),
                        loop.signal(10, NOTHING), loop.stat(".", 0, NOTHING),
                        loop.prepare(NOTHING), loop.check(NOTHING), loop.async_(NOTHING),
                        loop.fork(NOTHING), loop.cleanup(NOTHING)]
                for one in made: one.start(); one.feed(EV_CUSTOM)
                return made
            other = make(); made = fill(other); other.start(EVRUN_NOWAIT); other.close()
            for one in made:
                assert not one.active and not one.pending
                refuses(Error, one.start, one.stop, lambda: one.feed(1), lambda: one.callback)
            other = make(); made = fill(other); other.data = made
            del other, made, one; gc.collect()
            """,
        ),
        Row(
            "Used after `close()`",
            "use of freed memory",
            "`Error`; `close()` again does nothing",
            """
            timer = loop.timer(1, 0, NOTHING); timer.start(); loop.close(); loop.close()
            assert loop.closed and not timer.active
            refuses(Error, loop.start, loop.stop, loop.verify, loop.update, loop.watchers, loop.ref,
                    lambda: loop.once(None, 0, 0, NOTHING), lambda: loop.pending, loop.__enter__,
                    lambda: loop.idle(), lambda: loop.feed_fd_event(0, 1), loop.suspend, loop.reset,
                    timer.start, lambda: timer.remaining, lambda: setattr(loop, "debug", 1),
                    lambda: setattr(timer, "priority", 1), lambda: setattr(timer, "ref", False))
            loop.__init__ and repr(loop), repr(timer)
            refuses(Error, lambda: loop.__init__())
            """,
            goes_on=False,
        ),
        Row(
            "The default loop closed and made again",
            "its count of active watchers is wrong from then on",
            "libev's structure is kept, and wrapped anew",
            """
            for _ in range(3):
                default = default_loop()
                timer = default.timer(3600, 0, NOTHING); timer.start(); default.ref()
                default.close()
                default = default_loop(); default.verify()
                assert default.start() is False
                default.close()
            """,
        ),
        Row(
            "`reset()` inside a Prepare callback",
            "damaged backend",
            "`Error`",
            """
            prepare = loop.prepare(lambda w, r: loop.reset()); prepare.start()
            loop.start(EVRUN_NOWAIT); prepare.stop()
            assert [type(e) for e in unraisable] == [Error]
            """,
        ),
        Row(
            "`suspend()` twice, `resume()` alone",
            "timers run wild",
            "`Error`",
            """
            refuses(Error, loop.resume)
            loop.suspend(); refuses(Error, loop.suspend); loop.resume(); refuses(Error, loop.resume)
            """,
        ),
        Row(
            "The io_uring backend",
            "assertion after a dozen rounds: it reuses entries without clearing them",
            "`Error`, or the next backend of those asked for",
            """
            assert not EVBACKEND_IOURING & supported_backends()
            refuses(Error, lambda: Loop(EVBACKEND_IOURING | EVFLAG_NOENV))
            for flags in (EVBACKEND_ALL, EVBACKEND_IOURING | EVBACKEND_SELECT):
                other = Loop(flags | EVFLAG_NOENV)
                other.timer(3600, 0, NOTHING).start()
                for _ in range(100): other.start(EVRUN_NOWAIT)
                other.close()
            os.environ["LIBEV_FLAGS"] = str(EVBACKEND_IOURING)
            refuses(Error, Loop, default_loop)
            """,
        ),
        Row(
            "Intervals negative or NaN",
            "passed on to `nanosleep()`",
            "`ValueError`",
            """
            for value in (-1, NAN, -INF):
                refuses(ValueError, lambda: setattr(loop, "io_interval", value),
                        lambda: setattr(loop, "timeout_interval", value),
                        lambda: Loop(0, None, None, value))
            sleep(-1); sleep(0); sleep(-INF)
            """,
        ),
    ],
    "The process": [
        Row(
            "The descriptor of the loop's backend closed (`os.closerange()`)",
            "`abort()`, or an endless loop",
            "`OSError` from the loop's `start()`",
            """
            loop.timer(3600, 0, NOTHING).start()
            loop.start(EVRUN_NOWAIT)
            os.closerange(3, 100)
            failed = 0
            for _ in range(4):
                try:
                    loop.start(EVRUN_NOWAIT)
                except OSError:
                    failed += 1
            assert failed or BACKEND in (EVBACKEND_POLL, EVBACKEND_SELECT)
            loop.close()
            """,
            goes_on=False,
        ),
        Row(
            "No descriptors left",
            "`abort()`, an endless loop, or another backend than was asked for",
            "`OSError` from `Loop()`; a loop that exists has those that it needs",
            """
            files = exhaust()
            refuses(OSError, make, default_loop)
            seen = []
            one = loop.async_(lambda *a: seen.append("async")); one.start()
            two = loop.signal(10, lambda *a: seen.append("signal")); two.start()
            one.send(); os.kill(os.getpid(), 10)
            timer = loop.timer(0, 0.01, NOTHING); timer.start()
            while len(seen) < 2: loop.start(EVRUN_ONCE)
            assert sorted(seen) == ["async", "signal"]
            stat = loop.stat("/proc", 0, NOTHING); stat.start(); loop.start(EVRUN_NOWAIT)
            loop.reset()
            with contextlib.suppress(OSError): loop.start(EVRUN_NOWAIT)
            for fd in files: os.close(fd)
            for one in (one, two, timer, stat): one.stop()
            """,
        ),
        Row(
            "`fork()` with active watchers",
            "the parent goes deaf: both share the epoll set",
            "the child's loops are reset by themselves",
            """
            r, w = pipe()
            seen = []
            io = loop.io(r, EV_READ, lambda x, e: seen.append(os.read(r, 1))); io.start()
            loop.start(EVRUN_NOWAIT)
            pid = os.fork()
            if pid == 0:
                io.stop(); loop.timer(0, 0, NOTHING).start(); loop.start(); works(); os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            os.write(w, b"x"); loop.start(EVRUN_ONCE); assert seen == [b"x"]
            io.stop()
            """,
        ),
        Row(
            "`fork()` inside a callback, and while a thread runs the loop",
            "assertion in the child's first run",
            "the child runs the loop",
            """
            def callback(w, r):
                pid = os.fork()
                if pid == 0:
                    loop.start(EVRUN_NOWAIT); os._exit(7)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                loop.stop()
            codes = []
            loop.timer(0, 0, callback).start(); loop.start(); assert codes == [7]
            keep = loop.timer(3600, 0, NOTHING); keep.start()
            thread = threading.Thread(target=loop.start); thread.start()
            wait_until(lambda: loop.depth)
            pid = os.fork()
            if pid == 0:
                keep.stop(); loop.timer(0, 0, NOTHING).start(); loop.start(); os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            loop.stop(); thread.join(20); assert not thread.is_alive()
            """,
        ),
        Row(
            "Exit with active watchers",
            "none",
            "Cleanup watchers are told, the rest is dropped",
            """
            for make_one in (make, default_loop):
                one = make_one()
                one.timer(3600, 0, NOTHING).start(); one.idle().start()
                one.stat(".", 0, NOTHING).start(); one.feed_fd_event(0, 1)
                one.cleanup(NOTHING).start()
                one.data = one; sys.modules["x" + str(id(one))] = one
            """,
        ),
        Row(
            "Exit while a daemon thread is inside `start()`",
            "the thread goes on in a process that is taken apart",
            "the thread stays in its poll until the process is gone",
            """
            for busy in (False, True):
                one = make()
                one.timer(3600, 0, NOTHING).start()
                if busy:
                    one.idle(NOTHING).start()
                threading.Thread(target=one.start, daemon=True).start()
                wait_until(lambda: one.depth)
            """,
        ),
        Row(
            "A signal at any time, while the loop sleeps too",
            "Python's handler runs when the poll ends, whenever that is",
            "the poll ends; the handler runs, and what it raises ends the run",
            """
            class Odd(Exception): pass
            def handler(*args): raise Odd
            signal.signal(signal.SIGUSR1, handler)
            keep = loop.timer(3600, 0, NOTHING); keep.start()
            timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)); timer.start()
            refuses(Odd, loop.start)
            keep.stop()
            """,
        ),
    ],
}

ROWS = [(section, row) for section, rows in TABLE.items() for row in rows]
