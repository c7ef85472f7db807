"""Libraries that replace methods of a loop, or of its class."""

import sys

import pytest

# On 3.14 tasks in Python, which they put in place of asyncio's, are no current tasks on any loop.
before_314 = pytest.mark.skipif(sys.version_info >= (3, 14), reason="breaks asyncio's own loops")

CHECKED = """
import asyncio, moodloop, socket

def nested():
    loop = asyncio.get_running_loop()
    try:
        loop.run_until_complete(loop.create_future())
    except RuntimeError as exc:
        assert "already running" in str(exc), exc
    else:
        raise AssertionError("a run inside of a run")

async def main():
    loop = asyncio.get_running_loop()
    assert type(loop).__module__ == "moodloop.loop"
    if WHEN == "inside":
        apply()
        nested()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        asyncio.get_running_loop().call_later(0.01, theirs.send, b"x")
        assert await loop.sock_recv(ours, 1) == b"x"
    assert await asyncio.to_thread(lambda: 5) == 5
    await asyncio.wait_for(asyncio.gather(*(asyncio.sleep(0.001) for _ in range(9))), 20)
    assert asyncio.current_task() in asyncio.all_tasks()

moodloop.install()
if WHEN == "before":
    apply()
if WHEN == "loop":
    loop = asyncio.new_event_loop()
    apply(loop)
    loop.run_until_complete(main())
    loop.close()
for _ in range(2):
    asyncio.run(main())
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
print("done")
"""


@pytest.mark.parametrize("when", ["before", "inside", "loop"])
@pytest.mark.parametrize("name", [pytest.param("nest_asyncio", marks=before_314), "nest_asyncio2"])
def test_nest_asyncio(script, name, when):
    program = script(f"from {name} import apply", f"WHEN = {when!r}", CHECKED)
    assert program.end(None) == "done\n"


@before_314
@pytest.mark.parametrize("when", ["before", "inside"])
def test_reloop(script, when):
    program = script("from reloop import apply", f"WHEN = {when!r}", CHECKED)
    assert program.end(None) == "done\n"


AIOHTTP = """
import asyncio, moodloop, ssl, sys, trustme
from aiohttp import ClientSession, WSMsgType, web

BODY = bytes(range(256)) * 4000
transports = set()

async def echo(request):
    transports.add(type(request.transport).__module__.partition(".")[0])
    return web.Response(body=await request.read())

async def talk(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_bytes(message.data)
    return ws

async def ask(port, scheme, context):
    url = f"{scheme}://localhost:{port}"
    async with ClientSession() as session:
        async def post():
            async with session.post(url + "/echo", data=BODY, ssl=context) as response:
                assert response.status == 200 and await response.read() == BODY
        await asyncio.gather(*(post() for _ in range(10)))
        async with session.ws_connect(url + "/talk", ssl=context) as ws:
            for size in 1, 100_000:
                await ws.send_bytes(BODY[:size])
                assert (await ws.receive()).data == BODY[:size]

async def main():
    ca = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    ca.configure_trust(client_side)
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/echo", echo)
    app.router.add_get("/talk", talk)
    runner = web.AppRunner(app)
    await runner.setup()
    for scheme, ours, theirs in ("http", None, True), ("https", server_side, client_side):
        site = web.TCPSite(runner, "localhost", 0, ssl_context=ours)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        await ask(port, scheme, theirs)
        await site.stop()
    await runner.cleanup()
    print(*transports)

loop = moodloop.new_event_loop()
if PATCHED:
    import aiofastnet
    aiofastnet.patch_loop(loop)
with asyncio.Runner(loop_factory=lambda: loop) as runner:
    runner.run(asyncio.wait_for(main(), 60))
"""


def test_aiohttp_without_aiofastnet(line, script):
    """Hidden as the page says."""
    hidden = line("aiohttp", "without aiofastnet")
    program = script("import sys", hidden, "PATCHED = False", AIOHTTP)
    assert program.end(None).split() == ["moodloop"]


@pytest.mark.parametrize("patched", [False, True], ids=["importable", "patched"])
def test_aiohttp_with_aiofastnet(script, patched):
    """As aiohttp uses it by itself, if it does, and with the loop's methods replaced."""
    transports = script(f"PATCHED = {patched}", AIOHTTP).end(None).split()
    if patched:
        assert transports == ["aiofastnet"]


CONFTEST = """
import moodloop

def pytest_asyncio_loop_factories(config, item):
    return {"moodloop": moodloop.new_event_loop}
"""

SUITE = """
import asyncio, time
import pytest

async def test_plain():
    loop = asyncio.get_running_loop()
    assert any(cls.__module__ == "moodloop.loop" for cls in type(loop).__mro__)
    before = loop.time(), time.monotonic()
    await asyncio.sleep(0.01)
    assert loop.time() >= before[0] + 0.01 and time.monotonic() >= before[1] + 0.01
    assert await loop.run_in_executor(None, lambda: 5) == 5
    async with asyncio.timeout(20):
        await asyncio.sleep(0)

@pytest.mark.looptime
async def test_fake_clock():
    await asyncio.sleep(0)
"""


def test_looptime(write, start, tmp_path):
    """A test that asks for its clock is told; all others run as without it."""
    write("conftest.py", CONFTEST)
    write("test_suite.py", SUITE)
    write("pytest.ini", "[pytest]", f"cache_dir = {tmp_path}/cache", "asyncio_mode = auto")
    out = start("python -m pytest -q --tb=line -p no:anyio").end(None, status=[1])
    assert "1 failed, 1 passed in" in out
    assert "RuntimeError: looptime cannot set this loop's clock" in out
