"""TLS clients on the standard library: echoes, and handshakes."""

from __future__ import annotations

import select
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from .target import Target, Window

CERTIFICATE = Path(__file__).resolve().parent.parent / "tls" / "cert.pem"


def client_context() -> ssl.SSLContext:
    """Trusts the benchmark's server and nobody else."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def connect(target: Target, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(target.connect(), server_hostname="localhost")


@dataclass
class Client:
    """A connection with one message in flight."""

    sock: ssl.SSLSocket
    message: memoryview
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
        size = len(self.message)
        while self.got < size:
            try:
                n = self.sock.recv_into(memoryview(self.buffer)[self.got :], size - self.got)
            except ssl.SSLWantReadError:
                return False
            if not n:
                raise ConnectionError("the server closed the connection")
            self.got += n
        if self.buffer != self.message:
            raise RuntimeError("what came back is not what was sent")
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


def echo(target: Target) -> dict[str, float]:
    """A request is a message of `size` bytes."""
    context, poll = client_context(), select.epoll()
    for _ in range(2):  # as with servers without TLS: see `suite.serve.warm`
        connect(target, context).close()
    text = bytes(range(251)) * (target.size // 251 + 2)
    clients = {}
    for number in range(target.connections):
        sock = connect(target, context)
        sock.setblocking(False)
        message = memoryview(text)[number : number + target.size]
        client = clients[sock.fileno()] = Client(sock, message, bytearray(target.size))
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


def shake(target: Target, context: ssl.SSLContext, window: Window) -> None:
    while window.open():
        with connect(target, context) as sock:
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise ConnectionError("no echo after the handshake")
        window.count += 1


def handshakes(target: Target) -> dict[str, float]:
    """A request is a connection, its handshake, one byte there and back, and the end."""
    context = client_context()
    shake(target, context, target.warming())
    with target.measured() as window:
        shake(target, context, window)
    return window.figures
