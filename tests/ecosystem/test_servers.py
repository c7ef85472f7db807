"""The other servers of ASGI applications: each one is asked the same."""

import signal

import pytest

from .traffic import check_http


def test_hypercorn_command(line, app, start, port):
    app(line("Hypercorn", "app.py"))
    server = start(line("Hypercorn", "sh"), "--bind", f"127.0.0.1:{port}").listens(port)
    check_http(f"http://127.0.0.1:{port}")
    assert "lifespan.shutdown moodloop" in server.end()


def test_hypercorn_in_code(line, script, port):
    server = script(
        "import asyncio, moodloop",
        "from asgi import app",
        "from hypercorn.asyncio import serve",
        "from hypercorn.config import Config",
        "config = Config()",
        "config.bind = [f'127.0.0.1:{port}']",
        line("Hypercorn", "serve"),
    ).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    assert "lifespan.shutdown moodloop" in server.end(signal.SIGINT)


def test_gunicorn_with_uvicorns_worker(line, app, write, start, port):
    app()
    heading = "Gunicorn with uvicorn's worker"
    write("worker.py", line(heading, "worker.py"))
    server = start(line(heading, "sh"), "--bind", f"127.0.0.1:{port}").listens(port)
    check_http(f"http://127.0.0.1:{port}", processes=2)
    assert server.end().count("lifespan.shutdown moodloop") == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_gunicorns_own_worker(line, app, write, start, port, signum):
    app()
    heading = "Gunicorn's own ASGI worker"
    write("gunicorn.conf.py", line(heading, "gunicorn.conf.py"))
    server = start(line(heading, "sh"), "--bind", f"127.0.0.1:{port}").listens(port)
    check_http(f"http://127.0.0.1:{port}", processes=2)
    # SIGINT is its quick end, which leaves the application's shutdown out.
    ended = 2 if signum == signal.SIGTERM else 0
    assert server.end(signum).count("lifespan.shutdown moodloop") == ended


def test_granian(line, app, write, start, port):
    app()
    write("serve.py", f"port = {port}", line("Granian", "serve.py"))
    server = start(line("Granian", "sh")).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    assert "lifespan.shutdown moodloop" in server.end()


def test_daphne(line, app, start, port):
    app()
    server = start(line("Daphne", "sh"), "--port", str(port)).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    server.end()
