"""What is in dist/, held against what is promised: `make check-wheels`.

    check.py [--again [OPTIONS of build.py]]

twine and check-wheel-contents look at all of it; auditwheel says of each wheel which systems it
runs on, which must be what its name says; here are looked at the size, the licences, the list of
materials, and how the module is linked. --again builds all of it a second time, in another
directory, and compares each byte of the wheels; with options only a part of it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from targets import BUILD, DIST, ROOT, TARGETS, run

LARGEST = 400_000  # bytes of a wheel


def problems(wheel: Path) -> list[str]:
    """What is not as promised with this wheel."""
    found = []
    if wheel.stat().st_size > LARGEST:
        found.append(f"larger than {LARGEST} bytes")
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    by_end = {name.partition(".dist-info/")[2]: data for name, data in files.items()}
    metadata = by_end["METADATA"].decode()
    if "License-Expression: MIT AND (BSD-2-Clause OR GPL-2.0-or-later)\n" not in metadata:
        found.append("not libev's licence in its metadata")
    for name in ("licenses/LICENSE", "licenses/src/libev/LICENSE"):
        if by_end.get(name) != (ROOT / name.removeprefix("licenses/")).read_bytes():
            found.append(f"no {name}")
    document = json.loads(by_end["sboms/moodloop.cdx.json"])
    if [c["purl"] for c in document["components"]] != ["pkg:generic/libev@4.33"]:
        found.append("another list of materials")
    (module,) = (data for name, data in files.items() if name.endswith(".so"))
    return found + link_problems(module)


def link_problems(module: bytes) -> list[str]:
    import io

    from elftools.elf.elffile import ELFFile

    elf, found = ELFFile(io.BytesIO(module)), []
    segments = {s["p_type"]: s for s in elf.iter_segments()}
    dynamic = {}
    for tag in elf.get_section_by_name(".dynamic").iter_tags():
        dynamic.setdefault(tag.entry.d_tag, []).append(tag)
    symbols = {s.name for s in elf.get_section_by_name(".dynsym").iter_symbols()}
    needed = {tag.needed for tag in dynamic.get("DT_NEEDED", [])}
    if not re.fullmatch(
        r"(lib(c|pthread|rt|m|dl)\.so[.\d]*|ld-linux-[-\w]+\.so\.\d| )+", " ".join(needed)
    ):
        found.append(f"linked with {needed}")
    if "PT_GNU_RELRO" not in segments or "DT_FLAGS" not in dynamic:
        found.append("no RELRO")
    elif not dynamic["DT_FLAGS"][0].entry.d_val & 8:
        found.append("no BIND_NOW")
    if segments["PT_GNU_STACK"]["p_flags"] & 1:
        found.append("an executable stack")
    if "__stack_chk_fail" not in symbols:
        found.append("no stack protector")
    if "libc.so.6" in needed and not any(name.endswith("_chk") for name in symbols):
        found.append("not fortified")
    if elf.get_section_by_name(".symtab") or elf.get_section_by_name(".debug_info"):
        found.append("not stripped")
    if not elf.get_section_by_name(".note.gnu.build-id"):
        found.append("no build id")
    if {"DT_RPATH", "DT_RUNPATH"} & dynamic.keys():
        found.append("a path of libraries")
    return found


def audit(wheel: Path) -> list[str]:
    """auditwheel's word on the systems that the wheel runs on."""
    says = " ".join(run([sys.executable, "-m", "auditwheel", "show", wheel]).split())
    tag = re.search(r'following platform tag: "(\w+)"', says)
    (target,) = (t for t in TARGETS if wheel.name.endswith(".".join(t.tags) + ".whl"))
    if not tag:
        return [f"auditwheel: {says}"]
    # A wheel that asks for less than its name says is fine: musl 1.1, glibc 2.12.
    numbers = [
        tuple(map(int, re.findall(r"_(\d+)(?=_)", name))) for name in (tag[1], target.tags[-1])
    ]
    if not tag[1].endswith(target.machine) or numbers[0] > numbers[1]:
        return [f"auditwheel: it is for {tag[1]}"]
    return []


def build_again(options: list[str]) -> list[str]:
    """The names of what comes out different from another directory."""
    with tempfile.TemporaryDirectory(prefix="moodloop-", dir=BUILD) as name:
        tree = Path(name, "a-clone")
        run(["git", "clone", "-q", ROOT, tree])
        run([sys.executable, tree / "tools" / "wheels" / "build.py", *options])
        first = {path.name: path.read_bytes() for path in DIST.iterdir()}
        second = {path.name: path.read_bytes() for path in (tree / "dist").iterdir()}
    if options:
        first = {name: data for name, data in first.items() if name in second}
    for files in (first, second):  # the symbols name the directory of the tools
        for name in [name for name in files if name.endswith("-debug.tar.xz")]:
            del files[name]
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hold dist/ against what is promised.")
    parser.add_argument("--again", action="store_true", help="build it again, and compare")
    asked, options = parser.parse_known_args(argv)
    if options and not asked.again:
        parser.error(f"{options[0]} is for --again")
    wheels = sorted(DIST.glob("*.whl"))
    if not wheels:
        raise SystemExit("there are no wheels in dist/: run `make wheels`")
    bad = 0
    archive = next(iter(DIST.glob("moodloop-*[0-9].tar.gz")))
    for command in (
        ["twine", "check", "--strict", archive, *wheels],
        ["check_wheel_contents", *wheels],
    ):
        bad |= subprocess.run([sys.executable, "-m", *map(str, command)]).returncode
    for wheel in wheels:
        found = problems(wheel) + audit(wheel)
        print(f"{wheel.stat().st_size:7}  {wheel.name}: {'; '.join(found) or 'as promised'}")
        bad |= bool(found)
    if asked.again:
        different = build_again(options)
        print("a second build:", ", ".join(different) or "equal, byte for byte")
        bad |= bool(different)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
