"""The memory of the program that made the call: copy_from_user, copy_to_user.

Bytes are copied, never shared; the host does the copying. Only inside an operation is there such a
program.
"""

import errno

from mapdev.linux.context import as_bytes, context

_TASK_SIZE_MAX = 1 << 56  # no processor that is served has user addresses beyond

__all__ = ["access_ok", "copy_from_user", "copy_to_user"]


def access_ok(addr: int, size: int) -> bool:
    """Say whether a range can be user memory at all; nothing is looked at.

    :param addr: a user address
    :param size: bytes

    Source: include/asm-generic/access_ok.h
    Fidelity: the limit is that of five levels of page tables, whatever the machine has.
    """
    return 0 <= addr <= _TASK_SIZE_MAX - size and size >= 0


def _not_user_memory(addr: int, size: int) -> OSError:
    return OSError(errno.EFAULT, f"{addr:#x} and {size} bytes are not user memory")


def copy_from_user(addr: int, size: int) -> bytes:
    """Read memory of the program that made the call.

    :param addr: a user address
    :param size: bytes
    :raises OSError: EFAULT, not all of it is readable, or a kernel thread runs this; ESRCH, no
        call is being handled

    Source: include/linux/uaccess.h
    Fidelity: gives the bytes and raises; in C it fills a buffer and returns what it could not copy.
    """
    if not 0 <= addr <= _TASK_SIZE_MAX - size or size < 0:  # access_ok, at no call's cost
        raise _not_user_memory(addr, size)
    return context().read_user(addr, size) if size else b""


def copy_to_user(addr: int, data: bytes | bytearray | memoryview) -> None:
    """Write memory of the program that made the call.

    :param addr: a user address
    :param data: what to write
    :raises OSError: EFAULT, not all of it is writable, or a kernel thread runs this; ESRCH, no
        call is being handled

    Source: include/linux/uaccess.h
    Fidelity: raises; in C it returns how many bytes it could not copy.
    """
    plain = data if type(data) is bytes else as_bytes(data)
    if not 0 <= addr <= _TASK_SIZE_MAX - len(plain):
        raise _not_user_memory(addr, len(plain))
    if plain:
        context().write_user(addr, plain)
