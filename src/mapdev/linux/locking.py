"""Mutexes and semaphores under the kernel's names.

Operations and timers of a driver run one after another, under the host's lock: among them no lock
is needed. These are for what kernel threads and works change too, and for drivers that are written
as in C. A lock that an operation holds when it has to wait is released, since the operation is run
again from its beginning and takes it again; a lock that an operation has kept after its end makes
the next one wait.
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import threading
from types import TracebackType

from mapdev.linux.context import Context, current_context
from mapdev.linux.kthread import Kthread
from mapdev.linux.wait import WaitQueueHead, _progress_of, _wait_for

__all__ = [
    "DEFINE_MUTEX", "Mutex", "Semaphore", "down", "down_interruptible", "down_trylock",
    "mutex_init", "mutex_is_locked", "mutex_lock", "mutex_lock_interruptible", "mutex_trylock",
    "mutex_unlock", "sema_init", "up",
]  # fmt: skip


class Semaphore:
    """So many may hold it at once: ``struct semaphore``. Also a context manager.

    Source: include/linux/semaphore.h
    """

    def __init__(self, val: int = 1) -> None:
        """Make one that `val` may hold."""
        self.count = val
        self._queue = WaitQueueHead()
        self._guard = threading.Lock()

    def try_take(self) -> bool:
        """Take it, if it is free."""
        with self._guard:
            if self.count <= 0:
                return False
            self.count -= 1
        now = current_context()
        if now is not None and _may_wait(now):
            _progress_of(now).held.append(self)
        return True

    def take(self, is_interruptible: bool = True) -> None:
        """Take it, or wait until somebody releases it."""
        _wait_for(self._queue, self.try_take, is_exclusive=True, is_interruptible=is_interruptible)

    def release(self) -> None:
        """Give it back; in any thread."""
        with self._guard:
            self.count += 1
        now = current_context()
        if now is not None and now.progress is not None and self in now.progress.held:
            now.progress.held.remove(self)
        self._queue.wake(1)

    def __enter__(self) -> "Semaphore":
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        now = current_context()
        # An operation that had to wait inside has been left by all its locks already, or will be.
        if now is None or not _may_wait(now) or self in _progress_of(now).held:
            self.release()


def _may_wait(now: Context) -> bool:
    """Say whether an operation runs that is run again when it has to wait."""
    return now.task is not None and not isinstance(now.task, Kthread)


class Mutex(Semaphore):
    """One may hold it at a time: ``struct mutex``. Also a context manager.

    Source: include/linux/mutex_types.h
    """

    def __init__(self) -> None:
        """Make one that nobody holds."""
        super().__init__(1)

    def release(self) -> None:
        """Give it back.

        :raises RuntimeError: nobody holds it (a warning of a debugging kernel)
        """
        if self.count > 0:
            raise RuntimeError("mutex_unlock of a mutex that nobody holds")
        super().release()


def DEFINE_MUTEX() -> Mutex:
    """Make a mutex that nobody holds.

    Source: include/linux/mutex.h
    Fidelity: gives the mutex, where C declares a variable.
    """
    return Mutex()


def mutex_init(lock: Mutex) -> None:
    """Set up a mutex that nobody holds.

    Source: include/linux/mutex.h
    """
    lock.__init__()  # type: ignore[misc]  # that is what it means


def mutex_lock(lock: Mutex) -> None:
    """Take a mutex; wait until it is free.

    :raises BlockingIOError: an operation has to wait; as for `wait_event_interruptible`

    Source: kernel/locking/mutex.c
    Fidelity: the operation is run again from its beginning. What an operation holds when it waits
    for something else is released until then.
    """
    lock.take(is_interruptible=False)


def mutex_lock_interruptible(lock: Mutex) -> int:
    """Take a mutex; wait until it is free, or a signal comes.

    :return: 0
    :raises BlockingIOError: an operation has to wait; as for `wait_event_interruptible`

    Source: kernel/locking/mutex.c
    Fidelity: as for `mutex_lock`.
    """
    lock.take()
    return 0


def mutex_trylock(lock: Mutex) -> int:
    """Take a mutex if it is free; give 1 if it was, else 0.

    Source: kernel/locking/mutex.c
    """
    return int(lock.try_take())


def mutex_unlock(lock: Mutex) -> None:
    """Give a mutex back.

    :raises RuntimeError: nobody holds it

    Source: kernel/locking/mutex.c
    """
    lock.release()


def mutex_is_locked(lock: Mutex) -> bool:
    """Say whether somebody holds a mutex.

    Source: kernel/locking/mutex.c
    """
    return lock.count <= 0


def sema_init(sem: Semaphore, val: int) -> None:
    """Set up a semaphore that `val` may hold at once.

    Source: include/linux/semaphore.h
    """
    sem.__init__(val)  # type: ignore[misc]  # that is what it means


def down(sem: Semaphore) -> None:
    """Take a semaphore; wait until it is free.

    :raises BlockingIOError: an operation has to wait; as for `wait_event_interruptible`

    Source: kernel/locking/semaphore.c
    Fidelity: as for `mutex_lock`.
    """
    sem.take(is_interruptible=False)


def down_interruptible(sem: Semaphore) -> int:
    """Take a semaphore; wait until it is free, or a signal comes.

    :return: 0
    :raises BlockingIOError: an operation has to wait; as for `wait_event_interruptible`

    Source: kernel/locking/semaphore.c
    Fidelity: as for `mutex_lock`.
    """
    sem.take()
    return 0


def down_trylock(sem: Semaphore) -> int:
    """Take a semaphore if it is free; give 0 if it was, else 1.

    Source: kernel/locking/semaphore.c
    """
    return int(not sem.try_take())


def up(sem: Semaphore) -> None:
    """Give a semaphore back; from any thread.

    Source: kernel/locking/semaphore.c
    """
    sem.release()
