"""The programs that the faults strike, each a coroutine function that takes a Report.

Client and server are on one loop, so both sides are under test and the calls come in the same
order each time. A program checks every byte, says what is incomplete, and leaves nothing open.
"""

import asyncio
import contextlib
import functools
import os
import random
import signal
import socket
import threading

from support.tls import client_context, server_context

BUFFER = 16384
SIZES = (10, 5_000, 120_000, 250_000)
CHUNKS = (1, 100, 3_000, 40_000, 70_000)


@functools.cache
def payload(number, size):
    return random.Random(number).randbytes(size)


def shrink(sock):
    """A small buffer, so that writers feel back pressure; a smaller one makes TCP wait."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


# ---- protocols -----------------------------------------------------------------------------------


class Endpoint(asyncio.Protocol):
    """One end of a connection: counts its events and keeps what it receives."""

    def __init__(self, report, name):
        self.report = report
        self.name = name
        self.received = bytearray()
        self.made = self.losses = 0
        self.paused = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.made += 1
        if self.made > 1:
            self.report.problem(f"{self.name}: connection_made() twice")
        self.transport = transport
        shrink(transport.get_extra_info("socket"))

    def data_received(self, data):
        if self.losses or not self.made:
            self.report.problem(f"{self.name}: data outside of the connection")
        if not data:
            self.report.problem(f"{self.name}: empty data")
        self.received += data

    def pause_writing(self):
        if self.paused:
            self.report.problem(f"{self.name}: paused twice")
        self.paused = True

    def resume_writing(self):
        if not self.paused:
            self.report.problem(f"{self.name}: resumed without a pause")
        self.paused = False

    def connection_lost(self, exc):
        self.losses += 1
        if self.losses > 1:
            self.report.problem(f"{self.name}: connection_lost() twice")
        if exc is not None:
            self.report.error(f"{self.name}: connection_lost", exc)
        if not self.lost.done():
            self.lost.set_result(None)


class Echo(Endpoint):
    """Sends back what it receives, no faster than it is taken."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)

    def pause_writing(self):
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self):
        super().resume_writing()
        self.transport.resume_reading()


class BufferedEcho(Echo, asyncio.BufferedProtocol):
    def connection_made(self, transport):
        super().connection_made(transport)
        self.buffer = bytearray(8192)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, size):
        Echo.data_received(self, bytes(self.buffer[:size]))

    data_received = None


class Client(Endpoint):
    """Sends its payload in pieces of many sizes and closes when all of it has come back."""

    def __init__(self, report, number, size):
        super().__init__(report, f"client {number}")
        self.number = number
        self.payload = payload(number, size)
        self.sent = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        self.send()

    def send(self):
        chunk = self.number
        while self.sent < len(self.payload) and not self.paused and not self.losses:
            size = CHUNKS[chunk % len(CHUNKS)]
            data = self.payload[self.sent : self.sent + size]
            self.sent += len(data)
            chunk += 1
            kind = chunk % 3
            if kind == 0:
                half = len(data) // 2
                self.transport.writelines([data[:half], data[half:]])
            elif kind == 1:
                self.transport.write(bytearray(data))
            else:
                self.transport.write(data)
        if self.sent == len(self.payload) and self.number % 2 and self.transport.can_write_eof():
            self.sent += 1
            self.transport.write_eof()

    def resume_writing(self):
        super().resume_writing()
        self.send()

    def data_received(self, data):
        super().data_received(data)
        if len(self.received) >= len(self.payload):
            self.transport.close()


def compare(report, clients, servers):
    """Each connection has all of its bytes, or a prefix and is said to be incomplete."""
    for client in clients:
        if not client.payload.startswith(client.received):
            report.problem(f"{client.name}: received what was not sent")
        whole = client.received == client.payload
        if not whole or not any(s.received == client.payload for s in servers):
            report.incomplete.append(client.name)
    for server in servers:
        if not any(c.payload.startswith(server.received) for c in clients):
            report.problem(f"{server.name}: received what was not sent")
    for end in (*clients, *servers):
        if end.made and end.losses != 1:
            report.problem(f"{end.name}: connection_lost() {end.losses} times")


async def run_clients(report, connect):
    """The clients of an echo server, all at once."""
    clients = [Client(report, number, size) for number, size in enumerate(SIZES)]

    async def one(client):
        try:
            await connect(lambda: client)
        except OSError as exc:
            report.error(f"{client.name}: connect", exc)
        if client.made:
            await client.lost

    await asyncio.gather(*map(one, clients))
    return clients


async def listen(loop, factory, **kwargs):
    """create_server() by itself takes a failing socket() for a family that is not there."""
    sock = socket.create_server(("127.0.0.1", 0))
    try:
        return await loop.create_server(factory, sock=sock, **kwargs)
    except OSError:
        sock.close()
        raise


# ---- echo servers --------------------------------------------------------------------------------


async def echo(report, create_server, create_connection, protocol=Echo):
    servers = []

    def accepted():
        servers.append(protocol(report, f"server {len(servers)}"))
        return servers[-1]

    server = await create_server(accepted)
    try:
        clients = await run_clients(report, functools.partial(create_connection, server))
        await asyncio.gather(*(s.lost for s in servers if s.made))
    finally:
        server.close()
        await server.wait_closed()
    compare(report, clients, servers)


async def tcp(report, protocol=Echo, server_args=None, client_args=None):
    loop = asyncio.get_running_loop()

    async def connect(server, factory):
        host, port = server.sockets[0].getsockname()
        await loop.create_connection(factory, host, port, **(client_args or {}))

    def create_server(factory):
        return listen(loop, factory, **(server_args or {}))

    await echo(report, create_server, connect, protocol)


async def buffered(report):
    await tcp(report, BufferedEcho)


async def tls(report):
    asyncio.get_running_loop().set_debug(True)  # else a handshake that fails is no news
    server, client = tls_contexts()
    await tcp(report, Echo, {"ssl": server}, {"ssl": client, "server_hostname": "localhost"})


@functools.cache
def tls_contexts():
    return server_context(), client_context()


async def unix(report):
    loop = asyncio.get_running_loop()
    path = f"\0moodloop-faults-{os.getpid()}"
    await echo(
        report,
        lambda factory: loop.create_unix_server(factory, path),
        lambda server, factory: loop.create_unix_connection(factory, path),
    )


# ---- streams: a line protocol --------------------------------------------------------------------


async def lines(report):
    class Watched(asyncio.StreamReaderProtocol):
        def connection_lost(self, exc):
            if exc is not None:
                report.error("stream: connection_lost", exc)
            super().connection_lost(exc)

    asyncio.streams.StreamReaderProtocol = Watched

    async def finish(name, writer):
        writer.close()
        try:
            await writer.wait_closed()
        except OSError as exc:
            report.error(f"{name}: wait_closed", exc)

    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        shrink(writer.get_extra_info("socket"))
        try:
            while line := await reader.readline():
                writer.write(line[:-1].swapcase() + b"\n")
                await writer.drain()
        except OSError as exc:
            report.error("server", exc)
        await finish("server", writer)

    async def client(number, port):
        name = f"client {number}"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as exc:
            report.error(name, exc)
            report.incomplete.append(name)
            return
        whole = False
        try:
            for i in range(8):
                line = b"%d:%d:" % (number, i) + b"x" * (i**3 * 20)
                writer.write(line + b"\n")
                await writer.drain()
                answer = await reader.readline()
                if not (line.swapcase() + b"\n").startswith(answer):
                    report.problem(f"{name}: wrong answer")
                if not answer.endswith(b"\n"):
                    break
            else:
                whole = True
        except OSError as exc:
            report.error(name, exc)
        if not whole:
            report.incomplete.append(name)
        await finish(name, writer)

    def accepted():
        return Watched(asyncio.StreamReader(limit=1 << 17), serve)

    server = await listen(asyncio.get_running_loop(), accepted)
    port = server.sockets[0].getsockname()[1]
    try:
        await asyncio.gather(*(client(number, port) for number in range(3)))
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)


# ---- sock_* --------------------------------------------------------------------------------------


async def sock(report):
    loop = asyncio.get_running_loop()
    received = []

    async def serve(conn):
        mine = bytearray()
        received.append(mine)
        buffer = bytearray(5000)
        shrink(conn)
        try:
            while True:
                if len(received) % 2:
                    data = await loop.sock_recv(conn, 10_000)
                else:
                    data = bytes(buffer[: await loop.sock_recv_into(conn, buffer)])
                if not data:
                    break
                mine += data
                await loop.sock_sendall(conn, data)
        except OSError as exc:
            report.error("server", exc)
        finally:
            conn.close()

    async def accept(listener, tasks):
        while True:
            try:
                conn, _ = await loop.sock_accept(listener)
            except OSError as exc:
                report.error("accept", exc)
            else:
                tasks.append(asyncio.ensure_future(serve(conn)))

    async def client(number, size, address):
        name, data, back = f"client {number}", payload(number, size), bytearray()
        try:
            with socket.socket() as conn:
                conn.setblocking(False)
                shrink(conn)
                await loop.sock_connect(conn, address)

                async def send():
                    await loop.sock_sendall(conn, data)
                    conn.shutdown(socket.SHUT_WR)

                async def receive():
                    while part := await loop.sock_recv(conn, 3000):
                        back.extend(part)

                both = [asyncio.ensure_future(send()), asyncio.ensure_future(receive())]
                try:
                    await asyncio.gather(*both)
                finally:  # if one fails the other would wait for ever
                    for task in both:
                        task.cancel()
                    await asyncio.wait(both)
        except OSError as exc:
            report.error(name, exc)
        if not data.startswith(back):
            report.problem(f"{name}: received what was not sent")
        if back != data:
            report.incomplete.append(name)

    tasks = []
    with socket.socket() as listener:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepting = asyncio.ensure_future(accept(listener, tasks))
        try:
            address = listener.getsockname()
            await asyncio.gather(*(client(n, size, address) for n, size in enumerate(SIZES)))
            await asyncio.gather(*tasks)
        finally:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await accepting


# ---- datagrams -----------------------------------------------------------------------------------


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, report, name):
        self.report = report
        self.name = name
        self.losses = 0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def error_received(self, exc):
        self.report.error(f"{self.name}: error_received", exc)

    def connection_lost(self, exc):
        self.losses += 1
        if exc is not None:
            self.report.error(f"{self.name}: connection_lost", exc)
        self.lost.set_result(None)


class DatagramEcho(Datagrams):
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class DatagramClient(Datagrams):
    """Keeps a few datagrams under way; sends again what a fault has swallowed."""

    COUNT = 40
    WINDOW = 8

    def __init__(self, report):
        super().__init__(report, "client")
        self.answers = [0] * self.COUNT
        self.repeats = 0
        self.next = 0
        self.done = asyncio.get_running_loop().create_future()

    def data(self, number):
        return payload(number, 1 + number * number * 3) + number.to_bytes(2, "big")

    def connection_made(self, transport):
        super().connection_made(transport)
        self.timer = asyncio.get_running_loop().call_later(0.3, self.again)
        for _ in range(self.WINDOW):
            self.send()

    def send(self):
        if self.next < self.COUNT:
            self.transport.sendto(self.data(self.next))
            self.next += 1

    def again(self):
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(0.05, self.again)
        self.repeats += 1
        if not self.transport.is_closing():
            for number in range(self.next):
                if not self.answers[number]:
                    self.transport.sendto(self.data(number))

    def datagram_received(self, data, address):
        number = int.from_bytes(data[-2:], "big")
        if number >= self.COUNT or data != self.data(number):
            self.report.problem("client: a datagram that was not sent")
            return
        self.answers[number] += 1
        if self.answers[number] > 1 + self.repeats:
            self.report.problem(f"client: datagram {number} came twice")
        self.send()
        if all(self.answers) and not self.done.done():
            self.done.set_result(None)


async def datagram(report):
    loop = asyncio.get_running_loop()
    ends = []
    try:
        transport, server = await loop.create_datagram_endpoint(
            lambda: DatagramEcho(report, "server"), local_addr=("127.0.0.1", 0)
        )
        ends.append(server)
        address = transport.get_extra_info("sockname")
        _, client = await loop.create_datagram_endpoint(
            lambda: DatagramClient(report), remote_addr=address
        )
        ends.append(client)
        ended = [client.done, client.lost, server.lost]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        client.timer.cancel()
        if not all(client.answers):
            report.incomplete.append("client")
        if client.repeats and not report.errors:
            report.problem("client: datagrams were lost")
    finally:
        for end in ends:
            end.transport.close()
        await asyncio.gather(*(end.lost for end in ends))
    for end in ends:
        if end.losses != 1:
            report.problem(f"{end.name}: connection_lost() {end.losses} times")


# ---- pipes ---------------------------------------------------------------------------------------


async def pipes(report):
    loop = asyncio.get_running_loop()
    data = payload(1, 300_000)

    class Reader(Endpoint):
        def connection_made(self, transport):
            self.made += 1
            self.transport = transport

    class Writer(Reader):
        sent = 0

        def connection_made(self, transport):
            super().connection_made(transport)
            self.send()

        def send(self):
            while self.sent < len(data) and not self.paused:
                self.transport.write(data[self.sent : self.sent + 30_000])
                self.sent += 30_000
            if self.sent >= len(data):
                self.transport.write_eof()

        def resume_writing(self):
            super().resume_writing()
            self.send()

    ends = []
    r, w = os.pipe()
    with open(r, "rb", 0) as source, open(w, "wb", 0) as drain:
        try:
            _, reader = await loop.connect_read_pipe(lambda: Reader(report, "reader"), source)
            ends.append(reader)
            _, writer = await loop.connect_write_pipe(lambda: Writer(report, "writer"), drain)
            ends.append(writer)
            await asyncio.gather(*(end.lost for end in ends))
            if not data.startswith(reader.received):
                report.problem("reader: received what was not sent")
            if reader.received != data:
                report.incomplete.append("reader")
        finally:
            for end in ends:
                end.transport.close()
            await asyncio.gather(*(end.lost for end in ends))
    for end in ends:
        if end.losses != 1:
            report.problem(f"{end.name}: connection_lost() {end.losses} times")


# ---- sendfile ------------------------------------------------------------------------------------


async def files(report):
    loop = asyncio.get_running_loop()
    data = payload(7, 200_000)
    receiver = Endpoint(report, "receiver")
    sender = Endpoint(report, "sender")
    server = await listen(loop, lambda: receiver)
    try:
        with open(os.memfd_create("data"), "w+b") as file:
            file.write(data)
            file.flush()
            await loop.create_connection(lambda: sender, *server.sockets[0].getsockname())
            try:
                sender.transport.write(b"head")
                await loop.sendfile(sender.transport, file)
                sender.transport.write(b"tail")
            except (OSError, RuntimeError) as exc:
                report.error("sendfile", exc)
            sender.transport.close()
            await asyncio.gather(*(end.lost for end in (sender, receiver) if end.made))
    finally:
        server.close()
        await server.wait_closed()
    whole = b"head" + data + b"tail"
    if not whole.startswith(receiver.received):
        report.problem("receiver: received what was not sent")
    if receiver.received != whole:
        report.incomplete.append("receiver")


# ---- a child process -----------------------------------------------------------------------------


async def process(report):
    """What goes into cat comes out of it, and it ends."""
    data = payload(5, 200_000)
    pipe = asyncio.subprocess.PIPE
    received = b""
    try:
        child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    except OSError as exc:
        report.error("start", exc)
        report.incomplete.append("cat")
        return

    async def feed():
        for start in range(0, len(data), 30_000):
            child.stdin.write(data[start : start + 30_000])
            await child.stdin.drain()
        child.stdin.close()

    feeding = asyncio.ensure_future(feed())
    try:
        received = await child.stdout.read()
    except OSError as exc:
        report.error("stdout", exc)
    try:
        await feeding
    except OSError as exc:
        report.error("stdin", exc)
    child.stdin.close()
    try:
        await child.stdin.wait_closed()
    except OSError as exc:
        report.error("stdin", exc)
    child.stdout._transport.close()
    if await child.wait() not in (0, -signal.SIGPIPE):
        report.problem(f"cat ended with {child.returncode}")
    if not data.startswith(received):
        report.problem("cat: received what was not sent")
    if received != data:
        report.incomplete.append("cat")


# ---- the loop itself -----------------------------------------------------------------------------


async def wakeups(report):
    """Threads, signals, timers, readers and writers."""
    loop = asyncio.get_running_loop()
    signalled, called = asyncio.Event(), asyncio.Event()
    count = 0

    def from_thread():
        nonlocal count
        count += 1
        if count == 20:
            called.set()

    def work():
        for _ in range(20):
            loop.call_soon_threadsafe(from_thread)

    loop.add_signal_handler(signal.SIGUSR1, signalled.set)
    a, b = socket.socketpair()
    got = bytearray()
    done = loop.create_future()

    def readable():
        try:
            part = a.recv(100)
        except BlockingIOError:
            return
        except OSError as exc:
            report.error("reader", exc)
            part = b""
        if part:
            got.extend(part)
        else:
            loop.remove_reader(a)
            done.set_result(None)

    left = [b"one", b"two", b"three"]

    def writable():
        try:
            if left:
                sent = b.send(left[0])
                left[0] = left[0][sent:]
                if not left[0]:
                    left.pop(0)
        except BlockingIOError:
            return
        except OSError as exc:
            report.error("writer", exc)
            left.clear()
        if not left:
            loop.remove_writer(b)
            b.close()

    watched, peer = socket.socketpair()
    watched.setblocking(False)
    seen = loop.create_future()
    with a, b, watched, peer:
        a.setblocking(False)
        b.setblocking(False)
        if hasattr(loop, "ev"):
            io = loop.ev.io(watched, 1, lambda w, events: (w.stop(), seen.set_result(events)))
            io.start()
        loop.add_reader(a, readable)
        loop.add_writer(b, writable)
        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.sleep(0.002)
        for _ in range(10):
            await asyncio.sleep(0.0003)  # by a timerfd
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            await asyncio.gather(signalled.wait(), called.wait(), done)
            if hasattr(loop, "ev"):
                await loop.run_in_executor(None, peer.send, b"x")  # where no fault strikes
                await seen
        finally:
            loop.remove_reader(a)
            loop.remove_signal_handler(signal.SIGUSR1)
            await loop.run_in_executor(None, thread.join)
    if got != b"onetwothree":
        report.incomplete.append("reader")


SCENARIOS = {
    f.__name__: f
    for f in (tcp, buffered, tls, unix, lines, sock, datagram, pipes, files, process, wakeups)
}
