"""Wait queues: wait_event_interruptible and its relatives, wake_up and poll_wait.

A driver keeps a `WaitQueueHead` for each thing that somebody may wait for. An operation that needs
it calls `wait_event_interruptible`, whoever brings it about calls `wake_up`, from any thread.

An operation does not sleep in the middle, as it would in the kernel: there is one thread for all of
them. The wait ends the operation by an exception, the host keeps the call, and runs the operation
again from its beginning after a `wake_up`. So an operation waits first and acts afterwards. Nothing
is kept here but the kernel threads and coroutines that sleep in a queue; which calls wait is the
host's to know. `completion`, `timer` and `workqueue` build on this.
"""

# ruff: noqa: N802 - kernel names keep the kernel's spelling

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from mapdev.linux.context import (
    Context,
    Machine,
    Owner,
    Progress,
    WouldBlock,
    context,
    current_context,
)
from mapdev.linux.kthread import Kthread
from mapdev.linux.numbers import HZ, MAX_SCHEDULE_TIMEOUT

if TYPE_CHECKING:
    from mapdev.linux.fs import File

__all__ = [
    "DECLARE_WAIT_QUEUE_HEAD", "WaitQueueHead", "init_waitqueue_head", "poll_wait", "wait_event",
    "wait_event_interruptible",
    "wait_event_interruptible_exclusive", "wait_event_interruptible_timeout", "wait_event_killable",
    "wait_event_timeout", "waitqueue_active", "wake_up", "wake_up_all", "wake_up_interruptible",
    "wake_up_interruptible_all", "wake_up_interruptible_nr", "wake_up_interruptible_poll",
    "wake_up_interruptible_sync", "wake_up_nr", "wake_up_poll",
]  # fmt: skip


class _Sleeper(Protocol):
    """Who sleeps in a queue: a kernel thread, or a coroutine."""

    @property
    def wake(self) -> Any:
        """Has ``set()``, which wakes it; called in any thread."""


class WaitQueueHead:
    """A queue of those that wait for something: ``struct wait_queue_head``.

    Made in a driver's `probe` or `open` as a rule, it belongs to that driver. One that is made
    before there is a host (in ``__init__``) belongs to the driver that first uses it. Whoever waits
    in it is woken, whichever driver or host that is.

    Source: include/linux/wait.h
    """

    __slots__ = ("__weakref__", "_machines", "_owner", "exclusive", "sleepers")

    def __init__(self) -> None:
        """Make an empty queue, as ``DECLARE_WAIT_QUEUE_HEAD`` does."""
        self.sleepers: set[_Sleeper] = set()
        self.exclusive: dict[_Sleeper, None] = {}  # in the order in which they came
        self._machines: WeakSet[Machine] = WeakSet()  # on which somebody may wait
        self._owner: Owner = None
        self.adopt()

    def adopt(self) -> None:
        """Know the machine and, if the queue belongs to no driver yet, the driver that runs."""
        now = current_context()
        if now is not None:
            self._machines.add(now.machine)
            if self._owner is None:
                self._owner = now.owner

    def wake(self, nr: int | None = None) -> None:
        """Have those that wait look again: of exclusive ones the first `nr`, None for all."""
        self.adopt()
        for sleeper in tuple(self.sleepers):
            sleeper.wake.set()
        for sleeper in tuple(self.exclusive):
            if nr == 0:
                break
            if self.exclusive.pop(sleeper, self) is None:  # nobody else has woken it
                sleeper.wake.set()
                nr = None if nr is None else nr - 1
        for machine in tuple(self._machines):  # without one nobody has waited yet
            machine.wake_up(self, self._owner, nr)


def _progress_of(now: Context) -> Progress:
    """Return what the operation that runs has got past."""
    if now.progress is None:
        now.progress = Progress()
    return now.progress


def _wait_for(
    wq_head: WaitQueueHead,
    condition: Callable[[], object],
    timeout: int = MAX_SCHEDULE_TIMEOUT,
    is_exclusive: bool = False,
    is_interruptible: bool = True,
) -> int:
    """Wait until a condition holds; return the jiffies that are left, 0 if the time is over."""
    wq_head.adopt()
    if not callable(condition):
        raise TypeError(
            f"the condition of a wait is a function that is asked again, not {condition!r:.60}: "
            "write lambda: ..."
        )
    if condition():
        return max(1, timeout)
    now = context()
    has_limit = timeout < MAX_SCHEDULE_TIMEOUT
    seconds = max(0, timeout) / HZ
    task = now.task
    if isinstance(task, Kthread):
        deadline = time.monotonic() + seconds if has_limit else None
        return _sleep(wq_head, condition, task, deadline, is_exclusive)
    deadline = None
    if has_limit:
        progress = _progress_of(now)
        wait = progress.next(wq_head)
        deadline = progress.get(wait)
        if deadline is None:  # it begins now; when it is over it stays so in all later runs
            deadline = time.monotonic() + seconds
            progress.note(wait, deadline)
        if deadline <= time.monotonic():
            return 0
    raise WouldBlock(wq_head, deadline, is_exclusive, is_interruptible)


def _sleep(
    wq_head: WaitQueueHead, condition: Callable[[], object], task: Kthread,
    deadline: float | None, is_exclusive: bool,
) -> int:  # fmt: skip
    """Sleep in a kernel thread; return the jiffies that are left, at least 1 unless it is over."""
    try:
        while True:
            task.wake.clear()  # before the look, so that no wake-up after it is lost
            if is_exclusive:
                wq_head.exclusive[task] = None
            else:
                wq_head.sleepers.add(task)
            left = None if deadline is None else deadline - time.monotonic()
            if condition():
                return max(1, int((left or 0) * HZ))
            if left is not None and left <= 0:
                return 0
            task.wake.wait(left)
    finally:
        wq_head.sleepers.discard(task)
        wq_head.exclusive.pop(task, None)


def DECLARE_WAIT_QUEUE_HEAD(name: str = "") -> WaitQueueHead:
    """Make a wait queue.

    :param name: of the variable in C

    Source: include/linux/wait.h
    Fidelity: gives the queue, where C declares a variable.
    """
    return WaitQueueHead()


def init_waitqueue_head(wq_head: WaitQueueHead) -> None:
    """Set up a wait queue.

    :param wq_head: a queue in which nobody waits

    Source: include/linux/wait.h
    Fidelity: `WaitQueueHead` makes a queue that is set up already; this does it again.
    """
    wq_head.__init__()  # type: ignore[misc]  # that is what it means


def wait_event_interruptible(wq_head: WaitQueueHead, condition: Callable[[], object]) -> int:
    """Wait until a condition holds; a signal may end the wait.

    :param wq_head: the queue that is woken when the condition may have changed
    :param condition: called without arguments; what it returns is true when the wait is over
    :return: 0
    :raises BlockingIOError: the condition does not hold; to be left to the host, see below

    Source: include/linux/wait.h
    Fidelity: in an operation this does not sleep but raises BlockingIOError. The host keeps the
    program's call and runs the *whole* operation again after a `wake_up` of the queue, so what it
    does before the wait it does again: wait first. With O_NONBLOCK the program gets EAGAIN, so that
    the driver need not ask for the flag. A signal ends the call (EINTR, or a restart as SA_RESTART
    says) and the driver is not told. In a kernel thread it sleeps, as in the kernel.
    """
    _wait_for(wq_head, condition)
    return 0


def wait_event_interruptible_timeout(
    wq_head: WaitQueueHead, condition: Callable[[], object], timeout: int
) -> int:
    """Wait until a condition holds or some time is over; a signal may end the wait.

    :param wq_head: the queue that is woken when the condition may have changed
    :param condition: as for `wait_event_interruptible`
    :param timeout: jiffies, of which ``HZ`` are a second
    :return: 0 if the time is over and the condition does not hold, else the jiffies that were left,
        at least 1
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: include/linux/wait.h
    Fidelity: as for `wait_event_interruptible`. The time runs from the first time that the
    operation comes here; when it is over, the operation is run again and this gives 0.
    """
    return _wait_for(wq_head, condition, timeout)


def wait_event_interruptible_exclusive(
    wq_head: WaitQueueHead, condition: Callable[[], object]
) -> int:
    """Wait as `wait_event_interruptible`, as one of those of whom `wake_up` wakes only the first.

    :return: 0
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: include/linux/wait.h
    Fidelity: as for `wait_event_interruptible`. One that was woken and has to wait again goes to
    the end of the queue, as in the kernel. Kernel threads are woken before calls.
    """
    _wait_for(wq_head, condition, is_exclusive=True)
    return 0


def wait_event(wq_head: WaitQueueHead, condition: Callable[[], object]) -> None:
    """Wait until a condition holds; signals do not end the wait.

    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: include/linux/wait.h
    Fidelity: as for `wait_event_interruptible`; a client that is killed ends all the same.
    """
    _wait_for(wq_head, condition, is_interruptible=False)


def wait_event_killable(wq_head: WaitQueueHead, condition: Callable[[], object]) -> int:
    """Wait until a condition holds; only a signal that kills ends the wait.

    :return: 0
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: include/linux/wait.h
    Fidelity: as for `wait_event_interruptible`.
    """
    _wait_for(wq_head, condition, is_interruptible=False)
    return 0


def wait_event_timeout(
    wq_head: WaitQueueHead, condition: Callable[[], object], timeout: int
) -> int:
    """Wait until a condition holds or some time is over; signals do not end the wait.

    :param timeout: jiffies, of which ``HZ`` are a second
    :return: as for `wait_event_interruptible_timeout`
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: include/linux/wait.h
    Fidelity: as for `wait_event` and `wait_event_interruptible_timeout`.
    """
    return _wait_for(wq_head, condition, timeout, is_interruptible=False)


def wake_up(wq_head: WaitQueueHead) -> None:
    """Wake those that wait in a queue, from any thread: their operations are run again.

    Of those that wait exclusively only the first is woken. Files that called `poll_wait` with the
    queue are asked again what they are ready for, too.

    :param wq_head: the queue

    Source: include/linux/wait.h
    Fidelity: a call is not woken by a ``wake_up`` that its own operation made before it waited.
    All that wait can be woken by each of these functions, uninterruptible waits too.
    """
    wq_head.wake(1)


def wake_up_nr(wq_head: WaitQueueHead, nr: int) -> None:
    """Wake those that wait in a queue, and the first `nr` of exclusive ones; 0 means all.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake(nr or None)


def wake_up_all(wq_head: WaitQueueHead) -> None:
    """Wake all that wait in a queue, exclusively or not.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake()


def wake_up_interruptible(wq_head: WaitQueueHead) -> None:
    """Wake those that wait in a queue, and the first of exclusive ones.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake(1)


def wake_up_interruptible_nr(wq_head: WaitQueueHead, nr: int) -> None:
    """Wake those that wait in a queue, and the first `nr` of exclusive ones; 0 means all.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake(nr or None)


def wake_up_interruptible_all(wq_head: WaitQueueHead) -> None:
    """Wake all that wait in a queue, exclusively or not.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake()


def wake_up_interruptible_sync(wq_head: WaitQueueHead) -> None:
    """Wake as `wake_up_interruptible`, by one that is about to sleep itself.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake(1)


def wake_up_poll(wq_head: WaitQueueHead, mask: int) -> None:
    """Wake as `wake_up`, saying which ``EPOLL*`` bits have come true.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`. The driver's poll is asked for the mask.
    """
    wq_head.wake(1)


def wake_up_interruptible_poll(wq_head: WaitQueueHead, mask: int) -> None:
    """Wake as `wake_up`, saying which ``EPOLL*`` bits have come true.

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`. The driver's poll is asked for the mask.
    """
    wq_head.wake(1)


def waitqueue_active(wq_head: WaitQueueHead) -> bool:
    """Say whether somebody may wait in a queue.

    Source: include/linux/wait.h
    Fidelity: True also if somebody has waited there before: which calls wait the host knows.
    """
    return bool(wq_head.sleepers or wq_head.exclusive or wq_head._machines)


def poll_wait(file: "File", wq_head: WaitQueueHead, p: object = None) -> None:
    """Say, in a poll operation, that what it returns may change when a queue is woken.

    :param file: the file that is polled
    :param wq_head: the queue

    Source: include/linux/poll.h
    Fidelity: the poll table, the third argument, says nothing. A driver that never calls it for a
    file has the file asked again at each `wake_up` of any of its queues; in the kernel nobody would
    wake up.
    """
    wq_head.adopt()
    file.poll_queues.add(wq_head)
