"""Puts measured figures into the documents: tables between two comments, and charts.

    python benchmarks/publish.py [--readme README.md] [--docs docs] [RESULTS ...]

RESULTS are files that run.py wrote; without any, those of whole runs in benchmarks/results/. The
first one is also what the front pages show. What is between two comments of a document is replaced:

    <!-- bench NAME --> ... <!-- /bench NAME -->

docs/performance.md has the blocks front, targets, charts, growth and rows; README.md and
docs/index.md have front, and docs/when-not.md has little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.front import front_charts, home_block, little_block, page_block, readme_block
from suite.loops import ROOT
from suite.report import blocks, write_charts
from suite.results import RESULTS


def replace_block(document: str, name: str, text: str) -> str:
    """The document with a block's text replaced; ValueError unless it has it exactly once."""
    start, end = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    if document.count(start) != 1 or document.count(end) != 1:
        raise ValueError(f"the document must have {start} ... {end} once")
    before, _, rest = document.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{end} comes before {start}")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def publish(results: Sequence[dict[str, Any]], readme: Path, docs: Path) -> list[Path]:
    """Rewrite the blocks and the charts; the files that were written."""
    parts, charts = blocks(results)
    charts |= front_charts(results[0])
    documents = {
        readme: {"front": readme_block(results[0])},
        docs / "index.md": {"front": home_block(results[0])},
        docs / "when-not.md": {"little": little_block(results[0])},
        docs / "performance.md": {"front": page_block(results[0]), **parts},
    }
    texts = {}  # all of them before the first is written
    for path, replaced in documents.items():
        texts[path] = path.read_text()
        for name, text in replaced.items():
            texts[path] = replace_block(texts[path], name, text)
    for path, text in texts.items():
        path.write_text(text)
    return [*texts, *write_charts(charts, docs / "charts")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args(arguments)
    paths = options.results or sorted(
        path for path in RESULTS.glob("cpython-*.json") if not path.stem.endswith("-quick")
    )
    if not paths:
        print("no results: run `make bench-full` first", file=sys.stderr)
        return 1
    results = [json.loads(path.read_text()) for path in paths]
    try:
        written = publish(results, options.readme, options.docs)
    except ValueError as exc:
        print(exc, file=sys.stderr)
        return 1
    print("\n".join(f"written: {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
