"""Datagram endpoints: UDP over IPv4 and IPv6, and Unix datagram sockets."""

import asyncio
import contextvars
import errno
import os
import socket
import struct

import pytest
from support.datagram import (
    LOCAL,
    DatagramRecord,
    endpoint,
    link_local_address,
    udp_socket,
    unix_socket,
)
from support.loops import PY312, PY313, turns, until


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

    def test_answers_go_to_who_asked(self, run):
        """In whatever order, and whoever asked last."""

        async def main():
            async with (
                endpoint(local_addr=LOCAL) as (server, s),
                endpoint(remote_addr=server.get_extra_info("sockname")) as (one, o),
                endpoint(remote_addr=server.get_extra_info("sockname")) as (two, t),
            ):
                for client in (one, two, one):
                    client.sendto(b"?")
                    await s.until(lambda: s.got)
                    last = s.got.pop()[1]
                    assert last == client.get_extra_info("sockname")
                    server.sendto(b"last", last)
                    other = one if client is two else two
                    server.sendto(b"other", other.get_extra_info("sockname"))
                    server.sendto(b"equal", (last[0], last[1]))
                as_last, as_other = [b"last", b"equal"], [b"other"]
                assert await o.datagrams(5) == as_last + as_other + as_last
                assert await t.datagrams(4) == as_other + as_last + as_other

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


class TestReading:
    @pytest.mark.is_reading
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

    @pytest.mark.is_reading
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
