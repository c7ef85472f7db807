"""asyncio as a guest: the program runs libev's loop, and coroutines run inside of that."""

# Output: watcher: tick 1
# Output: asyncio: answer to 'hello'
# Output: watcher: tick 3
# Output: all is done

import asyncio

import moodloop
from moodloop import event


def tick(watcher, revents):
    watcher.data += 1
    print("watcher: tick", watcher.data)
    if watcher.data == 1:
        # From a callback of the program into asyncio: the loop is the thread's running loop.
        task = asyncio.get_running_loop().create_task(ask("hello"))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    elif watcher.data == 3:
        watcher.stop()


async def answer(reader, writer):
    line = await reader.readline()
    writer.write(b"answer to %r\n" % line.decode().rstrip())
    writer.close()


async def ask(text):
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(text.encode() + b"\n")
        print("asyncio:", (await reader.readline()).decode().rstrip())
        writer.close()
        await writer.wait_closed()
    ev.timer(0.1, 0.1, tick, data=1).start()


tasks = set()
with event.Loop() as ev:
    ev.timer(0.0, 0.0, tick, data=0).start()
    loop = moodloop.EventLoop(ev=ev)
    with loop.attached():
        ev.start()  # until no watcher is active and no task is left
    loop.close()
print("all is done")
