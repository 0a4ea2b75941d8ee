"""Wait queues and kernel threads, on a machine that notes what it is told."""

from __future__ import annotations

import errno
import threading
from collections.abc import Hashable, Iterator
from typing import Any

import pytest

from mapdev.linux import (
    HZ,
    File,
    Inode,
    Kthread,
    WaitQueueHead,
    copy_from_user,
    current,
    init_waitqueue_head,
    kthread_run,
    kthread_should_stop,
    kthread_stop,
    poll_wait,
    schedule_timeout_interruptible,
    wait_event_interruptible,
    wake_up,
    wake_up_all,
    wake_up_interruptible,
)
from mapdev.linux.context import Context, context, enter, reset

PATIENCE = 60  # seconds


class Machine:
    def __init__(self) -> None:
        self.woken: list[tuple[Hashable, Hashable]] = []
        self.kthreads: list[Kthread] = []

    def wake_up(self, queue: Hashable, owner: Hashable, nr: int | None = None) -> None:
        self.woken.append((queue, owner))

    def add_kthread(self, kthread: Kthread) -> None:
        self.kthreads.append(kthread)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    token = enter(Context(machine, "driver"))  # type: ignore[arg-type]
    yield machine
    reset(token)
    for thread in machine.kthreads:
        assert thread.stop(PATIENCE), f"{thread.comm} goes on"


def test_a_condition_that_holds(machine: Machine) -> None:
    assert wait_event_interruptible(WaitQueueHead(), lambda: True) == 0


def test_a_condition_that_does_not_hold(machine: Machine) -> None:
    queue = WaitQueueHead()
    with pytest.raises(BlockingIOError) as failure:
        wait_event_interruptible(queue, list)
    assert failure.value.errno == errno.EAGAIN
    assert failure.value.queue is queue  # type: ignore[attr-defined]


@pytest.mark.parametrize("wake", [wake_up, wake_up_interruptible, wake_up_all])
def test_waking_from_any_thread(machine: Machine, wake: Any) -> None:
    queue = WaitQueueHead()
    thread = threading.Thread(target=wake, args=[queue])
    thread.start()
    thread.join()
    assert machine.woken == [(queue, "driver")]


def test_a_queue_without_a_host_belongs_to_its_first_user() -> None:
    queue = WaitQueueHead()
    wake_up(queue)  # nobody can be waiting
    machine = Machine()
    token = enter(Context(machine, "late"))  # type: ignore[arg-type]
    try:
        with pytest.raises(BlockingIOError):
            wait_event_interruptible(queue, lambda: False)
    finally:
        reset(token)
    wake_up(queue)
    assert machine.woken == [(queue, "late")]


def test_init_waitqueue_head(machine: Machine) -> None:
    queue = WaitQueueHead()
    token = enter(Context(machine, "other"))  # type: ignore[arg-type]
    init_waitqueue_head(queue)
    reset(token)
    wake_up(queue)
    assert machine.woken == [(queue, "other")]


def test_poll_wait(machine: Machine) -> None:
    file, queue = File(Inode(), None), WaitQueueHead()
    poll_wait(file, queue)
    poll_wait(file, queue)
    assert file.poll_queues == {queue}


def test_a_kernel_thread_runs_as_its_driver(machine: Machine) -> None:
    seen: list[Any] = []

    def work(data: Any) -> str:
        seen.append((data, context().owner, current().comm, current().pid))
        with pytest.raises(OSError) as failure:
            copy_from_user(0x1000, 1)
        assert failure.value.errno == errno.EFAULT
        with pytest.raises(OSError):
            _ = current().mm
        return "result"

    thread = kthread_run(work, "data", "a-name-that-is-too-long")
    assert kthread_stop(thread) == "result"
    assert seen == [("data", "driver", "a-name-that-is-", thread.pid)]
    assert thread.pid != threading.get_native_id()
    assert machine.kthreads == [thread]
    assert kthread_stop(thread) == "result"  # again


def test_kthread_stop_ends_a_sleep(machine: Machine) -> None:
    asleep = threading.Event()
    left: list[int] = []

    def work(data: Any) -> None:
        assert not kthread_should_stop()
        asleep.set()
        while not kthread_should_stop():
            left.append(schedule_timeout_interruptible(PATIENCE * HZ))

    thread = kthread_run(work, None, "sleeper")
    assert asleep.wait(PATIENCE)
    kthread_stop(thread)
    assert len(left) <= 1 and all(left)


def test_a_sleep_ends_by_itself(machine: Machine) -> None:
    thread = kthread_run(lambda _: schedule_timeout_interruptible(1), None, "nap")
    thread._thread.join(PATIENCE)
    assert thread.result == 0


def test_only_a_kernel_thread_sleeps(machine: Machine) -> None:
    assert not kthread_should_stop()
    with pytest.raises(RuntimeError, match="only a kernel thread"):
        schedule_timeout_interruptible(1)


def test_a_kernel_thread_waits_in_a_queue(machine: Machine) -> None:
    queue = WaitQueueHead()
    items: list[int] = []
    taken: list[int] = []
    took = threading.Semaphore(0)

    def work(data: Any) -> None:
        while True:
            wait_event_interruptible(queue, lambda: items or kthread_should_stop())
            if kthread_should_stop():
                return
            taken.append(items.pop(0))
            took.release()

    thread = kthread_run(work, None, "worker")
    for number in range(100):
        items.append(number)
        wake_up(queue)
        assert took.acquire(timeout=PATIENCE)
    wake_up(queue)  # for nothing
    kthread_stop(thread)
    assert taken == list(range(100))
    assert not queue.sleepers


def test_a_kernel_thread_that_fails(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    def work(data: Any) -> None:
        raise ZeroDivisionError("bug")

    thread = kthread_run(work, None, "buggy")
    assert kthread_stop(thread) is None
    assert "buggy failed" in caplog.text and "ZeroDivisionError" in caplog.text
