"""Workqueues: functions that run soon in a kernel thread, where they may sleep.

A `WorkStruct` belongs to the driver that queues it. It runs beside the driver's operations, in a
kernel thread that holds no lock of the host and ends when nothing is left to do; never twice at
once. `_lock` of a `Workqueue` guards its list.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mapdev.linux.context import Alarm, Context, context, enter, must_fail, reset
from mapdev.linux.kthread import Kthread, kthread_run
from mapdev.linux.log import log
from mapdev.linux.numbers import HZ

__all__ = [
    "INIT_DELAYED_WORK",
    "INIT_WORK",
    "DelayedWork",
    "WorkStruct",
    "Workqueue",
    "alloc_ordered_workqueue",
    "alloc_workqueue",
    "cancel_delayed_work",
    "cancel_delayed_work_sync",
    "cancel_work",
    "cancel_work_sync",
    "create_singlethread_workqueue",
    "delayed_work_pending",
    "destroy_workqueue",
    "flush_delayed_work",
    "flush_work",
    "flush_workqueue",
    "mod_delayed_work",
    "queue_delayed_work",
    "queue_work",
    "schedule_delayed_work",
    "schedule_work",
    "system_wq",
    "work_pending",
]  # fmt: skip
# ruff: noqa: N802 - kernel names keep the kernel's spelling

_LOOK = 1.0  # seconds


class Workqueue:
    """A list of works, done one after another: ``struct workqueue_struct``.

    Source: kernel/workqueue.c
    """

    def __init__(self, name: str = "events") -> None:
        """Make an empty one."""
        self.name = name
        self._lock = threading.Condition()
        self._pending: deque[WorkStruct] = deque()
        self._running: WorkStruct | None = None
        self._worker: Kthread | None = None

    def put(self, work: "WorkStruct") -> bool:
        """Have a work done; False if it waits to be done already."""
        with self._lock:
            if work in self._pending:
                return False
            self._pending.append(work)
            if self._worker is None:
                self._worker = kthread_run(self._run, None, f"kworker/{self.name}")
        return True

    def has(self, work: "WorkStruct") -> bool:
        """Say whether a work waits to be done."""
        return work in self._pending

    def take_back(self, work: "WorkStruct") -> bool:
        """Don't do a work that has not begun; say whether there was one."""
        with self._lock:
            if work not in self._pending:
                return False
            self._pending.remove(work)
            self._lock.notify_all()
        return True

    def flush(self, work: "WorkStruct | None" = None) -> bool:
        """Return when a work, or all that there are now, are done; say whether that took a wait."""
        waited = False
        with self._lock:
            left = [*self._pending, *([self._running] if self._running else [])]
            left = left if work is None else [other for other in left if other is work]
            if self._worker is None or self._worker is context().task:
                return False
            while any(other in self._pending or other is self._running for other in left):
                waited = True
                self._lock.wait(_LOOK)
                if self._worker is None or not self._worker.is_alive:
                    break
        return waited

    def _run(self, data: Any) -> None:
        while True:
            with self._lock:
                task = context().task
                if not self._pending or (isinstance(task, Kthread) and task.stopping):
                    self._worker = None
                    self._lock.notify_all()
                    return
                work = self._running = self._pending.popleft()
            try:
                work.func(work)
            except BaseException as error:
                log.exception("the work %r failed: %r", work.func, error)
                if must_fail(error):
                    context().machine.driver_raised(error)
            finally:
                with self._lock:
                    self._running = None
                    self._lock.notify_all()


system_wq = Workqueue()
"""What `schedule_work` uses: works of different functions do not wait for each other."""


class WorkStruct:
    """A function that is to run in a kernel thread: ``struct work_struct``.

    :ivar func: what is called, with the work

    Source: include/linux/workqueue_types.h
    Fidelity: there is no ``container_of``: give a method of the driver's as function.
    """

    __slots__ = ("_own", "func", "queue")

    def __init__(self, func: "Callable[[Any], Any]") -> None:
        """Make a work, as ``DECLARE_WORK`` does."""
        self.func = func
        self._own = Workqueue()
        self.queue = self._own

    def put(self, queue: Workqueue) -> bool:
        """Have it done in a queue."""
        queue = self._own if queue is system_wq else queue
        if self.queue.has(self):
            return False
        self.queue = queue
        return queue.put(self)


class DelayedWork(WorkStruct):
    """A work that is done when some time is over: ``struct delayed_work``.

    Source: include/linux/workqueue.h
    Fidelity: it is the work itself, where C has it in ``work``.
    """

    __slots__ = ("_alarm",)

    def __init__(self, func: Callable[[Any], Any]) -> None:
        """Make a work, as ``DECLARE_DELAYED_WORK`` does."""
        super().__init__(func)
        self._alarm: Alarm | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether its time is not over yet."""
        return getattr(self._alarm, "function", None) is not None

    def put_later(self, queue: Workqueue, delay: int) -> None:
        """Have it done in `delay` jiffies."""
        own = Context(context().machine, context().owner)

        def ring() -> None:
            token = enter(own)
            try:
                self.put(queue)
            finally:
                reset(token)

        self._alarm = own.machine.set_alarm(time.monotonic() + delay / HZ, ring)

    def disarm(self) -> bool:
        """Don't wait for its time any more; say whether it waited."""
        return self._alarm is not None and self._alarm.cancel()


def INIT_WORK(work: WorkStruct, func: Callable[[Any], Any]) -> None:
    """Set up a work that is not queued.

    Source: include/linux/workqueue.h
    Fidelity: `WorkStruct` makes one that is set up already; this does it again.
    """
    work.__init__(func)  # type: ignore[misc]  # that is what it means


def INIT_DELAYED_WORK(work: DelayedWork, func: Callable[[Any], Any]) -> None:
    """Set up a delayed work that is not queued.

    Source: include/linux/workqueue.h
    Fidelity: as for `INIT_WORK`.
    """
    work.__init__(func)  # type: ignore[misc]  # that is what it means


def alloc_workqueue(fmt: str, flags: int = 0, max_active: int = 0) -> Workqueue:
    """Make a workqueue.

    :param fmt: its name
    :param flags: ``WQ_*``, of no effect
    :param max_active: of no effect

    Source: kernel/workqueue.c
    Fidelity: its works are done one after another, whatever `max_active` says.
    """
    return Workqueue(fmt)


def alloc_ordered_workqueue(fmt: str, flags: int = 0) -> Workqueue:
    """Make a workqueue that does one work after another, in their order.

    Source: include/linux/workqueue.h
    """
    return Workqueue(fmt)


def create_singlethread_workqueue(name: str) -> Workqueue:
    """Make a workqueue that does one work after another, in their order.

    Source: include/linux/workqueue.h
    """
    return Workqueue(name)


def destroy_workqueue(wq: Workqueue) -> None:
    """Finish what is in a workqueue, which is not used any more.

    Source: kernel/workqueue.c
    """
    wq.flush()


def flush_workqueue(wq: Workqueue) -> None:
    """Return when all works that are in a workqueue now are done.

    Source: include/linux/workqueue.h
    Fidelity: of `system_wq` none are known: flush the works themselves.
    """
    wq.flush()


def queue_work(wq: Workqueue, work: WorkStruct) -> bool:
    """Have a work done soon; from any thread.

    :return: False if it waits to be done already

    Source: include/linux/workqueue.h
    """
    return work.put(wq)


def schedule_work(work: WorkStruct) -> bool:
    """Have a work done soon; from any thread.

    :return: False if it waits to be done already

    Source: include/linux/workqueue.h
    """
    return work.put(system_wq)


def queue_delayed_work(wq: Workqueue, dwork: DelayedWork, delay: int) -> bool:
    """Have a work done when some time is over.

    :param delay: jiffies
    :return: False if it waits already, for its time or to be done

    Source: include/linux/workqueue.h
    """
    if delayed_work_pending(dwork):
        return False
    if delay <= 0:
        return dwork.put(wq)
    dwork.put_later(wq, delay)
    return True


def schedule_delayed_work(dwork: DelayedWork, delay: int) -> bool:
    """Have a work done when some time is over.

    :param delay: jiffies
    :return: False if it waits already, for its time or to be done

    Source: include/linux/workqueue.h
    """
    return queue_delayed_work(system_wq, dwork, delay)


def mod_delayed_work(wq: Workqueue, dwork: DelayedWork, delay: int) -> bool:
    """Have a work done when some time is over, counted from now even if it waits already.

    :param delay: jiffies
    :return: whether it waited

    Source: include/linux/workqueue.h
    """
    waited = cancel_delayed_work(dwork)
    queue_delayed_work(wq, dwork, delay)
    return waited


def work_pending(work: WorkStruct) -> bool:
    """Say whether a work waits to be done.

    Source: include/linux/workqueue.h
    """
    return work.queue.has(work)


def delayed_work_pending(w: DelayedWork) -> bool:
    """Say whether a work waits for its time or to be done.

    Source: include/linux/workqueue.h
    """
    return w.is_waiting or work_pending(w)


def flush_work(work: WorkStruct) -> bool:
    """Return when a work that waits or runs is done.

    :return: whether it had to wait for that

    Source: kernel/workqueue.c
    """
    return work.queue.flush(work)


def flush_delayed_work(dwork: DelayedWork) -> bool:
    """Have a work done at once that waits for its time, and return when it is done.

    :return: whether it had to wait for that

    Source: kernel/workqueue.c
    """
    if dwork.disarm():
        dwork.put(dwork.queue)
    return flush_work(dwork)


def cancel_work(work: WorkStruct) -> bool:
    """Don't do a work that has not begun.

    :return: whether it waited

    Source: kernel/workqueue.c
    """
    return work.queue.take_back(work)


def cancel_work_sync(work: WorkStruct) -> bool:
    """Don't do a work that has not begun, and return when it does not run.

    :return: whether it waited

    Source: kernel/workqueue.c
    Fidelity: a work that queues itself again while it runs may do so once more.
    """
    waited = cancel_work(work)
    work.queue.flush(work)
    return cancel_work(work) or waited


def cancel_delayed_work(dwork: DelayedWork) -> bool:
    """Don't do a work that has not begun, whether or not its time is over.

    :return: whether it waited

    Source: kernel/workqueue.c
    """
    was_waiting = dwork.disarm()
    return cancel_work(dwork) or was_waiting


def cancel_delayed_work_sync(dwork: DelayedWork) -> bool:
    """Don't do a work that has not begun, and return when it does not run.

    :return: whether it waited

    Source: kernel/workqueue.c
    """
    waited = cancel_delayed_work(dwork)
    flush_work(dwork)
    return cancel_delayed_work(dwork) or waited
