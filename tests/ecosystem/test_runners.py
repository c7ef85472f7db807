"""Test runners whose coroutines run on moodloop."""

import re
import sys

import pytest

SUITE = """
import asyncio, pytest
{mark}

@pytest.fixture
async def server():
    async def echo(reader, writer):
        writer.write(await reader.read())
        writer.close()
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()

async def test_loop():
    assert type(asyncio.get_running_loop()).__module__ == "moodloop.loop"

@pytest.mark.parametrize("number", range(20))
async def test_echo(server, number):
    reader, writer = await asyncio.open_connection(*server)
    writer.write(b"%d" % number * 10_000)
    writer.write_eof()
    assert await reader.read() == b"%d" % number * 10_000
    writer.close()
    await writer.wait_closed()

async def test_that_fails():
    await asyncio.sleep(0)
    assert False, "as it should"
"""


# It needs pytest-asyncio's plugin, and test_patchers.py is about it.
NO_LOOPTIME = [
    *("-p", "no:looptime_plugin"),
    *("-p", "no:looptime_chronometers"),
    *("-p", "no:looptime_timeproxies"),
]


@pytest.fixture
def suite(write, start, tmp_path):
    """Run SUITE under pytest with a conftest.py of the page."""

    def run(conftest, *options, mark=""):
        write("conftest.py", conftest)
        write("test_suite.py", SUITE.format(mark=mark))
        write("pytest.ini", "[pytest]", f"cache_dir = {tmp_path}/cache")
        program = start("python -m pytest -q --tb=line -W error", *NO_LOOPTIME, *options)
        out = program.end(None, status=[1])
        assert re.search(r"\b1 failed, 21 passed in", out), out
        assert "as it should" in out

    return run


ASYNCIO_PLUGIN = ["-p", "no:anyio", "-o", "asyncio_mode=auto"]
SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]


@pytest.mark.parametrize("debug", ["false", "true"])
def test_pytest_asyncio(line, suite, debug):
    code = line("pytest-asyncio", "conftest.py")
    suite(code, *ASYNCIO_PLUGIN, *SCOPE, "-o", f"asyncio_debug={debug}")


def test_pytest_asyncio_policy(line, suite):
    code = line("pytest-asyncio", "conftest.py, before 1.4")
    # The newer release, which runs here, warns that the fixture's days are numbered.
    suite(code, *ASYNCIO_PLUGIN, *SCOPE, "-W", "ignore::pytest.PytestDeprecationWarning")


def test_pytest_anyio(line, suite):
    code = line("AnyIO's pytest plugin", "conftest.py")
    suite(code, "-p", "no:asyncio", mark="pytestmark = pytest.mark.anyio")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="loop_factory is new in 3.13")
def test_unittest(line, script):
    program = script(
        "import asyncio, moodloop, unittest",
        line("unittest", "python"),
        "    async def asyncSetUp(self):",
        "        await asyncio.sleep(0)",
        "    async def test_loop(self):",
        "        print(type(asyncio.get_running_loop()).__module__)",
        "unittest.main()",
    )
    assert program.end(None) == "moodloop.loop\n"
    assert "Ran 1 test" in program.err
