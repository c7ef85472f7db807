"""The wheels of dist/, tested as they are installed: `make test-wheels`.

    test.py [--place NAME]... [--full VERSION]

Places: 3.11 to 3.15, this machine's Pythons, each in a fresh environment; `arm`, a Python for
aarch64 under an emulator (get-arm-python). There is none with musl: those wheels are only linked,
and looked at by check.py. In each place
moodloop comes by name out of dist/, without an index; no compiler is on PATH, and no libev is
loaded. `sdist` is the source distribution, installed with nothing in the environment but a bare
PATH, and with the system's libev. The tests are those of the source distribution, without its
package, so that what they import is what is installed. All places have the smoke set; --full has
the whole suite for one version.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from targets import BUILD, DIST, PYTHONS, ROOT, interpreter, run, unpack

WORK = BUILD / "test"
OWN = WORK / f"run-{os.getpid()}"  # of this run alone: another one may be going on
COMPILERS = {"cc", "c89", "c99", "gcc", "clang", "tcc", "cpp"}
SMOKE = [
    "tests/watcher/test_kinds.py",
    "tests/watcher/test_loop.py",
    "tests/watcher/test_periodic.py",
    "tests/net/test_read.py",
    "tests/net/test_write.py",
    "tests/net/test_datagram.py",
    "tests/loop/test_timers.py",
    "tests/loop/test_signals.py",
    "tests/process",
]
# These build the package, or need the tree's own.
NOT_INSTALLED = ["tests/test_packaging.py", "tests/test_benchmarks.py", "tests/test_conformance.py"]
NOT_INSTALLED += ["tests/test_docs.py", "tests/ecosystem"]

LOOK = """
import moodloop, moodloop._core as core, moodloop.cli, sys
assert core.libev_compiled_in == (sys.argv[2] != "sdist")
assert sys.argv[1] in moodloop.__file__, moodloop.__file__
maps = open("/proc/self/maps").read()
assert ("libev.so" in maps) == (sys.argv[2] == "sdist")
moodloop.cli.main(["info"])
"""


class Place(NamedTuple):
    """Where a wheel is installed and tested."""

    name: str
    python: Path
    site: Path
    """The directory that the packages are in."""
    environment: dict[str, str]


def commands() -> Path:
    """A directory with the machine's commands, without its compilers."""
    result = OWN / "bin"
    if result.exists():
        return result
    result.mkdir(parents=True)
    for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for path in Path(directory).iterdir():
            base = path.name.rpartition("linux-gnu-")[2].partition("-")[0].rstrip("0123456789+.")
            if (
                base not in COMPILERS
                and base not in ("g", "c")
                and not (result / path.name).exists()
            ):
                (result / path.name).symlink_to(path)
    return result


def tests() -> Path:
    """The source distribution, without what is installed."""
    (archive,) = DIST.glob("moodloop-*[0-9].tar.gz")
    base = archive.name.removesuffix(".tar.gz")
    unpack(archive, OWN)
    for name in ("moodloop", "src", "setup.py"):
        path = OWN / base / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return OWN / base


def group(name: str) -> list[str]:
    return run([sys.executable, ".ci/group.py", name], cwd=ROOT).splitlines()


def pip(*arguments: object, python: object = sys.executable) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "install"]
    run([*command, "-q", "--disable-pip-version-check", *arguments])


def machine_place(version: str) -> Place | None:
    """A fresh environment of one of the machine's Pythons."""
    if not (python := interpreter(version)):
        return None
    venv = environment_of(python, f"venv-{version}")
    pip("--no-index", "--find-links", DIST, "moodloop", python=venv / "bin" / "python")
    return with_tests(version, venv)


def sdist_place() -> Place | None:
    """A fresh environment with what the source distribution makes there."""
    if not (python := interpreter("3.13")):
        return None
    venv = environment_of(python, "venv-sdist")
    (archive,) = DIST.glob("moodloop-*[0-9].tar.gz")
    command = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "-q"]
    run([*command, archive], env={"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"]})
    return with_tests("sdist", venv)


def environment_of(python: str, name: str) -> Path:
    """A fresh virtual environment with nothing in it."""
    venv = WORK / name
    shutil.rmtree(venv, ignore_errors=True)
    run([python, "-m", "venv", "--without-pip", venv])
    return venv


def with_tests(name: str, venv: Path) -> Place:
    pip("--only-binary", ":all:", *group("test"), python=venv / "bin" / "python")
    path = os.pathsep.join([str(venv / "bin"), str(commands())])
    return Place(name, venv / "bin" / "python", venv, {"PATH": path})


def arm_place(name: str) -> Place:
    """A Python that this machine's pip does not run in: its packages are in a directory."""
    python = Path(run([ROOT / "tools" / "wheels" / "get-arm-python"]))
    site = WORK / f"site-{name}"
    shutil.rmtree(site, ignore_errors=True)
    for_it = ["--target", site, "--python-version", "3.13", "--implementation", "cp"]
    for_it += ["--platform", "manylinux2014_aarch64", "--only-binary", ":all:"]
    pip(*for_it, "--no-index", "--find-links", DIST, "moodloop")
    pip(*for_it, *group("test"))
    return Place(name, python, site, {"PATH": str(commands()), "PYTHONPATH": str(site)})


def place(name: str) -> Place | None:
    if name == "arm":
        return arm_place(name)
    return sdist_place() if name == "sdist" else machine_place(name)


def try_place(here: Place, tree: Path, full: bool) -> bool:
    """Whether the tests pass there. The loops of the reference, asyncio's, are tested elsewhere."""
    kept = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "TMPDIR")}
    environment = kept | here.environment | {"MOODLOOP_TEST_LOOP": "moodloop"}
    print(f"== {here.name}: {here.python}", flush=True)
    look = [here.python, "-c", LOOK, here.site, here.name]
    if subprocess.run(look, env=environment, cwd=tree).returncode:
        return False
    what = list(SMOKE)
    if here.name == "arm":  # the emulator's vfork() does not tell the parent that exec() failed
        what.remove("tests/process")
    if full:
        what = ["tests", *(f"--ignore={name}" for name in NOT_INSTALLED), "-n", "auto"]
        what += ["--dist", "worksteal"]
    command = [here.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
    return not subprocess.run(command, env=environment, cwd=tree).returncode


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Test the wheels of dist/ as they are installed.")
    names = [*PYTHONS, "arm", "sdist"]
    parser.add_argument("--place", action="append", choices=names, metavar="NAME")
    parser.add_argument("--full", choices=PYTHONS, metavar="VERSION")
    asked = parser.parse_args(argv)
    OWN.mkdir(parents=True)
    try:
        tree, failed, missing = tests(), [], []
        for name in asked.place or names:
            if not (here := place(name)):
                missing.append(name)
            elif not try_place(here, tree, name == asked.full):
                failed.append(name)
    finally:
        shutil.rmtree(OWN)
    for what, which in (("not here", missing), ("FAILED", failed)):
        if which:
            print(f"{what}: {', '.join(which)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
