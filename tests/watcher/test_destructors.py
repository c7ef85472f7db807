"""Code of the program that runs where no callback does: destructors, at the worst of times."""

import pytest

from watcher.conftest import BACKENDS


@pytest.mark.parametrize("backend", ["epoll", "poll", "select"])
@pytest.mark.parametrize("act", ["close", "start", "run", "reset", "stop"])
def test_when_a_closed_descriptor_is_found(isolated, backend, act):
    """Its watcher is the loop's alone, and goes with what it refers to, just before the poll."""
    isolated(
        f"""
        loop = Loop({BACKENDS[backend]} | EVFLAG_NOENV)
        loop.start(EVRUN_NOWAIT)  # has what descriptors it needs
        pipes = sorted(os.pipe() for _ in range(4))
        files = [fd for pipe in pipes for fd in pipe]
        seen = []

        class Trap:
            def __init__(self, *closing):
                self.closing = closing
            def __del__(self):
                seen.append(1)
                for fd in self.closing:
                    os.close(fd)
                if len(seen) > 1:
                    return
                if {act!r} == "start":
                    again = loop.io(files[5], EV_WRITE, print, Trap())
                    again.start()
                    os.close(files[5])
                elif {act!r} == "run":
                    try:
                        loop.start(EVRUN_NOWAIT)
                    except OSError:
                        pass
                    os.close(files[6])
                elif {act!r} == "reset":
                    loop.reset()
                elif {act!r} == "stop":
                    loop.stop()

        def watch(*args):
            # the last one is looked at first, and the first closes it behind that look
            loop.io(files[4], EV_WRITE, print).start()
            loop.io(files[6], EV_WRITE, print).start()
            loop.io(files[1], EV_WRITE, print, Trap(files[4])).start()
            os.close(files[1])

        watch()
        for _ in range(3):
            try:
                loop.start(EVRUN_NOWAIT)
            except OSError:
                pass
        assert seen
        loop.verify()
        """
    )


def test_that_schedules_work_of_the_guest(isolated):
    """The guest was asked before the look at descriptors, and the poll must not wait."""
    isolated(
        """
        import asyncio, moodloop
        ev = Loop(EVBACKEND_EPOLL | EVFLAG_NOENV)
        loop = moodloop.EventLoop(ev=ev)
        ran = []

        class Trap:
            def __del__(self):
                loop.call_soon(ran.append, 1)

        r, w = os.pipe()
        loop.set_exception_handler(lambda *args: None)
        ev.io(r, EV_READ, print, Trap()).start()
        os.close(r)
        with loop.attached():
            late = ev.timer(20, 0, lambda *args: ev.stop())
            late.start()
            started = time.monotonic()
            try:
                ev.start(EVRUN_ONCE)
            except OSError:
                pass
            ev.start(EVRUN_ONCE)
        assert ran == [1]
        assert time.monotonic() - started < 15
        """
    )


def test_asyncio_loop_freed_while_an_exception_is_on_its_way(isolated):
    """Its Cleanup watchers are called all the same, and the exception is what it was."""
    isolated(
        """
        import moodloop

        class Unclosed(moodloop.EventLoop):
            def close(self):
                raise RuntimeError("not now")

        def make():
            loop = Unclosed()
            loop.ev.cleanup(lambda w, r: seen.append(sys.exc_info()[1])).start()
            return loop

        seen = []
        sys.unraisablehook = lambda report: None
        try:
            [make(), 1 / 0]
        except ZeroDivisionError:
            pass
        assert seen == [None]
        """
    )


def test_event_loop_closed_while_the_asyncio_loop_on_it_is(isolated):
    """What asyncio has in libev's default loop would stay there."""
    isolated(
        """
        import moodloop

        ev = default_loop()
        refused = []

        class Trap:
            def __call__(self):
                pass
            def __del__(self):
                try:
                    ev.close()
                except Error as exc:
                    refused.append(exc)

        loop = moodloop.EventLoop(ev=ev)
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_soon(Trap())
        loop.close()
        assert len(refused) == 1
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        ev.close()
        del loop
        gc.collect()
        with default_loop() as ev:
            for _ in range(9):
                ev.timer(9, 0, print).start()
            ev.verify()
        """
    )
