"""How the tests are run: several at a time, some alone, and what is said meanwhile."""

import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from support import parallel, progress

PLUGINS = "support.parallel", "support.progress", "no:cacheprovider", "no:hypothesispytest"
TESTS = Path(__file__).resolve().parent

needs_xdist = pytest.mark.skipif(
    importlib.util.find_spec("xdist") is None, reason="needs pytest-xdist"
)


@pytest.fixture
def suite(tmp_path):
    """Run a suite of one file under the plugins of these tests; the process that has ended."""

    def suite(code, *args):
        (tmp_path / "pytest.ini").write_text("[pytest]\nconsole_output_style = classic\n")
        (tmp_path / "test_it.py").write_text(code)
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        paths = filter(None, [str(TESTS), env.get("PYTHONPATH")])
        return subprocess.run(
            [sys.executable, "-m", "pytest", *(f"-p{name}" for name in PLUGINS), *args],
            cwd=tmp_path,
            env={**env, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return suite


@needs_xdist
def test_a_crash_of_a_worker_is_the_failure_of_its_test(suite):
    code = """
import os, pytest
@pytest.mark.parametrize("n", range(20))
def test_that(n):
    if n == 7:
        os.abort()
"""
    done = suite(code, "-n2", "--dist=worksteal")
    assert done.returncode == 1
    assert "1 failed, 19 passed" in done.stdout
    assert "FAILED test_it.py::test_that[7]" in done.stdout
    assert re.search(r"crashed while running 'test_it.py::test_that\[7\]'", done.stdout)


@needs_xdist
def test_who_is_to_be_alone_is(suite, tmp_path):
    """Each test leaves a file while it runs: one that is alone finds no other's."""
    code = """
import os, pathlib, pytest, time
HERE = pathlib.Path(__file__).parent / "running"
@pytest.fixture(autouse=True)
def running(request):
    mine = HERE / str(os.getpid())
    mine.touch()
    yield
    mine.unlink()
@pytest.mark.parametrize("n", range(60))
def test_beside_others(n):
    time.sleep(0.005)
@pytest.mark.alone
@pytest.mark.parametrize("n", range(10))
def test_alone(n):
    for _ in range(5):
        assert os.listdir(HERE) == [str(os.getpid())]
        time.sleep(0.002)
"""
    (tmp_path / "running").mkdir()
    done = suite(code, "-n3", "--dist=worksteal")
    assert done.returncode == 0, done.stdout
    assert "70 passed" in done.stdout


@pytest.mark.parametrize("jobs", [[], pytest.param(["-n2"], marks=needs_xdist)], ids=["one", "two"])
def test_failures_are_told_at_once_and_no_dots(suite, jobs):
    code = """
def test_a(): pass
def test_b(): assert 0, "on purpose"
def test_c(): pass
"""
    done = suite(code, *jobs)
    assert done.returncode == 1
    before = done.stdout.partition("= FAILURES =")[0]
    assert "FAILED test_it.py::test_b" in before
    assert not re.search(r"[.F]{2}|test_it.py [.F]", before)
    assert "1 failed, 2 passed" in done.stdout


@needs_xdist
def test_a_file_that_is_not_there(suite):
    done = suite("def test(): pass", "-n2", "--dist=worksteal", "nowhere.py")
    assert done.returncode == 4
    assert "file or directory not found: nowhere.py" in done.stderr


@needs_xdist
def test_there_are_two_workers_at_least(suite):
    assert "2/2 workers" in suite("def test(): pass", "-nauto").stdout or parallel.cores() > 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "5 s"), (42, "40 s"), (150, "2.5 min"), (1234, "21 min")]
)
def test_spoken(seconds, text):
    assert progress.spoken(seconds) == text


def test_estimate_goes_by_what_tests_took():
    estimate = progress.Estimate({"a": 1.0, "b": 3.0})
    estimate.begin(["a", "b", "c"])  # nobody knows c: 2 seconds
    assert estimate.left(10) is None
    estimate.finished("a")
    assert estimate.left(1) is None  # too early
    assert estimate.left(4) == 4 * 5
    estimate.finished("b")
    estimate.finished("c")
    assert estimate.left(20) == 0


def test_estimate_goes_by_the_last_minutes():
    estimate = progress.Estimate({})
    estimate.begin(range(1000))
    for second in range(100):  # one in each second, then one in ten
        estimate.finished(second)
        estimate.left(second + 1)
    assert estimate.left(100) == 900
    for tens in range(1, 40):
        estimate.finished(100 + tens)
        left = estimate.left(100 + 10 * tens)
    assert left == pytest.approx(10 * (1000 - 139))


@pytest.mark.parametrize("terminal", [True, False])
def test_lines(terminal):
    """What is said of ten tests of a second each, one of which fails."""
    now, said = [0.0], []
    reporter = types.SimpleNamespace(
        isatty=terminal,
        rewrite=lambda line, erase: said.append(line),
        write_line=lambda line, **_: said.append(line),
        write=lambda text: None,
        flush=lambda: None,
    )
    config = types.SimpleNamespace(cache=None)
    shown = progress.Progress(config, reporter, clock=lambda: now[0])
    names = [f"t{n}" for n in range(10)]
    shown.begin(names)
    for name in names:
        now[0] += 10
        shown.pytest_runtest_logreport(
            types.SimpleNamespace(nodeid=name, failed=name == "t4", when="call", duration=10)
        )
        shown.pytest_runtest_logfinish(name)
    assert "FAILED t4" in said
    assert "6 of 10 tests, 60 %, 1 failed, about 40 s left" in said
    assert ("1 of 10 tests, 10 %, about 1.5 min left" in said) == terminal
