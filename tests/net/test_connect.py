"""create_connection, connect_accepted_socket, open_connection and what goes wrong with them."""

import asyncio
import gc
import os
import socket

import pytest
from support.loops import PY312, turns, until
from support.net import Peer, Record, connected, end, serving, tcp_pair


@pytest.fixture(autouse=True)
def executor(loop, run):
    """Names are looked up in threads: end them with the test."""
    yield
    if not loop.is_closed():
        run(loop.shutdown_default_executor())


async def done_with(*protocols):
    for p in protocols:
        await end(p.transport, p)
    await turns()


def refused_address():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return gone.getsockname()


class TestCreateConnection:
    def test_host_and_port(self, loop, run):
        async def main():
            async with serving() as (_, protocols, address):
                transport, protocol = await loop.create_connection(Record, *address)
                assert isinstance(transport, asyncio.Transport)
                assert protocol.transport is transport
                assert protocol.events == ["made"]
                transport.write(b"hello")
                await until(lambda: protocols)
                assert await protocols[0].received(5) == b"hello"
                await done_with(protocol)

        run(main())

    def test_name(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                _, protocol = await loop.create_connection(Record, "localhost", address[1])
                await done_with(protocol)

        run(main())

    def test_getaddrinfo_goes_through_the_loop(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                asked = []

                async def getaddrinfo(host, port, **kwargs):
                    asked.append((host, port))
                    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

                loop.getaddrinfo = getaddrinfo
                _, protocol = await loop.create_connection(Record, "name.invalid", 80)
                del loop.getaddrinfo
                assert asked == [("name.invalid", 80)]
                await done_with(protocol)

        run(main())

    def test_connected_socket(self, run):
        async def main():
            async with connected() as (transport, _protocol, peer):
                transport.write(b"hello")
                assert await peer.recv_exactly(5) == b"hello"

        run(main())

    def test_socket_becomes_non_blocking(self, loop, run):
        async def main():
            a, b = tcp_pair()
            with b:
                a.setblocking(True)
                _, protocol = await loop.create_connection(Record, sock=a)
                assert not os.get_blocking(protocol.transport.get_extra_info("socket").fileno())
                await done_with(protocol)

        run(main())

    def test_local_address(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                transport, protocol = await loop.create_connection(
                    Record, *address, local_addr=("127.0.0.1", 0)
                )
                assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
                await done_with(protocol)

        run(main())

    def test_local_address_that_cannot_be_bound(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                with pytest.raises(OSError, match="error while attempting to bind"):
                    await loop.create_connection(Record, *address, local_addr=("192.0.2.1", 0))

        run(main())

    def test_ipv6(self, loop, run, ipv6):
        async def main():
            async with serving(host=ipv6) as (_, _, address):
                transport, protocol = await loop.create_connection(Record, *address[:2])
                assert len(transport.get_extra_info("peername")) == 4
                assert transport.get_extra_info("peername")[:2] == address[:2]
                await done_with(protocol)

        run(main())

    def test_happy_eyeballs(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                transport, protocol = await loop.create_connection(
                    Record, "localhost", address[1], happy_eyeballs_delay=0.01, interleave=1
                )
                assert transport.get_extra_info("peername") == address
                await done_with(protocol)

        run(main())

    def test_nodelay(self, run):
        async def main():
            async with connected() as (transport, _, _):
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        run(main())

    def test_second_address_is_tried(self, loop, run):
        async def main():
            async with serving() as (_, _, address):

                async def getaddrinfo(host, port, **kwargs):
                    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                    return [(*kind, refused_address()), (*kind, address)]

                loop.getaddrinfo = getaddrinfo
                transport, protocol = await loop.create_connection(Record, "x.invalid", 1)
                del loop.getaddrinfo
                assert transport.get_extra_info("peername") == address
                await done_with(protocol)

        run(main())


class TestErrors:
    def test_refused(self, loop, run):
        with pytest.raises(ConnectionRefusedError):
            run(loop.create_connection(Record, *refused_address()))

    def test_all_refused(self, loop, run):
        addresses = [refused_address(), refused_address()]

        async def getaddrinfo(host, port, **kwargs):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in addresses]

        loop.getaddrinfo = getaddrinfo
        with pytest.raises(OSError, match=r"Multiple exceptions|refused"):
            run(loop.create_connection(Record, "x.invalid", 1))
        if PY312:
            with pytest.raises(ExceptionGroup) as raised:
                run(loop.create_connection(Record, "x.invalid", 1, all_errors=True))
            assert len(raised.value.exceptions) == 2
        del loop.getaddrinfo

    def test_nothing_found(self, loop, run):
        async def getaddrinfo(host, port, **kwargs):
            return []

        loop.getaddrinfo = getaddrinfo
        with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
            run(loop.create_connection(Record, "x.invalid", 1))
        del loop.getaddrinfo

    def test_nothing_given(self, loop, run):
        with pytest.raises(ValueError, match="host and port was not specified and no sock"):
            run(loop.create_connection(Record))

    def test_host_and_socket(self, loop, run):
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="host/port and sock can not be specified"):
                run(loop.create_connection(Record, "127.0.0.1", 1, sock=sock))

    def test_datagram_socket(self, loop, run):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                run(loop.create_connection(Record, sock=sock))

    def test_server_hostname_without_tls(self, loop, run):
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            run(loop.create_connection(Record, "127.0.0.1", 1, server_hostname="x"))

    def test_unknown_keyword(self, loop, run):
        with pytest.raises(TypeError, match="colour"):
            loop.create_connection(Record, "127.0.0.1", 1, colour="red")

    @pytest.mark.parametrize("port", [-1, 65536, 2**40, "no such service"])
    def test_bad_port(self, loop, run, port):
        with pytest.raises((OSError, OverflowError, ValueError)):
            run(loop.create_connection(Record, "127.0.0.1", port))

    @pytest.mark.parametrize("host", ["a\0b", "x" * 300, "256.256.256.256.invalid", "[::1"])
    def test_bad_host(self, loop, run, host):
        with pytest.raises((OSError, ValueError)):
            run(loop.create_connection(Record, host, 80))

    # Stock asyncio leaves the socket to the collector here.
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_factory_that_raises(self, loop, run):
        def factory():
            raise ZeroDivisionError("factory")

        async def main():
            async with serving() as (_, protocols, address):
                with pytest.raises(ZeroDivisionError, match="factory"):
                    await loop.create_connection(factory, *address)
                # The socket is closed: the server sees the end.
                await until(lambda: protocols)
                await protocols[0].lost
                gc.collect()

        run(main())

    def test_factory_that_is_not_callable(self, loop, run):
        a, b = tcp_pair()
        with a, b:
            with pytest.raises(TypeError):
                run(loop.create_connection(42, sock=a))

    def test_factory_that_returns_nonsense(self, snippet):
        done = snippet(
            """
            def report(loop, context):
                pass
            async def main():
                loop = asyncio.get_running_loop()
                loop.set_exception_handler(report)
                for thing in (None, 42, "x", object(), asyncio.BaseProtocol(), type):
                    a, b = socket.socketpair()
                    a.setblocking(False)
                    try:
                        transport, _ = await loop.create_connection(lambda: thing, sock=a)
                    except Exception:
                        a.close()
                    else:
                        b.send(b"data")
                        await turns()
                        b.close()
                        await turns()
                        transport.abort()
                        await turns()
                    b.close()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            print("alive")
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err

    def test_same_socket_twice(self, snippet):
        done = snippet(
            """
            async def main():
                loop = asyncio.get_running_loop()
                a, b = socket.socketpair()
                a.setblocking(False)
                one, _ = await loop.create_connection(asyncio.Protocol, sock=a)
                try:
                    two, _ = await loop.create_connection(asyncio.Protocol, sock=a)
                except Exception:
                    two = None
                try:
                    b.send(b"x")
                except BrokenPipeError:
                    pass  # the refusal may have closed the socket
                await turns()
                one.abort()
                if two is not None:
                    two.abort()
                await turns()
                b.close()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            print("alive")
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err


class TestCancelled:
    def test_while_connecting(self, loop, run):
        """A connect that is cancelled closes its descriptor, once."""

        async def main():
            with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
                address = server.getsockname()
                tasks = []
                for _ in range(6):
                    tasks.append(loop.create_task(loop.create_connection(Record, *address)))
                await asyncio.sleep(0.02)
                for t in tasks:
                    t.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                for r in results:
                    if not isinstance(r, BaseException):
                        await done_with(r[1])
                assert any(isinstance(r, asyncio.CancelledError) for r in results)
            gc.collect()

        run(main())

    def test_again_and_again_beside_others(self, loop, run):
        """The number of a closed descriptor goes to another connection: that one is not harmed."""

        async def main():
            async with serving() as (_, protocols, address):
                for i in range(40):
                    doomed = loop.create_task(loop.create_connection(Record, *address))
                    await turns(i % 5)
                    doomed.cancel()
                    transport, protocol = await loop.create_connection(Record, *address)
                    try:
                        _, other = await doomed
                    except asyncio.CancelledError:
                        pass
                    else:
                        await done_with(other)
                    name = transport.get_extra_info("sockname")
                    await until(lambda name=name: self.find(protocols, name))
                    served = self.find(protocols, name)
                    served.transport.write(b"for you %d" % i)
                    expected = b"for you %d" % i
                    assert await protocol.received(len(expected)) == expected
                    await done_with(protocol)

        run(main())

    @staticmethod
    def find(protocols, name):
        for p in protocols:
            if p.transport is not None and p.transport.get_extra_info("peername") == name:
                return p
        return None

    def test_with_a_socket_given(self, loop, run):
        async def main():
            a, b = tcp_pair()
            with a, b:
                a.setblocking(False)
                task = loop.create_task(loop.create_connection(Record, sock=a))
                await asyncio.sleep(0)
                task.cancel()
                result = (await asyncio.gather(task, return_exceptions=True))[0]
                if not isinstance(result, BaseException):
                    await done_with(result[1])
                await turns()

        run(main())

    def test_wait_for_that_expires(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
                address = server.getsockname()
                kept = []
                with pytest.raises(TimeoutError):
                    while True:
                        connect = loop.create_connection(Record, *address)
                        kept.append((await asyncio.wait_for(connect, 0.02))[1])
                await done_with(*kept)

        run(main())


class TestAcceptedSocket:
    def test_works(self, loop, run):
        async def main():
            a, b = tcp_pair()
            peer = Peer(b)
            transport, protocol = await loop.connect_accepted_socket(Record, a)
            transport.write(b"hello")
            assert await peer.recv_exactly(5) == b"hello"
            await done_with(protocol)
            peer.close()

        run(main())

    def test_datagram_socket(self, loop, run):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                run(loop.connect_accepted_socket(Record, sock))

    def test_accepted_by_hand(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.setblocking(False)
                client = socket.create_connection(server.getsockname())
                conn, _ = await loop.sock_accept(server)
                _, protocol = await loop.connect_accepted_socket(Record, conn)
                client.sendall(b"x")
                assert await protocol.received(1) == b"x"
                client.close()
                await protocol.lost
                await turns()

        run(main())
