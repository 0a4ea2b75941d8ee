"""Wait queues: wait_event_interruptible, wake_up and poll_wait.

A driver keeps a `WaitQueueHead` for each thing that somebody may wait for. An operation that needs
it calls `wait_event_interruptible`, whoever brings it about calls `wake_up`, from any thread.

An operation does not sleep in the middle, as it would in the kernel: there is one thread for all of
them. The wait ends the operation by an exception, the host keeps the call, and runs the operation
again from its beginning after a `wake_up`. So an operation waits first and acts afterwards. Nothing
is kept here but the kernel threads that sleep in a queue; which calls wait is the host's to know.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakSet

from mapdev.linux.context import Machine, Owner, WouldBlock, context, current_context
from mapdev.linux.kthread import Kthread

if TYPE_CHECKING:
    from mapdev.linux.fs import File

__all__ = [
    "WaitQueueHead", "init_waitqueue_head", "poll_wait", "wait_event_interruptible", "wake_up",
    "wake_up_all", "wake_up_interruptible",
]  # fmt: skip


class WaitQueueHead:
    """A queue of those that wait for something: ``struct wait_queue_head``.

    Made in a driver's `probe` or `open` as a rule, it belongs to that driver. One that is made
    before there is a host (in ``__init__``) belongs to the driver that first uses it. Whoever waits
    in it is woken, whichever driver or host that is.

    Source: include/linux/wait.h
    """

    __slots__ = ("__weakref__", "_machines", "_owner", "sleepers")

    def __init__(self) -> None:
        """Make an empty queue, as ``DECLARE_WAIT_QUEUE_HEAD`` does."""
        self.sleepers: set[Kthread] = set()
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

    def wake(self) -> None:
        """Have all that wait look again."""
        self.adopt()
        for sleeper in tuple(self.sleepers):
            sleeper.wake.set()
        for machine in tuple(self._machines):  # without one nobody has waited yet
            machine.wake_up(self, self._owner)


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
    wq_head.adopt()
    if condition():
        return 0
    task = context().task
    if not isinstance(task, Kthread):
        raise WouldBlock(wq_head)
    wq_head.sleepers.add(task)
    try:
        while True:
            task.wake.clear()  # before the look, so that no wake-up after it is lost
            if condition():
                return 0
            task.wake.wait()
    finally:
        wq_head.sleepers.discard(task)


def wake_up(wq_head: WaitQueueHead) -> None:
    """Wake those that wait in a queue, from any thread: their operations are run again.

    Files that called `poll_wait` with the queue are asked again what they are ready for, too.

    :param wq_head: the queue

    Source: include/linux/wait.h
    Fidelity: there are no exclusive waits, so all that wait are woken by each of the three
    functions. A call is not woken by a ``wake_up`` that its own operation made before it waited.
    """
    wq_head.wake()


def wake_up_interruptible(wq_head: WaitQueueHead) -> None:
    """Wake those that wait in a queue and can be interrupted, which is all.

    :param wq_head: the queue

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake()


def wake_up_all(wq_head: WaitQueueHead) -> None:
    """Wake all that wait in a queue.

    :param wq_head: the queue

    Source: include/linux/wait.h
    Fidelity: as for `wake_up`.
    """
    wq_head.wake()


def poll_wait(file: "File", wq_head: WaitQueueHead) -> None:
    """Say, in a poll operation, that what it returns may change when a queue is woken.

    :param file: the file that is polled
    :param wq_head: the queue

    Source: include/linux/poll.h
    Fidelity: without a poll table as third argument. A driver that never calls it for a file has
    the file asked again at each `wake_up` of any of its queues; in the kernel nobody would wake up.
    """
    wq_head.adopt()
    file.poll_queues.add(wq_head)
