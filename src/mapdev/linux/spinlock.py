"""Spinlocks under the kernel's names, for drivers that are written as in C; see `locking`."""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import threading
from types import TracebackType

__all__ = [
    "DEFINE_SPINLOCK", "Spinlock", "spin_lock", "spin_lock_bh", "spin_lock_init", "spin_lock_irq",
    "spin_lock_irqsave", "spin_trylock", "spin_unlock", "spin_unlock_bh", "spin_unlock_irq",
    "spin_unlock_irqrestore",
]  # fmt: skip


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


def DEFINE_SPINLOCK() -> Spinlock:
    """Make a spinlock that nobody holds.

    Source: include/linux/spinlock_types.h
    Fidelity: gives the lock, where C declares a variable.
    """
    return Spinlock()


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


# Interrupts there are none: these differ in the kernel only.
spin_lock_irq = spin_lock_bh = spin_lock
spin_unlock_irq = spin_unlock_bh = spin_unlock
