"""Strips a module of any processor, so that all that makes what is in the wheel is pinned."""

from __future__ import annotations

import io
import struct

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
ALLOCATED = 2  # SHF_ALLOC: it is there when the module runs
NOBITS = 8  # SHT_NOBITS: it takes no place in the file
STRTAB = 3  # SHT_STRTAB


def stripped(module: bytes) -> bytes:
    """The module without what only debuggers and linkers read. A linker puts that at the end of the
    file and of the list of sections, so what is left stays where it was, and so do all indices."""
    header = list(HEADER.unpack_from(module))
    assert header[0][:6] == b"\x7fELF\x02\x01", "64 bits, little-endian"
    start, count, names_at = header[6], header[12], header[13]
    sections = [SECTION.unpack_from(module, start + i * SECTION.size) for i in range(count)]
    kept = [sections[0], *(s for s in sections if s[2] & ALLOCATED)]
    assert sections[: len(kept)] == kept, "all that is allocated comes first"
    end = max(s[4] + s[5] for s in kept if s[1] != NOBITS)
    assert end <= min(s[4] for s in sections[len(kept) :]), "... in the file, too"

    strings, table = sections[names_at], bytearray(b"\0")
    new = []
    for section in kept:
        begin = strings[4] + section[0]
        name = module[begin : module.index(b"\0", begin) + 1]
        new.append((len(table) if len(name) > 1 else 0, *section[1:]))
        table += name if len(name) > 1 else b""
    new.append((len(table), STRTAB, 0, 0, end, len(table) + len(b".shstrtab\0"), 0, 0, 1, 0))
    table += b".shstrtab\0"
    body = module[:end] + table
    body += bytes(-len(body) % 8)
    header[6], header[12], header[13] = len(body), len(new), len(new) - 1
    body += b"".join(SECTION.pack(*section) for section in new)
    return HEADER.pack(*header) + body[HEADER.size :]


def build_id(module: bytes) -> str:
    from elftools.elf.elffile import ELFFile

    section = ELFFile(io.BytesIO(module)).get_section_by_name(".note.gnu.build-id")
    return str(next(section.iter_notes())["n_desc"])
