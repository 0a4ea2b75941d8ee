"""Misc devices: misc_register, for a driver that needs one number and no class of its own.

All of them have major 10 and are in ``/sys/class/misc``. The state is the machine's.

Source: drivers/char/misc.c
"""

import errno
from collections.abc import Sequence
from typing import Any

from mapdev.linux.cdev import (
    MISC_DYNAMIC_MINOR,
    MISC_MAJOR,
    Cdev,
    cdev_add,
    cdev_del,
    register_chrdev_region,
)
from mapdev.linux.device import Device, device_add, device_del
from mapdev.linux.device_class import Class, class_register
from mapdev.linux.fs import MKDEV
from mapdev.linux.kobject import DeviceTree, device_tree
from mapdev.linux.sysfs import Group

__all__ = ["Miscdevice", "misc_class", "misc_deregister", "misc_minor", "misc_register"]

_FIRST_DYNAMIC = 127  # and downwards, as until Linux 6.5


class Miscdevice:
    """A device with a number of major 10: ``struct miscdevice``.

    :ivar minor: its minor number, MISC_DYNAMIC_MINOR for any
    :ivar fops: the driver that serves it
    :ivar nodename: of its node below ``/dev``, if that is not its name
    :ivar mode: of its node; 0 for 0600
    :ivar groups: its attributes
    :ivar parent: its parent in the tree of devices
    :ivar this_device: its `Device`, after `misc_register`

    Source: include/linux/miscdevice.h
    """

    __slots__ = (
        "cdev", "fops", "groups", "minor", "mode", "name", "nodename", "parent", "this_device",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        fops: Any,
        minor: int = MISC_DYNAMIC_MINOR,
        mode: int = 0,
        nodename: str = "",
        groups: Sequence[Group] = (),
        parent: Device | None = None,
    ) -> None:
        """Describe a device that is not registered yet."""
        self.name = name
        self.fops = fops
        self.minor = minor
        self.mode = mode
        self.nodename = nodename
        self.groups = groups
        self.parent = parent
        self.this_device: Device | None = None
        self.cdev: Cdev | None = None


def _devnode(dev: Device) -> tuple[str | None, int | None]:
    misc = dev.driver_data
    if not isinstance(misc, Miscdevice):
        return None, None
    return misc.nodename or None, misc.mode or None


def misc_class(tree: DeviceTree) -> Class:
    """Give the class ``misc``, which is made with the first of its devices.

    Source: drivers/char/misc.c (misc_init)
    """
    cls = tree.classes.get("misc")
    if cls is None:
        cls = Class("misc", devnode=_devnode)
        class_register(cls)
        register_chrdev_region(MKDEV(MISC_MAJOR, 0), 256, "misc")
    found: Class = cls
    return found


def misc_minor(tree: DeviceTree, name: str, minor: int = MISC_DYNAMIC_MINOR) -> int:
    """Choose the minor number of a misc device.

    :param minor: the one that it wants
    :raises OSError: EBUSY, that is taken, or none is left

    Source: drivers/char/misc.c (misc_minor_alloc)
    """
    taken = tree.misc.keys() | tree.taken()[1]
    if minor == MISC_DYNAMIC_MINOR:
        free = (number for number in range(_FIRST_DYNAMIC, -1, -1) if number not in taken)
        minor = next(free, -1)
    if minor < 0 or minor in taken:
        raise OSError(errno.EBUSY, f"no misc minor number for {name}")
    return minor


def misc_register(misc: Miscdevice) -> int:
    """Make a misc device: its number, its node and its place in ``/sys/class/misc``.

    :return: 0
    :raises OSError: EBUSY, the minor number is taken or none is left; EINVAL, the name is none;
        EEXIST, it is taken

    Source: drivers/char/misc.c
    """
    tree = device_tree()
    cls = misc_class(tree)
    minor = misc_minor(tree, misc.name, misc.minor)
    dev = Device(
        misc.name, class_=cls, parent=misc.parent, devt=MKDEV(MISC_MAJOR, minor),
        groups=misc.groups, driver_data=misc,
    )  # fmt: skip
    misc.cdev = Cdev(misc.fops)
    cdev_add(misc.cdev, dev.devt, 1)
    tree.misc[minor] = misc.name
    try:
        device_add(dev)
    except BaseException:
        del tree.misc[minor]
        cdev_del(misc.cdev)
        raise
    misc.minor = minor
    misc.this_device = dev
    return 0


def misc_deregister(misc: Miscdevice) -> None:
    """Remove a misc device.

    Source: drivers/char/misc.c
    """
    if misc.this_device is None or misc.cdev is None:
        return
    device_del(misc.this_device)
    cdev_del(misc.cdev)
    device_tree().misc.pop(misc.minor, None)
    misc.this_device = None
