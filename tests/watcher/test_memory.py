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
