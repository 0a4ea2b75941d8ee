"""`Device` is one driver at one node, with the device and inode numbers that clients see.

The same class describes the other names that a host shows to clients: directories, links and
files of the tree (`mapdev.linux.kernfs`), whose inode is of another type.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from itertools import count
from typing import Self

from mapdev.declaration import operations
from mapdev.driver import Driver
from mapdev.linux.context import Owner
from mapdev.linux.fs import MKDEV, Inode
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.sysfs import AttributeNode

__all__ = ["OPERATIONS", "Device"]

_inode_numbers = count(1000)
_OPERATIONS = ("read", "write", "llseek", "ioctl", "fsync", "flush", "fasync", "poll", "mmap")
OPERATIONS = frozenset(operations(Driver))  # all that there are


class Device:
    """One driver at one node.

    Several devices may share a driver object; they differ in their minor number.

    :ivar has: the operations that the driver has itself, see `Driver.has`.
    :ivar node: absolute path of the node as clients name it.
    :ivar inode: what `Driver.open` and `Driver.release` get.
    :ivar is_gone: it was removed: operations fail with ENODEV.
    :ivar open_files: how many files of it were opened and not released.
    :ivar times: of the last access, change of content and change of its status, in nanoseconds;
        all are those of its making, until a program sets them.
    :ivar owner: the driver as which its operations run, to whom belongs what they allocate.
    """

    __slots__ = ("driver", "has", "inode", "is_gone", "node", "open_files", "owner", "times")

    def __init__(self, driver: Driver, node: str, minor: int) -> None:
        self.driver = driver
        self.owner: Owner = driver
        self.is_gone = False
        self.open_files = 0
        self.has = frozenset(filter(driver.has, _OPERATIONS))
        self.node = node
        self.times = (time.time_ns(),) * 3
        self.inode = Inode(
            i_ino=next(_inode_numbers),
            i_mode=0o020000 | driver.mode,
            i_rdev=MKDEV(driver.major, minor),
            i_uid=_number(driver, "owner", os.getuid),
            i_gid=_number(driver, "group", os.getgid),
        )

    @classmethod
    def of_name(cls, node: KernfsNode, driver: Driver) -> Self:
        """Describe a directory, link or file of the tree; `driver` serves it if it is a file."""
        device = cls.__new__(cls)
        device.driver = driver
        device.is_gone = False
        device.open_files = 0
        owner = node.priv.kobj.owner if isinstance(node.priv, AttributeNode) else None
        device.owner = owner or driver
        device.has = frozenset(filter(driver.has, _OPERATIONS))
        device.node = node.path
        device.times = (time.time_ns(),) * 3
        device.inode = Inode(0, node.mode, node.ino, node.uid, node.gid)
        device.inode.i_size = node.size
        device.inode.i_private = node
        return device

    @classmethod
    def of_status(cls, status: os.stat_result, path: str) -> Self:
        """Describe a real file, by what stat(2) says of it."""
        device = cls(Driver(), path, 0)
        device.inode = Inode(0, status.st_mode, status.st_ino, status.st_uid, status.st_gid)
        device.inode.i_private = status
        device.times = status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns
        return device

    @property
    def is_character_device(self) -> bool:
        """Whether it is a device, and not one of the other names."""
        return stat.S_ISCHR(self.inode.i_mode)

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket that the host serves."""
        return stat.S_ISSOCK(self.inode.i_mode)

    def __repr__(self) -> str:
        return f"<{self.driver.name} at {self.node}>"


def _number(driver: Driver, what: str, default: Callable[[], int]) -> int:
    """Return the number of the user or group that a driver's node belongs to.

    :raises LookupError: nobody has that name.
    """
    name = getattr(driver, what)
    if name is None:
        return default()
    if isinstance(name, int):
        return name
    import grp
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if what == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise LookupError(
            f"{type(driver).__name__}.{what}: nobody here is called {name!r}"
        ) from None
