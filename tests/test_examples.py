"""Every program in examples/ runs to its end and prints what it says it prints.

In a line of its own, `# Output: TEXT` names a line of standard output: all those of a file must
come, in their order; other lines may come between them. `# Needs: MODULE` names a module without
which the example is skipped.
"""

import re
from pathlib import Path

import pytest
from support import optional
from support.programs import run_program

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def marked(path, name):
    return re.findall(rf"^# {name}: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    for module in marked(path, "Needs"):
        optional.need(module)
    output = run_program(path)
    lines = iter(output.splitlines())
    for expected in marked(path, "Output"):
        assert expected in lines, f"{expected!r} is not, or not in its place, in:\n{output}"
