"""What a loop counts: `stats()`, `load`, `monitor_delay()`, and the page that holds it."""

import asyncio
import dataclasses
import gc
import os
import socket
import struct
import threading
import time

import pytest
from support.loops import drive, run_turns

import moodloop
from moodloop import _core

pytestmark = pytest.mark.moodloop_only

LAYOUT = _core._page_layout()
NAME = "/memfd:moodloop (deleted)"


def page():
    """What anybody reads of this process: header, and the meters that a loop has."""
    (path,) = [
        f"/proc/self/fd/{n}"
        for n in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{n}") and os.readlink(f"/proc/self/fd/{n}") == NAME
    ]
    with open(path, "rb") as file:
        data = file.read()
    magic, version, _, at, size, count, pid = struct.unpack_from("=8sIIIIIi", data)
    assert (magic, version, pid) == (b"moodloop", LAYOUT["version"], os.getpid())
    meters = [data[at + i * size : at + (i + 1) * size] for i in range(count)]
    return [meter for meter in meters if field(meter, "serial")]


def field(meter, name):
    place, kind = LAYOUT[name]
    return struct.unpack_from("=" + kind, meter, place)[0]


class TestCounters:
    def test_all_are_zero_at_first(self, loop):
        stats = loop.stats()
        assert {v for v in vars(stats).values() if v is not None} == {0}
        assert loop.load == 0

    def test_turns_and_callbacks(self, loop):
        before = loop.stats()
        run_turns(loop, 3)
        done = loop.stats() - before
        assert done.turns >= 3
        assert done.callbacks >= 3
        assert done.polls + done.polls_skipped == done.turns

    def test_timers(self, loop):
        before = loop.stats()
        far = loop.call_later(1000, print)
        drive(loop, asyncio.sleep(0.001))
        after = loop.stats()
        assert (after - before).timers_fired == 1
        assert after.timers == 1
        far.cancel()
        run_turns(loop)
        assert loop.stats().timers == 0

    def test_readers_and_writers(self, loop):
        one, two = socket.socketpair()
        with one, two:
            loop.add_reader(one, print)
            loop.add_reader(one, print)  # in place of the first
            loop.add_writer(one, print)
            assert (loop.stats().readers, loop.stats().writers) == (1, 1)
            loop.remove_writer(one)
            assert (loop.stats().readers, loop.stats().writers) == (1, 0)
            loop.remove_reader(one)
            loop.remove_reader(one)
        assert (loop.stats().readers, loop.stats().writers) == (0, 0)

    def test_io_events(self, loop):
        one, two = socket.socketpair()
        with one, two:
            two.send(b"x")
            before = loop.stats()
            loop.add_reader(one, loop.stop)
            loop.run_forever()
            loop.remove_reader(one)
        assert (loop.stats() - before).io_events >= 1

    def test_wakeups(self, loop):
        before = loop.stats()
        thread = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
        thread.start()
        loop.run_forever()
        thread.join()
        assert (loop.stats() - before).wakeups == 1

    def test_connections_and_bytes(self, loop):
        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data * 2)

        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            assert loop.stats().servers == 1
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"x" * 100)
            assert await reader.readexactly(200) == b"x" * 200
            stats = loop.stats(tasks=True)
            assert stats.tasks == len(asyncio.all_tasks())  # before 3.12 wait_for() makes one
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            return stats

        before = loop.stats()
        stats = drive(loop, main())
        done = stats - before
        assert (done.accepted, done.connected) == (1, 1)
        assert (done.bytes_in, done.bytes_out) == (300, 300)
        assert stats.transports == 2
        run_turns(loop, 3)
        assert (loop.stats().transports, loop.stats().servers) == (0, 0)

    def test_datagrams_and_pipes(self, loop):
        got = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                got.set_result(data)

        async def main():
            receiver, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
            address = receiver.get_extra_info("sockname")
            sender, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=address
            )
            sender.sendto(b"four")
            assert await got == b"four"
            assert loop.stats().transports == 2
            sender.close()
            receiver.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        before = loop.stats()
        drive(loop, main())
        done = loop.stats() - before
        assert (done.bytes_in, done.bytes_out) == (4, 4)
        assert loop.stats().transports == 0

    def test_sock_methods(self, loop):
        async def main():
            one, two = socket.socketpair()
            with one, two:
                one.setblocking(False)
                two.setblocking(False)
                await loop.sock_sendall(one, b"12345")
                assert await loop.sock_recv(two, 3) == b"123"
                assert await loop.sock_recv_into(two, bytearray(9)) == 2

        before = loop.stats()
        drive(loop, main())
        done = loop.stats() - before
        assert (done.bytes_in, done.bytes_out) == (5, 5)

    def test_executor_waiting(self, loop):
        release = threading.Event()

        async def main():
            from concurrent.futures import ThreadPoolExecutor

            loop.set_default_executor(ThreadPoolExecutor(1))
            started = asyncio.Event()
            first = loop.run_in_executor(
                None, lambda: (loop.call_soon_threadsafe(started.set), release.wait())
            )
            await started.wait()
            rest = [loop.run_in_executor(None, int) for _ in range(3)]
            waiting = loop.stats().executor_waiting
            release.set()
            await asyncio.gather(first, *rest)
            await loop.shutdown_default_executor()
            return waiting

        assert drive(loop, main()) == 3

    def test_collections(self, loop):
        loop.stats()  # from now on they are counted
        before = loop.stats()
        loop.call_soon(gc.collect)
        run_turns(loop)
        assert (loop.stats() - before).gc > 0
        assert gc.callbacks.count(_core._gc_event) == 1

    def test_collections_outside_of_the_loop_are_not_its_own(self, loop):
        before = loop.stats()
        gc.collect()
        assert (loop.stats() - before).gc == 0


class TestSeconds:
    def test_idle_and_busy(self, loop):
        before, began = loop.stats(), time.monotonic()
        loop.call_soon(time.sleep, 0.02)
        drive(loop, asyncio.sleep(0.02))
        done, passed = loop.stats() - before, time.monotonic() - began
        assert done.busy >= 0.02
        assert done.idle > 0
        assert done.busy + done.idle <= passed
        assert 0 < done.utilization < 1
        assert done.longest >= 0.02

    def test_none_while_it_rests(self, loop):
        run_turns(loop)
        before = loop.stats()
        time.sleep(0.01)
        done = loop.stats() - before
        assert (done.idle, done.busy, done.utilization) == (0, 0, 0)

    def test_of_a_loop_that_is_stuck(self, loop):
        seen = []
        stuck, told = threading.Event(), threading.Event()

        def stick():
            stuck.set()
            assert told.wait(60)

        def look():
            assert stuck.wait(60)
            seen.append(loop.stats())
            time.sleep(0.01)
            seen.append(loop.stats())
            seen.append(loop.load)
            told.set()

        thread = threading.Thread(target=look)
        thread.start()
        loop.call_soon(stick)
        run_turns(loop)
        thread.join()
        first, second, load = seen
        assert (second - first).turns == 0
        assert (second - first).busy >= 0.01
        assert (second - first).idle == 0
        assert load > 0

    def test_of_a_loop_that_waits(self, loop):
        def look():
            first = loop.stats()
            time.sleep(0.01)
            seen.append(loop.stats() - first)
            loop.call_soon_threadsafe(loop.stop)

        seen = []
        thread = threading.Timer(0.01, look)
        thread.start()
        loop.run_forever()
        thread.join()
        assert seen[0].idle >= 0.01
        assert (seen[0].busy, seen[0].utilization) == (0, 0)

    def test_load_of_a_busy_loop(self, loop):
        loads = []

        async def main():
            end = time.monotonic() + 1.2
            while time.monotonic() < end:
                await asyncio.sleep(0)
            loads.append(loop.load)
            await asyncio.sleep(1.2)
            loads.append(loop.load)

        drive(loop, main())
        assert loads[0] > loads[1]
        assert all(0 <= load <= 1 for load in loads)


class TestObject:
    def test_is_frozen(self, loop):
        stats = loop.stats()
        with pytest.raises(dataclasses.FrozenInstanceError):
            stats.turns = 1
        assert stats == dataclasses.replace(stats)
        assert set(dataclasses.asdict(stats)) == set(vars(stats))

    def test_difference(self, loop):
        one = loop.stats()
        timer = loop.call_later(1000, print)
        run_turns(loop, 2)
        two = loop.stats()
        timer.cancel()
        assert isinstance(two - one, moodloop.LoopStats)
        assert (two - one).timers == two.timers == 1
        with pytest.raises(TypeError):
            two - 1

    def test_closed(self, new_loop):
        loop = new_loop()
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.stats()
        assert loop.load == 0

    def test_guest(self, new_loop):
        from moodloop import event

        ev = event.Loop()
        loop = new_loop(moodloop.EventLoop, ev=ev)
        with loop.attached():
            task = loop.create_task(asyncio.sleep(0.001))
            ev.start()
            assert task.done()
        stats = loop.stats()
        assert stats.timers_fired == 1
        assert stats.turns > 0
        assert stats.callbacks > 0
        assert stats.idle + stats.busy > 0
        loop.close()
        ev.close()


class TestDelay:
    def test_records_each_callback(self, loop):
        with loop.monitor_delay() as delay:
            loop.call_soon(time.sleep, 0.01)
            for _ in range(9):
                loop.call_soon(int)
            run_turns(loop)
        assert delay.count >= 10
        assert 0 <= delay.min <= delay.mean <= delay.max
        assert delay.max >= 0.01
        assert delay.stddev > 0
        assert delay.percentile(0) <= delay.percentile(50) <= delay.percentile(100) == delay.max
        assert sum(n for _, n in delay.buckets()) == delay.count
        assert "callbacks" in repr(delay)

    def test_only_within_the_block(self, loop):
        with loop.monitor_delay() as delay:
            pass
        run_turns(loop, 3)
        assert delay.count == 0
        assert (delay.min, delay.max, delay.mean, delay.stddev) == (0, 0, 0, 0)
        assert (delay.percentile(99), delay.buckets()) == (0, [])

    def test_several_at_a_time(self, loop):
        with loop.monitor_delay() as outer:
            run_turns(loop)
            with loop.monitor_delay() as inner:
                run_turns(loop)
            run_turns(loop)
        assert 0 < inner.count < outer.count

    def test_reset(self, loop):
        with loop.monitor_delay() as delay:
            run_turns(loop)
            assert delay.count > 0
            delay.reset()
            assert delay.count == 0
            run_turns(loop)
        assert delay.count > 0

    def test_loop_closed_in_the_block(self, new_loop):
        loop = new_loop()
        with loop.monitor_delay() as delay:
            run_turns(loop)
            loop.close()
        assert delay.count > 0
        with pytest.raises(RuntimeError, match="closed"), loop.monitor_delay():
            pass

    def test_refusals(self, loop):
        histogram = _core.Histogram()
        loop._record_delays(histogram)
        with pytest.raises(RuntimeError, match="on already"):
            loop._record_delays(histogram)
        loop._stop_delays(histogram)
        with pytest.raises(RuntimeError, match="not on"):
            loop._stop_delays(histogram)
        with pytest.raises(TypeError, match="Histogram"):
            loop._record_delays(1)
        with pytest.raises(TypeError, match="Histogram"):
            loop._stop_delays(1)


class TestHistogram:
    @pytest.mark.parametrize("seconds", [0, 1e-9, 7e-9, 8e-9, 9e-9, 1e-6, 1.5e-3, 0.1, 1, 59])
    def test_bounds(self, seconds):
        histogram = _core.Histogram()
        histogram.record(seconds)
        ((bound, count),) = histogram.buckets()
        assert count == 1
        assert seconds < bound <= max(seconds * 1.126, seconds + 1.01e-9)
        assert histogram.percentile(50) == pytest.approx(seconds, abs=1e-9)

    @pytest.mark.parametrize("seconds", [69, 1e6, 1e30, float("inf")])
    def test_what_is_longer_is_in_the_last_one(self, seconds):
        histogram = _core.Histogram()
        histogram.record(seconds)
        assert histogram.buckets() == [(float("inf"), 1)]

    def test_figures(self):
        histogram = _core.Histogram()
        for ms in range(1, 101):
            histogram.record(ms / 1000)
        assert histogram.count == 100
        assert histogram.min == pytest.approx(0.001)
        assert histogram.max == pytest.approx(0.1)
        assert histogram.mean == pytest.approx(0.0505)
        assert histogram.stddev == pytest.approx(0.02886607)
        for p in (1, 50, 90, 99, 100):
            assert p / 1000 <= histogram.percentile(p) <= p / 1000 * 1.126

    def test_refusals(self):
        histogram = _core.Histogram()
        for wrong in (-1, 101, float("nan")):
            with pytest.raises(ValueError, match="percentile"):
                histogram.percentile(wrong)
        with pytest.raises(TypeError):
            histogram.percentile("99")
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="negative"):
                histogram.record(wrong)
        with pytest.raises(TypeError):
            _core.Histogram(1)


class TestPage:
    def test_is_what_stats_tell(self, loop):
        run_turns(loop, 5)
        stats = loop.stats()
        serial = max(field(meter, "serial") for meter in page())
        (mine,) = [meter for meter in page() if field(meter, "serial") == serial]
        for name in LAYOUT["stats"]:
            assert field(mine, name) == getattr(stats, name), name
        assert field(mine, "tid") == threading.get_native_id()

    def test_a_meter_for_each_loop(self, new_loop):
        before = len(page())
        loops = [new_loop() for _ in range(70)]
        assert len(page()) == before + 70
        for loop in loops[::2]:
            loop.close()
        assert len(page()) == before + 35
        for loop in loops:
            loop.close()
        assert len(page()) == before

    def test_more_loops_than_meters(self, snippet):
        done = snippet(
            """
import resource, moodloop
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
from moodloop import event
loops = [moodloop.EventLoop(ev=event.Loop(event.EVBACKEND_SELECT)) for _ in range(1030)]
for loop in loops:
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.stats().callbacks == 1
    loop.close()
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_a_forked_child_has_its_own(self, snippet):
        done = snippet(
            """
import moodloop
def names():
    links = []
    for n in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{n}"))
        except OSError:
            pass
    return links.count("/memfd:moodloop (deleted)")
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
loop = moodloop.new_event_loop()
loop.call_soon(loop.stop)
loop.run_forever()
before = loop.stats()
pid = os.fork()
if pid == 0:
    assert names() == 1
    assert loop.stats() == before
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.stats().turns > before.turns
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert names() == 1
assert loop.stats() == before
loop.close()
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_not_inherited_by_a_program(self, snippet):
        done = snippet(
            """
import subprocess, moodloop
loop = moodloop.new_event_loop()
out = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True)
assert b"moodloop" not in out.stdout, out.stdout
loop.close()
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_somebody_has_closed_the_number(self, snippet):
        done = snippet(
            """
import warnings, moodloop
from moodloop import _core
warnings.simplefilter("ignore", DeprecationWarning)
loop = moodloop.new_event_loop()
fd = _core._page_fd()
os.close(fd)
other = os.open("/dev/null", os.O_RDONLY)
if other != fd:
    os.dup2(other, fd)
loop.call_soon(loop.stop)
loop.run_forever()
assert loop.stats().callbacks == 1
pid = os.fork()
if pid == 0:
    assert os.readlink(f"/proc/self/fd/{fd}") == "/dev/null"
    assert loop.stats().callbacks == 1
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.close()
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_cannot_be_cut_short(self, loop):
        with (
            open(f"/proc/self/fd/{_core._page_fd()}", "r+b") as file,
            pytest.raises(PermissionError),
        ):
            file.truncate(0)

    def test_delays_when_somebody_asks(self, loop):
        run_turns(loop)
        serial = max(field(meter, "serial") for meter in page())
        mine = next(meter for meter in page() if field(meter, "serial") == serial)
        place, kind = LAYOUT["delays"]
        assert struct.unpack_from("=" + kind, mine, place) == (0,)
        number = [field(meter, "serial") for meter in page()].index(serial)
        with open(f"/proc/self/fd/{_core._page_fd()}", "r+b") as file:
            data = file.read()
            at, size, count = struct.unpack_from("=III", data, 16)
            slots = [i for i in range(count) if field(data[at + i * size :], "serial") == serial]
            assert len(slots) == 1 and number >= 0
            file.seek(at + slots[0] * size + LAYOUT["ask_until"][0])
            file.write(struct.pack("=d", time.monotonic() + 100))
            file.flush()
        run_turns(loop, 2)
        mine = next(meter for meter in page() if field(meter, "serial") == serial)
        assert struct.unpack_from("=" + kind, mine, place)[0] > 0
