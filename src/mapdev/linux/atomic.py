"""Atomic numbers under the kernel's names: changed in one step, in whatever thread."""

import threading

__all__ = [
    "AtomicT", "atomic_add", "atomic_add_return", "atomic_cmpxchg", "atomic_dec",
    "atomic_dec_and_test", "atomic_dec_return", "atomic_inc", "atomic_inc_not_zero",
    "atomic_inc_return", "atomic_read", "atomic_set", "atomic_sub", "atomic_xchg",
]  # fmt: skip


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
