"""The driver of `make conformance`: what it makes of tests that pass, fail, hang and crash."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conformance import catalogue, driver, exclusions, report

TESTS = Path(__file__).resolve().parent
# The driver gives its loop to CPython's tests by way of their own helpers.
pytest.importorskip("test.test_asyncio.utils", reason="this Python came without its tests")

SOURCE = """
import asyncio, os, signal, threading, time, unittest

class Outcomes(unittest.TestCase):
    def test_a_passes(self):
        with asyncio.Runner() as runner:
            runner.run(asyncio.sleep(0))

    def test_b_fails(self):
        print("what it wrote")
        self.assertEqual(1, 2)

    def test_c_raises(self):
        raise ZeroDivisionError

    def test_d_skips(self):
        self.skipTest("no time")

    def test_e_subtests(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)

    @unittest.expectedFailure
    def test_f_expected(self):
        raise ValueError

    @unittest.expectedFailure
    def test_g_unexpected(self):
        pass

class Bad(unittest.TestCase):
    def test_a_crashes(self):
        os.kill(os.getpid(), signal.SIGKILL)  # a sanitizer would report a SIGSEGV

    def test_b_exits(self):
        os._exit(3)

    def test_c_hangs(self):
        threading.Event().wait()

    def test_d_ignores_everything(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        time.sleep(1000)

    def test_e_leaves_a_child(self):
        if os.fork() == 0:
            time.sleep(1000)

    def test_f_passes(self):
        pass

class BadFixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise ValueError("no fixture")

    def test_a(self):
        pass

    def test_b(self):
        pass

class SkippedClass(BadFixture):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("not today")

class BadExit(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        os.abort()

    def test_a(self):
        pass

class Loops(unittest.TestCase):
    def test_all_ways(self):
        for make in (asyncio.new_event_loop, asyncio.SelectorEventLoop):
            loop = make()
            self.assertEqual(type(loop).__name__, "EventLoop")
            self.assertEqual(type(loop).__module__, "moodloop.loop")
            loop.close()
        self.assertIsInstance(loop, asyncio.SelectorEventLoop)
        async def main():
            return type(asyncio.get_running_loop()).__module__
        self.assertEqual(asyncio.run(main()), "moodloop.loop")
"""


@pytest.fixture
def run_case(tmp_path, monkeypatch):
    """Run one class of SOURCE: {test: record}."""
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "__init__.py").touch()
    (tmp_path / "sample" / "tests.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(driver, "ABORT_SECONDS", 1)
    found = {case.name: case for case in catalogue.cases_of("sample.tests", "extra")}
    yield lambda name, loop="asyncio": driver.run_case(loop, "stock", found[name], 3, str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
        del sys.modules[name]


def outcomes(results):
    return {test.removeprefix("test_"): record["outcome"] for test, record in results.items()}


def test_outcomes(run_case):
    results = run_case("Outcomes")
    assert outcomes(results) == {
        "a_passes": "passed",
        "b_fails": "failed",
        "c_raises": "failed",
        "d_skips": "skipped",
        "e_subtests": "failed",
        "f_expected": "passed",
        "g_unexpected": "failed",
    }
    assert results["test_a_passes"]["loops"] == 1
    assert results["test_d_skips"]["message"] == "no time"
    assert "ZeroDivisionError" in results["test_c_raises"]["message"]
    assert "what it wrote" in results["test_b_fails"]["log"]


def test_hangs_and_crashes_cost_one_test_each(run_case):
    results = run_case("Bad")
    assert outcomes(results) == {
        "a_crashes": "crashed",
        "b_exits": "crashed",
        "c_hangs": "hung",
        "d_ignores_everything": "hung",
        "e_leaves_a_child": "passed",
        "f_passes": "passed",
    }
    assert results["test_a_crashes"]["message"] == "killed by SIGKILL"
    assert results["test_b_exits"]["message"] == "exited with 3"
    assert "test_c_hangs" in results["test_c_hangs"]["log"], "no traceback of the hang"


def test_fixtures(run_case):
    assert outcomes(run_case("BadFixture")) == {"a": "failed", "b": "failed"}
    assert outcomes(run_case("SkippedClass")) == {"a": "skipped", "b": "skipped"}


def test_crash_after_the_last_test(run_case):
    assert outcomes(run_case("BadExit")) == {"a": "crashed"}


def test_loop_under_test_is_given(run_case):
    assert outcomes(run_case("Loops", "moodloop")) == {"all_ways": "passed"}


def test_exclusions(monkeypatch):
    case = catalogue.Case("io", "test_x", "T", ("test_a", "test_b", "test_c"))
    exclusion = exclusions.Exclusion("why", ("test_x.T.test_a", "test_x.T.test_b"))
    monkeypatch.setattr(exclusions, "_BY_TEST", dict.fromkeys(exclusion.tests, exclusion))

    def judged(loop):
        results = {
            "test_a": {"outcome": "failed"},
            "test_b": {"outcome": "passed"},
            "test_c": {"outcome": "failed"},
        }
        driver.judge(loop, "native", case, results)
        return list(outcomes(results).values())

    assert judged("moodloop") == ["excluded", "passes", "failed"]
    assert judged("uvloop") == ["excluded", "excluded", "failed"]


def test_exclusions_are_named_once():
    tests = [test for exclusion in exclusions.EXCLUSIONS for test in exclusion.tests]
    assert len(tests) == len(set(tests))
    assert not [test for test in tests if catalogue.out_of_scope(test.rpartition(".")[0])]


def make_report(loop, python, **tests):
    records = {test: {"outcome": outcome} for test, outcome in tests.items()}
    return {
        "loop": loop,
        "version": "1.0",
        "python": python,
        "seconds": 1.0,
        "tiers": {"io": {"test_x.T": records}},
    }


def test_tables(tmp_path):
    reports = [
        make_report("moodloop", "3.14.1", a="passed", b="excluded", c="passed"),
        make_report("uvloop", "3.14.1", a="passed", b="excluded", c="hung"),
        make_report("moodloop", "3.9.1", a="passed", b="skipped"),
    ]
    assert report.markdown_table(reports).splitlines() == [
        "| CPython | tests | excluded | skipped | moodloop | uvloop |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| 3.9.1 | 2 | 0 | 1 | **1, all** | - |",
        "| 3.14.1 | 3 | 1 | 0 | **2, all** | 1 (1 hung) |",
    ]
    assert "hung" in report.text_table(reports[1])
    document = tmp_path / "document.md"
    document.write_text("before\n<!-- conformance-table -->\n<!-- /conformance-table -->\nafter\n")
    report.write_between_markers(document, "new")
    assert document.read_text() == (
        "before\n<!-- conformance-table -->\nnew\n<!-- /conformance-table -->\nafter\n"
    )
    document.write_text("no markers")
    with pytest.raises(ValueError, match="conformance-table"):
        report.write_between_markers(document, "new")


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *args],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_command(tmp_path):
    out = tmp_path / "result.json"
    done = command("run", "--tiers", "asyncio", "--json", str(out), "test_queues.*Lifo.*order")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "moodloop" in done.stdout
    result = json.loads(out.read_text())
    assert report.counts(result)["passed"] == 1
    assert not report.failures(result)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "--tiers", "soup"], "no tier soup"),
        (["run", "--loop", "nothing:at_all"], "no loop 'nothing:at_all'"),
        (["run", "--tiers", "extra", "no_such_test"], "no test matches"),
    ],
)
def test_mistakes(args, message):
    done = command(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
