"""A pytest plugin: each test several times, and the interpreter's references must not grow.

For a debug interpreter (sys.gettotalrefcount): `make refleaks`. As `python -m test -R` it takes a
few rounds to warm up, and a growth in each of the following rounds for a leak. Tests that work in a
process of their own count nothing here, and are left out.
"""

import gc
import pathlib
import sys
import tempfile

import pytest
from _pytest.runner import runtestprotocol

WARM, ROUNDS = 3, 4
ELSEWHERE = {"isolated", "snippet"}


def pytest_configure(config):
    if not hasattr(sys, "gettotalrefcount"):
        raise pytest.UsageError("references are counted by a debug interpreter only")


def pytest_collection_modifyitems(config, items):
    def counts(item):
        generated = item.name == "runTest"  # by hypothesis, which remembers what it tried
        return not generated and not ELSEWHERE & set(getattr(item, "fixturenames", ()))

    config.hook.pytest_deselected(items=[item for item in items if not counts(item)])
    items[:] = [item for item in items if counts(item)]


@pytest.fixture
def tmp_path():
    """pytest's own remembers each directory."""
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


def total():
    for _ in range(3):
        gc.collect()
    return sys.gettotalrefcount()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    before, growth = 0, [0] * (WARM + ROUNDS)
    for i in range(WARM + ROUNDS):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        item._report_sections.clear()
        if not all(report.passed for report in reports):
            break  # failed or skipped: said once
        now = total()
        growth[i], before = now - before, now
    else:
        if min(growth[WARM:]) > 0:
            reports[1].outcome = "failed"
            reports[1].longrepr = f"references that each round added: {growth[WARM:]}"
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
