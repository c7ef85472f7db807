"""tools/release: the changelog stays honest."""

import subprocess
from pathlib import Path

import pytest
from support import tools

ROOT = Path(__file__).resolve().parent.parent

CHANGELOG = """# Changelog

## [Unreleased]

### Added

- A thing.

### Fixed

- Another,
  on two lines.
"""
OLDER = """
## [0.2.0] - 2026-01-31

### Added

- The first.
"""


release = tools.load("release")


def git(tree, *args):
    done = subprocess.run(["git", *args], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that makes a repository with such a changelog and version."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def tree(changelog=CHANGELOG, version="0.1.0"):
        (tmp_path / "moodloop").mkdir()
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        (tmp_path / "moodloop" / "_version.py").write_text(
            f'"""Doc."""\n__version__ = "{version}"\n'
        )
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "-m", "all of it")
        return tmp_path

    return tree


def test_release(tree, capsys):
    root = tree(CHANGELOG + OLDER, "0.2.0")
    assert release.main(root, ["0.3.0", "--date", "2026-02-03"]) == 0
    assert "v0.3.0" in capsys.readouterr().out
    expected = CHANGELOG.replace(
        "## [Unreleased]\n", "## [Unreleased]\n\n## [0.3.0] - 2026-02-03\n"
    )
    assert (root / "CHANGELOG.md").read_text() == expected + OLDER
    assert (root / "moodloop" / "_version.py").read_text() == '"""Doc."""\n__version__ = "0.3.0"\n'
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "log", "-1", "--format=%s") == "release: 0.3.0"
    assert git(root, "cat-file", "-t", "v0.3.0") == "tag"
    assert release.main(root, ["--notes"]) == 0
    assert capsys.readouterr().out.strip() == CHANGELOG.partition("[Unreleased]")[2].strip()
    # There is nothing to release now, and what was is in order.
    assert release.main(root, ["--check"]) == 0
    assert release.main(root, ["0.4.0"]) == 1
    assert "nothing under [Unreleased]" in capsys.readouterr().err


def test_the_first_release_may_have_the_version_of_the_tree(tree):
    root = tree()
    assert release.main(root, ["--notes"]) == 1
    assert release.main(root, ["0.1.0", "--date", "2026-02-03"]) == 0
    assert "## [0.1.0] - 2026-02-03" in (root / "CHANGELOG.md").read_text()


def unchanged(root, arguments, reason, capsys):
    before = git(root, "rev-parse", "HEAD"), (root / "CHANGELOG.md").read_text()
    assert release.main(root, arguments) == 1
    assert reason in capsys.readouterr().err
    assert (git(root, "rev-parse", "HEAD"), (root / "CHANGELOG.md").read_text()) == before
    assert git(root, "tag", "--list") == ""


@pytest.mark.parametrize("version", ["0.1.9", "0.2.0", "0.2.0rc1"])
def test_not_newer(tree, capsys, version):
    unchanged(tree(CHANGELOG + OLDER, "0.2.0"), [version], "not newer", capsys)


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc1", "1.0.0rc", "one"])
def test_no_version(tree, capsys, version):
    unchanged(tree(), [version], "is no version", capsys)


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new.txt"])
def test_a_tree_that_is_not_clean(tree, capsys, name):
    root = tree()
    with open(root / name, "a") as file:
        file.write("\n")
    unchanged(root, ["0.2.0"], "not clean", capsys)


def test_a_tag_that_is_there(tree, capsys):
    root = tree()
    git(root, "tag", "v0.2.0")
    assert release.main(root, ["0.2.0"]) == 1
    assert "there is a tag v0.2.0" in capsys.readouterr().err
    assert git(root, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("changelog", "reason"),
    [
        ("# Changelog\n", "does not begin"),
        (OLDER, "does not begin"),
        (CHANGELOG.replace("- A thing.", ""), "nothing under 'Added'"),
        (CHANGELOG.replace("### Added", "### Features"), "'Features' is none of"),
        (CHANGELOG.replace("### Added", "Words.\n\n### Added"), "text before"),
        (CHANGELOG + OLDER.replace(" - 2026-01-31", ""), "no date"),
        (CHANGELOG + OLDER.replace("2026-01-31", "2026-02-31"), "no date"),
        (CHANGELOG + OLDER.replace("0.2.0", "0.3.0"), "is at 0.3.0"),
        (CHANGELOG + OLDER + OLDER, "twice"),
        (CHANGELOG + OLDER + OLDER.replace("0.2.0", "0.10.0"), "stands above"),
        (CHANGELOG + "## 0.1.0\n", "begins with '## '"),
    ],
)
def test_a_changelog_that_is_not_right(tree, capsys, changelog, reason):
    unchanged(tree(changelog, "0.2.0"), ["--check"], reason, capsys)


def test_order_of_versions():
    versions = ["0.1.0a1", "0.1.0b1", "0.1.0rc1", "0.1.0rc2", "0.1.0", "0.1.1", "0.10.0", "1.0.0"]
    assert sorted(versions, key=release.ordered) == versions


def test_ours_is_right():
    assert release.main(ROOT, ["--check"]) == 0
