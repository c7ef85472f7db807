import copy
import gc
import math
import os
import pathlib
import pickle
import stat as stat_module
import weakref

import pytest
from support import leaks

from moodloop import event

from .conftest import BACKENDS, make_loop

FIELDS = ("dev", "rdev", "ino", "size", "nlink", "mode", "uid", "gid", "atime", "mtime", "ctime")


def nothing(*args):
    pass


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1")
    return str(path)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"x")


@pytest.fixture(params=[0, event.EVFLAG_NOINOTIFY], ids=["inotify", "polling"])
def either_loop(request):
    """A loop that is told of changes, and one that has to look for them."""
    with event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV | request.param) as loop:
        yield loop


@pytest.mark.parametrize("backend", BACKENDS)
def test_change(backend, path):
    with make_loop(backend) as loop:
        seen = []

        def callback(watcher, revents):
            seen.append((revents, watcher.previous.size, watcher.current.size))
            watcher.stop()

        watcher = loop.stat(path, 0, callback)
        assert (watcher.current, watcher.previous) == (None, None)
        watcher.start()
        assert watcher.current.size == 1 and watcher.previous is None
        loop.start(event.EVRUN_NOWAIT)
        assert seen == []
        grow(path)
        loop.start()
        assert seen == [(event.EV_STAT, 1, 2)]
        assert (watcher.attr, watcher.prev) == (watcher.current, watcher.previous)


def test_appears_changes_and_goes(either_loop, tmp_path, guarded):
    path = tmp_path / "dir" / "file"
    steps = [lambda: (path.parent.mkdir(), path.write_bytes(b"1")), lambda: grow(path), path.unlink]
    seen = []

    def callback(watcher, revents):
        seen.append((watcher.previous.nlink, watcher.current.nlink, watcher.current.size))
        steps.pop(0)() if steps else watcher.stop()

    watcher = either_loop.stat(path, 0.01, callback)
    watcher.start()
    assert watcher.current.nlink == 0
    steps.pop(0)()
    either_loop.start()
    assert [(before, after) for before, after, _ in seen] == [(0, 1), (1, 1), (1, 0)]
    assert [size for *_, size in seen[:2]] == [1, 2]


def test_directory(either_loop, tmp_path):
    os.utime(tmp_path, (1, 1))  # libev compares whole seconds
    watcher = either_loop.stat(tmp_path, 0.01, lambda w, r: w.stop())
    watcher.start()
    assert watcher.current.mtime == 1.0
    (tmp_path / "new").touch()
    either_loop.start()
    assert watcher.previous.mtime == 1.0 < watcher.current.mtime


def test_statdata_is_what_lstat_says(loop, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    for name in (path, link, tmp_path, "/dev/null", os.fsencode(path)):
        watcher = loop.stat(name, 0, nothing)
        watcher.stat()
        data, real = watcher.current, os.lstat(name)
        for field in FIELDS:
            assert getattr(data, field) == pytest.approx(getattr(real, f"st_{field}"), abs=1e-5)
            assert type(getattr(data, field)) is (float if field.endswith("time") else int)
        assert tuple(data) == tuple(getattr(data, field) for field in FIELDS)
    assert stat_module.S_ISLNK(os.lstat(link).st_mode)


def test_statdata_type(loop, path):
    watcher = loop.stat(path, 0, nothing)
    watcher.stat()
    data = watcher.current
    assert type(data) is event.Statdata and isinstance(data, tuple) and len(data) == 11
    assert event.Statdata.__match_args__ == FIELDS
    assert event.Statdata.__module__ == "moodloop.event"
    assert repr(data).startswith("moodloop.event.Statdata(dev=")
    assert event.Statdata(range(11)).ctime == 10
    for same in (copy.copy(data), pickle.loads(pickle.dumps(data))):
        assert same == data and type(same) is event.Statdata
    with pytest.raises(AttributeError):
        data.size = 1
    with pytest.raises(TypeError):
        event.Statdata(range(10))


def test_path_comes_back_as_given(loop, tmp_path):
    class Name(str):
        pass

    class Bytes(bytes):
        pass

    class Like:
        def __fspath__(self):
            return b"like"

    for given, back in (
        ("a", "a"),
        (b"a", b"a"),
        (pathlib.Path("b"), "b"),
        (Like(), b"like"),
        (Name("c"), "c"),
        (Bytes(b"c"), b"c"),
        ("\udcff", "\udcff"),  # what os.listdir() gives for names that are no text
        (b"\xff", b"\xff"),
        ("", ""),
    ):
        watcher = loop.stat(given, 0, nothing)
        assert watcher.path == back and type(watcher.path) is type(back)
    (tmp_path / os.fsdecode(b"\xff")).touch()
    watcher = loop.stat(str(tmp_path / "\udcff"), 0, nothing)
    watcher.stat()
    assert watcher.current.nlink == 1


def test_arguments(loop, path):
    watcher = loop.stat(path, 5, nothing)
    for wrong, exc in (
        ("a\0b", ValueError),
        (b"a\0b", ValueError),
        (5, TypeError),
        (None, TypeError),
        (bytearray(b"a"), TypeError),
        ("\ud800", UnicodeEncodeError),
    ):
        with pytest.raises(exc):
            loop.stat(wrong, 0, nothing)
        with pytest.raises(exc):
            watcher.set(wrong, 0)
    for wrong, exc in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError)):
        with pytest.raises(exc):
            loop.stat(path, wrong, nothing)
        with pytest.raises(exc):
            watcher.set("other", wrong)
    assert (watcher.path, watcher.interval) == (path, 5.0)
    assert repr(watcher).endswith(f"stopped path={path!r} interval=5.0>")
    made = event.Stat(interval=1, path="a", loop=loop, callback=nothing)
    assert (made.path, made.interval) == ("a", 1.0)
    for name in ("path", "interval", "current", "attr", "previous", "prev"):
        with pytest.raises(AttributeError):
            setattr(watcher, name, None)
        with pytest.raises(AttributeError):
            delattr(watcher, name)


def test_extreme_intervals(loop, path):
    watchers = [loop.stat(path, interval, nothing) for interval in (0, 5e-324, 1e308, math.inf)]
    for watcher in watchers:
        watcher.start()
    assert [w.interval for w in watchers[:2]] == [0.0, pytest.approx(0.1074891)]
    loop.start(event.EVRUN_NOWAIT)
    loop.suspend()
    loop.resume()
    loop.verify()
    for watcher in watchers:
        watcher.stop()


def test_stat(either_loop, path, tmp_path):
    watcher = either_loop.stat(path, 0.01, nothing)
    watcher.stat()
    assert watcher.current.size == 1
    watcher.set(tmp_path / "missing", 0.01)
    assert (watcher.current, watcher.previous) == (None, None)
    watcher.stat()
    assert watcher.current.nlink == 0 and watcher.current.size == 0
    watcher.start()
    (tmp_path / "missing").touch()
    watcher.stat()
    assert watcher.current.nlink == 1 and not watcher.pending
    watcher.stop()


def test_set_while_pending(loop, path, tmp_path):
    seen = []
    watcher = loop.stat(path + "x" * 50, 0, lambda w, r: seen.append((r, w.path, w.current)))
    watcher.start()
    with pytest.raises(event.Error):
        watcher.set(path, 0)
    watcher.stop()
    watcher.feed(event.EV_CUSTOM)
    for i in range(20):
        watcher.set(str(tmp_path / f"other{i}") * 3, 0)
    watcher.set(path, 0)
    gc.collect()
    loop.invoke()
    assert seen == [(event.EV_CUSTOM, path, None)]
    watcher.start()
    assert watcher.current.size == 1
    watcher.stop()


def test_path_outlives_what_it_was_given_as(loop, tmp_path):
    def make():
        name = str(tmp_path / "".join(["some", "where"]))
        watcher = loop.stat(name, 0, lambda w, r: w.stop())
        watcher.start()

    make()
    gc.collect()
    reused = [str(i) * 30 for i in range(1000)]
    (tmp_path / "somewhere").touch()
    loop.start()
    del reused


def test_callback_stops_sets_and_frees(loop, guarded, tmp_path):
    seen = []
    paths = [tmp_path / str(i) for i in range(4)]
    watchers = []

    def callback(watcher, revents):
        seen.append(watcher.path)
        for other in watchers:
            other.stop()
        watchers.clear()
        watcher.set(tmp_path / "elsewhere", 0)
        watcher.start()
        watcher.stop()
        gc.collect()

    watchers.extend(loop.stat(path, 0, callback) for path in paths)
    for watcher in watchers:
        watcher.start()
    del watcher
    for path in paths:
        path.touch()
    guarded()
    assert len(seen) == 1 and loop.watchers() == []


def test_several_on_one_path(loop, guarded, path):
    seen = []
    watchers = []
    for i in range(5):
        watchers.append(
            loop.stat(path, 0, lambda w, r: (seen.append(w.data), w.stop()), data=i, priority=i % 2)
        )
    for watcher in watchers:
        watcher.start()
    watchers[0].stop()
    grow(path)
    guarded()
    assert sorted(seen) == [1, 2, 3, 4] and {seen[0], seen[1]} == {1, 3}


def test_ref(either_loop, path):
    watcher = either_loop.stat(path, 3600, nothing)
    watcher.ref = False
    watcher.start()
    assert either_loop.start() is False and watcher.active
    watcher.stop()
    either_loop.verify()
    watcher.ref = True
    watcher.start()
    assert either_loop.start(event.EVRUN_NOWAIT) is True
    watcher.stop()
    assert either_loop.start() is False
    either_loop.verify()


class Starts:
    def __init__(self, watcher):
        self.watcher = watcher

    def __fspath__(self):
        self.watcher.start()
        return "a"

    __float__ = lambda self: float(bool(self.__fspath__()))


def test_conversions_that_start_or_close(loop):
    class Closes:
        def __init__(self, loop):
            self.loop = loop

        def __fspath__(self):
            self.loop.close()
            return "a"

        __float__ = lambda self: float(bool(self.__fspath__()))

    watcher = loop.stat("a", 0, nothing)
    for args in ((Starts(watcher), 0), ("b", Starts(watcher))):
        with pytest.raises(event.Error):
            watcher.set(*args)
        assert watcher.path == "a"
        watcher.stop()
    for use in (
        lambda loop: loop.stat(Closes(loop), 0, nothing),
        lambda loop: loop.stat("a", Closes(loop), nothing),
        lambda loop: loop.stat("a", 0, nothing).set(Closes(loop), 0),
    ):
        with event.Loop() as other, pytest.raises(event.Error):
            use(other)


def test_use_before_init_has_ended(loop):
    class Eager:
        def __fspath__(self):
            watcher.feed(event.EV_CUSTOM)
            for use in (
                watcher.start,
                watcher.stat,
                lambda: watcher.path,
                lambda: watcher.current,
                lambda: watcher.previous,
            ):
                with pytest.raises(event.Error):
                    use()
            assert "path=None" in repr(watcher)
            raise KeyError

    watcher = event.Stat.__new__(event.Stat)
    with pytest.raises(KeyError):
        watcher.__init__(loop, Eager(), 0, nothing)
    with pytest.raises(event.Error):
        watcher.start()
    watcher.clear()
    watcher.__init__(loop, "a", 0, nothing)
    assert watcher.path == "a"


def test_closed_loop(path):
    loop = event.Loop()
    watcher = loop.stat(path, 0, nothing, data=5)
    watcher.start()
    watcher.feed(event.EV_CUSTOM)
    loop.close()
    assert (watcher.active, watcher.pending, watcher.data) == (False, False, 5)
    for use in (watcher.start, watcher.stat, lambda: watcher.set("a", 0)):
        with pytest.raises(event.Error):
            use()
    for name in ("path", "interval", "current", "previous"):
        with pytest.raises(event.Error):
            getattr(watcher, name)
    with event.Loop() as other:
        watcher.__init__(other, path, 0, nothing)
        watcher.start()


def test_collected_with_its_loop(path):
    class Name(str):
        pass

    def make():
        loop = event.Loop()
        name = Name(path)
        name.loop = loop
        watcher = loop.stat(name, 0, lambda w, r: loop)
        watcher.start()
        loop.data = watcher
        return [weakref.ref(loop), weakref.ref(watcher)]

    refs = make()
    gc.collect()
    assert [r() for r in refs] == [None, None]


def test_nothing_is_left(path, tmp_path):
    def scenario(sentinel):
        with event.Loop() as loop:
            watcher = loop.stat(path, 0, lambda *args: sentinel, data=sentinel)
            watcher.start()
            watcher.current, watcher.previous
            watcher.stop()
            watcher.set(tmp_path, 0)
            for wrong in (None, "\0"):
                with pytest.raises((TypeError, ValueError)):
                    watcher.set(wrong, 0)
            watcher.start()

    assert not leaks.growth(scenario)


IN_BOTH = """
    def grow(n):
        with open(path, "ab") as file: file.write(b"x" * n)
    path = {path!r}
    for backend in EVBACKEND_EPOLL, EVBACKEND_POLL, EVBACKEND_SELECT:
        loop = Loop(backend | EVFLAG_NOENV)
        sizes = []
        def callback(w, r):
            sizes.append(w.current.size - w.previous.size)
            loop.stop()
        watcher = loop.stat(path, 3600, callback); watcher.start()
        other = loop.stat(path + "x", 3600, callback); other.start()
        loop.start(EVRUN_NOWAIT)
        to_child, to_parent = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            {child}
        {parent}
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        loop.close()
        for fd in to_child + to_parent: os.close(fd)
    print("ok")
    """


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        # both watch on
        (
            "loop.start(EVRUN_NOWAIT); os.write(to_parent[1], b'x'); loop.start()\n"
            "            os._exit(7 if sizes == [2] else 1)",
            "os.read(to_parent[0], 1); grow(2); loop.start(); assert sizes == [2]",
        ),
        # the child has not run the loop when it stops and closes: the parent is not deaf for it
        (
            "watcher.stop(); other.stop(); loop.stat(path, 0, print).start(); loop.close()\n"
            "            os.write(to_parent[1], b'x'); os._exit(7)",
            "os.read(to_parent[0], 1); loop.start(EVRUN_NOWAIT); grow(3); loop.start()\n"
            "        assert sizes == [3]",
        ),
        # what the parent stops does not matter to the child
        (
            "loop.start(EVRUN_NOWAIT); os.write(to_parent[1], b'x'); os.read(to_child[0], 1)\n"
            "            grow(4); loop.start(); os._exit(7 if sizes == [4] else 1)",
            "os.read(to_parent[0], 1); watcher.stop(); os.write(to_child[1], b'x')",
        ),
    ],
    ids=["both", "child-stops", "parent-stops"],
)
def test_fork(isolated, path, child, parent):
    assert isolated(IN_BOTH.format(path=path, child=child, parent=parent)) == "ok"


def test_without_descriptors(isolated, path):
    """No inotify then: libev looks at the path."""
    code = f"""
        import resource
        loop = Loop()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        watcher = loop.stat({path!r}, 0.01, lambda w, r: (print("ok"), w.stop()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        watcher.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        open({path!r}, "ab").write(b"x")
        loop.start()
        """
    assert isolated(code) == "ok"


def test_default_loop_closed_and_wrapped_anew(isolated, path):
    code = f"""
        for n in range(3):
            loop = default_loop()
            watcher = loop.stat({path!r}, 0, lambda w, r: (print("seen"), w.stop()))
            watcher.start()
            with open({path!r}, "ab") as file: file.write(b"x")
            loop.start()
            watcher.start()
            loop.close()
        """
    assert isolated(code).split() == ["seen"] * 3


def test_exit_while_active(isolated, path):
    isolated(f"loop = Loop(); loop.stat({path!r}, 0, print).start()")
    isolated(f"loop = default_loop(); loop.stat({path!r}, 0, print).start(); loop.data = loop")
