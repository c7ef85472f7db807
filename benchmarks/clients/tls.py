"""TLS clients on the standard library: echoes, web pages, bulk, handshakes, idle connections."""

from __future__ import annotations

import select
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from . import bulk
from . import idle as idle_connections
from .target import Target, Window

CERTIFICATE = Path(__file__).resolve().parent.parent / "tls" / "cert.pem"


def client_context() -> ssl.SSLContext:
    """Trusts the benchmark's server and nobody else."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def connect(target: Target, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(target.connect(), server_hostname="localhost")


@dataclass
class Client:
    """A connection with one message in flight, and the answer that it must have."""

    sock: ssl.SSLSocket
    message: memoryview
    answer: bytes | memoryview
    buffer: bytearray
    got: int = 0
    unsent: int = 0
    started: float = 0.0

    def send(self) -> None:
        """Send the next message, as far as the socket takes it now."""
        self.started, self.unsent, self.got = time.perf_counter(), len(self.message), 0
        self.send_rest()

    def send_rest(self) -> None:
        while self.unsent:
            try:
                self.unsent -= self.sock.send(self.message[-self.unsent :])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return

    def answered(self) -> bool:
        """Read what there is; whether the message has come back whole."""
        size = len(self.answer)
        while self.got < size:
            try:
                n = self.sock.recv_into(memoryview(self.buffer)[self.got :], size - self.got)
            except ssl.SSLWantReadError:
                return False
            if not n:
                raise ConnectionError("the server closed the connection")
            self.got += n
        if self.buffer != self.answer:
            raise RuntimeError("what came back is not what was expected")
        return True


def play(clients: dict[int, Client], poll: select.epoll, window: Window) -> None:
    """Let each client send its next message when the last has come back."""
    while window.open():
        events = poll.poll(20)
        if not events:
            raise TimeoutError("no answer within 20 s")
        for fd, _ in events:
            client = clients[fd]
            client.send_rest()
            if client.answered():
                window.latencies.append(time.perf_counter() - client.started)
                window.count += 1
                client.send()
            poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0))


def exchange(
    target: Target, context: ssl.SSLContext, pairs: list[tuple[memoryview, bytes | memoryview]]
) -> dict[str, float]:
    """A request is a message and its answer; a connection for each pair."""
    poll = select.epoll()
    clients = {}
    for message, answer in pairs:
        sock = connect(target, context)
        sock.setblocking(False)
        client = Client(sock, message, answer, bytearray(len(answer)))
        clients[sock.fileno()] = client
        poll.register(sock.fileno(), select.EPOLLIN)
        client.send()
        if client.unsent:
            poll.modify(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
    play(clients, poll, target.warming())
    with target.measured() as window:
        play(clients, poll, window)
    for client in clients.values():
        client.sock.close()
    return window.figures


def echo(target: Target) -> dict[str, float]:
    """A request is a message of `size` bytes."""
    context = client_context()
    for _ in range(2):  # as with servers without TLS: see `suite.serve.warm`
        connect(target, context).close()
    text = bytes(range(251)) * (target.size // 251 + 2)
    messages = [memoryview(text)[n : n + target.size] for n in range(target.connections)]
    return exchange(target, context, [(message, message) for message in messages])


def web(target: Target) -> dict[str, float]:
    """A request is one for the page /; all pages must be the same."""
    context = client_context()
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(target, context) as sock:
        sock.sendall(request)
        answer, length = b"", None
        while length is None or len(answer) < length:
            part = sock.recv(1 << 16)
            if not part:
                raise ConnectionError("no whole page")
            answer += part
            head, end, _ = answer.partition(b"\r\n\r\n")
            if end:
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                length = len(head) + len(end) + int(fields[b"content-length"])
    return exchange(target, context, [(memoryview(request), answer)] * target.connections)


def into_server(target: Target) -> dict[str, float]:
    """The server receives; a request is one MiB."""
    context = client_context()
    with connect(target, context) as sock:
        bulk.give(sock, target.warming())
        with target.measured() as window:
            bulk.give(sock, window)
    return window.figures


def out_of_server(target: Target) -> dict[str, float]:
    """The server sends; a request is one MiB."""
    context = client_context()
    with connect(target, context) as sock:
        bulk.take(sock, target.warming())
        with target.measured() as window:
            bulk.take(sock, window)
    return window.figures


def shake(target: Target, context: ssl.SSLContext, window: Window, resume: bool = False) -> None:
    session = None
    while window.open():
        with context.wrap_socket(
            target.connect(), server_hostname="localhost", session=session
        ) as sock:
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise ConnectionError("no echo after the handshake")
            if resume:
                if session is not None and not sock.session_reused:
                    raise RuntimeError("the session was not resumed")
                session = sock.session
        window.count += 1


def handshakes(target: Target, resume: bool = False) -> dict[str, float]:
    """A request is a connection, its handshake, one byte there and back, and the end."""
    context = client_context()
    shake(target, context, target.warming(), resume)
    with target.measured() as window:
        shake(target, context, window, resume)
    return window.figures


def resumed(target: Target) -> dict[str, float]:
    """The same, each but the first with the session of the one before."""
    return handshakes(target, resume=True)


def idle(target: Target) -> dict[str, float]:
    """Memory of connections on which nothing happens after the handshake."""
    context = client_context()

    def established() -> socket.socket:
        # Only the socket is kept: 10,000 ends of TLS would be much memory here.
        sock = target.connect()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(1 << 16))
        sock.sendall(outgoing.read())
        return sock

    return idle_connections.measure(target, established)
