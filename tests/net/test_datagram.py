"""Datagram endpoints: UDP over IPv4 and IPv6, and Unix datagram sockets."""

import asyncio
import contextvars
import errno
import gc
import os
import socket
import struct
import sys

import pytest
from support.loops import PY312, PY313, drive, run_guarded, turns, until
from support.net import DatagramRecord, endpoint

LOCAL = ("127.0.0.1", 0)


def udp_socket(address=LOCAL, **options):
    sock = socket.socket(
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM
    )
    sock.setblocking(False)
    sock.bind(address)
    return sock


def unix_socket(path=None):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if path:
        sock.bind(str(path))
    return sock


def full_socket(tmp_path):
    """A Unix datagram socket connected to one that takes few datagrams, and that one.

    UDP on the loopback drops what does not fit; a Unix socket makes the sender wait.
    """
    reader = unix_socket(tmp_path / "reader")
    sender = unix_socket()
    sender.connect(str(tmp_path / "reader"))
    return sender, reader


def link_local_address():
    """A host and the index of its interface, or None."""
    try:
        with open("/proc/net/if_inet6") as table:
            lines = [line.split() for line in table]
    except OSError:
        return None
    for host, index, _, scope, _, _ in lines:
        if scope == "20":
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(host)), int(index, 16)
    return None


def jam(transport, size=1000):
    """Send until one datagram had to be queued; how many were sent at once, and the one queued."""
    for i in range(10000):
        transport.sendto(b"%05d" % i + bytes(size - 5))
        if transport.get_write_buffer_size():
            return i
    raise AssertionError("the socket never was full")


async def drained(reader, protocol, count):
    """Read that many datagrams from a plain socket while the loop goes on."""
    loop = asyncio.get_running_loop()
    return [await loop.sock_recv(reader, 1 << 18) for _ in range(count)]


def forgets_headers():
    """Stock asyncio 3.13 adds the header of a queued datagram and never takes it off again."""
    stock = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    return stock and sys.version_info[:2] == (3, 13)


class TestEcho:
    def test_unconnected_and_connected(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                address = server.get_extra_info("sockname")
                async with endpoint(remote_addr=address) as (client, c):
                    client.sendto(b"one")
                    client.sendto(bytearray(b"two"), address)
                    client.sendto(memoryview(b"three"), None)
                    await s.until(lambda: len(s.got) == 3)
                    assert [d for d, _ in s.got] == [b"one", b"two", b"three"]
                    peer = client.get_extra_info("sockname")
                    assert {a for _, a in s.got} == {peer}
                    server.sendto(b"back", s.got[0][1])
                    server.sendto(data=b"again", addr=peer)
                    assert await c.datagrams(2) == [b"back", b"again"]
                    assert client.get_extra_info("peername") == address
                    assert server.get_extra_info("peername") is None

        run(main())

    def test_ipv6(self, run, ipv6):
        async def main():
            async with endpoint(local_addr=(ipv6, 0)) as (server, s):
                address = server.get_extra_info("sockname")
                assert address[0] == ipv6 and len(address) == 4
                async with endpoint(local_addr=(ipv6, 0)) as (client, c):
                    for to in (address, address[:3], address[:2]):
                        client.sendto(b"x", to)
                    assert await s.datagrams(3) == [b"x"] * 3
                    client.sendto(b"y", address)
                    await s.until(lambda: s.got)
                    sender = s.got[0][1]
                    assert sender == client.get_extra_info("sockname")
                    server.sendto(b"back", sender)
                    assert await c.datagrams(1) == [b"back"]

        run(main())

    def test_scope_of_a_link_local_address(self, run):
        found = link_local_address()
        if found is None:
            pytest.skip("this machine has no link-local address")
        host, index = found

        async def main():
            reader = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            reader.setblocking(False)
            reader.bind((host, 0, 0, index))
            async with endpoint(sock=reader) as (server, s):
                address = server.get_extra_info("sockname")
                assert address == reader.getsockname()
                async with endpoint(family=socket.AF_INET6) as (client, c):
                    client.sendto(b"x", address)
                    await s.until(lambda: s.got)
                    sender = s.got[0][1]
                    assert sender[0] == host and sender[3] == index
                    server.sendto(b"back", sender)
                    assert await c.datagrams(1) == [b"back"]

        run(main())

    def test_many_senders(self, run):
        async def main():
            socks = [udp_socket() for _ in range(200)]
            try:
                async with endpoint(local_addr=LOCAL) as (server, s):
                    address = server.get_extra_info("sockname")
                    for _ in range(2):
                        for sock in socks:
                            sock.sendto(str(sock.getsockname()[1]).encode(), address)
                            await s.until(lambda: s.got)
                            data, sender = s.got.pop()
                            assert sender == sock.getsockname()
                            assert int(data) == sender[1]
            finally:
                for sock in socks:
                    sock.close()

        run(main())

    def test_largest(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, c):
                    data = os.urandom(65507)
                    client.sendto(data)
                    assert await s.datagrams(1) == [data]
                    client.sendto(data + b"x")
                    assert [e.errno for e in c.errors] == [errno.EMSGSIZE]
                    assert not client.is_closing()

        run(main())

    def test_largest_unix(self, run, tmp_path):
        async def main():
            async with endpoint(sock=unix_socket(tmp_path / "s")) as (_, s):
                sock = unix_socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                data = os.urandom(150_000)
                async with endpoint(sock=sock) as (client, _):
                    client.sendto(data, str(tmp_path / "s"))
                    assert await s.datagrams(1) == [data]

        run(main())

    def test_empty(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, _):
                    client.sendto(b"")
                    client.sendto(bytearray())
                    client.sendto(b"end")
                    sent = [b"", b"", b"end"] if PY313 else [b"end"]
                    assert await s.datagrams(len(sent)) == sent

        run(main())

    def test_host_name(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                port = server.get_extra_info("sockname")[1]
                async with endpoint(family=socket.AF_INET) as (client, c):
                    client.sendto(b"x", ("localhost", port))
                    assert await s.datagrams(1) == [b"x"]
                    client.sendto(b"x", ("no-such-host.invalid", port))
                    assert isinstance(c.errors[0], socket.gaierror)

        run(main())

    def test_burst(self, run):
        """More than one readiness brings, in order."""

        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                sock = udp_socket()
                sock.connect(server.get_extra_info("sockname"))
                for round in range(5):
                    sent = [b"%d %d" % (round, i) for i in range(100)]
                    for data in sent:
                        sock.send(data)
                    assert await s.datagrams(100) == sent
                sock.close()

        run(main())

    @pytest.mark.moodloop_only  # stock takes one datagram a turn
    def test_burst_leaves_room_for_others(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            async with endpoint(local_addr=LOCAL) as (server, s):
                sock = udp_socket()
                sock.connect(server.get_extra_info("sockname"))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                most, count = 0, 0

                def tick():
                    nonlocal most, count
                    most, count = max(most, len(s.got) - count), len(s.got)
                    if count < 900:
                        loop.call_soon(tick)

                for i in range(10):
                    for _ in range(100):
                        sock.send(b"x")
                    if i == 0:
                        tick()
                    await s.until(lambda i=i: len(s.got) == 100 * (i + 1))
                assert 1 < most <= 64
                sock.close()

        run(main())


class TestUnix:
    def test_by_path_and_by_abstract_name(self, run, tmp_path):
        name = f"\0moodloop-test-{os.getpid()}"

        async def main():
            path = str(tmp_path / "s")
            async with (
                endpoint(local_addr=path, family=socket.AF_UNIX) as (server, s),
                endpoint(local_addr=name, family=socket.AF_UNIX) as (_, other),
            ):
                assert server.get_extra_info("sockname") == path
                async with endpoint(sock=unix_socket(tmp_path / "c")) as (client, c):
                    client.sendto(b"one", path)
                    client.sendto(b"two", path.encode())
                    client.sendto(b"three", name)
                    await s.until(lambda: len(s.got) == 2)
                    assert s.got == [(b"one", str(tmp_path / "c")), (b"two", str(tmp_path / "c"))]
                    assert await other.datagrams(1) == [b"three"]
                    server.sendto(b"back", s.got[0][1])
                    assert await c.datagrams(1) == [b"back"]

        run(main())

    def test_remote_address(self, run, tmp_path):
        async def main():
            path = str(tmp_path / "s")
            async with endpoint(local_addr=path, family=socket.AF_UNIX) as (_, s):
                async with endpoint(remote_addr=path, family=socket.AF_UNIX) as (client, _):
                    client.sendto(b"one")
                    client.sendto(b"two", None)
                    client.sendto(b"three", path)
                    assert client.get_extra_info("peername") == path
                    await s.until(lambda: len(s.got) == 3)
                    assert [a for _, a in s.got] == [None] * 3

        run(main())

    def test_stale_socket_is_replaced(self, run, tmp_path):
        path = str(tmp_path / "s")
        unix_socket(path).close()

        async def main():
            async with endpoint(local_addr=path, family=socket.AF_UNIX) as (_, s):
                async with endpoint(remote_addr=path, family=socket.AF_UNIX) as (client, _):
                    client.sendto(b"x")
                    assert await s.datagrams(1) == [b"x"]

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio closes the transport with a TypeError
    def test_pair_without_names(self, run):
        async def main():
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            async with endpoint(sock=a) as (one, _), endpoint(sock=b) as (_, other):
                one.sendto(b"x")
                assert await other.datagrams(1) == [b"x"]

        run(main())

    def test_no_reader(self, run, tmp_path):
        async def main():
            async with endpoint(sock=unix_socket()) as (client, c):
                client.sendto(b"x", str(tmp_path / "nobody"))
                assert [type(e) for e in c.errors] == [FileNotFoundError]
                assert not client.is_closing()

        run(main())


class TestOptions:
    def test_broadcast(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL, allow_broadcast=True) as (transport, _):
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
            async with endpoint(local_addr=LOCAL) as (server, s):
                address = server.get_extra_info("sockname")
                async with endpoint(remote_addr=address, allow_broadcast=True) as (client, _):
                    assert client.get_extra_info("peername") is None  # not connected
                    client.sendto(b"x")
                    client.sendto(b"y", address)
                    assert await s.datagrams(2) == [b"x", b"y"]
                    with pytest.raises(ValueError, match="Invalid address: must be None or"):
                        client.sendto(b"x", ("127.0.0.1", 1))

        run(main())

    def test_reuse_port(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL, reuse_port=True) as (first, _):
                address = first.get_extra_info("sockname")
                async with endpoint(local_addr=address, reuse_port=True) as (second, _):
                    assert second.get_extra_info("sockname") == address

        run(main())

    @pytest.mark.parametrize(
        ("kwargs", "error"),
        [
            ({}, ValueError),
            ({"local_addr": ("127.0.0.1",)}, TypeError),
            ({"local_addr": "127.0.0.1"}, TypeError),
            ({"family": socket.AF_UNIX, "local_addr": ("127.0.0.1", 0)}, TypeError),
            ({"local_addr": LOCAL, "remote_addr": ("::1", 1)}, ValueError),
            ({"reuse_address": True, "local_addr": LOCAL}, TypeError),
            ({"local_addr": ("192.0.2.1", 1)}, OSError),
        ],
    )
    def test_wrong(self, run, kwargs, error):
        async def main():
            with pytest.raises(error):
                async with endpoint(**kwargs):
                    pass

        run(main())

    def test_stream_socket_is_refused(self, run):
        async def main():
            with socket.socket() as sock, pytest.raises(ValueError, match="was expected, got"):
                async with endpoint(sock=sock):
                    pass

        run(main())

    def test_socket_of_another_transport_is_refused(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, _):
                loop = asyncio.get_running_loop()
                with pytest.raises(RuntimeError, match="is used by transport"):
                    loop.add_reader(transport.get_extra_info("socket").fileno(), print)

        run(main())

    def test_protocol_factory_raises(self, run):
        async def main():
            sock = udp_socket()
            with pytest.raises(ZeroDivisionError):
                async with endpoint(lambda: 1 / 0, sock=sock):
                    pass
            sock.close()

        run(main())

    def test_interface(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, protocol):
                assert isinstance(transport, asyncio.Transport)
                if PY312:
                    assert isinstance(transport, asyncio.DatagramTransport)
                assert transport.get_protocol() is protocol
                assert transport.is_closing() is False
                assert transport.get_write_buffer_limits() == (16384, 65536)
                sock = transport.get_extra_info("socket")
                assert type(sock) is asyncio.trsock.TransportSocket
                assert sock.type == socket.SOCK_DGRAM
                assert transport.get_extra_info("none", 5) == 5
                assert "DatagramTransport" in repr(transport)

        run(main())


class TestErrors:
    def test_refused(self, run):
        async def main():
            with udp_socket() as gone:
                address = gone.getsockname()
            async with endpoint(remote_addr=address) as (client, c):
                for count in range(1, 4):
                    client.sendto(b"x")
                    await c.until(lambda count=count: len(c.errors) == count)
                assert {type(e) for e in c.errors} == {ConnectionRefusedError}
                assert "lost" not in c.events

        run(main())

    def test_error_received_raises(self, run, reports):
        class Raising(DatagramRecord):
            def error_received(self, exc):
                super().error_received(exc)
                raise ZeroDivisionError

        async def main():
            with udp_socket() as gone:
                address = gone.getsockname()
            async with endpoint(Raising, remote_addr=address) as (client, c):
                client.sendto(b"x")  # the refusal is told by a read
                await c.until(lambda: c.errors)
                await turns()
                assert not client.is_closing()
                with pytest.raises(ZeroDivisionError):  # this one to the caller
                    client.sendto(bytes(70000))

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError]

    def test_datagram_received_raises(self, run, reports):
        class Raising(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    for _ in range(3):
                        sock.sendto(b"x", transport.get_extra_info("sockname"))
                await p.datagrams(3)
                assert not transport.is_closing()
                await turns()

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 3

    @pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
    def test_datagram_received_ends_the_loop(self, loop, what):
        class Raising(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if len(self.got) % 2:
                    raise what

        async def make():
            transport, protocol = await loop.create_datagram_endpoint(Raising, local_addr=LOCAL)
            return transport, protocol

        transport, protocol = drive(loop, make())
        with udp_socket() as sock:
            for i in range(6):
                sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))

        async def get(count):
            await protocol.until(lambda: len(protocol.got) >= count)

        for _ in range(3):  # the others wait in the socket
            with pytest.raises(what):
                run_guarded(loop)
        drive(loop, get(6))
        assert [d for d, _ in protocol.got] == [b"%d" % i for i in range(6)]
        transport.close()
        drive(loop, asyncio.wait_for(protocol.lost, 5))

    @pytest.mark.parametrize("data", ["text", None, 1, [b"x"]])
    def test_wrong_data(self, run, data):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, _):
                with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                    transport.sendto(data, LOCAL)

        run(main())

    def test_wrong_arguments(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, _):
                for args, kwargs in (
                    ((), {}),
                    ((b"x", LOCAL, 1), {}),
                    ((b"x",), {"data": b"x"}),
                    ((b"x",), {"other": 1}),
                ):
                    with pytest.raises(TypeError):
                        transport.sendto(*args, **kwargs)

        run(main())

    @pytest.mark.parametrize(
        ("address", "error"),
        [
            (None, TypeError),
            ("127.0.0.1", TypeError),
            (("127.0.0.1",), TypeError),
            (("127.0.0.1", 70000), OverflowError),
            (("127.0.0.1", -1), OverflowError),
            (("127.0.0.1", "53"), TypeError),
            ((b"\0", 53), None),
            (("127.0.0.1\0", 53), None),
            (1, TypeError),
        ],
    )
    def test_wrong_address(self, run, reports, address, error):
        """As stock asyncio: what is no OSError is a fatal error of the transport."""

        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                transport.sendto(b"x", address)
                if transport.is_closing():
                    return type(await p.lost)
                return [type(e) for e in p.errors]

        found = run(main())
        if error is not None:
            assert found is error
            assert [type(r["exception"]) for r in reports] == [error]
            assert reports[0]["message"] == "Fatal write error on datagram transport"
        elif isinstance(found, list):
            assert found and not reports
        else:
            assert issubclass(found, (TypeError, ValueError)) and len(reports) == 1

    def test_other_address_than_the_remote_one(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, _):
                address = server.get_extra_info("sockname")
                async with endpoint(remote_addr=address) as (client, _):
                    with pytest.raises(ValueError, match="Invalid address: must be None or"):
                        client.sendto(b"x", ("127.0.0.1", 1))
                    client.sendto(b"x", ("127.0.0.1", address[1]))

        run(main())

    def test_socket_closed_behind_its_back(self, run):
        async def main():
            sock = udp_socket()
            async with endpoint(sock=sock) as (transport, p):
                sock.close()
                transport.sendto(b"x", ("127.0.0.1", 9))
                await turns()
                assert transport.is_closing() or [e.errno for e in p.errors] == [errno.EBADF]

        run(main())


class TestFlow:
    def test_queue_and_order(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                queued = jam(transport)
                first = transport.get_write_buffer_size()
                assert first == (1008 if PY313 else 1000)
                transport.sendto(bytearray(b"more"))
                assert transport.get_write_buffer_size() == first + (12 if PY313 else 4)
                got = await drained(reader, p, queued + 2)
                assert [d[:5] for d in got[:-1]] == [b"%05d" % i for i in range(queued + 1)]
                assert got[-1] == b"more"
                await turns()
                if not forgets_headers():
                    assert transport.get_write_buffer_size() == 0
            reader.close()

        run(main())

    def test_marks(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                transport.set_write_buffer_limits(high=3000, low=1500)
                count = jam(transport) + 1
                assert p.events == ["made"]
                while transport.get_write_buffer_size() <= 3000:
                    assert p.events == ["made"]
                    transport.sendto(bytes(1000))
                    count += 1
                assert p.events == ["made", "pause"]
                transport.sendto(bytes(1000))
                assert p.events == ["made", "pause"]
                count += 1
                for _ in range(count):
                    await asyncio.get_running_loop().sock_recv(reader, 4096)
                if not forgets_headers():
                    await p.until(lambda: "resume" in p.events)
                    assert p.events == ["made", "pause", "resume"]
            reader.close()

        run(main())

    def test_by_address(self, run, tmp_path):
        """What is queued remembers where it goes."""

        async def main():
            sock, reader = full_socket(tmp_path)
            sock.close()
            async with endpoint(sock=unix_socket()) as (transport, _):
                address = str(tmp_path / "reader")
                count = 0
                while not transport.get_write_buffer_size():
                    transport.sendto(b"%d" % count, address)
                    count += 1
                transport.sendto(b"last", address)
                got = await drained(reader, None, count + 1)
                assert got == [b"%d" % i for i in range(count)] + [b"last"]
            reader.close()

        run(main())

    def test_close_sends_the_queue(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                count = jam(transport) + 1
                transport.close()
                transport.sendto(b"late")  # stock takes it: there is a queue still
                assert transport.is_closing() and "lost" not in p.events
                got = await drained(reader, p, count + 1)
                assert got[-1] == b"late"
                assert await p.lost is None
                assert p.events == ["made", "lost"]
            reader.close()

        run(main())

    def test_abort_drops_the_queue(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                count = jam(transport)
                transport.abort()
                assert await p.lost is None
            assert len(await drained(reader, p, count)) == count
            with pytest.raises(BlockingIOError):
                reader.recv(1)
            reader.close()

        run(main())

    def test_reader_gone_while_datagrams_wait(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                jam(transport)
                transport.sendto(b"second")
                reader.close()
                await p.until(lambda: len(p.errors) >= 2)
                known = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN}
                assert {e.errno for e in p.errors} <= known
                await turns()
                assert not transport.is_closing()

        run(main())

    @pytest.mark.parametrize("raises", [ZeroDivisionError, None])
    def test_callbacks_that_send(self, run, reports, tmp_path, raises):
        class Sending(DatagramRecord):
            def pause_writing(self):
                super().pause_writing()
                self.transport.sendto(b"paused")
                if raises:
                    raise raises

            def resume_writing(self):
                super().resume_writing()
                self.transport.sendto(b"resumed")
                if raises:
                    raise raises

        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(Sending, sock=sock) as (transport, p):
                transport.set_write_buffer_limits(high=0)
                jam(transport)
                assert p.events == ["made", "pause"]
                if forgets_headers():
                    reader.close()
                    return
                last = b""
                while last != b"resumed":
                    last = await asyncio.get_running_loop().sock_recv(reader, 4096)
            reader.close()

        run(main())
        if raises:
            assert {r["message"] for r in reports} <= {
                "protocol.pause_writing() failed",
                "protocol.resume_writing() failed",
            }
            assert reports


class TestReading:
    def test_pause_and_resume(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                assert transport.is_reading()
                transport.pause_reading()
                assert not transport.is_reading()
                with udp_socket() as sock:
                    for i in range(3):
                        sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))
                await turns(10)
                assert not p.got
                transport.resume_reading()
                assert await p.datagrams(3) == [b"0", b"1", b"2"]

        run(main())

    def test_pause_in_a_burst(self, run):
        class Pausing(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.transport.pause_reading()

        async def main():
            async with endpoint(Pausing, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    for i in range(20):
                        sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))
                for i in range(20):
                    await p.until(lambda: p.got)
                    await turns()
                    assert [d for d, _ in p.got] == [b"%d" % i]
                    p.got.clear()
                    transport.resume_reading()

        run(main())

    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_end_in_a_burst(self, run, end):
        class Ending(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                getattr(self.transport, end)()

        async def main():
            async with endpoint(Ending, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    for i in range(20):
                        sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))
                assert await p.lost is None
                assert [d for d, _ in p.got] == [b"0"]

        run(main())

    def test_set_protocol(self, run):
        class Switching(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.other = DatagramRecord()
                self.transport.set_protocol(self.other)

        async def main():
            async with endpoint(Switching, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    for i in range(3):
                        sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))
                await until(lambda: hasattr(p, "other") and len(p.other.got) == 2)
                assert [d for d, _ in p.got] == [b"0"]
                assert transport.get_protocol() is p.other
                transport.close()
                await p.other.lost
                p.lost.set_result(None)

        run(main())

    def test_method_replaced_on_the_protocol(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                got = []
                p.datagram_received = lambda data, addr: got.append(data)
                with udp_socket() as sock:
                    sock.sendto(b"x", transport.get_extra_info("sockname"))
                await until(lambda: got)

        run(main())

    def test_socket_of_another_family(self, run):
        """Addresses of other families are the socket module's business."""
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
            sock.bind((0, 0))
        except (OSError, AttributeError):
            pytest.skip("no netlink sockets here")

        async def main():
            async with endpoint(sock=sock) as (transport, p):
                request = struct.pack("=IHHIIBxxxI", 20, 18, 0x301, 1, 0, 0, 0)  # RTM_GETLINK
                transport.sendto(request, (0, 0))
                await p.until(lambda: p.got)
                assert p.got[0][1] == (0, 0) and len(p.got[0][0]) > 16

        run(main())


class TestEnd:
    def test_close(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                transport.close()
                assert transport.is_closing() and not transport.is_reading()
                transport.close()
                assert await p.lost is None
                await turns()
                assert p.events == ["made", "lost"]
                assert transport.get_extra_info("sockname")[0] == "127.0.0.1"

        run(main())

    def test_sendto_after_close(self, run, log):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, _):
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, c):
                    client.close()
                    for _ in range(3):
                        client.sendto(b"x")
                    await c.lost
                    await turns()
                    for _ in range(3):
                        client.sendto(b"x")

        run(main())
        assert log() == ["socket.send() raised exception."] * 2

    def test_unclosed(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_datagram_endpoint(
                DatagramRecord, local_addr=LOCAL
            )
            transport.pause_reading()  # else the loop keeps it
            protocol.transport = None
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                del transport, protocol
                gc.collect()

        run(main())

    def test_cancelled_while_it_is_made(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            made = []

            def factory():
                made.append(DatagramRecord())
                return made[0]

            task = loop.create_task(loop.create_datagram_endpoint(factory, local_addr=LOCAL))
            while not made:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await made[0].lost
            await turns()

        run(main())

    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_end_in_connection_made(self, run, end):
        class Ending(DatagramRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                getattr(transport, end)()

        async def main():
            async with endpoint(Ending, local_addr=LOCAL) as (_, p):
                assert await p.lost is None

        run(main())

    def test_error_received_aborts(self, run, tmp_path):
        class Aborting(DatagramRecord):
            def error_received(self, exc):
                super().error_received(exc)
                self.transport.abort()

        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(Aborting, sock=sock) as (transport, p):
                jam(transport)
                transport.sendto(b"second")
                reader.close()
                assert await p.lost is None
                assert len(p.errors) == 1

        run(main())

    def test_connection_made_and_lost_raise(self, run, reports):
        class Raising(DatagramRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    sock.sendto(b"x", transport.get_extra_info("sockname"))
                assert await p.datagrams(1) == [b"x"]

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 2


class TestContext:
    def test_callbacks_run_in_the_makers_context(self, run):
        var = contextvars.ContextVar("var")
        seen = []

        class Seeing(DatagramRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(var.get(None))

            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                seen.append(var.get(None))

            def connection_lost(self, exc):
                super().connection_lost(exc)
                seen.append(var.get(None))

        async def main():
            var.set("mine")
            async with endpoint(Seeing, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    sock.sendto(b"x", transport.get_extra_info("sockname"))
                await p.datagrams(1)
                transport.close()
                await p.lost

        run(main())
        assert seen == ["mine"] * 3


class TestDebug:
    def test_audit(self, snippet):
        out = snippet(
            """
            seen = []
            sys.addaudithook(lambda name, args: name == "socket.sendto" and seen.append(args[1]))

            async def main():
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
                transport.sendto(b"x", ("127.0.0.1", 9))
                transport.close()
                await asyncio.sleep(0)

            drive(new_loop(), main())
            print(seen)
            """
        )
        assert out.out.strip() == "[('127.0.0.1', 9)]"

    def test_debug_mode(self, loop, run, log):
        loop.set_debug(True)

        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, _):
                    client.sendto(b"x")
                    assert await s.datagrams(1) == [b"x"]

        run(main())
