"""call_from_thread, and what the end of a thread does to its loop."""

import threading

import pytest

from moodloop import evergreen


def test_called_in_the_loops_thread(loop, in_thread):
    seen = []

    def callback(*args, **kw):
        seen.append((threading.get_ident(), args, kw))
        loop.stop()

    threading.Timer(0.02, loop.call_from_thread, (callback, 1), {"a": 2}).start()
    loop.run_forever()
    assert seen == [(threading.get_ident(), (1,), {"a": 2})]


def test_calls_before_the_start_are_made(loop, in_thread):
    seen = []
    in_thread(loop.call_from_thread, seen.append, 1)
    in_thread(loop.call_from_thread, seen.append, 2).cancel()
    loop.run()
    assert seen == [1]


def test_order_of_each_thread(loop):
    seen = []
    count, threads = 500, 4

    def body(index):
        for number in range(count):
            loop.call_from_thread(seen.append, (index, number))
        loop.call_from_thread(end)

    def end():
        ended.append(1)
        if len(ended) == threads:
            loop.stop()

    ended = []
    all_threads = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
    for thread in all_threads:
        thread.start()
    loop.run_forever()
    for thread in all_threads:
        thread.join()
    for index in range(threads):
        assert [n for i, n in seen if i == index] == list(range(count))


def test_run_does_not_wait_for_other_threads(loop):
    go, came = threading.Event(), []

    def body():
        go.wait()
        try:
            loop.call_from_thread(came.append, 1)
        except RuntimeError as exc:
            came.append(str(exc))

    thread = threading.Thread(target=body)
    thread.start()
    loop.run()
    loop.destroy()
    go.set()
    thread.join()
    assert came == ["event loop has been destroyed"]


def test_destroy_while_threads_call(isolated):
    """A call comes before the end, or is told that it came after it."""
    out = isolated("""
        def call(loop):
            try:
                while True:
                    loop.call_from_thread(int)
            except RuntimeError as exc:
                assert str(exc) == "event loop has been destroyed", exc
        sys.setswitchinterval(1e-5)
        for _ in range(50):
            loop = evergreen.EventLoop()
            threads = [threading.Thread(target=call, args=(loop,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
            loop.destroy()
            for thread in threads:
                thread.join()
        print("done")
    """)
    assert out == ["done"]


def test_a_thread_that_ends_frees_its_loop(pipe):
    kept = []

    def body():
        loop = evergreen.EventLoop()
        loop.call_later(60, print)
        loop.add_reader(pipe[0], print)
        loop.call_soon(loop.stop)
        loop.run()
        kept.append(loop)

    for _ in range(3):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    for loop in kept:
        for call in (loop.destroy, loop.run):
            with pytest.raises(RuntimeError, match=r"^event loop has been destroyed$"):
                call()


def test_another_loop_after_destroy(in_thread):
    def body():
        for _ in range(3):
            loop = evergreen.EventLoop()
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.destroy()
        return True

    assert in_thread(body)
