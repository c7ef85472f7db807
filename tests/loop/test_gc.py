"""What nobody refers to any more is collected, with the warnings asyncio gives."""

import asyncio
import gc
import warnings
import weakref

import pytest
from support.loops import run_turns


class Thing:
    def method(self):
        pass


class TestLoop:
    def test_unclosed_warns(self, loop_factory):
        loop = loop_factory()
        with pytest.warns(ResourceWarning, match="unclosed event loop"):
            loop.__del__()
        loop.close()

    def test_unclosed_and_dropped(self, snippet):
        done = snippet(
            """
            import gc
            loop = new_loop()
            run_turns(loop, 2)
            del loop
            gc.collect()
            print("alive")
            """,
            args=["-W", "always"],
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err
        assert "ResourceWarning: unclosed event loop" in done.err

    def test_closed_does_not_warn(self, loop_factory):
        loop = loop_factory()
        loop.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop.__del__()

    def test_closed_is_freed(self, loop_factory):
        loop = loop_factory()
        run_turns(loop, 2)
        loop.close()
        ref = weakref.ref(loop)
        del loop
        gc.collect()
        assert ref() is None

    def test_closed_by_a_cycle(self, loop_factory):
        loop = loop_factory()
        loop.me = loop
        loop.call_soon(weakref.ref, loop)
        loop.close()
        ref = weakref.ref(loop)
        del loop
        gc.collect()
        assert ref() is None

    def test_with_readers_in_a_cycle(self, loop_factory, sockets):
        loop = loop_factory()
        a, _ = sockets()
        thing = Thing()
        thing.loop = loop
        loop.add_reader(a, thing.method)
        loop.add_writer(a, thing.method)
        loop.close()
        ref = weakref.ref(thing)
        del loop, thing
        gc.collect()
        assert ref() is None

    def test_exception_handler_in_a_cycle(self, loop_factory):
        loop = loop_factory()
        thing = Thing()
        thing.loop = loop
        loop.set_exception_handler(thing.method)
        loop.set_task_factory(thing.method)
        loop.close()
        ref = weakref.ref(thing)
        del loop, thing
        gc.collect()
        assert ref() is None

    def test_dropped_inside_its_own_callback(self, snippet):
        done = snippet(
            """
            import gc
            box = [new_loop()]
            def drop():
                box[0].stop()
                box.clear()
                gc.collect()
            box[0].call_soon(drop)
            run = box[0].run_forever
            run()
            del run
            gc.collect()
            print("alive")
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err

    def test_never_closed_at_exit(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            loop.call_soon(print, "never")
            loop.call_later(1000, print, "never")
            a, b = socket.socketpair()
            loop.add_reader(a, print)
            async def wait():
                await asyncio.Event().wait()
            task = loop.create_task(wait())
            print("end")
            """
        )
        assert (done.rc, done.out) == (0, "end\n"), done.err

    def test_exit_inside_a_callback(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            loop.call_soon(os._exit, 5)
            loop.run_forever()
            """
        )
        assert done.rc == 5, done.err


class TestTransport:
    def test_unclosed_warns(self, loop, sockets, run):
        a, _b = sockets()

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                transport.__del__()
            transport.close()
            await asyncio.sleep(0)

        run(main())

    def test_freed_after_close(self, loop, sockets, run):
        a, _b = sockets()

        class Proto(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

        async def main():
            transport, protocol = await loop.create_connection(Proto, sock=a)
            transport.close()
            for _ in range(3):
                await asyncio.sleep(0)
            return weakref.ref(transport), weakref.ref(protocol)

        refs = run(main())
        run_turns(loop, 2)
        gc.collect()
        assert [r() for r in refs] == [None, None]

    def test_unclosed_when_the_loop_goes(self, snippet):
        done = snippet(
            """
            import gc
            loop = new_loop()
            a, b = socket.socketpair()
            a.setblocking(False)
            fd = a.fileno()
            async def main():
                await loop.create_connection(asyncio.Protocol, sock=a)
            loop.run_until_complete(main())
            loop.close()
            del a, loop, main
            gc.collect()
            try:
                os.fstat(fd)
                print("open")
            except OSError:
                print("closed")
            """,
            args=["-W", "always"],
        )
        assert (done.rc, done.out) == (0, "closed\n"), done.err
        assert "ResourceWarning: unclosed transport" in done.err

    def test_weakref(self, loop, sockets, run):
        a, _b = sockets()

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
            ref = weakref.ref(transport)
            assert ref() is transport
            transport.close()
            await asyncio.sleep(0)

        run(main())


class TestServer:
    def test_freed_after_close(self, loop, run):
        async def main():
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)
            return weakref.ref(server)

        ref = run(main())
        run_turns(loop, 2)
        gc.collect()
        assert ref() is None


class TestCollectionAnywhere:
    def test_collecting_at_every_allocation(self, snippet):
        """Objects half made or half gone stand a collection at any moment."""
        done = snippet(
            """
            import gc
            gc.set_threshold(1, 1, 1)
            async def handle(reader, writer):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()
            async def main():
                loop = asyncio.get_running_loop()
                loop.call_later(1000, print).cancel()
                server = await asyncio.start_server(handle, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                for i in range(3):
                    reader, writer = await asyncio.open_connection(*address)
                    writer.write(b"line\\n")
                    assert await reader.readline() == b"line\\n"
                    writer.close()
                    await writer.wait_closed()
                server.close()
                await server.wait_closed()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            print("alive")
            """,
            timeout=60,
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err


@pytest.mark.parametrize(
    "call",
    [
        "call_soon(print)",
        "call_soon_threadsafe(print)",
        "call_later(1, print)",
        "call_at(1e9, print)",
        "add_reader(0, print)",
        "add_signal_handler(10, print)",
    ],
)
def test_finalizer_closes_the_loop_while_it_is_asked(snippet, call):
    """To make a handle may start a collection, and with it any code."""
    done = snippet(f"""
        import gc

        class Closing:
            def __del__(self):
                loop.close()

        loop = new_loop()
        os.dup2(os.pipe()[0], 0)
        garbage = Closing()
        garbage.me = garbage
        del garbage
        gc.set_threshold(1)
        try:
            loop.{call}
        except (RuntimeError, ValueError, AttributeError) as exc:
            # stock's selector is gone by then
            print(type(exc).__name__, file=sys.stderr)
        gc.collect()
        assert loop.is_closed()
        print("done")
        """)
    assert (done.rc, done.out) == (0, "done\n"), done.err
