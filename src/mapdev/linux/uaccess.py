"""The memory of the program that made the call: copy_from_user, copy_to_user.

Bytes are copied, never shared; the host does the copying. Only inside an operation is there such a
program.
"""

import errno

from mapdev.linux.context import context
from mapdev.linux.mm import TaskStruct, current
from mapdev.linux.numbers import PF_KTHREAD

__all__ = ["copy_from_user", "copy_to_user"]


def _user(task: TaskStruct | None) -> TaskStruct:
    """Give the program whose memory is meant."""
    if task is None:
        return current()  # which raises
    if task.flags & PF_KTHREAD:
        raise OSError(errno.EFAULT, f"the kernel thread {task.comm} has no user memory")
    return task


def copy_from_user(addr: int, size: int) -> bytes:
    """Read memory of the program that made the call.

    :param addr: a user address
    :param size: bytes
    :raises OSError: EFAULT, not all of it is readable, or a kernel thread runs this; ESRCH, no
        call is being handled

    Source: include/linux/uaccess.h
    Fidelity: gives the bytes and raises; in C it fills a buffer and returns what it could not copy.
    """
    now = context()
    task = _user(now.task)
    return now.machine.copy_from_user(task, addr, size)


def copy_to_user(addr: int, data: bytes | bytearray | memoryview) -> None:
    """Write memory of the program that made the call.

    :param addr: a user address
    :param data: what to write
    :raises OSError: EFAULT, not all of it is writable, or a kernel thread runs this; ESRCH, no
        call is being handled

    Source: include/linux/uaccess.h
    Fidelity: raises; in C it returns how many bytes it could not copy.
    """
    plain = data if isinstance(data, bytes) else memoryview(data).cast("B")
    now = context()
    task = _user(now.task)
    now.machine.copy_to_user(task, addr, plain)
