"""`OpenFile` is a device's ``struct file``; it counts its uses and is released with the last one.

An `OpenFile` is used by its descriptors, by its mappings and by each call of it that waits. When
the last use ends, the driver's release runs, as by fput() in the kernel. Used under the host's
lock.

Source: fs/open.c (do_dentry_open), fs/file_table.c (fput)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

__all__ = ["OpenFile", "access_mode", "new_file"]


class OpenFile:
    """An open file of a device.

    :param unused: called with the file when its last use has ended, to release it.
    :ivar file: what the driver gets.
    :ivar uses: how many descriptors (all together count as one), mappings and waiting calls use it.
    :ivar mask: what the driver's poll said last; None before it was asked.
    """

    __slots__ = ("_unused", "device", "driver", "file", "mask", "uses")

    def __init__(
        self, device: Device, file: File, unused: Callable[[Any], None] | None = None
    ) -> None:
        self.device = device
        self.driver = device.driver
        self.file = file
        self.uses = 1
        self.mask: int | None = None
        self._unused = unused

    def get(self) -> None:
        """Count one more use."""
        self.uses += 1

    def put(self) -> None:
        """Count one use less; the last one releases the file."""
        self.uses -= 1
        if not self.uses and self._unused is not None:
            self._unused(self)


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
