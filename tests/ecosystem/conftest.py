"""Real programs on moodloop, chosen by the lines that docs/frameworks.md gives.

`make ecosystem` runs these, in an environment of their own that has the packages.
"""

from pathlib import Path

import pytest
from support import documents, programs

APPS = Path(__file__).resolve().parent / "apps"
BLOCKS = documents.blocks("frameworks.md")


@pytest.fixture
def line():
    """The code of the one block with this heading, and title or language, of the page."""

    def find(heading, title):
        (code,) = (b.code for b in BLOCKS if (b.heading, b.title) == (heading, title))
        return code

    return find


@pytest.fixture
def port():
    return programs.free_port()


@pytest.fixture
def write(tmp_path):
    """Write a file of the program under test from pieces of code; its path."""

    def write(name, *pieces):
        path = tmp_path / name
        path.write_text("\n".join(pieces), encoding="utf-8")
        return path

    return write


@pytest.fixture
def app(write):
    """Write app.py: lines of the page, and the application `app` of one of the apps."""

    def app(*pieces, of="asgi"):
        write("app.py", *pieces, f"from {of} import app as app")

    return app


@pytest.fixture
def start(tmp_path):
    """Start a program in the test's directory; what a test leaves running is killed."""
    started = []

    def start(command, *more, **env):
        argv = [*programs.shlex.split(command), *more]
        env = programs.environment(PYTHONPATH=f"{tmp_path}:{APPS}", HOME=str(tmp_path), **env)
        program = programs.Program(argv, tmp_path, env)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def script(write, start, port):
    """Start a Python program made of pieces, with `port` defined in it."""

    def script(*pieces, name="program.py"):
        write(name, f"port = {port}", *pieces)
        return start(f"python {name}")

    return script
