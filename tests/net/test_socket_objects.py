"""Socket objects whose methods are a program's own: each is called, as on stock asyncio.

Proxies, guards of tests, tracers and mocks are a subclass of socket.socket, methods put on that
class in place, or another class in its place.
"""

import asyncio
import functools
import gc
import socket
import ssl
import subprocess
import sys
import warnings

import pytest
from support.loops import turns, until
from support.net import BufferedRecord, Record, end
from support.tls import client_context, server_context

METHODS = (
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "send",
    "sendmsg",
    "sendto",
    "connect",
    "accept",
)


def telling(calls):
    """Methods of socket.socket that write down their names."""

    def method(name):
        original = getattr(socket.socket, name)

        def call(self, *args):
            calls.append(name)
            return original(self, *args)

        return call

    return {name: method(name) for name in METHODS}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def subclass(calls):
    return type("Telling", (socket.socket,), telling(calls))


@pytest.fixture
def patch_class(calls, monkeypatch):
    """Put methods on socket.socket itself, from now on."""

    def patch():
        for name, method in telling(calls).items():
            monkeypatch.setattr(socket.socket, name, method)

    return patch


@pytest.fixture(params=["subclass", "slots", "object", "in place"])
def own(request, calls):
    """Make a socket one whose methods are a program's own."""

    def own(sock):
        methods = telling(calls)
        if request.param == "in place":
            request.getfixturevalue("patch_class")()
            return sock
        if request.param == "object":  # on one object, as mocks do
            cls = type("Plain", (socket.socket,), {})
        elif request.param == "slots":
            cls = type("Telling", (socket.socket,), {"__slots__": (), **methods})
        else:
            cls = type("Telling", (socket.socket,), methods)
        made = cls(fileno=sock.detach())
        made.setblocking(False)
        if request.param == "object":
            for name, method in methods.items():
                setattr(made, name, method.__get__(made))
        return made

    return own


async def give(step, waits, task):
    """Make a socket ready before the operation begins, or when it waits."""
    if waits:
        task = asyncio.ensure_future(task())
        await turns()
        assert not task.done()
        step()
        return await task
    step()
    return await task()


@pytest.fixture(params=[False, True], ids=["ready", "waits"])
def waits(request):
    return request.param


class TestSockCalls:
    @pytest.mark.parametrize(
        ("method", "args", "result"),
        [
            ("recv", lambda: (9,), b"data"),
            ("recv_into", lambda: (bytearray(9),), 4),
            ("recvfrom", lambda: (9,), (b"data", None)),
            ("recvfrom_into", lambda: (bytearray(9),), (4, None)),
        ],
    )
    def test_receiving(self, loop, run, own, calls, waits, method, args, result):
        async def main():
            a, b = socket.socketpair()
            with b:
                a.setblocking(False)
                with own(a) as sock:
                    receive = getattr(loop, f"sock_{method}")
                    got = await give(
                        lambda: b.sendall(b"data"), waits, lambda: receive(sock, *args())
                    )
                    assert got == result
                    assert method in calls

        run(main())

    def test_sendall(self, loop, run, own, calls):
        async def main():
            a, b = socket.socketpair()
            with b:
                a.setblocking(False)
                with own(a) as sock:
                    await loop.sock_sendall(sock, b"data")
                    assert b.recv(9) == b"data"
                    assert "send" in calls

        run(main())

    def test_sendall_of_much(self, loop, run, subclass, calls):
        async def main():
            a, b = socket.socketpair()
            with b, subclass(fileno=a.detach()) as sock:
                sock.setblocking(False)
                b.setblocking(False)
                sending = loop.create_task(loop.sock_sendall(sock, bytes(1 << 20)))
                count = 0
                while count < 1 << 20:
                    count += len(await loop.sock_recv(b, 1 << 18))
                await sending
                assert calls.count("send") > 1

        run(main())

    def test_sendto(self, loop, run, own, calls):
        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
                b.bind(("127.0.0.1", 0))
                a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                a.setblocking(False)
                with own(a) as sock:
                    assert await loop.sock_sendto(sock, b"data", b.getsockname()) == 4
                    assert b.recv(9) == b"data"
                    assert "sendto" in calls

        run(main())

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_connect(self, loop, run, own, calls, host):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as server:
                a = socket.socket()
                a.setblocking(False)
                with own(a) as sock:
                    await loop.sock_connect(sock, (host, server.getsockname()[1]))
                    assert sock.getpeername() == server.getsockname()
                    assert "connect" in calls
            await loop.shutdown_default_executor()

        run(main())

    def test_connect_of_the_plain_class(self, loop, run, monkeypatch, calls):
        """connect_ex() is never called, as it is not on stock asyncio."""
        monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: calls.append("connect_ex"))

        async def main():
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, server.getsockname())
                _, protocol = await loop.create_connection(Record, *server.getsockname())
                await end(protocol.transport, protocol)
                await turns()
            assert not calls

        run(main())

    def test_accept(self, loop, run, own, calls, waits):
        async def main():
            server = socket.create_server(("127.0.0.1", 0))
            address = server.getsockname()
            server.setblocking(False)
            with own(server) as sock:
                clients = []
                conn, peer = await give(
                    lambda: clients.append(socket.create_connection(address)),
                    waits,
                    lambda: loop.sock_accept(sock),
                )
                assert "accept" in calls
                assert conn.gettimeout() == 0
                assert peer == clients[0].getsockname()
                conn.close()
                clients[0].close()

        run(main())

    def test_accept_makes_the_class_that_is_there(self, loop, run, monkeypatch, subclass):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.setblocking(False)
                with socket.create_connection(server.getsockname()):
                    monkeypatch.setattr(socket, "socket", subclass)
                    conn, _ = await loop.sock_accept(server)
                    monkeypatch.undo()
                    assert type(conn) is subclass
                    conn.close()

        run(main())

    def test_errors_of_connect(self, loop, run):
        async def main():
            with socket.socket() as sock:
                sock.setblocking(False)
                with pytest.raises(OverflowError, match=r"^connect\(\): port must be 0-65535"):
                    await loop.sock_connect(sock, ("127.0.0.1", 1 << 20))

        run(main())

    def test_object_without_methods(self, loop, run):
        class Number:
            def fileno(self):
                return 0

        for call in (loop.sock_recv, loop.sock_recv_into, loop.sock_sendall):
            with pytest.raises(AttributeError):
                run(call(Number(), b"x"))

    def test_blocking_socket_in_debug_mode(self, loop, run):
        loop.set_debug(True)
        a, b = socket.socketpair()
        with a, b:
            with pytest.raises(ValueError, match="must be non-blocking"):
                run(loop.sock_recv(a, 1))

    def test_tls_socket(self, loop, run):
        context = ssl.create_default_context()
        with context.wrap_socket(socket.socket(), server_hostname="x") as sock:
            for coro in (loop.sock_recv(sock, 1), loop.sock_accept(sock)):
                with pytest.raises(TypeError, match="SSLSocket"):
                    run(coro)


@pytest.fixture(params=["in place", "replaced"])
def instead(request, calls, subclass, patch_class, monkeypatch):
    """What sockets are from when it is called: those of a program's own methods."""

    def instead():
        if request.param == "in place":
            patch_class()
        else:
            monkeypatch.setattr(socket, "socket", subclass)

    yield instead
    monkeypatch.undo()


class Echo(Record):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


class Serving:
    """A server whose sockets are plain, unless made later; its protocols."""

    def __init__(self, factory=Echo):
        self.factory = factory
        self.protocols = []

    def make(self):
        self.protocols.append(self.factory())
        return self.protocols[-1]

    async def start(self, *args, **kwargs):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.make, "127.0.0.1", 0, *args, **kwargs)
        return self.server.sockets[0].getsockname()

    async def stop(self):
        self.server.close()
        for p in self.protocols:
            if p.transport is not None:
                await end(p.transport, p)
        await self.server.wait_closed()
        await turns()


class TestClients:
    @pytest.mark.parametrize("how", ["literal", "name", "family", "local_addr", "sock"])
    @pytest.mark.parametrize("factory", [Record, BufferedRecord])
    def test_connection(self, loop, run, instead, calls, how, factory):
        async def main():
            serving = Serving()
            address = await serving.start()
            instead()
            calls.clear()
            if how == "sock":
                sock = socket.socket()
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                made = loop.create_connection(factory, sock=sock)
            elif how == "name":
                made = loop.create_connection(factory, "localhost", address[1])
            elif how == "family":
                made = loop.create_connection(factory, *address, family=socket.AF_INET)
            elif how == "local_addr":
                made = loop.create_connection(factory, *address, local_addr=("127.0.0.1", 0))
            else:
                made = loop.create_connection(factory, *address)
            transport, protocol = await made
            assert "connect" in calls
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            assert "send" in calls
            assert ("recv_into" if factory is BufferedRecord else "recv") in calls
            await end(transport, protocol)
            await serving.stop()
            await loop.shutdown_default_executor()

        run(main())

    def test_guard(self, loop, run, instead, calls, monkeypatch, tmp_path):
        """What forbids connections is asked for each kind of them."""

        class Forbidden(Exception):
            pass

        def connect(self, address):
            raise Forbidden(address)

        async def main():
            instead()
            monkeypatch.setattr(socket.socket, "connect", connect)
            with socket.socket() as sock:
                sock.setblocking(False)
                for attempt in (
                    lambda: loop.create_connection(Record, "127.0.0.1", 9),
                    lambda: loop.create_connection(Record, "127.0.0.1", 9, ssl=True),
                    lambda: loop.create_connection(Record, "localhost", 9, family=socket.AF_INET),
                    lambda: loop.create_unix_connection(Record, str(tmp_path / "nosuch")),
                    lambda: loop.create_datagram_endpoint(
                        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 9)
                    ),
                    lambda: loop.sock_connect(sock, ("127.0.0.1", 9)),
                ):
                    with pytest.raises(Forbidden):
                        await attempt()
            await loop.shutdown_default_executor()

        run(main())
        gc.collect()

    @pytest.mark.tls
    @pytest.mark.parametrize("upgrade", [False, True], ids=["ssl", "start_tls"])
    def test_tls(self, loop, run, instead, calls, upgrade):
        async def main():
            instead()

            async def serve(reader, writer):
                if upgrade:
                    writer.write(b"now")
                    await writer.start_tls(server_context())
                writer.write(await reader.readexactly(5))
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(
                serve, "127.0.0.1", 0, ssl=None if upgrade else server_context()
            )
            address = server.sockets[0].getsockname()
            calls.clear()
            reader, writer = await asyncio.open_connection(
                *address,
                ssl=None if upgrade else client_context(),
                server_hostname=None if upgrade else "localhost",
            )
            if upgrade:
                assert await reader.readexactly(3) == b"now"
                await writer.start_tls(client_context(), server_hostname="localhost")
            writer.write(b"hello")
            assert await reader.read() == b"hello"
            assert {"connect", "accept", "send", "recv_into"} <= set(calls)
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns()

        if upgrade and sys.version_info < (3, 12):
            pytest.skip("StreamWriter.start_tls() on servers works from Python 3.12 on")
        run(main())

    @pytest.mark.parametrize("fallback", [True, False])
    def test_sendfile(self, loop, run, instead, tmp_path, fallback):
        path = tmp_path / "file"
        path.write_bytes(b"0123456789" * 20_000)

        async def main():
            serving = Serving(Record)
            address = await serving.start()
            instead()
            transport, protocol = await loop.create_connection(Record, *address)
            with path.open("rb") as file:
                assert await loop.sendfile(transport, file, fallback=fallback) == 200_000
            transport.write(b"end")
            await until(lambda: serving.protocols and len(serving.protocols[0].data) == 200_003)
            await end(transport, protocol)
            await serving.stop()

        run(main())

    def test_descriptor_is_a_transports(self, loop, run, instead):
        async def main():
            serving = Serving()
            address = await serving.start()
            instead()
            transport, protocol = await loop.create_connection(Record, *address)
            fd = transport.get_extra_info("socket").fileno()
            for use in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    use(fd, print)
            for use in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    use(fd)
            await end(transport, protocol)
            await turns()
            assert loop.remove_reader(fd) is False
            await serving.stop()

        run(main())

    def test_paused_resumed_closed(self, loop, run, instead):
        async def main():
            serving = Serving()
            address = await serving.start()
            instead()
            transport, protocol = await loop.create_connection(Record, *address)
            protocol.keep_open = True
            assert "fd=" in repr(transport)
            transport.pause_reading()
            transport.write(b"x" * 100_000)
            await turns(20)
            assert not protocol.data
            transport.resume_reading()
            assert len(await protocol.received(100_000)) == 100_000
            transport.write_eof()
            await protocol.happened("eof")
            transport.close()
            assert "closing" in repr(transport)
            assert await protocol.lost is None
            await turns()
            assert "closed" in repr(transport)
            await serving.stop()

        run(main())

    def test_left_open(self, loop, run, instead):
        async def main():
            serving = Serving()
            address = await serving.start()
            instead()
            transport, protocol = await loop.create_connection(Record, *address)
            transport.pause_reading()  # or the loop keeps it
            protocol.transport = protocol = None
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                del transport
                gc.collect()
            assert any("unclosed transport" in str(w.message) for w in told)
            await serving.stop()

        run(main())


class TestServers:
    def test_accept(self, loop, run, instead, calls):
        async def main():
            instead()
            serving = Serving()
            address = await serving.start()
            calls.clear()
            _, protocol = await loop.create_connection(Record, *address)
            protocol.transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            assert "accept" in calls
            await end(protocol.transport, protocol)
            await serving.stop()

        run(main())

    def test_replaced_while_it_serves(self, loop, run, instead, calls):
        async def main():
            serving = Serving()
            address = await serving.start()
            with socket.create_connection(address) as first:
                await until(lambda: serving.protocols)
                first.setblocking(False)
                await loop.sock_sendall(first, b"hello")
                assert await loop.sock_recv(first, 5) == b"hello"
            instead()
            calls.clear()
            with socket.create_connection(address) as second:
                await until(lambda: len(serving.protocols) == 2 and serving.protocols[1].transport)
                second.setblocking(False)
                calls.clear()
                await loop.sock_sendall(second, b"hello")
                await until(lambda: serving.protocols[1].data)
                assert calls.count("send") == 2  # the server's answer is one
            await serving.stop()

        run(main())

    def test_socket_of_a_class(self, loop, run, subclass, calls):
        async def main():
            sock = subclass()
            sock.bind(("127.0.0.1", 0))
            server = await loop.create_server(Echo, sock=sock)
            with socket.create_connection(sock.getsockname()) as client:
                client.setblocking(False)
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(client, 5) == b"hello"
            assert "accept" in calls
            await turns(20)
            server.close()
            await server.wait_closed()
            await turns()

        run(main())

    def test_unix(self, loop, run, instead, calls, tmp_path):
        async def main():
            instead()
            path = str(tmp_path / "socket")
            server = await loop.create_unix_server(Echo, path)
            transport, protocol = await loop.create_unix_connection(Record, path)
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            assert {"accept", "connect", "send", "recv"} <= set(calls)
            await end(transport, protocol)
            await turns(20)
            server.close()
            await server.wait_closed()
            await turns()

        run(main())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        if not self.got.done():
            self.got.set_result((data, address))

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class TestDatagrams:
    @pytest.mark.parametrize("connected", [True, False])
    def test_endpoint(self, loop, run, instead, calls, connected):
        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind(("127.0.0.1", 0))
                peer.settimeout(9)
                address = peer.getsockname()
                instead()
                where = {"remote_addr": address} if connected else {"local_addr": ("127.0.0.1", 0)}
                transport, protocol = await loop.create_datagram_endpoint(Datagrams, **where)
                assert ("connect" in calls) == connected
                transport.sendto(b"hello", None if connected else address)
                assert ("send" if connected else "sendto") in calls
                data, sender = peer.recvfrom(9)
                assert data == b"hello"
                calls.clear()
                peer.sendto(b"there", sender)
                assert await protocol.got == (b"there", address)
                assert "recvfrom" in calls
                assert "fd=" in repr(transport)
                transport.close()
                await protocol.lost
                await turns()

        run(main())


def python(code):
    """Run code by itself, as nothing is to be imported before it."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BEFORE = """
import asyncio, socket
real, calls = socket.socket, []
CHANGE
import moodloop

async def main():
    async def serve(reader, writer):
        writer.write(b"hello")
        writer.close()
    REPAIR_FIRST
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for host in ("127.0.0.1", "localhost"):
        calls.clear()
        reader, writer = await asyncio.open_connection(host, address[1], family=socket.AF_INET)
        assert await reader.read() == b"hello"
        writer.close()
        print(host, bool(calls))
    calls.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", address[1])
    assert writer.get_extra_info("socket").type == socket.SOCK_STREAM
    assert await reader.read() == b"hello"
    writer.close()
    print(bool(calls))
    server.close()

with asyncio.Runner(loop_factory=moodloop.new_event_loop) as runner:
    runner.run(asyncio.wait_for(main(), 20))
"""

SUBCLASS = """
class Own(socket.socket):
    def connect(self, address):
        calls.append(address)
        return super().connect(address)
socket.socket = Own
"""
IN_PLACE = """
def connect(self, address, connect=socket.socket.connect):
    calls.append(address)
    return connect(self, address)
socket.socket.connect = connect
"""
GUARD = """
class Guard(socket.socket):
    def __new__(cls, *args, **kwargs):
        raise RuntimeError("no sockets here")
socket.socket = Guard
"""
NO_SOCKET = """
class Mock:
    def __init__(self, *args, **kwargs):
        raise RuntimeError("no sockets here")
socket.socket = Mock
"""


@pytest.mark.moodloop_only
class TestBeforeTheImport:
    @pytest.mark.parametrize("change", [SUBCLASS, IN_PLACE])
    def test_is_called(self, loop_name, change):
        code = BEFORE.replace("CHANGE", change).replace("REPAIR_FIRST", "")
        assert python(code) == "127.0.0.1 True\nlocalhost True\nTrue\n"

    @pytest.mark.parametrize("change", [SUBCLASS, IN_PLACE, GUARD, NO_SOCKET])
    def test_is_forgotten_when_it_ends(self, loop_name, change):
        repair = "del real.connect" if change is IN_PLACE else "socket.socket = real"
        code = BEFORE.replace("CHANGE", change).replace("REPAIR_FIRST", repair)
        # The loop is made while it lasts: it needs no socket.
        assert python(code) == "127.0.0.1 False\nlocalhost False\nFalse\n"

    def test_steps_of_asyncio(self, loop_name):
        out = python(
            """
import asyncio, socket
calls = []
async def connect_sock(*args, original=asyncio.BaseEventLoop._connect_sock, **kwargs):
    calls.append("step")
    return await original(*args, **kwargs)
asyncio.BaseEventLoop._connect_sock = connect_sock
import moodloop
async def main():
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, writer = await asyncio.open_connection(*server.getsockname())
        writer.close()
    print(calls)
with asyncio.Runner(loop_factory=moodloop.new_event_loop) as runner:
    runner.run(main())
"""
        )
        assert out == "['step']\n"


@pytest.mark.moodloop_only
class TestWhatIsPlain:
    """When the core may pass over the object, and that it looks again at every change."""

    @pytest.mark.parametrize(
        "name",
        [
            *METHODS,
            *("fileno", "shutdown", "close", "getsockopt", "setsockopt", "setblocking"),
            *("getsockname", "getpeername", "__init__", "__new__", "__getattribute__"),
            *("__getattr__", "_accept", "_real_close"),
        ],
    )
    def test_methods(self, loop, monkeypatch, name):
        with socket.socket() as sock:
            for _ in range(3):
                assert loop._is_plain(sock)
                original = getattr(socket.socket, name, None)
                monkeypatch.setattr(
                    socket.socket, name, functools.partialmethod(original or print), raising=False
                )
                assert not loop._is_plain(sock)
                monkeypatch.undo()
            assert loop._is_plain(sock)

    def test_classes(self, loop, subclass):
        with subclass() as sock:
            assert not loop._is_plain(sock)
        assert not loop._is_plain(None)
        assert not loop._is_plain(socket.socket)
