"""One line in place of pytest's dots: how many tests have run, what failed, and how long it takes.

The estimate goes by what each test took the last time, which pytest's cache keeps (tests not known
yet count as the average), and by how fast the last minutes were against that. On a terminal the
line is written over again; into a log it goes every quarter of a minute. `-v` and
`-p no:terminal` have pytest's own output.
"""

import collections
import time

import pytest

CACHE = "moodloop/seconds"
EVERY = {True: 0.2, False: 15.0}  # seconds between two lines: on a terminal, in a log
RECENT = 120.0  # seconds of which the pace is taken
UNTIL_GUESS = 3.0  # seconds without an estimate


def spoken(seconds):
    """A time to wait, as precise as an estimate can be."""
    if seconds < 60:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 60:.0f} min"


class Estimate:
    """How long the rest takes: by weights, which are the seconds of the last run."""

    def __init__(self, known):
        self.known = known
        self.before = collections.deque([(0.0, 0.0)])  # what was done when
        self.names, self.total, self.done = frozenset(), 0.0, 0.0
        self.unknown = sum(known.values()) / len(known) if known else 1.0

    def weight(self, name):
        return self.known.get(name, self.unknown)

    def begin(self, names):
        self.names = frozenset(names)
        self.total = sum(map(self.weight, self.names))

    def finished(self, name):
        self.done += self.weight(name)

    def left(self, elapsed):
        """Seconds, or None as long as there is nothing to go by."""
        if elapsed >= self.before[-1][0] + RECENT / 10:
            self.before.append((elapsed, self.done))
        while len(self.before) > 1 and self.before[1][0] <= elapsed - RECENT:
            self.before.popleft()
        since, done = self.before[0]
        if elapsed < UNTIL_GUESS or self.done <= done:
            return None
        return (elapsed - since) * max(0.0, self.total - self.done) / (self.done - done)


class Progress:
    def __init__(self, config, reporter, clock=time.monotonic):
        self.config, self.reporter, self.clock = config, reporter, clock
        reporter.showfspath = False
        self.cache = getattr(config, "cache", None)
        self.estimate = Estimate(self.cache.get(CACHE, {}) if self.cache else {})
        self.took, self.failed, self.finished = {}, {}, set()
        self.began = self.shown = clock()
        self.on_line = False

    def begin(self, names):
        if not self.estimate.names:
            self.estimate.begin(names)
            self.began = self.shown = self.clock()

    def pytest_collection_finish(self, session):
        self.begin([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        # pytest-xdist names the group of a test behind its own name, reports do so, too.
        self.begin(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self):
        category, _, word = yield
        return category, "", word  # no letter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        name = report.nodeid
        self.took[name] = self.took.get(name, 0.0) + getattr(report, "duration", 0.0)
        if report.failed and name not in self.failed:
            self.failed[name] = report.when
            self.clear()
            self.reporter.write_line(f"FAILED {name}", red=True)
        if report.when == "???":  # the worker that ran it is no more
            self.finish(name)

    def pytest_runtest_logfinish(self, nodeid):
        self.finish(nodeid)

    def finish(self, name):
        if name not in self.finished:
            self.finished.add(name)
            self.estimate.finished(name)
        if self.clock() - self.shown >= EVERY[bool(self.reporter.isatty)]:
            self.show()

    def text(self):
        elapsed = self.clock() - self.began
        done, total = len(self.finished), len(self.estimate.names)
        parts = [f"{done} of {total} tests, {100 * done // max(1, total)} %"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        left = self.estimate.left(elapsed)
        parts.append("no estimate yet" if left is None else f"about {spoken(left)} left")
        return ", ".join(parts)

    def show(self):
        self.shown = self.clock()
        if self.reporter.isatty:
            self.reporter.rewrite(self.text(), erase=True)
            self.reporter.flush()
            self.on_line = True
        else:
            self.reporter.write_line(self.text())
            self.reporter.flush()

    def clear(self):
        """Leave the line that is written over."""
        if self.on_line:
            self.reporter.rewrite("", erase=True)
            self.reporter.write("\r")
            self.on_line = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self):
        self.clear()
        if self.cache and self.took:
            known = {**self.estimate.known, **{n: round(s, 3) for n, s in self.took.items()}}
            self.cache.set(CACHE, known)


@pytest.hookimpl(trylast=True)  # after pytest's own, which makes the reporter
def pytest_configure(config):
    if hasattr(config, "workerinput"):
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.get_verbosity() in (0, -1):
        config.pluginmanager.register(Progress(config, reporter))
