"""Nothing that a program does with the watchers ends its process."""

import re
import textwrap
from pathlib import Path

import pytest

from moodloop import event
from watcher.conftest import BACKENDS
from watcher.crash_table import PRELUDE, ROWS, TABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"


def name(row):
    return re.sub(r"[^a-z0-9]+", "-", row.input.lower()).strip("-")


def usable(backend):
    try:
        event.Loop(BACKENDS[backend] | event.EVFLAG_NOENV).close()
    except event.Error:
        return False
    return True


@pytest.mark.parametrize("backend", list(BACKENDS))
@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=name)
def test_crash(isolated, row, backend):
    if not usable(backend):
        pytest.skip(f"no {backend} here")
    code = [f"BACKEND = {BACKENDS[backend]}", PRELUDE, textwrap.dedent(row.code)]
    if row.goes_on:
        code.append("works()")
    assert isolated("\n".join([*code, "print('done')"])).endswith("done")


def page_tables():
    """The rows of the tables of the page, by the heading above them."""
    found, section = {}, None
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("| ") and not line.startswith("| Input"):
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(section, []).append(cells)
    return found


def test_page_says_what_the_table_says():
    wanted = {s: [(r.input, r.libev, r.here) for r in rows] for s, rows in TABLE.items()}
    assert page_tables() == wanted
