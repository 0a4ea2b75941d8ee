"""The ioctl commands of a driver: the `ioctl` decorator, and what runs a method that it marked.

A `Command` is made with the driver's class and belongs to it. It copies the client's structure in,
calls the method, and copies the structure back, as the command's number says.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import struct
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from mapdev.declaration import where
from mapdev.linux.ioctl_numbers import _IOC_DIR, _IOC_READ, _IOC_SIZE, _IOC_WRITE
from mapdev.linux.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from mapdev.linux.fs import File

__all__ = ["AnySize", "Command", "Later", "ioctl", "without_size"]

_SHORT = 256  # bytes
_SIZE_BITS = 0x3FFF << 16
_FORM = "write @ioctl(NUMBER) or @ioctl(NUMBER, Type) above the method"
_KEPT = {  # fs/ioctl.c (do_vfs_ioctl)
    0x5451: "FIOCLEX", 0x5450: "FIONCLEX", 0x5421: "FIONBIO", 0x5452: "FIOASYNC",
    0x5460: "FIOQSIZE", 2: "FIGETBSZ", 0xC0045877: "FIFREEZE", 0xC0045878: "FITHAW",
    0x40049409: "FICLONE", 0x4020940D: "FICLONERANGE", 0xC0189436: "FIDEDUPERANGE",
    0xC020660B: "FS_IOC_FIEMAP",
}  # fmt: skip

Handler = TypeVar("Handler", bound=Callable[..., Any])
_T = TypeVar("_T")
Later = Coroutine[Any, Any, _T]
"""What an ``async def`` operation returns when it is called."""


def without_size(cmd: int) -> int:
    """Return a command's number without the size that it carries."""
    return cmd & ~_SIZE_BITS


class Command:
    """One ioctl command of a driver: its number, its structure and which way it is copied.

    :ivar method: the name of its handler.
    :ivar type: of what the argument points to, None if it is a plain number.
    :ivar copy: makes one of the bytes that it begins with.
    :ivar size: of that, in bytes.
    :ivar dump: returns the bytes of one, in a tuple; quicker than ``bytes``.
    :ivar is_short: it is no longer than the number says, and than what any host sends along.
    """

    __slots__ = ("cmd", "copy", "copy_in", "copy_out", "dump", "is_short", "method", "size", "type")

    def __init__(
        self, cmd: int, type: type[Any] | None, copy_in: bool, copy_out: bool, *, method: str
    ) -> None:
        self.cmd = cmd
        self.type = type
        self.copy_in = copy_in
        self.copy_out = copy_out
        self.method = method
        self.copy: Callable[[bytes], Any] = bytes if type is None else type.from_buffer_copy
        self.size = 0 if type is None else ctypes.sizeof(type)
        self.dump: Callable[[Any], tuple[Any, ...]] = struct.Struct(f"{self.size}s").unpack_from
        self.is_short = self.size <= min(_IOC_SIZE(cmd), _SHORT)

    def run(self, driver: Any, file: File, cmd: int, arg: int) -> int | Later[int | None] | None:
        """Call the handler, and copy what it gets and gives."""
        handler = getattr(driver, self.method)
        if self.type is None:
            plain: int | None = handler(file, arg)
            return plain
        value = self.copy(copy_from_user(arg, self.size)) if self.copy_in else self.type()
        result = handler(file, value)
        if type(result) is CoroutineType:
            return self.later(result, arg, value)
        if self.copy_out:
            copy_to_user(arg, *self.dump(value))
        done: int | None = result
        return done

    async def later(self, handler: Later[int | None], arg: int, value: Any) -> int | None:
        """Do what is left to do of a handler that is ``async def``."""
        result = await handler
        if self.copy_out:
            copy_to_user(arg, *self.dump(value))
        return result


class AnySize(Command):
    """A command whose number may carry any size: EVIOCGNAME(len), SPI_IOC_MESSAGE(n).

    Its type is a `bytearray`, or an array of a ctypes type with as many elements as fit.
    """

    __slots__ = ()

    def __init__(
        self, cmd: int, type: type[Any] | None, copy_in: bool, copy_out: bool, *, method: str
    ) -> None:
        super().__init__(cmd, None, copy_in, copy_out, method=method)
        self.type = type

    def run(self, driver: Any, file: File, cmd: int, arg: int) -> int | Later[int | None] | None:
        """Call the handler with as much as the number says, and copy no more than that back."""
        size = _IOC_SIZE(cmd)
        value: Any = bytearray(copy_from_user(arg, size) if self.copy_in else size)
        if self.type is not None and self.type is not bytearray:
            count, rest = divmod(size, ctypes.sizeof(self.type))
            if rest:
                return -22  # EINVAL, as spidev answers half a structure
            value = (self.type * count).from_buffer(value) if count else (self.type * 0)()
        result = getattr(driver, self.method)(file, value)
        if type(result) is CoroutineType:
            return self._later(result, arg, value, size)
        if self.copy_out:
            copy_to_user(arg, bytes(value)[:size])
        done: int | None = result
        return done

    async def _later(
        self, handler: Later[int | None], arg: int, value: Any, size: int
    ) -> int | None:
        result = await handler
        if self.copy_out:
            copy_to_user(arg, bytes(value)[:size])
        return result


def ioctl(
    cmd: int,
    type: type[Any] | None = None,
    direction: str | None = None,
    *,
    any_size: bool = False,
) -> Callable[[Handler], Handler]:
    """Make a method the handler of one ioctl command.

    The method is called as ``method(file, arg)``. With a ctypes `type`, ``arg`` is a structure:
    copied from the client before the call and back to it after it, as the direction bits of `cmd`
    say; without one it is the plain number. The method returns the result of the call, a
    non-negative int (None is 0); when it raises, nothing is copied back.

    :param cmd: the command, made with ``_IO``, ``_IOR``, ``_IOW``, ``_IOWR``, or an old number. A
        negative one is the 32 bits that it has in C.
    :param type: ctypes type of what the argument points to.
    :param direction: for old numbers that carry no direction: what the driver does with the
        client's structure, ``"r"`` reads it, ``"w"`` writes it, ``"rw"`` both.
    :param any_size: numbers that carry another size are this command too, as EVIOCGNAME(len).
        ``arg`` is then a bytearray of the size that the client's number carries, or with a `type`
        an array of as many as fit (EINVAL if a rest is left). What the bytearray holds after the
        call is copied back, but never more than that size.
    :raises ValueError: the number's size is not that of `type`, no direction is known, `cmd` has
        more than 32 bits, or the kernel carries it out itself.
    :raises TypeError: it is used in another form.

    Source: Documentation/driver-api/ioctl.rst
    """
    cmd = _checked(cmd)
    bits = _IOC_DIR(cmd)
    _check_type(type, any_size)
    if any_size:
        if not bits or direction is not None:
            raise ValueError(f"ioctl {cmd:#x} of any size: the number has to say the direction")
        cmd = without_size(cmd)
    elif type is not None:
        if direction is None:
            if not bits:
                raise ValueError(f"ioctl {cmd:#x} says no direction: give direction='r', 'w', 'rw'")
            if _IOC_SIZE(cmd) != ctypes.sizeof(type):
                raise ValueError(
                    f"ioctl {cmd:#x} carries a size of {_IOC_SIZE(cmd)} bytes, "
                    f"{type.__name__} has {ctypes.sizeof(type)}"
                )
        elif not direction or set(direction) - {"r", "w"}:
            raise ValueError(f"direction is 'r', 'w' or 'rw', not {direction!r}")
    # These say what the client does: it writes what the driver reads.
    reads = bool(bits & _IOC_WRITE) if direction is None else "r" in direction
    writes = bool(bits & _IOC_READ) if direction is None else "w" in direction
    kind = AnySize if any_size else Command

    def mark(handler: Handler) -> Handler:
        if not callable(handler) or not hasattr(handler, "__dict__"):
            raise TypeError(f"@ioctl({cmd:#x}) stands above {handler!r}: {_FORM}")
        _check_annotation(handler, cmd, type, any_size)
        handler.__dict__.setdefault("__ioctl__", []).append((kind, (cmd, type, reads, writes)))
        return handler

    return mark


def _checked(cmd: Any) -> int:
    """Return the number of a command as 32 bits."""
    if callable(cmd):
        raise TypeError(f"@ioctl says no number for {getattr(cmd, '__name__', cmd)}: {_FORM}")
    try:
        number = operator.index(cmd)
    except TypeError:
        raise TypeError(f"the number of an ioctl is an int, not {cmd!r}: {_FORM}") from None
    if not -1 << 31 <= number < 1 << 32:
        raise ValueError(f"ioctl {number:#x} does not fit in 32 bits")
    number &= 0xFFFFFFFF
    if number in _KEPT:
        raise ValueError(
            f"ioctl {number:#x} is {_KEPT[number]}, which the kernel carries out itself: "
            "no driver ever sees it"
        )
    return number


def _check_type(of: Any, any_size: bool) -> None:
    """Check that the second argument of `ioctl` is a type that has bytes."""
    if of is None or (any_size and of is bytearray):
        return
    if not isinstance(of, type) or not hasattr(of, "from_buffer_copy"):
        hint = "; the direction is the third argument" if isinstance(of, str) else ""
        raise TypeError(f"the type of an ioctl is a ctypes type, not {of!r}{hint}: {_FORM}")


def _check_annotation(handler: Any, cmd: int, of: Any, any_size: bool) -> None:
    """Check that a handler whose argument is annotated with a structure gets just that one."""
    code = getattr(handler, "__code__", None)
    if code is None or code.co_argcount < 3 or any_size:
        return
    name = code.co_varnames[2]
    wanted = handler.__annotations__.get(name)
    if isinstance(wanted, str):  # from __future__ import annotations
        first, *rest = wanted.split(".")
        wanted = functools.reduce(
            lambda found, part: getattr(found, part, None), rest, handler.__globals__.get(first)
        )
    if isinstance(wanted, type) and hasattr(wanted, "from_buffer_copy") and wanted is not of:
        given = "the plain number" if of is None else f"a {of.__name__}"
        raise TypeError(
            f"{where(handler)}: {handler.__name__}'s {name} is to be a {wanted.__name__} and would "
            f"be {given}: write @ioctl({cmd:#x}, {wanted.__name__})"
        )
