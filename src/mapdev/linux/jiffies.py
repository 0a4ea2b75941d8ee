"""Time: jiffies, ktime_get, and delays such as msleep.

Times are those of the monotonic clock. A delay in an operation or in a timer really sleeps, so that
all programs of the host wait as long: an operation that shall wait alone waits for a queue, by
`wait_event_interruptible_timeout`, or is ``async def`` and awaits `async_msleep`.
"""

import time
from typing import Any, NoReturn

from mapdev.linux.numbers import HZ

__all__ = [
    "fsleep", "get_jiffies_64", "jiffies", "jiffies_to_msecs", "jiffies_to_usecs", "ktime_add_ns",
    "ktime_get", "ktime_get_boottime", "ktime_get_ns", "ktime_get_real", "ktime_get_real_ns",
    "ktime_ms_delta", "ktime_sub", "ktime_to_ms", "ktime_to_ns", "ktime_to_us", "mdelay",
    "ms_to_ktime", "msecs_to_jiffies", "msleep", "msleep_interruptible", "ndelay", "ssleep",
    "time_after", "time_after_eq", "time_before", "time_before_eq", "udelay", "usecs_to_jiffies",
    "usleep_range",
]  # fmt: skip

_NS = 1_000_000_000
_MSEC, _USEC = 1_000_000, 1_000  # nanoseconds


class _Jiffies:
    """The kernel's clock, called as ``jiffies()``: a variable of C would stand still here."""

    def __call__(self) -> int:
        return time.monotonic_ns() * HZ // _NS

    def _is_function(self, *other: Any) -> NoReturn:
        raise TypeError("jiffies is a function here: write jiffies()")

    __int__ = __index__ = __add__ = __radd__ = __sub__ = __rsub__ = __lt__ = __le__ = __gt__ = (
        __ge__
    ) = _is_function

    def __repr__(self) -> str:
        return "jiffies()"


jiffies = _Jiffies()
"""Gives the kernel's clock in ticks, of which ``HZ`` are a second.

Source: include/linux/jiffies.h
Fidelity: a function, where C has a variable; it counts from the machine's start.
"""


def get_jiffies_64() -> int:
    """Give the kernel's clock in ticks, of which ``HZ`` are a second.

    Source: kernel/time/jiffies.c
    """
    return jiffies()


def msecs_to_jiffies(m: int) -> int:
    """Give the ticks of so many milliseconds, rounded up.

    Source: include/linux/jiffies.h
    """
    return -(-m * HZ // 1000)


def usecs_to_jiffies(u: int) -> int:
    """Give the ticks of so many microseconds, rounded up.

    Source: include/linux/jiffies.h
    """
    return -(-u * HZ // 1_000_000)


def jiffies_to_msecs(j: int) -> int:
    """Give the milliseconds of so many ticks.

    Source: kernel/time/time.c
    """
    return j * 1000 // HZ


def jiffies_to_usecs(j: int) -> int:
    """Give the microseconds of so many ticks.

    Source: kernel/time/time.c
    """
    return j * 1_000_000 // HZ


def time_after(a: int, b: int) -> bool:
    """Say whether time `a`, in ticks, is after `b`.

    Source: include/linux/jiffies.h
    """
    return a > b


def time_after_eq(a: int, b: int) -> bool:
    """Say whether time `a`, in ticks, is after `b` or the same.

    Source: include/linux/jiffies.h
    """
    return a >= b


def time_before(a: int, b: int) -> bool:
    """Say whether time `a`, in ticks, is before `b`.

    Source: include/linux/jiffies.h
    """
    return a < b


def time_before_eq(a: int, b: int) -> bool:
    """Say whether time `a`, in ticks, is before `b` or the same.

    Source: include/linux/jiffies.h
    """
    return a <= b


def ktime_get() -> int:
    """Give the monotonic time in nanoseconds.

    Source: kernel/time/timekeeping.c
    Fidelity: ``ktime_t`` is an int of nanoseconds, as in the kernel.
    """
    return time.monotonic_ns()


def ktime_get_ns() -> int:
    """Give the monotonic time in nanoseconds.

    Source: include/linux/timekeeping.h
    """
    return time.monotonic_ns()


def ktime_get_boottime() -> int:
    """Give the time since the machine's start in nanoseconds, sleep included.

    Source: include/linux/timekeeping.h
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def ktime_get_real() -> int:
    """Give the time of day in nanoseconds since 1970.

    Source: include/linux/timekeeping.h
    """
    return time.time_ns()


def ktime_get_real_ns() -> int:
    """Give the time of day in nanoseconds since 1970.

    Source: include/linux/timekeeping.h
    """
    return time.time_ns()


def ktime_sub(lhs: int, rhs: int) -> int:
    """Give the nanoseconds between two times.

    Source: include/linux/ktime.h
    """
    return lhs - rhs


def ktime_add_ns(kt: int, nsval: int) -> int:
    """Give the time so many nanoseconds later.

    Source: include/linux/ktime.h
    """
    return kt + nsval


def ktime_ms_delta(later: int, earlier: int) -> int:
    """Give the milliseconds between two times.

    Source: include/linux/ktime.h
    """
    return ktime_to_ms(later - earlier)


def ktime_to_ns(kt: int) -> int:
    """Give a time in nanoseconds.

    Source: include/linux/ktime.h
    """
    return kt


def ktime_to_us(kt: int) -> int:
    """Give a time in microseconds, cut off as in C.

    Source: include/linux/ktime.h
    """
    return int(kt / abs(kt)) * (abs(kt) // _USEC) if kt else 0


def ktime_to_ms(kt: int) -> int:
    """Give a time in milliseconds, cut off as in C.

    Source: include/linux/ktime.h
    """
    return int(kt / abs(kt)) * (abs(kt) // _MSEC) if kt else 0


def ms_to_ktime(ms: int) -> int:
    """Give so many milliseconds as a time.

    Source: include/linux/ktime.h
    """
    return ms * _MSEC


def msleep(msecs: int) -> None:
    """Sleep for some milliseconds.

    :param msecs: milliseconds

    Source: kernel/time/sleep_timeout.c
    Fidelity: in an operation, in `probe` and in a timer all programs of the host wait as long. Not
    so in a kernel thread or a work.
    """
    time.sleep(msecs / 1000)


def msleep_interruptible(msecs: int) -> int:
    """Sleep for some milliseconds.

    :return: 0, the milliseconds that were left

    Source: kernel/time/sleep_timeout.c
    Fidelity: as for `msleep`; no signal ends it.
    """
    msleep(msecs)
    return 0


def ssleep(seconds: int) -> None:
    """Sleep for some seconds.

    Source: include/linux/delay.h
    Fidelity: as for `msleep`.
    """
    time.sleep(seconds)


def usleep_range(min: int, max: int) -> None:
    """Sleep for some microseconds.

    :param min: microseconds, at least
    :param max: microseconds, at most if that can be

    Source: include/linux/delay.h
    Fidelity: as for `msleep`.
    """
    time.sleep(min / 1_000_000)


def fsleep(usecs: int) -> None:
    """Sleep for some microseconds.

    Source: include/linux/delay.h
    Fidelity: as for `msleep`.
    """
    time.sleep(usecs / 1_000_000)


def _spin(nanoseconds: int) -> None:
    end = time.monotonic_ns() + nanoseconds
    while time.monotonic_ns() < end:
        pass


def ndelay(nsecs: int) -> None:
    """Let some nanoseconds pass without sleeping.

    Source: include/linux/delay.h
    Fidelity: as for `msleep`; a call takes some microseconds.
    """
    _spin(nsecs)


def udelay(usecs: int) -> None:
    """Let some microseconds pass without sleeping.

    Source: include/asm-generic/delay.h
    Fidelity: as for `msleep`.
    """
    _spin(usecs * _USEC)


def mdelay(msecs: int) -> None:
    """Let some milliseconds pass without sleeping.

    Source: include/linux/delay.h
    Fidelity: as for `msleep`.
    """
    _spin(msecs * _MSEC)
