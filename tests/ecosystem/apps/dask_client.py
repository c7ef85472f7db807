"""A Dask client: tasks with dependencies, data moved between workers, errors, cancels."""

import time

from distributed import Client, as_completed, get_worker, wait


def where(*_):
    return type(get_worker().loop.asyncio_loop).__module__, get_worker().address


def scheduler_loop(dask_scheduler):
    return type(dask_scheduler.loop.asyncio_loop).__module__


def fail(number):
    raise ValueError(number)


def main(scheduler_file):
    with Client(scheduler_file=scheduler_file, timeout=30) as client:
        client.wait_for_workers(2, timeout=30)
        assert client.run_on_scheduler(scheduler_loop) == "moodloop.loop"
        assert type(client.loop.asyncio_loop).__module__ == "moodloop.loop"
        first, second = client.scheduler_info()["workers"]
        found = client.gather(
            [client.submit(where, workers=[w], pure=False) for w in (first, second)]
        )
        assert found == [("moodloop.loop", first), ("moodloop.loop", second)]

        squares = client.map(lambda n: n * n, range(500))
        assert client.submit(sum, squares).result() == sum(n * n for n in range(500))
        # Made by one worker, used by the other.
        data = client.submit(bytes, 3_000_000, workers=[first])
        assert client.submit(len, data, workers=[second]).result() == 3_000_000
        (big,) = client.scatter([b"x" * 2_000_000], broadcast=True)
        assert client.gather(client.map(len, [big] * 4, pure=False)) == [2_000_000] * 4

        try:
            client.submit(fail, 7).result()
        except ValueError as exc:
            assert exc.args == (7,)
        else:
            raise AssertionError("the task did not fail")
        slow = client.submit(time.sleep, 0.5)
        client.cancel(slow)
        assert slow.cancelled()
        futures = client.map(lambda n: n + 1, range(50), pure=False)
        assert sorted(f.result() for f in as_completed(futures)) == list(range(1, 51))
        wait(futures)
    print("done")
