"""docs/trust.md names the bugs of other loops and our tests: each line has its test, and each test
of tests/regress its line."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "trust.md"
TABLE = re.compile(r"^\| Where \| What went wrong \| Our test \|\n\|[-|]+\|\n((?:\|.*\n)+)", re.M)
NAME = re.compile(r"`([\w/]+\.py(?:::\w+)+)`")

ROWS = [row for table in TABLE.findall(PAGE.read_text("utf-8")) for row in table.splitlines()]
NAMED = {name for row in ROWS for name in NAME.findall(row)}

# Beside another test that has its line.
ASIDE = {
    "regress/test_connections.py::TestSendfile::test_of_what_is_no_file",
    "regress/test_descriptors.py::test_busy_reader_is_none_of_those",
    "regress/test_loop.py::test_waits_for_an_executor",
    "regress/test_tls.py::test_writelines",
}


def names_in(path):
    """The tests of a file, as the page names them."""

    def walk(node, prefix):
        for inner in node.body:
            if isinstance(inner, ast.ClassDef) and inner.name.startswith("Test"):
                yield from walk(inner, f"{prefix}::{inner.name}")
            elif isinstance(inner, ast.FunctionDef) and inner.name.startswith("test"):
                yield f"{prefix}::{inner.name}"
            elif isinstance(inner, ast.If):
                yield from walk(inner, prefix)

    return set(walk(ast.parse(path.read_text("utf-8")), str(path.relative_to(TESTS))))


def test_the_table_is_found():
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row)[1:60])
def test_a_line_names_tests_that_exist(row):
    where, what, tests = (cell.strip() for cell in row.strip("|").split("|"))
    assert where and what
    names = NAME.findall(tests)
    assert names, "a line without a test"
    for name in names:
        path = TESTS / name.partition("::")[0]
        assert path.is_file() and name in names_in(path), f"no such test: {name}"


def test_each_regression_has_its_line():
    there = set().union(*map(names_in, sorted((TESTS / "regress").glob("test_*.py"))))
    assert there - NAMED == ASIDE


def test_each_number_that_a_test_mentions_is_on_the_page():
    """A CVE or an issue that is in the docstring of a test, or in a comment beside it."""
    page = PAGE.read_text("utf-8")
    found = set()
    for path in TESTS.glob("*/test_*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"CVE-\d{4}-\d+", text))
    for path in (TESTS / "regress").glob("*.py"):
        for run in re.findall(r"uvloop ((?:\d+(?:, | and |, and )?)+)", path.read_text("utf-8")):
            found |= {f"/uvloop/issues/{number}" for number in re.findall(r"\d+", run)}
    assert {name for name in found if not re.search(rf"{name}\b", page)} == set()
