"""tools/check-site: what is wrong with a page is found, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "check-site"
GOOD = """<!doctype html><title>good</title><link rel="icon" href="data:,"><h1 id="top">Good</h1>
<a href="./">itself</a> <a href="#top">top</a> <a href="https://example.org/nothing">elsewhere</a>
"""
BAD = """<!doctype html><title>bad</title><link rel="icon" href="data:,">
<script>console.log("a word")</script>
<picture><source media="(width: 1px)" srcset="unseen.svg"><img src="seen.svg"></picture>
<a href="../none/">no page</a> <a href="../#bottom">no place</a> <a href="../#top">a place</a>
"""

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("chromium-browser")), reason="needs chromium"
)


def check(site):
    done = subprocess.run(
        [sys.executable, str(TOOL), str(site)], capture_output=True, text=True, timeout=150
    )
    return done.returncode, done.stdout.strip(), done.stderr.splitlines()


def test_a_site_with_faults(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    assert check(tmp_path) == (0, "1 pages, 4 links, 0 wrong", [])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "index.html").write_text(BAD)
    status, _, said = check(tmp_path)
    assert status == 1
    assert said[0].startswith('/bad/: console: "a word"')
    assert sorted(said[1:]) == [
        "/bad/: ../#bottom names no place on that page",
        "/bad/: ../none/ is not there",
        "/bad/: seen.svg is not there",
        "/bad/: unseen.svg is not there",
        "asked for, and not there: /bad/seen.svg: 404",
    ]
