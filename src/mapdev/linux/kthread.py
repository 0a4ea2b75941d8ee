"""Kernel threads: kthread_run, kthread_stop, and sleeping in one.

A kernel thread is a Python thread that runs as code of the driver which started it: the vocabulary
works in it. It runs beside the driver's operations and holds no lock of the host, so what both
change must stand that. Only a kernel thread may sleep; an operation that waits is run again, see
`wait`. It ends when its function returns, which is when `kthread_should_stop` says so; the host
asks it to when its device is removed.
"""

import errno
import threading
import time
from collections.abc import Callable
from typing import Any

from mapdev.linux.context import Context, context, enter, must_fail
from mapdev.linux.log import log
from mapdev.linux.mm import MmStruct, TaskStruct
from mapdev.linux.numbers import HZ, PF_KTHREAD

__all__ = [
    "Kthread", "kthread_run", "kthread_should_stop", "kthread_stop",
    "schedule_timeout_interruptible",
]  # fmt: skip

_COMM_LEN = 15  # characters that a task's name has at most


class Kthread(TaskStruct):
    """A kernel thread: ``struct kthread``, and the task that it is.

    :ivar stopping: `kthread_stop` was called
    :ivar wake: set when the thread is to look whether what it waits for is there

    Source: kernel/kthread.c
    """

    __slots__ = ("_function", "_thread", "owner", "result", "stopping", "wake")

    def __init__(self, function: Callable[[Any], Any], data: Any, name: str) -> None:
        """Describe a thread that is yet to be started."""
        super().__init__(0, 2, name[:_COMM_LEN])
        self.flags = PF_KTHREAD
        self.owner = context().owner
        self.result: Any = None
        self.stopping = False
        self.wake = threading.Event()
        self._function = function
        own = Context(context().machine, self.owner, self)
        self._thread = threading.Thread(target=self._run, args=(own, data), name=name, daemon=True)

    @property
    def mm(self) -> MmStruct:
        """None in the kernel, so that a look at it is a bug; an OSError (EFAULT) here."""
        raise OSError(errno.EFAULT, f"the kernel thread {self.comm} has no address space")

    def start(self) -> None:
        """Let the thread run."""
        self._thread.start()
        self.pid = self._thread.native_id or 0

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask the thread to end and wait for it, `timeout` seconds at most; say whether it did."""
        self.stopping = True
        self.wake.set()
        self._thread.join(timeout)
        return not self.is_alive

    def _run(self, own: Context, data: Any) -> None:
        enter(own)
        self.pid = threading.get_native_id()
        try:
            self.result = self._function(data)
        except BaseException as error:
            log.exception("the kernel thread %s failed and has ended: %r", self.comm, error)
            if must_fail(error):
                own.machine.driver_raised(error)


def _current_kthread() -> Kthread | None:
    """Give the kernel thread that runs this code, None when it is another thread."""
    task = context().task
    return task if isinstance(task, Kthread) else None


def kthread_run(threadfn: Callable[[Any], Any], data: Any, name: str) -> Kthread:
    """Start a kernel thread that runs ``threadfn(data)`` as code of the calling driver.

    :param threadfn: returns when `kthread_should_stop` says so; may return earlier
    :param data: what it is called with
    :param name: what `current` calls it, up to 15 characters
    :return: the thread, for `kthread_stop`

    Source: include/linux/kthread.h
    Fidelity: a Python thread of the host's process; ``pid`` is its number there. An exception ends
    it and is logged. If it still runs when its device is removed the host stops it, and what won't
    stop is reported as a leak.
    """
    thread = Kthread(threadfn, data, name)
    thread.start()
    context().machine.add_kthread(thread)
    return thread


def kthread_should_stop() -> bool:
    """Say, in a kernel thread, whether somebody has called `kthread_stop` for it.

    Source: kernel/kthread.c
    Fidelity: False outside of a kernel thread, where the kernel crashes.
    """
    thread = _current_kthread()
    return thread is not None and thread.stopping


def kthread_stop(k: Kthread) -> Any:
    """Make `kthread_should_stop` true for a thread, wake it, and wait until it has ended.

    :param k: what `kthread_run` gave
    :return: what its function returned

    Source: kernel/kthread.c
    Fidelity: a thread that has ended already is fine, as if the driver held a reference to it.
    None in place of -EINTR for one that failed.
    """
    k.stop()
    return k.result


def schedule_timeout_interruptible(timeout: int) -> int:
    """Sleep in a kernel thread, until the time is over or `kthread_stop` is called.

    :param timeout: jiffies, of which ``HZ`` are a second
    :return: the jiffies that were left, 0 when the time is over
    :raises RuntimeError: this is no kernel thread; an operation can't sleep

    Source: kernel/time/sleep_timeout.c
    Fidelity: ``HZ`` is 1000, whatever the kernel's own is.
    """
    thread = _current_kthread()
    if thread is None:
        raise RuntimeError("only a kernel thread can sleep; an operation waits by wait_event_*")
    end = time.monotonic() + timeout / HZ
    thread.wake.clear()
    if not thread.stopping:
        thread.wake.wait(max(0, timeout) / HZ)
    return max(0, int((end - time.monotonic()) * HZ))
