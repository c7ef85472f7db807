"""``python moodloop/bench``; the processes that the benchmark starts run this file too.

The package is loaded by its path and under another name, so that moodloop is not: what the other
loops run must not depend on it, and they are measured also where it cannot be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "moodloop_bench"


def load() -> None:
    """Import the package without its parent."""
    path = Path(__file__).resolve().with_name("__init__.py")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None and spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


if __name__ == "__main__":
    load()
    if sys.argv[1:2] in (["probe"], ["server"], ["client"]):
        sys.exit(importlib.import_module(f"{NAME}.child").child(*sys.argv[1:]))
    sys.exit(importlib.import_module(f"{NAME}.command").main())
