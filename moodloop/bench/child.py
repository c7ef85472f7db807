"""What a process of the benchmark runs: a probe, the servers or the clients, on one loop."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from .client import Plan, run_client
from .servers import serve

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str) -> LoopFactory:
    """What makes loops: of a module with `new_event_loop`, or of "module:callable"."""
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:
        sys.path.insert(0, root)  # this moodloop and no other
    module, _, attribute = name.partition(":")
    return cast(
        LoopFactory, getattr(importlib.import_module(module), attribute or "new_event_loop")
    )


def version_of(name: str) -> str:
    """The version of a loop's package; asyncio's is Python's."""
    module = name.partition(":")[0]
    if module == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(module), "__version__", "unknown"))


def tell(value: Any) -> None:
    """Print one line for the parent."""
    print(json.dumps(value), flush=True)


def child(role: str, name: str, plan: str = "") -> int:
    """Be one of the processes of the benchmark."""
    factory = loop_factory(name)
    if role == "probe":
        factory().close()
        tell(version_of(name))
        return 0
    with asyncio.Runner(loop_factory=factory) as runner:
        if role == "server":
            runner.run(serve(tell))
        else:
            runner.run(run_client(Plan(**json.loads(plan)), tell))
    return 0
