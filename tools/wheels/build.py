"""The source distribution and the wheels, into dist/: `make wheels`.

    build.py [--python 3.13]... [--target x86_64-linux-musl]... [--out DIR]

For each Python and each target (targets.py), the source distribution is built with zig's C
compiler, which has the headers and stubs of each C library, and with libev compiled in
(tools/get-libev). The wheel's module is stripped (elf.py); as it was before, for debuggers, it goes
into moodloop-VERSION-debug.tar.xz, by the module's build id. The same commit and tools give the
same wheels, byte for byte, in whatever directory; the symbols name the directory of the tools. The
tools are pinned: pyproject.toml, group `wheels`.

SOURCE_DATE_EPOCH dates all of it: without it, the commit does.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import lzma
import os
import pprint
import re
import shlex
import shutil
import sys
import tarfile
import time
import zipfile
from pathlib import Path

from elf import build_id, stripped
from targets import (
    BUILD,
    CFLAGS,
    DIST,
    LDFLAGS,
    PYTHONS,
    ROOT,
    TARGETS,
    Target,
    interpreter,
    run,
    unpack,
    zig,
)

# A module of CPython's, in which sysconfig and setuptools look for compilers and their flags.
SYSCONFIG = "_sysconfigdata_moodloop"

BUILD_WHEEL = """
import sys
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[1]))
"""


def epoch() -> int:
    """The time, in seconds, of all that is made."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given and (ROOT / ".git").exists():
        given = run(["git", "-C", ROOT, "log", "-1", "--format=%ct"])
    if not given:
        raise SystemExit(
            "this is no clone: set SOURCE_DATE_EPOCH to the time, in seconds, for the files"
        )
    return max(int(given), 315532800)  # a zip file's time begins in 1980


def source_distribution(out: Path, when: int) -> Path:
    """dist/moodloop-VERSION.tar.gz: setuptools' choice of files, with nothing of this machine."""
    work = BUILD / "sdist"
    shutil.rmtree(work, ignore_errors=True)
    code = (
        "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    )
    environment = {**os.environ, "MOODLOOP_LIBEV_SOURCE": ""}
    name = run([sys.executable, "-c", code, work], cwd=ROOT, env=environment).splitlines()[-1]
    target = out / name
    with tarfile.open(work / name) as source:
        files = sorted((m for m in source if m.isfile()), key=lambda m: m.name)
        plain = tar_of([(m.name, source.extractfile(m).read(), m.mode) for m in files], when)
    target.write_bytes(gzip.compress(plain, 9, mtime=when))
    return target


def tar_of(files: list[tuple[str, bytes, int]], when: int) -> bytes:
    """A tar archive, in this order, of names, contents and modes; of no user's, and of one time."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, mode in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), when
            member.mode = 0o755 if mode & 0o100 else 0o644
            tar.addfile(member, io.BytesIO(content))
    return result.getvalue()


class Build:
    """One wheel: of one Python, for one target."""

    def __init__(self, version: str, python: str, target: Target, source: Path, libev: Path):
        self.target, self.python, self.source, self.libev = target, python, source, libev
        self.work = BUILD / f"{version}-{target.name}"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        ask = "import sysconfig; print(sysconfig.get_config_vars())"
        self.config: dict[str, object] = eval(run([python, "-c", ask]))
        self.include = Path(str(self.config["INCLUDEPY"]))
        self.debian_include = self.link_debian_include()
        self.suffix = f".cpython-{version.replace('.', '')}-{target.triplet}.so"

    def link_debian_include(self) -> Path | None:
        """Where the pyconfig.h of a Debian's own Python finds the real one, which it looks for in
        a directory of the processor's name. The one here is right for all, says headers.c."""
        real = self.include.parent / str(self.config.get("MULTIARCH")) / self.include.name
        if not (real / "pyconfig.h").exists():
            return None
        include = self.work / "include"
        for machine in {target.machine for target in TARGETS}:
            place = include / f"{machine}-linux-gnu" / self.include.name
            place.parent.mkdir(parents=True)
            place.symlink_to(real)
        return include

    def compiler(self) -> list[str]:
        """zig, with names for directories that are other ones on the next machine; and without the
        traps for undefined behaviour, its default where it is not told of optimisation."""
        places = {self.source: "moodloop", self.libev: "libev", zig().parent: "zig"}
        places |= {self.include: "python"}
        flags = ["-target", self.target.zig, "-fno-sanitize=undefined"]
        if self.debian_include:
            places |= {self.debian_include: "python"}
            flags.append(f"-I{self.debian_include}")
        names = [f"-ffile-prefix-map={path}=/{name}" for path, name in places.items()]
        return [str(zig()), "cc", *flags, *names]

    def check_headers(self) -> None:
        check = Path(__file__).with_name("headers.c")
        command = [*self.compiler(), "-std=c11", "-D_GNU_SOURCE", f"-I{self.include}"]
        run([*command, "-c", check, "-o", self.work / "headers.o"], env=self.environment())

    def environment(self) -> dict[str, str]:
        """The variables that setup.py's first lines tell of, and nothing of the machine's."""
        kept = {k: v for k, v in os.environ.items() if k in ("HOME", "PATH", "TMPDIR", "LANG")}
        tools = next(p for p in sys.path if (Path(p) / "setuptools" / "__init__.py").is_file())
        return kept | {
            "PYTHONPATH": os.pathsep.join([str(self.work), tools]),
            "PYTHONNOUSERSITE": "1",
            "_PYTHON_SYSCONFIGDATA_NAME": SYSCONFIG,
            "_PYTHON_HOST_PLATFORM": f"linux-{self.target.machine}",
            "SETUPTOOLS_EXT_SUFFIX": self.suffix,
            "SOURCE_DATE_EPOCH": str(epoch()),
            "MOODLOOP_LIBEV_SOURCE": str(self.libev),
            "CFLAGS": shlex.join(CFLAGS),
            "LDFLAGS": shlex.join(LDFLAGS),
            "ZIG_GLOBAL_CACHE_DIR": str(BUILD / "zig-cache"),
            "ZIG_LOCAL_CACHE_DIR": str(BUILD / "zig-cache"),
        }

    def write_config(self) -> None:
        """sysconfig's variables for the target. Of the interpreter's own flags none is left: each
        distribution has others, and they are for this machine."""
        cc = shlex.join(self.compiler())
        flags = "BASECFLAGS CFLAGS CONFIGURE_CFLAGS CPPFLAGS LDFLAGS OPT"
        flags += " PY_CFLAGS PY_CPPFLAGS PY_LDFLAGS"
        ours = dict.fromkeys(flags.split(), "") | {
            "AR": f"{shlex.quote(str(zig()))} ar",
            "CC": cc,
            "CCSHARED": "-fPIC",
            "CXX": cc,
            "EXT_SUFFIX": self.suffix,
            "LDCXXSHARED": f"{cc} -shared",
            "LDSHARED": f"{cc} -shared",
            "LIBDIR": "",
            "MULTIARCH": self.target.triplet,
            "Py_ENABLE_SHARED": 0,
            "SHLIB_SUFFIX": ".so",
            "SOABI": self.suffix.removeprefix(".").removesuffix(".so"),
        }
        text = "build_time_vars = " + pprint.pformat({**self.config, **ours})
        (self.work / f"{SYSCONFIG}.py").write_text(text + "\n")

    def build(self) -> Path:
        for earlier in [*self.source.glob("build/lib*"), *self.source.glob("build/bdist*")]:
            shutil.rmtree(earlier)  # setuptools packs all that is there
        self.write_config()
        self.check_headers()
        command = [self.python, "-s", "-c", BUILD_WHEEL, self.work]
        name = run(command, cwd=self.source, env=self.environment()).splitlines()[-1]
        return self.work / name

    def finish(self, wheel: Path, out: Path, when: int) -> tuple[Path, str, bytes]:
        """The wheel as it is given out; and what was stripped from it, with the name it has below
        .build-id/, by which debuggers find it."""
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        (module,) = (name for name in files if name.endswith(".so"))
        whole = files[module]
        bare = stripped(whole)
        # The linker's id is also of the debug information, in which zig's parts of the C library
        # have the directory of the build. This one is of the module that is given out.
        linked = bytes.fromhex(build_id(bare))
        assert bare.count(linked) == 1
        identity = hashlib.sha1(bare.replace(linked, bytes(20))).digest()
        files[module] = bare.replace(linked, identity)
        (tags,) = (name for name in files if name.endswith(".dist-info/WHEEL"))
        text = files[tags].decode()
        old = re.search(r"^Tag: (\S+-\S+)-linux_\w+$", text, re.M)
        new = "\n".join(f"Tag: {old[1]}-{tag}" for tag in self.target.tags)
        files[tags] = text.replace(old[0], new).encode()
        name = re.sub(r"linux_\w+(?=\.whl$)", ".".join(self.target.tags), wheel.name)
        write_wheel(out / name, files, when)
        symbols = whole.replace(linked, identity)
        return out / name, f"{identity.hex()[:2]}/{identity.hex()[2:]}.debug", symbols


def write_wheel(path: Path, files: dict[str, bytes], when: int) -> None:
    """A wheel of these files, its RECORD made anew, the same from one time to the next."""
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    names = sorted(files.keys() - {record}, key=lambda name: (".dist-info/" in name, name))
    lines = []
    for name in names:
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(files[name])}")
    files[record] = "".join(f"{line}\n" for line in [*lines, f"{record},,"]).encode()
    moment = time.gmtime(when)[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in [*names, record]:
            member = zipfile.ZipInfo(name, moment)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            archive.writestr(member, files[name])


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the source distribution and the wheels.")
    names = [target.name for target in TARGETS]
    parser.add_argument("--python", action="append", choices=PYTHONS, metavar="VERSION")
    parser.add_argument("--target", action="append", choices=names, metavar="TRIPLET")
    parser.add_argument("--out", type=Path, default=DIST)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    asked = options(argv)
    when, out = epoch(), asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    libev = Path(run([ROOT / "tools" / "get-libev"]))
    archive = source_distribution(out, when)
    base = archive.name.removesuffix(".tar.gz")
    shutil.rmtree(BUILD / base, ignore_errors=True)
    unpack(archive, BUILD)
    # A wheel of these that is there from an earlier build would be taken for one of this.
    for old in [*out.glob(f"{base}-*.whl"), *out.glob(f"{base}-debug.tar.xz")]:
        old.unlink()

    symbols, missing = {}, []
    for version in asked.python or PYTHONS:
        if not (python := interpreter(version)):
            missing.append(version)
            continue
        for target in TARGETS:
            if asked.target and target.name not in asked.target:
                continue
            build = Build(version, python, target, BUILD / base, libev)
            wheel, name, debug = build.finish(build.build(), out, when)
            symbols[name] = debug
            print(f"{wheel.stat().st_size / 1e6:5.3f} MB  {wheel.name}", flush=True)

    files = [(f"{base}-debug/.build-id/{n}", symbols[n], 0o644) for n in sorted(symbols)]
    (out / f"{base}-debug.tar.xz").write_bytes(lzma.compress(tar_of(files, when), preset=6))
    if missing:
        print(f"no wheels for Python {', '.join(missing)}: there is none here, and none to be had")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
