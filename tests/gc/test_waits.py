"""A task that waits is known to nobody but what will call it back: so the loop must know it.

Each scenario is a coroutine that waits for one thing and, once that has come, is done. It is made a
task that nobody keeps; the collector runs while it waits; then what it waits for is brought about.
What a scenario hands out for that (peers of its sockets, the other ends of pipes) leads back to
nothing of the task's.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
import weakref

import pytest
from support import tls
from support.loops import turns, until

BULK = 8 * 1024 * 1024

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


class Scene:
    """What a scenario is told, and tells: start() begins the wait, and what comes of it is in
    `results`; `stack` closes what the other side has."""

    def __init__(self, loop, stack):
        self.loop, self.stack = loop, stack
        self.results = []
        self.task = lambda: None

    def start(self, coro):
        self.task = weakref.ref(self.loop.create_task(self._work(coro)))

    async def _work(self, coro):
        self.results.append(await coro)

    def gone(self):
        return self.results or self.task() is None

    def pair(self, family=socket.AF_UNIX, kind=socket.SOCK_STREAM):
        """The task's socket, which that has to close, and the peer."""
        mine, peer = socket.socketpair(family, kind)
        self.stack.callback(peer.close)
        mine.setblocking(False)
        peer.setblocking(False)
        return mine, peer

    def pipe(self):
        """The two ends of a pipe as files, the caller's to close."""
        read, write = os.pipe()
        return open(read, "rb", 0), open(write, "wb", 0)

    def address(self):
        """A listening socket and its address; a connection to it waits for its accept()."""
        server = self.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        server.setblocking(False)
        for _ in range(2):  # fill the queue
            sock = self.stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        return server

    async def swallow(self, peer):
        """Reads what comes until the task is done."""
        while not self.gone():
            with contextlib.suppress(BlockingIOError):
                if not peer.recv(1 << 20):
                    break
            await asyncio.sleep(0)

    async def accept_all(self, server):
        while not self.gone():
            with contextlib.suppress(BlockingIOError):
                self.stack.enter_context(server.accept()[0])
            await asyncio.sleep(0.001)


# ---- sock_* ----------------------------------------------------------------------------------


@scenario
async def sock_recv(scene):
    sock, peer = scene.pair()

    async def wait():
        with sock:
            return await asyncio.get_running_loop().sock_recv(sock, 10)

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def sock_recv_into(scene):
    sock, peer = scene.pair()

    async def wait():
        with sock:
            return await asyncio.get_running_loop().sock_recv_into(sock, bytearray(10))

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def sock_recvfrom(scene):
    sock, peer = scene.pair(kind=socket.SOCK_DGRAM)

    async def wait():
        with sock:
            return await asyncio.get_running_loop().sock_recvfrom(sock, 10)

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def sock_recvfrom_into(scene):
    sock, peer = scene.pair(kind=socket.SOCK_DGRAM)

    async def wait():
        with sock:
            return await asyncio.get_running_loop().sock_recvfrom_into(sock, bytearray(10))

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def sock_sendall(scene):
    sock, peer = scene.pair()

    async def wait():
        with sock:
            return await asyncio.get_running_loop().sock_sendall(sock, bytes(BULK))

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def sock_sendto(scene):
    path = os.path.join(scene.stack.enter_context(tempfile.TemporaryDirectory()), "peer")
    peer = scene.stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    peer.setblocking(False)
    peer.bind(path)

    async def wait():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.sendto(b"in the way", path)
            return await asyncio.get_running_loop().sock_sendto(sock, b"hello", path)

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def sock_accept(scene):
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    address = server.getsockname()

    async def wait():
        with server:
            conn, _ = await asyncio.get_running_loop().sock_accept(server)
            conn.close()

    scene.start(wait())

    def connect():
        sock = scene.stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)

    return connect


@scenario
async def sock_connect(scene):
    server = scene.address()
    address = server.getsockname()

    async def wait():
        with socket.socket() as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)

    scene.start(wait())
    return lambda: scene.accept_all(server)


@scenario
async def sock_sendfile(scene):
    sock, peer = scene.pair()

    async def wait():
        with sock, tempfile.TemporaryFile() as file:
            file.truncate(BULK)
            return await asyncio.get_running_loop().sock_sendfile(sock, file)

    scene.start(wait())
    return lambda: scene.swallow(peer)


# ---- connections -----------------------------------------------------------------------------


@scenario
async def create_connection_to_an_address(scene):
    server = scene.address()
    address = server.getsockname()

    async def wait():
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, *address
        )
        transport.close()

    scene.start(wait())
    return lambda: scene.accept_all(server)


@scenario
async def create_connection_to_a_name(scene):
    server = scene.address()
    port = server.getsockname()[1]

    async def wait():
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "localhost", port, family=socket.AF_INET
        )
        transport.close()

    scene.start(wait())
    return lambda: scene.accept_all(server)


@scenario
async def create_unix_connection(scene):
    path = os.path.join(scene.stack.enter_context(tempfile.TemporaryDirectory()), "server")

    async def wait():
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Lost(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.set_result(exc)

        await loop.create_unix_connection(Lost, path)
        await lost

    server = scene.stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(path)
    server.listen()
    scene.start(wait())
    return lambda: server.accept()[0].close()


def protocol_reading(base):
    """A scenario: a protocol of that class gets what is sent."""

    async def reading(scene):
        sock, peer = scene.pair()

        async def wait():
            loop = asyncio.get_running_loop()
            received = loop.create_future()
            buffer = bytearray(10)

            class Receive(base):
                def data_received(self, data):
                    received.set_result(data)

                def get_buffer(self, hint):
                    return buffer

                def buffer_updated(self, count):
                    received.set_result(buffer[:count])

            transport, _ = await loop.create_connection(Receive, sock=sock)
            data = await received
            transport.close()
            return data

        scene.start(wait())
        return lambda: peer.send(b"hello")

    return reading


SCENARIOS["protocol"] = protocol_reading(asyncio.Protocol)
SCENARIOS["buffered_protocol"] = protocol_reading(asyncio.BufferedProtocol)


def stream_reading(read):
    """A scenario: a server's StreamReader.<read>() gets what is sent. (The reader of a client is
    the program's to keep: its protocol refers to it weakly.)"""

    async def reading(scene):
        sock, peer = scene.pair()

        async def handle(reader, writer):
            scene_results.append(await read(reader))
            writer.close()

        scene_results = scene.results
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader, handle), sock=sock
        )
        scene.task = lambda: True

        def send():
            peer.send(b"a line\n")
            peer.shutdown(socket.SHUT_WR)

        return send

    return reading


SCENARIOS["stream_read"] = stream_reading(lambda reader: reader.read())
SCENARIOS["stream_read_some"] = stream_reading(lambda reader: reader.read(100))
SCENARIOS["stream_readline"] = stream_reading(lambda reader: reader.readline())
SCENARIOS["stream_readexactly"] = stream_reading(lambda reader: reader.readexactly(3))


@scenario
async def stream_drain(scene):
    sock, peer = scene.pair()

    async def wait():
        _, writer = await asyncio.open_connection(sock=sock)
        writer.write(bytes(BULK))
        await writer.drain()
        writer.transport.abort()

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def stream_wait_closed(scene):
    sock, peer = scene.pair()

    async def wait():
        _, writer = await asyncio.open_connection(sock=sock)
        writer.write(bytes(BULK))
        writer.close()
        await writer.wait_closed()

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def sendfile(scene):
    sock, peer = scene.pair()

    async def wait():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        with tempfile.TemporaryFile() as file:
            file.truncate(BULK)
            sent = await loop.sendfile(transport, file)
        transport.close()
        return sent

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def datagrams(scene):
    sock, peer = scene.pair(kind=socket.SOCK_DGRAM)

    async def wait():
        loop = asyncio.get_running_loop()
        received = loop.create_future()

        class Receive(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                received.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Receive, sock=sock)
        data = await received
        transport.close()
        return data

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def serve_forever(scene):
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()

    async def wait():
        async def handle(reader, writer):
            writer.close()
            server.close()

        server = await asyncio.start_server(handle, sock=listening)
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    scene.start(wait())

    def connect():
        sock = scene.stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)

    return connect


# ---- TLS -------------------------------------------------------------------------------------


def shake_hands(peer, serve):
    """The server's side of TLS, in a thread."""
    peer.settimeout(20)

    def work():
        with tls.server_context().wrap_socket(peer, server_side=True) as secure:
            serve(secure)

    return asyncio.get_running_loop().run_in_executor(None, work)


@scenario
async def tls_handshake(scene):
    sock, peer = scene.pair()

    async def wait():
        _, writer = await asyncio.open_connection(
            sock=sock, ssl=tls.client_context(), server_hostname="localhost"
        )
        writer.close()
        await writer.wait_closed()

    scene.start(wait())
    return lambda: shake_hands(peer, lambda secure: secure.recv(1))


@scenario
async def start_tls(scene):
    sock, peer = scene.pair()

    async def wait():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=sock)
        secure = await loop.start_tls(
            transport, protocol, tls.client_context(), server_hostname="localhost"
        )
        secure.close()
        await turns()

    scene.start(wait())
    return lambda: shake_hands(peer, lambda secure: secure.recv(1))


@scenario
async def tls_read(scene):
    sock, peer = scene.pair()
    ready = asyncio.Event()
    answer = threading.Event()

    async def wait():
        loop = asyncio.get_running_loop()
        received = loop.create_future()

        class Receive(asyncio.Protocol):
            def data_received(self, data):
                received.set_result(data)

        transport, _ = await loop.create_connection(
            Receive, sock=sock, ssl=tls.client_context(), server_hostname="localhost"
        )
        ready.set()
        data = await received
        transport.abort()
        return data

    def serve(secure):
        answer.wait(20)
        secure.send(b"hello")

    scene.start(wait())
    serving = shake_hands(peer, serve)
    await ready.wait()

    def send():
        answer.set()
        return serving

    return send


# ---- descriptors and signals -----------------------------------------------------------------


@scenario
async def add_reader(scene):
    sock, peer = scene.pair()

    async def wait():
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        with sock:
            loop.add_reader(sock, lambda: ready.done() or ready.set_result("ready"))
            try:
                return await ready
            finally:
                loop.remove_reader(sock)

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def add_reader_of_an_object(scene):
    """Nobody else has the object, whose descriptor would be closed with it."""
    sock, peer = scene.pair()
    fd = sock.fileno()
    ready = []

    class Closes:
        def __init__(self, sock):
            self.sock = sock

        def fileno(self):
            return fd

        def __del__(self):
            self.sock.close()

    scene.loop.add_reader(Closes(sock), ready.append, 1)
    del sock

    async def wait():
        await until(lambda: ready)
        asyncio.get_running_loop().remove_reader(fd)

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def add_writer(scene):
    sock, peer = scene.pair()

    async def wait():
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        with sock:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(bytes(BULK))
            loop.add_writer(sock, lambda: ready.done() or ready.set_result("ready"))
            try:
                return await ready
            finally:
                loop.remove_writer(sock)

    scene.start(wait())
    return lambda: scene.swallow(peer)


@scenario
async def add_signal_handler(scene):
    async def wait():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, got.set_result, "got it")
        try:
            return await got
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    scene.start(wait())
    return lambda: os.kill(os.getpid(), signal.SIGUSR1)


# ---- timers and threads ----------------------------------------------------------------------


@scenario
async def sleep(scene):
    scene.start(asyncio.sleep(0.1, "slept"))


@scenario
async def call_later(scene):
    async def wait():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, done.set_result, None)
        await done

    scene.start(wait())


@scenario
async def call_at(scene):
    async def wait():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_at(
            asyncio.get_running_loop().time() + 0.1, done.set_result, None
        )
        await done

    scene.start(wait())


@scenario
async def call_soon(scene):
    async def wait():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done

    scene.start(wait())


@scenario
async def wait_for(scene):
    async def wait():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.1)

    scene.start(wait())


@scenario
async def wait_for_timeout_of_a_wait(scene):
    sock, _peer = scene.pair()

    async def wait():
        with sock, contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 10), 0.1)

    scene.start(wait())


@scenario
async def run_in_executor(scene):
    event = threading.Event()

    async def wait():
        return await asyncio.get_running_loop().run_in_executor(None, event.wait, 20)

    scene.start(wait())
    return event.set


@scenario
async def to_thread(scene):
    event = threading.Event()
    scene.start(asyncio.to_thread(event.wait, 20))
    return event.set


def name_lookup(name, *args):
    """A scenario: the socket module's function of that name takes until it is let go on."""

    async def looking_up(scene):
        event = threading.Event()
        function = getattr(socket, name)

        def slow(*args, **kwargs):
            event.wait(20)
            return function(*args, **kwargs)

        setattr(socket, name, slow)
        scene.stack.callback(setattr, socket, name, function)

        async def wait():
            return await getattr(asyncio.get_running_loop(), name)(*args)

        scene.start(wait())
        return event.set

    return looking_up


SCENARIOS["getaddrinfo"] = name_lookup("getaddrinfo", "localhost", 80)
SCENARIOS["getnameinfo"] = name_lookup("getnameinfo", ("127.0.0.1", 80))


# ---- what one task hands to another ----------------------------------------------------------


@scenario
async def event_set_by_a_timer(scene):
    async def wait():
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, event.set)
        await event.wait()

    scene.start(wait())


@scenario
async def queue_filled_by_a_reader(scene):
    sock, peer = scene.pair()

    async def wait():
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue()
        with sock:
            loop.add_reader(sock, lambda: queue.put_nowait(sock.recv(10)))
            try:
                return await queue.get()
            finally:
                loop.remove_reader(sock)

    scene.start(wait())
    return lambda: peer.send(b"hello")


@scenario
async def task_of_a_task(scene):
    sock, peer = scene.pair()

    async def wait():
        with sock:
            return await asyncio.get_running_loop().create_task(
                asyncio.get_running_loop().sock_recv(sock, 10)
            )

    scene.start(wait())
    return lambda: peer.send(b"hello")


# ---- processes and pipes ---------------------------------------------------------------------


def process(use, **options):
    """A scenario: a child that ends once it has read a line."""

    async def waiting(scene):
        read, write = scene.pipe()
        scene.stack.enter_context(write)
        started = asyncio.Event()

        async def wait():
            with read:
                child = await asyncio.create_subprocess_exec(
                    sys.executable, "-S", "-c", "print(input())", stdin=read, **options
                )
            started.set()
            return await use(child)

        scene.start(wait())
        await started.wait()
        return lambda: write.write(b"a line\n")

    return waiting


PIPE = asyncio.subprocess.PIPE
SCENARIOS["process_wait"] = process(lambda child: child.wait(), stdout=asyncio.subprocess.DEVNULL)
SCENARIOS["process_communicate"] = process(lambda child: child.communicate(), stdout=PIPE)


@scenario
async def connect_read_pipe(scene):
    read, write = scene.pipe()
    scene.stack.enter_context(write)

    async def wait():
        loop = asyncio.get_running_loop()
        received = loop.create_future()

        class Receive(asyncio.Protocol):
            def data_received(self, data):
                received.set_result(data)

        transport, _ = await loop.connect_read_pipe(Receive, read)
        data = await received
        transport.close()
        return data

    scene.start(wait())
    return lambda: write.write(b"a line\n")


@scenario
async def connect_write_pipe(scene):
    read, write = scene.pipe()
    scene.stack.enter_context(read)
    os.set_blocking(read.fileno(), False)

    async def wait():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, write)
        transport.write(bytes(BULK))
        await protocol._drain_helper()
        transport.abort()

    scene.start(wait())

    async def swallow():
        while not scene.gone():
            read.read(1 << 20)
            await asyncio.sleep(0)

    return swallow


# ----------------------------------------------------------------------------------------------


async def play(loop, begin):
    with contextlib.ExitStack() as stack:
        scene = Scene(loop, stack)
        go_on = await begin(scene)
        for _ in range(3):
            await turns(3)
            gc.collect()
        fed = go_on() if go_on is not None else None
        if asyncio.isfuture(fed) or asyncio.iscoroutine(fed):
            await fed
        await until(scene.gone)
        assert scene.results, "the task is gone"
        await turns(10)


TLS = [name for name in SCENARIOS if "tls" in name]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in TLS])
def test_task_that_only_the_loop_keeps(loop, run, name):
    run(play(loop, SCENARIOS[name]))
    gc.collect()


@pytest.mark.tls
@pytest.mark.parametrize("name", TLS)
def test_task_that_only_tls_keeps(loop, run, name):
    run(play(loop, SCENARIOS[name]))
    gc.collect()
