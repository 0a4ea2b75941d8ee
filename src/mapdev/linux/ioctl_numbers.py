"""The encoding of ioctl command numbers: direction, type, number and size in 32 bits.

Pure arithmetic on integers. The layout is the one that x86-64 and aarch64 share (8 bits of number,
8 of type, 14 of size, 2 of direction).
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import ctypes
import errno
from typing import Any

__all__ = [
    "_IO", "_IOC", "_IOC_DIR", "_IOC_NONE", "_IOC_NR", "_IOC_READ", "_IOC_SIZE", "_IOC_TYPE",
    "_IOC_WRITE", "_IOR", "_IOW", "_IOWR",
]  # fmt: skip

_IOC_NRBITS = 8
_IOC_TYPEBITS = 8
_IOC_SIZEBITS = 14
_IOC_DIRBITS = 2

_IOC_NRSHIFT = 0
_IOC_TYPESHIFT = _IOC_NRSHIFT + _IOC_NRBITS
_IOC_SIZESHIFT = _IOC_TYPESHIFT + _IOC_TYPEBITS
_IOC_DIRSHIFT = _IOC_SIZESHIFT + _IOC_SIZEBITS

_IOC_NONE = 0
_IOC_WRITE = 1  # user space writes, the driver reads
_IOC_READ = 2  # user space reads, the driver writes

CType = type[Any]  # a ctypes type; ctypes has no public base class that every type checker knows


def _IOC(direction: int, type_: int | str, nr: int, size: int) -> int:
    """Build a command number from its four fields.

    :param direction: ``_IOC_NONE``, ``_IOC_WRITE``, ``_IOC_READ`` or both of the last
    :param type_: the driver's magic, a character or a number up to 255
    :param nr: the command's number, up to 255
    :param size: bytes of the argument, up to 16383
    :raises OSError: EINVAL, a field does not fit (in C a compile error or a wrong number)

    Source: include/uapi/asm-generic/ioctl.h
    """
    kind = ord(type_) if isinstance(type_, str) else type_
    for name, value, bits in (
        ("direction", direction, _IOC_DIRBITS),
        ("type", kind, _IOC_TYPEBITS),
        ("number", nr, _IOC_NRBITS),
        ("size", size, _IOC_SIZEBITS),
    ):
        if not 0 <= value < 1 << bits:
            raise OSError(errno.EINVAL, f"ioctl {name} {value} does not fit in {bits} bits")
    return (
        direction << _IOC_DIRSHIFT
        | kind << _IOC_TYPESHIFT
        | nr << _IOC_NRSHIFT
        | size << _IOC_SIZESHIFT
    )


def _size(type_or_size: CType | int) -> int:
    return type_or_size if isinstance(type_or_size, int) else ctypes.sizeof(type_or_size)


def _IO(type_: int | str, nr: int) -> int:
    """Give the number of a command without an argument structure.

    :param type_: the driver's magic, a character or a number up to 255
    :param nr: the command's number, up to 255

    Source: include/uapi/asm-generic/ioctl.h
    """
    return _IOC(_IOC_NONE, type_, nr, 0)


def _IOR(type_: int | str, nr: int, argument: CType | int) -> int:
    """Give the number of a command whose structure the driver fills in.

    :param type_: the driver's magic, a character or a number up to 255
    :param nr: the command's number, up to 255
    :param argument: a ctypes type, or its size in bytes

    Source: include/uapi/asm-generic/ioctl.h
    """
    return _IOC(_IOC_READ, type_, nr, _size(argument))


def _IOW(type_: int | str, nr: int, argument: CType | int) -> int:
    """Give the number of a command whose structure the driver reads.

    :param type_: the driver's magic, a character or a number up to 255
    :param nr: the command's number, up to 255
    :param argument: a ctypes type, or its size in bytes

    Source: include/uapi/asm-generic/ioctl.h
    """
    return _IOC(_IOC_WRITE, type_, nr, _size(argument))


def _IOWR(type_: int | str, nr: int, argument: CType | int) -> int:
    """Give the number of a command whose structure the driver reads and fills in.

    :param type_: the driver's magic, a character or a number up to 255
    :param nr: the command's number, up to 255
    :param argument: a ctypes type, or its size in bytes

    Source: include/uapi/asm-generic/ioctl.h
    """
    return _IOC(_IOC_READ | _IOC_WRITE, type_, nr, _size(argument))


def _IOC_DIR(cmd: int) -> int:
    """Give the direction bits of a command: ``_IOC_WRITE``, ``_IOC_READ``, both or none.

    Source: include/uapi/asm-generic/ioctl.h
    """
    return cmd >> _IOC_DIRSHIFT & (1 << _IOC_DIRBITS) - 1


def _IOC_TYPE(cmd: int) -> int:
    """Give the magic of a command, a number up to 255.

    Source: include/uapi/asm-generic/ioctl.h
    """
    return cmd >> _IOC_TYPESHIFT & (1 << _IOC_TYPEBITS) - 1


def _IOC_NR(cmd: int) -> int:
    """Give the number of a command within its magic.

    Source: include/uapi/asm-generic/ioctl.h
    """
    return cmd >> _IOC_NRSHIFT & (1 << _IOC_NRBITS) - 1


def _IOC_SIZE(cmd: int) -> int:
    """Give the size of a command's argument in bytes, 0 when it has none.

    Source: include/uapi/asm-generic/ioctl.h
    """
    return cmd >> _IOC_SIZESHIFT & (1 << _IOC_SIZEBITS) - 1
