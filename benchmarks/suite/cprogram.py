"""The benchmarks' C programs, compiled when they are needed."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from .process import Failed

SOURCES = Path(__file__).resolve().parent.parent / "c"

_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
_LIBRARIES = {
    "echo_libev": ("-lev",),
    "echo_tls": ("-lssl", "-lcrypto"),
    "watchers": ("-lev",),
}


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "moodloop-benchmarks"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    except OSError:
        return Path(tempfile.mkdtemp(prefix="moodloop-benchmarks-"))


def build_c(name: str) -> Path:
    """Compile benchmarks/c/NAME.c if its text has changed since, and return the program."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = SOURCES / f"{name}.c"
    command = [*compiler, *_FLAGS, str(source), *_LIBRARIES.get(name, ())]
    digest = hashlib.sha256(" ".join(command).encode())
    for part in (source, *sorted(SOURCES.glob("*.h"))):
        digest.update(part.read_bytes())
    program = _cache_dir() / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        unfinished = program.with_suffix(f".{os.getpid()}")
        try:
            done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True)
        except OSError as exc:
            raise Failed(f"{name}.c was not compiled: {exc}") from None
        if done.returncode != 0:
            raise Failed(f"{name}.c was not compiled:\n{done.stderr}")
        unfinished.rename(program)
    return program
