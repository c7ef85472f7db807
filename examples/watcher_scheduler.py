"""Scheduler: times that a function computes. Attempts that get rarer, and a calendar's midnight."""

# Output: the next midnight is at 00:00:00 UTC
# Output: attempt 1
# Output: attempt 2
# Output: attempt 3

from datetime import UTC, datetime, time, timedelta

from moodloop import event


def rarer(watcher, now):
    """Each time twice as long. Called by start(), and before each callback for the next time."""
    watcher.data *= 2
    return now + watcher.data


def attempt(watcher, revents):
    global attempts
    attempts += 1
    print("attempt", attempts)
    if attempts == 3:
        watcher.stop()


def next_midnight(watcher, now):
    tomorrow = datetime.fromtimestamp(now, UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC).timestamp()


def rotate_logs(watcher, revents):
    print("a new day")


attempts = 0
with event.Loop() as loop:
    daily = loop.scheduler(next_midnight, rotate_logs)
    daily.ref = False  # it does not keep start() from returning
    daily.start()
    print(f"the next midnight is at {datetime.fromtimestamp(daily.at, UTC):%H:%M:%S} UTC")

    loop.scheduler(rarer, attempt, data=0.01).start()
    loop.start()
