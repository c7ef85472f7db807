"""Random programs on several loops, compared with a small model in Python.

MOODLOOP_MODEL_EXAMPLES=5000 makes it many more programs, each time others; without it they are the
same ones every time, so that a failure is one of the change under test.
"""

import contextlib
import gc
import os
import sys
import weakref
from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from moodloop import event

EXAMPLES = int(os.environ.get("MOODLOOP_MODEL_EXAMPLES", "0"))
BACKENDS = [event.EVBACKEND_EPOLL, event.EVBACKEND_POLL, event.EVBACKEND_SELECT]
LOOPS = 4  # the last one is the default loop
WATCHERS = 12
DEEPEST = 4  # runs and invoke() calls inside each other
UNCOUNTED = (event.Cleanup,)

KINDS = (
    *(event.Io, event.Timer, event.Periodic, event.Scheduler, event.Signal, event.Child),
    *(event.Stat, event.Idle, event.Prepare, event.Check, event.Embed, event.Fork),
    *(event.Async, event.Cleanup),
)
# What programs do, each with two numbers that choose on what and with what.
OFTEN = ["start", "feed", "run"] * 3 + ["make"] * 2
OPERATIONS = [
    *OFTEN,
    *("stop", "clear", "invoke", "set", "priority", "ref_off", "ref_on", "data", "callback"),
    *("drop", "init", "raise", "fatal", "once_round", "invoke_all", "stop_loop", "hook", "unhook"),
    *("close", "open", "ref", "unref", "time", "feed_fd", "feed_signal", "send", "reset"),
    *("watch_time", "once", "close_fd", "error", "debug", "collect"),
]


@pytest.fixture(autouse=True, scope="module")
def _libevs_default_loop():
    """libev makes its default loop once, and keeps its descriptors, that for Periodic too."""
    with event.default_loop() as loop:
        loop.periodic(0, 1, print).start()


operation = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, WATCHERS - 1), st.integers(0, 59))


class Boom(Exception):
    """Not fatal, but on a loop with a hook or with debug."""


class Fatal(BaseException):
    pass


class LoopModel:
    def __init__(self, loop):
        self.loop = loop
        self.refs = 0
        self.onces = 0
        self.depth = 0


class Record:
    """What must be true of a watcher."""

    def __init__(self, kind):
        self.kind = kind
        self.watcher = None  # None: dropped
        self.weak = None
        self.model = None
        self.other = None
        self.active = False
        self.fed = False
        self.once = False  # libev stops it when it fires
        self.fd = None

    def get(self):
        return self.watcher if self.watcher is not None else self.weak()

    @property
    def counted(self):
        return self.kind not in UNCOUNTED


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        gc.freeze()  # hypothesis has much that need not be looked through at each collection
        self.raised, self.seen = [], []
        self.hook, sys.unraisablehook = sys.unraisablehook, self.unraisable
        self.plan = deque()
        self.depth = 0
        self.busy, self.quiet = os.pipe(), os.pipe()
        os.write(self.busy[1], b"x")
        self.dead_fds = False
        self.loops = [LoopModel(self.new_loop(i)) for i in range(LOOPS)]
        self.records = []
        self.gone = []
        for i in range(WATCHERS):
            self.make(i, i)

    def unraisable(self, report):
        self.seen.append(report.exc_value)

    def new_loop(self, i):
        if i == LOOPS - 1:
            return event.default_loop()
        return event.Loop(BACKENDS[i % len(BACKENDS)] | event.EVFLAG_NOENV)

    # ---- watchers --------------------------------------------------------------------------

    def own_arguments(self, record, loop, number):
        kind = record.kind
        if kind is event.Io:
            record.fd = (self.busy if number % 2 else self.quiet)[0]
            return (record.fd, event.EV_READ)
        if kind is event.Timer:
            record.once = number % 3 == 0
            return [(0.0, 0.0), (3600.0, 0.0), (0.0, 3600.0)][number % 3]
        if kind is event.Periodic:
            record.once = number % 2 == 0
            return [(0.0, 0.0), (0.0, 3600.0)][number % 2]
        if kind is event.Scheduler:
            return (lambda watcher, now: now + 3600,)
        if kind is event.Signal:
            return ([10, 12][number % 2],)
        if kind is event.Child:
            return (2**31 - 1, False)
        if kind is event.Stat:
            return ("/", 0.0)
        if kind is event.Embed:
            record.other = self.loops[number % LOOPS]
            return (record.other.loop,)
        return ()

    def callback_of(self, record):
        weak = weakref.ref(record)
        return lambda watcher, revents: self.called(weak(), watcher, revents)

    def init(self, record, number, create):
        model = self.loops[LOOPS - 1 if record.kind is event.Child else number % LOOPS]
        before = (record.once, record.fd, record.other)
        arguments = (model.loop, *self.own_arguments(record, model.loop, number))
        callback = self.callback_of(record)
        watcher = None if create else record.get()
        allowed = not model.loop.closed and (create or not (record.active or watcher.pending))
        try:
            if create:
                watcher = record.kind(*arguments, callback)
            else:
                watcher.__init__(*arguments, callback)
        except event.Error:
            record.once, record.fd, record.other = before
            assert not allowed or record.kind is event.Embed
            return False
        assert allowed
        record.model = model
        record.watcher, record.weak = watcher, weakref.ref(watcher)
        return True

    def make(self, index, number):
        record = Record(KINDS[number % len(KINDS)])
        if not self.init(record, number // len(KINDS) + index, create=True):
            return
        if len(self.records) < WATCHERS:
            self.records.append(record)
        else:
            old = self.records[index]
            self.records[index] = record
            self.gone.append(old)
            old.watcher = None

    def called(self, record, watcher, revents):
        """All callbacks."""
        assert record.get() is watcher
        assert not (revents & event.EV_ERROR)
        loop = watcher.loop
        if revents != 0:  # not by invoke() of the watcher
            if revents & event.EV_CUSTOM:
                assert record.fed
                record.fed = False
            elif record.once:
                assert record.active
            if record.once and revents & (event.EV_TIMER | event.EV_PERIODIC):
                record.active = watcher.active
            above = [
                r
                for r in self.records
                if r.model is record.model
                and r.get() is not None
                and r.get().pending
                and r.get().priority > watcher.priority
            ]
            assert not above, (watcher, above)
        assert loop is record.model.loop
        for _ in range(2):
            if self.plan and self.depth <= DEEPEST:
                self.do(self.plan.popleft())

    # ---- what the model expects ------------------------------------------------------------

    def count(self, model):
        active = 0
        for r in self.records + self.gone:
            if r.model is model and r.active and r.get() is not None:
                active += r.counted and r.get().ref
        return active

    def balance(self, model):
        """After a stop, unref() calls do not outweigh what is left."""
        if model.refs < 0:
            model.refs = max(model.refs, -self.count(model))

    def stopped(self, record):
        record.active = record.fed = False
        self.balance(record.model)

    @contextlib.contextmanager
    def nested(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def refresh(self):
        """One-shots that fired, and descriptors that died: libev stopped them."""
        for r in self.records + self.gone:
            w = r.get()
            if w is None:
                assert not r.active and not r.fed
            elif r.active and not w.active:
                assert r.once or (r.kind is event.Io and self.dead_fds), w
                r.active = False
                r.fed = r.fed and w.pending
                self.balance(r.model)

    # ---- what programs do ------------------------------------------------------------------

    def do(self, op):
        name, index, number = op
        record = self.records[index % len(self.records)]
        watcher = record.get()
        if watcher is None:
            return
        if name in self.ON_LOOPS:
            self.ON_LOOPS[name](self, self.loops[index % LOOPS], number)
        elif name == "make":
            self.make(index, number)
        elif name in ("raise", "fatal"):
            if self.depth:
                exc = Boom() if name == "raise" else Fatal()
                self.raised.append(exc)
                raise exc
        elif record.model.loop.closed:
            assert not watcher.active and not watcher.pending
            with contextlib.suppress(AttributeError):
                if name == "init":
                    self.init(record, number, create=False)
                elif name in ("start", "stop", "clear"):
                    try:
                        getattr(watcher, name)()
                    except event.Error:
                        pass
                    else:
                        raise AssertionError("a closed loop's watcher can be used")
        else:
            getattr(self, "do_" + name)(record, watcher, number)
        del watcher
        self.refresh()

    def do_start(self, record, watcher, number):
        try:
            watcher.start()
        except (event.Error, OSError) as exc:
            # the signal of another loop; a loop closed or embedded the other way round; EBADF
            assert record.kind in (event.Signal, event.Embed, event.Io), exc
            assert not record.active
        else:
            record.active = True
        assert watcher.active == record.active

    def do_stop(self, record, watcher, number):
        watcher.stop()
        self.stopped(record)
        assert not watcher.active and not watcher.pending

    def do_feed(self, record, watcher, number):
        watcher.feed(event.EV_CUSTOM)
        record.fed = True
        assert watcher.pending

    def do_clear(self, record, watcher, number):
        revents = watcher.clear()
        assert bool(revents & event.EV_CUSTOM) == record.fed
        record.fed = False
        assert not watcher.pending

    def do_invoke(self, record, watcher, number):
        if self.depth < DEEPEST:
            with self.nested():
                watcher.invoke(0)

    def do_set(self, record, watcher, number):
        if not hasattr(watcher, "set"):
            return
        before = (record.once, record.fd, record.other)
        arguments = self.own_arguments(record, watcher.loop, number)
        was_active = record.active
        try:
            watcher.set(*arguments)
        except event.Error:
            record.once, record.fd, record.other = before
            assert was_active or record.kind is event.Embed
        else:
            assert not was_active

    def do_priority(self, record, watcher, number):
        free = not record.active and not watcher.pending
        try:
            watcher.priority = number - 30
        except event.Error:
            assert not free
        else:
            assert free
            assert watcher.priority == max(-2, min(2, number - 30))

    def do_ref_off(self, record, watcher, number):
        if record.model.refs >= 0:  # else it is a stop, in effect, which sets `refs` right
            watcher.ref = False

    def do_ref_on(self, record, watcher, number):
        watcher.ref = True

    def do_data(self, record, watcher, number):
        choice = [None, watcher, watcher.loop, self.records[number % len(self.records)].get()]
        watcher.data = choice[number % 4]

    def do_callback(self, record, watcher, number):
        watcher.callback = self.callback_of(record)

    def do_drop(self, record, watcher, number):
        record.watcher = None

    def do_init(self, record, watcher, number):
        self.init(record, number, create=False)

    def do_send(self, record, watcher, number):
        if record.kind is event.Async:
            watcher.send()

    def do_time(self, record, watcher, number):
        if record.kind in (event.Timer, event.Periodic, event.Scheduler) and number % 2:
            assert isinstance(watcher.at, float)
            repr(watcher)

    def do_error(self, record, watcher, number):
        try:
            with self.nested():
                watcher.invoke(event.EV_ERROR)
        except event.Error as exc:
            self.raised.append(exc)
            self.stopped(record)
            if self.depth:
                raise
            self.seen.append(exc)
        else:  # the run ends already, with another exception
            self.stopped(record)

    def do_close_fd(self, record, watcher, number):
        if number < 15:
            self.dead_fds = True
            for fd in self.busy:
                os.close(fd)
            self.busy = os.pipe()
            os.write(self.busy[1], b"x")

    # ---- on loops --------------------------------------------------------------------------

    def run_loop(self, model, flags):
        if self.depth >= DEEPEST:
            return
        outer = self.depth == 0
        if model.loop.closed:
            with pytest.raises(event.Error):
                model.loop.start(flags)
            return
        loop = model.loop
        model.depth += 1
        try:
            with self.nested():
                left = loop.start(flags)
        except OSError:
            assert self.dead_fds
        else:
            self.refresh()
            if outer and not self.plan:
                expected = self.count(model) + model.refs + model.onces > 0
                assert left == expected, (left, model.refs, loop.watchers())
            if outer:
                late = [r for r in self.records + self.gone if r.model is model and r.fed]
                assert not late, late
        finally:
            model.depth -= 1

    def on_run(self, model, number):
        self.run_loop(model, event.EVRUN_NOWAIT)

    def on_once_round(self, model, number):
        """A round that could block, but that something is pending."""
        if not model.loop.closed:
            model.loop.feed_fd_event(self.quiet[1], event.EV_WRITE)
            idle = model.loop.idle()
            idle.ref = False
            idle.start()
            try:
                self.run_loop(model, event.EVRUN_ONCE)
            finally:
                if not model.loop.closed:
                    idle.stop()

    def on_invoke_all(self, model, number):
        if self.depth < DEEPEST and not model.loop.closed:
            model.depth += 1
            try:
                with self.nested():
                    model.loop.invoke()
            finally:
                model.depth -= 1

    def on_stop_loop(self, model, number):
        if not model.loop.closed:
            model.loop.stop([event.EVBREAK_ONE, event.EVBREAK_ALL][number % 2])

    def on_hook(self, model, number):
        if not model.loop.closed:
            model.loop.callback = event.Loop.invoke

    def on_unhook(self, model, number):
        if not model.loop.closed:
            model.loop.callback = None

    def on_debug(self, model, number):
        if not model.loop.closed:
            model.loop.debug = number % 2 == 0

    def on_close(self, model, number):
        if number > 10:
            return
        with self.nested():
            try:
                model.loop.close()
            except event.Error as exc:
                assert self.depth > 1 or exc in self.raised
                if exc in self.raised:
                    raise
            finally:
                if model.loop.closed:
                    model.refs = model.onces = 0
                    for r in self.records + self.gone:
                        if r.model is model:
                            r.active = r.fed = False
                    for r in self.records + self.gone:
                        if r.other is model and r.active:
                            w = r.get()
                            r.active = w is not None and w.active
                            self.balance(r.model)

    def on_open(self, model, number):
        if model.loop.closed:
            i = self.loops.index(model)
            self.loops[i] = LoopModel(self.new_loop(i))

    def on_collect(self, model, number):
        gc.collect()

    def on_ref(self, model, number):
        if not model.loop.closed:
            model.loop.ref()
            model.refs += 1

    def on_unref(self, model, number):
        if model.loop.closed:
            return
        try:
            model.loop.unref()
        except event.Error:
            assert self.count(model) + model.refs <= 0
        else:
            assert self.count(model) + model.refs > 0 or self.depth
            model.refs -= 1

    def on_feed_fd(self, model, number):
        if not model.loop.closed:
            model.loop.feed_fd_event(self.busy[0], event.EV_READ)

    def on_feed_signal(self, model, number):
        if not model.loop.closed:
            model.loop.feed_signal_event([10, 12][number % 2])

    def on_reset(self, model, number):
        if not model.loop.closed:
            with contextlib.suppress(event.Error):  # inside of a Prepare callback
                model.loop.reset()

    def on_watch_time(self, model, number):
        if not model.loop.closed:
            model.loop.update()
            model.loop.now(True)

    def on_once(self, model, number):
        if not model.loop.closed:
            model.loop.once(None, 0, 3600, print)
            model.onces += 1

    ON_LOOPS = {
        name[3:]: function for name, function in list(locals().items()) if name.startswith("on_")
    }

    # ---- rules -----------------------------------------------------------------------------

    @rule(op=operation)
    def operate(self, op):
        try:
            self.do(op)
        except (Boom, Fatal, event.Error) as exc:
            assert exc in self.raised, exc
            self.seen.append(exc)
        self.refresh()
        unseen = [e for e in self.raised if e not in self.seen]
        unknown = [e for e in self.seen if e not in self.raised]
        assert not unseen and not unknown, (unseen, unknown)
        self.raised.clear()
        self.seen.clear()

    @rule(ops=st.lists(operation, min_size=1, max_size=6))
    def plan_for_callbacks(self, ops):
        self.plan.extend(ops)

    @invariant()
    def as_the_model_says(self):
        for model in self.loops:
            if not model.loop.closed:
                model.loop.verify()
                active = {
                    r.get() for r in self.records + self.gone if r.model is model and r.active
                }
                listed = model.loop.watchers()
                assert len(listed) == len(set(listed))
                assert set(listed) == active, (listed, active)
        for r in self.records + self.gone:
            w = r.get()
            if w is not None:
                assert w.active == r.active, w
                assert w.pending or not r.fed, w
        self.gone = [r for r in self.gone if r.get() is not None]

    def teardown(self):
        sys.unraisablehook = lambda report: None
        for model in self.loops:
            while not model.loop.closed:
                with contextlib.suppress(Boom, Fatal, event.Error):
                    model.loop.close()
        model = None
        weak = [r.weak for r in self.records + self.gone if r.weak]
        loops = [weakref.ref(model.loop) for model in self.loops]
        self.records.clear()
        self.gone.clear()
        self.loops.clear()
        self.raised.clear()
        self.seen.clear()
        for fd in (*self.busy, *self.quiet):
            os.close(fd)
        sys.unraisablehook = self.hook
        gc.collect()
        left = [w() for w in weak if w() is not None]
        assert not left, left
        assert not [w() for w in loops if w() is not None]


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=EXAMPLES or 170,
    stateful_step_count=60,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
