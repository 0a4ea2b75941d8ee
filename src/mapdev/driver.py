"""What driver authors subclass: `Driver`, the `ioctl` decorator, `parse_size` and `parse_number`.

A driver is one object with methods named as in ``struct file_operations``. This module knows the
vocabulary of `mapdev.linux` and no host; a host calls the methods and turns what they return or
raise into what the client sees.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from mapdev.commands import AnySize, Command, Later, ioctl, without_size
from mapdev.declaration import DriverType, check
from mapdev.linux.numbers import EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mapdev.linux.device import Device as DeviceInSysfs
    from mapdev.linux.device_class import Class
    from mapdev.linux.fs import File, Inode
    from mapdev.linux.sysfs import Group
    from mapdev.linux.vma import VmAreaStruct

__all__ = ["DEFAULT_POLLMASK", "Driver", "ioctl", "parse_number", "parse_size"]

DEFAULT_POLLMASK = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM
"""What poll answers for a driver without a poll operation. Source: include/linux/poll.h."""

_SIZE = r"(?P<number>0x[0-9a-f]+|\d+)\s*(?P<unit>[kmgt]?)(i?b)?"


class Driver(metaclass=DriverType):
    """A character-device driver: subclass it and write the operations that the device has.

    An operation that is left out behaves as in the kernel: mmap fails with ENODEV, ioctl with
    ENOTTY, read, write and fsync with EINVAL, llseek with ESPIPE; open, flush and release succeed.
    An operation fails by raising `OSError` with the errno that the client is to see; any other
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
    minor: ClassVar[int | None] = None  # of its first node; the next free one unless given
    mode: ClassVar[int] = 0o666
    owner: ClassVar[int | str | None] = None  # of the node: number or name; whoever runs the host
    group: ClassVar[int | str | None] = None
    # In the device model: see docs/devices.md. A driver without a class has a node and no more.
    dev_class: ClassVar[str | Class | None] = None  # /sys/class/..., misc among them
    dev_parent: ClassVar[str | DeviceInSysfs | None] = None  # below /sys/devices, as platform/x.0
    dev_groups: ClassVar[Sequence[Group]] = ()  # attributes, as DEVICE_ATTR_RO("temp")
    dev_links: ClassVar[Sequence[str]] = ()  # further names below /dev, which udev would make
    dev_properties: ClassVar[Mapping[str, str]] = {}  # udev properties, as ID_INPUT
    dev_tags: ClassVar[Sequence[str]] = ()  # that udev would give it
    # POLLERR of its poll comes and goes: of sockets, which stand in for FUSE, it would stay.
    has_passing_errors: ClassVar[bool] = False
    dev: DeviceInSysfs | None = None  # of its first node, from after probe to remove
    _host: Any = None  # a weak reference to the host that serves it
    _node: Any = None  # the host's own for its first node, from before probe: path and number
    _ioctls: ClassVar[dict[int, Command]] = {}
    _any_size: ClassVar[dict[int, AnySize]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check(cls, Driver)
        cls._ioctls = dict(cls._ioctls)
        cls._any_size = dict(cls._any_size)
        own: dict[tuple[Any, int], str] = {}
        for attribute, handler in vars(cls).items():
            for kind, marked in getattr(handler, "__ioctl__", ()):
                before = own.setdefault((kind, marked[0]), attribute)
                if before != attribute:
                    raise TypeError(
                        f"{cls.__name__}: ioctl {marked[0]:#x} has two methods: "
                        f"{before} and {attribute}"
                    )
                command = kind(*marked, method=attribute)
                if isinstance(command, AnySize):
                    cls._any_size[command.cmd] = command
                else:
                    cls._ioctls[command.cmd] = command
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    @classmethod
    def has(cls, operation: str) -> bool:
        """Say whether the driver has `operation` itself, as a non-NULL pointer would in C."""
        if operation == "ioctl" and (cls._ioctls or cls._any_size):
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

    def flush(self, file: File) -> None:
        """Finish what was written, since a descriptor of `file` is closed; others may be left.

        It runs at each close: by close, dup2, exec and the end of a process. An error is what close
        returns, and dup2 does not; the descriptor is closed all the same.

        Fidelity: it can't wait (EAGAIN), and is not told whose table the descriptor was in. On the
        embedded host ENOSYS becomes EIO, and where there is no FUSE it runs at the last close only.
        """

    def fasync(self, fd: int, file: File, on: int) -> int:
        """Let the owner of `file` be signalled from now on, or not: call `linux.fasync_helper`.

        It runs when O_ASYNC of the file changes, and with `fd` -1 before release if that is set.
        """
        raise OSError(errno.ENOTTY, "the driver has no fasync operation")

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
        command = self._ioctls.get(cmd) or self._any_size.get(without_size(cmd))
        if command is None:
            raise OSError(errno.ENOTTY, f"no ioctl {cmd:#x}")
        return command.run(self, file, cmd, arg)

    def poll(self, file: File) -> int:
        """Return the mask of ``EPOLL*`` bits that hold for `file` now."""
        return DEFAULT_POLLMASK

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map frames into `vma`, a new area of the client, or set its ``vm_ops``."""
        raise OSError(errno.ENODEV, "the driver has no mmap operation")

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> Later[None] | None:
        """Bring bytes `start` to `end` (inclusive, as in C) to where they are kept."""
        raise OSError(errno.EINVAL, "the driver has no fsync operation")


def command_of(driver: Driver, cmd: int) -> Command | None:
    """Return the command that a number means to a driver; None if its ioctl operation knows it."""
    if getattr(driver.ioctl, "__func__", None) is not Driver.ioctl:
        return None
    return driver._ioctls.get(cmd) or driver._any_size.get(without_size(cmd))


def parse_size(size: int | str, name: str = "") -> int:
    """Return a size in bytes: an int, or text such as ``64K``, ``1M``, ``0x1000``.

    :param name: of the parameter, for the message.
    :raises ValueError: it is no size, or a negative one.
    """
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"{_named(name)}{size} is no size: it is negative")
        return size
    number, unit = size[:-1], size[-1:].lower()
    if number.isdecimal() and number[0] != "0" and unit in ("k", "m", "g"):
        return int(number) << 10 * " kmgt".index(unit)  # without `re`, for a quick start
    import re

    match = re.fullmatch(_SIZE, size.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(
            f"{_named(name)}{size!r} is no size: write bytes, or a number with K, M, G or T"
        )
    return int(match["number"], 0) << 10 * " kmgt".index(match["unit"].lower() or " ")


def parse_number(number: int | str, name: str = "") -> int:
    """Return a number: an int, or text such as ``10``, ``-3``, ``0x1000``.

    :param name: of the parameter, for the message.
    :raises ValueError: it is no number.
    """
    if isinstance(number, int):
        return number
    try:
        return int(number) if number.strip().lstrip("+-").isdecimal() else int(number, 0)
    except ValueError:
        raise ValueError(f"{_named(name)}{number!r} is no number") from None


def _named(name: str) -> str:
    return f"{name}=" if name else ""
