"""Threads: callbacks from others, executors, and threads that want the interpreter's lock."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from .callbacks import noop
from .row import NewLoop, Operation, Probe

Loop = asyncio.AbstractEventLoop


def from_threads(threads: int) -> Callable[[Loop, int], None]:
    """An operation in which so many threads hand callbacks over while the loop runs them."""

    def run(loop: Loop, n: int) -> None:
        left = n

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                loop.stop()

        def send() -> None:
            call = loop.call_soon_threadsafe
            for _ in repeat(None, n // threads):
                call(count)

        senders = [threading.Thread(target=send) for _ in range(threads)]
        for sender in senders:
            loop.call_soon(sender.start)
        loop.run_forever()
        for sender in senders:
            sender.join()

    return run


def thread_pingpong(loop: Loop, n: int) -> None:
    """A thread waits for the loop's answer to each callback it hands over."""
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()

    def send() -> None:
        for _ in repeat(None, n):
            loop.call_soon_threadsafe(answers.put, None)
            answers.get()
        loop.call_soon_threadsafe(loop.stop)

    sender = threading.Thread(target=send)
    loop.call_soon(sender.start)
    loop.run_forever()
    sender.join()


def in_executor(loop: Loop, n: int) -> None:
    async def main() -> None:
        for _ in repeat(None, n):
            await loop.run_in_executor(executor, noop)

    with ThreadPoolExecutor(1) as executor:
        loop.run_until_complete(main())


@contextlib.contextmanager
def beside(step: Callable[[], None]) -> Iterator[list[int]]:
    """A thread that does `step` again and again; gives the count of its steps, in a list."""
    steps, stopped = [0], False

    def work() -> None:
        while not stopped:
            step()
            steps[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield steps
    finally:
        stopped = True
        thread.join()


def compute() -> None:
    """Nothing but the interpreter's own work: this thread never gives its lock up by itself."""
    sum(range(1000))


def beside_computation(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """Turns of a loop, each of which waits for a descriptor, beside a thread that computes."""
    loop = new_loop()
    ours, theirs = socket.socketpair()
    turns, end = 0, 0.0

    def readable() -> None:
        nonlocal turns
        ours.recv(16)
        turns += 1
        if time.perf_counter() >= end:
            loop.stop()
        theirs.send(b"x")

    with contextlib.closing(loop), ours, theirs, beside(compute) as steps:
        loop.add_reader(ours.fileno(), readable)
        start = time.perf_counter()
        end = start + max(seconds, 0.5)
        theirs.send(b"x")
        loop.run_forever()
        elapsed = time.perf_counter() - start
        loop.remove_reader(ours.fileno())
        computed = steps[0]
    return {"turns_per_second": turns / elapsed, "thread_steps_per_second": computed / elapsed}


# Asks the loop for an answer every 2 ms, and tells how long it waited for half and most of them.
ASKING = """
import socket, sys, time
sock, took = socket.socket(fileno=int(sys.argv[1])), []
end = time.perf_counter() + float(sys.argv[2])
while (start := time.perf_counter()) < end or len(took) < 20:
    sock.send(b"x")
    sock.recv(1)
    took.append(time.perf_counter() - start)
    time.sleep(0.002)
took.sort()
print(took[len(took) // 2], took[int(len(took) * 0.99)])
"""


def latency_beside_computation(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """How long another process waits for an idle loop, beside a thread that computes."""
    loop = new_loop()
    ours, theirs = socket.socketpair()

    def readable() -> None:
        data = ours.recv(16)
        if data:
            ours.send(data)
        else:
            loop.stop()

    command = [sys.executable, "-c", ASKING, str(theirs.fileno()), str(max(seconds, 0.5))]
    with contextlib.closing(loop), ours, beside(compute):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]
        ) as asking:
            theirs.close()
            loop.add_reader(ours.fileno(), readable)
            loop.run_forever()
            loop.remove_reader(ours.fileno())
            assert asking.stdout is not None
            half, most = map(float, asking.stdout.read().split())
    return {"p50_us": half * 1e6, "p99_us": most * 1e6}


def chain_beside(new_loop: NewLoop, seconds: float, step: Callable[[], object]) -> dict[str, float]:
    """Steps of a thread, and turns of a loop that always has a callback, beside each other."""
    loop = new_loop()
    turns, end = 0, 0.0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if turns % 64 or time.perf_counter() < end:
            loop.call_soon(turn)
        else:
            loop.stop()

    with contextlib.closing(loop), beside(step) as steps:
        start = time.perf_counter()
        end = start + max(seconds, 0.5)
        before = steps[0]
        loop.call_soon(turn)
        loop.run_forever()
        elapsed = time.perf_counter() - start
        count = steps[0] - before
    return {"steps_per_second": count / elapsed, "turns_per_second": turns / elapsed}


def beside_chain(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """Steps of a thread that does time.sleep(0), beside a loop that always has a callback."""
    return chain_beside(new_loop, seconds, lambda: time.sleep(0))


def beside_native(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """Callbacks of a loop that always has one, beside a thread that computes without the GIL."""
    data = bytes(1 << 20)
    turns = chain_beside(new_loop, seconds, lambda: hashlib.sha256(data))["turns_per_second"]
    return {"turns_per_second": turns}


ROWS = (
    Operation(
        name="threadsafe_1",
        about="call_soon_threadsafe, 1 thread",
        run=from_threads(1),
        quick=True,
    ),
    Operation(
        name="threadsafe_4",
        about="call_soon_threadsafe, 4 threads",
        run=from_threads(4),
        batch=4,
    ),
    Operation(name="thread_pingpong", about="thread ping-pong", run=thread_pingpong),
    Operation(name="run_in_executor", about="run_in_executor", run=in_executor, quick=True),
    Probe(
        name="beside_computation",
        about="turns beside a thread that computes",
        figure="turns_per_second",
        also={"thread_steps_per_second": "... what the thread gets done meanwhile"},
        run=beside_computation,
    ),
    Probe(
        name="latency_beside_computation",
        about="an answer beside a thread that computes",
        figure="p50_us",
        also={"p99_us": "... the slowest in a hundred"},
        run=latency_beside_computation,
    ),
    Probe(
        name="chain_beside_native",
        about="a busy chain beside a thread that computes without the GIL",
        figure="turns_per_second",
        run=beside_native,
    ),
    Probe(
        name="thread_beside_chain",
        about="a thread's sleep(0) beside a busy chain",
        figure="steps_per_second",
        also={"turns_per_second": "... callbacks of the chain meanwhile"},
        run=beside_chain,
        quick=True,
    ),
)
