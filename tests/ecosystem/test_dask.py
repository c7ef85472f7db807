"""Dask: scheduler, workers and client on moodloop, in processes of their own."""


def test_dask_processes(line, write, start, tmp_path):
    """A scheduler and two workers, each a process on moodloop, and a client on it too."""
    file = f"{tmp_path}/scheduler.json"
    no_dashboard = ["--no-dashboard", "--host", "127.0.0.1"]
    start_scheduler, start_worker = line("Dask", "scheduler"), line("Dask", "worker")
    scheduler = start(start_scheduler, "--port", "0", "--scheduler-file", file, *no_dashboard)
    scheduler.says("Scheduler at:")
    workers = [
        start(start_worker, "--nthreads", "1", "--scheduler-file", file, *no_dashboard)
        for _ in range(2)
    ]
    write("program.py", f"import dask_client\ndask_client.main({file!r})")
    assert start("python -m moodloop run program.py").end(None) == "done\n"
    for program in (*workers, scheduler):
        program.end(known=r"raise ValueError\(number\)")  # the task that is to fail


def test_dask_cluster(line, start, write):
    write("cluster.py", line("Dask", "cluster.py"))
    assert start("python cluster.py").end(None) == "6\n"
