"""Locks under the kernel's names: mutexes, semaphores, spinlocks, atomic numbers.

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
    "DEFINE_MUTEX", "DEFINE_SPINLOCK", "AtomicT", "Mutex", "Semaphore", "Spinlock", "atomic_add",
    "atomic_add_return", "atomic_cmpxchg", "atomic_dec", "atomic_dec_and_test", "atomic_dec_return",
    "atomic_inc", "atomic_inc_not_zero", "atomic_inc_return", "atomic_read", "atomic_set",
    "atomic_sub", "atomic_xchg", "down", "down_interruptible", "down_trylock", "mutex_init",
    "mutex_is_locked", "mutex_lock", "mutex_lock_interruptible", "mutex_trylock", "mutex_unlock",
    "sema_init", "spin_lock", "spin_lock_bh", "spin_lock_init", "spin_lock_irq",
    "spin_lock_irqsave", "spin_trylock", "spin_unlock", "spin_unlock_bh", "spin_unlock_irq",
    "spin_unlock_irqrestore", "up",
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


class Spinlock:
    """A lock that is held for moments: ``spinlock_t``. Also a context manager.

    Source: include/linux/spinlock_types.h
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        """Make one that nobody holds."""
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take it; nothing that it guards lasts."""
        if not self._lock.acquire(timeout=10):
            raise RuntimeError("spin_lock: held for 10 seconds: is it taken twice, or kept?")

    def try_take(self) -> bool:
        """Take it, if it is free."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Give it back; RuntimeError if nobody holds it."""
        self._lock.release()

    def __enter__(self) -> "Spinlock":
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.release()


class AtomicT:
    """A number of 32 bits that threads change at once: ``atomic_t``.

    Source: include/linux/types.h
    """

    __slots__ = ("_counter", "_guard")

    def __init__(self, counter: int = 0) -> None:
        """Make one, as ``ATOMIC_INIT`` does."""
        self._counter = counter
        self._guard = threading.Lock()

    def change(self, by: int) -> int:
        """Add a number; return the sum."""
        with self._guard:
            self._counter = _signed(self._counter + by)
            return self._counter

    def exchange(self, new: int, only: int | None = None) -> int:
        """Set it, if it is `only` where that is given; return what it was."""
        with self._guard:
            was = self._counter
            if only is None or only == was:
                self._counter = _signed(new)
            return was


def _signed(number: int) -> int:
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def DEFINE_MUTEX() -> Mutex:
    """Make a mutex that nobody holds.

    Source: include/linux/mutex.h
    Fidelity: gives the mutex, where C declares a variable.
    """
    return Mutex()


def DEFINE_SPINLOCK() -> Spinlock:
    """Make a spinlock that nobody holds.

    Source: include/linux/spinlock_types.h
    Fidelity: gives the lock, where C declares a variable.
    """
    return Spinlock()


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


def spin_lock_init(lock: Spinlock) -> None:
    """Set up a spinlock that nobody holds.

    Source: include/linux/spinlock.h
    """
    lock.__init__()  # type: ignore[misc]  # that is what it means


def spin_lock(lock: Spinlock) -> None:
    """Take a spinlock.

    :raises RuntimeError: it was not free for 10 seconds: the kernel would hang

    Source: include/linux/spinlock.h
    Fidelity: it sleeps; interrupts there are none, so the variants are the same.
    """
    lock.take()


def spin_trylock(lock: Spinlock) -> int:
    """Take a spinlock if it is free; give 1 if it was, else 0.

    Source: include/linux/spinlock.h
    """
    return int(lock.try_take())


def spin_unlock(lock: Spinlock) -> None:
    """Give a spinlock back.

    Source: include/linux/spinlock.h
    """
    lock.release()


def spin_lock_irq(lock: Spinlock) -> None:
    """Take a spinlock.

    Source: include/linux/spinlock.h
    Fidelity: as for `spin_lock`.
    """
    lock.take()


def spin_unlock_irq(lock: Spinlock) -> None:
    """Give a spinlock back.

    Source: include/linux/spinlock.h
    """
    lock.release()


def spin_lock_bh(lock: Spinlock) -> None:
    """Take a spinlock.

    Source: include/linux/spinlock.h
    Fidelity: as for `spin_lock`.
    """
    lock.take()


def spin_unlock_bh(lock: Spinlock) -> None:
    """Give a spinlock back.

    Source: include/linux/spinlock.h
    """
    lock.release()


def spin_lock_irqsave(lock: Spinlock, flags: int = 0) -> int:
    """Take a spinlock.

    :return: flags for `spin_unlock_irqrestore`, which say nothing

    Source: include/linux/spinlock.h
    Fidelity: as for `spin_lock`; gives the flags, where C stores them in its argument.
    """
    lock.take()
    return flags


def spin_unlock_irqrestore(lock: Spinlock, flags: int) -> None:
    """Give a spinlock back.

    Source: include/linux/spinlock.h
    """
    lock.release()


def atomic_read(v: AtomicT) -> int:
    """Give an atomic number.

    Source: include/linux/atomic.h
    """
    return v._counter


def atomic_set(v: AtomicT, i: int) -> None:
    """Set an atomic number.

    Source: include/linux/atomic.h
    """
    v.exchange(i)


def atomic_add(i: int, v: AtomicT) -> None:
    """Add to an atomic number.

    Source: include/linux/atomic.h
    """
    v.change(i)


def atomic_add_return(i: int, v: AtomicT) -> int:
    """Add to an atomic number; give the sum.

    Source: include/linux/atomic.h
    """
    return v.change(i)


def atomic_sub(i: int, v: AtomicT) -> None:
    """Take from an atomic number.

    Source: include/linux/atomic.h
    """
    v.change(-i)


def atomic_inc(v: AtomicT) -> None:
    """Add 1 to an atomic number.

    Source: include/linux/atomic.h
    """
    v.change(1)


def atomic_inc_return(v: AtomicT) -> int:
    """Add 1 to an atomic number; give the sum.

    Source: include/linux/atomic.h
    """
    return v.change(1)


def atomic_inc_not_zero(v: AtomicT) -> bool:
    """Add 1 to an atomic number unless it is 0; say whether it was not.

    Source: include/linux/atomic.h
    """
    while (was := atomic_read(v)) != 0:
        if v.exchange(was + 1, only=was) == was:
            return True
    return False


def atomic_dec(v: AtomicT) -> None:
    """Take 1 from an atomic number.

    Source: include/linux/atomic.h
    """
    v.change(-1)


def atomic_dec_return(v: AtomicT) -> int:
    """Take 1 from an atomic number; give what is left.

    Source: include/linux/atomic.h
    """
    return v.change(-1)


def atomic_dec_and_test(v: AtomicT) -> bool:
    """Take 1 from an atomic number; say whether 0 is left.

    Source: include/linux/atomic.h
    """
    return v.change(-1) == 0


def atomic_xchg(v: AtomicT, new: int) -> int:
    """Set an atomic number; give what it was.

    Source: include/linux/atomic.h
    """
    return v.exchange(new)


def atomic_cmpxchg(v: AtomicT, old: int, new: int) -> int:
    """Set an atomic number if it is `old`; give what it was.

    Source: include/linux/atomic.h
    """
    return v.exchange(new, only=old)
