"""Client libraries and AnyIO: each in a process of its own, and again in debug mode."""

import pytest
from support import databases


@pytest.fixture(params=["", "1"], ids=["plain", "debug"])
def run_client(request, line, write, start):
    """Run a coroutine function of one of the apps by the page's line."""

    def run(app, *args, of=("Clients", "python")):
        write(
            "program.py",
            "import anyio, asyncio, moodloop",
            f"from {app} import main as client",
            "async def main():",
            f"    await client(*{args!r})",
            "    print('done on', type(asyncio.get_running_loop()).__module__)",
            line(*of),
        )
        program = start("python program.py", PYTHONASYNCIODEBUG=request.param)
        assert "done on moodloop" in program.end(None)

    return run


@pytest.fixture(scope="module")
def redis():
    with databases.redis() as address:
        yield address


@pytest.fixture(scope="module")
def postgres():
    with databases.postgres() as (directory, port):
        yield str(directory), port


def test_httpx(run_client):
    run_client("httpx_client")


def test_websockets(run_client):
    run_client("websockets_echo", of=("websockets", "python"))


def test_redis(run_client, redis):
    run_client("redis_client", *redis)


def test_asyncpg(run_client, postgres):
    run_client("asyncpg_client", *postgres)


def test_anyio(run_client):
    run_client("anyio_client", of=("AnyIO", "python"))
