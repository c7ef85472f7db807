"""The build and the installed package: setup.py without libev, versions, import."""

import base64
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import moodloop

ROOT = Path(__file__).resolve().parent.parent
NEEDS_SETUPTOOLS = pytest.mark.skipif(
    "setuptools" not in {d.name for d in importlib.metadata.distributions()},
    reason="setup.py needs setuptools",
)


@pytest.fixture
def tree(tmp_path):
    """A copy of what setup.py reads, so that a build leaves the tree alone."""
    for name in ("src", "moodloop"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def setup(tree, *args, **env):
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *args],
        cwd=tree,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def check_sentence(done):
    """One sentence that names the package everywhere, and nothing else."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    for part in ("libev-dev (Debian", "libev-devel (Fedora)", "libev-dev (Alpine)"):
        assert part in line
    assert line.endswith(".")


@NEEDS_SETUPTOOLS
def test_no_header(tree):
    # No system directory is searched: as on a machine without libev's headers.
    check_sentence(setup(tree, "build_ext", CPPFLAGS="-nostdinc", MOODLOOP_LIBEV_SOURCE=""))


@NEEDS_SETUPTOOLS
def test_no_library(tree):
    # A compiler that finds every header, and no library of that name.
    script = tree / "cc"
    script.write_text(
        '#!/bin/sh\nfor arg; do [ "$arg" != -lev ] || { echo "cannot find -lev" >&2; exit 1; }; '
        'done\nexec gcc "$@"\n'
    )
    script.chmod(0o755)
    done = setup(
        tree, "build_ext", CC=str(script), LDSHARED=f"{script} -shared", MOODLOOP_LIBEV_SOURCE=""
    )
    check_sentence(done)


@NEEDS_SETUPTOOLS
def test_no_compiler(tree):
    done = setup(tree, "build_ext", CC="no-such-compiler", MOODLOOP_LIBEV_SOURCE="")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "'no-such-compiler'" in line and "build-essential" in line


@NEEDS_SETUPTOOLS
def test_libev_source_without_libev(tree):
    done = setup(tree, "build_ext", MOODLOOP_LIBEV_SOURCE=str(tree))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "MOODLOOP_LIBEV_SOURCE" in line and "ev.c" in line


@NEEDS_SETUPTOOLS
def test_libev_that_is_compiled_in_is_named(tree):
    """Its licence and the list of materials, and neither where libev is the system's."""
    (tree / "libev").mkdir()
    (tree / "libev" / "ev.c").touch()
    header = "#define EV_VERSION_MAJOR 4\n#define EV_VERSION_MINOR 33\n"
    (tree / "libev" / "ev.h").write_text(header)
    listed = tree / "moodloop.egg-info" / "sboms" / "moodloop.cdx.json"

    done = setup(tree, "egg_info", MOODLOOP_LIBEV_SOURCE=str(tree / "libev"))
    assert done.returncode == 0, done.stderr
    metadata = (tree / "moodloop.egg-info" / "PKG-INFO").read_text().splitlines()
    assert "License-Expression: MIT AND (BSD-2-Clause OR GPL-2.0-or-later)" in metadata
    assert "License-File: src/libev/LICENSE" in metadata
    document = json.loads(listed.read_text())
    assert document["bomFormat"] == "CycloneDX" and document["specVersion"] == "1.6"
    (libev,) = document["components"]
    assert libev["purl"] == "pkg:generic/libev@4.33"
    (source,) = [r for r in libev["externalReferences"] if "hashes" in r]
    assert source["hashes"][0]["content"] in (ROOT / "src/libev/SHA256SUMS").read_text()

    done = setup(tree, "egg_info", MOODLOOP_LIBEV_SOURCE="")
    assert done.returncode == 0, done.stderr
    metadata = (tree / "moodloop.egg-info" / "PKG-INFO").read_text().splitlines()
    assert "License-Expression: MIT" in metadata
    assert [line for line in metadata if line.startswith("License-File")] == [
        "License-File: LICENSE"
    ]
    assert not listed.exists()


AS_IF = """
import runpy, sys, sysconfig
sysconfig.get_config_vars()  # while the file with them is found by the platform
sys.platform, sys.argv = {0!r}, {1!r}
{2}
"""


@NEEDS_SETUPTOOLS
def test_build_on_another_system_says_so(tree):
    code = AS_IF.format("freebsd14", ["setup.py", "-q", "build_ext"], "runpy.run_path('setup.py')")
    done = run_in(tree, "-c", code)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Linux only" in line and "freebsd14" in line and 'sys_platform == "linux"' in line
    # Resolvers ask for it on systems that they do not install for.
    code = AS_IF.format("freebsd14", ["setup.py", "-q", "egg_info"], "runpy.run_path('setup.py')")
    done = run_in(tree, "-c", code)
    assert done.returncode == 0, done.stderr


def test_import_on_another_system_says_so():
    for module in ("moodloop", "moodloop.event", "moodloop.policy"):
        done = run_in(ROOT, "-c", AS_IF.format("darwin", [], f"import {module}"))
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("ImportError: moodloop runs on Linux only, and this is darwin")
        assert 'sys_platform == "linux"' in last


@NEEDS_SETUPTOOLS
def test_source_distribution_is_the_repository(tmp_path):
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if known.returncode or not (ROOT / ".git").exists():
        pytest.skip("not a clone: git does not tell what belongs to the repository")
    names = [name for name in known.stdout.splitlines() if (ROOT / name).exists()]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    done = setup(tmp_path, "sdist")
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    assert set(names) - held == set()


@NEEDS_SETUPTOOLS
def test_readme_of_an_index_leads_into_the_repository(tree):
    done = setup(tree, "egg_info")
    assert done.returncode == 0, done.stderr
    (info,) = tree.glob("*.egg-info/PKG-INFO")
    text = info.read_text(encoding="utf-8")
    assert "\nDescription-Content-Type: text/markdown\n" in text
    targets = re.findall(r"\]\(([^)]+)\)|\bsrc(?:set)?=\"([^\"]+)\"", text)
    ours = re.compile(r"https://github\.com/moodloop/moodloop/(?:blob|raw)/v([^/]+)/([^#]+)")
    found = [ours.match(link or picture) for link, picture in targets]
    assert all((link or picture).startswith(("http", "#")) for link, picture in targets)
    paths = {match[2] for match in found if match}
    assert {"docs/performance.md", "docs/charts/front-light.svg", "CHANGELOG.md"} <= paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert {match[1] for match in found if match} == {moodloop.__version__}


@pytest.fixture
def builder(monkeypatch):
    """tools/wheels/build.py, as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "wheels"))
    module = importlib.import_module("build")
    yield module
    for name in ("build", "targets"):
        sys.modules.pop(name, None)


def test_wheel_is_the_same_each_time(builder, tmp_path):
    files = {"m-1.dist-info/RECORD": b"old", "m-1.dist-info/METADATA": b"M", "m/b.so": b"B" * 999}
    for name, order in (("one", list(files)), ("two", list(reversed(files)))):
        builder.write_wheel(tmp_path / name, {n: files[n] for n in order}, 1_700_000_000)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as wheel:
        assert wheel.namelist() == ["m/b.so", "m-1.dist-info/METADATA", "m-1.dist-info/RECORD"]
        record = wheel.read("m-1.dist-info/RECORD").decode().splitlines()
        assert wheel.getinfo("m/b.so").external_attr >> 16 == 0o100755
    digest = base64.urlsafe_b64encode(hashlib.sha256(files["m/b.so"]).digest()).rstrip(b"=")
    assert record[0] == f"m/b.so,sha256={digest.decode()},999"
    assert record[-1] == "m-1.dist-info/RECORD,,"


def test_archive_is_of_nobody(builder):
    archive = builder.tar_of([("a/b", b"text", 0o600), ("a/run", b"#!", 0o700)], 1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        held = [(m.name, m.mode, m.uid, m.uname, m.mtime) for m in tar]
    assert held == [("a/b", 0o644, 0, "", 1_700_000_000), ("a/run", 0o755, 0, "", 1_700_000_000)]


def test_every_python_of_the_classifiers_has_wheels(builder):
    text = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert named == builder.PYTHONS
    for target in builder.TARGETS:
        assert target.zig.startswith(target.triplet)
        assert all(tag.endswith(target.machine) for tag in target.tags)


@pytest.mark.parametrize("group", ["test", "bench", "docs", "lint", "typecheck", "wheels"])
def test_dependency_groups(group):
    done = run_in(ROOT, ".ci/group.py", group)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()


def test_one_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", moodloop.__version__)
    assert importlib.metadata.version("moodloop") == moodloop.__version__
    assert f"## [{moodloop.__version__}]" in (ROOT / "CHANGELOG.md").read_text() or (
        "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    )


def test_import_warns_of_nothing():
    code = "import moodloop, moodloop.event, moodloop.cli; assert moodloop.EventLoop"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def run_in(directory, *args):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=directory, env=env, capture_output=True, text=True, timeout=60
    )


def test_import_beside_a_directory_of_that_name(tmp_path):
    """As for a program that stands beside the clone."""
    (tmp_path / "moodloop").mkdir()
    done = run_in(tmp_path, "-c", "import moodloop; moodloop.run")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_of_a_tree_that_is_not_built(tree):
    for args in (["-c", "import moodloop"], ["-m", "moodloop", "info"]):
        done = run_in(tree, *args)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert str(tree / "moodloop") in last and "not built" in last and "make build" in last


def test_stubs_and_marker_are_there():
    package = Path(moodloop.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "_core.pyi").is_file()


def test_makefile_helps():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    done = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    targets = re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)
    for target in ("demo", "test", "build", "lint", "format", "typecheck", "sanitize", "bench"):
        assert target in targets
    assert {"ecosystem", "docs", "wheels", "clean"} <= set(targets)
