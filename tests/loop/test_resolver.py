"""Names are looked up in threads of their own: they wait for nothing, and nothing for them."""

import asyncio
import concurrent.futures
import os
import socket
import threading

import pytest
from support.loops import turns, until

from moodloop import resolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Server:
    """A name server that answers when it is told to."""

    def __init__(self):
        self.asked = []
        self.answer = threading.Event()
        self.threads = set()

    def getaddrinfo(self, host, *args, **kwargs):
        self.asked.append(host)
        self.threads.add(threading.current_thread())
        assert self.answer.wait(60)
        if host == "nosuch":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return FOUND

    def getnameinfo(self, address, flags=0):
        self.getaddrinfo(address)
        return "name", "service"


@pytest.fixture
def server(monkeypatch):
    """In place of the C library's."""
    server = Server()
    monkeypatch.setattr(resolver, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    monkeypatch.setattr(socket, "getnameinfo", server.getnameinfo)
    yield server
    server.answer.set()
    for thread in list(server.threads):
        if thread.name.startswith("moodloop"):
            thread.join(60)


@pytest.fixture
def busy_executor(loop, run):
    """A default executor that has more to do than it has threads."""
    done = threading.Event()
    count = (os.cpu_count() or 1) + 8
    waiting = [loop.run_in_executor(None, done.wait, 60) for _ in range(min(32, count) + 2)]
    yield
    done.set()
    run(asyncio.gather(*waiting))
    run(loop.shutdown_default_executor())


class TestAnswers:
    def test_answer_and_error(self, loop, run, server):
        async def main():
            asking = [loop.getaddrinfo(host, 80) for host in ("name", "nosuch")]
            asking.append(loop.getnameinfo(("127.0.0.1", 80)))
            asking = [asyncio.ensure_future(coro) for coro in asking]
            await until(lambda: len(server.asked) == 3)
            assert not any(task.done() for task in asking)
            server.answer.set()
            found, error, name = await asyncio.gather(*asking, return_exceptions=True)
            assert found == FOUND
            assert type(error) is socket.gaierror
            assert name == ("name", "service")
            await loop.shutdown_default_executor()

        run(main())

    def test_a_replaced_function_does_not_block_the_loop(self, loop, run, server):
        """It may do anything, even if it is asked for a number."""

        async def main():
            asking = asyncio.ensure_future(loop.getaddrinfo("127.0.0.1", 80))
            await until(lambda: server.asked)
            assert not asking.done()
            server.answer.set()
            assert await asking == FOUND
            await loop.shutdown_default_executor()

        run(main())

    def test_debug_mode_tells(self, loop, run, server, log):
        async def main():
            loop.set_debug(True)
            server.answer.set()
            assert await loop.getaddrinfo("name", 80) == FOUND
            await loop.shutdown_default_executor()

        run(main())
        assert any("addr" in message.lower() for message in log(0))

    def test_connection_to_a_name(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]
                _, writer = await asyncio.open_connection("localhost", port)
                writer.close()
                await writer.wait_closed()
            await loop.shutdown_default_executor()

        run(main())


@pytest.mark.moodloop_only
class TestThreads:
    def test_not_behind_the_executors_work(self, loop, run, busy_executor, server):
        async def main():
            server.answer.set()
            assert await loop.getaddrinfo("name", 80) == FOUND
            assert await loop.getnameinfo(("127.0.0.1", 80)) == ("name", "service")

        run(main())

    def test_no_more_than_there_may_be(self, loop_factory, new_loop, server, monkeypatch):
        monkeypatch.setenv(resolver.VARIABLE, "3")
        loop = new_loop()

        async def main():
            asking = [asyncio.ensure_future(loop.getaddrinfo(str(i), 80)) for i in range(10)]
            await until(lambda: len(server.asked) == 3)
            await turns(20)
            assert len(server.asked) == 3
            server.answer.set()
            assert await asyncio.gather(*asking) == [FOUND] * 10
            assert len(server.threads) <= 3

        loop.run_until_complete(main())

    @pytest.mark.parametrize("bad", ["", "0", "-1", "many", "1.5", "\u0663"])
    def test_no_number(self, loop_factory, monkeypatch, bad):
        monkeypatch.setenv(resolver.VARIABLE, bad)
        with pytest.raises(ValueError, match=f"{resolver.VARIABLE} must be a number of threads"):
            loop_factory()

    def test_are_used_again_and_end(self, loop, run, server, monkeypatch):
        monkeypatch.setattr(resolver, "IDLE_SECONDS", 2)
        server.answer.set()

        async def main():
            for _ in range(5):
                await loop.getaddrinfo("name", 80)
                await until(lambda: loop._resolver._idle)
            (thread,) = server.threads
            assert thread.daemon
            await until(lambda: not thread.is_alive())
            await loop.getaddrinfo("name", 80)
            assert len(server.threads) == 2

        run(main())

    def test_end_with_the_loop(self, new_loop, server):
        loop = new_loop()
        server.answer.set()
        loop.run_until_complete(loop.getaddrinfo("name", 80))
        (thread,) = server.threads
        loop.close()
        thread.join(60)
        assert not thread.is_alive()

    def test_no_thread_can_be_started(self, loop, run, server, monkeypatch):
        def start(thread):
            raise RuntimeError("can't start new thread")

        async def main():
            first = asyncio.ensure_future(loop.getaddrinfo("first", 80))
            await until(lambda: server.asked)
            monkeypatch.setattr(threading.Thread, "start", start)
            second = asyncio.ensure_future(loop.getaddrinfo("second", 80))
            await turns()
            assert not second.done()
            server.answer.set()
            assert await asyncio.gather(first, second) == [FOUND] * 2  # by the one that is there

        run(main())
        other = type(loop)()
        with pytest.raises(RuntimeError, match="can't start"):
            other.run_until_complete(other.getaddrinfo("name", 80))
        other.close()

    def test_many_at_once(self, loop, run, server):
        """None is lost between threads that end, wake and begin."""
        server.answer.set()

        async def main():
            for count in (1, 2, 3, 7, 50, 200):
                found = await asyncio.gather(*(loop.getaddrinfo("n", 80) for _ in range(count)))
                assert found == [FOUND] * count
                await turns(count % 3)

        run(main())


@pytest.mark.moodloop_only
class TestGivingUp:
    def test_cancelled(self, loop, run, server):
        async def main():
            asking = asyncio.ensure_future(loop.getaddrinfo("name", 80))
            await until(lambda: server.asked)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            server.answer.set()
            assert await loop.getaddrinfo("other", 80) == FOUND

        run(main())

    def test_cancelled_before_its_turn(self, new_loop, server, monkeypatch):
        monkeypatch.setenv(resolver.VARIABLE, "1")
        loop = new_loop()

        async def main():
            first = asyncio.ensure_future(loop.getaddrinfo("first", 80))
            second = asyncio.ensure_future(loop.getaddrinfo("second", 80))
            await until(lambda: server.asked)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            server.answer.set()
            assert await first == FOUND
            assert await loop.getaddrinfo("third", 80) == FOUND
            assert server.asked == ["first", "third"]

        loop.run_until_complete(main())

    def test_loop_closed(self, new_loop, server):
        loop = new_loop()
        asking = loop.create_task(loop.getaddrinfo("name", 80))
        loop.run_until_complete(until(lambda: server.asked))
        asking._log_destroy_pending = False
        loop.close()
        (thread,) = server.threads
        server.answer.set()
        thread.join(60)
        assert not asking.done()
        asking.get_coro().close()

    def test_after_close(self, new_loop, server):
        loop = new_loop()
        loop.close()
        for coro in loop.getaddrinfo("name", 80), loop.getnameinfo(("127.0.0.1", 80)):
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                coro.send(None)

    @pytest.mark.parametrize("how", ["run", "exit"])
    def test_exit_does_not_wait(self, snippet, how):
        done = snippet(
            f"""
            def getaddrinfo(*args):
                asked.set()
                threading.Event().wait()  # never
            socket.getaddrinfo = getaddrinfo
            asked = threading.Event()
            async def main():
                asking = asyncio.ensure_future(asyncio.open_connection("name", 80))
                while not asked.is_set():
                    await asyncio.sleep(0.001)
                if {how!r} == "exit":
                    sys.exit(3)
            try:
                with asyncio.Runner(loop_factory=new_loop) as runner:
                    runner.run(main())
            finally:
                print("left")
            """
        )
        assert (done.rc, done.out) == (3 if how == "exit" else 0, "left\n"), done.err
        assert not done.err

    def test_fork(self, snippet):
        done = snippet(
            """
            import warnings
            warnings.simplefilter("ignore")
            def getaddrinfo(host, *args, **kwargs):
                asked.set()
                if host == "slow":
                    threading.Event().wait()
                return [host]
            socket.getaddrinfo = getaddrinfo
            asked = threading.Event()
            loop = new_loop()
            async def main():
                for _ in range(20):
                    asyncio.ensure_future(loop.getaddrinfo("slow", 80))
                while not asked.is_set():
                    await asyncio.sleep(0.001)
            loop.run_until_complete(main())
            pid = os.fork()
            if pid == 0:
                loop = new_loop() if len(sys.argv) > 1 else loop
                print(loop.run_until_complete(loop.getaddrinfo("quick", 80)), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
            sys.stdout.flush()
            os._exit(0)
            """
        )
        assert (done.rc, done.out) == (0, "['quick']\n"), done.err


class TestExecutorOfTheProgram:
    def test_is_used_if_it_was_set(self, loop, run, server):
        server.answer.set()

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
                loop.set_default_executor(pool)
                assert await loop.getaddrinfo("name", 80) == FOUND
                assert await loop.getnameinfo(("127.0.0.1", 80)) == ("name", "service")
                assert {thread.name for thread in server.threads} == {"mine_0"}

        run(main())

    @pytest.mark.parametrize("where", ["object", "class"])
    def test_replaced_run_in_executor(self, loop_factory, new_loop, server, where):
        asked = []

        async def answer():
            return FOUND

        def run_in_executor(*args):
            asked.extend(args[-6:-5])
            return answer()

        cls = type(new_loop())
        if where == "class":
            loop = new_loop(type("Sub", (cls,), {"run_in_executor": run_in_executor}))
        else:
            loop = new_loop()
            loop.run_in_executor = run_in_executor
        assert loop.run_until_complete(loop.getaddrinfo("name", 80)) == FOUND
        assert asked == ["name"]
