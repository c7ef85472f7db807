"""Runs a program of callbacks, timers, futures and tasks on a loop, and writes down what happens.

A program is a list of operations: tuples, see programs.py. Time is virtual and goes on by a unit
with each turn, and no two timers are due at the same instant; so the whole trace, with the number
of the turn, is determined, and all of it is what asyncio promises.
"""

import asyncio
import contextvars
import gc
import socket
import warnings

TURNS = 24
# In seconds, so much that the real ones that go by meanwhile do not matter.
UNIT = 10_000.0
APART = 10.0  # between two timers of the same unit

variable = contextvars.ContextVar("variable", default="unset")
root = contextvars.ContextVar("root")  # the number of the task that a script belongs to


class Failure(Exception):
    """What programs raise."""


class Oddity(BaseException):
    """Neither an Exception nor one of those that leave run_forever()."""


EXCEPTIONS = {
    "Failure": Failure,
    "Oddity": Oddity,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
}


def text(exc):
    return None if exc is None else f"{type(exc).__name__}: {exc}"


class Machine:
    def __init__(self, loop_class):
        machine = self
        self.now = 1000.0
        self.turn = 0
        self.trace = []
        self.timers = self.members = 0
        self.handles, self.futures, self.tasks, self.contexts = [], [], [], []
        self.sockets = socket.socketpair()
        for sock in self.sockets:
            sock.setblocking(False)

        class Loop(loop_class):
            def time(self):
                return machine.now

        self.loop = Loop()
        self.loop.set_exception_handler(self.handler)
        self.event, self.lock, self.queue = asyncio.Event(), asyncio.Lock(), asyncio.Queue(2)

    def log(self, *what):
        self.trace.append((self.turn, *what))

    def handler(self, loop, context):
        keys = sorted(k for k in context if k not in ("source_traceback", "message", "exception"))
        message = context["message"]
        if message.startswith("Exception in callback"):
            message = message[:21]  # stock asyncio forgets the name of a cancelled callback
        self.log("handler", message, text(context.get("exception")), *keys)

    # ---- running ------------------------------------------------------------------------------

    def run(self, program):
        self.loop.call_soon(self.body(program))
        for _ in range(TURNS):
            self.loop.call_soon(self.loop.stop)
            self.enter()
            self.turn += 1
            self.now += UNIT
        self.finish()
        return self.trace

    def enter(self):
        try:
            self.loop.run_forever()
        except BaseException as exc:
            self.log("left by", text(exc))

    def finish(self):
        self.turn = "end"
        for sock in self.sockets:
            self.loop.remove_reader(sock)
            self.loop.remove_writer(sock)
        for handle in self.handles:
            handle.cancel()
        for _ in range(100):
            tasks = asyncio.all_tasks(self.loop)
            for task in sorted(tasks, key=lambda task: task.get_name()):
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.enter()
            if not tasks:
                break
        for what in (*self.tasks, *self.futures):
            if not what.done():
                self.log("pending", type(what).__name__)
            elif what.cancelled():
                self.log("cancelled")
            else:
                self.log("done", text(what.exception()))
        for sock in self.sockets:
            sock.close()
        self.loop.close()

    # ---- callbacks ----------------------------------------------------------------------------

    def body(self, ops):
        def callback(*args):
            self.log("in", len(ops), variable.get(), *map(repr, args))
            for op in ops:
                self.do(op)

        return callback

    def pick(self, things, index):
        return things[index % len(things)] if things else None

    def delay(self, units):
        self.timers += 1
        return units * UNIT + self.timers * APART

    def do(self, op):
        """One operation; what it raises is told unless it is a `raise`."""
        name, *args = op
        if name == "raise":
            raise EXCEPTIONS[args[0]]("on purpose")
        try:
            result = getattr(self, f"do_{name}")(*args)
        except Exception as exc:
            self.log(name, text(exc))
        else:
            if result is not None:
                self.log(name, result)

    def context(self, which):
        if which is None:
            return {}
        return {"context": self.pick(self.contexts, which) or contextvars.copy_context()}

    def do_soon(self, ops, context):
        self.handles.append(self.loop.call_soon(self.body(ops), **self.context(context)))

    def do_threadsafe(self, ops, context):
        handle = self.loop.call_soon_threadsafe(self.body(ops), 1, 2, **self.context(context))
        self.handles.append(handle)

    def do_later(self, units, ops, context):
        delay = self.delay(units)
        handle = self.loop.call_later(delay, self.body(ops), "x", **self.context(context))
        self.handles.append(handle)
        return round(handle.when() - self.now - delay, 9)

    def do_at(self, units, ops, context):
        when = self.now + self.delay(units)
        self.handles.append(self.loop.call_at(when, self.body(ops), **self.context(context)))

    def do_cancel_handle(self, index):
        if handle := self.pick(self.handles, index):
            was = handle.cancelled()
            handle.cancel()
            return was, handle.cancelled()

    def do_stop(self):
        self.loop.stop()

    def do_time(self):
        return self.loop.time(), self.loop.is_running(), self.loop.is_closed()

    def do_set(self, value):
        variable.set(value)

    def do_copy_context(self):
        self.contexts.append(contextvars.copy_context())

    # ---- futures and tasks --------------------------------------------------------------------

    def do_future(self):
        number = len(self.futures)
        future = self.loop.create_future()
        self.futures.append(future)
        future.add_done_callback(lambda f: self.log("future done", number, f.cancelled()))

    def do_resolve(self, index, how):
        future = self.pick(self.futures, index)
        if future is None:
            return None
        if how == "result":
            return future.set_result(index)
        if how == "exception":
            return future.set_exception(Failure("set"))
        return future.cancel("because")

    def do_done_callback(self, index, ops):
        if future := self.pick(self.futures, index):
            callback = self.body(ops)
            future.add_done_callback(lambda f: callback())

    def do_task(self, steps):
        number = len(self.tasks)
        task = self.loop.create_task(self.script(number, steps), name=f"task {number}")
        self.tasks.append(task)
        task.add_done_callback(lambda t: self.log("task done", number, t.cancelled()))

    def do_cancel_task(self, index):
        if task := self.pick(self.tasks, index):
            return task.cancel("by program")

    async def script(self, number, steps):
        if isinstance(number, int):
            root.set(number)
        self.log("task", number, "starts", variable.get(), asyncio.current_task().get_name())
        try:
            for step in steps:
                await self.step(number, step)
        except BaseException as exc:
            self.log("task", number, "raises", text(exc))
            raise
        self.log("task", number, "returns")
        return number

    async def step(self, number, step):
        name, *args = step
        result = await getattr(self, f"step_{name}")(*args)
        self.log("task", number, name, result)

    async def step_ops(self, ops):
        for op in ops:
            self.do(op)

    async def step_sleep(self, units):
        await asyncio.sleep(self.delay(units) if units else 0)

    async def step_future(self, index):
        if future := self.pick(self.futures, index):
            return await future

    async def step_shield(self, index):
        if future := self.pick(self.futures, index):
            return await asyncio.shield(future)

    async def step_join(self, index):
        if task := self.pick(self.tasks[: root.get()], index):  # never in a circle
            return await task

    async def step_wait_for(self, index, units):
        if future := self.pick(self.futures, index):
            try:
                return await asyncio.wait_for(future, self.delay(units))
            except TimeoutError:
                return "timeout"

    async def step_timeout(self, units, steps):
        try:
            async with asyncio.timeout(self.delay(units)):
                for step in steps:
                    await self.step("inner", step)
        except TimeoutError:
            return "timeout"

    async def step_gather(self, indices, return_exceptions):
        futures = [self.pick(self.futures, i) for i in indices if self.futures]
        return repr(await asyncio.gather(*futures, return_exceptions=return_exceptions))

    async def step_group(self, scripts):
        try:
            async with asyncio.TaskGroup() as group:
                for steps in scripts:
                    self.members += 1
                    name = f"member {self.members}"
                    group.create_task(self.script(name, steps), name=name)
        except BaseExceptionGroup as exc:
            return text(exc)

    async def step_catch(self, steps):
        try:
            for step in steps:
                await self.step("inner", step)
        except (asyncio.CancelledError, Failure) as exc:
            return text(exc)

    async def step_event(self, action):
        if action == "wait":
            return await self.event.wait()
        return self.event.set() if action == "set" else self.event.clear()

    async def step_lock(self, steps):
        if self.lock.locked() and asyncio.current_task() is None:
            return None
        async with self.lock:
            for step in steps:
                if step[0] not in ("lock", "group", "join"):  # those could wait for themselves
                    await self.step("locked", step)

    async def step_put(self, value):
        await self.queue.put(value)

    async def step_get(self):
        return await self.queue.get()

    # ---- descriptors: one at a time, as the order of two in one poll is the kernel's -------------

    def do_add_reader(self, ops):
        callback = self.body(ops)

        def readable():
            try:
                data = self.sockets[0].recv(1)
            except OSError as exc:
                data = text(exc)
            self.log("read", data)
            callback()

        self.loop.remove_writer(self.sockets[1])
        self.loop.add_reader(self.sockets[0], readable)

    def do_remove_reader(self):
        return self.loop.remove_reader(self.sockets[0])

    def do_add_writer(self, ops):
        callback = self.body(ops)

        def writable():
            self.loop.remove_writer(self.sockets[1])
            callback()

        self.loop.remove_reader(self.sockets[0])
        self.loop.add_writer(self.sockets[1], writable)

    def do_remove_writer(self):
        return self.loop.remove_writer(self.sockets[1])

    def do_send(self, data):
        return self.sockets[1].send(data)


def trace(loop_class, program):
    """Run a program on a loop of that class; its trace."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coroutines that were never awaited, and such
        made = contextvars.copy_context().run(lambda: Machine(loop_class).run(program))
        gc.collect(0)
    return made
