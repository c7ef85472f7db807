"""How asyncio's own functions come to give moodloop's streams, and how that is undone."""

import os
import subprocess
import sys
import textwrap

import pytest

CHECK = """
import asyncio, moodloop, socket

async def kinds():
    one, two = socket.socketpair()
    with two:
        reader, writer = await asyncio.open_connection(sock=one)
        writer.close()
        await writer.wait_closed()
    child = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
    await child.communicate()
    ours = [isinstance(r, moodloop.StreamReader) for r in (reader, child.stdout)]
    assert ours[0] == ours[1] == isinstance(writer, moodloop.StreamWriter), ours
    return ours[0]

def stock():
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(kinds())
    finally:
        loop.close()
"""


def passes(code, tmp_path, *args, **env):
    program = tmp_path / "program.py"
    program.write_text(CHECK + textwrap.dedent(code), encoding="utf-8")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MOODLOOP_STREAMS")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", *args, str(program)],
        env=environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_install(tmp_path):
    passes(
        """
        connect, new = asyncio.open_connection, asyncio.new_event_loop
        moodloop.install(streams=True)
        moodloop.install(streams=True)
        assert asyncio.run(kinds())
        assert not stock()
        moodloop.uninstall()
        assert asyncio.open_connection is connect is asyncio.streams.open_connection
        assert not moodloop.run(kinds())
        loop = asyncio.new_event_loop()
        assert not isinstance(loop, moodloop.EventLoop)
        loop.close()
        moodloop.uninstall()
        """,
        tmp_path,
    )


def test_uninstall_keeps_what_others_have_set(tmp_path):
    passes(
        """
        moodloop.install(streams=True)
        ours = asyncio.open_connection
        def mine(*args): pass
        asyncio.open_connection = mine
        moodloop.uninstall()
        assert asyncio.open_connection is mine
        assert asyncio.streams.open_connection is not ours
        """,
        tmp_path,
    )


def test_run(tmp_path):
    passes(
        """
        assert moodloop.run(kinds(), streams=True)
        assert not moodloop.run(kinds())
        moodloop.install(streams=True)
        assert moodloop.run(kinds(), streams=True)
        assert moodloop.run(kinds())
        """,
        tmp_path,
    )


def test_the_environment(tmp_path):
    code = "assert moodloop.run(kinds()) and not stock()"
    passes(code, tmp_path, MOODLOOP_STREAMS="1")
    passes("assert not moodloop.run(kinds())", tmp_path, MOODLOOP_STREAMS="0")


def test_the_command_line(tmp_path):
    passes("assert asyncio.run(kinds())", tmp_path, "-m", "moodloop", "run", "--streams")
    passes("assert not asyncio.run(kinds())", tmp_path, "-m", "moodloop", "run")


def test_an_environment_that_says_nothing(monkeypatch):
    from moodloop import streams

    monkeypatch.setenv("MOODLOOP_STREAMS", "yes")
    with pytest.raises(ValueError, match="must be 0 or 1, not 'yes'"):
        streams.wanted()
