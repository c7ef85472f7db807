"""Stat: what lstat() says about a path has changed. The file need not be there."""

# Output: there is a file of 5 bytes
# Output: 5 bytes became 11
# Output: it is gone

import tempfile
from pathlib import Path

from moodloop import event


def changed(watcher, revents):
    file, now, before = Path(watcher.path), watcher.current, watcher.previous
    if now.nlink == 0:  # no such file
        print("it is gone")
        watcher.stop()
    elif before.nlink == 0:
        print("there is a file of", now.size, "bytes")
        file.write_text("hello again")
    elif now.size != before.size:
        print(before.size, "bytes became", now.size)
        file.unlink()


with tempfile.TemporaryDirectory() as directory, event.Loop() as loop:
    path = Path(directory) / "settings"
    # The interval matters only where the system does not tell of changes by itself.
    loop.stat(path, 0.2, changed).start()
    loop.timer(0.01, 0.0, lambda w, revents: path.with_name("new").write_text("hello")).start()
    loop.timer(0.02, 0.0, lambda w, revents: path.with_name("new").rename(path)).start()
    loop.start()
