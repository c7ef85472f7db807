"""Handshakes: in pieces, with data behind, cut short, cancelled at each step, resumed, refused."""

import asyncio
import contextlib
import datetime
import gc
import socket
import ssl
import threading

import pytest
from support import hygiene
from support.engines import NATIVE
from support.loops import TIMEOUT, turns, until
from support.net import BufferedRecord, Record, tcp_pair, unix_pair
from support.optional import need
from support.records import RecordPeer, client_connection, connection
from support.tls import CERTS, client, client_context, server_context

pytestmark = pytest.mark.tls

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


class Views(BufferedRecord):
    """Stock asyncio wants a memoryview."""

    def get_buffer(self, sizehint):
        return memoryview(super().get_buffer(sizehint))


def limited(context, version):
    context.minimum_version = context.maximum_version = version
    return context


def advance(tls, call, *args):
    """One step of an SSLObject; None if it wants more."""
    try:
        return call(*args)
    except ssl.SSLWantReadError:
        return None


class TestPieces:
    @both_versions
    @pytest.mark.parametrize("kind", [Record, Views], ids=["plain", "buffered"])
    def test_data_in_the_last_segment(self, loop, run, version, kind):
        """The end of the client's handshake, data and close_notify: all in one."""

        async def main():
            a, b = tcp_pair()
            with b:
                peer = RecordPeer(
                    b, limited(client_context(), version), server_hostname="localhost"
                )
                accepting = asyncio.ensure_future(
                    loop.connect_accepted_socket(kind, a, ssl=server_context())
                )
                raw = None
                while raw is None:
                    advance(peer.tls, peer.tls.do_handshake)
                    out = peer.outgoing.read()
                    if peer.tls.version() and peer.tls.session and version == VERSIONS[0]:
                        raw = out
                    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
                        peer.tls.write(b"first ")
                        peer.tls.write(b"data" * 5000)
                        raw = out + peer.outgoing.read()
                        break
                    await peer.send(out)
                    peer.incoming.write(await peer.recv())
                await peer.send(raw + peer.close_notify())
                _, protocol = await accepting
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
                assert protocol.data == b"first " + b"data" * 5000
                assert protocol.kinds == ["made", "data", "eof", "lost"]
            await turns(10)

        run(main())

    @both_versions
    @pytest.mark.parametrize("step", [1, 7])
    @pytest.mark.parametrize("side", ["server", "client"])
    def test_byte_after_byte(self, loop, run, version, step, side):
        async def main():
            a, b = tcp_pair()
            with b:
                if side == "server":
                    ends = loop.connect_accepted_socket(Record, a, ssl=server_context())
                    context = limited(client_context(), version)
                    peer = RecordPeer(b, context, server_hostname="localhost")
                else:
                    ends = loop.create_connection(
                        Record, sock=a, ssl=client_context(), server_hostname="localhost"
                    )
                    context = limited(server_context(), version)
                    peer = RecordPeer(b, context, server_side=True)
                task = asyncio.ensure_future(ends)
                whole = peer.send

                async def send(raw):
                    for at in range(0, len(raw), step):
                        await whole(raw[at : at + step])
                        await asyncio.sleep(0)

                peer.send = send
                await peer.handshake()
                transport, protocol = await task
                await peer.send(peer.record(b"hello"))
                assert await protocol.received(5) == b"hello"
                transport.write(b"answer")
                assert await peer.decrypted(6) == b"answer"
                transport.abort()
                await protocol.lost
            await turns(10)

        run(main())

    @both_versions
    def test_server_that_speaks_at_once(self, run, version):
        """Data behind the server's last message, before connection_made() has run."""

        async def main():
            theirs = limited(server_context(), version)
            loop = asyncio.get_running_loop()
            a, b = unix_pair()
            with b:
                peer = RecordPeer(b, theirs, server_side=True)
                connecting = asyncio.ensure_future(
                    loop.create_connection(
                        Record, sock=a, ssl=client_context(), server_hostname="localhost"
                    )
                )
                await peer.step(peer.tls.do_handshake)
                peer.tls.write(b"220 welcome")
                await peer.send(peer.outgoing.read())
                transport, protocol = await connecting
                assert await protocol.received(11) == b"220 welcome"
                assert protocol.events[0] == "made"
                transport.abort()
                await protocol.lost
            await turns(10)

        run(main())

    @pytest.mark.parametrize("count", [20, 60])
    def test_long_chains(self, loop, run, count, tmp_path):
        """Flights of many records: 100 KiB is what OpenSSL takes of one."""
        path = tmp_path / "chain.pem"
        make_chain(path, count, 1000)

        async def main():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
            a, b = unix_pair()
            (ta, pa), (tb, pb) = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=context),
                loop.create_connection(Record, sock=b, ssl=theirs, server_hostname="localhost"),
            )
            ta.write(b"hello")
            assert await pb.received(5) == b"hello"
            tb.close()
            await asyncio.gather(pa.lost, pb.lost)
            await turns(10)

        run(main())

    def test_chain_that_is_too_long(self, loop, run, tmp_path):
        path = tmp_path / "chain.pem"
        make_chain(path, 150, 1000)

        async def main():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
            a, b = unix_pair()
            results = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=context),
                loop.create_connection(Record, sock=b, ssl=theirs, server_hostname="localhost"),
                return_exceptions=True,
            )
            assert all(isinstance(result, OSError) for result in results)
            await turns(10)

        run(main())


def make_chain(path, count, size):
    """A file of a key, its certificate, and more certificates of about `size` bytes."""
    x509 = need("cryptography.x509")
    ec = need("cryptography.hazmat.primitives.asymmetric.ec")
    from cryptography.hazmat.primitives import hashes, serialization

    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    when = datetime.datetime(2020, 1, 1)
    for number in range(count):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"link {number}")])
        padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size - 300))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(number + 1)
            .not_valid_before(when)
            .not_valid_after(when.replace(year=2120))
            .add_extension(padding, critical=False)
            .sign(key, hashes.SHA256())
        )
        text += certificate.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(text)


class TestResumption:
    @both_versions
    @pytest.mark.parametrize("tickets", [True, False])
    @pytest.mark.parametrize("certificates", [False, True])
    def test_by_clients(self, loop, run, version, tickets, certificates):
        """With a ticket, or by the server's memory; client certificates need a session's id."""
        context = limited(server_context(), version)
        ours = limited(client_context(), version)
        if not tickets:
            context.options |= ssl.OP_NO_TICKET
        if certificates:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(CERTS / "other.pem")
            ours.load_cert_chain(CERTS / "other.pem")
        found = []

        class Server(Record):
            def data_received(self, data):
                super().data_received(data)
                sslobj = self.transport.get_extra_info("ssl_object")
                found.append((sslobj.session_reused, bool(sslobj.getpeercert())))
                self.transport.write(data)

        def work(address):
            session = None
            for _ in range(3):
                with socket.create_connection(address, TIMEOUT) as sock:
                    with ours.wrap_socket(
                        sock, server_hostname="localhost", session=session
                    ) as tls:
                        tls.sendall(b"x")
                        assert tls.recv(1) == b"x"
                        session = tls.session
                        tls.unwrap()

        async def main():
            protocols = []

            def make():
                protocols.append(Server())
                return protocols[-1]

            server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
            address = server.sockets[0].getsockname()
            await loop.run_in_executor(None, work, address)
            for protocol in protocols:
                await asyncio.wait_for(protocol.lost, TIMEOUT)
            server.close()
            await server.wait_closed()
            await loop.shutdown_default_executor()
            await turns(10)

        run(main())
        assert found == [(n > 0, certificates) for n in range(3)]

    def test_end_before_the_tickets_are_read(self, loop, run):
        """A client that writes, ends TLS and closes at once: the server has all."""

        def work(sock):
            sock.sendall(b"x" * 10_000)
            return True

        async def main():
            for _ in range(20):
                protocols = []

                def make(protocols=protocols):
                    protocols.append(Record())
                    return protocols[-1]

                server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
                address = server.sockets[0].getsockname()
                with client(
                    work, address, client_context(), server_hostname="localhost"
                ) as results:
                    await until(lambda results=results: results)
                await until(lambda protocols=protocols: "lost" in protocols[0].events)
                # A reset by the client's kernel may overtake what it sent, but no error of TLS.
                assert not isinstance(protocols[0].exc, ssl.SSLError)
                server.close()
                await server.wait_closed()
                await turns(10)

        run(main())


class TestVersions:
    @pytest.mark.parametrize("name", ["ECDHE+AESGCM", "ECDHE+CHACHA20", "ECDHE+AES"])
    def test_ciphers_of_tls_12(self, loop, run, name):
        async def main():
            theirs = limited(client_context(), VERSIONS[0])
            theirs.set_ciphers(name)
            for cipher in theirs.get_ciphers():
                if cipher["protocol"] != "TLSv1.2" or cipher["auth"] != "auth-ecdsa":
                    continue
                server = server_context()
                for context in (server, theirs):
                    context.set_ciphers(f"{cipher['name']}:@SECLEVEL=0")
                async with exchanging(loop, server, theirs) as (transport, _):
                    assert transport.get_extra_info("cipher")[0] == cipher["name"]

        run(main())

    @both_versions
    def test_sizes(self, loop, run, version):
        async def main():
            theirs = limited(client_context(), version)
            async with exchanging(loop, server_context(), theirs):
                pass

        run(main())

    def test_no_common_version(self, loop, run):
        async def main():
            a, b = unix_pair()
            results = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=limited(server_context(), VERSIONS[0])),
                loop.create_connection(
                    Record,
                    sock=b,
                    ssl=limited(client_context(), VERSIONS[1]),
                    server_hostname="localhost",
                ),
                return_exceptions=True,
            )
            assert all(isinstance(result, OSError) for result in results)
            assert any(isinstance(result, ssl.SSLError) for result in results)
            await turns(10)

        run(main())

    @pytest.mark.skipif(not getattr(ssl, "HAS_PSK", False), reason="ssl has PSK from 3.13 on")
    def test_shared_keys(self, loop, run):
        """Without certificates, by callbacks that are asked in the midst of the handshake."""
        asked = []

        async def main():
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
            for context in (server, theirs):
                context.maximum_version = VERSIONS[0]
                context.set_ciphers("PSK")
            theirs.set_psk_client_callback(lambda hint: ("me", b"k" * 32))

            def key(identity):
                asked.append(identity)
                gc.collect()
                return b"k" * 32

            server.set_psk_server_callback(key, "hint")
            async with exchanging(loop, server, theirs):
                pass

        run(main())
        assert asked == ["me"]

    @both_versions
    def test_certificate_of_the_client(self, loop, run, version):
        async def main():
            server = limited(server_context(), version)
            server.verify_mode = ssl.CERT_REQUIRED
            server.load_verify_locations(CERTS / "other.pem")
            theirs = client_context()
            theirs.load_cert_chain(CERTS / "other.pem")
            async with exchanging(loop, server, theirs) as (_, transport):
                assert transport.get_extra_info("peercert")["subject"]

        run(main())

    def test_certificate_that_is_missing(self, loop, run):
        """In TLS 1.3 the client is connected by then, and hears of it with its first read."""

        async def main():
            server = server_context()
            server.verify_mode = ssl.CERT_REQUIRED
            server.load_verify_locations(CERTS / "other.pem")
            a, b = unix_pair()
            results = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=server),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
                return_exceptions=True,
            )
            assert isinstance(results[0], ssl.SSLError)
            if not isinstance(results[1], Exception):
                exc = await asyncio.wait_for(results[1][1].lost, TIMEOUT)
                assert exc is None or isinstance(exc, OSError)
            await turns(10)

        run(main())


@contextlib.asynccontextmanager
async def exchanging(loop, server, theirs):
    """Both ends of a connection (the client's transport, the server's), after data both ways."""
    a, b = unix_pair()
    (ta, pa), (tb, pb) = await asyncio.gather(
        loop.connect_accepted_socket(Record, a, ssl=server),
        loop.create_connection(Record, sock=b, ssl=theirs, server_hostname="localhost"),
    )
    for size in (1, 1000, 16384, 16385, 200_000):
        data = bytes(range(256)) * (size // 256 + 1)
        ta.write(data[:size])
        tb.write(data[:size])
        assert await pb.received(size) == data[:size]
        assert await pa.received(size) == data[:size]
    try:
        yield tb, ta
    finally:
        tb.close()
        await asyncio.wait([pa.lost, pb.lost], timeout=TIMEOUT)
        assert pa.exc is None and pb.exc is None
        await turns(10)


class TestCutShort:
    """Whatever ends a handshake, and whenever: nothing is left, and who waits is told."""

    def connect(self, loop, sock, how):
        """Who waits for the handshake: a coroutine."""

        async def start_tls():
            transport, protocol = await loop.create_connection(Record, sock=sock)
            return (
                await loop.start_tls(
                    transport,
                    protocol,
                    client_context(),
                    server_hostname="localhost",
                    ssl_shutdown_timeout=0.02,
                ),
                protocol,
            )

        if how == "start_tls":
            return start_tls()
        if how == "accept":
            return loop.connect_accepted_socket(Record, sock, ssl=server_context())
        return loop.create_connection(
            Record, sock=sock, ssl=client_context(), server_hostname="localhost"
        )

    @pytest.mark.parametrize("how", ["connect", "accept", "start_tls"])
    def test_cancelled_after_each_turn(self, loop, run, how, engine):
        async def attempt(count):
            """Cancelled after so many turns; False if it was done before that."""
            a, b = unix_pair()
            context = client_context() if how == "accept" else server_context()
            side = {"server_hostname": "localhost"} if how == "accept" else {"server_side": True}
            with b:
                peer = RecordPeer(b, context, **side)
                shaking = asyncio.ensure_future(peer.handshake())
                task = asyncio.ensure_future(self.connect(loop, a, how))
                for _ in range(count):
                    await asyncio.sleep(0)
                late = task.done()
                task.cancel()
                try:
                    transport, protocol = await task
                    transport.abort()
                    await protocol.lost
                except asyncio.CancelledError:
                    pass
                finally:
                    if not count:
                        a.close()  # nobody has had it yet
                    shaking.cancel()
                    await asyncio.wait([shaking])
                    shaking.cancelled() or shaking.exception()
            await turns(5)
            return not late

        async def main():
            count = 0
            while await attempt(count):
                count += 1
                assert count < 1000
            if engine != NATIVE:
                await asyncio.sleep(0.05)  # asyncio.sslproto forgets a timer

        run(main())

    @pytest.mark.parametrize("how", ["connect", "accept", "start_tls"])
    @pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
    def test_peer_that_hangs_up(self, loop, run, how, reset):
        """After each number of bytes of its side."""

        async def attempt(allowed):
            a, b = tcp_pair()
            context = client_context() if how == "accept" else server_context()
            side = {"server_hostname": "localhost"} if how == "accept" else {"server_side": True}
            peer = RecordPeer(b, context, **side)
            task = asyncio.ensure_future(self.connect(loop, a, how))
            sent = 0
            try:
                while True:
                    advance(peer.tls, peer.tls.do_handshake)
                    out = peer.outgoing.read()
                    await peer.send(out[: allowed - sent])
                    sent += len(out)
                    if sent >= allowed:
                        break
                    if not out and task.done():
                        break
                    receiving = asyncio.ensure_future(peer.recv())
                    await asyncio.wait([receiving, task], return_when=asyncio.FIRST_COMPLETED)
                    if not receiving.done():
                        receiving.cancel()
                        await asyncio.wait([receiving])
                        break
                    peer.incoming.write(receiving.result())
            finally:
                peer.reset() if reset else peer.close()
            try:
                transport, protocol = await asyncio.wait_for(task, TIMEOUT)
            except OSError:
                return True
            transport.abort()
            await protocol.lost
            return sent >= allowed

        async def main():
            for allowed in (0, 1, 4, 5, 50, 200, 500, 1000, 1500):
                await attempt(allowed)
                await turns(5)

        run(main())

    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("count", range(0, 12, 2))
    def test_loop_that_is_closed(self, new_loop, count):
        """With a handshake on its way."""
        loop = new_loop()
        a, b = unix_pair()
        with b:
            peer = RecordPeer(b, server_context(), server_side=True)

            async def begin():
                tasks = [
                    asyncio.ensure_future(self.connect(loop, a, "connect")),
                    asyncio.ensure_future(peer.handshake()),
                ]
                await turns(count)
                for task in tasks:
                    task._log_destroy_pending = False
                return tasks

            tasks = loop.run_until_complete(begin())
            loop.close()
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.exception()
            tasks = loop = None
            a.close()
            hygiene.collect()

    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_loop_that_is_closed_with_connections(self, new_loop):
        loop = new_loop()

        async def begin():
            a, b = unix_pair()
            return await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=server_context()),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
            )

        ends = loop.run_until_complete(begin())
        ends[0][0].write(bytes(1 << 20))
        loop.close()
        for transport, _ in ends:
            with contextlib.suppress(RuntimeError):
                transport.write(b"x")
            with contextlib.suppress(RuntimeError):
                transport.abort()
        ends = loop = transport = _ = None
        hygiene.collect()

    def test_server_closed_meanwhile(self, loop, run):
        """... which does not end the connection."""

        async def main():
            protocols = []

            def make():
                protocols.append(Record())
                return protocols[-1]

            server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
            address = server.sockets[0].getsockname()
            sock = socket.create_connection(address)
            await until(lambda: protocols)
            server.close()
            transport, protocol = await loop.create_connection(
                Record, sock=sock, ssl=client_context(), server_hostname="localhost"
            )
            transport.write(b"hello")
            assert await protocols[0].received(5) == b"hello"
            transport.close()
            await asyncio.gather(protocol.lost, protocols[0].lost)
            await asyncio.wait_for(server.wait_closed(), TIMEOUT)
            await turns(10)

        run(main())

    def test_many_that_never_begin(self, loop, run):
        """They end with the timeout, all of them, and others are served meanwhile."""

        async def main():
            protocols = []

            def make():
                protocols.append(Record())
                return protocols[-1]

            server = await loop.create_server(
                make, "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=0.5, backlog=100
            )
            address = server.sockets[0].getsockname()
            idle = [socket.create_connection(address) for _ in range(50)]
            transport, protocol = await loop.create_connection(
                Record, *address, ssl=client_context(), server_hostname="localhost"
            )
            transport.close()
            await protocol.lost
            for sock in idle:
                sock.setblocking(False)
                with sock:
                    assert await asyncio.wait_for(loop.sock_recv(sock, 10), TIMEOUT) == b""
            server.close()
            await server.wait_closed()
            await turns(10)
            assert sum("made" in p.events for p in protocols) == 1

        run(main())


class TestGarbage:
    def test_connection_that_nobody_keeps(self, loop, run):
        """The loop keeps it, for as long as it reads."""

        async def main():
            got = loop.create_future()

            class Receive(asyncio.Protocol):
                def data_received(self, data):
                    got.set_result(data)

                def connection_lost(self, exc):
                    ended.set()

            ended = asyncio.Event()
            a, b = unix_pair()
            with b:
                peer = RecordPeer(b, server_context(), server_side=True)

                async def connect():
                    await loop.create_connection(
                        Receive, sock=a, ssl=client_context(), server_hostname="localhost"
                    )

                await asyncio.gather(connect(), peer.handshake())
                await turns(5)
                gc.collect()
                await peer.send(peer.record(b"still there"))
                assert await asyncio.wait_for(got, TIMEOUT) == b"still there"
                await peer.send(peer.close_notify())
                await asyncio.wait_for(ended.wait(), TIMEOUT)
            await turns(10)

        run(main())

    @pytest.mark.parametrize("at", ["made", "data", "lost"])
    def test_collected_in_callbacks(self, run, at):
        class Collecting(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                at == "made" and gc.collect()

            def data_received(self, data):
                super().data_received(data)
                at == "data" and gc.collect()

            def connection_lost(self, exc):
                at == "lost" and gc.collect()
                super().connection_lost(exc)

        async def main():
            async with connection(Collecting) as (protocol, peer):
                await peer.send(peer.record(b"x") + peer.close_notify())
                await protocol.lost
                assert protocol.kinds == ["made", "data", "eof", "lost"]

        run(main())


class TestHalfClose:
    @pytest.mark.parametrize("keep", [False, True])
    def test_answer_in_eof_received(self, run, keep, caplog):
        """What is written there still goes out: the peer has ended its own side only."""

        class Answering(Record):
            keep_open = keep

            def eof_received(self):
                self.transport.write(b"answer")
                return super().eof_received()

        async def main():
            async with connection(Answering) as (protocol, peer):
                await peer.send(peer.record(b"question") + peer.close_notify())
                await protocol.lost
                assert protocol.kinds == ["made", "data", "eof", "lost"]
                assert protocol.exc is None

        run(main())

    def test_close_notify_is_answered(self, run):
        async def main():
            async with client_connection() as (protocol, peer):
                await peer.send(peer.close_notify())
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
                raw = b""
                while part := await peer.recv():
                    raw += part
                peer.incoming.write(raw)
                peer.tls.unwrap()  # raises if there was no close_notify

        run(main())


def test_storm(loop, run):
    """Many handshakes at once, and a connection that goes on meanwhile."""

    def work(address, results):
        context = client_context()
        for _ in range(10):
            with socket.create_connection(address, TIMEOUT) as sock:
                with context.wrap_socket(sock, server_hostname="localhost") as tls:
                    tls.sendall(b"x")
                    results.append(tls.recv(1))

    class Echo(Record):
        def data_received(self, data):
            self.transport.write(data)

    async def main():
        results, protocols = [], []

        def make():
            protocols.append(Echo())
            return protocols[-1]

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context(), backlog=100)
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(
            Record, *address, ssl=client_context(), server_hostname="localhost"
        )
        threads = [threading.Thread(target=work, args=(address, results)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(results) < 80:
            transport.write(b"meanwhile")
            assert await protocol.received(9) == b"meanwhile"
        for thread in threads:
            thread.join()
        transport.close()
        await protocol.lost
        for each in protocols:
            await asyncio.wait_for(each.lost, TIMEOUT)
        server.close()
        await server.wait_closed()
        await turns(10)

    run(main(), timeout=60)
