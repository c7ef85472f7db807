"""Builds moodloop._core; all else about the package is in pyproject.toml, but for the README as an
index shows it, and what is true only where libev is compiled in: its licence, and a list of
materials (SBOM) that names it.

Environment variables:
  MOODLOOP_LIBEV_SOURCE=DIR   compile the unpacked libev in DIR in, instead of linking the system's
  MOODLOOP_DEBUG=1            assertions on, little optimisation
  MOODLOOP_SANITIZE=LIST      sanitizers, as `address,undefined`; implies assertions
  MOODLOOP_WERROR=1           all warnings, as errors
CC, CFLAGS, CPPFLAGS and LDFLAGS have their usual meaning; CFLAGS comes last and so wins.

To build for another system (tools/wheels/build.py does) takes no variable of this file's own:
  _PYTHON_SYSCONFIGDATA_NAME  CPython's: the module with the target's compiler and flags
  _PYTHON_HOST_PLATFORM       CPython's: what sysconfig.get_platform() says, as linux-aarch64
  SETUPTOOLS_EXT_SUFFIX       setuptools': how the target's extension modules end
SOURCE_DATE_EPOCH dates what is in a wheel.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent
EMBED = "src/libev/embed.c"
LIBEV_LICENSE = "src/libev/LICENSE"
LIBEV_SUMS = "src/libev/SHA256SUMS"

NO_LIBEV = (
    "moodloop: libev's header ev.h or its library was not found: install the package libev-dev "
    "(Debian, Ubuntu), libev-devel (Fedora) or libev-dev (Alpine), or set MOODLOOP_LIBEV_SOURCE to "
    "the directory of an unpacked libev."
)
NO_COMPILER = (
    "moodloop: the C compiler {0!r} cannot be run: install the package build-essential (Debian, "
    "Ubuntu), gcc (Fedora) or build-base (Alpine)."
)
NOT_LINUX = (
    "moodloop: it runs on Linux only, and this is {0}: leave it out there with the marker "
    '`moodloop; sys_platform == "linux"` in the requirements.'
)
BAD_SOURCE = "moodloop: MOODLOOP_LIBEV_SOURCE={0}: there is no ev.c and ev.h in that directory."

PROBE = """\
#include <ev.h>
#if EV_VERSION_MAJOR < 4
#error "libev 4 is needed"
#endif
int main(void) { return ev_version_major() != EV_VERSION_MAJOR; }
"""


def switch(name):
    return os.environ.get(name, "") not in ("", "0")


def sources():
    found = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src").rglob("*.c"))
    return [name for name in found if name != EMBED]


def headers():
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src").rglob("*.h"))


def version():
    text = (ROOT / "moodloop" / "_version.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "([^"]+)"', text)[1]


def libev_directory():
    """The libev to be compiled in, or None for the system's."""
    source = os.environ.get("MOODLOOP_LIBEV_SOURCE", "")
    return Path(source).resolve() if source else None


def compile_flags():
    # libev's own inline macros reach an ev_io through an ev_watcher pointer, which strict aliasing
    # forbids; libev's manual asks for the flag.
    flags = ["-std=c11", "-fvisibility=hidden", "-fno-strict-aliasing", "-g"]
    sanitizers = os.environ.get("MOODLOOP_SANITIZE", "")
    if sanitizers:
        flags += ["-O1", "-UNDEBUG", "-fno-omit-frame-pointer"]
        flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    elif switch("MOODLOOP_DEBUG"):
        flags += ["-Og", "-UNDEBUG"]
    else:
        flags += ["-O3", "-DNDEBUG"]
    flags += ["-Wall"]
    if switch("MOODLOOP_WERROR"):
        # Left out of -Wextra: what the slots and method tables of any extension set off.
        flags += ["-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
        flags += ["-Wno-cast-function-type"]
    return flags + shlex.split(os.environ.get("CFLAGS", ""))


def embedded_libev(directory):
    """The macros for a libev that is compiled in: the same for every file of the core."""
    if not all((directory / name).is_file() for name in ("ev.c", "ev.h")):
        raise SystemExit(BAD_SOURCE.format(directory))
    # What Debian's libev has, but for what is refused anyway (src/watcher/backends.c). All of them
    # are named, as libev's own defaults ask for the version of glibc, and so are others on musl.
    use = ["SELECT", "POLL", "EPOLL", "EVENTFD", "SIGNALFD", "TIMERFD", "INOTIFY"]
    use += ["MONOTONIC", "REALTIME", "NANOSLEEP"]
    # The clock is read through the C library (its vDSO), never by a system call.
    unused = ["CLOCK_SYSCALL", "LINUXAIO", "IOURING"]
    return [("EV_STANDALONE", "1")] + [
        (f"EV_USE_{name}", "1" if name in use else "0") for name in [*use, *unused]
    ]


def extension():
    flags = compile_flags()
    macros = [("_GNU_SOURCE", ""), ("MOODLOOP_VERSION", f'"{version()}"')]
    ext = Extension(
        "moodloop._core",
        sources(),
        depends=[*headers(), EMBED, "setup.py", "moodloop/_version.py"],
        extra_compile_args=[*flags],
        extra_link_args=[f for f in flags if f.startswith("-fsanitize=")],
    )
    if libev_directory():
        directory = libev_directory()
        macros += embedded_libev(directory)
        ext.sources.append(EMBED)
        ext.extra_compile_args.insert(0, f"-isystem{directory}")  # its macros' warnings are its own
        libev = "libev compiled in"
    else:
        ext.libraries.append("ev")
        libev = "libev of the system"
    shown = " ".join([*flags, f"({libev})"]).replace("\\", "\\\\").replace('"', '\\"')
    ext.define_macros = [*macros, ("MOODLOOP_BUILD_FLAGS", f'"{shown}"')]
    return ext


class BuildExt(build_ext):
    """build_ext that compiles in parallel, and only the objects whose source, headers or flags
    have changed. Each set of flags has a directory of objects of its own."""

    def build_extensions(self):
        if sys.platform != "linux":
            # Only here: resolvers ask for the metadata on systems that they do not install for.
            raise SystemExit(NOT_LINUX.format(sys.platform))
        (ext,) = self.extensions
        compiler = self.compiler
        if compiler.compiler_type == "unix":
            self.probe(ext)
            flags_id = self.flags_id(ext)
            tag = f"{sys.implementation.cache_tag}{sys.abiflags}-{sysconfig.get_platform()}"
            self.build_temp = f"build/objects/{tag}-{flags_id}"
            compiler.compile = self.compile_stale
            # What was linked from other flags is not up to date, however new it is.
            mark = Path(self.build_temp).parent / f"linked-{tag}"
            target = f"{Path(self.get_ext_fullpath(ext.name)).resolve()} {flags_id}"
            linked = mark.read_text().splitlines() if mark.exists() else []
            self.force = compiler.force = bool(self.force or target not in linked)
            super().build_extensions()
            paths = {line: line.rpartition(" ")[0] for line in [*linked, target]}
            kept = [n for n in linked if paths[n] != paths[target] and Path(paths[n]).exists()]
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("\n".join([*kept, target, ""]))
        else:
            super().build_extensions()

    def commands(self, ext):
        compiler = self.compiler
        macros = [f"-D{name}={value}" for name, value in ext.define_macros]
        includes = [f"-I{path}" for path in [*ext.include_dirs, *compiler.include_dirs]]
        libraries = [f"-L{path}" for path in [*ext.library_dirs, *compiler.library_dirs]]
        libraries += [f"-l{name}" for name in ext.libraries]
        compile_command = [*compiler.compiler_so, *macros, *includes, *ext.extra_compile_args]
        return compile_command, [*compiler.linker_so, *ext.extra_link_args], libraries

    def flags_id(self, ext):
        return hashlib.sha256(repr(self.commands(ext)).encode()).hexdigest()[:10]

    def probe(self, ext):
        """Stop here, with one sentence, when libev cannot be compiled and linked against."""
        compile_command, link_command, libraries = self.commands(ext)
        if "ev" not in ext.libraries:
            return
        # Instrumented code would need its runtime to link; libev is found or not without it.
        compile_command = [a for a in compile_command if not a.startswith(("-fsanitize=", "-W"))]
        link_command = [a for a in link_command if not a.startswith("-fsanitize=")]
        with tempfile.TemporaryDirectory(prefix="moodloop-") as name:
            source, target, linked = (str(Path(name, "probe" + end)) for end in (".c", ".o", ".so"))
            Path(source).write_text(PROBE)
            for command in (
                [*compile_command, "-c", source, "-o", target],
                [*link_command, target, "-o", linked, *libraries],
            ):
                try:
                    done = subprocess.run(command, capture_output=True)
                except OSError:
                    raise SystemExit(NO_COMPILER.format(command[0])) from None
                if done.returncode:
                    raise SystemExit(NO_LIBEV)

    def compile_stale(self, files, output_dir=None, macros=None, include_dirs=None, debug=False,
                      extra_preargs=None, extra_postargs=None, depends=None):  # fmt: skip
        """compiler.compile(), but for objects older than what they were made from, in parallel."""
        compiler = self.compiler
        macros, objects, extra, pp_opts, build = compiler._setup_compile(
            output_dir, macros, include_dirs, files, depends, extra_postargs
        )
        cc_args = compiler._get_cc_args(pp_opts, debug, extra_preargs)

        def compile_one(obj):
            source, suffix = build[obj]
            made = Path(obj).with_suffix(".d")
            own = ["-MMD", "-MF", str(made)]
            if source == EMBED:
                own.append("-w")  # libev's warnings are its own
            compiler._compile(obj, source, suffix, cc_args, [*extra, *own], pp_opts)

        stale = [obj for obj in objects if obj in build and is_stale(Path(obj))]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(compile_one, stale))
        return objects


def is_stale(obj):
    """Whether an object is older than one of the files its .d file names."""
    try:
        made = obj.stat().st_mtime_ns
        rule = obj.with_suffix(".d").read_text()
        used = shlex.split(rule.replace("\\\n", " ").partition(":")[2])
        return not used or any(Path(name).stat().st_mtime_ns >= made for name in used)
    except OSError:
        return True


class WithLibev(Distribution):
    """The metadata of a build with libev compiled in, which has a licence of its own."""

    def parse_config_files(self, *args, **kwargs):
        super().parse_config_files(*args, **kwargs)
        if libev_directory():
            self.metadata.license_expression += " AND (BSD-2-Clause OR GPL-2.0-or-later)"
            self.metadata.license_files = [*self.metadata.license_files, LIBEV_LICENSE]


def readme():
    """README.md for an index: its links and pictures are those of the version's tag on the web."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source, tag = project["urls"]["Source"], f"v{version()}"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?![a-z]+:|#)", f"]({source}/blob/{tag}/", text)
    return re.sub(r'\b(src|srcset)="(?![a-z]+:)', rf'\1="{source}/raw/{tag}/', text)


class EggInfo(egg_info):
    """egg_info with the list of materials (PEP 770): a wheel's .dist-info is made from it."""

    def run(self):
        super().run()
        path = Path(self.egg_info, "sboms", "moodloop.cdx.json")
        if libev_directory():
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(materials(libev_directory()), indent=1) + "\n")
        else:
            path.unlink(missing_ok=True)  # of an earlier build


def materials(directory):
    """A CycloneDX document that names the libev in DIRECTORY as a part of moodloop. It has no
    serial number and no time, so that two builds of the same are the same."""
    numbers = dict(
        re.findall(r"define EV_VERSION_(MAJOR|MINOR) (\d+)", (directory / "ev.h").read_text())
    )
    libev = f"{numbers['MAJOR']}.{numbers['MINOR']}"
    part = {
        "type": "library",
        "bom-ref": f"pkg:generic/libev@{libev}",
        "name": "libev",
        "version": libev,
        "purl": f"pkg:generic/libev@{libev}",
        "licenses": [{"expression": "BSD-2-Clause OR GPL-2.0-or-later"}],
        "externalReferences": [
            {"type": "website", "url": "http://software.schmorp.de/pkg/libev.html"}
        ],
    }
    for line in (ROOT / LIBEV_SUMS).read_text().splitlines():
        digest, archive = line.split()
        if f"libev_{libev}." in archive:
            part["externalReferences"].append(
                {
                    "type": "source-distribution",
                    "url": f"http://dist.schmorp.de/libev/Attic/libev-{libev}.tar.gz",
                    "hashes": [{"alg": "SHA-256", "content": digest}],
                }
            )
    moodloop = f"pkg:pypi/moodloop@{version()}"
    whole = {
        "type": "library",
        "bom-ref": moodloop,
        "name": "moodloop",
        "version": version(),
        "purl": moodloop,
        "licenses": [{"expression": "MIT"}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": [part],
        "dependencies": [
            {"ref": moodloop, "dependsOn": [part["bom-ref"]]},
            {"ref": part["bom-ref"]},
        ],
    }


os.chdir(ROOT)
setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExt, "egg_info": EggInfo},
    distclass=WithLibev,
    long_description=readme(),
    long_description_content_type="text/markdown",
)
