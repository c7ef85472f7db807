"""Every way in which files are changed is seen by a Stat watcher, told by inotify or not."""

import os
import time

import pytest

from moodloop import event

INTERVAL = 0.11


def write(path, text):
    path.write_text(text)


def replace(path, text):
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def point(link, target):
    new = link.with_name("link.new")
    new.symlink_to(target)
    new.replace(link)


def keep_times(path, text):
    """As rsync -t, cp -p and tar do."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def plain(tmp_path):
    write(tmp_path / "file", "v1")
    return tmp_path / "file"


def missing(tmp_path):
    return tmp_path / "file"


def no_directory(tmp_path):
    return tmp_path / "a" / "b" / "file"


def directory(tmp_path):
    (tmp_path / "dir").mkdir()
    return tmp_path / "dir"


def in_directory(tmp_path):
    write(directory(tmp_path) / "file", "v1")
    return tmp_path / "dir" / "file"


def through_link(tmp_path):
    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "file", "v1")
    (tmp_path / "dir").symlink_to("one")
    return tmp_path / "dir" / "file"


def link(tmp_path):
    write(tmp_path / "real", "v1")
    (tmp_path / "file").symlink_to("real")
    return tmp_path / "file"


def absolute_links(tmp_path):
    write(tmp_path / "real", "v1")
    (tmp_path / "middle").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "middle")
    return tmp_path / "file"


def dangling(tmp_path):
    (tmp_path / "file").symlink_to("real")
    return tmp_path / "file"


def volume(tmp_path, number=1):
    """As Kubernetes puts a ConfigMap into a container."""
    (tmp_path / f"..{number}").mkdir()
    write(tmp_path / f"..{number}" / "file", f"v{number}")
    point(tmp_path / "..data", f"..{number}")
    if number == 1:
        (tmp_path / "file").symlink_to("..data/file")
    return tmp_path / "file"


def deploy(tmp_path):
    (tmp_path / "next").mkdir()
    write(tmp_path / "next" / "file", "v2")
    (tmp_path / "dir").rename(tmp_path / "old")
    (tmp_path / "next").rename(tmp_path / "dir")


def repoint_directory(tmp_path):
    (tmp_path / "two").mkdir()
    write(tmp_path / "two" / "file", "v2")
    point(tmp_path / "dir", "two")


def back_again(tmp_path):
    (tmp_path / "file").unlink()
    write(tmp_path / "file", "v2")


def make_path(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b" / "file", "v1")


def of(name, function, *args):
    return lambda tmp_path: function(tmp_path / name, *args)


# name: what is there, and the change
CHANGES = {
    "same size": (plain, of("file", write, "v2")),
    "other size": (plain, of("file", write, "version 2")),
    "renamed over": (plain, of("file", replace, "v2")),
    "times kept": (plain, of("file", keep_times, "v2")),
    "mode": (plain, of("file", os.chmod, 0o640)),
    "gone": (plain, of("file", os.unlink)),
    "gone and back": (plain, back_again),
    "appears": (missing, of("file", write, "v1")),
    "appears with its directories": (no_directory, make_path),
    "new file in it": (directory, of("dir/file", write, "v1")),
    "directory renamed over": (in_directory, deploy),
    "directory gone": (in_directory, lambda p: (p / "dir").rename(p / "elsewhere")),
    "link on the way": (through_link, repoint_directory),
    "link pointed elsewhere": (link, lambda p: point(p / "file", "elsewhere")),
}
THROUGH_LINKS = {
    "target written": (link, of("real", write, "v2")),
    "target renamed over": (link, of("real", replace, "v2")),
    "last of two links": (absolute_links, of("real", write, "v2")),
    "first of two links": (absolute_links, lambda p: point(p / "file", "elsewhere")),
    "second of two links": (absolute_links, lambda p: point(p / "middle", "elsewhere")),
    "target appears": (dangling, of("real", write, "v1")),
    "ConfigMap": (volume, lambda p: volume(p, 2)),
}
ALL = [pytest.param(False, *CHANGES[name], id=name) for name in CHANGES]
ALL += [
    pytest.param(True, *pair, id=f"{name}, followed")
    for name, pair in (CHANGES | THROUGH_LINKS).items()
]


@pytest.fixture(params=[0, event.EVFLAG_NOINOTIFY], ids=["inotify", "polling"])
def told(request, tmp_path):
    """A loop that is told of changes, and one that has to look for them."""
    with event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV | request.param) as loop:
        loop.data = tmp_path / "clock"
        yield loop


def later(loop):
    """For one that looks: at once another change could still have the same times."""
    probe = loop.data
    probe.touch()
    before = time.monotonic()
    first = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns - first < 20_000_000:
        assert time.monotonic() - before < 30
        probe.touch()
    probe.unlink()


def run(loop, seconds=30.0):
    """Run it; a callback stops it, or it is an error."""
    loop.update()
    limit = loop.timer(seconds, 0.0, lambda *args: (loop.stop(), late.append(True)))
    late = []
    limit.start()
    loop.start()
    limit.stop()
    assert not late, "no change was seen"


def watching(loop, path, follow=False, interval=INTERVAL):
    watcher = loop.stat(path, interval, lambda w, r: w.loop.stop())
    watcher.follow = follow
    watcher.start()
    return watcher


@pytest.mark.parametrize(("follow", "there", "change"), ALL)
def test_one_change(told, tmp_path, follow, there, change):
    path = there(tmp_path)
    watcher = watching(told, path, follow)
    assert watcher.previous is None
    later(told)
    change(tmp_path)
    run(told)
    try:
        real = (os.stat if follow else os.lstat)(path)
    except FileNotFoundError:
        assert watcher.current.nlink == 0
    else:
        assert watcher.current.ctime == pytest.approx(real.st_ctime, abs=1e-5)
        assert watcher.current.ino == real.st_ino
    assert watcher.previous is not None


@pytest.mark.parametrize(("follow", "there", "change"), ALL)
def test_at_once(tmp_path, follow, there, change):
    """Right after the file was made, within one step of the file system's clock, and not looked at
    in between: only what the kernel tells counts."""
    with event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV) as loop:
        watching(loop, there(tmp_path), follow, interval=3600)
        change(tmp_path)
        run(loop)


def test_again_and_again(tmp_path):
    """Each of many writes of the same size, each as soon as the one before was seen."""
    path = plain(tmp_path)
    with event.Loop() as loop:
        watching(loop, path, interval=3600)
        for i in range(50):
            write(path, f"{i:2}")
            run(loop)


@pytest.mark.parametrize("follow", [False, True])
def test_to_be_read_is_no_change(told, tmp_path, follow):
    path = plain(tmp_path)
    seen = []
    watcher = told.stat(path, INTERVAL, lambda w, r: seen.append(w.current.size))
    watcher.follow = follow
    watcher.start()
    later(told)
    fence = tmp_path / "fence"
    watching(told, fence)
    for _ in range(2):
        path.read_text()
        later(told)
        replace(fence, "x")
        run(told)
    assert seen == []
    write(path, "long")
    while not seen:
        told.start(event.EVRUN_ONCE)
    assert seen == [4]


def test_many_files(told, tmp_path):
    count = 300
    paths = [tmp_path / str(i) for i in range(count)]
    missing = set(paths)

    def callback(watcher, revents):
        missing.discard(watcher.data)
        watcher.stop()
        if not missing:
            told.stop()

    for path in paths:
        write(path, "1")
    watchers = [told.stat(path, INTERVAL, callback, path) for path in paths]
    for watcher in watchers:
        watcher.start()
    later(told)
    for path in paths:
        write(path, "2")
    run(told)
    assert not told.watchers()


def test_more_than_the_kernel_can_tell(tmp_path):
    """It drops events when 16,384 of them (fs.inotify.max_queued_events) wait."""
    path = plain(tmp_path)
    seen = set()
    full = directory(tmp_path)

    def callback(watcher, revents):
        seen.add(watcher.data)
        if len(seen) == 2:
            loop.stop()

    with event.Loop() as loop:
        watchers = [loop.stat(path, 3600, callback, "file"), loop.stat(full, 3600, callback, "dir")]
        for watcher in watchers:
            watcher.start()
        with open("/proc/sys/fs/inotify/max_queued_events") as limit:
            count = min(int(limit.read()), 100_000)
        for i in range(count // 2 + 1):
            os.close(os.open(full / str(i), os.O_CREAT))
            os.unlink(full / str(i))
        write(path, "v2")
        run(loop)


def inotify_descriptor():
    found = [
        int(fd)
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}") and "inotify" in os.readlink(f"/proc/self/fd/{fd}")
    ]
    assert len(found) == 1
    return found[0]


def test_one_descriptor_for_all_made_when_needed(isolated):
    code = """
        def count():
            return len(os.listdir("/proc/self/fd"))
        loop = Loop()
        none = count()
        first, second = loop.stat("/a", 0, print), loop.stat("/b", 0, print)
        first.start()
        assert count() == none + 1
        second.start()
        first.stop(); second.stop(); first.start()
        assert count() == none + 1
        loop.close()
        assert count() < none
        print("ok")
        """
    assert isolated(code) == "ok"


@pytest.mark.parametrize("reused", [False, True])
def test_descriptor_closed_by_somebody(tmp_path, reused):
    path = plain(tmp_path)
    with event.Loop() as loop:
        watching(loop, path)
        fd = inotify_descriptor()
        ends = os.pipe()
        if reused:
            os.dup2(ends[0], fd)
            os.write(ends[1], b"somebody's")
        else:
            os.close(fd)
        for _ in range(3):
            loop.start(event.EVRUN_NOWAIT)
        write(path, "v2")
        other = watching(loop, tmp_path / "other")
        run(loop)
        if reused:
            assert os.read(fd, 100) == b"somebody's"
            os.close(fd)
        other.stop()
        for end in ends:
            os.close(end)


def test_follow(loop, tmp_path):
    path = link(tmp_path)
    watcher = loop.stat(path, 0, print)
    assert watcher.follow is False
    watcher.follow = 1
    assert watcher.follow is True
    watcher.stat()
    assert watcher.current.ino == (tmp_path / "real").stat().st_ino
    watcher.start()
    with pytest.raises(event.Error, match="active"):
        watcher.follow = False
    with pytest.raises(AttributeError):
        del watcher.follow
    watcher.stop()

    class Starts:
        def __bool__(self):
            watcher.start()
            return True

    with pytest.raises(event.Error):
        watcher.follow = Starts()
    watcher.stop()
    with pytest.raises(event.Error):
        event.Stat.__new__(event.Stat).follow = True


@pytest.mark.parametrize(
    "path",
    ["", "/", ".", "..", "//", "/tmp/", "./.", "loop", "x" * 300, "/x" * 3000, "/proc/self/fd/0"],
)
@pytest.mark.parametrize("follow", [False, True])
def test_odd_paths(loop, tmp_path, monkeypatch, path, follow):
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    watcher = watching(loop, path, follow)
    try:
        expected = (os.stat if follow else os.lstat)(path).st_ino
    except OSError:
        assert watcher.current.nlink == 0
    else:
        assert watcher.current.ino == expected
    loop.start(event.EVRUN_NOWAIT)
    watcher.stop()


def test_relative_path(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "./file", "dir/../file"):
        (tmp_path / "dir").mkdir(exist_ok=True)
        write(tmp_path / "file", "v1")
        watcher = watching(told, name, interval=INTERVAL)
        later(told)
        write(tmp_path / "file", "v2")
        run(told)
        watcher.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(told, tmp_path):
    path = plain(tmp_path)
    path.chmod(0)
    watching(told, path)
    later(told)
    replace(path, "v2")
    run(told)
