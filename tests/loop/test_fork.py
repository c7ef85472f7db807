"""fork(): the child makes a loop of its own, the parent's goes on."""

import pytest

FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
def in_child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid
def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def check(done):
    assert (done.rc, done.out) == (0, "fine\n"), done.err


class TestChild:
    def test_new_loop_in_the_child(self, snippet):
        check(
            snippet(
                FORK
                + """
loop = new_loop()
run_turns(loop, 2)
def work():
    mine = new_loop()
    assert drive(mine, asyncio.sleep(0.001, "child")) == "child"
    mine.close()
assert status(in_child(work)) == 0
assert drive(loop, asyncio.sleep(0.001, "parent")) == "parent"
loop.close()
print("fine")
"""
            )
        )

    def test_no_running_loop_in_the_child(self, snippet):
        check(
            snippet(
                FORK
                + """
loop = new_loop()
def work():
    assert asyncio._get_running_loop() is None
    mine = new_loop()
    assert drive(mine, asyncio.sleep(0, "child")) == "child"
    mine.close()
async def main():
    assert status(in_child(work)) == 0
    await asyncio.sleep(0.001)
    assert asyncio.get_running_loop() is loop
drive(loop, main())
loop.close()
print("fine")
"""
            )
        )

    def test_events_of_the_parent_stay_with_the_parent(self, snippet):
        """A child that closes its copy of the sockets does not take the parent's watch away."""
        check(
            snippet(
                FORK
                + """
loop = new_loop()
a, b = socket.socketpair()
got = []
def read():
    got.append(b.recv(1))
    loop.stop()
loop.add_reader(b, read)
run_turns(loop, 2)
def work():
    mine = new_loop()
    c, d = socket.socketpair()
    seen = []
    mine.add_reader(d, lambda: (seen.append(1), mine.stop()))
    c.send(b"y")
    run_guarded(mine)
    assert seen == [1] and got == []
    mine.close()
assert status(in_child(work)) == 0
a.send(b"x")
run_guarded(loop)
assert got == [b"x"]
loop.remove_reader(b)
loop.close()
print("fine")
"""
            )
        )

    def test_tcp_in_both(self, snippet):
        check(
            snippet(
                FORK
                + """
async def echo(reader, writer):
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async def client():
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
    def work():
        mine = new_loop()
        drive(mine, client())
        mine.close()
    pid = in_child(work)
    while True:
        found, code = os.waitpid(pid, os.WNOHANG)
        if found:
            break
        await asyncio.sleep(0.001)
    assert code == 0
    await client()
    server.close()
    await server.wait_closed()
loop = new_loop()
drive(loop, main())
loop.close()
print("fine")
"""
            )
        )

    def test_signals_of_the_child_do_not_reach_the_parent(self, snippet):
        check(
            snippet(
                FORK
                + """
loop = new_loop()
got = []
loop.add_signal_handler(signal.SIGUSR1, got.append, "parent")
run_turns(loop, 2)
def work():
    mine = new_loop()
    mine.add_signal_handler(signal.SIGUSR1, mine.stop)
    mine.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    run_guarded(mine)
    mine.close()
assert status(in_child(work)) == 0
run_turns(loop, 5)
assert got == []
loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
loop.call_later(0.001, loop.stop)
loop.run_forever()
run_turns(loop, 3)
assert got == ["parent"], got
loop.remove_signal_handler(signal.SIGUSR1)
loop.close()
print("fine")
"""
            )
        )

    def test_child_that_only_exits(self, snippet):
        check(
            snippet(
                FORK
                + """
loop = new_loop()
async def main():
    for _ in range(5):
        assert status(in_child(lambda: None)) == 0
        await asyncio.sleep(0)
drive(loop, main())
loop.close()
print("fine")
"""
            )
        )

    def test_multiprocessing(self, snippet):
        check(
            snippet(
                FORK
                + """
import multiprocessing
def work(queue):
    queue.put(asyncio.run(asyncio.sleep(0, "child")))
context = multiprocessing.get_context("fork")
loop = new_loop()
async def main():
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    assert queue.get() == "child"
    process.join()
    assert process.exitcode == 0
drive(loop, main())
loop.close()
print("fine")
"""
            )
        )

    @pytest.mark.moodloop_only
    def test_timers_of_the_parent_do_not_wake_the_child(self, snippet):
        """Nor does the child take away what wakes the parent for a short one."""
        check(
            snippet(
                FORK
                + """
loop = new_loop()
async def tick(count):
    for _ in range(count):
        await asyncio.sleep(0.002)
drive(loop, tick(1))
def work():
    before = loop.ev.iteration
    drive(loop, asyncio.sleep(0.3))
    assert loop.ev.iteration - before < 30, loop.ev.iteration - before
pid = in_child(work)
drive(loop, tick(100))
assert status(pid) == 0
loop.close()
print("fine")
"""
            )
        )
