"""The same asyncio program on each event loop, timed: ``python -m moodloop bench``.

The program is an ordinary one: a server process with an echo server (a ``Protocol``) and a
key-value server with a line protocol (``asyncio.start_server``), and a client process that talks
to both over TCP on 127.0.0.1. Nothing in it knows which loop runs it. Each loop of each round has
two new processes, and the loops take turns.

Every answer is checked. A wrong one, a server that dies and one that is silent end the benchmark
with exit status 1 and a message that names the loop, what was sent and what came back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO, cast

HOST = "127.0.0.1"
CONNECTIONS = 10
START_UP = 30.0  # seconds a process may take until it says its first word, or until it has ended
LINE_LIMIT = 64 * 1024

LOOPS = ("asyncio", "uvloop", "moodloop")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class BenchError(Exception):
    """What makes the benchmark fail: a wrong answer, or no answer."""


# The program that is measured: two servers


class Echo(asyncio.Protocol):
    """Sends back what it gets, and stops reading from a peer that does not read."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Read no more until the peer has read."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self.transport.resume_reading()


class KeyValueStore:
    """A small database behind a line protocol.

    ======================  =========================================
    SET key value           ``OK``
    GET key                 ``VALUE value``, or ``NONE``
    INCR key                ``INT number`` after adding 1 (absent: 0)
    DEL key                 ``DELETED``, or ``NONE``
    QUIT                    ``BYE``, and the connection ends
    ======================  =========================================

    Lines end with CR LF or LF; anything else is answered ``ERROR reason``.
    """

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def answer(self, line: bytes) -> bytes:
        """The reply to one line, both without their line ends."""
        command, *words = line.split(b" ", 2)
        match command.upper(), words:
            case b"SET", [key, value]:
                self.data[key] = value
                return b"OK"
            case b"GET", [key]:
                found = self.data.get(key)
                return b"NONE" if found is None else b"VALUE " + found
            case b"INCR", [key]:
                return self._increment(key)
            case b"DEL", [key]:
                return b"NONE" if self.data.pop(key, None) is None else b"DELETED"
            case b"QUIT", []:
                return b"BYE"
        return b"ERROR not understood"

    def _increment(self, key: bytes) -> bytes:
        try:
            number = int(self.data.get(key, b"0")) + 1
        except ValueError:
            return b"ERROR not a number"
        self.data[key] = b"%d" % number
        return b"INT %d" % number

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends or says QUIT."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = self.answer(line.rstrip(b"\r\n"))
                writer.write(answer + b"\r\n")
                await writer.drain()
                if answer == b"BYE":
                    break
        writer.close()


async def serve(announce: Callable[[dict[str, int]], None]) -> None:
    """Run both servers; tell their ports; end when standard input does."""
    loop = asyncio.get_running_loop()
    echo = await loop.create_server(Echo, HOST, 0)
    store = await asyncio.start_server(KeyValueStore().serve, HOST, 0, limit=LINE_LIMIT)
    announce({"echo": port_of(echo), "kv": port_of(store)})
    await input_end()
    for server in (echo, store):
        server.close()


async def input_end() -> None:
    """Wait until standard input ends: the parent, however it ends, does not leave us behind."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        os.read(0, 1)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


def port_of(server: asyncio.Server) -> int:
    """The port of a server's first socket."""
    return int(server.sockets[0].getsockname()[1])


# The program that is measured: the clients


@dataclass
class Window:
    """The time in which answers count; it opens after the warm-up."""

    server: int  # the process whose CPU time is asked for
    start: float = math.inf
    end: float = math.inf
    cpu_at_start: float | None = None
    latencies: list[float] = field(default_factory=list)
    answers: int = 0  # those of the warm-up too

    def open(self, seconds: float) -> None:
        """Count from now on, for some seconds."""
        self.cpu_at_start = cpu_seconds(self.server)
        self.start = time.perf_counter()
        self.end = self.start + seconds

    def answered(self, sent: float) -> bool:
        """Note an answer to what was sent at that time; False if it was the last."""
        now = time.perf_counter()
        self.answers += 1
        if sent >= self.start:
            self.latencies.append(now - sent)
        return now < self.end


class EchoClient(asyncio.Protocol):
    """Sends a message, checks that it comes back, and so on until the window's end.

    The messages of a connection are pieces of one random text, each from another place on.
    """

    transport: asyncio.Transport

    def __init__(self, window: Window, text: bytes, size: int, number: int) -> None:
        self.window = window
        self.text = text
        self.size = size
        self.count = number * 17
        self.expected = b""
        self.got = bytearray()
        self.sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first message."""
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        """Send the next message."""
        self.count += 31
        start = self.count % (len(self.text) - self.size)
        self.expected = self.text[start : start + self.size]
        self.sent = time.perf_counter()
        self.transport.write(self.expected)

    def data_received(self, data: bytes) -> None:
        """Check what came back, when it is whole."""
        if self.got or len(data) < self.size:
            self.got += data
            if len(self.got) < self.size:
                return
            data = bytes(self.got)
            self.got.clear()
        if data != self.expected:
            self.finish(BenchError(wrong(self.expected, data, self.expected)))
        elif self.window.answered(self.sent):
            self.send()
        else:
            self.finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """An error, unless it is over."""
        self.finish(BenchError(cut_off(self.expected, exc)))

    def finish(self, error: Exception | None) -> None:
        """Let `run_echo` go on, once."""
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self.transport.close()


async def run_echo(window: Window, port: int, size: int) -> None:
    """Echo clients, each with one message of `size` bytes in flight."""
    loop = asyncio.get_running_loop()
    text = random.Random(size).randbytes(size + 4096)
    clients = []
    for number in range(CONNECTIONS):
        client_of = partial(EchoClient, window, text, size, number)
        _, client = await loop.create_connection(client_of, HOST, port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))


def conversation(name: bytes, number: int) -> Iterator[tuple[bytes, bytes]]:
    """The lines that one connection says, without end, and the answer to each."""
    key, counter = b"key:%b:%d" % (name, number), b"count:%b:%d" % (name, number)
    count = 0
    while True:
        value = b"value %d of %d" % (count, number)
        count += 1
        yield b"SET %b %b" % (key, value), b"OK"
        yield b"GET %b" % key, b"VALUE " + value
        yield b"INCR %b" % counter, b"INT %d" % count
        yield b"GET %b" % counter, b"VALUE %d" % count
        yield b"DEL %b" % key, b"DELETED"
        yield b"GET %b" % key, b"NONE"


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, expected: bytes
) -> None:
    """Say one line and check the answer."""
    writer.write(line + b"\r\n")
    try:
        answer = await reader.readline()
    except ConnectionError as exc:
        raise BenchError(cut_off(line, exc)) from None
    if answer != expected + b"\r\n":
        if not answer.endswith(b"\n"):
            raise BenchError(cut_off(line, None))
        raise BenchError(wrong(line, answer, expected + b"\r\n"))


async def kv_client(window: Window, port: int, name: bytes, number: int) -> None:
    """One connection to the key-value server."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for line, expected in conversation(name, number):
            sent = time.perf_counter()
            await ask(reader, writer, line, expected)
            if not window.answered(sent):
                break
        await ask(reader, writer, b"QUIT", b"BYE")
    finally:
        writer.close()


async def run_key_value(window: Window, port: int, size: int) -> None:
    """Key-value clients, each with one line in flight."""
    name = b"%d" % time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(kv_client(window, port, name, number))


@dataclass(frozen=True)
class Workload:
    """One kind of load."""

    name: str
    service: str
    run: Callable[[Window, int, int], Awaitable[None]]
    size: int = 0


# A new workload is one line here.
WORKLOADS = (
    Workload("echo 64 B", "echo", run_echo, 64),
    Workload("echo 10 KiB", "echo", run_echo, 10 * 1024),
    Workload("key-value lines", "kv", run_key_value),
)


def wrong(sent: bytes, got: bytes, expected: bytes) -> str:
    """The message about a wrong answer."""
    return (
        f"WRONG ANSWER\n  sent:     {excerpt(sent)}\n"
        f"  expected: {excerpt(expected)}\n  got:      {excerpt(got)}{difference(got, expected)}"
    )


def cut_off(sent: bytes, exc: Exception | None) -> str:
    """The message about a connection that ended before the answer."""
    reason = f" ({exc})" if exc is not None else ""
    return (
        f"the server closed the connection{reason}\n"
        f"  sent:     {excerpt(sent)}\n  got:      nothing"
    )


def excerpt(data: bytes) -> str:
    """The start of some bytes, printable."""
    return repr(data) if len(data) <= 64 else f"{data[:48]!r}... ({len(data)} bytes)"


def difference(got: bytes, expected: bytes) -> str:
    """Where two long byte strings differ."""
    if len(got) <= 64 and len(expected) <= 64:
        return ""
    pairs = zip(got, expected, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(got), len(expected)))
    return f"\n  they differ from byte {at} on"


# The client process


def cpu_seconds(pid: int) -> float | None:
    """The CPU time of a process, user and system, of ended threads too; None if not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """What one run of a workload gave."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    server_cpu_us: float | None  # per request

    @property
    def requests_per_second(self) -> float:
        """The speed."""
        return self.requests / self.seconds


def sample_of(window: Window) -> Sample:
    """Sum up a window that ends now."""
    seconds = time.perf_counter() - window.start
    cpu = cpu_seconds(window.server)
    latencies = sorted(window.latencies)
    if not latencies:
        raise BenchError("not one request was answered in time")
    count = len(latencies)
    p50, p99 = (latencies[int(count * share)] * 1e6 for share in (0.50, 0.99))
    if cpu is None or window.cpu_at_start is None:
        return Sample(count, seconds, p50, p99, None)
    return Sample(count, seconds, p50, p99, (cpu - window.cpu_at_start) / count * 1e6)


@dataclass(frozen=True)
class Plan:
    """What a client process is to do."""

    ports: dict[str, int]
    server: int
    warmup: float
    seconds: float
    silence: float  # seconds without an answer that count as an error


async def warm(ports: dict[str, int]) -> None:
    """Let both servers and this process see connections come and end.

    asyncio reads into a large block that the C library maps anew each time until one such block
    has been freed whole, as at the end of a connection.
    """
    for port in ports.values():
        for _ in range(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET warm\r\n")
            await reader.readline()
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()


async def unless_silent(work: Awaitable[None], window: Window, silence: float) -> None:
    """Await the work; an error if for long not one answer comes."""
    task = asyncio.ensure_future(work)
    seen = -1
    while not task.done():
        await asyncio.wait({task}, timeout=silence)
        if not task.done() and window.answers == seen:
            task.cancel()
            raise BenchError(f"no answer within {silence:g} s")
        seen = window.answers
    task.result()


async def run_workload(workload: Workload, plan: Plan) -> Sample:
    """Warm up, then count for some seconds."""
    window = Window(plan.server)
    asyncio.get_running_loop().call_later(plan.warmup, window.open, plan.seconds)
    work = workload.run(window, plan.ports[workload.service], workload.size)
    await unless_silent(work, window, plan.silence)
    return sample_of(window)


async def run_client(plan: Plan, tell: Callable[[Any], None]) -> None:
    """Run all workloads and tell each one's sample, or the first error."""
    name = "warm-up"
    try:
        await asyncio.wait_for(warm(plan.ports), plan.silence)
        for workload in WORKLOADS:
            name = workload.name
            tell({"sample": asdict(await run_workload(workload, plan))})
    except TimeoutError:
        tell({"workload": name, "error": f"no answer within {plan.silence:g} s"})
    except (BenchError, OSError, BaseExceptionGroup) as exc:
        first = first_of(exc)
        if not isinstance(first, (BenchError, OSError)):
            raise
        tell({"workload": name, "error": str(first)})


def first_of(exc: BaseException) -> BaseException:
    """The first exception within groups of exceptions."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


# Processes: this file is also what they run


def loop_factory(name: str) -> LoopFactory:
    """What makes loops: of a module with `new_event_loop`, or of "module:callable"."""
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)  # this moodloop and no other
    module, _, attribute = name.partition(":")
    return cast(
        LoopFactory, getattr(importlib.import_module(module), attribute or "new_event_loop")
    )


def version_of(name: str) -> str:
    """The version of a loop's package; asyncio's is Python's."""
    module = name.partition(":")[0]
    if module == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(module), "__version__", "unknown"))


def tell(value: Any) -> None:
    """Print one line for the parent."""
    print(json.dumps(value), flush=True)


def child(role: str, name: str, plan: str = "") -> int:
    """Be one of the processes of the benchmark."""
    factory = loop_factory(name)
    if role == "probe":
        factory().close()
        tell(version_of(name))
        return 0
    with asyncio.Runner(loop_factory=factory) as runner:
        if role == "server":
            runner.run(serve(tell))
        else:
            runner.run(run_client(Plan(**json.loads(plan)), tell))
    return 0


def child_command(role: str, name: str, *more: str) -> list[str]:
    """How to start one. -P: this file's directory is no place to import from."""
    return [sys.executable, "-P", str(Path(__file__).resolve()), role, name, *more]


class Process:
    """A child: lines of JSON come from it, and it ends when its input does."""

    def __init__(self, command: Sequence[str], core: int | None) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        with pinned(core):
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._errors):
            if stream is not None:
                stream.close()

    def read(self, timeout: float) -> Any:
        """The next value it tells."""
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], timeout)
        if not ready:
            raise BenchError(f"silent for {timeout:g} s{self.last_words()}")
        line = self._popen.stdout.readline()
        if not line:
            status = self._popen.wait(START_UP)
            raise BenchError(f"ended with status {status}{self.last_words()}")
        return json.loads(line)

    def end(self) -> None:
        """End its input, and wait until it has ended without an error."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            status = self._popen.wait(START_UP)
        except subprocess.TimeoutExpired:
            raise BenchError(f"does not end{self.last_words()}") from None
        if status != 0:
            raise BenchError(f"ended with status {status}{self.last_words()}")

    def died(self) -> str:
        """What to say if it has ended though it should not; else nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"\n  the server ended with status {self._popen.wait(0.5)}{self.last_words()}"
        return ""

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-12:]
        return "".join(f"\n  | {line}" for line in lines)


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started within are tied to one core (None: they are not)."""
    if sys.platform == "linux" and core is not None:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
    else:
        yield


def two_cores() -> tuple[int | None, int | None]:
    """A core for the server and one for the client, if there are two to choose from."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            return cores[0], cores[1]
    return None, None


# The benchmark


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int
    seconds: float
    warmup: float
    silence: float


Samples = dict[tuple[str, str], list[Sample]]  # by workload and loop


def find_loops(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the loops that start, and for the others why they do not."""
    found, missing = {}, {}
    for name in names:
        with Process(child_command("probe", name), None) as probe:
            try:
                found[name] = str(probe.read(START_UP))
            except BenchError as exc:
                missing[name] = str(exc).splitlines()[-1].strip(" |")
    return found, missing


def measure(loop: str, settings: Settings, step: Callable[[str], None]) -> list[Sample]:
    """A new server and a new client on one loop: one sample of each workload."""
    server_core, client_core = two_cores()
    try:
        with Process(child_command("server", loop), server_core) as server:
            ports = server.read(START_UP)
            plan = Plan(ports, server.pid, settings.warmup, settings.seconds, settings.silence)
            arguments = json.dumps(asdict(plan))
            with Process(child_command("client", loop, arguments), client_core) as client:
                samples = read_samples(client, server, settings, step)
                client.end()
            server.end()
    except BenchError as exc:
        raise BenchError(f"loop {loop}, {exc}") from None
    return samples


def read_samples(
    client: Process, server: Process, settings: Settings, step: Callable[[str], None]
) -> list[Sample]:
    """The samples that a client process tells, one for each workload."""
    samples = []
    for workload in WORKLOADS:
        step(workload.name)
        told = client.read(START_UP + settings.warmup + settings.seconds + 2 * settings.silence)
        if "error" in told:
            raise BenchError(f"{told['workload']}: {told['error']}{server.died()}")
        samples.append(Sample(**told["sample"]))
    return samples


def measure_all(loops: Sequence[str], settings: Settings, progress: Progress) -> Samples:
    """All rounds: the loops by turns, every other round in the opposite order."""
    samples: Samples = {(w.name, loop): [] for w in WORKLOADS for loop in loops}
    for number in range(settings.rounds):
        for loop in loops if number % 2 == 0 else loops[::-1]:
            turn = f"round {number + 1}/{settings.rounds}  {loop}"
            measured = measure(loop, settings, partial(progress.step, turn))
            for workload, sample in zip(WORKLOADS, measured, strict=True):
                samples[workload.name, loop].append(sample)
    return samples


# Results


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Median, spread (half the range, as a share of the median) and the values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = statistics.median(known)
    spread = (max(known) - min(known)) / 2 / middle if middle else 0.0
    return {"median": middle, "spread": spread, "samples": known}


def results_of(samples: Samples) -> list[dict[str, Any]]:
    """One entry for each workload and loop."""
    results: list[dict[str, Any]] = []
    for (workload, loop), runs in samples.items():
        entry: dict[str, Any] = {"workload": workload, "loop": loop}
        for key in ("requests_per_second", "p50_us", "p99_us", "server_cpu_us"):
            entry[key] = summary([getattr(run, key) for run in runs])
        results.append(entry)
    for entry in results:
        base = next(
            (r for r in results if r["workload"] == entry["workload"] and r["loop"] == "asyncio"),
            None,
        )
        entry["ratio_to_asyncio"] = None if base is None else ratios(entry, base)
    return results


def median(entry: dict[str, Any], key: str) -> float | None:
    """A median of an entry, if it has one."""
    value = entry[key]
    return None if value is None else cast(float, value["median"])


def ratios(entry: dict[str, Any], base: dict[str, Any]) -> dict[str, float | None]:
    """How much faster, and how much more is done per CPU second of the server."""
    cpu, base_cpu = median(entry, "server_cpu_us"), median(base, "server_cpu_us")
    return {
        "requests_per_second": entry["requests_per_second"]["median"]
        / base["requests_per_second"]["median"],
        "server_cpu": base_cpu / cpu if cpu and base_cpu else None,
    }


def report_of(loops: dict[str, str], settings: Settings, samples: Samples) -> dict[str, Any]:
    """All of it, as --json writes it."""
    return {
        "schema": 1,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "loops": loops,
        "settings": {**asdict(settings), "connections": CONNECTIONS},
        "results": results_of(samples),
    }


# What is shown


class Progress:
    """A bar on a terminal; elsewhere a line for each turn of a loop."""

    WIDTH = 30

    def __init__(self, steps: int, out: TextIO) -> None:
        self._steps = steps
        self._out = out
        self._tty = out.isatty()
        self._blocks = can_show_blocks(out)
        self._done = 0
        self._turn = ""

    def step(self, turn: str, what: str) -> None:
        """Say that the next step of a turn begins."""
        if self._tty:
            bar = bar_of(self._done / self._steps, self.WIDTH, self._blocks).ljust(self.WIDTH)
            self._draw(f"[{bar}] {self._done / self._steps:4.0%}  {turn}  {what}")
        elif turn != self._turn:
            self._draw(turn)
        self._turn = turn
        self._done += 1

    def _draw(self, text: str) -> None:
        if self._tty:
            width = shutil.get_terminal_size().columns - 1
            text = f"\r\x1b[K{text[:width]}"
        else:
            text += "\n"
        self._out.write(text)
        self._out.flush()

    def end(self) -> None:
        """Remove the bar."""
        if self._tty:
            self._draw("")


def can_show_blocks(out: TextIO) -> bool:
    """Whether the stream's encoding has the block characters."""
    try:
        "█▏".encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def bar_of(share: float, width: int, blocks: bool) -> str:
    """A bar of so much of the width, in eighths of a character where blocks can be shown."""
    if not blocks:
        return "#" * max(1, round(share * width)) if share > 0 else ""
    full, eighths = divmod(round(share * width * 8), 8)
    return "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths]


def number(value: float | None, suffix: str = "") -> str:
    """A figure with as many digits as mean something, or "-"."""
    if value is None:
        return "-"
    digits = 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f}{suffix}"


def line_of(entry: dict[str, Any]) -> list[str]:
    """The table's line for one workload and loop."""
    speed = entry["requests_per_second"]
    ratio = entry["ratio_to_asyncio"] or {"requests_per_second": None, "server_cpu": None}
    return [
        entry["workload"],
        entry["loop"],
        f"{speed['median']:,.0f}",
        f"{speed['spread']:.0%}",
        number(median(entry, "p50_us")),
        number(median(entry, "p99_us")),
        number(median(entry, "server_cpu_us")),
        number(ratio["requests_per_second"], "x"),
        number(ratio["server_cpu"], "x"),
    ]


HEADERS = (
    ("", "", "requests", "", "latency", "latency", "server CPU", "requests/s", "server CPU"),
    (
        "workload",
        "loop",
        "per second",
        "+/-",
        "p50 us",
        "p99 us",
        "us/request",
        "to asyncio",
        "to asyncio",
    ),
)


def table(results: Sequence[dict[str, Any]]) -> str:
    """The table, its numbers to the right, with a space between workloads."""
    lines = [list(header) for header in HEADERS] + [line_of(entry) for entry in results]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text, previous = [], ""
    for at, line in enumerate(lines):
        if at >= len(HEADERS) and line[0] != previous:
            previous = line[0]
            text.append("")
        cells = [
            c.ljust(w) if i < 2 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def chart(results: Sequence[dict[str, Any]], width: int, blocks: bool) -> str:
    """Bars of the requests per second, each workload on its own scale."""
    names = max(len(entry["loop"]) for entry in results)
    room = max(10, min(width, 100) - names - 24)
    lines, previous = ["Requests per second"], None
    for entry in results:
        if entry["workload"] != previous:
            previous = entry["workload"]
            lines += ["", f"  {previous}"]
            speeds = [speed_of(e) for e in results if e["workload"] == previous]
        bar = bar_of(speed_of(entry) / max(speeds), room, blocks)
        ratio = entry["ratio_to_asyncio"]
        times = f"  {ratio['requests_per_second']:.2f}x" if ratio else ""
        lines.append(f"    {entry['loop'].ljust(names)}  {bar} {speed_of(entry):,.0f}{times}")
    return "\n".join(lines)


def speed_of(entry: dict[str, Any]) -> float:
    """The median of the requests per second."""
    return cast(float, entry["requests_per_second"]["median"])


def conclusion(results: Sequence[dict[str, Any]]) -> str:
    """moodloop against each other loop in one sentence, by geometric means; "" without it."""
    loops = list(dict.fromkeys(entry["loop"] for entry in results))
    if "moodloop" not in loops:
        return ""
    speeds = {(entry["workload"], entry["loop"]): speed_of(entry) for entry in results}
    told = []
    for other in loops:
        if other != "moodloop":
            times = [speeds[w.name, "moodloop"] / speeds[w.name, other] for w in WORKLOADS]
            told.append(f"{statistics.geometric_mean(times):.2f} times the requests of {other}")
    return "moodloop serves " + " and ".join(told) + "." if told else ""


def show(report: dict[str, Any], out: TextIO) -> None:
    """Print the table, the chart and what follows from them."""
    results = report["results"]
    width = shutil.get_terminal_size().columns
    parts = [table(results), chart(results, width, can_show_blocks(out)), conclusion(results)]
    out.write("\n" + "\n\n".join(part for part in parts if part) + "\n")


# The command


def positive(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = float(text)
    if not (0 < value <= 3600):
        raise argparse.ArgumentTypeError("must be above 0 and at most 3600")
    return value


def rounds(text: str) -> int:
    """An argument that is a whole number from 1 to 1000."""
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m moodloop bench",
        description="Run the same asyncio servers and clients on each event loop and compare.",
    )
    result.add_argument("--quick", action="store_true", help="about 8 seconds rather than 35")
    result.add_argument("--rounds", type=rounds, help="default: 4, with --quick 2")
    result.add_argument("--seconds", type=positive, help="for each workload: 0.7, with --quick 0.2")
    result.add_argument("--silence", type=positive, default=10.0, help=argparse.SUPPRESS)
    result.add_argument(
        "--loops",
        metavar="NAMES",
        help=f"comma-separated, also module:callable; default: {', '.join(LOOPS)} if installed",
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    return result


def settings_of(options: argparse.Namespace) -> Settings:
    """How much the command line asks for."""
    seconds = options.seconds or (0.2 if options.quick else 0.7)
    count = options.rounds or (2 if options.quick else 4)
    return Settings(count, seconds, min(0.1, seconds), options.silence)


def run(loops: dict[str, str], settings: Settings) -> dict[str, Any]:
    """Measure, with the progress on standard error."""
    progress = Progress(settings.rounds * len(loops) * len(WORKLOADS), sys.stderr)
    try:
        return report_of(loops, settings, measure_all(list(loops), settings, progress))
    finally:
        progress.end()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if every answer was right."""
    options = parser().parse_args(argv)
    names = options.loops.split(",") if options.loops else LOOPS
    loops, missing = find_loops(list(dict.fromkeys(names)))
    for name, reason in missing.items():
        print(f"without {name}: {reason}", file=sys.stderr)
    if not loops or (options.loops and missing):
        return 2
    print(", ".join(f"{name} {version}" for name, version in loops.items()), flush=True)
    try:
        report = run(loops, settings_of(options))
    except BenchError as exc:
        print(f"\nFAILED: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(report, sys.stdout)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] in (["probe"], ["server"], ["client"]):
        sys.exit(child(*sys.argv[1:]))
    sys.exit(main())
