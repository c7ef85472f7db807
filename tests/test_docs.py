"""The documentation: every public name is in it, and its Python code compiles or runs.

Each block of Python in README.md and docs/ must compile. One that is a whole program has the line
`<!-- runs -->` before it, and must run to its end without a word on standard error. The programs of
examples/ that pages include are run by test_examples.py.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from support.programs import run_program

from moodloop import event, evergreen, pyev, watch

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = "".join(
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("api", "watchers", "watch", "evergreen")
)
BLOCK = re.compile(
    r"^(?P<runs> *<!-- runs -->\n+)?(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
INCLUDED = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)


class Block(NamedTuple):
    page: Path
    line: int
    runs: bool
    code: str

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks(page):
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        code = textwrap.dedent(found["code"])
        code = INCLUDED.sub(lambda m: (ROOT / m[1]).read_text(encoding="utf-8"), code)
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(page, line, found["runs"] is not None, code)


BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_code_compiles(block):
    compile(block.code, str(block), "exec", dont_inherit=True)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.runs], ids=str)
def test_programs_run(block, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(block.code, encoding="utf-8")
    run_program(program, cwd=tmp_path)


def test_every_block_is_found():
    """The expression above finds all that a renderer would."""
    lines = [line.strip() for page in PAGES for line in page.read_text("utf-8").splitlines()]
    assert len(BLOCKS) == lines.count("```python")
    assert sum(block.runs for block in BLOCKS) == lines.count("<!-- runs -->") > 0


@pytest.mark.parametrize("module", [event, evergreen, pyev, watch], ids=lambda m: m.__name__)
def test_public_names_are_in_the_reference(module):
    def documented(name):
        rendered = rf"^::: {re.escape(module.__name__)}\.{name}$|^ +- {name}$"
        mentioned = rf"`{name}(\(.*?\))?`"
        return re.search(f"{rendered}|{mentioned}", REFERENCE, re.MULTILINE)

    assert [name for name in module.__all__ if not documented(name)] == []


def described(node, after):
    """If a definition in a stub has a docstring: its own, or the string after an attribute."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    return ast.get_docstring(node) is not None


def test_every_member_has_a_docstring():
    """What the reference shows of moodloop.event comes from the stub of the core."""
    stub = ast.parse((ROOT / "moodloop" / "_core.pyi").read_text(encoding="utf-8"))
    public = [n for n in stub.body if getattr(n, "name", None) in event.__all__]
    bare = [node.name for node in public if not ast.get_docstring(node)]
    for type_ in (node for node in public if isinstance(node, ast.ClassDef)):
        for node, after in zip(type_.body, [*type_.body[1:], None], strict=True):
            name = node.target.id if isinstance(node, ast.AnnAssign) else getattr(node, "name", "_")
            if not name.startswith("_") and not described(node, after):
                bare.append(f"{type_.name}.{name}")
    assert bare == []


# Where docs/architecture.md tells of a directory: the text below this heading.
SECTIONS = {
    "moodloop": "## The Python package",
    "moodloop/evergreen": "### `moodloop/evergreen/`",
    "moodloop/bench": "### `moodloop/bench/`",
    "moodloop/inspect": "### `moodloop/inspect/`",
    "src": "## The C core",
    "src/inspect": "### `src/inspect/`",
    "src/watcher": "### `src/watcher/`",
    "src/aio": "### `src/aio/`",
    "src/net": "### `src/net/`",
    "src/tls": "### `src/tls/`",
    "src/streams": "### `src/streams/`",
    "src/sys": "### `src/sys/`",
    "src/libev": "### `src/libev/`",
}


def architecture():
    """The names in backquotes of each of these sections, and those in its tables' first column.

    `moodloop/loop.py` counts as `loop.py`.
    """
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for directory, heading in SECTIONS.items():
        (text,) = re.findall(rf"^{re.escape(heading)}.*\n((?:(?!##).*\n)*)", page, re.MULTILINE)
        cells = "".join(re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE))
        yield (
            directory,
            *(
                {name.removeprefix(f"{directory}/") for name in re.findall(r"`([^`\s]+)`", part)}
                for part in (text, cells)
            ),
        )


def sources(directory):
    return {f.name for f in (ROOT / directory).iterdir() if f.suffix in (".c", ".h", ".py")}


def test_every_source_file_is_in_the_architecture():
    """The tables of docs/architecture.md are the map: nothing is missing on it, in its place."""
    missing = []
    for directory, named, _ in architecture():
        files = sources(directory)
        # The header of a file that is named goes without saying.
        with_header = {name for name in files if name.replace(".h", ".c") in files & named}
        missing += sorted(f"{directory}/{name}" for name in files - named - with_header)
    assert missing == []
    folders = {f.parent for top in ("src", "moodloop") for f in (ROOT / top).rglob("*.[chp]*")}
    folders = {f.relative_to(ROOT).as_posix() for f in folders if f.name != "__pycache__"}
    assert folders == set(SECTIONS)


def test_every_source_file_of_the_architecture_is_there():
    for directory, _, listed in architecture():
        files = {name for name in listed if re.search(r"\w\.(c|h|py)$", name)}
        assert files - sources(directory) == set(), directory


def test_nothing_waits_for_a_release_that_is_there():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(r"^## \[\d", changes, re.MULTILINE):
        pytest.skip("there is no release yet, and the documents say so")
    texts = {page.name: " ".join(page.read_text(encoding="utf-8").split()) for page in PAGES}
    assert [n for n, text in texts.items() if "until the first release" in text.lower()] == []
