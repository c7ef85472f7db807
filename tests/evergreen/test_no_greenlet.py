"""Everything but switch() and task, in an interpreter that has no greenlet."""

BLOCKED = """
    import sys
    sys.modules["greenlet"] = None  # importing it is an ImportError
"""


def test_without_greenlet(isolated):
    isolated(
        """
        assert sys.modules["greenlet"] is None
        seen = []
        loop = evergreen.current.loop
        loop.call_soon(seen.append, 1)
        loop.call_later(0.001, loop.stop)
        for get in (lambda: loop.switch(), lambda: loop.task):
            try:
                get()
            except ImportError as exc:
                assert "pip install moodloop[evergreen]" in str(exc), exc
                assert exc.name == "greenlet"
            else:
                raise AssertionError("no ImportError")
        def nested():
            try:
                loop.run()
            except RuntimeError as exc:
                seen.append(str(exc))
        loop.call_soon(nested)
        loop.run_forever()
        try:
            loop.run()
        except RuntimeError as exc:
            seen.append(str(exc))
        loop.destroy()
        try:
            loop.switch()
        except RuntimeError as exc:
            seen.append(str(exc))
        assert seen == [1, "event loop was already started", "event loop has already ended",
                        "event loop has been destroyed"], seen
        loop = evergreen.EventLoop()
        loop.call_soon(sys.exit, 3)
        loop.run()
        """,
        rc=3,
        before=BLOCKED,
        args=("-X", "dev"),
    )
