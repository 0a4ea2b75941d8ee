"""Jiffies, timers and works, on a machine with a clock and no host."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mapdev.host.core.machine import Activity, nobody_waits
from mapdev.linux import (
    HZ,
    INIT_DELAYED_WORK,
    INIT_WORK,
    DelayedWork,
    Kthread,
    TimerList,
    WorkStruct,
    add_timer,
    alloc_workqueue,
    cancel_delayed_work_sync,
    cancel_work_sync,
    current,
    del_timer,
    del_timer_sync,
    delayed_work_pending,
    destroy_workqueue,
    flush_delayed_work,
    flush_work,
    jiffies,
    jiffies_to_msecs,
    ktime_get,
    ktime_sub,
    ktime_to_ms,
    ktime_to_us,
    mod_delayed_work,
    mod_timer,
    ms_to_ktime,
    msecs_to_jiffies,
    msleep,
    queue_work,
    schedule_delayed_work,
    schedule_work,
    time_after,
    timer_delete_sync,
    timer_pending,
    timer_reduce,
    timer_setup,
    timer_shutdown_sync,
    udelay,
    usecs_to_jiffies,
    work_pending,
)
from mapdev.linux.context import Context, context, enter, reset

PATIENCE = 60  # seconds
LATER = 1000 * HZ


@pytest.fixture
def activity() -> Iterator[Activity]:
    activity = Activity(nobody_waits)
    token = enter(Context(activity, "driver"))  # type: ignore[arg-type]
    yield activity
    reset(token)
    for thread in activity.kthreads.get("driver", ()):
        assert thread.stop(PATIENCE)
    activity._clock.stop()


def test_time_passes_and_is_converted() -> None:
    began, ticks = ktime_get(), jiffies()
    msleep(2)
    udelay(10)
    assert ktime_sub(ktime_get(), began) >= 2_010_000
    assert jiffies() - ticks >= 1 and time_after(jiffies(), ticks)
    assert msecs_to_jiffies(1500) == 1500 * HZ // 1000 and usecs_to_jiffies(1) == 1
    assert jiffies_to_msecs(HZ) == 1000 and ms_to_ktime(3) == 3_000_000
    assert (ktime_to_ms(-1_999_999), ktime_to_us(1999), ktime_to_ms(0)) == (-1, 1, 0)


@pytest.mark.parametrize("use", [lambda: jiffies + HZ, lambda: jiffies < 5, lambda: int(jiffies)])
def test_jiffies_is_a_function(use: Any) -> None:
    with pytest.raises(TypeError, match=r"write jiffies\(\)"):
        use()


def test_a_timer_rings_once_as_its_driver(activity: Activity) -> None:
    seen: list[Any] = []
    rung = threading.Semaphore(0)

    def ring(timer: TimerList) -> None:
        seen.append((timer, context().owner, context().task, timer_pending(timer)))
        rung.release()

    timer = TimerList()
    timer_setup(timer, ring, 0)
    assert not timer_pending(timer) and del_timer(timer) == 0
    timer.expires = jiffies() + 1
    add_timer(timer)
    assert rung.acquire(timeout=PATIENCE)
    timer_delete_sync(timer)
    assert seen == [(timer, "driver", None, False)]
    assert mod_timer(timer, jiffies() - 5) == 0  # at once
    assert rung.acquire(timeout=PATIENCE)


def test_a_timer_that_is_changed_or_deleted(activity: Activity) -> None:
    rung: list[int] = []
    timer = TimerList(lambda timer: rung.append(timer.expires))
    assert mod_timer(timer, jiffies() + LATER) == 0
    assert mod_timer(timer, jiffies() + LATER + 5) == 1
    assert timer_reduce(timer, jiffies() + 2 * LATER) == 1
    assert timer.expires < jiffies() + LATER + 6 and timer_pending(timer)
    assert del_timer_sync(timer) == 1 and del_timer_sync(timer) == 0
    assert not timer_pending(timer)
    assert mod_timer(timer, jiffies() + LATER) == 0
    assert timer_shutdown_sync(timer) == 1
    mod_timer(timer, jiffies())
    assert not timer_pending(timer) and not rung


def test_a_timer_that_arms_itself_and_one_that_fails(
    activity: Activity, caplog: pytest.LogCaptureFixture
) -> None:
    rung = threading.Semaphore(0)

    def again(timer: TimerList) -> None:
        rung.release()
        mod_timer(timer, jiffies() + 1)
        raise ZeroDivisionError("bug")

    timer = TimerList(again)
    mod_timer(timer, jiffies())
    for _ in range(3):
        assert rung.acquire(timeout=PATIENCE)
    timer_delete_sync(timer)
    assert not timer_pending(timer)
    assert "the timer function" in caplog.text and "ZeroDivisionError" in caplog.text


def test_deleting_waits_for_the_function(activity: Activity) -> None:
    inside, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def slow(timer: TimerList) -> None:
        assert timer_delete_sync(timer) == 0  # in itself it does not wait
        inside.set()
        go_on.wait(PATIENCE)
        done.set()

    timer = TimerList(slow)
    mod_timer(timer, jiffies())
    assert inside.wait(PATIENCE)
    threading.Timer(0.02, go_on.set).start()
    timer_delete_sync(timer)
    assert done.is_set()


def test_timers_run_under_the_lock(activity: Activity) -> None:
    rung = threading.Event()
    timer = TimerList(lambda timer: rung.set())
    with activity._clock._lock:
        mod_timer(timer, jiffies())
        time.sleep(0.02)
        assert not rung.is_set()
        timer_delete_sync(timer)
    assert not rung.wait(0.02)


def test_a_work_runs_in_a_kernel_thread_which_may_sleep(activity: Activity) -> None:
    seen: list[Any] = []

    def do(work: WorkStruct) -> None:
        msleep(1)
        seen.append((work, isinstance(current(), Kthread), context().owner))

    work = WorkStruct(do)
    INIT_WORK(work, do)
    assert schedule_work(work)
    flush_work(work)
    assert seen == [(work, True, "driver")]
    assert not cancel_work_sync(work) and not work_pending(work)


def test_a_work_is_queued_once_and_never_runs_beside_itself(activity: Activity) -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()
    running = []

    def do(work: WorkStruct) -> None:
        running.append(work)
        assert len(running) == 1
        inside.release()
        go_on.wait(PATIENCE)
        running.pop()

    work, queue = WorkStruct(do), alloc_workqueue("own", 0, 0)
    assert queue_work(queue, work)
    assert inside.acquire(timeout=PATIENCE)
    assert queue_work(queue, work) and not queue_work(queue, work)  # it runs; and waits
    assert work_pending(work)
    go_on.set()
    destroy_workqueue(queue)
    assert inside.acquire(timeout=PATIENCE) and not work_pending(work)


def test_works_of_one_queue_keep_their_order(activity: Activity) -> None:
    done: list[int] = []
    queue = alloc_workqueue("ordered")
    works = [WorkStruct(lambda work, number=number: done.append(number)) for number in range(50)]
    for work in works:
        queue_work(queue, work)
    destroy_workqueue(queue)
    assert done == list(range(50))


def test_delayed_works(activity: Activity, caplog: pytest.LogCaptureFixture) -> None:
    ran = threading.Semaphore(0)

    def do(work: DelayedWork) -> None:
        ran.release()
        raise ZeroDivisionError("bug")

    work = DelayedWork(do)
    INIT_DELAYED_WORK(work, do)
    assert schedule_delayed_work(work, LATER) and not schedule_delayed_work(work, 0)
    assert delayed_work_pending(work)
    assert cancel_delayed_work_sync(work) and not cancel_delayed_work_sync(work)
    assert not delayed_work_pending(work)
    schedule_delayed_work(work, LATER)
    assert mod_delayed_work(work.queue, work, 1)
    assert ran.acquire(timeout=PATIENCE)
    schedule_delayed_work(work, LATER)
    flush_delayed_work(work)
    assert ran.acquire(timeout=PATIENCE)
    assert schedule_delayed_work(work, 0)
    assert ran.acquire(timeout=PATIENCE)
    assert "the work" in caplog.text and "ZeroDivisionError" in caplog.text
