"""`OpenFile` is a device's ``struct file``; `Uses` counts its users and says when to release it.

An `OpenFile` is used by its descriptors, by its mappings and by each call of it that waits. When
the last use ends, the driver's release runs, as by fput() in the kernel. Used under the host's
lock.

Source: fs/open.c (do_dentry_open), fs/file_table.c (fput)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from mapdev.host.core.device import Device
from mapdev.linux.fs import (
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_WRITE,
    File,
)
from mapdev.linux.numbers import O_ACCMODE

__all__ = ["OpenFile", "Uses", "access_mode", "new_file"]


class OpenFile:
    """An open file of a device.

    :ivar file: what the driver gets.
    :ivar uses: how many descriptors (all together count as one), mappings and waiting calls use it.
    :ivar mask: what the driver's poll said last; None before it was asked.
    """

    __slots__ = ("device", "driver", "file", "mask", "uses")

    def __init__(self, device: Device, file: File) -> None:
        self.device = device
        self.driver = device.driver
        self.file = file
        self.uses = 1
        self.mask: int | None = None


AnyFile = TypeVar("AnyFile", bound=OpenFile)


class Uses(Generic[AnyFile]):
    """Counts the uses of open files and says when the last one is gone.

    :param unused: called with a file that nobody uses any more.
    """

    def __init__(self, unused: Callable[[AnyFile], None]) -> None:
        self._unused = unused

    def get(self, open_file: AnyFile) -> None:
        """Count one more use."""
        open_file.uses += 1

    def put(self, open_file: AnyFile) -> None:
        """Count one use less."""
        open_file.uses -= 1
        if not open_file.uses:
            self._unused(open_file)


def access_mode(f_flags: int) -> int:
    """Return the FMODE_READ and FMODE_WRITE bits that open flags ask for."""
    return (f_flags & O_ACCMODE) + 1 & (FMODE_READ | FMODE_WRITE)


def new_file(device: Device, f_flags: int, mode: int) -> File:
    """Return a new ``struct file`` of `device`.

    :param mode: FMODE_READ and FMODE_WRITE bits.
    """
    f_mode = mode & (FMODE_READ | FMODE_WRITE) | FMODE_PREAD | FMODE_PWRITE
    if "llseek" in device.has:
        f_mode |= FMODE_LSEEK
    return File(device.inode, device.driver, f_flags, f_mode, device.node)
