"""moodloop.watch: watchers as `async for` loops."""

import asyncio
import datetime
import decimal
import fractions
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
import zoneinfo

import pytest
from support.debugger import traced

import moodloop
from moodloop import event, pidfd, watch

pytestmark = pytest.mark.moodloop_only


@pytest.fixture
def run():
    """Run a coroutine function; no watcher may be left."""

    def run(main):
        async def wrapper():
            result = await asyncio.wait_for(main(), 30)
            gc.collect()
            left = asyncio.get_running_loop().ev.watchers()
            assert not left, left
            return result

        return moodloop.run(wrapper())

    return run


def active():
    """The active watchers of the running loop."""
    return asyncio.get_running_loop().ev.watchers()


# ---- all of them -------------------------------------------------------------------------

MAKERS = {
    "path": lambda: watch.path("/nonexistent"),
    "every": lambda: watch.every(3600),
    "cron": lambda: watch.cron("0 0 1 1 *"),
    "signals": lambda: watch.signals(signal.SIGUSR1, signal.SIGUSR2),
}


@pytest.fixture(params=list(MAKERS))
def make(request):
    return MAKERS[request.param]


def test_watches_at_once_and_stops_when_dropped(run, make):
    async def main():
        watcher = make()
        assert active()
        del watcher
        assert not active()

    run(main)


def test_close_ends_the_loop(run, make):
    async def main():
        watching = make()
        asyncio.get_running_loop().call_soon(watching.close)
        async for _ in watching:
            raise AssertionError
        assert not active()
        watching.close()
        with pytest.raises(StopAsyncIteration):
            await anext(watching)

    run(main)


def test_cancelled_while_it_waits(run, make):
    async def main():
        async def body():
            async for _ in make():
                raise AssertionError

        task = asyncio.create_task(body())
        await asyncio.sleep(0)
        assert active()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        assert not active()

    run(main)


def test_a_cancelled_wait_can_be_repeated(run):
    async def main():
        ticks = watch.every(0.5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(ticks), 0.001)
        assert await anext(ticks) >= 1

    run(main)


def test_one_task_at_a_time(run, make):
    async def main():
        watching = make()
        task = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(watching)
        watching.close()
        with pytest.raises(StopAsyncIteration):
            await task

    run(main)


def test_is_garbage_while_it_is_active(run, make):
    async def main():
        watching = make()
        watching.me = watching
        reference = weakref.ref(watching)
        del watching
        gc.collect()
        assert reference() is None
        assert not active()

    run(main)


def test_loop_closed_with_an_active_watch(make):
    loop = moodloop.new_event_loop()

    async def main():
        return make()

    watching = loop.run_until_complete(main())
    loop.close()
    watching.close()


def test_needs_a_running_loop(make):
    with pytest.raises(RuntimeError):
        make()


def test_needs_a_loop_of_ours(make):
    async def main():
        with pytest.raises(TypeError, match=r"moodloop\.run\(\)"):
            make()
        with pytest.raises(TypeError, match=r"moodloop\.run\(\)"):
            await watch.process(1)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


# ---- path --------------------------------------------------------------------------------


def test_path(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("1")

    async def main():
        sizes = []
        async for stat in watch.path(file):
            sizes.append(stat.size if stat.nlink else None)
            if len(sizes) == 1:
                file.unlink()
            elif len(sizes) == 2:
                file.write_text("hello")
            else:
                break
            assert len(sizes) < 10
        return sizes

    async def outer():
        asyncio.get_running_loop().call_soon(file.write_text, "12")
        return await main()

    sizes = run(outer)
    assert sizes[:2] == [2, None]
    assert sizes[2] in (0, 5)  # between open() and write() it is empty


def test_path_keeps_the_newest(run, tmp_path):
    file = tmp_path / "file"

    async def main():
        changes = watch.path(str(file).encode(), 0.1)
        for text in "a", "ab", "abc":
            file.write_text(text)
            await asyncio.sleep(0.2)
        stat = await anext(changes)
        assert stat.size == 3
        assert not changes._events

    run(main)


def through_link(tmp_path):
    (tmp_path / "real").write_text("v1")
    (tmp_path / "file").symlink_to("real")
    yield tmp_path / "file"
    (tmp_path / "real").write_text("v2")


def config_map(tmp_path):
    """A volume of Kubernetes."""
    for number in 1, 2:
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "file").write_text(f"v{number}")
        (tmp_path / "..data_tmp").symlink_to(f"..{number}")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        if number == 1:
            (tmp_path / "file").symlink_to("..data/file")
            yield tmp_path / "file"


def deployed(tmp_path):
    for number in 1, 2:
        (tmp_path / "next").mkdir()
        (tmp_path / "next" / "file").write_text(f"v{number}")
        if number == 2:
            (tmp_path / "now").rename(tmp_path / "before")
        (tmp_path / "next").rename(tmp_path / "now")
        if number == 1:
            yield tmp_path / "now" / "file"


def saved_twice(tmp_path):
    (tmp_path / "file").write_text("v0")
    yield tmp_path / "file"
    (tmp_path / "file").write_text("v1")
    (tmp_path / "file").write_text("v2")


@pytest.mark.parametrize("change", [through_link, config_map, deployed, saved_twice])
def test_path_of_settings(run, tmp_path, change):
    """A program that reads its settings at each event has the newest in the end."""

    async def main():
        steps = change(tmp_path)
        path = next(steps)
        changes = watch.path(path, 3600)
        assert next(steps, None) is None
        async for _ in changes:
            if path.exists() and path.read_text() == "v2":
                break

    run(main)


@pytest.mark.parametrize("path, error", [("a\0b", ValueError), (5, TypeError)])
def test_path_refuses(run, path, error):
    async def main():
        with pytest.raises(error):
            watch.path(path)

    run(main)


# ---- every -------------------------------------------------------------------------------


def test_every(run):
    async def main():
        counts = []
        async for count in watch.every(0.001):
            counts.append(count)
            if len(counts) == 3:
                break
        return counts

    assert min(run(main)) >= 1


def test_every_counts_from_the_call(run):
    async def main():
        time.sleep(0.5)  # a turn that takes long: the loop's clock is that of its begin
        ticks = watch.every(0.5)
        start = time.monotonic()
        await anext(ticks)
        assert time.monotonic() - start > 0.4  # the clock is the point

    run(main)


@pytest.mark.parametrize("blocking", [False, True])
def test_every_counts_missed_ticks(run, blocking):
    async def main():
        ticks = watch.every(0.001)
        if blocking:
            time.sleep(0.01)
        else:
            for _ in range(3):
                await asyncio.sleep(0.005)
        assert await anext(ticks) >= 3

    run(main)


@pytest.mark.parametrize("seconds", [decimal.Decimal("0.001"), fractions.Fraction(1, 999), 5e-324])
def test_every_takes_real_numbers(run, seconds):
    async def main():
        ticks = watch.every(seconds)
        assert [await anext(ticks) >= 1 for _ in range(3)] == [True] * 3

    run(main)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_every_refuses(run, seconds):
    async def main():
        with pytest.raises(ValueError, match="positive"):
            watch.every(seconds)

    run(main)


# ---- cron --------------------------------------------------------------------------------


def test_cron_every_second(run):
    async def main():
        seen = []
        async for moment in watch.cron("* * * * * *"):
            seen.append(moment)
            if len(seen) == 2:
                break
        return seen

    first, second = run(main)
    assert first.tzinfo is not None
    assert (first.microsecond, second - first) == (0, datetime.timedelta(seconds=1))
    assert abs(datetime.datetime.now(datetime.UTC) - second) < datetime.timedelta(seconds=20)


def test_cron_that_cannot_go_on_says_so(run):
    """In the loop over it, which waited for ever."""

    class Zone(datetime.tzinfo):
        broken = False

        def utcoffset(self, dt):
            if self.broken:
                raise ZeroDivisionError("no such zone any more")
            return datetime.timedelta(0)

        def dst(self, dt):
            return datetime.timedelta(0)

        def tzname(self, dt):
            return "zone"

    async def main():
        zone = Zone()
        with pytest.raises(ZeroDivisionError):
            async for _ in watch.cron("* * * * * *", tz=zone):
                zone.broken = True

    run(main)


def test_cron_counts_from_the_call(run):
    async def main():
        time.sleep(1.2)
        start = datetime.datetime.now(datetime.UTC)
        assert await anext(watch.cron("* * * * * *", tz=datetime.UTC)) >= start

    run(main)


def test_cron_next_time(run):
    zone = zoneinfo.ZoneInfo("Asia/Kolkata")

    async def main():
        watching = watch.cron("30 4 * * *", tz=zone)
        (scheduler,) = active()
        due = datetime.datetime.fromtimestamp(scheduler.at, zone)
        del scheduler
        assert (due.hour, due.minute, due.second) == (4, 30, 0)
        assert due > datetime.datetime.now(zone)
        watching.close()

    run(main)


@pytest.mark.parametrize("name", ["Europe/Berlin", ":Europe/Berlin"])
def test_cron_in_the_zone_of_the_system(run, monkeypatch, name):
    monkeypatch.setenv("TZ", name)
    assert watch._local_zone() == zoneinfo.ZoneInfo("Europe/Berlin")
    monkeypatch.setenv("TZ", "CET-1CEST")
    with pytest.raises(ValueError, match="tz="):
        watch._local_zone()
    monkeypatch.delenv("TZ")
    assert watch._local_zone().utcoffset(datetime.datetime(2024, 1, 1)) is not None


def test_cron_that_ends(run, monkeypatch):
    """An expression can have years: here the last time is reached."""
    croniter = pytest.importorskip("croniter")

    class Times(croniter.croniter):
        left = 2  # the first is asked for by cron() itself

        def get_next(self, *args):
            if not Times.left:
                raise croniter.CroniterBadDateError
            Times.left -= 1
            return super().get_next(*args)

    monkeypatch.setattr(croniter, "croniter", Times)

    async def main():
        seen = [moment async for moment in watch.cron("* * * * * *")]
        assert len(seen) == 1
        assert not active()

    run(main)


def test_cron_refuses(run):
    async def main():
        with pytest.raises(ValueError):
            watch.cron("no such time")
        with pytest.raises(ValueError):
            watch.cron("0 0 31 2 *")  # never

    run(main)


def test_cron_without_croniter(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "croniter", None)

    async def main():
        with pytest.raises(ImportError, match="pip install croniter"):
            watch.cron("* * * * *")

    run(main)


# ---- signals -----------------------------------------------------------------------------


def test_signals(run):
    before = signal.getsignal(signal.SIGUSR1)

    async def main():
        got = []
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        async for signum in watch.signals(signal.SIGUSR1, signal.SIGUSR2):
            got.append(signum)
            if len(got) == 2:
                break
            os.kill(os.getpid(), signal.SIGUSR2)
        return got

    got = run(main)
    assert got == [signal.SIGUSR1, signal.SIGUSR2]
    assert type(got[0]) is signal.Signals
    assert signal.getsignal(signal.SIGUSR1) == before


def test_real_time_signal(run):
    async def main():
        watching = watch.signals(signal.SIGRTMIN, signal.SIGRTMIN + 1)
        for signum in (signal.SIGRTMIN, signal.SIGRTMIN + 1):
            os.kill(os.getpid(), signum)
            assert await anext(watching) == signum
        watching.close()

    run(main)


def test_signals_refuses(run):
    async def main():
        with pytest.raises(ValueError):
            watch.signals()
        with pytest.raises(ValueError):
            watch.signals(signal.SIGUSR1, signal.SIGKILL)
        gc.collect()
        assert not active()
        other = event.Loop()
        taken = other.signal(signal.SIGUSR2, lambda w, r: None)
        taken.start()
        with pytest.raises(event.Error):
            watch.signals(signal.SIGUSR1, signal.SIGUSR2)
        other.close()

    run(main)


# ---- process -----------------------------------------------------------------------------


@pytest.mark.parametrize("code, status", [("raise SystemExit(3)", 3), ("0", 0)])
def test_process(run, code, status):
    async def main():
        process = subprocess.Popen([sys.executable, "-c", code])
        assert await watch.process(process.pid) == status
        assert process.wait() == status

    run(main)


def test_process_that_a_signal_ends(run):
    async def main():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        process.kill()
        assert await watch.process(process.pid, reap=True) == -signal.SIGKILL
        process.stdin.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGKILL

    run(main)


@pytest.mark.parametrize("reap", [False, True])
def test_process_that_somebody_else_reaps(run, reap):
    async def main():
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        fd = os.pidfd_open(process.pid)
        task = asyncio.create_task(watch.process(process.pid, reap=reap))
        await asyncio.sleep(0)
        assert process.wait() == 3
        told = pidfd.exit_status(fd) is not None  # from Linux 6.15 on
        os.close(fd)
        assert await task == (3 if told else None)

    run(main)


def test_process_that_a_debugger_traces(run):
    """It is dead, yet its status cannot be had until the debugger is told; the loop goes on."""

    async def main():
        with subprocess.Popen(["sleep", "1000"]) as process, traced(process.pid) as let_go:
            task = asyncio.create_task(watch.process(process.pid))
            await asyncio.sleep(0)
            process.kill()
            await asyncio.sleep(0.1)  # it has not ended, however long
            assert not task.done()
            let_go()
            assert await task == -signal.SIGKILL

    run(main)


def test_process_that_is_no_child(run):
    async def main():
        parent = subprocess.Popen(
            ["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True
        )
        pid = int(parent.stdout.readline())
        assert await watch.process(pid) is None
        parent.wait()
        parent.stdout.close()

    run(main)


def test_process_cancelled(run):
    async def main():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        task = asyncio.create_task(watch.process(process.pid))
        await asyncio.sleep(0)
        assert active()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not active()
        process.communicate(b"\n")

    run(main)


def test_process_that_does_not_exist(run):
    process = subprocess.Popen([sys.executable, "-c", "0"])
    process.wait()

    async def main():
        with pytest.raises(ProcessLookupError):
            await watch.process(process.pid)

    run(main)
