"""Handshakes that come all at once, and what an established connection sees of them."""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import ssl
import time

from .target import Target
from .tls import client_context, connect

APART = 0.001  # seconds from one message to the next, if its answer is there
PATIENCE = 60.0  # seconds without an event


class Shaker:
    """The client's side of one handshake, step by step."""

    sock: socket.socket

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.step()
        self.hello = self.outgoing.read()

    def step(self) -> bool:
        """Whether the handshake is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def go_on(self) -> bool:
        """Take what has come, and answer it; whether the handshake is done."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server ended a handshake")
        self.incoming.write(data)
        done = self.step()
        self.sock.sendall(self.outgoing.read())
        return done


def storm(target: Target, start: multiprocessing.synchronize.Event) -> None:
    """All connections and the first message of each, then the ends as the answers come. Its own
    arithmetic gives way to whoever measures on the same core.
    """
    os.nice(19)
    context = client_context()
    waiting = [Shaker(context) for _ in range(target.connections)]
    shakers = {}
    poll = select.epoll()
    start.set()
    for shaker in waiting:
        shaker.sock = target.connect()
        shaker.sock.sendall(shaker.hello)
        shakers[shaker.sock.fileno()] = shaker
        poll.register(shaker.sock.fileno(), select.EPOLLIN)
    left = len(shakers)
    while left:
        events = poll.poll(PATIENCE)
        if not events:
            raise TimeoutError("a handshake is not answered")
        for fd, _ in events:
            if shakers[fd].go_on():
                poll.unregister(fd)
                left -= 1
    for shaker in shakers.values():
        shaker.sock.close()


def beside(target: Target) -> dict[str, float]:
    """Echoes, one a millisecond, while so many connections shake hands. A request is a handshake.

    `ahead_us` is p99 of what the server computed between a message and its answer: what of the
    delay is the server's, whatever else the machine does.
    """
    clock = ~target.pid << 3 | 2  # that of clock_getcpuclockid()
    spent = []
    fork = multiprocessing.get_context("fork")
    start = fork.Event()
    message = bytes(range(256))
    with connect(target, client_context()) as sock:
        for _ in range(100):
            echo(sock, message)
        process = fork.Process(target=storm, args=(target, start))
        process.start()
        start.wait(PATIENCE)
        with target.measured() as window:
            while process.exitcode is None:
                before = time.clock_gettime(clock)
                window.latencies.append(echo(sock, message))
                spent.append(time.clock_gettime(clock) - before)
                time.sleep(APART)
            window.count = target.connections
    if process.exitcode:
        raise RuntimeError("the handshakes failed")
    spent.sort()
    window.figures["most_us"] = window.latencies[-1] * 1e6
    window.figures["ahead_us"] = spent[int(len(spent) * 99 / 100)] * 1e6
    return window.figures


def echo(sock: ssl.SSLSocket, message: bytes) -> float:
    """Seconds until it was back."""
    began = time.perf_counter()
    sock.sendall(message)
    got = b""
    while len(got) < len(message):
        part = sock.recv(len(message) - len(got))
        if not part:
            raise ConnectionError("the server closed the connection")
        got += part
    if got != message:
        raise RuntimeError("what came back is not what was sent")
    return time.perf_counter() - began
