"""User code that OpenSSL calls, contexts that are somebody's own, and the SSLObject in a program's
hands: what aiofastnet crashes with, and what it leaves out.
"""

import asyncio
import contextlib
import ctypes
import gc
import ssl
import threading

import pytest
from support import hygiene
from support.engines import NATIVE, VARIABLE
from support.loops import TIMEOUT, turns, until
from support.net import Record, tcp_pair, unix_pair
from support.records import RecordPeer, client_connection, connection
from support.tls import CERTS, client_context, server_context

pytestmark = pytest.mark.tls


async def both(loop, server, client, **kwargs):
    """Both ends of a connection on the loop: (transport, protocol), or what was raised."""
    a, b = unix_pair()
    return await asyncio.gather(
        loop.connect_accepted_socket(Record, a, ssl=server),
        loop.create_connection(Record, sock=b, ssl=client, server_hostname="localhost", **kwargs),
        return_exceptions=True,
    )


async def exchange(*ends):
    """Data both ways, then the end."""
    (ta, pa), (tb, pb) = ends
    data = bytes(range(256)) * 300
    ta.write(data)
    tb.write(data)
    assert await pa.received(len(data)) == data
    assert await pb.received(len(data)) == data
    tb.close()
    await asyncio.wait([pa.lost, pb.lost], timeout=TIMEOUT)
    assert pa.exc is None and pb.exc is None
    await turns(10)


class TestServerName:
    """sni_callback runs inside of OpenSSL, in the midst of the handshake."""

    @pytest.mark.known("stock", reason="start_tls() returns None")
    @pytest.mark.parametrize("what", ["abort", "close"])
    def test_that_ends_the_transport(self, loop, run, what):
        """... that start_tls() was called for."""
        self.upgraded(loop, run, what)

    def test_that_pauses_the_transport(self, loop, run):
        self.upgraded(loop, run, "pause_reading")

    def upgraded(self, loop, run, what):
        seen = []

        async def main():
            a, b = tcp_pair()
            transport, protocol = await loop.create_connection(Record, sock=a)
            context = server_context()

            def callback(*args):
                seen.append(what)
                getattr(transport, what)()

            context.sni_callback = callback
            with b:
                peer = RecordPeer(b, client_context(), server_hostname="localhost")
                shaking = asyncio.ensure_future(peer.handshake())
                upgrading = loop.start_tls(
                    transport, protocol, context, server_side=True, ssl_handshake_timeout=1
                )
                with pytest.raises(OSError):
                    await upgrading
                assert transport.is_closing()
                shaking.cancel()
                await asyncio.wait([shaking])
                shaking.cancelled() or shaking.exception()
            await turns(10)

        run(main())
        assert seen == [what]

    def test_that_cancels(self, loop, run):
        """... the task that waits for the handshake."""

        async def main():
            a, b = unix_pair()
            context = server_context()
            context.sni_callback = lambda *args: task.cancel() and None
            task = loop.create_task(loop.connect_accepted_socket(Record, a, ssl=context))
            with b:
                peer = RecordPeer(b, client_context(), server_hostname="localhost")
                with contextlib.suppress(ssl.SSLError, ConnectionError):
                    await peer.handshake()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await turns(10)

        run(main())

    def test_that_collects(self, loop, run):
        async def main():
            context = server_context()
            context.sni_callback = lambda *args: (gc.collect(), None)[1]
            await exchange(*await both(loop, context, client_context()))

        run(main())

    def test_that_drops_its_context(self, loop, run):
        """The callback takes itself, and all that it has, out of the context."""

        async def main():
            context = server_context()

            def callback(sslobj, name, its):
                its.sni_callback = None
                sslobj.context = server_context("other")
                gc.collect()

            context.sni_callback = callback
            ours = client_context("other")
            ours.check_hostname = False
            ends = await both(loop, context, ours)
            del context, callback
            gc.collect()
            await exchange(*ends)

        run(main())

    def test_that_gives_a_context_with_callbacks(self, loop, run, tmp_path):
        """A context that comes late may have a key log, and a message callback."""
        messages = []

        async def main():
            second = server_context()
            second.keylog_filename = str(tmp_path / "keys")
            second._msg_callback = lambda *args: messages.append(args[1])
            context = server_context()

            def callback(sslobj, name, its):
                sslobj.context = second

            context.sni_callback = callback
            await exchange(*await both(loop, context, client_context()))

        run(main())
        assert messages

    @pytest.mark.engines(NATIVE, reason="_ssl crashes where its object is used from within")
    @pytest.mark.parametrize("way", ["read", "write"])
    @pytest.mark.parametrize("end", ["own", "other"])
    @pytest.mark.parametrize("what", ["write", "close", "abort"])
    def test_that_gives_a_context_whose_callback_uses_a_transport(self, loop, run, way, end, what):
        """Its own or another one, from inside of OpenSSL, for each record of its own."""
        used = []

        async def main():
            others = await both(loop, server_context(), client_context())
            second, context = server_context(), server_context()
            ends = []

            def callback(conn, direction, *more):
                if ends and direction == way and not used:
                    used.append(direction)
                    target = ends[0][0] if end == "own" else others[0][0]
                    getattr(target, what)(*[b"inside"][: what == "write"])

            second._msg_callback = callback

            def choose(sslobj, name, its):
                sslobj.context = second

            context.sni_callback = choose
            shaken = await both(loop, context, client_context())
            (ta, pa), (tb, pb) = shaken
            await turns(20)
            ends.extend(shaken)
            tb.write(b"question")
            if way == "write" or end == "other" or what == "write":
                assert await pa.received(8) == b"question"
                ta.write(b"answer")
            await until(lambda: used)
            if what == "write":
                peer = pb if end == "own" else others[1][1]
                await until(lambda: b"inside" in bytes(peer.data))
            second._msg_callback = None
            for transport, protocol in (*shaken, *others):
                transport.abort()
                await asyncio.wait_for(protocol.lost, TIMEOUT)
            await turns(20)

        run(main())

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    def test_that_raises(self, loop, run, error, monkeypatch):
        unraisable = []
        monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(args.exc_type))

        async def main():
            def callback(*args):
                raise error

            context = server_context()
            context.sni_callback = callback
            results = await both(loop, context, client_context())
            assert all(isinstance(result, OSError) for result in results)
            await turns(10)

        run(main())
        assert unraisable == [error]

    def test_what_it_sees(self, loop, run):
        """The SSLObject that get_extra_info() gives afterwards, the name, the context."""
        seen = []

        async def main():
            context = server_context()
            context.sni_callback = lambda *args: seen.append(args)
            ends = await both(loop, context, client_context())
            assert seen[0][0] is ends[0][0].get_extra_info("ssl_object")
            assert seen[0][1:] == ("localhost", context)
            await exchange(*ends)

        run(main())
        seen.clear()


class TestMessages:
    """_msg_callback, by which CPython's tests and debuggers watch the protocol."""

    @pytest.fixture(autouse=True)
    def engine_is_free(self, engine, monkeypatch):
        """The native engine leaves such a context to the other one, and nobody insists on it."""
        if engine == NATIVE:
            monkeypatch.delenv(VARIABLE)

    @pytest.mark.engines(NATIVE, reason="of the variable that insists on it")
    def test_fails_where_the_native_engine_is_insisted_on(self, loop, run, monkeypatch):
        async def main():
            theirs = client_context()
            theirs._msg_callback = lambda *args: None
            a, b = unix_pair()
            with a, b:
                with pytest.raises(RuntimeError, match=r"MOODLOOP_TLS=native.*message callback"):
                    await loop.create_connection(
                        Record, sock=a, ssl=theirs, server_hostname="localhost"
                    )
            theirs._msg_callback = None

        monkeypatch.setenv(VARIABLE, NATIVE)
        run(main())

    def test_sees_all(self, loop, run):
        seen = {"server": [], "client": []}

        async def main():
            contexts = []
            for name, make in (("server", server_context), ("client", client_context)):
                contexts.append(make())
                log = seen[name].append
                contexts[-1]._msg_callback = lambda c, way, *more, log=log: log((way, more[1]))
            await exchange(*await both(loop, *contexts))
            for context in contexts:
                context._msg_callback = None

        run(main())
        for found in seen.values():
            assert {way for way, _ in found} == {"read", "write"}
            assert len(found) > 20

    def test_set_on_a_connection_that_is_there(self, loop, run):
        """It counts at the next message, as `_ssl` has it: for new connections."""
        seen = []

        async def main():
            theirs = client_context()
            ends = await both(loop, server_context(), theirs)
            theirs._msg_callback = lambda *args: seen.append(args[1])
            await exchange(*ends)
            await exchange(*await both(loop, server_context(), theirs))
            theirs._msg_callback = None

        run(main())
        assert seen

    @pytest.mark.parametrize("what", ["write", "close", "abort", "pause_reading", "collect"])
    def test_that_uses_the_transport(self, loop, run, what):
        """In the midst of a read or a write."""
        done = []

        async def main():
            theirs = client_context()
            transport = None

            def callback(*args):
                if transport is not None and not done:
                    done.append(what)
                    if what == "collect":
                        gc.collect()
                    else:
                        getattr(transport, what)(*[b"more"][: what == "write"])

            theirs._msg_callback = callback
            (ta, pa), (tb, pb) = await both(loop, server_context(), theirs)
            transport = tb
            ta.write(b"hello")
            await until(lambda: done)
            await turns(20)
            for end, protocol in ((ta, pa), (tb, pb)):
                end.abort()
                await asyncio.wait_for(protocol.lost, TIMEOUT)
            theirs._msg_callback = None
            transport = None
            await turns(10)

        run(main())
        assert done == [what]


class TestKeyLog:
    def lines(self, path):
        return [line.split()[0] for line in path.read_text().splitlines() if line[:1] != "#"]

    def test_of_contexts(self, loop, run, tmp_path):
        async def main():
            server, client = server_context(), client_context()
            server.keylog_filename = str(tmp_path / "server")
            client.keylog_filename = str(tmp_path / "client")
            for _ in range(2):
                await exchange(*await both(loop, server, client))
            server.keylog_filename = client.keylog_filename = None

        run(main())
        for name in ("server", "client"):
            assert self.lines(tmp_path / name).count("CLIENT_TRAFFIC_SECRET_0") == 2

    def test_by_the_environment(self, loop, run, tmp_path, monkeypatch):
        path = tmp_path / "keys"
        monkeypatch.setenv("SSLKEYLOGFILE", str(path))

        async def main():
            await exchange(*await both(loop, server_context(), client_context()))

        run(main())
        gc.collect()
        assert "CLIENT_TRAFFIC_SECRET_0" in self.lines(path)


class Wrapped(ssl.SSLContext):
    """As truststore has it: an ordinary context that is another one's front."""

    def __new__(cls, inner):
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, inner):
        self.inner = inner
        self.calls = 0

    def wrap_bio(self, *args, **kwargs):
        self.calls += 1
        return self.inner.wrap_bio(*args, **kwargs)


class TestContexts:
    def test_one_in_front_of_another(self, loop, run):
        """Whose own settings trust nobody."""

        async def main():
            context = Wrapped(client_context())
            ends = await both(loop, server_context(), context)
            assert context.calls == 1
            await exchange(*ends)
            untrusting = Wrapped(client_context("other"))
            results = await both(loop, server_context(), untrusting)
            assert isinstance(results[1], ssl.SSLCertVerificationError)
            await turns(10)

        run(main())

    def test_session_of_an_earlier_connection(self, loop, run):
        """By a context whose wrap_bio() gives it."""

        class Resuming(Wrapped):
            session = None

            def wrap_bio(self, *args, **kwargs):
                return super().wrap_bio(*args, session=self.session, **kwargs)

        async def main():
            server, context = server_context(), Resuming(client_context())
            for reused in (False, True, True):
                (ta, pa), (tb, pb) = await both(loop, server, context)
                ta.write(b"x")  # behind the ticket
                await pb.received(1)
                objects = [t.get_extra_info("ssl_object") for t in (ta, tb)]
                assert [o.session_reused for o in objects] == [reused] * 2
                context.session = objects[1].session
                assert context.session.has_ticket
                await exchange((ta, pa), (tb, pb))

        run(main())

    @pytest.mark.parametrize("overrides", [False, True])
    def test_objects_of_another_class(self, loop, run, overrides, engine, monkeypatch):
        if overrides and engine == NATIVE:
            monkeypatch.delenv(VARIABLE)  # left to the other engine
        calls = []

        class Plain(ssl.SSLObject):
            pass

        class Counting(ssl.SSLObject):
            def read(self, *args):
                calls.append("read")
                return super().read(*args)

            def write(self, *args):
                calls.append("write")
                return super().write(*args)

            def do_handshake(self):
                calls.append("do_handshake")
                super().do_handshake()

            def unwrap(self):
                calls.append("unwrap")
                return super().unwrap()

        async def main():
            kind = Counting if overrides else Plain
            theirs = client_context()
            theirs.sslobject_class = kind
            ends = await both(loop, server_context(), theirs)
            assert type(ends[1][0].get_extra_info("ssl_object")) is kind
            await exchange(*ends)

        run(main())
        assert set(calls) == ({"read", "write", "do_handshake", "unwrap"} if overrides else set())

    def test_used_by_many_threads(self, loop_factory):
        """One context, a loop in each of four threads."""
        server, theirs = server_context(), client_context()
        failed = []

        def work():
            loop = loop_factory()
            try:

                async def main():
                    for _ in range(10):
                        await exchange(*await both(loop, server, theirs))

                loop.run_until_complete(asyncio.wait_for(main(), TIMEOUT))
            except BaseException as exc:
                failed.append(exc)
            finally:
                loop.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed

    def test_changed_while_in_use(self, loop, run):
        """Certificates and options of a context may change between connections."""

        async def main():
            context = server_context()
            await exchange(*await both(loop, context, client_context()))
            context.load_cert_chain(CERTS / "other.pem")
            ours = client_context("other")
            ours.check_hostname = False
            await exchange(*await both(loop, context, ours))

        run(main())


def use(sslobj):
    """Each thing that a program can do with an SSLObject; none may crash."""
    for what in (
        sslobj.version,
        sslobj.cipher,
        sslobj.getpeercert,
        sslobj.selected_alpn_protocol,
        sslobj.get_channel_binding,
        sslobj.shared_ciphers,
        sslobj.compression,
        sslobj.pending,
        lambda: sslobj.session,
        lambda: sslobj.session_reused,
        lambda: sslobj.read(10),
        lambda: sslobj.write(b"x"),
        sslobj.do_handshake,
        sslobj.unwrap,
        lambda: sslobj.context,
        lambda: sslobj.server_hostname,
    ):
        with contextlib.suppress(ssl.SSLError, ValueError, OSError):
            what()


class TestObject:
    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_kept_after_the_end(self, loop, run, end):
        async def main():
            (ta, pa), (tb, pb) = await both(loop, server_context(), client_context())
            objects = [t.get_extra_info("ssl_object") for t in (ta, tb)]
            getattr(tb, end)()
            await asyncio.wait([pa.lost, pb.lost], timeout=TIMEOUT)
            await turns(10)
            assert [o.version() for o in objects] == ["TLSv1.3"] * 2
            for _ in range(2):
                for sslobj in objects:
                    use(sslobj)
                ta = tb = pa = pb = None
                hygiene.collect()

        run(main())

    def test_kept_after_the_loop(self, new_loop):
        loop = new_loop()
        (ta, _), (tb, _) = ends = loop.run_until_complete(
            both(loop, server_context(), client_context())
        )
        objects = [t.get_extra_info("ssl_object") for t in (ta, tb)]
        for transport, _ in ends:
            transport.abort()
        loop.run_until_complete(turns(10))
        loop.close()
        for sslobj in objects:
            use(sslobj)

    def test_kept_of_a_handshake_that_failed(self, loop, run):
        kept = []

        async def main():
            context = server_context()
            context.sni_callback = lambda sslobj, *more: kept.append(sslobj)
            results = await both(loop, context, client_context("other"))
            assert all(isinstance(result, OSError) for result in results)
            await turns(10)

        run(main())
        use(kept.pop())

    def test_written_through(self, run):
        """What a program writes by the SSLObject is in order with what the transport writes."""

        async def main():
            async with connection() as (protocol, peer):
                protocol.transport.write(b"one ")
                assert protocol.transport.get_extra_info("ssl_object").write(b"two ") == 4
                protocol.transport.write(b"three")
                assert await peer.decrypted(13) == b"one two three"

        run(main())

    def test_tells_of_the_connection(self, run):
        async def main():
            async with client_connection() as (protocol, peer):
                sslobj = protocol.transport.get_extra_info("ssl_object")
                assert sslobj.version() == peer.tls.version()
                assert sslobj.cipher() == peer.tls.cipher()
                assert sslobj.cipher() == protocol.transport.get_extra_info("cipher")
                assert sslobj.getpeercert() == protocol.transport.get_extra_info("peercert")
                assert sslobj.server_hostname == "localhost" and not sslobj.server_side
                for kind in ssl.CHANNEL_BINDING_TYPES:
                    assert sslobj.get_channel_binding(kind) == peer.tls.get_channel_binding(kind)

        run(main())

    def test_asks_for_a_certificate_later(self, loop, run):
        """Post-handshake authentication, asked for by a server's program."""

        async def main():
            server, theirs = server_context(), client_context()
            server.verify_mode = ssl.CERT_REQUIRED
            server.post_handshake_auth = theirs.post_handshake_auth = True
            server.load_verify_locations(CERTS / "other.pem")
            theirs.load_cert_chain(CERTS / "other.pem")
            (ta, pa), (tb, pb) = await both(loop, server, theirs)
            sslobj = ta.get_extra_info("ssl_object")
            assert sslobj.getpeercert() is None
            sslobj.verify_client_post_handshake()
            ta.write(b"who are you?")
            assert await pb.received(12) == b"who are you?"
            tb.write(b"this")
            assert await pa.received(4) == b"this"
            assert sslobj.getpeercert()["subject"]
            await exchange((ta, pa), (tb, pb))

        run(main())


def leave_an_error():
    """An entry in OpenSSL's error queue of this thread, as a careless library leaves it."""
    import _ssl

    try:
        library = ctypes.PyDLL(_ssl.__file__)
        library.ERR_new()
        library.ERR_set_error(35, 1, None)
    except AttributeError:
        pytest.skip("this Python's OpenSSL cannot be reached")


@pytest.mark.known("stock", "python", reason="_ssl takes it for an error of its own")
@pytest.mark.parametrize("when", ["handshake", "data", "close"])
def test_error_of_somebody_else(loop, run, when, engine):
    """OpenSSL's queue of errors is one for a thread: what others left there ends no connection."""

    class Leaving(Record):
        def data_received(self, data):
            super().data_received(data)
            leave_an_error()

    async def main():
        a, b = unix_pair()
        with b:
            peer = RecordPeer(b, client_context(), server_hostname="localhost")
            accepting = asyncio.ensure_future(
                loop.connect_accepted_socket(Leaving, a, ssl=server_context())
            )
            await turns(3)
            if when == "handshake":
                leave_an_error()
            await peer.handshake()
            transport, protocol = await accepting
            for n in range(3):
                raw = peer.record(b"%03d" % n)
                for part in (raw[:10], raw[10:]):
                    if when == "data":
                        leave_an_error()
                    await peer.send(part)
                    await turns(5)
                assert await protocol.received(3) == b"%03d" % n
                transport.write(b"answer")
                assert await peer.decrypted(6) == b"answer"
            if when == "close":
                leave_an_error()
            transport.close()
            assert await peer.outcome() == "close_notify"
            leave_an_error()
            await peer.send(peer.close_notify())
            assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
            await turns(10)

    try:
        run(main())
    finally:
        if engine != NATIVE:
            with contextlib.suppress(ssl.SSLError):
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="x")
