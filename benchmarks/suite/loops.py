"""The event loops that are compared, by name."""

from __future__ import annotations

import asyncio
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .process import run_json

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True)
class LoopInfo:
    """An event loop by name: the module that has it, and how it is made."""

    name: str
    module: str
    make: Callable[[Any], LoopFactory] = lambda module: module.new_event_loop
    transports_only: bool = False  # another loop's, with transports of its own

    def factory(self) -> LoopFactory:
        """Import the module and return the callable that makes loops; ImportError if absent."""
        return self.make(importlib.import_module(self.module))


def _fastnet_on_uvloop(module: Any) -> LoopFactory:
    uvloop: Any = importlib.import_module("uvloop")
    return cast(LoopFactory, module.loop_factory(uvloop.new_event_loop))


# A new loop to compare with is one line here.
LOOPS = {
    info.name: info
    for info in (
        LoopInfo("asyncio", "asyncio"),
        LoopInfo("uvloop", "uvloop"),
        LoopInfo("moodloop", "moodloop"),
        LoopInfo("rloop", "rloop"),
        LoopInfo("zuvloop", "zuvloop"),
        LoopInfo("rsloop", "rsloop"),
        LoopInfo("blazio", "blazio"),
        LoopInfo("aiofastnet", "aiofastnet", _fastnet_on_uvloop, transports_only=True),
    )
}

BASELINES = ("uvloop", "asyncio")
OURS = ("moodloop", "asyncio", "C epoll", "C libev")  # arms that have no excuse to fail


def loop_factory(name: str) -> LoopFactory:
    """The factory of a loop of the table, or of "module:callable"."""
    if name in LOOPS:
        return LOOPS[name].factory()
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute or "new_event_loop")
    return cast(LoopFactory, found)


def use_this_tree() -> None:
    """Import moodloop from this tree if it was built here for this Python, else as installed."""
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    if any((ROOT / "moodloop" / f"_core{suffix}").exists() for suffix in suffixes):
        sys.path.insert(0, str(ROOT))


_PROBE = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
from suite import loops
loops.use_this_tree()
found = {}
for name in sys.argv[2:]:
    try:
        loops.loop_factory(name)().close()
    except ImportError as exc:
        found[name] = [None, str(exc)]
    except Exception as exc:
        found[name] = [None, f"{type(exc).__name__}: {exc}"]
    else:
        module = name.partition(":")[0]
        try:
            version = importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:
            version = getattr(sys.modules.get(module), "__version__", None)
        found[name] = [version or sys.version.split()[0], None]
print(json.dumps(found))
"""


def find_loops(python: str, names: Sequence[str] | None) -> dict[str, str]:
    """The versions of the loops that start under `python`.

    Asked for by name, each must start, or the program ends saying why it does not; without
    names, those of the table that are not there are left out, which is told on stderr.
    """
    wanted = list(names or LOOPS)
    answer = run_json([python, "-c", _PROBE, str(HERE), *wanted], timeout=60)
    missing = {name: reason for name, (version, reason) in answer.items() if version is None}
    told = [f"without {name}: {reason}" for name, reason in missing.items()]
    if names and missing:
        sys.exit("\n".join(told))
    if told:
        print("\n".join(told), file=sys.stderr)
    return {name: version for name, (version, _) in answer.items() if version is not None}


def find_modules(python: str, names: Sequence[str]) -> set[str]:
    """Those of the modules that `python` can import."""
    code = (
        "import importlib.util as u, json, sys;"
        "print(json.dumps([n for n in sys.argv[1:] if u.find_spec(n)]))"
    )
    return set(run_json([python, "-c", code, *names], timeout=60))
