"""uvloop's own tests of TLS, run on moodloop with each engine: TCP with TLS, and start_tls().

They are in its source distribution, which is downloaded for this and kept nowhere. `uvloop` itself
is installed beside it, as its tests need its base classes; the environment stays without.
"""

import os
import re
import subprocess
import sys
import tarfile

import pytest
from support import programs

pytestmark = [pytest.mark.tls, pytest.mark.moodloop_only]

VERSION = "0.23.0"

LEFT_OUT = {
    "test_flush_before_shutdown": "calls pause_writing() of uvloop's SSLProtocol",
    "test_shutdown_timeout_handler_not_set": (
        "wants eof_received() while reading is paused, and the data that came before it dropped: "
        "here as in asyncio, the end is told behind the data"
    ),
}
OF_THE_ENGINE_IN_PYTHON = {
    "test_shutdown_while_pause_reading": "the socket is closed with data unread: a reset",
}

RUNNER = """
import sys, unittest
import moodloop
from uvloop import _testbase as tb
from tests import test_tcp

class TLS(test_tcp._TestSSL, tb.UVTestCase):
    def new_loop(self):
        return moodloop.new_event_loop()

found = unittest.defaultTestLoader.getTestCaseNames(TLS)
names = [name for name in found if name not in sys.argv[1:]]
suite = unittest.TestSuite(TLS(name) for name in names)
result = unittest.TextTestRunner(verbosity=2).run(suite)
failed = [str(test) for test, _ in result.failures + result.errors]
print("uvloop's tests:", len(names), "failed:", failed)
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"pip cannot have it: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The directory with its tests, and another with what these import."""
    path = tmp_path_factory.mktemp("uvloop")
    packages = path / "packages"
    wheels = ["--only-binary", ":all:", "--no-deps", "--target", str(packages)]
    pip("install", *wheels, f"uvloop=={VERSION}", "pyopenssl")
    pip("download", "--no-deps", "--no-binary", "uvloop", "-d", str(path), f"uvloop=={VERSION}")
    (archive,) = path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(path, filter="data")
    return path / f"uvloop-{VERSION}", packages


def test_its_tests_of_tls(source, engine, tmp_path):
    root, packages = source
    left_out = {**LEFT_OUT, **(OF_THE_ENGINE_IN_PYTHON if engine == "python" else {})}
    (tmp_path / "run.py").write_text(RUNNER)
    # Its package would be found in the source's directory, where it is not built.
    (root / "uvloop").rename(root / "uvloop-source") if (root / "uvloop").exists() else None
    paths = [str(packages), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(tmp_path / "run.py"), *left_out],
        cwd=root,
        env=programs.environment(PYTHONPATH=os.pathsep.join(paths)),
        capture_output=True,
        text=True,
        timeout=600,
    )
    found = re.search(r"uvloop's tests: (\d+) failed: \[\]", done.stdout)
    assert found and int(found[1]) >= 25, done.stdout + done.stderr[-6000:]
