"""The memory of the program that made the call: copy_from_user, copy_to_user, get_user.

Bytes are copied, never shared; the host does the copying. Only inside an operation is there such a
program.
"""

import ctypes
import errno
from ctypes import _SimpleCData
from typing import Any

from mapdev.linux.context import as_bytes, context

_TASK_SIZE_MAX = 1 << 56  # no processor that is served has user addresses beyond

__all__ = [
    "access_ok", "clear_user", "copy_from_user", "copy_to_user", "get_user", "put_user",
    "strncpy_from_user",
]  # fmt: skip
_STRING_PIECE = 4096  # bytes; a string may end just before memory that is not there


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


def get_user(addr: int, type: Any = ctypes.c_int) -> Any:
    """Read one value of the program that made the call.

    :param addr: a user address
    :param type: a ctypes type
    :return: a number, or whatever a value of `type` is; the structure itself for a structure
    :raises OSError: as for `copy_from_user`

    Source: include/linux/uaccess.h
    Fidelity: gives the value and raises; in C it fills a variable, whose type says the size.
    """
    value = type.from_buffer_copy(copy_from_user(addr, ctypes.sizeof(type)))
    return value.value if isinstance(value, _SimpleCData) else value


def put_user(value: Any, addr: int, type: Any = ctypes.c_int) -> int:
    """Write one value into the memory of the program that made the call.

    :param value: a number, cut to the size of `type` as by a cast, or what `type` takes
    :param addr: a user address
    :param type: a ctypes type
    :return: 0
    :raises OSError: as for `copy_to_user`

    Source: include/linux/uaccess.h
    Fidelity: raises; in C the type of the pointer says the size.
    """
    copy_to_user(addr, bytes(value if isinstance(value, type) else type(value)))
    return 0


def clear_user(addr: int, size: int) -> int:
    """Write zeros into the memory of the program that made the call.

    :param addr: a user address
    :param size: bytes
    :return: 0
    :raises OSError: as for `copy_to_user`

    Source: include/linux/uaccess.h
    Fidelity: raises; in C it returns how many bytes it could not clear.
    """
    if not access_ok(addr, size):
        raise _not_user_memory(addr, size)
    for at in range(0, size, 1 << 20):
        copy_to_user(addr + at, bytes(min(size - at, 1 << 20)))
    return 0


def strncpy_from_user(addr: int, count: int) -> bytes:
    """Read a string of the program that made the call, which ends with a zero byte.

    :param addr: a user address
    :param count: bytes, at most
    :return: the string without its zero byte; `count` bytes if none comes before
    :raises OSError: as for `copy_from_user`

    Source: lib/strncpy_from_user.c
    Fidelity: gives the bytes and raises; in C it fills a buffer and returns the length.
    """
    found = bytearray()
    while len(found) < count:
        at = addr + len(found)
        size = min(count - len(found), _STRING_PIECE - at % _STRING_PIECE)
        piece = copy_from_user(at, size)
        end = piece.find(0)
        found += piece if end < 0 else piece[:end]
        if end >= 0:
            break
    return bytes(found)
