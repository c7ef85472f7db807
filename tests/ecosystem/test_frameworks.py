"""Frameworks that bring a server of their own, each with the line that is its own."""

import asyncio
import os
import signal

import pytest

from .traffic import check_http, drive, stream


@pytest.fixture
def file(tmp_path):
    """A file that is larger than what sendfile() sends at once."""
    content = os.urandom(1 << 16) * 48
    (tmp_path / "file.bin").write_bytes(content)
    return content


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_aiohttp(line, script, port, file, signum):
    server = script(
        "import moodloop",
        "from aiohttp import web",
        "from aiohttp_app import app",
        line("aiohttp", "python"),
    ).listens(port)
    url = f"http://127.0.0.1:{port}"
    check_http(url)

    async def main(session):
        async def fetch():
            async with session.get(url + "/file") as response:
                assert await response.read() == file

        await asyncio.gather(*(fetch() for _ in range(5)))

    drive(main)
    assert "cleaned up on moodloop" in server.end(signum)


def test_aiohttp_under_gunicorn(line, app, write, start, port):
    app(of="aiohttp_app")
    write("gunicorn.conf.py", line("aiohttp", "gunicorn.conf.py"))
    server = start(line("aiohttp", "sh"), "--bind", f"127.0.0.1:{port}").listens(port)
    check_http(f"http://127.0.0.1:{port}", processes=2)
    assert server.end().count("cleaned up on moodloop") == 2


def check_tornado(port):
    url = f"http://127.0.0.1:{port}"
    check_http(url)

    async def main(session):
        async def shell():
            async with session.get(url + "/shell") as response:
                assert await response.read() == b"x" * 200_000 + b"\n"

        await asyncio.gather(
            *(shell() for _ in range(3)), *(stream(session, url, "/proxy") for _ in range(10))
        )

    drive(main)


def test_tornado(line, script, port):
    server = script(
        "import asyncio, moodloop, tornado_app",
        "async def main():",
        "    await tornado_app.serve(port)",
        line("Tornado", "python"),
    ).listens(port)
    check_tornado(port)
    assert "ended on moodloop" in server.end()


def test_tornado_ioloop(line, script, port):
    server = script(
        "import moodloop, signal, tornado_app",
        "from tornado.ioloop import IOLoop",
        "def make_server():",
        "    tornado_app.make_server(port)",
        "    ended = IOLoop.current().stop",
        "    IOLoop.current().asyncio_loop.add_signal_handler(signal.SIGTERM, ended)",
        line("Tornado", "IOLoop"),
        "IOLoop.current().close(all_fds=True)",
    ).listens(port)
    check_tornado(port)
    server.end()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_quart(line, script, port, signum):
    server = script(
        "import moodloop", "from quart_app import app", line("Quart", "python")
    ).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    # 3 is Quart's own status after either signal.
    assert "ended on moodloop" in server.end(signum, status=[3])


def test_sanic(line, write, start, port):
    write("app.py", "from sanic_app import app", line("Sanic", "app.py"))
    server = start(line("Sanic", "sh"), "--port", str(port)).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    assert "ended on moodloop" in server.end()


def test_sanic_workers(line, write, start, port):
    write("app.py", "from sanic_app import app", line("Sanic", "app.py"))
    command = line("Sanic", "sh").replace("--single-process", "--workers=2")
    start(command, "--port", str(port)).listens(port)
    check_http(f"http://127.0.0.1:{port}", processes=2)
    # Not ended by a signal: Sanic's main process, which runs no loop, spins for 30 s when one comes
    # before it has noted that its workers are up, and does not tell when it has.
