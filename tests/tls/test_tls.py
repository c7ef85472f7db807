"""TLS connections and servers: data, names, timeouts, closing, flow control."""

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
import weakref

import pytest
from support import hygiene
from support.leaks import growth
from support.loops import ASYNCIO, PY314, TIMEOUT, drive, turns, until
from support.net import BufferedRecord, Record, tcp_pair, unix_pair
from support.tls import client, client_context, peer, server_context, unchecked_context

pytestmark = pytest.mark.tls


class Echo(Record):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


@contextlib.asynccontextmanager
async def serving(factory=Echo, context=None, **kwargs):
    """A TLS server; its protocols, and its address."""
    loop = asyncio.get_running_loop()
    protocols = []

    def make():
        protocols.append(factory())
        return protocols[-1]

    server = await loop.create_server(
        make, "127.0.0.1", 0, ssl=context or server_context(), **kwargs
    )
    try:
        yield protocols, server.sockets[0].getsockname()
    finally:
        server.close()
        for protocol in protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.lost
        await asyncio.wait_for(server.wait_closed(), TIMEOUT)
        await turns(10)


async def connect(address, factory=Record, context=None, server_hostname="localhost", **kwargs):
    return await asyncio.get_running_loop().create_connection(
        factory,
        *address,
        ssl=context or client_context(),
        server_hostname=server_hostname,
        **kwargs,
    )


async def shut(transport, protocol):
    transport.close()
    await protocol.lost
    await turns(10)


def hang_up(sock):
    """Wait for the client to begin, and no more."""
    sock.recv(1 << 16)


class TestData:
    @pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
    @pytest.mark.parametrize("size", [1, 16384, 16385, 300_000])
    def test_there_and_back(self, run, kind, size):
        data = bytes(range(256)) * (size // 256 + 1)

        async def main():
            async with serving() as (protocols, address):
                transport, protocol = await connect(address, kind)
                transport.write(data[:size])
                assert await protocol.received(size) == data[:size]
                await shut(transport, protocol)
                await protocols[0].lost
                assert protocol.exc is None and protocols[0].exc is None
                assert protocol.kinds == ["made", "data", "eof", "lost"]
                assert protocols[0].kinds[-2:] == ["eof", "lost"]

        run(main())

    @pytest.mark.moodloop_only  # asyncio asks for the class alone
    def test_buffered_of_no_class(self, run):
        class Duck(asyncio.BaseProtocol):
            def __init__(self):
                self.buffer = bytearray(10)
                self.got, self.lost = asyncio.Future(), asyncio.Future()

            def get_buffer(self, sizehint):
                return self.buffer

            def buffer_updated(self, nbytes):
                self.got.set_result(self.buffer[:nbytes])

            def eof_received(self):
                pass

            def connection_lost(self, exc):
                self.lost.set_result(exc)

        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address, Duck)
                transport.write(b"hello")
                assert await protocol.got == b"hello"
                await shut(transport, protocol)

        run(main())

    def test_streams(self, run):
        async def handle(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context())
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
            )
            writer.write(b"hello\n")
            assert await reader.read() == b"HELLO\n"
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns(10)

        run(main())

    def test_unix(self, loop, run, tmp_path):
        async def main():
            path = str(tmp_path / "socket")
            protocols = []

            def make():
                protocols.append(Echo())
                return protocols[0]

            server = await loop.create_unix_server(make, path, ssl=server_context())
            transport, protocol = await loop.create_unix_connection(
                Record, path, ssl=client_context(), server_hostname="localhost"
            )
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            await shut(transport, protocol)
            await protocols[0].lost
            server.close()
            await server.wait_closed()
            await turns(10)

        run(main())

    @pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["tcp", "unix"])
    def test_on_sockets(self, loop, run, pair):
        async def main():
            a, b = pair()
            (ta, pa), (tb, pb) = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=server_context()),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
            )
            ta.write(b"to the client")
            tb.write(b"to the server")
            assert await pb.received(13) == b"to the client"
            assert await pa.received(13) == b"to the server"
            await shut(tb, pb)
            await shut(ta, pa)

        run(main())

    def test_extra_info(self, run):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                assert isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext)
                assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
                assert transport.get_extra_info("peercert")["subject"] == (
                    (("commonName", "localhost"),),
                )
                assert len(transport.get_extra_info("cipher")) == 3
                assert transport.get_extra_info("compression") is None
                assert transport.get_extra_info("peername") == address
                assert transport.get_extra_info("nothing", 7) == 7
                assert isinstance(transport, asyncio.Transport)
                assert not transport.can_write_eof()
                with pytest.raises(NotImplementedError):
                    transport.write_eof()
                await shut(transport, protocol)

        run(main())

    def test_of_a_plain_client(self, loop, run):
        """The standard library's blocking sockets are the other side."""

        def work(sock):
            sock.sendall(b"x" * 100_000)
            got = b""
            while len(got) < 100_000:
                got += sock.recv(1 << 16)
            return got == b"x" * 100_000

        async def main():
            async with serving() as (protocols, address):
                with client(
                    work, address, client_context(), server_hostname="localhost"
                ) as results:
                    await until(lambda: results)
                assert results == [True]
                await until(lambda: "lost" in protocols[0].events)

        run(main())

    def test_many_at_once(self, run):
        async def one(address, n):
            transport, protocol = await connect(address)
            transport.write(b"%05d" % n)
            assert await protocol.received(5) == b"%05d" % n
            await shut(transport, protocol)

        async def main():
            async with serving(backlog=100) as (_, address):
                await asyncio.gather(*(one(address, n) for n in range(50)))

        run(main())

    def test_in_tls(self, loop, run):
        """start_tls() on a connection that is TLS already."""

        async def main():
            a, b = tcp_pair()
            (ta, pa), (tb, pb) = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=server_context()),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
            )
            ta, tb = await asyncio.gather(
                loop.start_tls(ta, pa, server_context("other"), server_side=True),
                loop.start_tls(tb, pb, client_context("other"), server_hostname="other.example"),
            )
            data = bytes(range(256)) * 1000
            ta.write(data)
            assert await pb.received(len(data)) == data
            tb.write(data)
            assert await pa.received(len(data)) == data
            ta.abort()
            tb.abort()
            await asyncio.gather(pa.lost, pb.lost)
            await turns(10)

        if not hasattr(asyncio.sslproto._SSLProtocolTransport, "_start_tls_compatible"):
            pytest.skip("this Python has no TLS in TLS")
        run(main())


class TestNames:
    def test_wrong_name(self, run):
        async def main():
            async with serving() as (_, address):
                with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                    await connect(address, server_hostname="other.example")
                await turns(10)

        run(main())

    def test_unknown_certificate(self, run):
        async def main():
            async with serving() as (_, address):
                with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
                    await connect(address, context=client_context("other"))
                await turns(10)

        run(main())

    def test_host_is_the_name(self, loop, run):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await loop.create_connection(
                    Record, "localhost", address[1], ssl=client_context(), family=socket.AF_INET
                )
                await shut(transport, protocol)
                transport, protocol = await loop.create_connection(
                    Record, *address, ssl=client_context()
                )
                await shut(transport, protocol)
                await loop.shutdown_default_executor()

        run(main())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("name", [None, ""], ids=ascii)
    def test_none_though_it_is_checked(self, loop, run, name):
        """CVE-2026-19553: Pythons that have it check nothing then."""

        async def main():
            for pair, connect in (
                (tcp_pair, loop.create_connection),
                (unix_pair, loop.create_unix_connection),
            ):
                a, b = pair()
                with a, b, pytest.raises(ValueError, match="server_hostname"):
                    await connect(Record, sock=a, ssl=client_context(), server_hostname=name)

        run(main())

    def test_that_nobody_checks(self, run):
        async def main():
            async with serving() as (_, address):
                ends = await connect(address, context=unchecked_context(), server_hostname="")
                await shut(*ends)

        run(main())

    @pytest.mark.moodloop_only
    def test_none_in_start_tls(self, loop, run):
        async def main():
            a, b = tcp_pair()
            transport, protocol = await loop.create_connection(Record, sock=a)
            with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
                await loop.start_tls(transport, protocol, client_context())
            b.send(b"still plain")
            assert await protocol.received(11) == b"still plain"
            b.close()
            await protocol.lost
            await turns()

        run(main())

    @pytest.mark.parametrize("name", ["local\0host", "a" * 300, "a..b"], ids=ascii)
    def test_that_are_none(self, run, name):
        """Refused, never cut short."""

        async def main():
            a, b = tcp_pair()
            with a, b:
                loop = asyncio.get_running_loop()
                with pytest.raises((ValueError, TypeError)):
                    await loop.create_connection(
                        Record, sock=a, ssl=client_context(), server_hostname=name
                    )

        run(main())

    def test_name_without_tls(self, loop, run):
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            run(loop.create_connection(Record, "127.0.0.1", 1, server_hostname="localhost"))

    def test_context_chosen_by_name(self, run):
        """A server that picks the certificate when it knows the name."""
        chosen = []

        def by_name(sslobj, name, context):
            chosen.append(name)
            if name == "other.example":
                sslobj.context = server_context("other")

        async def main():
            context = server_context()
            context.sni_callback = by_name
            async with serving(context=context) as (_, address):
                for name, trusted in (("localhost", "localhost"), ("other.example", "other")):
                    transport, protocol = await connect(
                        address, context=client_context(trusted), server_hostname=name
                    )
                    # Nobody else holds the context that the callback made (CVE-2026-19445).
                    gc.collect()
                    transport.write(b"hello")
                    assert await protocol.received(5) == b"hello"
                    await shut(transport, protocol)
            del context

        run(main())
        assert chosen == ["localhost", "other.example"]

    def test_callback_that_fails(self, run):
        def refuse(sslobj, name, context):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        async def main():
            context = server_context()
            context.sni_callback = refuse
            async with serving(context=context) as (_, address):
                with pytest.raises(OSError):
                    await connect(address)
                await turns(10)

        run(main())

    @pytest.mark.moodloop_only
    def test_peer_is_told_why(self, run):
        """Stock asyncio just hangs up."""

        def refuse(sslobj, name, context):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        async def main():
            context = server_context()
            context.sni_callback = refuse
            async with serving(context=context) as (_, address):
                with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                    await connect(address)
                await turns(10)

        run(main())

    def test_settings_of_the_context_count(self, run):
        async def main():
            context = server_context()
            context.set_alpn_protocols(["h2", "http/1.1"])
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            async with serving(context=context) as (_, address):
                theirs = client_context()
                theirs.set_alpn_protocols(["http/1.1"])
                transport, protocol = await connect(address, context=theirs)
                sslobj = transport.get_extra_info("ssl_object")
                assert sslobj.selected_alpn_protocol() == "http/1.1"
                assert sslobj.version() == "TLSv1.2"
                await shut(transport, protocol)
                theirs.minimum_version = ssl.TLSVersion.TLSv1_3
                with pytest.raises(OSError):
                    await connect(address, context=theirs)
                await turns(10)

        run(main())


class TestHandshake:
    def test_nothing_before_it(self, run):
        """CVE-2023-40217: what comes before TLS does is no data."""

        def work(sock):
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return sock.recv(1000)

        async def main():
            async with serving() as (protocols, address):
                with client(work, address) as results:
                    await until(lambda: results)
                await turns(10)
                assert [p.events for p in protocols] == [[]]

        run(main())

    def test_not_made_before_it(self, loop, run):
        async def main():
            async with serving() as (protocols, address):
                with socket.create_connection(address):
                    await until(lambda: protocols)
                    await turns(10)
                    assert protocols[0].events == []
                await turns(10)
                assert protocols[0].events == []

        run(main())

    def test_plain_server(self, run):
        def serve(sock):
            sock.sendall(b"220 hello, this is no TLS\r\n")
            hang_up(sock)

        async def main():
            with peer(serve) as address:
                with pytest.raises(ssl.SSLError) as raised:
                    await connect(address)
            assert isinstance(raised.value, OSError)
            await turns(10)

        run(main())

    def test_server_that_hangs_up(self, run):
        async def main():
            with peer(hang_up) as address:
                with pytest.raises(ConnectionError):
                    await connect(address)
            await turns(10)

        run(main())

    def test_client_timeout(self, run):
        def silent(sock):
            while sock.recv(1 << 16):
                pass

        async def main():
            with peer(silent) as address:
                with pytest.raises(ConnectionAbortedError, match="handshake is taking longer"):
                    await connect(address, ssl_handshake_timeout=0.01)
            await turns(10)

        run(main())

    def test_server_timeout(self, loop, run):
        """Ends a connection that never says anything, and tells nobody but its debug log."""

        async def main():
            async with serving(ssl_handshake_timeout=0.01) as (protocols, address):
                with socket.create_connection(address) as sock:
                    sock.setblocking(False)
                    assert await loop.sock_recv(sock, 100) == b""
                await turns(10)
                assert protocols[0].events == []

        run(main())

    @pytest.mark.parametrize("timeout", [0, -1])
    @pytest.mark.parametrize("which", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
    def test_bad_timeout(self, run, timeout, which):
        async def main():
            a, b = tcp_pair()
            with a, b, pytest.raises(ValueError, match=f"{which} should be a positive number"):
                await asyncio.get_running_loop().create_connection(
                    Record, sock=a, ssl=unchecked_context(), server_hostname="", **{which: timeout}
                )

        run(main())

    def test_timeouts_without_tls(self, loop, run):
        for which in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{which} is only meaningful with ssl"):
                run(loop.create_connection(Record, "127.0.0.1", 1, **{which: 1}))
            with pytest.raises(ValueError, match=f"{which} is only meaningful with ssl"):
                run(loop.create_server(Record, "127.0.0.1", 0, **{which: 1}))

    def test_cancelled(self, run):
        def silent(sock):
            while sock.recv(1 << 16):
                pass

        async def main():
            with peer(silent) as address:
                task = asyncio.create_task(connect(address))
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await turns(10)

        run(main())

    @pytest.mark.moodloop_only
    def test_factory_that_raises(self, run, reports):
        """Stock asyncio tells it in debug mode only."""

        def factory():
            raise ZeroDivisionError

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context())
            with socket.create_connection(server.sockets[0].getsockname()) as sock:
                sock.setblocking(False)
                assert await loop.sock_recv(sock, 100) == b""
            server.close()
            await server.wait_closed()

        run(main())
        (context,) = reports
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_connection_made_that_raises(self, run, reports):
        class Bad(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async def main():
            async with serving() as (_, address):
                with contextlib.suppress(Exception):
                    transport, _ = await connect(address, Bad)
                    transport.abort()
                await until(lambda: reports)
                await turns(10)

        run(main())
        assert isinstance(reports[0]["exception"], ZeroDivisionError)


class TestClosing:
    def test_flushes(self, run):
        async def main():
            async with serving(Record) as (protocols, address):
                transport, protocol = await connect(address)
                transport.write(b"x" * 200_000)
                transport.close()
                assert transport.is_closing()
                transport.write(b"not this")
                await protocol.lost
                await protocols[0].lost
                assert protocols[0].data == b"x" * 200_000

        run(main())

    def test_abort(self, run):
        async def main():
            async with serving(Record) as (protocols, address):
                transport, protocol = await connect(address)
                await protocols[0].made if protocols else None
                transport.abort()
                await protocol.lost
                assert protocol.exc is None
                await until(lambda: "lost" in protocols[0].events)

        run(main())

    def test_by_the_peer(self, run):
        def serve(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                tls.sendall(b"bye")
                tls.unwrap()

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address)
                await protocol.lost
            assert protocol.kinds == ["made", "data", "eof", "lost"]
            assert bytes(protocol.data) == b"bye"
            transport.close()
            await turns(10)

        run(main())

    def test_cut_off(self, run):
        """The end of the connection without the end of TLS."""

        def serve(sock):
            tls = server_context().wrap_socket(sock, server_side=True)
            tls.sendall(b"by")
            socket.socket.shutdown(tls, socket.SHUT_RDWR)
            tls.close()

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address)
                await protocol.lost
            assert bytes(protocol.data) == b"by"
            transport.close()
            await turns(10)

        run(main())

    def test_stops_the_download(self, run):
        """A peer that goes on sending does not hold a closed connection."""
        sent = []

        def serve(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                with contextlib.suppress(OSError):
                    while True:
                        sent.append(tls.send(bytes(1 << 16)))

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address)
                await protocol.received(1)
                transport.close()
                # Long before ssl_shutdown_timeout, which is 30 s.
                await asyncio.wait_for(protocol.lost, TIMEOUT)
            await turns(10)

        run(main())

    @pytest.mark.moodloop_only  # asyncio: connection_lost(SSLError), for data that nobody wants
    @pytest.mark.parametrize("paused", [False, True])
    def test_data_that_crosses_the_close(self, run, paused):
        closed = threading.Event()

        def serve(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                assert tls.recv(10) == b"x"
                assert closed.wait(TIMEOUT)
                tls.sendall(b"sent before we knew")
                assert tls.recv(10) == b""

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address)
                transport.write(b"x")
                if paused:
                    transport.pause_reading()
                transport.close()
                closed.set()
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
            assert [e for e in protocol.events if e != "eof"] == ["made", "lost"]
            await turns(10)

        run(main())

    @pytest.mark.moodloop_only  # asyncio drops what is not sent yet
    def test_data_that_crosses_a_long_answer(self, loop, run):
        answer = bytes(range(256)) * (16 << 10)
        results = []

        def work(sock):
            with client_context().wrap_socket(sock, server_hostname="localhost") as tls:
                results.append(tls.recv(1))
                tls.sendall(b"one more request")
                while results[-1]:
                    results.append(tls.recv(1 << 16))

        async def main():
            a, b = unix_pair()
            b.settimeout(TIMEOUT)
            thread = loop.run_in_executor(None, work, b)
            transport, protocol = await loop.connect_accepted_socket(
                Record, a, ssl=server_context()
            )
            transport.write(answer)
            transport.close()
            assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
            await thread
            assert b"".join(results) == answer
            await loop.shutdown_default_executor()
            await turns(10)

        run(main())

    @pytest.mark.moodloop_only  # asyncio drops what is not sent yet
    @pytest.mark.parametrize("paused", [False, True])
    def test_peer_that_answers_all_the_time(self, run, paused):
        """It goes on only while its answers are read, which after close() nobody wants."""
        size = 16 << 20  # more than sockets and buffers hold
        got = []

        def echo(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(1 << 16):
                    got.append(len(data))
                    tls.sendall(data)

        async def main():
            with peer(echo) as address:
                transport, protocol = await connect(address)
                if paused:
                    transport.pause_reading()
                transport.write(bytes(size - 1))
                transport.write(b"x")  # waits behind the high mark
                transport.close()
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
            assert sum(got) == size
            await turns(10)

        run(main())

    def test_shutdown_timeout(self, run):
        """A peer that does not answer the end of TLS."""

        def serve(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                assert tls.recv(10) == b"x"
                # Everything is read, nothing said.
                while socket.socket.recv(tls, 1 << 16):
                    pass

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address, ssl_shutdown_timeout=0.05)
                transport.write(b"x")
                transport.close()
                exc = await protocol.lost
            assert isinstance(exc, TimeoutError)
            await turns(10)

        run(main())

    def test_peer_that_does_not_read(self, loop_name, loop, run):
        if loop_name == ASYNCIO and not PY314:
            pytest.skip("asyncio before 3.14 waits for ever")

        async def main():
            a, b = unix_pair()
            for sock in (a, b):
                sock.setblocking(False)
            (ta, pa), (tb, pb) = await asyncio.gather(
                loop.connect_accepted_socket(
                    Record, a, ssl=server_context(), ssl_shutdown_timeout=0.05
                ),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
            )
            tb._ssl_protocol._transport.pause_reading()
            ta.write(bytes(4 << 20))
            await turns()
            tb.close()  # says so, and that is the last of it
            ta.close()
            await asyncio.wait_for(pa.lost, TIMEOUT)
            tb.abort()
            await pb.lost
            await turns(10)

        run(main())


class TestFlow:
    def test_write_pauses(self, run):
        self.pauses(run, lambda transport, lines: transport.write(b"".join(lines)))

    def test_writelines_pauses(self, run):
        """CVE-2024-12254."""
        self.pauses(run, lambda transport, lines: transport.writelines(lines))

    def pauses(self, run, write):
        async def main():
            async with serving(Record) as (protocols, address):
                transport, protocol = await connect(address)
                await until(lambda: protocols and protocols[0].transport)
                theirs = protocols[0].transport
                theirs.pause_reading()
                size = 0
                while "pause" not in protocol.events:
                    write(transport, [bytes(1 << 18)] * 4)
                    size += 1 << 20
                    assert size <= 64 << 20, "never paused"
                    await asyncio.sleep(0)
                assert transport.get_write_buffer_size() > 0
                theirs.resume_reading()
                await protocol.happened("resume")
                await protocols[0].received(size)
                await shut(transport, protocol)

        run(main())

    def test_reading_pauses_from_the_start(self, run):
        """Paused in connection_made(), with data that came with the handshake."""

        class Paused(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        def serve(sock):
            with server_context().wrap_socket(sock, server_side=True) as tls:
                tls.sendall(b"hello")
                assert tls.recv(10) == b""

        async def main():
            with peer(serve) as address:
                transport, protocol = await connect(address, Paused)
                await turns(10)
                assert protocol.events == ["made"]
                transport.resume_reading()
                assert await protocol.received(5) == b"hello"
                await shut(transport, protocol)

        run(main())

    def test_reading_pauses(self, run):
        async def main():
            async with serving(Record) as (protocols, address):
                transport, protocol = await connect(address)
                await until(lambda: protocols and protocols[0].transport)
                transport.pause_reading()
                assert not transport.is_reading()
                protocols[0].transport.write(b"x" * 1000)
                await asyncio.sleep(0.01)
                assert protocol.events == ["made"]
                transport.resume_reading()
                await protocol.received(1000)
                await shut(transport, protocol)

        run(main())

    @pytest.mark.parametrize("when", ["pause_writing", "resume_writing", "data_received"])
    def test_write_in_a_callback(self, run, when):
        """Writing while the queue is being written out (an IndexError of uvloop)."""
        size = 1 << 20

        class Again(Record):
            def pause_writing(self):
                super().pause_writing()
                self.more("pause_writing")

            def resume_writing(self):
                super().resume_writing()
                self.more("resume_writing")

            def data_received(self, data):
                super().data_received(data)
                self.more("data_received")

            extra = 0

            def more(self, where):
                if where == when and self.extra < 5:
                    self.extra += 1
                    self.transport.write(b"y" * 1000)

        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address, Again)
                for _ in range(5):
                    transport.write(b"x" * size)
                got = bytearray(await protocol.received(5 * size))
                while protocol.extra and len(got) < 5 * size + 1000 * protocol.extra:
                    got += await protocol.received(1)
                assert got.count(b"x") == 5 * size and got.count(b"y") == 1000 * protocol.extra
                await shut(transport, protocol)

        run(main())

    @pytest.mark.parametrize("data", ["text", 3, None, [b"x"]], ids=repr)
    def test_write_of_other_things(self, run, data):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                with pytest.raises(TypeError):
                    transport.write(data)
                transport.write(b"fine")
                assert await protocol.received(4) == b"fine"
                await shut(transport, protocol)

        run(main())

    def test_write_after_the_end(self, run):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                await shut(transport, protocol)
                for _ in range(10):
                    transport.write(b"x")
                transport.abort()
                transport.close()

        run(main())

    @pytest.mark.moodloop_only  # in asyncio these raise AttributeError after the second close()
    @pytest.mark.parametrize("ended", [False, True])
    def test_closed_twice(self, run, ended):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                peer = transport.get_extra_info("peername")
                transport.close()
                if ended:
                    await protocol.lost
                transport.close()
                transport.close()
                transport.write(b"x")
                transport.writelines([b"x", b"y"])
                transport.pause_reading()
                transport.resume_reading()
                transport.set_write_buffer_limits(10)
                assert transport.is_closing()
                assert transport.get_extra_info("peername") == (None if ended else peer)
                assert transport.get_write_buffer_size() >= 0
                assert transport.is_reading() in (True, False)
                transport.abort()
                await protocol.lost

        run(main())


class TestMemory:
    def test_nothing_stays(self, loop):
        """uvloop's #220 and #565."""

        async def scenario(x):
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                protocol.mine = x
                transport.write(b"hello")
                await protocol.received(5)
                await shut(transport, protocol)
                transport, protocol = await connect(address)
                protocol.mine = x
                transport.abort()
                await protocol.lost
                with contextlib.suppress(ssl.SSLError):
                    await connect(address, context=client_context("other"))

        assert growth(lambda x: drive(loop, scenario(x)), rounds=5) == {}

    def test_context_freed_when_closed_again(self, run):
        async def main():
            context = client_context()
            async with serving() as (_, address):
                transport, protocol = await connect(address, context=context)
                transport.close()
                await protocol.lost
                transport.close()
                kept = weakref.ref(context)
                del context
                assert kept() is None
                assert transport.is_closing()

        run(main())

    def test_freed_when_closed(self, run):
        async def main():
            async with serving() as (_, address):
                transport, protocol = await connect(address)
                kept = weakref.ref(transport._ssl_protocol)
                await shut(transport, protocol)
                protocol.transport = None
                protocol.made = None
                del transport
                hygiene.collect()
                assert kept() is None

        run(main())

    @pytest.mark.engines("python", reason="looks into the engine in Python")
    def test_one_receive_buffer_for_all(self, run):
        """Stock asyncio has 256 KiB for each connection."""

        async def main():
            async with serving() as (_, address):
                ends = [await connect(address) for _ in range(3)]
                buffers = {id(t._ssl_protocol._ssl_buffer) for t, _ in ends}
                assert len(buffers) == 1
                for i, (t, _) in enumerate(ends):
                    t.write(b"%d" % i * 50_000)
                for i, (_, p) in enumerate(ends):
                    assert await p.received(50_000) == b"%d" % i * 50_000
                for end in ends:
                    await shut(*end)

        run(main())
