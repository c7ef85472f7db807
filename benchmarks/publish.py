"""Puts measured figures into the documents: tables between two comments, and charts.

    python benchmarks/publish.py [--docs docs/performance.md] [--readme README.md] [RESULTS ...]

RESULTS are files that run.py wrote; without any, those of whole runs in benchmarks/results/. The
first one is also what the README shows. What is between two comments of a document is replaced:

    <!-- bench NAME --> ... <!-- /bench NAME -->

docs/performance.md has the blocks targets, charts, growth and rows, README.md has summary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.loops import ROOT
from suite.report import blocks, write_charts
from suite.results import RESULTS, describe
from suite.tables import INTRODUCTION, group_table

README_ROWS = (
    "call_soon",
    "call_soon_200k",
    "chain",
    "sleep_0",
    "threadsafe_1",
    "later_cancel",
    "create_task",
    "future_wake",
    "reader_churn",
    "sock_pingpong",
    "spawn",
    "proto/10/64",
    "proto/10/10240",
    "stream/10/1024",
    "udp/10/64",
    "bulk_in",
    "tls/10/8192",
    "uvicorn",
)


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


def summary_block(result: dict[str, Any]) -> str:
    """The short table of the README."""
    by_name = {row["row"]: row for row in result["rows"]}
    rows = [by_name[name] for name in README_ROWS if name in by_name]
    if not rows:
        raise ValueError("the results have no row that the README shows")
    introduction = INTRODUCTION.format(base="uvloop")
    return f"{introduction}\n\n{group_table(rows, True)}\n\n{describe(result)}"


def publish(results: Sequence[dict[str, Any]], docs: Path, readme: Path) -> list[Path]:
    """Rewrite the blocks and the charts; the files that were written."""
    parts, charts = blocks(results)
    document = docs.read_text()
    for name, text in parts.items():
        document = replace_block(document, name, text)
    short = replace_block(readme.read_text(), "summary", summary_block(results[0]))
    docs.write_text(document)
    readme.write_text(short)
    return [docs, readme, *write_charts(charts, docs.parent / "charts")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args(arguments)
    paths = options.results or sorted(
        path for path in RESULTS.glob("cpython-*.json") if not path.stem.endswith("-quick")
    )
    if not paths:
        print("no results: run `make bench-full` first", file=sys.stderr)
        return 1
    results = [json.loads(path.read_text()) for path in paths]
    try:
        written = publish(results, options.docs, options.readme)
    except ValueError as exc:
        print(exc, file=sys.stderr)
        return 1
    print("\n".join(f"written: {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
