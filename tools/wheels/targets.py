"""For what wheels are made: the Pythons, the systems, and the flags that differ from setup.py's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "wheels"
DIST = ROOT / "dist"

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]


class Target(NamedTuple):
    """One system that wheels are for."""

    zig: str
    """As `zig cc -target` takes it: with the oldest glibc that is to do."""
    tags: tuple[str, ...]
    """The wheel's platform tags."""
    triplet: str
    """What CPython has in the names of extension modules there."""

    @property
    def name(self) -> str:
        return self.triplet

    @property
    def machine(self) -> str:
        return self.triplet.partition("-")[0]


TARGETS = [
    Target(
        "x86_64-linux-gnu.2.17",
        ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
        "x86_64-linux-gnu",
    ),
    Target(
        "aarch64-linux-gnu.2.17",
        ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
        "aarch64-linux-gnu",
    ),
    Target("x86_64-linux-musl", ("musllinux_1_2_x86_64",), "x86_64-linux-musl"),
    Target("aarch64-linux-musl", ("musllinux_1_2_aarch64",), "aarch64-linux-musl"),
]

# setup.py's own come before these.
CFLAGS = [
    "-Xclang",
    "-O3",  # zig makes -O2 of the -O3 that it is told, and lets clang's own argument be
    "-fno-omit-frame-pointer",  # for profilers, as CPython itself has it from 3.15 on (PEP 831)
    "-mno-omit-leaf-frame-pointer",
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",  # glibc's; musl has none, and does not mind
]
LDFLAGS = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--build-id=sha1"]


def interpreter(version: str, *, get: bool = True) -> str | None:
    """The path of a Python of that version, or None; got if it can be."""
    found = run([ROOT / "tools" / "find-python", version], check=False)
    if not found and get:
        run([ROOT / "tools" / "get-python", version], check=False)
        found = run([ROOT / "tools" / "find-python", version], check=False)
    return found or None


def unpack(archive: Path, directory: Path) -> None:
    """tar's own: tarfile's `filter` is not in each 3.11."""
    run(["tar", "-xzf", archive, "-C", directory, "--no-same-owner"])


def zig() -> Path:
    """The compiler: the package `ziglang` is a binary and its libraries."""
    import ziglang

    return Path(ziglang.__file__).parent / "zig"


def run(command: list[object], *, check: bool = True, **options: object) -> str:
    """A command's output, without the end of its last line; all that it says where it fails."""
    done = subprocess.run(
        [os.fspath(c) for c in command], capture_output=True, text=True, **options
    )
    if done.returncode and check:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"{command[0]} failed with status {done.returncode}")
    return str(done.stdout).strip() if not done.returncode else ""
