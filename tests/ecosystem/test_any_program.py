"""What serves any program, and the page itself."""

import pytest
from support import documents

TELL = """
import asyncio, moodloop
async def main():
    print(type(asyncio.get_running_loop()).__module__)
"""


def test_any_command(line, write, start):
    write("app.py", TELL, "asyncio.run(main())")
    assert start(line("Any program", "sh")).end(None) == "moodloop.loop\n"


@pytest.mark.parametrize("title", ["loop_factory", "run"])
def test_any_program(line, script, title):
    assert script(TELL, line("Any program", title)).end(None) == "moodloop.loop\n"


def test_any_program_installs(line, script):
    """In spawned processes too, as the page says."""
    program = script(
        "import multiprocessing, os",
        TELL,
        line("Any program", "install"),
        "def work():",
        "    asyncio.run(main())",
        "if __name__ == '__main__':",
        "    asyncio.run(main())",
        "    with asyncio.Runner() as runner:",
        "        runner.run(main())",
        "    for method in multiprocessing.get_all_start_methods():",
        "        child = multiprocessing.get_context(method).Process(target=work)",
        "        child.start()",
        "        child.join()",
        "        assert child.exitcode == 0",
    )
    # Two of its own, and one of each start method's process.
    assert program.end(None) == "moodloop.loop\n" * 5


def test_every_block_of_the_page_is_run():
    """Each block is asked for by its heading and its title in some test."""
    tests = "".join(
        path.read_text() for path in sorted(documents.DOCS.parent.glob("tests/ecosystem/test_*.py"))
    )
    missing = [
        (block.heading, block.title)
        for block in documents.blocks("frameworks.md")
        if f'"{block.heading}"' not in tests or f'"{block.title}"' not in tests
    ]
    assert missing == []
