"""`Registration` puts drivers into the device model, and makes nodes for devices that drivers add.

A driver that declares a class (`Driver.dev_class`) gets a number, a `cdev` and a device in
``/sys`` when a host adds it, as its C counterpart would make them in its init function. A driver
may as well add devices itself, with `mapdev.linux.device_create`; whichever way a device with a
number comes, its node in ``/dev`` is made here, as devtmpfs does it, and goes with it.

Objects: an `Entry` for each declared device, from `Host.add` to `Host.remove` or the host's end; a
class or bus that was made for a declared one stays with the host. Used under the host's lock.

Source: drivers/base/devtmpfs.c, drivers/base/core.c
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.loading import DriverError
from mapdev.linux import device as model
from mapdev.linux import device_class
from mapdev.linux.cdev import (
    MISC_DYNAMIC_MINOR,
    MISC_MAJOR,
    Cdev,
    cdev_add,
    cdev_del,
    kobj_lookup,
    register_chrdev_region,
    unregister_chrdev_region,
)
from mapdev.linux.fs import MINOR, MKDEV, File, Inode
from mapdev.linux.kobject import DeviceTree, add_uevent_var
from mapdev.linux.miscdevice import misc_class, misc_minor

__all__ = ["Registration"]

_DEFAULT_MODE = 0o600  # of devtmpfs
_PLATFORM = "platform"


class _Nobody(Driver):
    """Stands at a node whose number no driver serves: open fails with ENXIO."""

    def open(self, inode: Inode, file: File) -> None:
        """Fail as the kernel does (fs/char_dev.c, chrdev_open)."""
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


class _Entry:
    """The parts of the device model that were made for one device, as its class declares."""

    __slots__ = ("cdev", "dev", "device", "number")

    def __init__(self, device: Device, dev: model.Device, cdev: Cdev) -> None:
        self.device = device
        self.dev = dev
        self.cdev = cdev
        self.number = dev.devt  # a host may have to give it another one


class Registration:
    """The devices of a host in the device model.

    :param tree: the machine's.
    :param appear: makes a node appear to clients, that of a device of the model.
    :param vanish: takes it away.
    """

    def __init__(
        self,
        tree: DeviceTree,
        appear: Callable[[Device, model.Device | None], None],
        vanish: Callable[[Device], None],
    ) -> None:
        self._tree = tree
        self._appear = appear
        self._vanish = vanish
        self._declared: dict[Device, _Entry] = {}
        self._nodes: dict[model.Device, Device] = {}
        self._shown: set[Device] = set()  # nodes that were there before
        self._made: set[model.Device | device_class.Class] = set()  # for declared devices

    def node_changed(self, dev: model.Device, is_new: bool) -> None:
        """Make, or take away, the node of a device that was added or deleted."""
        if not is_new:
            device = self._nodes.pop(dev, None)
            if device is not None:
                self._vanish(device)
            return
        device = self._nodes.get(dev)  # a declared one is known before it is added
        if device is None:
            path, mode = dev.devnode()
            driver = kobj_lookup(self._tree, dev.devt)
            device = Device(driver or _Nobody(), f"/dev/{path}", MINOR(dev.devt))
            device.inode.i_rdev = dev.devt
            device.inode.i_mode = 0o020000 | (mode or _DEFAULT_MODE)
            self._nodes[dev] = device
        if device not in self._shown:
            self._appear(device, dev)

    def adopt(self, dev: model.Device, device: Device) -> None:
        """Take a node that is there as that of a device which is about to be added."""
        self._nodes[dev] = device
        self._shown.add(device)

    def register(self, driver: Driver, device: Device) -> None:
        """Make the device that a driver's class declares; called as code of the driver.

        :raises DriverError: its name is taken, or its declaration makes no sense.
        """
        try:
            entry = self._register(driver, device)
        except (OSError, TypeError, ValueError) as error:
            raise DriverError(f"{device.node} can't be registered: {error}") from error
        self._declared[device] = entry
        if driver.dev is None:
            driver.dev = entry.dev

    def _register(self, driver: Driver, device: Device) -> _Entry:
        cls = self._class(driver)
        if cls.name == "misc":
            wanted = MISC_DYNAMIC_MINOR if driver.minor is None else driver.minor
            minor = misc_minor(self._tree, driver.name, wanted)
            device.inode.i_rdev = MKDEV(MISC_MAJOR, minor)
            self._tree.misc[minor] = driver.name
        mode = device.inode.i_mode & 0o777
        path = device.node.removeprefix("/dev/")
        dev = model.Device(
            class_=cls,
            parent=self._parent(driver),
            devt=device.inode.i_rdev,
            groups=[group.bind(driver) for group in driver.dev_groups],
            type=device_class.DeviceType(
                uevent=getattr(driver, "dev_uevent", None), devnode=lambda _: (path, mode)
            ),
            driver_data=driver,
        )
        model.dev_set_name(dev, os.path.basename(path) if path.startswith("/") else path)  # noqa: PTH119
        dev.links = tuple(driver.dev_links)
        dev.properties = dict(driver.dev_properties)
        dev.tags = tuple(driver.dev_tags)
        cdev = Cdev(driver)
        if cls.name != "misc":
            register_chrdev_region(dev.devt, 1, driver.name)
        cdev_add(cdev, dev.devt, 1)
        self._nodes[dev] = device
        entry = _Entry(device, dev, cdev)
        try:
            model.device_add(dev)
        except BaseException:
            self._nodes.pop(dev, None)
            self._give_back(entry)
            raise
        return entry

    def unregister(self, device: Device) -> bool:
        """Take a declared device away; False if it is none."""
        entry = self._declared.pop(device, None)
        if entry is None:
            return False
        model.device_del(entry.dev)
        self._give_back(entry)
        driver = device.driver
        self._drop_class(entry.dev.class_)
        self._drop_parents(entry.dev.parent)
        if driver.dev is entry.dev:
            left = (other.dev for other in self._declared.values() if other.device.driver is driver)
            driver.dev = next(left, None)
        return True

    def _drop_class(self, cls: device_class.Class | None) -> None:
        """Remove a class that was made for declared devices, with the last of them."""
        if cls is not None and cls in self._made and cls.kobj and not cls.kobj.sd.children:
            self._made.discard(cls)
            device_class.class_destroy(cls)

    def _drop_parents(self, dev: model.Device | None) -> None:
        """Remove parents that were made for declared devices, with the last of their children."""
        while dev is not None and dev in self._made:
            if model.device_find_child(dev, None, lambda child, data: True) is not None:
                return
            self._made.discard(dev)
            model.device_unregister(dev)
            dev = dev.parent

    def _give_back(self, entry: _Entry) -> None:
        cdev_del(entry.cdev)
        if entry.dev.class_ is not None and entry.dev.class_.name == "misc":
            self._tree.misc.pop(MINOR(entry.number), None)
        else:
            unregister_chrdev_region(entry.number, 1)

    def _class(self, driver: Driver) -> device_class.Class:
        cls = driver.dev_class
        if isinstance(cls, device_class.Class):
            if cls.kobj is None:
                device_class.class_register(cls)
            return cls
        if cls == "misc":
            return misc_class(self._tree)
        assert cls is not None
        known = self._tree.classes.get(cls)
        if known is None:
            known = device_class.class_create(cls)
            self._made.add(known)
        found: device_class.Class = known
        return found

    def _parent(self, driver: Driver) -> model.Device | None:
        """Return the parent of a declared device, which is made if it is a path."""
        parent: Any = driver.dev_parent
        if parent is None or isinstance(parent, model.Device):
            return parent
        at: model.Device | None = None
        names = str(parent).strip("/").split("/")
        bus = self._platform() if names[0] == _PLATFORM and len(names) > 1 else None
        for name in names:
            above = at.kobj.sd if at is not None and at.kobj is not None else None
            found = (above or self._tree.root.directory("/sys/devices")).children.get(name)
            kobj = found.priv if found is not None else None
            if kobj is not None and isinstance(getattr(kobj, "of", None), model.Device):
                at = kobj.of
                continue
            is_last_on_bus = bus is not None and name == names[-1]
            made = model.Device(name, parent=at, bus=bus if is_last_on_bus else None)
            if is_last_on_bus and bus is not None:
                made.driver = self.bus_driver(bus, driver.name)
            model.device_add(made)
            self._made.add(made)
            at = made
        return at

    def _platform(self) -> device_class.BusType:
        bus = self._tree.buses.get(_PLATFORM)
        if bus is None:
            bus = device_class.BusType(_PLATFORM, uevent=_modalias)
            device_class.bus_register(bus)
        found: device_class.BusType = bus
        return found

    def bus_driver(self, bus: device_class.BusType, name: str) -> device_class.DeviceDriver:
        """Return the driver of a bus that has a name, which is made if need be."""
        assert bus.drivers is not None
        known = bus.drivers.sd.children.get(name)
        if known is not None:
            of: device_class.DeviceDriver = known.priv.of
            return of
        made = device_class.DeviceDriver(name, bus)
        device_class.driver_register(made)
        return made


def _modalias(dev: model.Device, env: device_class.Env) -> None:
    """Add what a bus of platform devices says of each (drivers/base/platform.c)."""
    add_uevent_var(env, "MODALIAS", f"platform:{dev.name.partition('.')[0]}")
