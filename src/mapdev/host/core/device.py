"""`Device` is one driver at one node, with the device and inode numbers that clients see."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count

from mapdev.declaration import operations
from mapdev.driver import Driver
from mapdev.linux.fs import MKDEV, Inode

__all__ = ["OPERATIONS", "Device"]

_inode_numbers = count(1000)
_OPERATIONS = ("read", "write", "llseek", "ioctl", "fsync", "poll", "mmap")
OPERATIONS = frozenset(operations(Driver))  # all that there are


class Device:
    """One driver at one node.

    Several devices may share a driver object; they differ in their minor number.

    :ivar has: the operations that the driver has itself, see `Driver.has`.
    :ivar node: absolute path of the node as clients name it.
    :ivar inode: what `Driver.open` and `Driver.release` get.
    """

    __slots__ = ("driver", "has", "inode", "made", "node")

    def __init__(self, driver: Driver, node: str, minor: int) -> None:
        self.driver = driver
        self.has = frozenset(filter(driver.has, _OPERATIONS))
        self.node = node
        self.made = time.time_ns()
        self.inode = Inode(
            i_ino=next(_inode_numbers),
            i_mode=0o020000 | driver.mode,
            i_rdev=MKDEV(driver.major, minor),
            i_uid=_number(driver, "owner", os.getuid),
            i_gid=_number(driver, "group", os.getgid),
        )

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
