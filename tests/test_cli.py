"""`python -m moodloop` and `moodloop`: what a program sees, beside what `python` shows it."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import moodloop

SHOW = """\
import json, os, pickle, sys

class Thing:
    pass

assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
print(json.dumps({
    "argv": sys.argv,
    "path0": sys.path[0],
    "name": __name__,
    "path": sys.path,
    "file": globals().get("__file__"),
    "package": __package__,
    "spec": __spec__ and __spec__.name,
    "loader": getattr(__loader__, "__name__", None) or type(__loader__).__name__,
    "builtins": type(__builtins__).__name__,
    "main": sys.modules["__main__"].__dict__ is globals(),
}))
"""

RUNS = [
    ("script.py",),
    ("-m", "module"),
    ("-m", "package"),
    ("-m", "package.sub"),
    ("folder",),
    ("-",),
]


# What pip makes of [project.scripts].
SCRIPT = """\
import sys
from moodloop.cli import script
if __name__ == "__main__":
    sys.exit(script())
"""


@pytest.fixture(params=["module", "script"])
def program(request, tmp_path, tmp_path_factory):
    """Write one program in every form that `python` runs, and compare or run them."""
    called = ["-m", "moodloop"]
    if request.param == "script":
        called = [str(tmp_path_factory.mktemp("bin") / "moodloop")]
        Path(called[0]).write_text(SCRIPT)

    class Program:
        def write(self, code):
            self.code = code = textwrap.dedent(code)
            for name in (
                "script.py",
                "module.py",
                "package/__init__.py",
                "package/__main__.py",
                "package/sub.py",
                "folder/__main__.py",
            ):
                path = tmp_path / name
                path.parent.mkdir(exist_ok=True)
                path.write_text("" if name.endswith("__init__.py") else code)
            return self

        def run(self, *args, flags=()):
            return python(*flags, *called, "run", *args, cwd=tmp_path, input=self.code)

        def python(self, *args, flags=()):
            return python(*flags, *args, cwd=tmp_path, input=self.code)

    return Program()


def python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=60, **kwargs
    )


def moodloop_cli(*args, **kwargs):
    return python("-m", "moodloop", *args, **kwargs)


def without_runpy(text):
    """A traceback without the frames that `python -m` puts on top."""
    return re.sub(r'  File "<frozen runpy>".*\n', "", text)


@pytest.mark.parametrize("flags", [(), ("-P",)], ids=["", "safe path"])
@pytest.mark.parametrize("how", RUNS, ids=" ".join)
def test_program_sees_what_python_shows_it(program, how, flags):
    program.write(SHOW)
    args = [*how, "one", "-m", "--help", "--version", "--", "-x=1"]
    done, reference = program.run(*args, flags=flags), program.python(*args, flags=flags)
    assert done.returncode == reference.returncode
    if flags and how[0] == "-m":  # where the modules are not in the path
        assert done.stderr.split(": ", 1)[1] == reference.stderr.split(": ", 1)[1]
    else:
        assert (done.stdout, done.stderr) == (reference.stdout, "")


@pytest.mark.parametrize("how", RUNS, ids=" ".join)
def test_asyncio_makes_our_loop(program, how):
    program.write("""\
        import asyncio

        async def main():
            print(type(asyncio.get_running_loop()).__mro__)

        asyncio.run(main())
        """)
    done = program.run(*how)
    assert done.returncode == 0, done.stderr
    assert "moodloop" in done.stdout


@pytest.mark.parametrize("how", RUNS, ids=" ".join)
def test_traceback_is_pythons(program, how):
    program.write("""\
        def fail():
            raise ValueError("boom")

        fail()
        """)
    done, reference = program.run(*how), program.python(*how)
    assert done.returncode == reference.returncode == 1
    assert done.stderr == without_runpy(reference.stderr)


@pytest.mark.parametrize("how", RUNS, ids=" ".join)
def test_syntax_error_is_pythons(program, how):
    program.write("x = (\n")
    done, reference = program.run(*how), program.python(*how)
    assert done.returncode == reference.returncode == 1
    assert reference.stderr.endswith(done.stderr)  # with frames of importlib before, for a module
    assert done.stderr.startswith('  File "')


@pytest.mark.parametrize(
    "end", ["sys.exit(7)", "sys.exit('a message')", "sys.exit()", "raise KeyboardInterrupt"]
)
def test_exit_status_is_pythons(program, end):
    program.write(f"import sys\n{end}\n")
    done, reference = program.run("script.py"), program.python("script.py")
    assert (done.returncode, done.stderr) == (reference.returncode, reference.stderr)


def test_ctrl_c_ends_the_process_by_the_signal(tmp_path):
    script = tmp_path / "sleeper.py"
    script.write_text(
        "import asyncio\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "moodloop", "run", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert err.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    "how",
    [("missing.py",), ("-m", "missing"), ("-m", "missing.sub"), ("-m", "package"), ("package",)],
    ids=" ".join,
)
def test_program_that_is_not_there(tmp_path, how):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    done = moodloop_cli("run", *how, cwd=tmp_path)
    reference = python(*how, cwd=tmp_path)
    assert done.returncode == reference.returncode != 0
    assert done.stderr.startswith("python -m moodloop run: ")
    assert "Traceback" not in done.stderr
    if how != ("package",):
        assert done.stderr.split(": ", 1)[1] == reference.stderr.split(": ", 1)[1]


def test_terminal_is_talked_with(tmp_path):
    """`run -` on a terminal reads line by line, as `python -` does."""
    ours, theirs = os.openpty()
    with (
        open(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "moodloop", "run", "-"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            text=True,
        ) as child,
    ):
        os.close(theirs)
        terminal.write(b"import asyncio\nprint(asyncio.new_event_loop)\n")
        while "built-in" not in (line := child.stdout.readline()) and "function" not in line:
            assert line
        terminal.write(b"1/0\nraise SystemExit(7)\n")
        out, _ = child.communicate(timeout=30)
    assert "ZeroDivisionError" in out and "moodloop" not in out
    assert child.returncode == 7


def test_zip_file(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", "import sys, helper; print(helper.value, sys.argv)\n")
        archive.writestr("helper.py", "value = 5\n")
    done = moodloop_cli("run", "program.zip", "x", cwd=tmp_path)
    assert done.stdout == "5 ['program.zip', 'x']\n", done.stderr


def test_info():
    done = moodloop_cli("info")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["moodloop"] == moodloop.__version__
    assert rows["Python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    origin = r", compiled in|, the system's \(compiled against 4\.\d+\)"
    assert re.fullmatch(rf"4\.\d+({origin})", rows["libev"])
    assert ("compiled in" in rows["libev"]) == ("libev compiled in" in rows["compile flags"])
    assert "select" in rows["backends supported"].split()
    assert set(rows["backends recommended"].split()) <= set(rows["backends supported"].split())
    assert rows["watcher priorities"] == "-2 to 2"
    assert rows["open descriptors"].split()[0].isdigit()
    assert "-std=c11" in rows["compile flags"]
    assert os.path.exists(rows["core"])


def test_script_goes_by_its_name(tmp_path):
    (tmp_path / "moodloop").write_text(SCRIPT)
    for args, status in [
        (["--help"], 0),
        (["bench", "--help"], 0),
        (["run"], 2),
        (["info", "x"], 2),
    ]:
        done = python(str(tmp_path / "moodloop"), *args)
        assert done.returncode == status
        assert (done.stdout + done.stderr).startswith("usage: moodloop ")
        assert "python -m" not in done.stdout + done.stderr
    done = python(str(tmp_path / "moodloop"), "run", "missing.py", cwd=tmp_path)
    assert done.stderr.startswith("moodloop run: can't open file")


def test_version():
    assert moodloop_cli("--version").stdout == f"moodloop {moodloop.__version__}\n"


def test_help_lists_every_command():
    from moodloop import cli

    done = moodloop_cli("--help")
    assert done.returncode == 0
    for name, (function, text) in cli.COMMANDS.items():
        assert name in done.stdout and text in done.stdout
        assert function.__name__ == name
        helped = moodloop_cli(name, "--help")
        assert helped.returncode == 0, helped.stderr
        assert helped.stdout.startswith("usage: "), name


@pytest.mark.parametrize("args", [(), ("nonsense",), ("run",), ("info", "--nonsense")])
def test_bad_usage_is_exit_status_2(args):
    done = moodloop_cli(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr


def test_only_the_program_is_required():
    assert moodloop_cli("run").stderr.rstrip().endswith("required: PROGRAM")


class TestWatchdog:
    PROGRAM = """
import asyncio, logging, sys, time
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
async def main():
    time.sleep(0.5)
asyncio.run(main())
"""

    def run(self, tmp_path, *args):
        program = tmp_path / "app.py"
        program.write_text(self.PROGRAM)
        return subprocess.run(
            [sys.executable, "-m", "moodloop", "run", *args, str(program)],
            capture_output=True,
            text=True,
            timeout=120,
        )

    def test_stall_is_told(self, tmp_path):
        done = self.run(tmp_path, "--watchdog", "50ms")
        assert done.returncode == 0, done.stderr
        assert "app.py:5 main" in done.stdout
        assert "nanosleep(2)" in done.stdout or "no CPU" in done.stdout

    def test_bad_threshold(self, tmp_path):
        done = self.run(tmp_path, "--watchdog", "soon")
        assert done.returncode == 2
        assert "--watchdog: not a time above 0" in done.stderr
