"""The fenced blocks of a page of the documentation, so that tests run what the page says."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"

LINE = re.compile(
    r"""
    ^(?P<level>\#{2,})\ (?P<heading>[^\n]+)$
    | ^```(?P<language>\w+)(?:\ title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


class Block(NamedTuple):
    heading: str
    title: str  # the title in the fence, else the language
    code: str


def blocks(page):
    """The blocks of docs/PAGE in order, each under the heading it follows."""
    found = []
    heading = ""
    for match in LINE.finditer((DOCS / page).read_text(encoding="utf-8")):
        if match["heading"]:
            heading = match["heading"]
        else:
            found.append(Block(heading, match["title"] or match["language"], match["code"]))
    return found
