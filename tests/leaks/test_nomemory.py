"""An allocation fails, each one in turn: MemoryError or no harm, and nothing is lost or left.

CPython's own allocator is made to fail (`_testcapi.set_nomemory`); when libev's does, see
tests/watcher/test_memory.py. The scenarios do little in Python, so that it is the core's
allocations that fail.
"""

import sys

import pytest
from support.snippet import run_snippet

_testcapi = pytest.importorskip("_testcapi", reason="this Python has no _testcapi")

PRELUDE = """
import gc, operator, sys
from _testcapi import remove_mem_hooks, set_nomemory
from collections import Counter
from support import hygiene
from moodloop import event
from moodloop.event import *

LIMIT = 5000  # more than any scenario has allocations
QUIET = 40    # so many rounds without any sign of a failure: it is past the last allocation
KINDS = tuple(vars(event)[n] for n in ("Loop", "Watcher"))
NAMES = ("Transport", "Echo", "Client", "Handle", "TimerHandle", "Future", "Task", "coroutine")
reported = []

def report(exc):
    reported.append((type(exc), str(exc)))  # without its traceback, which keeps all alive

def hook(unraisable):
    report(unraisable.exc_value)

sys.unraisablehook = hook

def census():
    hygiene.collect()
    return Counter(type(o).__name__ for o in gc.get_objects()
                   if isinstance(o, KINDS) or type(o).__name__ in NAMES)

def prepare():
    pass

def recover():
    pass

# CPython's own, see WATCHER.
def forgotten(text):
    return text == "error return without exception set" or (
        text.endswith("returned a result with an exception set") and "moodloop" not in text
    )

def fail_each(scenario, allowed=(MemoryError,)):
    "Run scenario(sentinel) with each of its allocations failing in turn."
    sentinel = object()
    for _ in range(3):
        prepare()
        scenario(sentinel)
        recover()
    reported.clear()
    alive, fds, refs = census(), hygiene.open_fds(), sys.getrefcount(sentinel)
    quiet = failures = 0
    sys._getframe()
    for index in range(LIMIT):
        error = None
        prepare()
        set_nomemory(index, index + 1)
        try:
            scenario(sentinel)
        except BaseException as exc:
            remove_mem_hooks()
            error = type(exc)
            if not isinstance(exc, allowed) and not forgotten(str(exc)):
                raise AssertionError(f"at {index}") from exc
            del exc
        else:
            remove_mem_hooks()
        recover()
        unexpected = [r for r in reported if not issubclass(r[0], allowed) and not forgotten(r[1])]
        assert not unexpected, (index, unexpected)
        told = [error or KeyError, *(r[0] for r in reported)]
        failed = any(issubclass(t, (MemoryError, SystemError)) for t in told)
        quiet = 0 if failed else quiet + 1
        failures += quiet == 0
        reported.clear()
        if index % 16 == 0:
            assert census() == alive, (index, census(), alive)
            assert hygiene.open_fds() == fds, (index, hygiene.new_fds(fds))
        if quiet >= QUIET:
            break
    else:
        raise AssertionError("no end of it")
    assert failures > 5, failures
    assert census() == alive, (census(), alive)
    assert hygiene.open_fds() == fds, (hygiene.open_fds(), fds)
    assert sys.getrefcount(sentinel) == refs, (sys.getrefcount(sentinel), refs)
    print("done", index, failures)
"""

WATCHERS = {
    "Io": "Io(loop, SOCKET, EV_READ, told, x)",
    "Timer": "Timer(loop, 0.0, 0.0, told, x)",
    "Periodic": "Periodic(loop, 0.0, 0.0, told, x)",
    "Scheduler": "Scheduler(loop, soon, told, x)",
    "Signal": "Signal(loop, 10, told, x)",
    "Child": "Child(loop, CHILD, False, told, x)",
    "Stat": "Stat(loop, '.', 0.0, told, x)",
    "Idle": "Idle(loop, told, x)",
    "Prepare": "Prepare(loop, told, x)",
    "Check": "Check(loop, told, x)",
    "Embed": "Embed(loop, OTHER, told, x)",
    "Fork": "Fork(loop, told, x)",
    "Async": "Async(loop, told, x)",
    "Cleanup": "Cleanup(loop, told, x)",
}

WATCHER = """
left, right = socket.socketpair()
SOCKET = left.fileno()
right.send(b"x")
OTHER = Loop(EVBACKEND_EPOLL | EVFLAG_NOENV)
CHILD = 0
if {kind!r} == "Child":
    CHILD = os.fork()
    if CHILD == 0:
        os.closerange(0, 3)
        signal.alarm(120)
        signal.pause()
        os._exit(0)

# No Python functions: where CPython (3.11 to 3.13) cannot have the frame object that a traceback
# needs, it forgets the exception, and raises SystemError. sys._getframe() makes one beforehand.
told, fails, soon = "".format, operator.getitem, {{}}.get

def scenario(x):
    sys._getframe()
    loop = default_loop() if {kind!r} == "Child" else Loop(EVBACKEND_EPOLL | EVFLAG_NOENV)
    try:
        w = {make}
        w.start()
        w.feed(EV_CUSTOM)
        loop.start(EVRUN_NOWAIT)
        repr(w)
        w.feed(EV_CUSTOM)
        w.clear()
        w.callback = fails
        w.invoke(EV_CUSTOM)
        w.feed(EV_CUSTOM)
        loop.debug = True
        try:
            loop.start(EVRUN_NOWAIT)
        except (TypeError, MemoryError):
            pass
        w.feed(EV_ERROR)
        try:
            loop.start(EVRUN_NOWAIT)
        except (Error, MemoryError):
            pass
        loop.watchers()
        w.data = loop
        loop.data = w
    finally:
        loop.close()
        loop.data = None

try:
    fail_each(scenario, (MemoryError, TypeError))
finally:
    if CHILD:
        os.kill(CHILD, 9)
"""

LOOP = """
told = "".format

class Sub(Loop):
    pass

def scenario(x):
    sys._getframe()
    loop = Sub(EVBACKEND_EPOLL | EVFLAG_NOENV, None, x, io_interval=0.0)
    try:
        loop.once(None, 0, 0.0, told)
        loop.once(0, EV_READ, None, told)
        loop.callback = Loop.invoke
        loop.start(EVRUN_NOWAIT)
        loop.callback = None
        loop.feed_fd_event(0, 1)
        loop.feed_signal_event(10)
        loop.now(True), loop.backend_name, loop.pending, loop.iteration, repr(loop)
        loop.timer(after=0.0, repeat=0.0, callback=told).start()
        loop.start(EVRUN_NOWAIT)
    finally:
        loop.close()

fail_each(scenario)
"""

ASYNCIO = {
    "callbacks": """
def scenario(x):
    sys._getframe()
    loop.call_soon(told, x)
    loop.call_soon(told, x, x, x, x, x, x, x)
    loop.call_later(0.0, told, x)
    loop.call_at(loop.time() + 100, told, x).cancel()
    loop.call_soon_threadsafe(told, x)
    turn()
    turn()
""",
    "readers": """
left, right = socket.socketpair()
def scenario(x):
    sys._getframe()
    try:
        loop.add_reader(left, told, x)
        loop.add_writer(left, told, x)
        turn()
        loop.add_reader(left, told, x, x)
        turn()
    finally:
        loop.remove_reader(left)
        loop.remove_writer(left)
""",
    "sock_recv": """
left, right = socket.socketpair()
left.setblocking(False); right.setblocking(False)
async def talk():
    await loop.sock_sendall(left, b"abc")
    await loop.sock_recv(right, 10)
    await loop.sock_sendall(left, b"abc")
    await loop.sock_recv_into(right, bytearray(10))
def scenario(x):
    sys._getframe()
    try:
        loop.run_until_complete(talk())
    finally:
        try:
            right.recv(100)  # what was not read any more
        except BlockingIOError:
            pass
""",
    "partial write": """
DATA = bytearray(1 << 20)
def prepare():
    pairs.extend(socket.socketpair())
    for sock in pairs:
        sock.setblocking(False)
def drain(sock):
    got = 0
    try:
        while data := sock.recv(1 << 20):
            got += len(data)
    except BlockingIOError:
        pass
    return got
def scenario(x):
    sys._getframe()
    transport = loop._make_socket_transport(pairs[0], asyncio.Protocol())
    try:
        turn()
        try:
            transport.write(DATA)
        except MemoryError:  # it may be written again
            assert not drain(pairs[1])
            raise
        waiting = transport.get_write_buffer_size()
        assert transport.is_closing() or drain(pairs[1]) + waiting == len(DATA)
    finally:
        transport.abort()
        turn()
""",
    "transport": """
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
class Client(Echo):
    def data_received(self, data):
        self.transport.close()
def prepare():  # socketpair() is Python, and can lose a descriptor
    pairs.extend(socket.socketpair())
    for sock in pairs:
        sock.setblocking(False)
async def talk(one, two):
    server, _ = await loop.create_connection(Echo, sock=one)
    try:
        client, _ = await loop.create_connection(Client, sock=two)
        try:
            client.write(b"abc")
            for _ in range(6):
                await asyncio.sleep(0)
        finally:
            client.abort()
    finally:
        server.abort()
        await asyncio.sleep(0)
def scenario(x):
    sys._getframe()
    loop.run_until_complete(talk(*pairs))
""",
}

# A connection that is there: what fails is the core's, and OpenSSL's has an allocator of its own.
TLS = """
from support.tls import client_context, server_context
class Collect(asyncio.Protocol):
    lost = False
    def connection_made(self, transport):
        self.transport, self.data = transport, bytearray()
    def data_received(self, data):
        self.data += data
    def connection_lost(self, exc):
        self.lost = True
contexts = server_context(), client_context()
async def connect():
    return await asyncio.gather(
        loop.connect_accepted_socket(Collect, pairs[0], ssl=contexts[0]),
        loop.create_connection(
            Collect, sock=pairs[1], ssl=contexts[1], server_hostname="localhost"
        ),
    )
ends = []
def prepare():
    pairs.extend(socket.socketpair())
    for sock in pairs:
        sock.setblocking(False)
    ends.extend(loop.run_until_complete(connect()))
    for _ in range(4):
        turn()
def end():
    while ends:
        ends.pop()[0].abort()
    for _ in range(4):
        turn()
# The loop makes its set of what is not read with the first of them, and keeps it.
a, b = socket.socketpair()
a.setblocking(False)
transport = loop._make_socket_transport(a, asyncio.Protocol())
turn()
transport.pause_reading()
b.close()
turn()
turn()
transport.abort()
turn()
recover_loop = recover
def recover():
    asyncio._set_running_loop(None)  # as recover_loop() does, which closes the sockets, too
    loop._thread_id = None
    end()
    recover_loop()
PARTS = [b"%d" % n * size for n, size in enumerate((1, 100, 16384, 40_000))]
SENT = b"".join(PARTS)
"""

TLS_SCENARIOS = {
    "data": """
def scenario(x):
    sys._getframe()
    (ta, pa), (tb, pb) = ends
    try:
        for part in PARTS:
            ta.write(part)
        ta.writelines(PARTS)
        tb.write(bytearray(b"y" * 1000))
        for _ in range(6):
            turn()
        assert SENT.startswith(bytes(pb.data[:len(SENT)])) or pb.lost
    finally:
        end()
""",
    "close": """
def scenario(x):
    sys._getframe()
    (ta, pa), (tb, pb) = ends
    try:
        ta.write(b"bye")
        ta.close()
        for _ in range(8):
            turn()
        assert b"bye".startswith(bytes(pb.data))
    finally:
        end()
""",
    "pause": """
def scenario(x):
    sys._getframe()
    (ta, pa), (tb, pb) = ends
    try:
        tb.pause_reading()
        ta.write(PARTS[3])
        turn()
        turn()
        tb.resume_reading()
        ta.get_extra_info("cipher"), tb.get_extra_info("peercert")
        repr(ta), ta.get_write_buffer_size(), ta.set_write_buffer_limits(10)
        for _ in range(6):
            turn()
        assert PARTS[3].startswith(bytes(pb.data)) or pb.lost
    finally:
        end()
""",
}

LOOP_PRELUDE = """
import moodloop
loop = moodloop.new_event_loop()
asyncio.set_event_loop(loop)
told = "".format
def handler(loop, context):
    report(context.get("exception", MemoryError()))
    loop.stop()  # what was to do that may not have been called
loop.set_exception_handler(handler)
def turn():
    loop.call_soon(loop.stop)
    loop.run_forever()
def recover():
    # run_forever() is Python, as asyncio's: a call that fails can leave it halfway
    asyncio._set_running_loop(None)
    loop._thread_id = None
    for task in asyncio.all_tasks(loop):
        task.cancel()
    for _ in range(6):
        turn()
    while pairs:
        pairs.pop().close()
pairs = []
"""


def run(code, **values):
    done = run_snippet("asyncio", PRELUDE + code.format(**values), timeout=120)
    assert done.rc == 0, done.err
    assert done.out.startswith("done"), done.out


@pytest.mark.parametrize("kind", list(WATCHERS))
def test_watcher(kind):
    run(WATCHER, kind=kind, make=WATCHERS[kind])


def test_loop():
    run(LOOP)


@pytest.mark.parametrize("name", list(ASYNCIO))
def test_asyncio(name):
    if sys.version_info[:2] == (3, 13) and "async def" in ASYNCIO[name]:
        pytest.skip("CPython 3.13 enters a task although its dict of tasks had no memory to grow")
    code = LOOP_PRELUDE + ASYNCIO[name] + "\nfail_each(scenario, (MemoryError, RuntimeError))\n"
    done = run_snippet("asyncio", PRELUDE + code, timeout=120)
    assert done.rc == 0, done.err
    assert done.out.startswith("done"), done.out


@pytest.mark.tls
@pytest.mark.moodloop_only
@pytest.mark.engines("native", reason="asyncio.sslproto does what Python does then")
@pytest.mark.parametrize("name", list(TLS_SCENARIOS))
def test_tls(name):
    code = LOOP_PRELUDE + TLS + TLS_SCENARIOS[name]
    code += "\nfail_each(scenario, (MemoryError, RuntimeError, OSError))\n"
    done = run_snippet("asyncio", PRELUDE + code, timeout=120)
    assert done.rc == 0, done.err
    assert done.out.startswith("done"), done.out
