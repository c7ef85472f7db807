"""What a server is asked, by a client that runs on moodloop in the test's own process."""

import asyncio
import json

import aiohttp

import moodloop

SIZES = (0, 1, 1000, 20_000, 300_000)
STREAM = b"".join(b"%d\n" % i * 1000 for i in range(50))


def drive(main, seconds=60):
    """Run main(session) with an aiohttp session on moodloop; its result."""

    async def guarded():
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await asyncio.wait_for(main(session), seconds)

    return moodloop.run(guarded())


async def ask(session, url):
    """What /loop says about the server's process."""
    # A connection of its own each time: any of the server's processes may answer.
    async with session.get(f"{url}/loop", headers={"connection": "close"}) as response:
        assert response.status == 200
        found = json.loads(await response.text())
    assert found["loop"].split(".")[0] == "moodloop"
    return found["pid"]


async def pids(session, url, count=1):
    """The processes that answer, once there were `count` of them."""
    found = set()
    while len(found) < count:
        found |= set(await asyncio.gather(*(ask(session, url) for _ in range(10))))
    return found


async def echo(session, url, number):
    body = (b"%d " % number * (SIZES[number % len(SIZES)] // 2 + 1))[: SIZES[number % len(SIZES)]]
    async with session.post(f"{url}/echo", data=body) as response:
        assert response.status == 200
        assert await response.read() == body


async def stream(session, url, path="/stream"):
    async with session.get(url + path) as response:
        assert await response.read() == STREAM


async def talk(session, url, number):
    """A WebSocket: short, long and many messages, and a close from this side."""
    async with session.ws_connect(f"{url}/ws", max_msg_size=0) as ws:
        for text in (f"hello {number}", "é", "x" * 70_000):
            await ws.send_str(text)
            assert (await ws.receive()).data == text
        for i in range(20):
            await ws.send_bytes(b"%d" % i * 100)
        for i in range(20):
            assert (await ws.receive()).data == b"%d" % i * 100


def check_http(url, processes=1, websockets=True):
    """Ask all of it at once; the pids of the processes that answered."""

    async def main(session):
        found = await pids(session, url, processes)
        asked = [echo(session, url, n) for n in range(100)]
        asked += [stream(session, url) for _ in range(5)]
        if websockets:
            asked += [talk(session, url, n) for n in range(20)]
        await asyncio.gather(*asked)
        return found

    return drive(main)
