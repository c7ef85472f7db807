"""When memory is out: MemoryError, where libev would abort the process."""

import pytest

from moodloop import _core


@pytest.mark.skipif(
    "sanitize" in _core.build_flags, reason="AddressSanitizer's allocator outgrows the limit"
)
def test_libev_gets_what_is_kept_back(isolated):
    """200,000 timers: their heap in libev doubles several times with 2 MiB left."""
    out = isolated(
        """
        import re, resource

        loop = Loop()
        timers = [loop.timer(3600, 0, lambda w, r: None) for i in range(200_000)]
        fired = []
        due = loop.timer(0, 0, lambda w, r: (fired.append(1), loop.stop()))
        due.start()
        status = open("/proc/self/status").read()
        used = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), resource.RLIM_INFINITY))
        try:
            for timer in timers:
                timer.start()
        except MemoryError:
            print("out of memory")
        loop.verify()
        loop.start()
        assert fired == [1]
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        started = len(loop.watchers())
        assert 1000 < started < 200_000, started
        for timer in timers:
            timer.start()
        assert len(loop.watchers()) == 200_000
        loop.verify()
        loop.close()
        """
    )
    assert out == "out of memory"


@pytest.mark.skipif(
    "sanitize" in _core.build_flags, reason="AddressSanitizer's allocator outgrows the limit"
)
@pytest.mark.parametrize("kind", ["timer", "periodic", "scheduler"])
def test_reset_starts_nothing_without_memory(isolated, kind):
    """What was kept back is gone, and then all the rest."""
    out = isolated(
        f"""
        import re, resource

        loop = Loop()
        nothing = lambda w, r: None
        timers = [loop.timer(3600, 0, nothing) for i in range(200_000)]
        own = {{"timer": (0, 3600), "periodic": (0, 3600), "scheduler": (lambda w, now: now + 9,)}}
        more = [loop.{kind}(*own[{kind!r}], nothing) for i in range(200_000)]
        status = open("/proc/self/status").read()
        used = int(re.search(r"VmSize:\\s+(\\d+)", status)[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), resource.RLIM_INFINITY))
        hoard = []
        try:
            for timer in timers:
                timer.start()
        except MemoryError:
            print("out of memory")
        for size in (1 << 20, 1 << 16):
            try:
                while True:
                    hoard.append(bytearray(size))
            except MemoryError:
                pass
        try:
            for watcher in more:
                watcher.reset()
        except MemoryError:
            print("still")
        loop.verify()
        """
    )
    assert out.split("\n") == ["out of memory", "still"]
