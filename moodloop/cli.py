"""The command line, `python -m moodloop` and `moodloop`: one function for each command."""

from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import platform
import runpy
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType, TracebackType
from typing import Any

from ._version import __version__

PROG = "python -m moodloop"  # or "moodloop", when it was called by that name

# What `python -m` itself calls, on every version.
_module_details: Any = runpy._get_module_details  # type: ignore[attr-defined]
_main_details: Any = runpy._get_main_module_details  # type: ignore[attr-defined]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} COMMAND ...",
        description="An asyncio event loop in C on libev.",
        epilog=f"commands:\n{listing}\n\n'{PROG} COMMAND --help' tells about one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moodloop {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    args = list(sys.argv[1:] if argv is None else argv)
    # What follows the command is the command's own to parse.
    name: str = parser.parse_args(args[:1]).command
    function, _ = COMMANDS[name]
    return function(args[1:])


def script() -> int:
    """The console script `moodloop`: the same, and its messages name it."""
    global PROG
    PROG = "moodloop"
    if not sys.flags.safe_path:
        # As `python -m` has it; the directory of the script is of no use to a program.
        try:
            sys.path[0] = os.getcwd()
        except OSError:  # it was removed
            sys.path[0] = ""
    return main()


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} run",
        usage=f"{PROG} run [-h] [--streams] [--watchdog SECONDS] [-m] PROGRAM [ARGS ...]",
        description="Run a Python program with moodloop as the event loop that asyncio makes. "
        "All else is as with 'python PROGRAM' or 'python -m PROGRAM'.",
    )
    parser.add_argument(
        "--watchdog",
        metavar="SECONDS",
        help="tell of callbacks that take longer, as MOODLOOP_WATCHDOG does: 0.1, 100ms",
    )
    parser.add_argument(
        "--streams",
        action="store_true",
        help="asyncio.open_connection() and its like give moodloop's streams",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM names a module")
    parser.add_argument("program", metavar="PROGRAM", help="a script, directory, zip file or '-'")
    own = parser.add_argument("args", metavar="ARGS", nargs="...", help="the program's own")
    own.required = False  # or Python 3.11 says in its error that it is
    options = parser.parse_args(argv)

    from . import install

    if options.watchdog is not None:
        from .inspect.watchdog import seconds_of

        try:
            seconds_of(options.watchdog)
        except ValueError as exc:
            parser.error(f"--watchdog: {exc}")
        os.environ["MOODLOOP_WATCHDOG"] = options.watchdog  # the program's own children, too
    install(streams=options.streams)
    sys.argv = ["-m" if options.module else options.program, *options.args]
    load = _load_module if options.module else _load_path
    try:
        module, program = load(options.program)
        sys.modules["__main__"] = module
        if program is None:
            import code

            code.interact(local=module.__dict__, exitmsg="")
        else:
            exec(program, module.__dict__)
    except _NoProgram as exc:
        print(f"{PROG} run: {exc}", file=sys.stderr)
        return exc.status
    except SystemExit:
        raise
    except BaseException as exc:
        # Python itself reports it and chooses the exit status; only our own frames are left out.
        _report_from(_after_our_frames(exc.__traceback__))
        raise
    return 0


def info(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} info",
        description="Show versions, libev's backends, compile flags and limits.",
    )
    parser.parse_args(argv)

    from . import _core, event, tls

    backends = {
        name.removeprefix("EVBACKEND_").lower(): getattr(event, name)
        for name in dir(event)
        if name.startswith("EVBACKEND_") and name not in ("EVBACKEND_ALL", "EVBACKEND_MASK")
    }

    def names(mask: int) -> str:
        order = sorted(backends, key=backends.__getitem__)
        return " ".join(name for name in order if mask & backends[name]) or "none"

    running, compiled = (
        ".".join(map(str, v)) for v in (event.abi_version(), event.header_version())
    )
    rows = {
        "moodloop": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libev": f"{running}, compiled in"
        if _core.libev_compiled_in
        else f"{running}, the system's (compiled against {compiled})",
        "backends supported": names(event.supported_backends()),
        "backends recommended": names(event.recommended_backends()),
        "TLS engine": "{} ({})".format(*tls.engine()),
        "watcher priorities": f"{event.EV_MINPRI} to {event.EV_MAXPRI}",
        "open descriptors": _descriptor_limit(),
        "compile flags": _core.build_flags,
        "core": _core.__file__,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    return 0


def bench(argv: list[str]) -> int:
    from .bench import main

    return main(argv, f"{PROG} bench")


def top(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} top",
        description="Show what the loops of processes do, a row for each; also of one that is "
        "stuck or stopped. The processes are the user's own, or any for root.",
    )
    parser.add_argument("pids", metavar="PID", nargs="*", type=_pid, help="all that have a loop")
    parser.add_argument("--once", action="store_true", help="one look, and no more")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each look")
    parser.add_argument(
        "--interval",
        metavar="S",
        type=_seconds,
        default=1.0,
        help="seconds from look to look (default: 1)",
    )
    options = parser.parse_args(argv)

    from .inspect.top import main

    return main(options.pids, options.once, options.json, options.interval)


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "run": (run, "run a script or module with moodloop as asyncio's event loop"),
    "info": (info, "show versions, libev's backends, compile flags and limits"),
    "top": (top, "show what the loops of processes do, also of one that is stuck"),
    "bench": (bench, "measure a TCP server on asyncio, moodloop and, if installed, uvloop"),
}


def _pid(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"not the number of a process: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"not a time above 0, in seconds: {text!r}")
    return seconds


def _descriptor_limit() -> str:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = ("unlimited" if n == resource.RLIM_INFINITY else str(n) for n in limits)
    return f"{soft} (at most {hard})"


class _NoProgram(Exception):
    """There is nothing to run."""

    status = 1


class _NoFile(_NoProgram):
    status = 2


def _load_module(name: str) -> tuple[ModuleType, CodeType]:
    """`__main__` and its code for a module, or for a package's own `__main__`."""
    _, spec, program = _module_details(name, _NoProgram)
    sys.argv[0] = spec.origin
    return _main_module(spec), program


def _load_path(path: str) -> tuple[ModuleType, CodeType | None]:
    """The same for what is no module. A terminal has no code: it is to be talked with."""
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, which `python -m` has put there
    if path == "-":
        return _load_stdin()
    full = os.path.abspath(path)
    if pkgutil.get_importer(path) is not None:  # a directory or zip file
        sys.path.insert(0, full)
        _, spec, program = _main_details(_NoProgram)
        return _main_module(spec), program
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as exc:
        raise _NoFile(f"can't open file {full!r}: [Errno {exc.errno}] {exc.strerror}") from None
    if not sys.flags.safe_path:
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    module = _main_module()
    module.__file__ = full
    if full.endswith(".pyc"):
        loader = importlib.machinery.SourcelessFileLoader("__main__", full)
        module.__loader__ = loader
        return module, loader.get_code("__main__")
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", full)
    return module, compile(source, full, "exec", dont_inherit=True)


def _load_stdin() -> tuple[ModuleType, CodeType | None]:
    if not sys.flags.safe_path:
        sys.path.insert(0, "")
    module = _main_module()
    module.__file__, module.__loader__ = "<stdin>", importlib.machinery.BuiltinImporter
    if sys.stdin.isatty():
        return module, None
    return module, compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True)


def _main_module(spec: importlib.machinery.ModuleSpec | None = None) -> ModuleType:
    """A fresh `__main__`, as Python makes it for a program."""
    module = ModuleType("__main__") if spec is None else importlib.util.module_from_spec(spec)
    module.__dict__.update(__name__="__main__", __builtins__=builtins)
    return module


def _after_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] not in ("importlib", "runpy"):
            break
        traceback = traceback.tb_next
    return traceback


def _report_from(first: TracebackType | None) -> None:
    """Have the exception that now ends the process reported from this frame on."""
    hook = sys.excepthook

    def report(
        kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
    ) -> None:
        hook(kind, exc.with_traceback(first), first)

    sys.excepthook = report
