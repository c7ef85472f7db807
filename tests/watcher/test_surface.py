"""Every public name of moodloop.event, in a list of its own: none goes, none comes unnoticed."""

import ast
import copy
import pickle
from pathlib import Path

import pytest

import moodloop._core
from moodloop import event

CONSTANTS = {
    "EVFLAG_AUTO": 0,
    "EVFLAG_NOENV": 0x1000000,
    "EVFLAG_FORKCHECK": 0x2000000,
    "EVFLAG_NOINOTIFY": 0x100000,
    "EVFLAG_SIGNALFD": 0x200000,
    "EVFLAG_NOSIGMASK": 0x400000,
    "EVFLAG_NOTIMERFD": 0x800000,
    "EVBACKEND_SELECT": 1,
    "EVBACKEND_POLL": 2,
    "EVBACKEND_EPOLL": 4,
    "EVBACKEND_KQUEUE": 8,
    "EVBACKEND_DEVPOLL": 16,
    "EVBACKEND_PORT": 32,
    "EVBACKEND_LINUXAIO": 64,
    "EVBACKEND_IOURING": 128,
    "EVBACKEND_ALL": 0xFF,
    "EVBACKEND_MASK": 0xFFFF,
    "EVRUN_NOWAIT": 1,
    "EVRUN_ONCE": 2,
    "EVBREAK_CANCEL": 0,
    "EVBREAK_ONE": 1,
    "EVBREAK_ALL": 2,
    "EV_UNDEF": -1,
    "EV_NONE": 0,
    "EV_READ": 1,
    "EV_WRITE": 2,
    "EV_IO": 1,
    "EV_TIMER": 0x100,
    "EV_PERIODIC": 0x200,
    "EV_SIGNAL": 0x400,
    "EV_CHILD": 0x800,
    "EV_STAT": 0x1000,
    "EV_IDLE": 0x2000,
    "EV_PREPARE": 0x4000,
    "EV_CHECK": 0x8000,
    "EV_EMBED": 0x10000,
    "EV_FORK": 0x20000,
    "EV_CLEANUP": 0x40000,
    "EV_ASYNC": 0x80000,
    "EV_CUSTOM": 0x1000000,
    "EV_ERROR": -0x80000000,
    "EV_MINPRI": -2,
    "EV_MAXPRI": 2,
}
FUNCTIONS = {
    *("default_loop", "loop", "fatal", "time", "sleep", "abi_version", "header_version"),
    *("supported_backends", "recommended_backends", "embeddable_backends", "feed_signal"),
}
KINDS = {
    "Io": {"set", "fd", "events", "modify"},
    "Timer": {"set", "reset", "repeat", "remaining", "at"},
    "Periodic": {"set", "reset", "offset", "interval", "at"},
    "Scheduler": {"set", "reset", "reschedule", "scheduler", "at"},
    "Signal": {"set", "signum"},
    "Child": {"set", "pid", "rpid", "rstatus"},
    "Stat": {"set", "stat", "path", "interval", "follow", "current", "previous", "attr", "prev"},
    "Idle": set(),
    "Prepare": set(),
    "Check": set(),
    "Embed": {"set", "sweep", "other"},
    "Fork": set(),
    "Async": {"send", "sent"},
    "Cleanup": set(),
}
WATCHER = {
    *("start", "stop", "invoke", "feed", "clear"),
    *("loop", "active", "pending", "callback", "data", "priority", "ref"),
}
FACTORIES = {name for kind in KINDS for name in (kind.lower(), f"__{kind.lower()}__")}
LOOP = {
    *("start", "stop", "invoke", "reset", "now", "update", "suspend", "resume"),
    *("ref", "incref", "unref", "decref", "feed_fd_event", "feed_signal_event", "once", "verify"),
    *("close", "closed", "watchers", "callback", "data", "debug", "io_interval"),
    *("timeout_interval", "default", "backend", "backend_name", "pending", "iteration", "depth"),
    *("async_", "__enter__", "__exit__"),
} | FACTORIES
STATDATA = "dev rdev ino size nlink mode uid gid atime mtime ctime"
TYPES = {"Loop", "Watcher", "Statdata", "Error", "EventError", *KINDS}

STUB = {
    node.name: node
    for node in ast.parse(Path(moodloop._core.__file__).with_name("_core.pyi").read_text()).body
    if isinstance(node, ast.ClassDef | ast.FunctionDef)
}


def own(cls):
    """What a type adds, but for what every type has."""
    return {
        n
        for n in vars(cls)
        if n in FACTORIES or n in ("__enter__", "__exit__") or not n.startswith("_")
    }


def make(name, loop):
    arguments = {
        "Io": (0, event.EV_READ),
        "Timer": (0, 0),
        "Periodic": (0, 0),
        "Scheduler": (lambda watcher, now: now,),
        "Signal": (10,),
        "Stat": (".", 0),
        "Embed": (event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV),),
    }
    return getattr(event, name)(loop, *arguments.get(name, ()), print)


def test_module():
    assert set(event.__all__) == {*CONSTANTS, *FUNCTIONS, *TYPES}
    assert event.EventError is event.Error and event.Error.__mro__[1] is Exception
    assert all(callable(getattr(event, name)) for name in FUNCTIONS)


def test_constants_are_those_of_libev():
    found = {name: getattr(event, name) for name in CONSTANTS}
    found["EV_ERROR"] -= 1 << 32 if found["EV_ERROR"] > 0 else 0
    assert found == CONSTANTS


def test_members():
    assert own(event.Loop) == LOOP
    assert own(event.Watcher) == WATCHER
    for name, members in KINDS.items():
        kind = getattr(event, name)
        assert kind.__mro__[1] is event.Watcher and kind.__module__ == "moodloop.event"
        assert own(kind) == members, name
    assert event.Statdata.__match_args__ == tuple(STATDATA.split())


@pytest.mark.parametrize("name", sorted({*KINDS, "Loop", "Watcher", "Statdata", "Error"}))
def test_types_are_documented(name):
    node = STUB[name]
    assert ast.get_docstring(node), name
    described = set()
    for i, item in enumerate(node.body):
        if isinstance(item, ast.FunctionDef) and ast.get_docstring(item):
            described.add(item.name)
        elif isinstance(item, ast.AnnAssign):
            after = node.body[i + 1] if i + 1 < len(node.body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                described.add(item.target.id)
    members = own(getattr(event, name)) - {"n_fields", "n_sequence_fields", "n_unnamed_fields"}
    # `async` is a keyword: a stub cannot have it
    assert members - {"__enter__", "__exit__", "async"} <= described, name
    assert name == "Error" or getattr(event, name).__doc__
    if name not in ("Error", "Statdata"):
        undocumented = [
            n
            for n in own(getattr(event, name)) - {"__enter__", "__exit__"}
            if not getattr(getattr(event, name), n).__doc__
        ]
        assert not undocumented


@pytest.mark.parametrize("name", sorted(FUNCTIONS - {"fatal"}))
def test_functions_are_documented(name):
    assert ast.get_docstring(STUB[name])
    assert getattr(event, name).__doc__


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"Child"}))
def test_watchers_keep_their_attributes(loop, name):
    watcher = make(name, loop)
    keeps_its_attributes(watcher, WATCHER | KINDS[name])
    other = event.Embed if name != "Embed" else event.Async
    with pytest.raises(TypeError):  # each kind has a layout of its own
        watcher.__class__ = other


def test_loops_keep_their_attributes(loop):
    keeps_its_attributes(loop, LOOP)
    with pytest.raises(TypeError):
        loop.__class__ = event.Timer


def test_child_keeps_its_attributes(isolated):
    out = isolated(
        f"""
        from watcher.test_surface import keeps_its_attributes
        child = default_loop().child(os.getpid(), False, print)
        keeps_its_attributes(child, {sorted(WATCHER | KINDS["Child"])})
        print("ok")
        """
    )
    assert out == "ok"


def keeps_its_attributes(thing, names):
    for name in names:
        with pytest.raises(AttributeError):
            delattr(thing, name)
        getattr(thing, name)
    for action in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            action(thing)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(thing, protocol)


@pytest.mark.parametrize("spelling", ["{}", "__{}__"])
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"Child", "Embed"}))
def test_factories(loop, name, spelling):
    like = make(name, loop)
    own = {"Io": {"fd": 0, "events": 1}, "Timer": {"after": 1, "repeat": 1}}
    own |= {"Periodic": {"offset": 0, "interval": 1}, "Stat": {"path": ".", "interval": 1}}
    own |= {"Scheduler": {"reschedule": print}, "Signal": {"signum": 10}}
    factory = getattr(loop, spelling.format(name.lower()))
    made = factory(**own.get(name, {}), callback=print, data=5, priority=1)
    assert type(made) is type(like) and made.loop is loop
    assert (made.callback, made.data, made.priority) == (print, 5, 1)
    assert not made.active and not made.pending and made.ref


def test_version():
    """As mood.event has it."""
    assert event.__version__ == moodloop.__version__
