"""Charts and documents of the benchmarks: what they show are the results, all of them."""

from __future__ import annotations

import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import publish
from rows import ROWS, SERIES
from suite import charts, front
from suite.report import blocks, write_report
from support.results import BENCHMARKS, CHAIN, ECHO, LATE, arm, growth_rows, result_of, row_of

SVG = "{http://www.w3.org/2000/svg}"


# Charts


def test_a_group_chart_has_a_dot_for_each_loop() -> None:
    drawn = charts.group_chart("Callbacks", [CHAIN, LATE])
    assert drawn is not None
    picture = ElementTree.fromstring(drawn)
    tips = [dot.find(f"{SVG}title").text for dot in picture.iter(f"{SVG}circle")]
    assert sorted(tips[4:]) == ["asyncio: 0.50", "moodloop: 4.00", "rival: 2.00", "uvloop: 1.00"]
    at = {
        dot.find(f"{SVG}title").text: float(dot.get("cx")) for dot in picture.iter(f"{SVG}circle")
    }
    # an octave is as wide everywhere
    assert at["moodloop: 4.00"] - at["rival: 2.00"] == pytest.approx(
        at["rival: 2.00"] - at["uvloop: 1.00"], abs=0.2
    )
    assert charts.group_chart("Timers", [LATE]) is None


def test_growth() -> None:
    costs = {"uvloop": (100, 400, 300), "moodloop": (100, 110, 120), "rival": (100, 100, 100)}
    result = result_of(*growth_rows(costs))
    result["rows"][2]["arms"]["rival"] = {"error": "it hung"}
    headers, *_ = charts.growth_lines(result)
    assert headers[1:] == ["moodloop", "uvloop", "rival"]
    assert charts.growth_lines(result)[1][1:] == ["**1.20**", "4.00", "-"]
    for row in result["rows"]:
        del row["arms"]["rival"]
    headers, line = charts.growth_lines(result)
    assert headers[1:] == ["moodloop", "uvloop"]
    assert line[1:] == ["**1.20**", "4.00"]
    drawn = charts.growth_chart(SERIES[0], result)
    assert drawn is not None
    assert len(list(ElementTree.fromstring(drawn).iter(f"{SVG}circle"))) == 2 + 2 * 3
    assert charts.growth_chart(SERIES[1], result) is None


# Documents


def read(path: Path) -> bytes | None:
    """A file's content, None where there is no such file."""
    return path.read_bytes() if path.is_file() else None


def front_result(**changes: float) -> dict:
    """Results with a figure for all that the front page shows: of one loop twice another's."""
    costs = {"asyncio": 4.0, "uvloop": 2.0, "moodloop": 1.0, "C epoll": 0.5} | changes
    names = [name for section in front.SECTIONS for name, _ in section.rows]
    rows = []
    for name in names:
        figure = ROWS[name].figure
        rows.append(row_of(name, figure, {a: arm(figure, cost) for a, cost in costs.items()}))
    return result_of(*rows)


def bar_tips(drawn: str) -> list[str]:
    """What the bars of a picture say they show."""
    titles = (bar.find(f"{SVG}title") for bar in ElementTree.fromstring(drawn).iter(f"{SVG}rect"))
    return [title.text for title in titles if title is not None]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_front_picture(narrow: bool) -> None:
    drawn = front.front_chart(front_result(), "light", narrow)
    rows = sum(len(section.rows) for section in front.SECTIONS)
    tips = bar_tips(drawn)
    assert len(tips) == 3 * rows
    assert tips[:3] == [
        "echo of 64 B, moodloop: 1.00 us",
        "echo of 64 B, uvloop: 2.00 us",
        "echo of 64 B, asyncio: 4.00 us",
    ]
    wide = [float(bar.get("width")) for bar in ElementTree.fromstring(drawn).iter(f"{SVG}rect")]
    assert wide[3] == pytest.approx(2 * wide[2], abs=0.2) == pytest.approx(4 * wide[1], abs=0.4)
    assert "echo of 64 B: moodloop 1.00 us" in front.in_words(front_result())
    assert drawn != front.front_chart(front_result(), "dark", narrow)
    assert bar_tips(front.front_chart(front_result(), "dark", narrow)) == tips


def test_the_front_picture_leaves_nothing_out() -> None:
    missing = front_result()
    del missing["rows"][0]["arms"]["uvloop"]
    with pytest.raises(ValueError, match="uvloop"):
        front.front_chart(missing, "light", False)
    with pytest.raises(ValueError, match="no row proto/10/64"):
        front.front_chart(result_of(CHAIN), "light", False)


def documents(directory: Path, names: list[str]) -> tuple[Path, Path]:
    """A README, and a directory of documents, which have these blocks."""
    readme, docs = directory / "README.md", directory / "docs"
    docs.mkdir()
    front_block = "<!-- bench front --><!-- /bench front -->"
    readme.write_text(f"x\n{front_block}\ny\n")
    (docs / "index.md").write_text(f"{front_block}\n")
    (docs / "when-not.md").write_text("<!-- bench little --><!-- /bench little -->\n")
    text = "".join(f"before {n}\n<!-- bench {n} -->\nold\n<!-- /bench {n} -->\n" for n in names)
    (docs / "performance.md").write_text(f"{front_block}\n{text}after\n")
    return readme, docs


def test_blocks_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    names = list(blocks([result_of(CHAIN)])[0])
    readme, docs = documents(tmp_path, names)
    stale = docs / "charts" / "stale.svg"
    stale.parent.mkdir()
    stale.touch()
    result = front_result()
    result["rows"][:0] = [CHAIN, ECHO, LATE]
    results = [result, result_of(CHAIN, python="CPython 3.14.1")]
    written = publish.publish(results, readme, docs)
    once = (docs / "performance.md").read_text()
    assert "old" not in once
    assert [line for line in once.splitlines() if line.startswith(("before", "after"))] == [
        *(f"before {name}" for name in names),
        "after",
    ]
    assert "proto/10/64, asyncio: exit status 1" in once
    for name in ("callbacks-3.13.svg", "callbacks-3.14.svg", "echo-servers-3.13.svg"):
        assert f"(charts/{name})" in once
        assert docs / "charts" / name in written
    for path, place in ((readme, "docs/charts"), (docs / "index.md", "charts")):
        for theme in ("light", "dark"):
            assert f"{place}/front-{theme}.svg" in path.read_text()
            assert docs / "charts" / f"front-{theme}.svg" in written
    assert "1.00 us CPU" in (docs / "when-not.md").read_text()
    assert not stale.exists()
    publish.publish(results, readme, docs)
    assert (docs / "performance.md").read_text() == once


def test_nothing_is_written_where_something_is_missing(tmp_path: Path) -> None:
    readme, docs = documents(tmp_path, [])
    before = readme.read_text()
    with pytest.raises(ValueError, match="bench targets"):
        publish.publish([front_result()], readme, docs)
    assert readme.read_text() == before and not (docs / "charts").exists()


@pytest.mark.parametrize(
    "document",
    [
        "nothing",
        "<!-- bench a -->",
        "<!-- /bench a --> <!-- bench a -->",
        "<!-- bench a --><!-- bench a --><!-- /bench a -->",
    ],
)
def test_a_document_without_the_block(document: str) -> None:
    with pytest.raises(ValueError, match="bench a"):
        publish.replace_block(document, "a", "text")


def test_the_documents_of_this_tree_show_its_results(tmp_path: Path) -> None:
    """Tables, charts and the front picture are those of benchmarks/results: `make publish`."""
    root = BENCHMARKS.parent
    shutil.copy(root / "README.md", tmp_path)
    shutil.copytree(root / "docs", tmp_path / "docs")
    assert (
        publish.main(["--readme", str(tmp_path / "README.md"), "--docs", f"{tmp_path}/docs"]) == 0
    )
    names = ["README.md", "docs/index.md", "docs/performance.md", "docs/when-not.md"]
    for directory in (root, tmp_path):
        names += (f"docs/charts/{path.name}" for path in (directory / "docs/charts").iterdir())
    stale = [n for n in dict.fromkeys(names) if read(root / n) != read(tmp_path / n)]
    assert stale == []


def test_the_front_picture_of_this_tree_is_of_its_figures() -> None:
    result = json.loads((BENCHMARKS / "results" / "cpython-3.13.json").read_text())
    rows = {row["row"]: row for row in result["rows"]}
    pictures = sorted((BENCHMARKS.parent / "docs" / "charts").glob("front-*.svg"))
    assert len(pictures) == 4
    tips = [bar_tips(picture.read_text()) for picture in pictures]
    assert all(tips[0] == others for others in tips[1:])
    shown = {tip.rpartition(": ")[0]: tip.rpartition(": ")[2] for tip in tips[0]}
    for section in front.SECTIONS:
        for name, label in section.rows:
            for loop in ("moodloop", "uvloop", "asyncio"):
                figure = rows[name]["figure"]
                value = rows[name]["arms"][loop][figure]["median"]
                number, unit = shown.pop(f"{label}, {loop}").split()
                scale = {"ns": 1, "us": 1000}[unit] if figure == "ns" else 1
                assert float(number.replace(",", "")) * scale == pytest.approx(value, rel=0.01)
    assert not shown


def test_the_report_shows_its_charts(tmp_path: Path) -> None:
    path = write_report(result_of(CHAIN, ECHO), tmp_path)
    text = path.read_text()
    shown = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert shown and all((tmp_path / name).is_file() for name in shown)
