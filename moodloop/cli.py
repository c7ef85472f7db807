"""The command line, `python -m moodloop COMMAND`: one function for each command."""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import platform
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn

from ._version import __version__

PROG = "python -m moodloop"


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


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"{PROG} run",
        usage=f"{PROG} run [-h] [-m] PROGRAM [ARGS ...]",
        description="Run a Python program with moodloop as the event loop that asyncio makes. "
        "All else is as with 'python PROGRAM' or 'python -m PROGRAM'.",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM names a module")
    parser.add_argument("program", metavar="PROGRAM", help="a script, directory or zip file")
    own = parser.add_argument("args", metavar="ARGS", nargs="...", help="the program's own")
    own.required = False  # or Python 3.11 says in its error that it is
    options = parser.parse_args(argv)

    from . import install

    install()
    try:
        if options.module:
            sys.argv = ["-m", *options.args]
            module, code = _load_module(options.program)
            sys.argv[0] = module.__file__ or "-m"
        else:
            sys.argv = [options.program, *options.args]
            module, code = _load_path(options.program)
        sys.modules["__main__"] = module
        exec(code, module.__dict__)
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

    from . import _core, event

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
        "libev": f"{running} (compiled against {compiled})",
        "backends supported": names(event.supported_backends()),
        "backends recommended": names(event.recommended_backends()),
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

    return main(argv)


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "run": (run, "run a script or module with moodloop as asyncio's event loop"),
    "info": (info, "show versions, libev's backends, compile flags and limits"),
    "bench": (bench, "measure a TCP server on asyncio, moodloop and, if installed, uvloop"),
}


def _descriptor_limit() -> str:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = ("unlimited" if n == resource.RLIM_INFINITY else str(n) for n in limits)
    return f"{soft} (at most {hard})"


def _fail(status: int, message: str) -> NoReturn:
    print(f"{PROG} run: {message}", file=sys.stderr)
    raise SystemExit(status)


def _main_module(spec: importlib.machinery.ModuleSpec | None) -> ModuleType:
    """A fresh `__main__`, as Python makes it for a program."""
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=sys.modules["builtins"], __spec__=spec)
    if spec is not None:
        module.__package__ = spec.parent
        module.__loader__ = spec.loader
        module.__file__ = spec.origin
        module.__dict__["__cached__"] = spec.cached
    return module


def _load_path(path: str) -> tuple[ModuleType, CodeType]:
    """`__main__` and its code for a script, or for a directory or zip file with a __main__.py."""
    importer = pkgutil.get_importer(path)
    if importer is not None:
        _set_first_path(os.path.abspath(path))
        spec = importer.find_spec("__main__")
        if spec is None:
            _fail(1, f"can't find '__main__' module in {path!r}")
        return _main_module(spec), _code_of(spec, "__main__")
    full = os.path.abspath(path)
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as exc:
        _fail(2, f"can't open file {full!r}: [Errno {exc.errno}] {exc.strerror}")
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    module = _main_module(None)
    module.__file__ = full
    if full.endswith(".pyc"):
        loader = importlib.machinery.SourcelessFileLoader("__main__", full)
        module.__loader__ = loader
        code = loader.get_code("__main__")
        assert code is not None
        return module, code
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", full)
    return module, compile(source, full, "exec", dont_inherit=True)


def _load_module(name: str) -> tuple[ModuleType, CodeType]:
    """`__main__` and its code for a module, or for a package's own `__main__`."""
    spec = _find_spec(name)
    if spec is None:
        _fail(1, f"No module named {name}")
    if spec.submodule_search_locations is not None:
        package, name = name, f"{name}.__main__"
        spec = _find_spec(name)
        if spec is None:
            _fail(
                1,
                f"No module named {name}; {package!r} is a package and cannot be directly executed",
            )
    return _main_module(spec), _code_of(spec, name)


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        _fail(
            1,
            f"Error while finding module specification for {name!r} ({type(exc).__name__}: {exc})",
        )


def _code_of(spec: importlib.machinery.ModuleSpec, name: str) -> CodeType:
    get_code = getattr(spec.loader, "get_code", None)
    code: CodeType | None = get_code(name) if get_code else None
    if code is None:
        _fail(1, f"No code object available for {name}")
    return code


def _set_first_path(path: str) -> None:
    """Replace the working directory, which `python -m` put first, as `python PROGRAM` does."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _after_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] != "importlib":
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
