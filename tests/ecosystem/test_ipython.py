"""IPython in a terminal."""

import functools
import io
import itertools
import re
import signal

import pexpect
import pytest
from support import programs


@pytest.fixture(params=["--simple-prompt", "--no-confirm-exit"], ids=["simple", "full"])
def ipython(request, line, tmp_path):
    """IPython in a terminal, with the page's line in its profile; the full prompt uses the loop."""
    title = "~/.ipython/profile_default/ipython_config.py"
    config = tmp_path / title.removeprefix("~/")
    config.parent.mkdir(parents=True)
    config.write_text(line("IPython", title))
    shell = pexpect.spawn(
        "ipython",
        ["--no-banner", "--colors=NoColor", "--no-confirm-exit", request.param],
        cwd=tmp_path,
        env=programs.environment(HOME=str(tmp_path), TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1"),
        encoding="utf-8",
        timeout=programs.READY_SECONDS,
        # what a shell runs in the background ignores it, and so would IPython
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    shell.logfile_read = io.StringIO()
    yield shell
    shell.close(force=True)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # pytest's own watchdog
def test_ipython(ipython):
    cells = itertools.count(1)

    def cell(code, answer=""):
        ipython.expect(rf"In \[{next(cells)}\]:")
        ipython.send(code + "\r")
        ipython.expect(answer)

    cell("import asyncio; await asyncio.sleep(0.01)")
    cell("async def name(): return type(asyncio.get_running_loop()).__module__")
    cell("await name()", "'moodloop.loop'")
    # The loop stays from cell to cell, and so do its tasks.
    cell("task = asyncio.create_task(asyncio.sleep(0.01, 'sl' + 'ept')); await asyncio.sleep(0)")
    cell("await task", "'slept'")
    cell("p = await asyncio.create_subprocess_exec('expr', '40', '+', '2', stdout=-1)")
    cell("await p.communicate()", r"\(b'42\\n', None\)")
    cell("print('wai' + 'ting'); await asyncio.sleep(60)", "waiting")
    ipython.sendintr()
    ipython.expect("KeyboardInterrupt")
    cell("await name()", "'moodloop.loop'")
    ipython.expect(rf"In \[{next(cells)}\]:")
    ipython.sendeof()
    ipython.expect(pexpect.EOF)
    ipython.wait()
    said = ipython.logfile_read.getvalue()
    assert ipython.exitstatus == 0, said
    assert not re.search("ResourceWarning|was destroyed|never awaited", said), said
