"""tools/check-docs: what it says of a site in which things are wrong."""

import os
import shutil

import pytest
from support import tools

check_docs = tools.load("check-docs")
BROWSER = next(filter(None, map(shutil.which, check_docs.BROWSERS)), None)

GOOD = """<!doctype html><title>Good</title>
<h1 id="top">Good</h1><a name="old"></a>
<a href="page/">page</a> <a href="page/#there">there</a> <a href="#old">old</a>
<a href="file.txt">file</a> <a href="https://example.org/">elsewhere</a>
<script>console.warn("a warning is none")</script>
"""
PAGE = '<!doctype html><title>Page</title><h2 id="there">There</h2><a href="../#top">back</a>\n'
BAD = """<!doctype html><title>Bad</title>
<a href="../nowhere/">no page</a> <a href="../page/#nowhere">no anchor</a>
<img src="../none.png" loading="lazy">
<img src="https://example.org/image.png">
<script>console.error("on", "purpose"); setTimeout(() => { throw new Error("thrown") })</script>
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "file.txt").touch()
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text(PAGE)
    return tmp_path


needs_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium here")


@needs_a_browser
def test_nothing_is_wrong(site, capsys):
    before = set(os.listdir("/proc/self/fd"))
    assert check_docs.check(site, BROWSER) == 0
    assert capsys.readouterr().out.startswith("2 pages, 6 links, ")
    assert set(os.listdir("/proc/self/fd")) == before


@needs_a_browser
def test_all_that_is_wrong_is_told(site, capsys):
    (site / "bad").mkdir()
    (site / "bad" / "index.html").write_text(BAD)
    assert check_docs.check(site, BROWSER) == 1
    said = capsys.readouterr().out
    for line in (
        "/bad/index.html: no page /nowhere/",
        "/bad/index.html: no anchor /page/#nowhere",
        "/bad/index.html: no image: ",
        "/bad/index.html: 404: ",
        "/bad/index.html: asks somebody else: https://example.org/image.png",
        "/bad/index.html: console: on purpose",
        "/bad/index.html: exception: Error: thrown",
    ):
        assert line in said, said
    assert "\n/index.html" not in said and "\n/page" not in said


def test_a_browser_that_cannot_start(site, tmp_path):
    with pytest.raises(ConnectionError, match="the browser ended: 3"):
        program = tmp_path / "browser"
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
        check_docs.check(site, str(program))


def test_a_site_without_pages(tmp_path, capsys):
    assert check_docs.check(tmp_path, "none") == 1
    assert "no pages" in capsys.readouterr().err
