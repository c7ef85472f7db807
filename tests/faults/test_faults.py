"""System calls that fail, one after the other, and what becomes of the programs that make them.

Each scenario runs once for each fault of each of its calls: see plan.py. MOODLOOP_TEST_FAULTS is
how many of a call's indices are tried (default 4; with AddressSanitizer 1), or `all`.
"""

import functools
import os

import pytest
from support import engines

from . import plan, shim, sweep
from .scenarios import SCENARIOS

# A fork of a process with AddressSanitizer takes ten times as long.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
LIMIT = os.environ.get("MOODLOOP_TEST_FAULTS", "1" if SANITIZED else "4")
LIMIT = None if LIMIT == "all" else int(LIMIT)
STORMS = 500 if LIMIT is None else 5 * LIMIT

pytestmark = [
    pytest.mark.moodloop_only,
    pytest.mark.skipif(shim.compiler() is None, reason="no C compiler for the shim"),
]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return shim.build(tmp_path_factory.mktemp("shim"))


def runs():
    """Scenarios, that of TLS once for each engine of moodloop's."""
    for scenario in SCENARIOS:
        for engine in [engines.PYTHON, engines.NATIVE] if scenario == "tls" else [None]:
            reason = engines.why_not(engine)
            marks = [pytest.mark.skip(reason=reason)] if reason else []
            name = f"{scenario}-{engine}" if engine else scenario
            yield pytest.param(scenario, engine, marks=marks, id=name)


each_run = pytest.mark.parametrize(("scenario", "engine"), list(runs()))


def check(library, jobs, engine=None):
    """Run jobs; every problem, with the job that shows it again."""
    results = sweep.run_jobs(library, jobs, engine)
    assert len(results) == len(jobs)
    found = [
        f"{sweep.name_of(job)}: {problem}"
        for job, result in zip(jobs, results, strict=True)
        for problem in result["problems"]
    ]
    assert not found, "\n".join([f"{len(found)} problems", *found[:20]])
    return results


@pytest.fixture(scope="session")
def counts(library):
    """A function: how often a scenario makes each call if nothing fails."""

    @functools.cache
    def of(scenario, engine=None):
        (result,) = check(library, [{"scenario": scenario}], engine)
        return result["counts"]

    return of


@each_run
def test_faults(library, counts, scenario, engine):
    jobs = [
        job
        for call, count in counts(scenario, engine).items()
        for job in sweep.jobs_of(scenario, call, count, LIMIT)
    ]
    results = check(library, jobs, engine)
    # Calls differ a little from run to run, but a shim that does nothing would be found out.
    assert sum(result["struck"] > 0 for result in results) > 0.8 * len(results)


@each_run
def test_storms(library, scenario, engine):
    """EINTR, EAGAIN, short reads and writes anywhere, by chance: nothing may show."""
    rates = (20, 100, 400)
    jobs = [
        {"scenario": scenario, "storm": [seed, rates[seed % len(rates)]]} for seed in range(STORMS)
    ]
    assert any(result["struck"] for result in check(library, jobs, engine))


@pytest.mark.parametrize("scenario", ["process", "wakeups"])
def test_wakeup_is_watched_again(library, counts, scenario):
    """libev makes its set anew when it cannot change a registration; then it loses its wake-up."""
    (lasting,) = (f for f in plan.FAULTS if f.call == "epoll_ctl" and f.times > 1)
    jobs = [
        {"scenario": scenario, "fault": lasting, "index": index}
        for index in range(counts(scenario)["epoll_ctl"])
    ]
    check(library, jobs)


def test_every_call_is_made(counts):
    """What the loop and the transports are made of is met by some scenario."""
    made = set().union(*map(counts, SCENARIOS))
    needed = {"accept4", "close", "connect", "epoll_create1", "epoll_ctl", "epoll_wait", "eventfd"}
    needed |= {"getsockopt", "read", "read_event", "recv", "send", "sendmsg", "shutdown", "socket"}
    assert needed <= made, f"not called: {needed - made}"
