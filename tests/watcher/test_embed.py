import gc
import itertools
import os
import textwrap
import threading
import weakref

import pytest

from moodloop import event

from .conftest import make_loop
from .test_processes import BACKENDS


def nothing(*args):
    pass


@pytest.fixture
def inner():
    """A loop that can be embedded."""
    with make_loop("epoll") as loop:
        yield loop


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def reader(loop, fd, seen, *around):
    """A started Io that reads what comes and then stops the loops `around`."""

    def callback(watcher, revents):
        seen.append(os.read(fd, 10))
        for each in around:
            each.stop()

    watcher = loop.io(fd, event.EV_READ, callback)
    watcher.start()
    return watcher


def write_soon(fd, text):
    """From another thread: no loop wakes up but for the descriptor."""
    thread = threading.Timer(0.05, os.write, (fd, text))
    thread.start()
    return thread


def later(loop, seconds, call):
    loop.timer(seconds, 0, lambda w, r: call()).start()


def test_sweeps_by_itself(any_loop, inner, pipe):
    seen = []
    embed = any_loop.embed(inner)
    embed.start()
    io = reader(inner, pipe[0], seen, any_loop)
    for text in (b"a", b"b", b"c"):
        later(any_loop, 0.01, lambda text=text: os.write(pipe[1], text))
        assert any_loop.start() is True
    assert seen == [b"a", b"b", b"c"]
    io.stop()
    embed.stop()
    assert any_loop.start() is False and inner.start() is False
    for loop in (any_loop, inner):
        loop.verify()


def test_callback_sweeps(any_loop, inner, pipe):
    seen, events = [], []

    def callback(watcher, revents):
        events.append((watcher, revents, list(seen)))
        watcher.sweep()

    embed = any_loop.embed(inner, callback)
    embed.start()
    io = reader(inner, pipe[0], seen, any_loop)
    later(any_loop, 0.01, lambda: os.write(pipe[1], b"x"))
    any_loop.start()
    assert seen == [b"x"]
    assert events and all(e[:2] == (embed, event.EV_EMBED) for e in events)
    io.stop()
    embed.stop()


@pytest.mark.parametrize("callback", [None, lambda w, r: w.sweep()], ids=["none", "sweep"])
def test_changes_made_anywhere_are_told(loop, guarded, inner, pipe, callback):
    """Started in callbacks of either loop, last in an iteration or not: nothing sleeps on it."""
    seen = []
    loop.embed(inner, callback).start()

    def first(watcher, revents):
        watcher.stop()
        reader(inner, pipe[0], seen, loop)

    inner.io(pipe[1], event.EV_WRITE, first).start()
    thread = write_soon(pipe[1], b"1")
    guarded()
    thread.join()
    assert seen == [b"1"]
    inner.watchers()[0].stop()

    def second():
        reader(inner, pipe[0], seen, loop)
        os.write(pipe[1], b"2")

    later(loop, 0.01, second)
    loop.start()
    inner.watchers()[0].stop()

    fed = inner.prepare(lambda w, r: (seen.append(r), loop.stop()))
    later(loop, 0.01, lambda: fed.feed(event.EV_CUSTOM))
    loop.start()

    sent = inner.async_(lambda w, r: (seen.append(r), loop.stop()))
    sent.start()
    later(loop, 0.01, sent.send)
    loop.start()
    assert seen == [b"1", b"2", event.EV_CUSTOM, event.EV_ASYNC]
    for watcher in loop.watchers() + inner.watchers():
        watcher.stop()


@pytest.mark.parametrize("kind", ["io", "prepare", "check", "fed"])
@pytest.mark.parametrize("callback", [None, lambda w, r: w.sweep()], ids=["none", "sweep"])
@pytest.mark.parametrize("shape", ["chain", "siblings", "siblings, turned"])
def test_changes_made_by_embedded_loops(loop, guarded, inner, pipe, shape, callback, kind):
    """The last thing that happens is a change to a loop whose turn is over."""
    seen = []

    def change(watcher, revents):
        watcher.stop()
        reader(inner, pipe[0], seen, loop)

    with make_loop("epoll") as second:
        embeds = [loop.embed(second, callback)]
        embeds.append((second if shape == "chain" else loop).embed(inner, callback))
        for embed in embeds if shape != "siblings, turned" else embeds[::-1]:
            embed.start()
        for _ in range(5):
            loop.start(event.EVRUN_NOWAIT)  # till nothing keeps it from sleeping
        if kind == "io":
            second.io(pipe[1], event.EV_WRITE, change).start()
        elif kind == "fed":
            second.prepare(change).feed(event.EV_CUSTOM)
        else:
            getattr(second, kind)(change).start()
            embeds[0].feed(event.EV_EMBED)  # nothing else asks for it to be run
        thread = write_soon(pipe[1], b"x")
        guarded()
        thread.join()
    assert seen == [b"x"]


@pytest.mark.parametrize("callback", [None, lambda w, r: w.sweep()], ids=["none", "sweep"])
def test_sleeps_when_nothing_is_to_be_done(loop, inner, callback):
    """Watchers that change others each time do not keep the loops around awake."""
    with make_loop("epoll") as second:
        for around, within in ((loop, second), (second, inner), (loop, inner)):
            around.embed(within, callback).start()
        timers = [each.timer(3600, 0, nothing) for each in (second, inner)]

        def change(watcher, revents):
            for timer in timers:
                timer.stop()
                timer.start()

        for each in (loop, second, inner):
            each.prepare(change).start()
            each.check(change).start()
        loop.start(event.EVRUN_NOWAIT)
        later(loop, 0.3, loop.stop)
        before = loop.iteration
        loop.start()
        assert loop.iteration - before < 20


def test_ref(loop, inner):
    embed = loop.embed(inner)
    embed.start()
    assert loop.start(event.EVRUN_NOWAIT) is True
    embed.ref = False
    assert loop.start() is False
    embed.ref = True
    embed.stop()
    assert loop.start() is False
    loop.verify()


def test_what_cannot_be_embedded(loop, inner):
    for backend in (event.EVBACKEND_POLL, event.EVBACKEND_SELECT):
        if backend & event.supported_backends():
            with event.Loop(backend | event.EVFLAG_NOENV) as bad, pytest.raises(event.Error):
                loop.embed(bad)
    with pytest.raises(event.Error):
        loop.embed(loop)
    with pytest.raises(TypeError):
        loop.embed(5)
    with pytest.raises(TypeError):
        event.Embed(loop)
    with pytest.raises(TypeError):
        event.Embed(loop, inner, 5)
    closed = event.Loop()
    closed.close()
    for args in ((loop, closed), (closed, loop)):
        with pytest.raises(event.Error):
            event.Embed(*args)


def test_cycles():
    loops = [make_loop("epoll") for _ in range(6)]
    chain = [a.embed(b) for a, b in itertools.pairwise(loops)]
    for a in range(6):
        for b in range(a + 1):
            with pytest.raises(event.Error):
                loops[a].embed(loops[b])
    with make_loop("epoll") as free:
        tail = loops[5].embed(free)
        with pytest.raises(event.Error):
            tail.set(loops[0])
        with pytest.raises(event.Error):
            tail.__init__(loops[5], loops[2])
        assert tail.other is free and tail.loop is loops[5]
        chain[2].set(free)  # cut here
        tail.set(loops[0])
        with pytest.raises(event.Error):
            chain[2].set(loops[3])
        del tail
        chain[2].set(loops[3])
    for loop in loops:
        loop.close()


def test_many_ways_to_the_same_loop():
    """Each layer is embedded in both of the one before: 2**30 paths."""
    layers = [(make_loop("epoll"), make_loop("epoll")) for _ in range(30)]
    embeds = [a.embed(b) for up, down in itertools.pairwise(layers) for a in up for b in down]
    with pytest.raises(event.Error):
        layers[-1][0].embed(layers[0][0])
    del embeds
    for layer in layers:
        for loop in layer:
            loop.close()


def test_arguments_and_attributes(loop, inner):
    for embed in (
        event.Embed(loop, inner),
        event.Embed(loop, inner, None, "data", 1),
        event.Embed(other=inner, loop=loop, callback=nothing),
        loop.embed(inner, nothing),
        loop.__embed__(other=inner),
    ):
        assert embed.loop is loop and embed.other is inner
        with pytest.raises(AttributeError):
            embed.other = loop
        with pytest.raises(AttributeError):
            del embed.other
    assert "other=<" in repr(embed)
    embed.start()
    with pytest.raises(event.Error):
        embed.set(inner)
    with pytest.raises(event.Error):
        embed.__init__(loop, inner)
    embed.stop()
    embed.set(other=inner)
    embed.feed(event.EV_EMBED)
    assert embed.clear() == event.EV_EMBED

    class Lazy(event.Embed):
        def __init__(self):
            pass

    for use in (Lazy().start, Lazy().sweep, lambda: Lazy().other, lambda: Lazy().set(inner)):
        with pytest.raises(event.Error):
            use()


@pytest.mark.parametrize("callback", [None, lambda w, r: w.sweep()], ids=["none", "sweep"])
def test_fatal_exception_surfaces_and_nothing_is_lost(loop, inner, callback, unraisable):
    seen = []

    def odd(watcher, revents):
        seen.append(watcher.data)
        raise ZeroDivisionError(watcher.data)

    inner.debug = True
    pipes = [os.pipe() for _ in range(5)]
    for number, (read, write) in enumerate(pipes):
        os.write(write, b"x")
        inner.io(read, event.EV_READ, lambda w, r: (w.stop(), odd(w, r)), number).start()
    loop.embed(inner, callback).start()
    raised = []
    while True:
        try:
            loop.start(event.EVRUN_NOWAIT)
            break
        except ZeroDivisionError as exc:
            raised.append(exc.args[0])
    assert sorted(seen) == sorted(raised) == list(range(5)) and not unraisable
    loop.watchers()[0].stop()
    for ends in pipes:
        for fd in ends:
            os.close(fd)


def test_exceptions_of_deeper_loops_and_ordinary_ones(loop, inner, pipe, unraisable):
    with make_loop("epoll") as middle:
        loop.embed(middle).start()
        middle.embed(inner).start()
        os.write(pipe[1], b"x")
        io = inner.io(pipe[0], event.EV_READ, lambda w, r: 1 / 0)
        io.start()
        loop.start(event.EVRUN_NOWAIT)
        assert unraisable and {type(e) for e, _ in unraisable} == {ZeroDivisionError}
        unraisable.clear()
        io.callback = event.fatal(io.callback)
        with pytest.raises(ZeroDivisionError):
            loop.start()
        assert unraisable == []
        io.stop()


def test_sweep_by_hand(loop, inner, pipe):
    embed = loop.embed(inner, nothing)
    seen = []
    io = reader(inner, pipe[0], seen)
    os.write(pipe[1], b"x")
    embed.sweep()
    assert seen == [b"x"]
    io.callback = event.fatal(lambda w, r: 1 / 0)
    os.write(pipe[1], b"x")
    with pytest.raises(ZeroDivisionError):
        embed.sweep()
    assert loop.start() is False
    io.stop()


def test_close_in_either_order(any_loop, inner, pipe):
    with make_loop("epoll") as middle:
        one, two = any_loop.embed(middle), middle.embed(inner)
        pending = any_loop.embed(middle, nothing)
        one.start()
        two.start()
        pending.feed(event.EV_EMBED)
        reader(inner, pipe[0], [])
        any_loop.start(event.EVRUN_NOWAIT)
        middle.close()
        assert (one.active, two.active, pending.pending) == (False, False, False)
        assert any_loop.start() is False
        with pytest.raises(event.Error):
            one.start()
        with pytest.raises(event.Error):
            one.sweep()
        assert one.other is middle
        one.set(inner)
        one.start()
        any_loop.start(event.EVRUN_NOWAIT)
        any_loop.close()
        assert not one.active and not inner.closed
        with pytest.raises(event.Error):
            one.sweep()
        with pytest.raises(event.Error):
            one.other
        inner.start(event.EVRUN_NOWAIT)
        inner.verify()


def test_what_callbacks_may_do(loop, inner, pipe):
    seen = []
    embed = loop.embed(inner)
    embed.start()
    os.write(pipe[1], b"x")

    def callback(watcher, revents):
        for call in (inner.close, loop.close, loop.reset):
            try:
                call()
            except event.Error:
                seen.append(call.__name__)
        embed.sweep()  # stops it, so it is not called again
        loop.start(event.EVRUN_NOWAIT)

    def first(watcher, revents):
        watcher.stop()
        with event.Loop() as third:
            callback(watcher, revents)
            embed.stop()
            embed.set(third)
            embed.start()
            gc.collect()
        assert not embed.active
        loop.stop()

    inner.io(pipe[0], event.EV_READ, event.fatal(first)).start()
    loop.start()
    assert seen[:2] == ["close", "close"]
    loop.verify()
    inner.verify()


def test_recursion_ends_in_an_exception(isolated):
    code = """
        loop, other = Loop(EVBACKEND_EPOLL), Loop(EVBACKEND_EPOLL)
        r, w = os.pipe(); os.write(w, b"x")
        other.io(r, EV_READ, fatal(lambda *a: loop.start())).start()
        loop.embed(other).start()
        try: loop.start()
        except RecursionError: print("refused")
        """
    assert isolated(code) == "refused"


def test_lifetime(pipe):
    def make(active):
        loop, other = event.Loop(event.EVBACKEND_EPOLL), event.Loop(event.EVBACKEND_EPOLL)
        embed = loop.embed(other)
        other.data = loop.data = embed
        reader(other, pipe[0], [])
        if active:
            embed.start()
            loop.start(event.EVRUN_NOWAIT)
        return weakref.ref(loop), weakref.ref(other), weakref.ref(embed)

    for active in (False, True):
        refs = make(active)
        gc.collect()
        assert [r() for r in refs] == [None] * 3
    loop = event.Loop(event.EVBACKEND_EPOLL)
    seen = []
    loop.embed(event.Loop(event.EVBACKEND_EPOLL)).start()
    gc.collect()
    reader(loop.watchers()[0].other, pipe[0], seen, loop)
    os.write(pipe[1], b"x")
    loop.start()
    assert seen == [b"x"]
    loop.close()


def test_long_chain_of_watchers(loop, inner):
    head = None
    for _ in range(100_000):
        head = event.Embed(loop, inner, None, head)
    del head


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("callback", ["None", "lambda w, r: w.sweep()"])
def test_fork(isolated, backend, callback):
    code = f"""
        loop = Loop(EVBACKEND_{backend}|EVFLAG_NOENV); other = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
        guard = loop.timer(20, 0, fatal(lambda w, r: 1 / 0)); guard.start()
        seen = []
        def pipe(n):
            r, w = os.pipe()
            def callback(x, e): seen.append((n, os.read(r, 1))); loop.stop()
            io = other.io(r, EV_READ, callback); io.start()
            return io, w
        (a, wa), (b, wb) = pipe("a"), pipe("b")
        embed = loop.embed(other, {callback}); embed.start()
        loop.start(EVRUN_NOWAIT)
        for how in ("first", "sleeping", "reset", "late"):
            pid = os.fork()
            if pid == 0:
                free = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
                os.close(free[0])
                a.stop()
                if how == "reset": other.reset(); other.start(EVRUN_NOWAIT)
                if how == "sleeping": loop.timer(0.01, 0, lambda *x: os.write(wb, b"c")).start()
                elif how == "late":
                    for _ in range(3): loop.start(EVRUN_NOWAIT)
                    os.write(wb, b"c")
                else: os.write(wb, b"c")
                loop.start()
                os._exit(0 if seen[-1:] == [("b", b"c")] else 1)
            assert os.waitpid(pid, 0)[1] == 0, how
            os.write(wa, b"p"); loop.start(); assert seen.pop() == ("a", b"p")
        print("ok", seen)
        """
    assert isolated(code) == "ok []"


@pytest.mark.parametrize("name", ["epoll", "poll", "select"])
@pytest.mark.parametrize("callback", [None, lambda w, r: w.sweep()], ids=["none", "sweep"])
def test_reset_of_either(name, inner, pipe, callback):
    with make_loop(name) as loop:
        seen = []
        loop.embed(inner, callback).start()
        reader(inner, pipe[0], seen, loop)
        for use in (
            inner.reset,
            loop.reset,
            lambda: (inner.reset(), inner.start(event.EVRUN_NOWAIT)),
            lambda: (inner.reset(), os.close(os.dup(0))),
        ):
            for inside in (False, True):
                if inside:
                    later(loop, 0, use)
                else:
                    use()
                later(loop, 0.01, lambda: os.write(pipe[1], b"x"))
                loop.start()
                assert seen.pop() == b"x"


def test_threads(isolated):
    code = """
        loop, other = Loop(EVBACKEND_EPOLL), Loop(EVBACKEND_EPOLL)
        guard = loop.timer(20, 0, fatal(lambda w, r: 1 / 0)); guard.start()
        r, w = os.pipe()
        seen = []
        embed = loop.embed(other); embed.start()
        t = threading.Thread(target=loop.start); t.start()
        while loop.depth == 0: time.sleep(0.001)
        # changes of the embedded loop wake the one around it
        done = threading.Event()
        io = other.io(r, EV_READ, lambda x, e: (seen.append(os.read(r, 1)), done.set()))
        io.start(); os.write(w, b"x"); assert done.wait(10); done.clear()
        a = other.async_(lambda x, e: done.set()); a.start(); time.sleep(0.05)
        a.send(); assert done.wait(10); done.clear()
        other.prepare(lambda x, e: done.set()).feed(EV_CUSTOM); assert done.wait(10)
        other.close(); assert not embed.active
        loop.stop(); t.join(10); assert not t.is_alive()
        # the embedded loop runs in another thread
        other = Loop(EVBACKEND_EPOLL)
        io = other.io(r, EV_READ, lambda x, e: (seen.append(os.read(r, 1)), other.stop()))
        io.start()
        t = threading.Thread(target=other.start); t.start()
        while other.depth == 0: time.sleep(0.001)
        embed.set(other); embed.start()
        try: loop.start()
        except Error as exc: print("refused")
        assert not embed.active
        try: embed.sweep()
        except Error: print("refused")
        os.write(w, b"y"); t.join(10)
        assert seen == [b"x", b"y"], seen
        embed.start(); os.write(w, b"z"); io.callback = lambda x, e: (os.read(r, 1), loop.stop())
        loop.start()
        """
    assert isolated(code) == "refused\nrefused"


@pytest.mark.parametrize("backend", ["EPOLL", "POLL", "SELECT"])
def test_descriptor_closed_behind_the_loops(isolated, backend):
    code = f"""
        def epolls():
            names = [f"/proc/self/fd/{{n}}" for n in os.listdir("/proc/self/fd")]
            names = [n for n in names if os.path.exists(n)]
            return {{int(n[14:]) for n in names if "eventpoll" in os.readlink(n)}}
        for when in range(4):
            loop = Loop(EVBACKEND_{backend}|EVFLAG_NOENV)
            before = epolls(); other = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
            fd, = epolls() - before
            r, w = os.pipe(); other.io(r, EV_READ, print).start()
            embed = loop.embed(other)
            if when == 3: os.close(fd)
            try:
                embed.start()
                if when == 1: loop.start(EVRUN_NOWAIT)
                if when < 3: os.close(fd)
                if when == 2: os.dup2(r, fd)
                for _ in range(3): loop.start(EVRUN_NOWAIT)
            except OSError: print("error")
            for l in (loop, other):
                try: l.start(EVRUN_NOWAIT)
                except (OSError, Error): pass
            embed.stop(); loop.close(); os.close(r); os.close(w)
        """
    assert set(isolated(code).split()) == {"error"}


def test_nested_deeper_than_the_kernel_allows(unraisable):
    loops = [make_loop("epoll") for _ in range(12)]
    for a, b in itertools.pairwise(loops):
        a.embed(b).start()
    try:
        for _ in range(20):
            loops[0].start(event.EVRUN_NOWAIT)
    except OSError:
        pass
    for loop in loops:
        loop.close()


def test_interpreter_exit(isolated):
    isolated("""
        loop, other = Loop(EVBACKEND_EPOLL), Loop(EVBACKEND_EPOLL)
        loop.embed(other).start(); other.idle().start()
        threading.Thread(target=loop.start, daemon=True).start(); time.sleep(0.05)
        """)


def test_beside_an_asyncio_loop(isolated):
    code = """
        import asyncio, moodloop
        other = Loop(EVBACKEND_EPOLL)
        r, w = os.pipe()
        async def main():
            running = asyncio.get_running_loop()
            got = running.create_future()
            embed = running.ev.embed(other); embed.start()
            other.io(r, EV_READ, lambda x, e: (x.stop(), got.set_result(os.read(r, 1)))).start()
            running.call_later(0.01, os.write, w, b"x")
            print(await asyncio.wait_for(got, 20)); embed.stop()
            # an asyncio loop that runs cannot be run by another
            back = Loop(EVBACKEND_EPOLL).embed(running.ev)
            try: back.sweep()
            except Error: print("refused")
        moodloop.run(main())
        """
    assert isolated(textwrap.dedent(code)) == "b'x'\nrefused"


def test_descriptor_of_the_other_closed_under_select(isolated):
    """libev stops the ev_io itself, which must not upset its count of what is active."""
    code = """
        loop = Loop(EVBACKEND_SELECT|EVFLAG_NOENV)
        guess = os.dup(0)
        os.close(guess)
        other = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
        embed = loop.embed(other, lambda w, r: None)
        embed.start()
        left = [1, 2, 3]
        timer = loop.timer(0.001, 0.001, lambda w, r: (left.pop(), left or w.stop()))
        timer.start()
        loop.start(EVRUN_ONCE)
        os.close(guess)
        try: loop.start()
        except OSError as exc: print(exc.errno == 9)
        print(embed.active, timer.active, loop.start(), left)
        """
    assert isolated(code).split("\n") == ["True", "False True False []"]
