"""Libraries that put their own class, or methods, in the place of socket.socket."""

import pytest

FIRST = """
import asyncio, socket, threading

def serve(listening, answer):
    def run():
        while True:
            conn, _ = listening.accept()
            with conn:
                answer(conn)
    threading.Thread(target=run, daemon=True).start()
    return listening.getsockname()[1]
"""

PYSOCKS = """
import socks

asked = []

def proxy(conn):
    assert conn.recv(3)[0] == 5
    conn.sendall(b"\\5\\0")
    request = conn.recv(100)
    asked.append(request)
    conn.sendall(b"\\5\\0\\0\\1\\0\\0\\0\\0\\0\\0")
    conn.sendall(b"from the proxy")

port = serve(socket.create_server(("127.0.0.1", 0)), proxy)
socks.set_default_proxy(socks.SOCKS5, "127.0.0.1", port)
if WHEN == "before":
    socket.socket = socks.socksocket
import moodloop
socket.socket = socks.socksocket

async def main():
    reader, writer = await asyncio.open_connection("192.0.2.1", 80)
    assert await reader.read() == b"from the proxy"
    writer.close()
    assert len(asked) == 1

with asyncio.Runner(loop_factory=moodloop.new_event_loop) as runner:
    runner.run(asyncio.wait_for(main(), 20))
print("done")
"""

MOCKET = """
import moodloop
from mocket import Mocket, MocketEntry, mocketize

class Entry(MocketEntry):
    def can_handle(self, data):
        return True

async def main():
    Mocket.register(Entry(("example.invalid", 80), [b"from the mock"]))
    reader, writer = await asyncio.open_connection("example.invalid", 80)
    writer.write(b"question")
    assert await reader.read(100) == b"from the mock"
    writer.close()

@mocketize
def mocked():
    with asyncio.Runner(loop_factory=FACTORY) as runner:
        runner.run(asyncio.wait_for(main(), 20))

FACTORY = moodloop.new_event_loop
mocked()
print("done")
"""

GUARDED = """
import asyncio, pytest, pytest_socket, moodloop

@pytest.mark.parametrize("host", HOSTS)
def test_blocked(host):
    async def main():
        with pytest.raises(BLOCKED):
            await asyncio.open_connection(host, 9)
    with asyncio.Runner(loop_factory=moodloop.new_event_loop) as runner:
        runner.run(main())

def test_allowed():
    async def main():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        server.close()
    with asyncio.Runner(loop_factory=moodloop.new_event_loop) as runner:
        if ALLOWED:
            runner.run(main())
        else:
            with pytest.raises(BLOCKED):
                runner.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_pysocks(script, when):
    program = script(FIRST, f"WHEN = {when!r}", PYSOCKS)
    assert program.end(None) == "done\n"


def test_mocket(script):
    assert script(FIRST, MOCKET).end(None) == "done\n"


@pytest.mark.parametrize(
    ("option", "blocked", "hosts", "allowed"),
    [
        ("--allow-hosts=127.0.0.1", "SocketConnectBlockedError", ["127.0.0.2"], True),
        ("--disable-socket", "SocketBlockedError", ["127.0.0.1", "127.0.0.2"], False),
    ],
)
def test_pytest_socket(write, start, tmp_path, option, blocked, hosts, allowed):
    write(
        "test_guarded.py",
        f"HOSTS = {hosts!r}\nALLOWED = {allowed}\nimport pytest_socket",
        f"BLOCKED = pytest_socket.{blocked}",
        GUARDED,
    )
    write("pytest.ini", "[pytest]", f"cache_dir = {tmp_path}/cache")
    command = "python -m pytest -q -p no:looptime_plugin"
    program = start(command, option, "--allow-unix-socket", "test_guarded.py")
    assert f"{len(hosts) + 1} passed" in program.end(None)
