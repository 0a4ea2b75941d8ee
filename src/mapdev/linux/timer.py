"""Timers: functions of a driver that are called when some time is over.

A `TimerList` belongs to the driver that armed it. Its function runs under the host's lock, like an
operation, for nobody: it can't wait, and no other code of a driver runs beside it but kernel
threads. A timer that is still armed when its device is removed does nothing any more.
"""

import time
from collections.abc import Callable
from typing import Any

from mapdev.linux.context import Alarm, Context, context, enter, must_fail, reset
from mapdev.linux.jiffies import jiffies
from mapdev.linux.log import log
from mapdev.linux.numbers import HZ

__all__ = [
    "TimerList", "add_timer", "del_timer", "del_timer_sync", "mod_timer", "timer_delete",
    "timer_delete_sync", "timer_pending", "timer_reduce", "timer_setup", "timer_shutdown_sync",
]  # fmt: skip


class TimerList:
    """A timer: ``struct timer_list``.

    :ivar expires: when it rings, in jiffies
    :ivar function: what is called then, with the timer

    Source: include/linux/timer.h
    Fidelity: there is no ``from_timer``: give a method of the driver's as function.
    """

    __slots__ = ("__weakref__", "_alarm", "_is_shut_down", "expires", "function")

    def __init__(self, function: "Callable[[TimerList], Any] | None" = None) -> None:
        """Make a timer that is not armed, as ``DEFINE_TIMER`` does."""
        self.function = function
        self.expires = 0
        self._alarm: Alarm | None = None
        self._is_shut_down = False

    def arm(self) -> bool:
        """Have it ring at ``expires``; say whether it was armed before."""
        if self._is_shut_down or self.function is None:
            return False
        was_armed = self.disarm()
        own = Context(context().machine, context().owner)
        delay = max(0, self.expires - jiffies()) / HZ
        alarm = own.machine.set_alarm(time.monotonic() + delay, lambda: self._ring(own))
        self._alarm = alarm
        return was_armed

    def disarm(self) -> bool:
        """Have it not ring; say whether it was armed."""
        alarm = self._alarm
        return alarm is not None and alarm.cancel()

    def wait(self) -> None:
        """Return when its function does not run."""
        if self._alarm is not None:
            self._alarm.wait()

    def _ring(self, own: Context) -> None:
        function = self.function
        token = enter(own)
        try:
            if function is not None:
                function(self)
        except BaseException as error:
            log.exception("the timer function %r failed: %r", function, error)
            if must_fail(error):
                own.machine.driver_raised(error)
        finally:
            reset(token)


def timer_setup(
    timer: TimerList, callback: Callable[[TimerList], Any], flags: int = 0
) -> None:  # fmt: skip
    """Say which function a timer calls; it is not armed yet.

    :param callback: called with the timer
    :param flags: ``TIMER_*``, of no effect

    Source: include/linux/timer.h
    """
    timer.__init__(callback)  # type: ignore[misc]  # that is what it means


def mod_timer(timer: TimerList, expires: int) -> int:
    """Arm a timer, whether or not it is armed: it rings at `expires`.

    :param expires: jiffies, as ``jiffies() + HZ``
    :return: 1 if it was armed, else 0

    Source: kernel/time/timer.c
    """
    timer.expires = expires
    return int(timer.arm())


def timer_reduce(timer: TimerList, expires: int) -> int:
    """Arm a timer, or make one that is armed ring earlier; never later.

    :param expires: jiffies
    :return: 1 if it was armed, else 0

    Source: kernel/time/timer.c
    """
    if timer_pending(timer) and timer.expires <= expires:
        return 1
    return mod_timer(timer, expires)


def add_timer(timer: TimerList) -> None:
    """Arm a timer that is not armed: it rings at ``timer.expires``.

    Source: kernel/time/timer.c
    Fidelity: one that is armed is armed anew, where the kernel complains.
    """
    timer.arm()


def timer_pending(timer: TimerList) -> bool:
    """Say whether a timer is armed.

    Source: include/linux/timer.h
    """
    alarm = timer._alarm
    return alarm is not None and getattr(alarm, "function", None) is not None


def timer_delete(timer: TimerList) -> int:
    """Disarm a timer; its function may be running.

    :return: 1 if it was armed, else 0

    Source: kernel/time/timer.c
    """
    return int(timer.disarm())


def timer_delete_sync(timer: TimerList) -> int:
    """Disarm a timer and wait until its function does not run.

    :return: 1 if it was armed, else 0

    Source: kernel/time/timer.c
    Fidelity: in the function itself it returns at once, where the kernel hangs.
    """
    was_armed = timer.disarm()
    timer.wait()
    return int(timer.disarm() or was_armed)  # it may have armed itself meanwhile


def timer_shutdown_sync(timer: TimerList) -> int:
    """Disarm a timer as `timer_delete_sync`, and let nobody arm it again before `timer_setup`.

    :return: 1 if it was armed, else 0

    Source: kernel/time/timer.c, since Linux 6.2
    """
    timer._is_shut_down = True
    return timer_delete_sync(timer)


def del_timer(timer: TimerList) -> int:
    """Disarm a timer: the name of `timer_delete` before Linux 6.15.

    Source: include/linux/timer.h
    """
    return timer_delete(timer)


def del_timer_sync(timer: TimerList) -> int:
    """Disarm a timer and wait: the name of `timer_delete_sync` before Linux 6.15.

    Source: include/linux/timer.h
    """
    return timer_delete_sync(timer)
