"""The loop itself: life, callbacks, timers, tasks.

Covered elsewhere, at length:

- uvloop 754, keyword arguments of create_task(): tests/loop/test_tasks.py
- rloop hung at SystemExit in a task: tests/loop/test_exceptions.py
- zuvloop ignored a patched loop.time(): tests/loop/test_timers.py
"""

import asyncio
import threading
import time

import pytest
from support.loops import PY314, run_turns


def test_closing_crashed(new_loop):
    """uvloop 538 and 706: segmentation faults, when things outlive their loop."""
    loop = new_loop()
    kept = [loop.call_soon(int), loop.call_later(1000, int), loop.create_future()]

    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    kept += [server, *server.sockets]
    server.close()
    loop.close()
    loop.close()
    for handle in kept[:2]:
        repr(handle)
        handle.cancel()
    kept[2].cancel()
    repr(kept)
    del loop
    kept.clear()


@pytest.mark.moodloop_only
@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "not isolated"])
def test_interpreters_crashed(snippet, isolated):
    """uvloop 650: a loop in a subinterpreter works, or is refused with an ImportError."""
    done = snippet(f"""
        try:
            import _interpreters as interpreters
            create = lambda: interpreters.create("isolated" if {isolated} else "legacy")
        except ImportError:
            import _xxsubinterpreters as interpreters
            create = lambda: interpreters.create(isolated={isolated})
        code = '''if True:
            try:
                import asyncio, moodloop
            except ImportError as exc:
                print("refused")
            else:
                loop = moodloop.new_event_loop()
                print(loop.run_until_complete(asyncio.sleep(0.001, "worked")))
                loop.close()
        '''
        for _ in range(3):
            interpreter = create()
            failed = interpreters.run_string(interpreter, code)
            assert failed is None, failed
            interpreters.destroy(interpreter)
        loop = new_loop()
        print(drive(loop, asyncio.sleep(0, "fine")))
        loop.close()
    """)
    assert done.rc == 0, done.err
    assert done.out.split() in (["worked"] * 3 + ["fine"], ["refused"] * 3 + ["fine"])


def test_keywords_of_create_task(loop, run):
    """uvloop 754."""

    async def main():
        assert loop.create_task(asyncio.sleep(0), name="mine").get_name() == "mine"
        if PY314:
            task = loop.create_task(asyncio.sleep(0, 7), eager_start=True)
            await task
        with pytest.raises(TypeError):
            coro = asyncio.sleep(0)
            try:
                loop.create_task(coro, no_such=1)
            finally:
                coro.close()
        await asyncio.sleep(0)

    run(main())


def test_message_of_a_slow_callback_named_nothing(loop, log):
    """uvloop 656."""

    def slow_one():
        time.sleep(0.002)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    loop.call_soon(slow_one)
    run_turns(loop)
    assert any("slow_one" in m and "test_loop.py" in m and "took" in m for m in log())


def test_import_changed_other_modules(snippet):
    """rsloop patched asyncio and ssl."""
    done = snippet("""
        import ssl
        before = {m.__name__: dict(vars(m)) for m in (asyncio, asyncio.events, ssl, socket, signal)}
        import moodloop
        for name, old in before.items():
            new = vars(sys.modules[name])
            changed = [k for k in old if new.get(k) is not old[k]]
            assert not changed, (name, changed)
        print("as it was", threading.active_count())
    """)
    assert done.out == "as it was 1\n", done.err


def test_loop_inside_a_loop_hung(loop, new_loop, run):
    """rsloop: it is refused."""

    async def main():
        coro = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="while another loop is running"):
            new_loop().run_until_complete(coro)
        coro.close()
        coro = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(coro)
        coro.close()

    run(main())


def test_unclosed_loops_left_threads(new_loop, run):
    """rsloop."""
    before = threading.active_count()
    for _ in range(3):
        new_loop().run_until_complete(asyncio.sleep(0))
    assert threading.active_count() == before


def test_callbacks_behind_an_interrupt_were_lost(loop):
    """zuvloop."""
    ran = []

    def interrupt():
        raise KeyboardInterrupt

    loop.call_soon(ran.append, 1)
    loop.call_soon(interrupt)
    loop.call_soon(ran.append, 2)
    with pytest.raises(KeyboardInterrupt):
        run_turns(loop)
    assert ran == [1]
    run_turns(loop)
    assert ran == [1, 2]


def test_handle_was_no_asyncio_handle(loop):
    """zuvloop."""
    soon, later = loop.call_soon(int), loop.call_later(1000, int)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(later, asyncio.TimerHandle)
    soon.cancel()
    later.cancel()


def test_patched_time_was_ignored(loop, run, monkeypatch):
    """zuvloop."""
    now = [1000.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    ran = []
    loop.call_later(50, ran.append, 1)
    run_turns(loop, 3)
    assert ran == []
    now[0] += 51
    run_turns(loop, 3)
    assert ran == [1]


def test_system_exit_in_a_task_hung(snippet):
    """rloop."""
    done = snippet("""
        async def leave():
            sys.exit(3)

        async def main():
            task = asyncio.create_task(leave())
            await asyncio.sleep(1000)

        loop = new_loop()
        loop.run_until_complete(main())
    """)
    assert done.rc == 3, done.err


def test_waits_for_an_executor(loop, run):
    """A name, a result and an error of a thread: what peers made their own of."""

    async def main():
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("asyncio_")
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        await loop.shutdown_default_executor()

    run(main())
