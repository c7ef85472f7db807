"""Child: a child process has ended. Only the default loop can have these watchers."""

# Output: exit code 7
# Output: killed by SIGTERM

import os
import signal
import sys

from moodloop import event


def ended(watcher, revents):
    code = os.waitstatus_to_exitcode(watcher.rstatus)  # negative: the signal that ended it
    print(f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}")
    watcher.stop()  # it would stay active
    if code >= 0:
        os.kill(sleeper, signal.SIGTERM)


def spawn(code):
    """A process that nobody else waits for: the watcher reaps it. Popen would do that itself."""
    return os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", code], os.environ)


with event.default_loop() as loop:
    sleeper = spawn("import time; time.sleep(30)")
    loop.child(sleeper, False, ended).start()
    loop.child(spawn("raise SystemExit(7)"), False, ended).start()
    loop.start()
