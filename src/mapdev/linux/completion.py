"""Completions: somebody waits until somebody else says that a thing is done.

A `Completion` counts the calls of `complete` that nobody has used yet. An operation that has used
one and has to wait for something else afterwards does not use another when it is run again.
"""

from functools import partial

from mapdev.linux.context import context
from mapdev.linux.kthread import Kthread
from mapdev.linux.numbers import MAX_SCHEDULE_TIMEOUT
from mapdev.linux.wait import WaitQueueHead, _progress_of, _wait_for, wake_up, wake_up_all

__all__ = [
    "Completion", "complete", "complete_all", "completion_done", "init_completion",
    "reinit_completion", "try_wait_for_completion", "wait_for_completion",
    "wait_for_completion_interruptible", "wait_for_completion_interruptible_timeout",
    "wait_for_completion_killable", "wait_for_completion_timeout",
]  # fmt: skip

_ALL = 1 << 31  # UINT_MAX in the kernel: complete_all was called


class Completion:
    """Something that is to be done: ``struct completion``.

    :ivar done: how many may go on

    Source: include/linux/completion.h
    """

    __slots__ = ("done", "wait")

    def __init__(self) -> None:
        """Make one that is not done, as ``DECLARE_COMPLETION`` does."""
        self.done = 0
        self.wait = WaitQueueHead()


def init_completion(x: Completion) -> None:
    """Set up a completion that nobody waits for.

    Source: include/linux/completion.h
    Fidelity: `Completion` makes one that is set up already; this does it again.
    """
    x.__init__()  # type: ignore[misc]  # that is what it means


def reinit_completion(x: Completion) -> None:
    """Make a completion undone again, as after `complete_all`.

    Source: include/linux/completion.h
    """
    x.done = 0


def complete(x: Completion) -> None:
    """Let one go on that waits, or that comes later; from any thread.

    Source: kernel/sched/completion.c
    """
    if x.done < _ALL:
        x.done += 1
    wake_up(x.wait)


def complete_all(x: Completion) -> None:
    """Let all go on that wait, and all that come later; from any thread.

    Source: kernel/sched/completion.c
    """
    x.done = _ALL
    wake_up_all(x.wait)


def completion_done(x: Completion) -> bool:
    """Say whether somebody who waits could go on at once.

    Source: kernel/sched/completion.c
    """
    return x.done > 0


def try_wait_for_completion(x: Completion) -> bool:
    """Use one `complete`, if there is one, without waiting; say whether there was.

    Source: kernel/sched/completion.c
    """
    if not x.done:
        return False
    if x.done < _ALL:
        x.done -= 1
    return True


def _wait(x: Completion, timeout: int, is_interruptible: bool) -> int:
    now = context()
    if isinstance(now.task, Kthread):
        take = partial(try_wait_for_completion, x)
        return _wait_for(x.wait, take, timeout, True, is_interruptible)
    progress = _progress_of(now)
    wait = progress.next(x)
    left = progress.get(wait)
    if left is None:  # in no earlier run of this operation
        take = partial(try_wait_for_completion, x)
        left = _wait_for(x.wait, take, timeout, True, is_interruptible)
        progress.note(wait, left)
    result: int = left
    return result


def wait_for_completion(x: Completion) -> None:
    """Wait until `complete` was called; signals do not end the wait.

    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: kernel/sched/completion.c
    Fidelity: as for `wait_event`.
    """
    _wait(x, MAX_SCHEDULE_TIMEOUT, False)


def wait_for_completion_interruptible(x: Completion) -> int:
    """Wait until `complete` was called; a signal may end the wait.

    :return: 0
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: kernel/sched/completion.c
    Fidelity: as for `wait_event_interruptible`.
    """
    _wait(x, MAX_SCHEDULE_TIMEOUT, True)
    return 0


def wait_for_completion_killable(x: Completion) -> int:
    """Wait until `complete` was called; only a signal that kills ends the wait.

    :return: 0
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: kernel/sched/completion.c
    Fidelity: as for `wait_event_killable`.
    """
    _wait(x, MAX_SCHEDULE_TIMEOUT, False)
    return 0


def wait_for_completion_timeout(x: Completion, timeout: int) -> int:
    """Wait until `complete` was called or some time is over; signals do not end the wait.

    :param timeout: jiffies
    :return: 0 if the time is over, else the jiffies that were left, at least 1
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: kernel/sched/completion.c
    Fidelity: as for `wait_event_timeout`.
    """
    return _wait(x, timeout, False)


def wait_for_completion_interruptible_timeout(x: Completion, timeout: int) -> int:
    """Wait until `complete` was called or some time is over; a signal may end the wait.

    :param timeout: jiffies
    :return: 0 if the time is over, else the jiffies that were left, at least 1
    :raises BlockingIOError: it has to wait; as for `wait_event_interruptible`

    Source: kernel/sched/completion.c
    Fidelity: as for `wait_event_interruptible_timeout`.
    """
    return _wait(x, timeout, True)
