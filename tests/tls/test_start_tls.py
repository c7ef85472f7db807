"""start_tls(): a plain connection becomes TLS."""

import asyncio
import gc
import ssl
import warnings
import weakref

import pytest
from support.engines import NATIVE
from support.loops import ASYNCIO, PY313, PY314, TIMEOUT, turns, until
from support.net import Record, tcp_pair, unix_pair
from support.tls import client, client_context, server_context, unchecked_context

pytestmark = pytest.mark.tls


async def pair(loop, sockets=tcp_pair):
    """Two connected transports with their protocols."""
    a, b = sockets()
    return await loop.create_connection(Record, sock=a), await loop.create_connection(
        Record, sock=b
    )


async def upgraded(loop, server, client):
    """Both ends after start_tls()."""
    return await asyncio.gather(
        loop.start_tls(*server, server_context(), server_side=True),
        loop.start_tls(*client, client_context(), server_hostname="localhost"),
    )


async def abort(loop, *ends):
    for transport, protocol in ends:
        transport.abort()
        await protocol.lost
    await turns(10)


@pytest.mark.parametrize("sockets", [tcp_pair, unix_pair], ids=["tcp", "unix"])
def test_both_sides(loop, run, sockets):
    async def main():
        (ta, pa), (tb, pb) = await pair(loop, sockets)
        ta.write(b"plain")
        assert await pb.received(5) == b"plain"
        sa, sb = await upgraded(loop, (ta, pa), (tb, pb))
        assert pa.events == ["made"]  # connection_made() was for the plain one
        sa.write(b"secret")
        sb.write(b"as well")
        assert await pb.received(6) == b"secret"
        assert await pa.received(7) == b"as well"
        assert sb.get_extra_info("peercert")
        sb.close()
        await asyncio.gather(pa.lost, pb.lost)
        assert sa.is_closing()
        await turns(10)

    run(main())


def test_asked_for_in_data_received(loop, run):
    """As protocols do: STARTTLS, an answer, and TLS from then on."""

    class Server(Record):
        def data_received(self, data):
            super().data_received(data)
            if data == b"STARTTLS\n":
                self.transport.write(b"ready\n")
                self.task = self.loop.create_task(self.upgrade())

        async def upgrade(self):
            self.transport = await self.loop.start_tls(
                self.transport, self, server_context(), server_side=True
            )
            self.transport.write(b"secret")

    def work(sock):
        sock.sendall(b"STARTTLS\n")
        assert sock.recv(6) == b"ready\n"
        with client_context().wrap_socket(sock, server_hostname="localhost") as tls:
            return tls.recv(6)

    async def main():
        protocols = []

        def make():
            protocols.append(Server())
            return protocols[0]

        server = await loop.create_server(make, "127.0.0.1", 0)
        with client(work, server.sockets[0].getsockname()) as results:
            await until(lambda: results)
        assert results == [b"secret"]
        await protocols[0].lost
        server.close()
        await server.wait_closed()
        await turns(10)

    run(main())


def test_reads_nothing_until_it_begins(loop, run):
    """Paused at once: bytes on the wire go to TLS, not to the protocol."""

    async def main():
        (ta, pa), (tb, pb) = await pair(loop)
        task = loop.create_task(loop.start_tls(ta, pa, server_context(), server_side=True))
        await asyncio.sleep(0)
        tb.write(b"plain text")
        with pytest.raises(ssl.SSLError):
            await task
        assert pa.data == b""
        await abort(loop, (tb, pb))

    run(main())


@pytest.mark.parametrize("side", ["server", "client"])
def test_unread_plain_text_is_not_taken_for_decrypted(loop_name, loop, run, side):
    """CVE-2024-34083: commands sent in one packet with STARTTLS, by somebody in between."""
    if loop_name == ASYNCIO and (side == "client" or not PY314):
        pytest.skip("asyncio has it from 3.14 on, for servers")

    async def main():
        a, b = tcp_pair()
        with b:
            reader, writer = await asyncio.open_connection(sock=a)
            b.sendall(b"STARTTLS\r\nRSET\r\n")
            assert await reader.readline() == b"STARTTLS\r\n"
            context = server_context() if side == "server" else unchecked_context()
            with pytest.raises(ssl.SSLError):
                await loop.start_tls(
                    writer.transport,
                    writer.transport.get_protocol(),
                    context,
                    server_side=side == "server",
                )
            assert reader._buffer == b""
        await turns(10)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())


def test_first_bytes_of_tls_that_were_read_already(loop_name, loop, run):
    """A client that says hello at once: its bytes are in the StreamReader when TLS begins."""
    if loop_name == ASYNCIO and not PY314:
        pytest.skip("asyncio before 3.14 loses them")

    def work(sock):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(b"STARTTLS\r\n" + outgoing.read())
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(1 << 16))
        sock.sendall(outgoing.read())
        while True:
            try:
                return tls.read(6)
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(1 << 16))

    done = []

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\r\n"
        await until(lambda: reader._buffer)
        await writer.start_tls(server_context())
        writer.write(b"secret")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()
        done.append(1)

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        with client(work, server.sockets[0].getsockname()) as results:
            await until(lambda: results)
        assert results == [b"secret"]
        await until(lambda: done)
        server.close()
        await server.wait_closed()
        await turns(10)

    run(main())


@pytest.mark.moodloop_only  # asyncio: before, so that the answer would be plain text
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_first_data_come_after_the_transport(loop, run, version):
    """What a client sends with the end of its handshake, to a program that answers at once."""

    class Server(Record):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data.upper())

        async def upgrade(self):
            self.transport = await self.loop.start_tls(
                self.transport, self, server_context(), server_side=True
            )

    def work(sock):
        context = client_context()
        context.maximum_version = version
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def until_done(call, *args):
            while True:
                try:
                    return call(*args)
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(1 << 16))

        until_done(tls.do_handshake)
        tls.write(b"hello")
        return until_done(tls.read, 5)

    async def main():
        a, b = tcp_pair()
        b.settimeout(TIMEOUT)
        _, protocol = await loop.create_connection(Server, sock=a)
        talk = loop.run_in_executor(None, work, b)
        await protocol.upgrade()
        assert protocol.events == ["made"]
        assert await talk == b"HELLO"
        b.close()
        await protocol.lost
        await loop.shutdown_default_executor()
        await turns(10)

    run(main())


def test_wrong_arguments(loop, run):
    async def main():
        (ta, pa), (tb, pb) = await pair(loop)
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
            await loop.start_tls(ta, pa, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(object(), pa, server_context())
        for which in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=which):
                await loop.start_tls(ta, pa, server_context(), server_side=True, **{which: 0})
        tb.write(b"still plain")
        assert await pa.received(11) == b"still plain"
        await abort(loop, (ta, pa), (tb, pb))

    run(main())


def test_handshake_that_fails(loop, run):
    async def main():
        (ta, pa), (tb, pb) = await pair(loop)
        results = await asyncio.gather(
            loop.start_tls(ta, pa, server_context(), server_side=True),
            loop.start_tls(tb, pb, client_context("other"), server_hostname="localhost"),
            return_exceptions=True,
        )
        assert isinstance(results[0], OSError)
        assert isinstance(results[1], ssl.SSLCertVerificationError)
        assert ta.is_closing() and tb.is_closing()
        await turns(10)

    run(main())


def test_timeout(loop, run):
    async def main():
        (ta, pa), (tb, pb) = await pair(loop)
        with pytest.raises(ConnectionAbortedError, match="handshake is taking longer"):
            await loop.start_tls(
                ta, pa, server_context(), server_side=True, ssl_handshake_timeout=0.01
            )
        assert ta.is_closing()
        await abort(loop, (tb, pb))

    run(main())


def test_cancelled(loop, run):
    async def main():
        (ta, pa), (tb, pb) = await pair(loop)
        task = loop.create_task(loop.start_tls(ta, pa, server_context(), server_side=True))
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ta.is_closing()
        await abort(loop, (tb, pb))

    run(main())


@pytest.mark.moodloop_only
@pytest.mark.skipif(not PY313, reason="asyncio.sslproto has a cycle there")
def test_error_is_in_no_cycle(loop, run):
    """With it go the protocol and all that it holds (gh-109534)."""

    async def main():
        (ta, pa), (tb, _) = await pair(loop)
        pb = asyncio.Protocol()  # a Record would keep the error
        server = loop.create_task(loop.start_tls(ta, pa, server_context(), server_side=True))
        try:
            await loop.start_tls(tb, pb, client_context("other"), server_hostname="localhost")
        except ssl.SSLCertVerificationError as exc:
            error = weakref.ref(exc)
        await asyncio.wait([server])
        assert isinstance(server.exception(), OSError)
        return error

    async def others():
        await turns(10)

    gc.collect()
    gc.disable()
    try:
        error = run(main())
        run(others())
        assert error() is None
    finally:
        gc.enable()


class Wire(asyncio.Transport):
    """A transport of the program's own that delivers within `write()`."""

    _start_tls_compatible = True

    def __init__(self, loop, protocol):
        super().__init__()
        self.loop, self.protocol, self.peer, self.closing = loop, protocol, None, False
        loop.call_soon(protocol.connection_made, self)

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def is_closing(self):
        return self.closing

    def write(self, data):
        while data and not self.peer.closing:
            room = self.peer.protocol.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.peer.protocol.buffer_updated(size)
            data = data[size:]

    def close(self):
        for end in self, self.peer:
            if not end.closing:
                end.closing = True
                self.loop.call_soon(end.protocol.connection_lost, None)

    abort = close


@pytest.mark.engines(NATIVE, reason="the standard library's is not made to be called from within")
def test_transport_that_delivers_in_its_calls(loop, run):
    """What comes while an end is at work in one of its calls is neither lost nor overtaken."""

    async def main():
        ends = [(Wire(loop, protocol), protocol) for protocol in (Record(), Record())]
        (ta, pa), (tb, pb) = ends
        ta.peer, tb.peer = tb, ta
        await turns(2)
        sa, sb = await upgraded(loop, *ends)
        for size in (1, 5000, 300_000):
            sent = bytes(range(256)) * (size // 256 + 1)
            sa.write(sent)
            sb.write(sent)
            assert await pa.received(len(sent)) == sent
            assert await pb.received(len(sent)) == sent
        sa.close()
        await asyncio.gather(pa.lost, pb.lost)
        await turns(5)

    run(main())
