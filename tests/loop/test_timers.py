"""call_later and call_at: order, cancellation, odd delays; what a TimerHandle compares to."""

import asyncio
import contextlib
import math
import os
import random
import threading
import time

import pytest
from support.loops import TIMEOUT, drive, run_guarded, run_turns


class TestOrder:
    def test_by_time(self, loop):
        ran = []
        now = loop.time()
        order = list(range(200))
        random.Random(1).shuffle(order)
        for i in order:
            loop.call_at(now + i * 1e-5, ran.append, i)
        loop.call_at(now + 0.01, loop.stop)
        run_guarded(loop)
        assert ran == list(range(200))

    def test_past_ones_by_time(self, loop):
        ran = []
        now = loop.time()
        for i in (5, 1, 4, 2, 3):
            loop.call_at(now - i, ran.append, i)
        run_turns(loop, 2)
        assert ran == [5, 4, 3, 2, 1]

    def test_equal_times_all_run(self, loop):
        ran = []
        when = loop.time()
        for i in range(50):
            loop.call_at(when, ran.append, i)
        run_turns(loop, 2)
        assert sorted(ran) == list(range(50))

    @pytest.mark.moodloop_only
    def test_equal_times_fifo(self, loop):
        ran = []
        when = loop.time()
        for i in range(50):
            loop.call_at(when, ran.append, i)
        run_turns(loop, 2)
        assert ran == list(range(50))

    @pytest.mark.moodloop_only
    def test_nan_fifo_before_all_others(self, loop):
        """qsort() may do anything where the comparison is no order."""
        ran = []
        odd = [random.Random(i).random() < 0.5 for i in range(3000)]
        for i, nan in enumerate(odd):
            loop.call_later(math.nan if nan else -i, ran.append, i)
        run_turns(loop, 2)
        nans = [i for i, nan in enumerate(odd) if nan]
        others = [i for i, nan in enumerate(odd) if not nan]
        assert ran == nans + others[::-1]

    def test_soon_then_io_then_timer(self, loop, sockets):
        a, b = sockets()
        a.send(b"x")
        ran = []

        def read():
            loop.remove_reader(b)
            ran.append("io")

        loop.call_later(0, ran.append, "timer")
        loop.add_reader(b, read)
        loop.call_soon(ran.append, "soon")
        run_turns(loop, 2)
        assert ran == ["soon", "io", "timer"]

    def test_io_before_an_expired_timer(self, loop, sockets):
        a, b = sockets()
        a.send(b"x")
        ran = []

        def read():
            loop.remove_reader(b)
            ran.append("io")

        loop.call_at(loop.time() - 10, ran.append, "timer")
        loop.add_reader(b, read)
        run_turns(loop, 2)
        assert ran == ["io", "timer"]

    def test_due_timer_waits_its_turn_behind_ready_ones(self, loop):
        ran = []

        def first():
            loop.call_later(-1, ran.append, "timer")
            loop.call_soon(ran.append, "soon")

        loop.call_soon(first)
        run_turns(loop, 3)
        assert ran == ["soon", "timer"]

    def test_never_early(self, loop):
        late = []
        start = loop.time()

        def check(when):
            late.append(loop.time() - when)

        for i in range(20):
            loop.call_at(start + i * 0.001, check, start + i * 0.001)
        loop.call_at(start + 0.025, loop.stop)
        run_guarded(loop)
        # Within the resolution of the clock a timer may run early: no more than that.
        resolution = max(time.get_clock_info("monotonic").resolution, math.ulp(start))
        assert len(late) == 20
        assert min(late) >= -2 * resolution

    def test_never_early_where_the_loop_learns_how_late_it_wakes(self, loop):
        late = []

        def check(when):
            late.append(loop.time() - when)
            if len(late) == 100:
                loop.stop()
            else:
                when = loop.time() + 300e-6
                loop.call_at(when, check, when)

        check(loop.time())
        run_guarded(loop)
        resolution = max(time.get_clock_info("monotonic").resolution, math.ulp(loop.time()))
        assert len(late) == 100
        assert min(late) >= -2 * resolution

    def test_thousands_made_in_one_turn(self, loop):
        ran = []

        def make():
            start = loop.time()
            for i in reversed(range(3000)):
                loop.call_at(start + i * 1e-6, ran.append, i)
            loop.call_at(start + 4e-3, loop.stop)

        loop.call_soon(make)
        run_guarded(loop)
        assert ran == [*range(3000)]


class TestCancel:
    def test_in_the_turn_that_made_them(self, loop):
        ran = []

        def make():
            timers = [loop.call_later(0.001, ran.append, i) for i in range(3000)]
            for timer in timers[::2] + timers[1::2][:1000]:
                timer.cancel()
            loop.call_later(0.002, loop.stop)

        loop.call_soon(make)
        run_guarded(loop)
        assert ran == [*range(2001, 3000, 2)]

    def test_after_the_run_that_made_it(self, loop):
        made = []

        def make():
            made.append(loop.call_later(0.001, lambda: 1 / 0))
            made.append(loop.call_later(0.001, made.append, "kept"))
            loop.stop()

        loop.call_soon(make)
        run_guarded(loop)
        made.pop(0).cancel()
        loop.call_later(0.002, loop.stop)
        run_guarded(loop)
        assert made[1:] == ["kept"]

    def test_before_due(self, loop):
        handle = loop.call_later(0, lambda: 1 / 0)
        handle.cancel()
        run_turns(loop, 2)
        assert handle.cancelled()

    def test_same_batch(self, loop):
        ran = []
        now = loop.time()
        loop.call_at(now - 2, lambda: victim.cancel())
        victim = loop.call_at(now - 1, ran.append, "victim")
        loop.call_at(now, ran.append, "after")
        run_turns(loop, 2)
        assert ran == ["after"]

    def test_by_a_ready_callback(self, loop):
        ran = []
        victim = loop.call_at(loop.time() - 1, ran.append, "victim")
        loop.call_soon(victim.cancel)
        run_turns(loop, 3)
        assert ran == []
        assert victim.cancelled()

    def test_idempotent(self, loop):
        handle = loop.call_later(1000, print)
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()

    def test_after_it_ran(self, loop):
        ran = []
        handle = loop.call_later(0, ran.append, 1)
        run_turns(loop, 2)
        handle.cancel()
        assert ran == [1]

    def test_many(self, loop):
        handles = [loop.call_later(1000 + i, print) for i in range(3000)]
        random.Random(2).shuffle(handles)
        for h in handles:
            h.cancel()
        run_turns(loop, 2)
        assert [h for h in loop._scheduled if not h.cancelled()] == []

    def test_a_cancelled_first_does_not_delay_the_rest(self, loop):
        ran = []
        first = loop.call_later(0.001, ran.append, "first")
        loop.call_later(0.002, ran.append, "second")
        loop.call_later(0.003, loop.stop)
        first.cancel()
        run_guarded(loop)
        assert ran == ["second"]

    def test_random_mix_against_a_model(self, loop):
        rng = random.Random(3)
        now = loop.time()
        ran, model, handles = [], [], []
        for i in range(1000):
            when = now - 1 + i * 7919 % 1000 / 1000
            handles.append((when, i, loop.call_at(when, ran.append, i)))
            if rng.random() < 0.4:
                handles.pop(rng.randrange(len(handles)))[2].cancel()
        model = [i for _, i, _ in sorted(handles, key=lambda x: x[0])]
        run_turns(loop, 3)
        assert ran == model


class TestDelays:
    @pytest.mark.parametrize("delay", [0, -0.0, -1, -1e300, -math.inf, 1e-9, False])
    def test_due_at_once(self, loop, delay):
        ran = []
        loop.call_later(delay, ran.append, 1)
        run_turns(loop, 2)
        assert ran == [1]

    @pytest.mark.parametrize("delay", [1e9, 1e18, 1e300, math.inf, 10**30])
    def test_never_due(self, loop, delay):
        ran = []
        handle = loop.call_later(delay, ran.append, 1)
        loop.call_later(0.005, loop.stop)
        run_guarded(loop)
        assert ran == []
        assert handle.when() >= 1e9
        handle.cancel()

    def test_nan_harms_no_other(self, loop):
        ran = []
        try:
            odd = loop.call_later(math.nan, ran.append, "nan")
        except ValueError:
            odd = None
        loop.call_later(0, ran.append, 1)
        loop.call_soon(ran.append, 0)
        run_turns(loop, 3)
        if odd is not None:
            odd.cancel()
        assert [x for x in ran if x != "nan"][:1] == [0]

    def test_none(self, loop):
        with pytest.raises(TypeError, match="delay must not be None"):
            loop.call_later(None, print)
        with pytest.raises(TypeError, match="when cannot be None"):
            loop.call_at(None, print)

    @pytest.mark.parametrize("delay", ["1", [], object()])
    def test_not_a_number(self, loop, delay):
        with pytest.raises(TypeError):
            loop.call_later(delay, print)

    def test_missing_arguments(self, loop):
        for call in (loop.call_later, loop.call_at):
            with pytest.raises(TypeError):
                call()
            with pytest.raises(TypeError):
                call(1)

    def test_by_name(self, loop):
        ran = []
        loop.call_later(delay=0, callback=lambda: ran.append(1))
        loop.call_at(when=loop.time(), callback=lambda: ran.append(2))
        loop.call_at(loop.time(), callback=lambda: ran.append(3), context=None)
        loop.call_later(0.001, loop.stop)
        run_guarded(loop)
        assert sorted(ran) == [1, 2, 3]

    @pytest.mark.parametrize(
        "given, named",
        [
            ((1, print), {"colour": "red"}),
            ((1, print), {"delay": 1}),
            ((1, print), {"callback": print}),
            ((1,), {"delay": 1}),
            ((), {"delay": 1}),
            ((), {"callback": print}),
            ((), {"when": 1, "callback": print}),
        ],
    )
    def test_wrong_keywords(self, loop, given, named):
        with pytest.raises(TypeError):
            loop.call_later(*given, **named)

    def test_number_like(self, loop):
        from decimal import Decimal
        from fractions import Fraction

        ran = []
        loop.call_later(Fraction(1, 1000), ran.append, 1)
        loop.call_later(True, ran.append, 2).cancel()
        with pytest.raises(TypeError):
            loop.call_later(Decimal(1), print)  # float + Decimal
        loop.call_later(0.01, loop.stop)
        run_guarded(loop)
        assert ran == [1]

    def test_microseconds_keep_their_order(self, loop):
        ran = []
        start = loop.time() + 0.002
        loop.call_at(start + 20e-6, ran.append, 3)
        loop.call_at(start, ran.append, 1)
        loop.call_at(start + 10e-6, ran.append, 2)
        loop.call_at(start + 0.003, loop.stop)
        run_guarded(loop)
        assert ran == [1, 2, 3]


class TestClock:
    def test_monotonic(self, loop):
        before = time.monotonic()
        now = loop.time()
        assert isinstance(now, float)
        assert before <= now <= time.monotonic()

    def test_fresh_in_a_long_callback(self, loop):
        seen = []

        def busy():
            first = loop.time()
            while loop.time() == first:
                pass
            seen.append(loop.time() > first)

        loop.call_soon(busy)
        run_turns(loop)
        assert seen == [True]

    def test_patched_time_is_what_call_later_adds_to(self, loop):
        loop.time = lambda: 1000.0
        handle = loop.call_later(5, print)
        assert handle.when() == 1005.0
        handle.cancel()
        del loop.time

    def test_patched_time_moves_timers(self, loop):
        now = loop.time()
        ran = []
        far = loop.call_later(3600, ran.append, "far")
        loop.time = lambda: now + 7200
        run_turns(loop, 3)
        del loop.time
        far.cancel()
        assert ran == ["far"]

    def test_time_patched_on_the_class(self, loop, monkeypatch):
        """After the loop was made."""
        now = loop.time()
        ran = []
        handle = loop.call_later(3600, ran.append, "far")
        monkeypatch.setattr(type(loop), "time", lambda self: now + 7200)
        assert loop.call_later(1, ran.append, "never").when() == now + 7201
        run_turns(loop, 3)
        assert ran == ["far"]
        monkeypatch.undo()
        assert loop.call_later(0, ran.append, "soon").when() < now + 3600
        for handle in list(loop._scheduled):
            handle.cancel()
        run_turns(loop, 3)

    def test_patched_time_moves_timers_of_a_loop_with_nothing_else_to_do(self, loop):
        start = loop.time()
        now = [start]
        loop.time = lambda: now[0]
        guard = loop.call_later(3600, loop.stop)
        loop.call_soon(now.__setitem__, 0, start + 7200)
        waker = threading.Timer(TIMEOUT, loop.call_soon_threadsafe, [loop.stop])
        waker.start()
        loop.run_forever()
        in_time = waker.is_alive()
        waker.cancel()
        waker.join()
        del loop.time
        guard.cancel()
        assert in_time

    @pytest.mark.moodloop_only
    def test_timer_that_is_due_when_libev_reads_its_clock_anew(self, loop):
        def callback():
            due = loop.time() + 0.001
            loop.call_at(due, loop.stop)
            while loop.time() <= due:
                pass
            loop.ev.update()

        loop.call_soon(callback)
        waker = threading.Timer(TIMEOUT, loop.call_soon_threadsafe, [loop.stop])
        waker.start()
        loop.run_forever()
        in_time = waker.is_alive()
        waker.cancel()
        waker.join()
        assert in_time

    def test_subclass_time_moves_timers(self, loop_factory, new_loop):
        plain = new_loop()

        class Skipping(type(plain)):
            offset = 0.0

            def time(self):
                return super().time() + self.offset

        loop = new_loop(Skipping)
        ran = []
        loop.call_later(3600, ran.append, 1)
        run_turns(loop, 2)
        assert ran == []
        loop.offset = 3601.0
        run_turns(loop, 2)
        assert ran == [1]

    @pytest.mark.moodloop_only
    def test_waits_for_a_clock_that_is_slow(self, new_loop):
        """Short by its own clock, long by the kernel's."""

        class Slow(type(new_loop())):
            def time(self):
                return super().time() / 50

        loop = new_loop(Slow)
        before = loop.ev.iteration
        drive(loop, asyncio.sleep(0.002))
        assert loop.ev.iteration - before < 2000


@pytest.mark.moodloop_only
class TestPrecise:
    """Timers of microseconds, for which a timerfd ends the poll."""

    def test_woken_no_later_than_due(self, loop, sockets):
        """Also after it went off in a poll that did not wait, and the next wait ended early."""
        near, far = sockets()
        late = []

        def remaining():
            """Seconds until a timerfd goes off; 0 if none is set. One of libev's, in loops that
            other tests leave, waits for days for the wall clock to be set."""
            times = [0.0]
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if "timerfd" in os.readlink(f"/proc/self/fd/{fd}"):
                        with open(f"/proc/self/fdinfo/{fd}") as info:
                            value = info.read().split("it_value: (")[1].split(")")[0]
                        seconds, nanoseconds = map(int, value.split(","))
                        times.append(seconds + nanoseconds / 1e9)
            return max(left for left in times if left < 60)

        def look(due):
            """When it is set: no sooner than the loop waits."""
            now, left = time.monotonic(), 0.0
            while now < due and not left:
                now, left = time.monotonic(), remaining()
            if left:
                late.append(now + left - due)
            far.send(b"x")

        async def received():
            arrived = loop.create_future()
            loop.add_reader(near, lambda: arrived.done() or arrived.set_result(near.recv(100)))
            await arrived

        async def wait_for(delay):
            """The wait for a timer ends early, and the loop has something to do until it is due."""
            due = loop.time() + delay
            timer = loop.call_at(due, int)
            looking = loop.run_in_executor(None, look, due)
            await received()
            await looking
            while loop.time() <= due:
                await asyncio.sleep(0)
            timer.cancel()

        async def main():
            for _ in range(20):
                await wait_for(0.001)
                await wait_for(0.0049)

        loop.run_until_complete(main())
        assert late
        assert max(late) < 1e-5


class TestTimerHandle:
    def test_type(self, loop):
        handle = loop.call_later(1000, print)
        assert isinstance(handle, asyncio.TimerHandle)
        assert isinstance(handle, asyncio.Handle)
        handle.cancel()

    def test_when(self, loop):
        when = loop.time() + 1000.5
        handle = loop.call_at(when, print)
        assert handle.when() == when
        handle.cancel()
        assert handle.when() == when

    def test_when_of_call_later(self, loop):
        before = loop.time()
        handle = loop.call_later(1000, print)
        assert before + 1000 <= handle.when() <= loop.time() + 1000
        handle.cancel()

    def test_when_of_an_integer(self, loop):
        handle = loop.call_at(10**12, print)
        assert handle.when() == 10**12
        handle.cancel()

    def test_order(self, loop):
        a = loop.call_at(1e9, print)
        b = loop.call_at(2e9, print)
        assert a < b and a <= b and b > a and b >= a
        assert not (a > b or a >= b or b < a or b <= a)
        assert sorted([b, a]) == [a, b]
        a.cancel()
        b.cancel()

    def test_order_of_equal_times(self, loop):
        a, b = loop.call_at(1e9, print), loop.call_at(1e9, max)
        assert not a < b and not a > b
        assert a != b
        a.cancel()
        b.cancel()

    def test_equality(self, loop):
        a, b = loop.call_at(1e9, print, 1), loop.call_at(1e9, print, 1)
        other = loop.call_at(1e9, print, 2)
        assert a == b and a <= b and a >= b
        assert (a != b) is False
        assert a != other
        b.cancel()
        assert a != b
        a.cancel()
        other.cancel()

    def test_hash_is_of_the_time(self, loop):
        handle = loop.call_at(1e9 + 0.5, print)
        assert hash(handle) == hash(1e9 + 0.5)
        handle.cancel()

    def test_compared_with_other_things(self, loop):
        handle = loop.call_at(1e9, print)
        assert handle != 1e9
        assert handle.__lt__(1) is NotImplemented
        assert handle.__eq__("x") is NotImplemented
        with pytest.raises(TypeError):
            sorted([handle, 1])
        handle.cancel()

    def test_scheduled_flag(self, loop):
        handle = loop.call_later(1000, print)
        assert handle._scheduled
        assert handle in list(loop._scheduled)
        handle.cancel()
        ran = loop.call_later(0, int)
        run_turns(loop, 2)
        assert not ran._scheduled

    def test_repr(self, loop):
        handle = loop.call_later(1000, print)
        assert repr(handle).startswith("<TimerHandle when=")
        handle.cancel()
        assert repr(handle).startswith("<TimerHandle cancelled when=")

    def test_negative_when(self, loop):
        ran = []
        handle = loop.call_at(-5, ran.append, 1)
        assert handle.when() == -5
        run_turns(loop, 2)
        assert ran == [1]


class TestSelfScheduling:
    def test_zero_delay_chain_lets_others_run(self, loop):
        count = 0

        def again():
            nonlocal count
            count += 1
            if count < 500:
                loop.call_later(0, again)
            else:
                loop.stop()

        other = []
        loop.call_soon(again)
        loop.call_later(0.0001, other.append, 1)
        run_guarded(loop)
        run_turns(loop, 2)
        assert count == 500
        if not other:
            loop.call_later(0.001, loop.stop)
            run_guarded(loop)
        assert other == [1]

    def test_timer_cancels_and_replaces_itself(self, loop):
        ran = []

        def tick(n):
            nonlocal handle
            ran.append(n)
            handle.cancel()
            if n < 20:
                handle = loop.call_later(0, tick, n + 1)
            else:
                loop.stop()

        handle = loop.call_later(0, tick, 1)
        run_guarded(loop)
        assert ran == list(range(1, 21))

    def test_timer_from_a_past_turn_in_a_new_run(self, loop):
        ran = []
        handle = loop.call_later(0, ran.append, 1)
        loop.stop()
        loop.run_forever()
        run_turns(loop, 2)
        assert ran == [1]
        assert not handle.cancelled()


def test_comparing_callbacks_that_cancel_the_timers(snippet):
    """Their __eq__ runs while they are compared, and lets go of both."""
    code = """
    loop = new_loop()

    class Callback:
        __hash__ = None

        def __call__(self):
            pass

        def __eq__(self, other):
            a.cancel()
            b.cancel()
            return NotImplemented

    class Other(Callback):
        pass

    for arguments in (), ([Callback()], [Other()]):
        when = loop.time() + 100
        if arguments:
            a, b = (loop.call_at(when, print, *args) for args in arguments)
        else:
            a, b = loop.call_at(when, Callback()), loop.call_at(when, Other())
        assert not a == b
    loop.close()
    print("done")
    """
    outcome = snippet(code, env={"PYTHONMALLOC": "debug"})
    assert outcome.out == "done\n", outcome.err
