"""Builds moodloop._core; all else about the package is in pyproject.toml.

Environment variables:
  MOODLOOP_LIBEV_SOURCE=DIR   compile the unpacked libev in DIR in, instead of linking the system's
  MOODLOOP_DEBUG=1            assertions on, little optimisation
  MOODLOOP_SANITIZE=LIST      sanitizers, as `address,undefined`; implies assertions
  MOODLOOP_WERROR=1           all warnings, as errors
CC, CFLAGS, CPPFLAGS and LDFLAGS have their usual meaning; CFLAGS comes last and so wins.
"""

import concurrent.futures
import hashlib
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
EMBED = "src/libev/embed.c"

NO_LIBEV = (
    "moodloop: libev's header ev.h or its library was not found: install the package libev-dev "
    "(Debian, Ubuntu), libev-devel (Fedora), libev-dev (Alpine) or, on macOS, run "
    "'brew install libev', or set MOODLOOP_LIBEV_SOURCE to the directory of an unpacked libev."
)
NO_COMPILER = (
    "moodloop: the C compiler {0!r} cannot be run: install the package build-essential (Debian, "
    "Ubuntu), gcc (Fedora), build-base (Alpine) or, on macOS, run 'xcode-select --install'."
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
    use = ["SELECT", "POLL", "MONOTONIC", "REALTIME", "NANOSLEEP"]
    if sys.platform.startswith("linux"):
        use += ["EPOLL", "EVENTFD", "SIGNALFD", "INOTIFY"]
    elif sys.platform == "darwin" or "bsd" in sys.platform:
        use += ["KQUEUE"]
    # The clock is read through the C library (its vDSO), never by a system call.
    return [("EV_STANDALONE", "1"), ("EV_USE_CLOCK_SYSCALL", "0")] + [
        (f"EV_USE_{name}", "1") for name in use
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
    source = os.environ.get("MOODLOOP_LIBEV_SOURCE", "")
    if source:
        directory = Path(source).resolve()
        macros += embedded_libev(directory)
        ext.sources.append(EMBED)
        ext.extra_compile_args.insert(0, f"-isystem{directory}")  # its macros' warnings are its own
        libev = "libev compiled in"
    else:
        ext.libraries.append("ev")
        libev = "libev of the system"
        brew = Path(os.environ.get("HOMEBREW_PREFIX", "/opt/homebrew"))
        if sys.platform == "darwin" and (brew / "include" / "ev.h").exists():
            ext.include_dirs.append(str(brew / "include"))
            ext.library_dirs.append(str(brew / "lib"))
    shown = " ".join([*flags, f"({libev})"]).replace("\\", "\\\\").replace('"', '\\"')
    ext.define_macros = [*macros, ("MOODLOOP_BUILD_FLAGS", f'"{shown}"')]
    return ext


class BuildExt(build_ext):
    """build_ext that compiles in parallel, and only the objects whose source, headers or flags
    have changed. Each set of flags has a directory of objects of its own."""

    def build_extensions(self):
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


os.chdir(ROOT)
setup(ext_modules=[extension()], cmdclass={"build_ext": BuildExt})
