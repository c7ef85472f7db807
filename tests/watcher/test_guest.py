"""Guest mode: a program that runs event.Loop.start() hosts asyncio."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading

import pytest

import moodloop
from moodloop import event


@pytest.fixture
def guest(loop):
    """An asyncio loop on `loop`."""
    guest = moodloop.EventLoop(ev=loop)
    yield guest
    guest.close()


def host(loop, guest, coro, flags=0):
    """Run the event.Loop with `coro` as a task of its guest; the task's result."""
    with guest.attached():
        task = guest.create_task(coro)
        while not task.done():
            loop.start(flags)
    return task.result()


def test_task_runs_in_start(loop, guest):
    async def main():
        assert asyncio.get_running_loop() is guest
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return loop.depth

    assert host(loop, guest, main()) == 1


def test_short_timers_of_a_loop_that_ran_by_itself_before(loop, guest):
    async def main():
        late = []
        for _ in range(50):
            due = guest.time() + 300e-6
            await asyncio.sleep(300e-6)
            late.append(guest.time() - due)
        return min(late)

    # By then it knows how late it wakes, and is woken that much too early.
    assert guest.run_until_complete(main()) >= -1e-9
    assert host(loop, guest, main()) >= -1e-9


def test_start_returns_when_the_guest_is_done(loop, guest):
    with guest.attached():
        task = guest.create_task(asyncio.sleep(0.001, "slept"))
        assert loop.start() is False
        assert task.result() == "slept"


def test_start_goes_on_while_a_task_waits_for_a_thread(loop, guest):
    gate = threading.Event()

    async def main():
        guest.call_later(0.01, gate.set)
        return await asyncio.to_thread(gate.wait)

    with guest.attached():
        task = guest.create_task(main())
        assert loop.start() is False
        assert task.result() is True
    guest.run_until_complete(guest.shutdown_default_executor())


@pytest.mark.parametrize("flags", [event.EVRUN_ONCE, event.EVRUN_NOWAIT])
def test_single_rounds(loop, guest, flags):
    async def main():
        await asyncio.sleep(0.002)
        return await asyncio.to_thread(lambda: "thread")

    assert host(loop, guest, main(), flags) == "thread"
    guest.run_until_complete(guest.shutdown_default_executor())


def test_single_rounds_say_that_a_timer_waits(loop, guest):
    ran = []
    with guest.attached():
        guest.call_later(0.01, ran.append, 1)
        assert loop.start(event.EVRUN_NOWAIT) is True
        while loop.start(event.EVRUN_NOWAIT):
            pass
        assert ran == [1]
        guest.call_soon(guest.call_soon, ran.append, 2)
        assert loop.start(event.EVRUN_NOWAIT) is True
        assert loop.start(event.EVRUN_NOWAIT) is False
        assert ran == [1, 2]


def test_time_that_ends_the_guest(loop):
    """The host's question before each poll asks a time() of the program's, too."""

    class Ending(moodloop.EventLoop):
        block = None

        def time(self):
            block, self.block = self.block, None
            if block is not None:
                block.close()
                self.close()
            return super().time()

    guest = Ending(ev=loop)
    block = contextlib.ExitStack()
    block.enter_context(guest.attached())
    event.Timer(loop, 0.01, 0.0, lambda *args: None).start()
    guest.block = block
    assert loop.start() is False
    assert guest.is_closed()
    loop.verify()
    assert loop.start() is False


def test_once_says_that_a_task_waits(loop, guest):
    with guest.attached():
        future = guest.create_future()
        task = guest.create_task(asyncio.wait_for(future, None))
        assert loop.start(event.EVRUN_NOWAIT) is True
        assert loop.start(event.EVRUN_NOWAIT) is True
        guest.call_soon(future.set_result, "set")
        while loop.start(event.EVRUN_NOWAIT):
            pass
        assert task.result() == "set"


def test_order_is_that_of_asyncio(loop, guest):
    order = []
    with guest.attached():
        for i in range(3):
            guest.call_soon(order.append, i)
        guest.call_soon(lambda: guest.call_soon(order.append, "next turn"))
        guest.call_soon(order.append, 3)
        loop.start()
    assert order == [0, 1, 2, 3, "next turn"]


def test_streams(loop, guest):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    assert host(loop, guest, main()) == b"HELLO\n"


def test_readers_and_writers(loop, guest):
    a, b = socket.socketpair()
    got = []
    with a, b, guest.attached():
        guest.add_reader(a, lambda: (got.append(a.recv(10)), guest.remove_reader(a)))
        guest.add_writer(b, lambda: (b.send(b"x"), guest.remove_writer(b)))
        assert loop.start() is False
    assert got == [b"x"]


def test_signal_handlers(loop, guest):
    got = []
    with guest.attached():
        guest.add_signal_handler(signal.SIGUSR1, got.append, "signal")
        guest.add_signal_handler(signal.SIGUSR2, guest.stop)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        loop.start()
        guest.remove_signal_handler(signal.SIGUSR1)
        guest.remove_signal_handler(signal.SIGUSR2)
    assert got == ["signal"]


@pytest.mark.parametrize("attached", [False, True])
def test_signal_handler_that_was_put_back(loop, guest, attached):
    """Between rounds of start(), where no wakeup descriptor tells of it, and within one."""
    got = []
    before = signal.getsignal(signal.SIGUSR1)
    guest.add_signal_handler(signal.SIGUSR1, got.append, "guest")
    watcher = loop.signal(signal.SIGUSR1, lambda w, revents: got.append("watcher"))
    watcher.start()
    signal.signal(signal.SIGUSR1, signal.signal(signal.SIGUSR1, before))

    async def main():
        if attached:
            os.kill(os.getpid(), signal.SIGUSR1)
        while len(got) < 2:
            await asyncio.sleep(0.001)
        watcher.stop()  # either would keep start() going
        guest.remove_signal_handler(signal.SIGUSR1)

    if not attached:
        os.kill(os.getpid(), signal.SIGUSR1)
    host(loop, guest, main())
    assert sorted(got) == ["guest", "watcher"]
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("backend", ["epoll", "poll", "select"])
def test_call_from_thread_wakes_a_sleeping_host(backend):
    ev = event.Loop(getattr(event, f"EVBACKEND_{backend.upper()}"))
    guest = moodloop.EventLoop(ev=ev)
    slow = ev.timer(3600, 0, lambda w, r: None)
    slow.start()
    sleeping = threading.Event()
    prepare = ev.prepare(lambda w, r: sleeping.set())
    prepare.start()

    def other():
        sleeping.wait()
        guest.call_from_thread(guest.stop)

    thread = threading.Thread(target=other)
    with guest.attached():
        thread.start()
        assert ev.start() is True
    thread.join()
    guest.close()
    ev.close()


def test_stop_finishes_the_turn(loop, guest):
    ran = []
    with guest.attached():
        guest.call_soon(guest.stop)
        guest.call_soon(ran.append, 1)
        guest.call_soon(lambda: guest.call_soon(ran.append, 2))
        loop.start()
        assert ran == [1]
        loop.start()
        assert ran == [1, 2]


def test_stop_before_start_gives_one_turn(loop, guest):
    ran = []
    keep = loop.timer(3600, 0, lambda w, r: None)
    keep.start()
    with guest.attached():
        guest.stop()
        guest.call_soon(ran.append, 1)
        assert loop.start() is True
        assert ran == [1]


def test_stop_from_a_watcher(loop, guest):
    keep = loop.timer(3600, 0, lambda w, r: None)
    keep.start()
    with guest.attached():
        timer = loop.timer(0.001, 0, lambda w, r: guest.stop())
        timer.start()
        assert loop.start() is True


def test_stop_of_a_nested_start_leaves_the_outer_one(loop, guest):
    steps = []

    def nest(watcher, revents):
        guest.call_soon(guest.stop)
        steps.append(("inner", loop.start()))
        guest.call_soon(steps.append, "after")

    keep = loop.timer(3600, 0, lambda w, r: None)
    keep.start()
    last = loop.timer(0.02, 0, lambda w, r: loop.stop(event.EVBREAK_ALL))
    last.start()
    with guest.attached():
        timer = loop.timer(0.001, 0, nest)
        timer.start()
        loop.start()
    assert steps == [("inner", True), "after"]


def test_the_loop_stop_breaks_off_although_a_task_waits(loop, guest):
    with guest.attached():
        future = guest.create_future()

        async def wait():
            await future

        task = guest.create_task(wait())
        timer = loop.timer(0.001, 0, lambda w, r: loop.stop())
        timer.start()
        assert loop.start() is False
        assert not task.done()
        future.set_result(None)
        loop.start()
        assert task.done()


def test_running_state(loop, guest):
    assert not guest.is_running()
    before = sys.get_asyncgen_hooks()
    with guest.attached() as attached:
        assert attached is guest
        assert guest.is_running()
        assert asyncio.get_running_loop() is guest
        assert sys.get_asyncgen_hooks() != before
        coro = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            guest.run_until_complete(coro)
        coro.close()
        with pytest.raises(RuntimeError, match="already running"):
            guest.run_forever()
        with pytest.raises(RuntimeError):
            with guest.attached():
                pass
        with pytest.raises(RuntimeError, match="Cannot close a running"):
            guest.close()
        with pytest.raises(event.Error):
            loop.close()
    assert not guest.is_running()
    assert sys.get_asyncgen_hooks() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert guest.run_until_complete(asyncio.sleep(0, "runs again")) == "runs again"


def test_what_waits_stays_for_later(loop, guest):
    ran = []
    with guest.attached():
        guest.call_soon(ran.append, "soon")
        guest.call_later(0.001, ran.append, "later")
    assert loop.start(event.EVRUN_NOWAIT) is not None  # not attached: asyncio does not run
    assert ran == []
    guest.run_until_complete(asyncio.sleep(0.01))
    assert ran == ["soon", "later"]


def test_left_by_an_exception(loop, guest):
    with pytest.raises(ZeroDivisionError):
        with guest.attached():
            1 / 0
    assert not guest.is_running()
    host(loop, guest, asyncio.sleep(0))


def test_closed_loop_cannot_be_attached(loop):
    guest = moodloop.EventLoop(ev=loop)
    guest.close()
    with pytest.raises(RuntimeError, match="closed"):
        with guest.attached():
            pass


def test_start_inside_a_callback_of_the_guest(loop, guest):
    async def main():
        with pytest.raises(event.Error, match="cannot run the loop it runs in"):
            loop.start()
        return "refused"

    assert host(loop, guest, main()) == "refused"


def test_start_in_another_thread(loop, guest):
    errors = []

    def other():
        try:
            loop.start(event.EVRUN_NOWAIT)
        except event.Error as exc:
            errors.append(str(exc))

    with guest.attached():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert errors == ["an asyncio loop is attached in another thread"]


def test_start_while_asyncio_runs_itself(loop, guest):
    async def main():
        with pytest.raises(event.Error, match="is running on this loop"):
            loop.start()

    guest.run_until_complete(main())


def test_second_guest_is_refused(loop, guest):
    with pytest.raises(RuntimeError):
        moodloop.EventLoop(ev=loop)


def test_watchers_and_tasks_side_by_side(loop, guest):
    ticks = []

    async def main():
        event_ = asyncio.Event()
        timer = loop.timer(0.001, 0.001, lambda w, r: (ticks.append(1), event_.set()))
        timer.start()
        await event_.wait()
        timer.stop()
        return len(ticks) > 0

    assert host(loop, guest, main())


def test_exception_in_a_watcher_goes_to_the_exception_handler(loop, guest):
    contexts = []
    guest.set_exception_handler(lambda _, context: contexts.append(context))

    def fail(watcher, revents):
        raise ZeroDivisionError

    with guest.attached():
        timer = loop.timer(0.001, 0, fail)
        timer.start()
        loop.start()
    assert [type(c["exception"]) for c in contexts] == [ZeroDivisionError]


def test_exception_in_a_callback_of_asyncio(loop, guest):
    contexts = []
    ran = []
    guest.set_exception_handler(lambda _, context: contexts.append(context))
    with guest.attached():
        guest.call_soon(lambda: 1 / 0)
        guest.call_soon(ran.append, 1)
        loop.start()
    assert len(contexts) == 1
    assert ran == [1]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_fatal_exception_leaves_start(loop, guest, exception):
    ran = []

    def fail():
        raise exception("out")

    with guest.attached():
        guest.call_soon(fail)
        guest.call_soon(ran.append, "kept")
        with pytest.raises(exception, match="out"):
            loop.start()
        assert ran == []
        loop.start()
        assert ran == ["kept"]


def test_fatal_exception_of_a_watcher_keeps_the_events_of_asyncio(loop, guest):
    a, b = socket.socketpair()
    got = []

    @event.fatal
    def fail(watcher, revents):
        raise ZeroDivisionError

    with a, b, guest.attached():
        b.send(b"x")
        guest.add_reader(a, lambda: (got.append(a.recv(10)), guest.remove_reader(a)))
        timer = loop.timer(0, 0, fail)
        timer.start()
        with pytest.raises(ZeroDivisionError):
            loop.start()
        loop.start()
    assert got == [b"x"]


def test_busy_descriptor_does_not_starve_the_guest(loop, guest):
    """An Io watcher that is always ready, at the highest priority."""
    r, w = os.pipe()
    turns = []
    busy = loop.io(w, event.EV_WRITE, lambda w, r: turns.append(1), priority=event.EV_MAXPRI)
    busy.start()

    async def main():
        for _ in range(50):
            await asyncio.sleep(0)
        busy.stop()

    host(loop, guest, main())
    assert len(turns) < 200
    os.close(r)
    os.close(w)


def test_idle_watchers_run_when_the_guest_is_quiet(loop, guest):
    seen = []
    idle = loop.idle(lambda w, r: (seen.append(1), w.stop()))
    idle.start()
    with guest.attached():
        guest.call_later(0.005, lambda: None)
        loop.start()
    assert seen == [1]


def test_hook_of_the_loop(loop, guest):
    calls = []

    def hook(loop):
        calls.append(loop.pending)
        loop.invoke()

    loop.callback = hook

    async def main():
        await asyncio.sleep(0.001)
        return "done"

    assert host(loop, guest, main()) == "done"
    assert calls


def test_own_clock(loop):
    class Clock(moodloop.EventLoop):
        now = 0.0

        def time(self):
            return self.now

    guest = Clock(ev=loop)
    ran = []
    with guest.attached():
        guest.call_later(1000, ran.append, "due")
        guest.call_soon(setattr, guest, "now", 2000.0)
        loop.start()
    assert ran == ["due"]
    guest.close()


def test_default_loop_hosts(isolated):
    isolated(
        """
        import asyncio, moodloop
        from moodloop import event
        ev = event.default_loop()
        guest = moodloop.EventLoop(ev=ev)
        with guest.attached():
            task = guest.create_task(asyncio.sleep(0.001, 5))
            ev.start()
        assert task.result() == 5
        guest.close()
        ev.close()
        """
    )


def test_detached_inside_a_callback(loop, guest):
    """The block ends while start() goes on: nothing of asyncio runs from then on."""
    ran = []
    context = guest.attached()

    def enter(watcher, revents):
        context.__enter__()
        guest.call_soon(ran.append, 1)
        guest.call_soon(second.start)

    def leave(watcher, revents):
        guest.call_soon(ran.append, 2)
        context.__exit__(None, None, None)

    first = loop.timer(0, 0, enter)
    second = loop.timer(0, 0, leave)
    first.start()
    loop.start()
    assert ran == [1]
    guest.run_until_complete(asyncio.sleep(0))
    assert ran == [1, 2]


def test_left_inside_a_callback_of_the_guest(loop, guest):
    context = guest.attached()
    context.__enter__()
    ran = []
    guest.call_soon(context.__exit__, None, None, None)
    guest.call_soon(ran.append, 1)
    loop.start()
    assert not guest.is_running()
    guest.run_until_complete(asyncio.sleep(0))
    assert ran == [1]


def test_collected_while_attached(isolated):
    isolated(
        """
        import gc, moodloop, warnings
        warnings.simplefilter("ignore")
        ev = event.Loop()
        guest = moodloop.EventLoop(ev=ev)
        context = guest.attached()
        context.__enter__()
        guest.call_soon(print)
        del guest, context
        gc.collect()
        ev.start(event.EVRUN_NOWAIT)
        """
    )


def test_libev_is_consistent_afterwards(loop, guest):
    for _ in range(3):
        host(loop, guest, asyncio.sleep(0.001))
        loop.verify()
        assert loop.watchers() == []
        assert loop.start() is False


@pytest.mark.parametrize("way", ["attached", "run_until_complete"])
def test_while_another_thread_runs_the_loop(loop, guest, way):
    """Its callbacks would be called in that thread, where no loop is the running one."""
    inside, leave = threading.Event(), loop.async_(lambda w, revents: w.stop())
    leave.start()
    tick = loop.timer(0, 0.001, lambda w, revents: inside.set())
    tick.start()
    thread = threading.Thread(target=loop.start)
    thread.start()
    inside.wait(20)
    ran = []
    guest.call_soon(ran.append, 1)
    with pytest.raises(event.Error, match="another thread is inside start"):
        if way == "attached":
            with guest.attached():
                ran.append("attached")
        else:
            guest.run_until_complete(asyncio.sleep(0))
    assert not guest.is_running() and ran == []
    tick.stop()
    leave.send()
    thread.join(20)
    assert not thread.is_alive()
    assert ran == []
    host(loop, guest, asyncio.sleep(0))
    assert ran == [1]


def test_attached_elsewhere_just_as_a_run_begins(loop, guest, monkeypatch):
    """What a run begins with is Python code, and so other threads go on there."""
    attached, leave, thread_done = threading.Event(), threading.Event(), []
    real = signal.set_wakeup_fd

    def attach():
        with guest.attached():
            attached.set()
            leave.wait(20)
        thread_done.append(1)

    thread = threading.Thread(target=attach)

    def set_wakeup_fd(*args, **kwargs):
        if not attached.is_set():
            thread.start()
            attached.wait(20)
        return real(*args, **kwargs)

    monkeypatch.setattr(signal, "set_wakeup_fd", set_wakeup_fd)
    try:
        with pytest.raises(event.Error, match="attached in another thread"):
            loop.start(event.EVRUN_NOWAIT)
    finally:
        leave.set()
        thread.join(20)
    assert thread_done == [1]


def test_closed_while_start_asks_for_tasks(isolated):
    """Between two runs of the same start()."""
    isolated(
        """
        import contextlib, moodloop

        ev = Loop()
        stack = contextlib.ExitStack()
        refused = []

        class Guest(moodloop.EventLoop):
            def _has_tasks(self):
                stack.close()
                self.close()
                try:
                    ev.close()
                except Error as exc:
                    refused.append(exc)
                return True

        stack.enter_context(Guest(ev=ev).attached())
        ev.start(EVRUN_NOWAIT)
        assert len(refused) == 1
        ev.close()
        """
    )
