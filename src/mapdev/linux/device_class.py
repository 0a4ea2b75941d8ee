"""Classes, buses and the drivers of a bus: what ``/sys/class`` and ``/sys/bus`` show.

Source: drivers/base/class.c, bus.c, driver.c
"""

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mapdev.linux.kobject import Kobject, device_tree, kobject_add, kobject_del
from mapdev.linux.sysfs import Attribute, Group, sysfs_create_file, sysfs_create_groups

if TYPE_CHECKING:
    from mapdev.linux.device import Device

__all__ = [
    "BusType", "Class", "DeviceDriver", "DeviceType", "bus_register", "bus_unregister",
    "class_create", "class_create_file", "class_destroy", "class_register", "class_unregister",
    "driver_register", "driver_unregister",
]  # fmt: skip

Env = list[tuple[str, str]]


class Class:
    """A kind of devices, a directory in ``/sys/class``: ``struct class``.

    :ivar dev_groups: attributes that each device of the class gets
    :ivar dev_uevent: called as ``dev_uevent(dev, env)``, to add variables by `add_uevent_var`
    :ivar devnode: called with a device; returns the path of its node below ``/dev`` and its mode,
        either None for what is usual

    Source: include/linux/device/class.h
    """

    __slots__ = ("class_groups", "dev_groups", "dev_uevent", "devnode", "kobj", "name")

    def __init__(
        self,
        name: str,
        dev_groups: Sequence[Group] = (),
        dev_uevent: Callable[["Device", Env], object] | None = None,
        devnode: Callable[["Device"], tuple[str | None, int | None]] | None = None,
        class_groups: Sequence[Group] = (),
    ) -> None:
        """Describe a class that is not registered yet."""
        self.name = name
        self.dev_groups = dev_groups
        self.class_groups = class_groups
        self.dev_uevent = dev_uevent
        self.devnode = devnode
        self.kobj: Kobject | None = None

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Class {self.name}>"


class BusType:
    """A kind of bus, a directory in ``/sys/bus``: ``struct bus_type``.

    :ivar dev_groups: attributes that each device on it gets
    :ivar uevent: called as ``uevent(dev, env)``, to add variables

    Source: include/linux/device/bus.h
    """

    __slots__ = ("bus_groups", "dev_groups", "devices", "drivers", "kobj", "name", "uevent")

    def __init__(
        self,
        name: str,
        dev_groups: Sequence[Group] = (),
        uevent: Callable[["Device", Env], object] | None = None,
        bus_groups: Sequence[Group] = (),
    ) -> None:
        """Describe a bus that is not registered yet."""
        self.name = name
        self.dev_groups = dev_groups
        self.bus_groups = bus_groups
        self.uevent = uevent
        self.kobj: Kobject | None = None
        self.devices: Kobject | None = None
        self.drivers: Kobject | None = None

    def __repr__(self) -> str:
        """Show the name."""
        return f"<BusType {self.name}>"


class DeviceDriver:
    """The driver of devices on a bus, as sysfs shows it: ``struct device_driver``.

    Source: include/linux/device/driver.h
    Fidelity: a name in sysfs and in uevents; what drives a device is a `mapdev.Driver`.
    """

    __slots__ = ("bus", "kobj", "name")

    def __init__(self, name: str, bus: BusType) -> None:
        """Describe a driver that is not registered yet."""
        self.name = name
        self.bus = bus
        self.kobj: Kobject | None = None


class DeviceType:
    """What devices of a class have in common beyond it: ``struct device_type``.

    Its ``name`` is DEVTYPE in uevents, the rest is as in `Class`.

    Source: include/linux/device.h
    """

    __slots__ = ("devnode", "groups", "name", "uevent")

    def __init__(
        self,
        name: str = "",
        groups: Sequence[Group] = (),
        uevent: Callable[["Device", Env], object] | None = None,
        devnode: Callable[["Device"], tuple[str | None, int | None]] | None = None,
    ) -> None:
        """Describe a type of devices."""
        self.name = name
        self.groups = groups
        self.uevent = uevent
        self.devnode = devnode


def class_register(cls: Class) -> int:
    """Make the directory of a class.

    :return: 0
    :raises OSError: EEXIST, there is a class of that name; EINVAL, the name is none

    Source: drivers/base/class.c
    """
    tree = device_tree()
    kobj = Kobject(cls.name, tree.kobject("class"), cls)
    kobject_add(kobj)
    if tree.real is not None:
        try:
            tree.real.class_added(cls)
        except OSError:
            kobject_del(kobj)
            raise
    cls.kobj = kobj
    tree.classes[cls.name] = cls
    sysfs_create_groups(kobj, cls.class_groups)
    return 0


def class_create(name: str) -> Class:
    """Make a class.

    :raises OSError: as for `class_register`

    Source: drivers/base/class.c
    Fidelity: as since Linux 6.4, without the module as first argument.
    """
    cls = Class(name)
    class_register(cls)
    return cls


def class_unregister(cls: Class) -> None:
    """Remove a class, whose devices are gone.

    Source: drivers/base/class.c
    """
    if cls.kobj is not None:
        kobject_del(cls.kobj)
        tree = device_tree()
        tree.classes.pop(cls.name, None)
        cls.kobj = None
        if tree.real is not None:
            tree.real.class_removed(cls)


def class_destroy(cls: Class) -> None:
    """Remove a class of `class_create`.

    Source: drivers/base/class.c
    """
    class_unregister(cls)


def class_create_file(cls: Class, attr: Attribute) -> int:
    """Give a class an attribute.

    :return: 0
    :raises OSError: EINVAL, the class is not registered, or as for `sysfs_create_file`

    Source: drivers/base/class.c
    """
    return sysfs_create_file(_kobj(cls), attr)


def bus_register(bus: BusType) -> int:
    """Make the directories of a bus.

    :return: 0
    :raises OSError: EEXIST, there is a bus of that name; EINVAL, the name is none

    Source: drivers/base/bus.c
    """
    tree = device_tree()
    kobj = Kobject(bus.name, tree.kobject("bus"), bus)
    kobject_add(kobj)
    if tree.real is not None:
        try:
            tree.real.bus_added(bus)
        except OSError:
            kobject_del(kobj)
            raise
    bus.kobj = kobj
    sysfs_create_file(kobj, Attribute("uevent", 0o200, None, lambda of, attr, buf: None))
    bus.devices = Kobject("devices", kobj)
    kobject_add(bus.devices)
    bus.drivers = Kobject("drivers", kobj)
    kobject_add(bus.drivers)
    sysfs_create_groups(kobj, bus.bus_groups)
    tree.buses[bus.name] = bus
    return 0


def bus_unregister(bus: BusType) -> None:
    """Remove a bus, whose devices are gone.

    Source: drivers/base/bus.c
    """
    if bus.kobj is not None:
        kobject_del(bus.kobj)
        tree = device_tree()
        tree.buses.pop(bus.name, None)
        bus.kobj = None
        if tree.real is not None:
            tree.real.bus_removed(bus)


def driver_register(drv: DeviceDriver) -> int:
    """Make the directory of a driver of a bus.

    :return: 0
    :raises OSError: EBUSY, the bus has a driver of that name; EINVAL, the bus is not registered

    Source: drivers/base/driver.c
    """
    if drv.bus.drivers is None:
        raise OSError(errno.EINVAL, f"the bus {drv.bus.name} is not registered")
    if drv.name in drv.bus.drivers.sd.children:
        raise OSError(errno.EBUSY, f"{drv.bus.name} has a driver {drv.name}")
    kobj = Kobject(drv.name, drv.bus.drivers, drv)
    kobject_add(kobj)
    tree = device_tree()
    if tree.real is not None:
        try:
            tree.real.driver_added(drv)
        except OSError:
            kobject_del(kobj)
            raise
    drv.kobj = kobj
    return 0


def driver_unregister(drv: DeviceDriver) -> None:
    """Remove the directory of a driver.

    Source: drivers/base/driver.c
    """
    if drv.kobj is not None:
        kobject_del(drv.kobj)
        drv.kobj = None
        tree = device_tree()
        if tree.real is not None:
            tree.real.driver_removed(drv)


def _kobj(of: "Class | Device") -> Kobject:
    """Give the directory of what is registered.

    :raises OSError: EINVAL it is not.
    """
    if of.kobj is None:
        raise OSError(errno.EINVAL, f"{of!r} is not registered")
    return of.kobj
