"""create_connection() to an address: what is as on stock asyncio, however few steps it takes."""

import asyncio
import contextvars
import gc
import inspect
import os
import resource
import socket

import pytest
from support import hygiene
from support.loops import PY315, run_turns, turns, until
from support.net import Record, end, serving

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=HOSTS, ids=["IPv4", "IPv6"])
def host(request):
    if request.param == socket.AF_INET6:
        request.getfixturevalue("ipv6")
    return HOSTS[request.param]


def refused_address(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as gone:
        return gone.getsockname()


async def done_with(*protocols):
    for p in protocols:
        await end(p.transport, p)
    await turns()


class TestOrder:
    def test_factory_then_made_then_reading_then_result(self, loop, run, host):
        async def main():
            log = []

            class Client(Record):
                def __init__(self):
                    super().__init__()
                    log.append("factory")

                def connection_made(self, transport):
                    super().connection_made(transport)
                    log.append("made")

                def data_received(self, data):
                    super().data_received(data)
                    log.append("data")

            class Greeting(Record):
                def connection_made(self, transport):
                    super().connection_made(transport)
                    transport.write(b"hello")

            async with serving(Greeting, host=host) as (_, protocols, address):
                _, protocol = await loop.create_connection(Client, *address[:2])
                log.append("result")
                assert protocols[0].events[0] == "made"  # the server's end has been told, too
                assert await protocol.received(5) == b"hello"
                assert log[:2] == ["factory", "made"]
                assert sorted(log) == ["data", "factory", "made", "result"]
                await done_with(protocol)

        run(main())

    def test_other_callbacks_run_meanwhile(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                ran = []
                loop.call_soon(ran.append, 1)
                _, protocol = await loop.create_connection(Record, *address)
                assert ran == [1]
                await done_with(protocol)

        run(main())

    def test_factory_runs_in_the_task(self, loop, run):
        async def main():
            var = contextvars.ContextVar("var", default="outside")
            seen = []

            class Client(Record):
                def __init__(self):
                    super().__init__()
                    seen.append((asyncio.current_task(), var.get()))
                    var.set("factory's")

                def connection_made(self, transport):
                    super().connection_made(transport)
                    seen.append(var.get())

                def connection_lost(self, exc):
                    super().connection_lost(exc)
                    seen.append(var.get())

            async def connect(address):
                var.set("task's")
                _, protocol = await loop.create_connection(Client, *address)
                assert var.get() == "factory's"
                await done_with(protocol)

            async with serving() as (_, _, address):
                task = loop.create_task(connect(address))
                await task
                later = "task's" if PY315 else "factory's"  # where the connection has its own
                assert seen == [(task, "task's"), later, later]
                assert var.get() == "outside"

        run(main())

    def test_nothing_happens_before_it_is_awaited(self, loop, run):
        async def main():
            async with serving() as (_, protocols, address):
                coro = loop.create_connection(Record, *address)
                await turns(20)
                assert not protocols
                coro.close()

        run(main())


class TestInfo:
    def test_names_and_socket(self, loop, run, host):
        async def main():
            async with serving(host=host) as (_, protocols, address):
                transport, protocol = await loop.create_connection(Record, *address[:2])
                await until(lambda: protocols)
                assert transport.get_extra_info("peername") == address
                name = transport.get_extra_info("sockname")
                assert name == protocols[0].transport.get_extra_info("peername")
                sock = transport.get_extra_info("socket")
                assert (sock.family, sock.type, sock.proto) == (
                    socket.AF_INET6 if ":" in host else socket.AF_INET,
                    socket.SOCK_STREAM,
                    socket.IPPROTO_TCP,
                )
                assert sock.gettimeout() == 0
                assert not sock.get_inheritable()
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                await done_with(protocol)
                assert transport.get_extra_info("peername") == address
                assert transport.get_extra_info("sockname") == name

        run(main())

    def test_names_first_asked_for_after_the_end(self, loop, run, host):
        async def main():
            async with serving(host=host) as (_, protocols, address):
                transport, protocol = await loop.create_connection(Record, *address[:2])
                await done_with(protocol)
                await until(lambda: protocols)
                served = protocols[0]
                await served.lost
                await turns()
                assert transport.get_extra_info("peername") == address
                assert served.transport.get_extra_info("sockname") == address
                name = transport.get_extra_info("sockname")
                assert name == served.transport.get_extra_info("peername")

        run(main())

    def test_any_address_is_this_host(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                transport, protocol = await loop.create_connection(Record, "0.0.0.0", address[1])
                assert transport.get_extra_info("peername") == address
                await done_with(protocol)

        run(main())

    def test_is_a_coroutine_function(self, loop):
        stock = asyncio.BaseEventLoop.create_connection
        assert inspect.iscoroutinefunction(stock)
        assert asyncio.iscoroutinefunction(loop.create_connection)
        expected = list(inspect.signature(stock).parameters)[1:]
        assert list(inspect.signature(loop.create_connection).parameters) == expected
        coro = loop.create_connection(Record, "127.0.0.1", 1)
        assert inspect.iscoroutine(coro)
        coro.close()


class TestErrors:
    def test_refused(self, loop, run, host):
        address = refused_address(host)
        with pytest.raises(ConnectionRefusedError) as raised:
            run(loop.create_connection(Record, *address[:2]))
        assert str(raised.value) == f"[Errno 111] Connect call failed {address}"
        assert raised.value.args == (111, f"Connect call failed {address}")
        assert raised.value.__cause__ is None

    def test_refused_is_raised_after_a_turn(self, loop, run):
        async def main():
            ran = []
            loop.call_soon(ran.append, 1)
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Record, *refused_address("127.0.0.1"))
            assert ran == [1]

        run(main())

    def test_at_once(self, loop, run):
        """A broadcast address cannot be connected to: connect() itself says so."""
        with pytest.raises(OSError) as raised:
            run(loop.create_connection(Record, "255.255.255.255", 9))
        with socket.socket() as sock, pytest.raises(OSError) as expected:
            sock.connect(("255.255.255.255", 9))
        assert raised.value.args == expected.value.args
        assert type(raised.value) is type(expected.value)

    def test_no_descriptor_is_left(self, loop, run):
        async def main():
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            await asyncio.sleep(0)
            with socket.socket() as sock:
                resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno(), hard))
                try:
                    with pytest.raises(OSError, match="Too many open files"):
                        await loop.create_connection(Record, "127.0.0.1", 9)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        run(main())

    @pytest.mark.parametrize("port", [-1, 65536, 2**70])
    def test_port_out_of_range(self, loop, run, port):
        with pytest.raises(OverflowError):
            run(loop.create_connection(Record, "127.0.0.1", port))

    @pytest.mark.parametrize("options", [{"colour": None}, {"ssl_handshake": None}])
    def test_unknown_keyword(self, loop, options):
        with pytest.raises(TypeError, match=next(iter(options))):
            loop.create_connection(Record, "127.0.0.1", 1, **options)

    def test_keywords_that_are_none(self, loop, run):
        async def main():
            async with serving() as (_, _, (host, port)):
                _, protocol = await loop.create_connection(
                    Record,
                    host=host,
                    port=port,
                    ssl=None,
                    sock=None,
                    local_addr=None,
                    server_hostname=None,
                    ssl_handshake_timeout=None,
                    ssl_shutdown_timeout=None,
                    happy_eyeballs_delay=None,
                    interleave=None,
                )
                await done_with(protocol)

        run(main())

    @pytest.mark.parametrize("host", ["127.0.0.1 ", "127.0.0.1\0", "::1%lo0x", "", b"127.0.0.1"])
    @pytest.mark.parametrize("port", [9, "9", b"9", None])
    def test_other_forms(self, loop, run, host, port):
        """What is not plainly an address and a number ends as it does without a short cut."""
        with pytest.raises((OSError, ValueError)):
            run(loop.create_connection(Record, host, port))
        run(loop.shutdown_default_executor())

    # Before 3.14 asyncio leaves the socket to the collector.
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    def test_factory_that_raises(self, loop, run, error):
        def factory():
            raise error("factory")

        async def connect(address):
            try:
                await loop.create_connection(factory, *address)
            except error as exc:
                return exc

        async def main():
            async with serving() as (_, protocols, address):
                assert str(await connect(address)) == "factory"
                await until(lambda: protocols)
                gc.collect()
                await protocols[0].lost

        run(main())

    def test_closed_loop(self, new_loop):
        loop = new_loop()
        coro = loop.create_connection(Record, "127.0.0.1", 9)
        loop.close()
        with pytest.raises(RuntimeError):
            coro.send(None)
        coro.close()

    @pytest.mark.parametrize("backlog", [100, 0], ids=["answered", "waiting"])
    def test_loop_closed_meanwhile(self, new_loop, backlog):
        loop = new_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
            address = server.getsockname()
            filling = [socket.socket() for _ in range(3)]
            for sock in filling:
                sock.setblocking(False)
                sock.connect_ex(address)
            coro = loop.create_connection(Record, *address)
            assert coro.send(None) is not None
            loop.close()
            coro.close()
            for sock in filling:
                sock.close()

    @pytest.mark.moodloop_only
    def test_descriptor_closed_by_somebody(self, new_loop):
        """Its number is not closed again when it is another file's."""
        loop = new_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            filling = [socket.socket() for _ in range(3)]
            for sock in filling:
                sock.setblocking(False)
                sock.connect_ex(server.getsockname())
            run_turns(loop)
            before = set(hygiene.open_fds())
            coro = loop.create_connection(Record, *server.getsockname())
            coro.send(None)
            (fd,) = set(hygiene.open_fds()) - before
            os.close(fd)
            run_turns(loop, 2)
            loop._verify()
            assert os.dup(server.fileno()) == fd
            coro.close()
            os.close(fd)  # EBADF, if it was closed
            for sock in filling:
                sock.close()


class TestCancelled:
    @pytest.mark.parametrize("backlog", [100, 0], ids=["answered", "waiting"])
    def test_after_each_number_of_turns(self, loop, run, backlog):
        async def main():
            filled = []
            with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
                address = server.getsockname()
                if backlog == 0:
                    for _ in range(3):
                        sock = socket.socket()
                        sock.setblocking(False)
                        sock.connect_ex(address)
                        filled.append(sock)
                outcomes = []
                for count in range(10):
                    task = loop.create_task(loop.create_connection(Record, *address))
                    await turns(count)
                    task.cancel("why")
                    try:
                        _, protocol = await task
                    except asyncio.CancelledError:
                        outcomes.append("cancelled")
                    else:
                        outcomes.append("connected")
                        await done_with(protocol)
                    await turns()
                assert outcomes[:2] == ["cancelled"] * 2
                assert outcomes[-1] == ("connected" if backlog else "cancelled")
            for sock in filled:
                sock.close()
            gc.collect()

        run(main())

    def test_by_the_factory(self, loop, run):
        """Cancelled with the socket connected: the transport is closed, and tells so."""

        async def main():
            made = []

            def factory():
                made.append(Record())
                asyncio.current_task().cancel()
                return made[0]

            async with serving() as (_, _, address):
                with pytest.raises(asyncio.CancelledError):
                    await loop.create_task(loop.create_connection(factory, *address))
                assert await made[0].lost is None
                assert made[0].events == ["made", "lost"]
                await turns()

        run(main())

    def test_closed_when_connected(self, loop, run):
        async def main():
            async with serving() as (_, _, address):

                class Closing(Record):
                    def connection_made(self, transport):
                        super().connection_made(transport)
                        transport.close()

                transport, protocol = await loop.create_connection(Closing, *address)
                assert transport.is_closing()
                assert await protocol.lost is None
                await turns()

        run(main())

    def test_waits_for_a_full_backlog(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
                address = server.getsockname()
                filling = socket.create_connection(address)
                task = loop.create_task(loop.create_connection(Record, *address))
                await turns(20)
                assert not task.done()
                server.accept()[0].close()
                filling.close()
                _, protocol = await task
                await done_with(protocol)

        run(main(), timeout=30)


STEPS = (
    "sock_connect",
    "_connect_sock",
    "_ensure_resolved",
    "_create_connection_transport",
    "_make_socket_transport",
)


class TestSteps:
    """Whoever puts something of its own in place of a step finds it called."""

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("where", ["object", "class", "subclass"])
    def test_replaced(self, loop_factory, new_loop, monkeypatch, step, where):
        calls = []
        plain = new_loop()
        cls = type(plain)
        original = getattr(cls, step)

        def watched(self, *args, **kwargs):
            calls.append(step)
            return original(self, *args, **kwargs)

        if where == "subclass":
            loop = new_loop(type("Sub", (cls,), {step: watched}))
        else:
            loop = plain
            target = cls if where == "class" else loop
            method = watched if where == "class" else watched.__get__(loop)
            monkeypatch.setattr(target, step, method, raising=False)

        async def main():
            async with serving() as (_, protocols, address):
                calls.clear()
                _, protocol = await loop.create_connection(Record, *address)
                connected = list(calls)
                await done_with(protocol)
                await until(lambda: protocols)
                await protocols[0].lost
                return connected

        assert step in loop.run_until_complete(main())
        monkeypatch.undo()

    def test_socket_class(self, loop, run, monkeypatch):
        made = []

        class Watched(socket.socket):
            def __init__(self, *args, **kwargs):
                made.append(self)
                super().__init__(*args, **kwargs)

        async def main():
            async with serving() as (_, _, address):
                monkeypatch.setattr(socket, "socket", Watched)
                _, protocol = await loop.create_connection(Record, *address)
                monkeypatch.undo()
                assert made
                await done_with(protocol)

        run(main())
        made.clear()

    def test_connect_of_sockets(self, loop, run, monkeypatch):
        called = []
        original = socket.socket.connect

        def connect(sock, address):
            called.append(address)
            return original(sock, address)

        async def main():
            async with serving() as (_, _, address):
                monkeypatch.setattr(socket.socket, "connect", connect)
                _, protocol = await loop.create_connection(Record, *address)
                monkeypatch.undo()
                assert called == [address]
                await done_with(protocol)

        run(main())

    def test_forbidden_socket(self, loop, run, monkeypatch):
        class Forbidden(socket.socket):
            def __new__(cls, *args, **kwargs):
                raise RuntimeError("no sockets in this test")

        async def main():
            async with serving() as (_, _, address):
                monkeypatch.setattr(socket, "socket", Forbidden)
                with pytest.raises(RuntimeError, match="no sockets"):
                    await loop.create_connection(Record, *address)
                monkeypatch.undo()

        run(main())


class TestAudit:
    def test_events(self, snippet):
        done = snippet(
            """
            import sys
            async def main():
                loop = asyncio.get_running_loop()
                server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                log = []
                def hook(event, args):
                    if event in ("socket.__new__", "socket.connect") and watching:
                        sock = args[0]
                        assert isinstance(sock, socket.socket)
                        log.append((event, *args[1:]))
                        if event == "socket.connect":
                            log.append((sock.family, sock.type, sock.proto))
                            if forbidden:
                                raise PermissionError("not today")
                watching, forbidden = True, False
                sys.addaudithook(hook)
                transport, _ = await loop.create_connection(asyncio.Protocol, *address)
                assert log[:3] == [
                    ("socket.__new__", socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
                    ("socket.connect", address),
                    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
                ], log
                transport.close()
                forbidden = True
                try:
                    await loop.create_connection(asyncio.Protocol, *address)
                except PermissionError as exc:
                    print(exc)
                watching = False
                await turns()
                server.close()
                await server.wait_closed()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """,
        )
        assert (done.rc, done.out) == (0, "not today\n"), done.err

    @pytest.mark.parametrize("method", ["close", "detach"])
    def test_hook_that_takes_the_socket(self, snippet, method):
        """The number is then somebody else's, and is left alone."""
        done = snippet(
            f"""
            import sys
            async def main():
                loop = asyncio.get_running_loop()
                server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                taken = []
                def hook(event, args):
                    if event == "socket.connect" and not taken:
                        number = args[0].fileno()
                        args[0].{method}()
                        if {method!r} == "close":
                            assert os.open(os.devnull, os.O_RDONLY) == number
                        taken.append(number)
                sys.addaudithook(hook)
                try:
                    await loop.create_connection(asyncio.Protocol, *address)
                except OSError as exc:
                    print(exc.errno == errno.EBADF)
                os.close(taken[0])
                server.close()
                await server.wait_closed()
            import errno
            import os
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """,
        )
        assert (done.rc, done.out) == (0, "True\n"), done.err
