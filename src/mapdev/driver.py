"""What driver authors subclass: `Driver`, the `ioctl` decorator and `parse_size`.

A driver is one object with methods named as in ``struct file_operations``. This module knows the
vocabulary of `mapdev.linux` and no host; a host calls the methods and turns what they return or
raise into what the client sees.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mapdev.linux.ioctl_numbers import _IOC_DIR, _IOC_READ, _IOC_SIZE, _IOC_WRITE
from mapdev.linux.numbers import EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM
from mapdev.linux.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from mapdev.linux.fs import File, Inode
    from mapdev.linux.vma import VmAreaStruct

__all__ = ["DEFAULT_POLLMASK", "Driver", "ioctl", "parse_size"]

DEFAULT_POLLMASK = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM
"""What poll answers for a driver without a poll operation. Source: include/linux/poll.h."""

_SIZE = r"(?P<number>0x[0-9a-f]+|\d+)\s*(?P<unit>[kmgt]?)(i?b)?"

_SHORT = 256  # bytes
_CO_COROUTINE = 0x80  # of co_flags: made by async def; `inspect` takes long to import
_NEVER_ASYNC = ("probe", "remove", "release", "poll", "mmap")

Handler = TypeVar("Handler", bound=Callable[..., Any])
_T = TypeVar("_T")
Later = Coroutine[Any, Any, _T]
"""What an ``async def`` operation returns when it is called."""


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

    def run(self, driver: Driver, file: File, arg: int) -> int | Later[int | None] | None:
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


def ioctl(
    cmd: int, type: type[Any] | None = None, direction: str | None = None
) -> Callable[[Handler], Handler]:
    """Make a method the handler of one ioctl command.

    The method is called as ``method(file, arg)``. With a ctypes `type`, ``arg`` is a structure:
    copied from the client before the call and back to it after it, as the direction bits of `cmd`
    say; without one it is the plain number. The method returns the result of the call, a
    non-negative int (None is 0); when it raises, nothing is copied back.

    :param cmd: the command, made with ``_IO``, ``_IOR``, ``_IOW``, ``_IOWR``, or an old number.
    :param type: ctypes type of what the argument points to.
    :param direction: for old numbers that carry no direction: what the driver does with the
        client's structure, ``"r"`` reads it, ``"w"`` writes it, ``"rw"`` both.
    :raises ValueError: the number's size is not that of `type`, or no direction is known.

    Source: Documentation/driver-api/ioctl.rst
    """
    bits = _IOC_DIR(cmd)
    if type is not None:
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

    def mark(handler: Handler) -> Handler:
        handler.__dict__.setdefault("__ioctl__", []).append((cmd, type, reads, writes))
        return handler

    return mark


class Driver:
    """A character-device driver: subclass it and write the operations that the device has.

    An operation that is left out behaves as in the kernel: mmap fails with ENODEV, ioctl with
    ENOTTY, read, write and fsync with EINVAL, llseek with ESPIPE; open and release succeed. An
    operation fails by raising `OSError` with the errno that the client is to see; any other
    exception is logged with its traceback and the client sees EIO.

    An operation that has to wait calls `mapdev.linux.wait_event_interruptible`, or raises
    BlockingIOError; it is run again later. open, read, write, llseek, ioctl and fsync may be
    ``async def`` and await instead.

    Memory allocated in `probe` is given back after `remove`; what other operations allocate is
    theirs to free.

    Source: include/linux/fs.h (struct file_operations), include/linux/cdev.h
    """

    name: ClassVar[str] = ""
    major: ClassVar[int] = 240  # the first of the range for local and experimental use
    mode: ClassVar[int] = 0o666
    _ioctls: ClassVar[dict[int, Command]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._ioctls = dict(cls._ioctls)
        for attribute, handler in vars(cls).items():
            code = getattr(handler, "__code__", None)
            if attribute in _NEVER_ASYNC and code and code.co_flags & _CO_COROUTINE:
                raise TypeError(f"{cls.__name__}.{attribute} can't be async: nobody waits for it")
            for marked in getattr(handler, "__ioctl__", ()):
                cls._ioctls[marked[0]] = Command(*marked, method=attribute)
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    @classmethod
    def has(cls, operation: str) -> bool:
        """Say whether the driver has `operation` itself, as a non-NULL pointer would in C."""
        if operation == "ioctl" and cls._ioctls:
            return True
        return getattr(cls, operation) is not getattr(Driver, operation)

    def probe(self) -> None:
        """Set the device up when it is added; keyword parameters come from the command line."""

    def remove(self) -> None:
        """Tear the device down when its host ends."""

    def open(self, inode: Inode, file: File) -> Later[None] | None:
        """Prepare `file`, a new open file; its own state belongs in ``file.private_data``."""

    def release(self, inode: Inode, file: File) -> None:
        """Let go of `file`: its last descriptor and its last mapping are gone."""

    def read(
        self, file: File, count: int, pos: int
    ) -> bytes | bytearray | memoryview | Later[bytes | bytearray | memoryview]:
        """Return at most `count` bytes from offset `pos` (bytes); none means end of file."""
        raise OSError(errno.EINVAL, "the driver has no read operation")

    def write(self, file: File, data: bytes, pos: int) -> int | Later[int | None] | None:
        """Take `data` at offset `pos` (bytes); return how many bytes were taken, None for all.

        Fidelity: if the program gave an address that is not readable, `data` ends there, and may be
        empty; in C the driver finds that out by copy_from_user. If all of `data` was taken the
        program gets a short count, or EFAULT. The kernel host does not ask the driver then.
        """
        raise OSError(errno.EINVAL, "the driver has no write operation")

    def llseek(self, file: File, offset: int, whence: int) -> int | Later[int]:
        """Return the new offset in bytes; the driver sets ``file.f_pos`` itself, as in C."""
        raise OSError(errno.ESPIPE, "the driver has no llseek operation")

    def ioctl(self, file: File, cmd: int, arg: int) -> int | Later[int | None] | None:
        """Carry out command `cmd`; as it stands, by the methods marked with `ioctl`."""
        command = self._ioctls.get(cmd)
        if command is None:
            raise OSError(errno.ENOTTY, f"no ioctl {cmd:#x}")
        return command.run(self, file, arg)

    def poll(self, file: File) -> int:
        """Return the mask of ``EPOLL*`` bits that hold for `file` now."""
        return DEFAULT_POLLMASK

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map frames into `vma`, a new area of the client, or set its ``vm_ops``."""
        raise OSError(errno.ENODEV, "the driver has no mmap operation")

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> Later[None] | None:
        """Bring bytes `start` to `end` (inclusive, as in C) to where they are kept."""
        raise OSError(errno.EINVAL, "the driver has no fsync operation")


def commands_of(driver: Driver) -> dict[int, Command]:
    """Return what a driver's ioctl operation carries out, by number; none if that is its own."""
    operation = getattr(driver.ioctl, "__func__", None)
    return driver._ioctls if operation is Driver.ioctl else {}


def parse_size(size: int | str) -> int:
    """Return a size in bytes: an int, or text such as ``64K``, ``1M``, ``0x1000``.

    :raises ValueError: it is no size.
    """
    if isinstance(size, int):
        return size
    number, unit = size[:-1], size[-1:].lower()
    if number.isdecimal() and number[0] != "0" and unit in ("k", "m", "g"):
        return int(number) << 10 * " kmgt".index(unit)  # without `re`, for a quick start
    import re

    match = re.fullmatch(_SIZE, size.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{size!r} is no size: write bytes, or a number with K, M, G or T")
    return int(match["number"], 0) << 10 * " kmgt".index(match["unit"].lower() or " ")
