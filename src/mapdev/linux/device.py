"""Devices: what ``/sys`` shows of a device, and where its node comes from.

A `Device` has a place in the tree of devices, and belongs to a `Class` or a `BusType`. When it is
added its directory appears below ``/sys/devices``, with links from and to its class or bus; if it
has a number, ``/sys/dev/char/MAJOR:MINOR`` and a node in ``/dev`` appear as well; last, programs
get an "add" uevent. `device_del` undoes all that. The state is the machine's `DeviceTree`, changed
under the host's lock.

Source: drivers/base/core.c
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mapdev.linux.device_class import BusType, Class, DeviceDriver, DeviceType, Env, _kobj
from mapdev.linux.fs import MAJOR, MINOR
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.kobject import (
    KOBJ_ADD,
    KOBJ_REMOVE,
    Kobject,
    add_uevent_var,
    device_tree,
    kobject_add,
    kobject_clean_name,
    kobject_del,
    kobject_synth_uevent,
    kobject_uevent,
)
from mapdev.linux.sysfs import (
    Attribute,
    AttributeGroup,
    BinAttribute,
    Group,
    sysfs_create_bin_file,
    sysfs_create_file,
    sysfs_create_group,
    sysfs_create_groups,
    sysfs_create_link,
    sysfs_remove_file,
    sysfs_remove_link,
    sysfs_streq,
)

__all__ = [
    "Device", "dev_get_drvdata", "dev_name", "dev_set_drvdata", "dev_set_name", "device_add",
    "device_bind_driver", "device_create", "device_create_bin_file", "device_create_file",
    "device_create_with_groups", "device_del", "device_destroy", "device_find_child",
    "device_for_each_child", "device_initialize", "device_register", "device_remove_file",
    "device_unregister", "get_device", "put_device", "root_device_register",
    "root_device_unregister",
]  # fmt: skip


class Device:
    """A device in the tree of devices: ``struct device``.

    :ivar class_: its class, ``dev->class`` in C
    :ivar bus: its bus; a device has a class, a bus, or neither
    :ivar devt: its number, 0 if it has no node
    :ivar groups: its own attributes
    :ivar driver: which `DeviceDriver` it is bound to
    :ivar place: the directory that its own is made in, if not the one that Linux would choose
    :ivar links: names of the node that udev would make besides, below ``/dev``: SYMLINK in a rule
    :ivar properties: what udev's rules would note of it, such as ``ID_INPUT``
    :ivar tags: that udev's rules would give it, such as ``seat``

    Source: include/linux/device.h
    Fidelity: ``links``, ``properties`` and ``tags`` are no fields of the kernel's: they say what
    udev's rules do on a real machine. Nor is ``place``, which is for recorded machines.
    """

    __slots__ = (
        "bus",
        "class_",
        "devt",
        "driver",
        "driver_data",
        "gid",
        "glue",
        "groups",
        "is_added",
        "kobj",
        "links",
        "parent",
        "place",
        "properties", "tags", "type",
        "uid",
    )  # fmt: skip

    def __init__(
        self,
        name: str = "",
        *,
        class_: Class | None = None,
        bus: BusType | None = None,
        parent: "Device | None" = None,
        devt: int = 0,
        groups: Sequence[Group] = (),
        type: DeviceType | None = None,
        driver_data: Any = None,
    ) -> None:
        """Describe a device that was not added yet."""
        self.kobj: Kobject | None = Kobject(name, of=self) if name else None
        self.class_ = class_
        self.bus = bus
        self.parent = parent
        self.devt = devt
        self.groups = groups
        self.type = type
        self.driver: DeviceDriver | None = None
        self.driver_data = driver_data
        self.uid = self.gid = 0
        self.links: tuple[str, ...] = ()
        self.properties: dict[str, str] = {}
        self.tags: tuple[str, ...] = ()
        self.glue: KernfsNode | None = None
        self.place: Kobject | None = None
        self.is_added = False

    @property
    def name(self) -> str:
        """Its name, empty before it has one."""
        return self.kobj.name if self.kobj is not None else ""

    def devnode(self) -> tuple[str, int | None]:
        """Say where below ``/dev`` its node is, and the mode if that is not the usual one.

        Source: drivers/base/core.c (device_get_devnode)
        """
        for kind in (self.type, self.class_):
            if kind is not None and kind.devnode is not None:
                path, mode = kind.devnode(self)
                if path or mode:
                    return path or self.name.replace("!", "/"), mode
        return self.name.replace("!", "/"), None

    def __repr__(self) -> str:
        """Show the path."""
        return f"<Device {self.kobj.sd.path if self.kobj else '?'}>"


# --- devices ----------------------------------------------------------------------------------


def device_initialize(dev: Device) -> None:
    """Prepare a device for `device_add`.

    Source: drivers/base/core.c
    Fidelity: `Device` makes one that is prepared.
    """


def dev_set_name(dev: Device, fmt: str, *args: object) -> int:
    """Name a device, before it is added; a slash becomes ``!`` and is one again in ``/dev``.

    :param fmt: a format as for ``%``, if there are arguments
    :return: 0
    :raises OSError: EINVAL, it is no name

    Source: drivers/base/core.c
    """
    name = fmt % args if args else fmt
    if dev.kobj is None:
        dev.kobj = Kobject(name, of=dev)
    else:
        dev.kobj.sd.name = kobject_clean_name(name)
    return 0


def dev_name(dev: Device) -> str:
    """Give the name of a device.

    Source: include/linux/device.h
    """
    return dev.name


def dev_set_drvdata(dev: Device, data: Any) -> None:
    """Keep something of the driver's with a device.

    Source: include/linux/device.h
    """
    dev.driver_data = data


def dev_get_drvdata(dev: Device) -> Any:
    """Give what `dev_set_drvdata` kept, None if nothing.

    Source: include/linux/device.h
    """
    return dev.driver_data


def get_device(dev: Device) -> Device:
    """Give the device.

    Source: drivers/base/core.c
    Fidelity: references are not counted.
    """
    return dev


def put_device(dev: Device) -> None:
    """Let go of a device.

    Source: drivers/base/core.c
    Fidelity: references are not counted.
    """


def _place(dev: Device) -> Kobject:
    """Give the directory in which a device's own is made.

    Source: drivers/base/core.c (get_device_parent)
    """
    tree = device_tree()
    if dev.place is not None:
        return dev.place
    above = dev.parent.kobj if dev.parent is not None else None
    if dev.class_ is None:
        return above or tree.kobject("devices")
    if above is None:
        above = tree.kobject("devices/virtual")
    elif dev.parent is not None and dev.parent.class_ is not None:
        return above
    glue = above.sd.children.get(dev.class_.name)
    if glue is None:
        made = Kobject(dev.class_.name, above)
        kobject_add(made)
        glue = made.sd
    elif not isinstance(glue.priv, Kobject):
        raise OSError(errno.EEXIST, f"{glue.path} is no directory for devices")
    dev.glue = glue
    place: Kobject = glue.priv
    return place


def _uevent_vars(dev: Device) -> Env:
    """Give the variables of a device's uevents.

    Source: drivers/base/core.c (dev_uevent)
    """
    env: Env = []
    if MAJOR(dev.devt):
        path, mode = dev.devnode()
        add_uevent_var(env, "MAJOR", MAJOR(dev.devt))
        add_uevent_var(env, "MINOR", MINOR(dev.devt))
        add_uevent_var(env, "DEVNAME", path)
        if mode:
            add_uevent_var(env, "DEVMODE", f"0{mode & 0o777:o}")
    if dev.type is not None and dev.type.name:
        add_uevent_var(env, "DEVTYPE", dev.type.name)
    if dev.driver is not None:
        add_uevent_var(env, "DRIVER", dev.driver.name)
    return _add_own_vars(dev, env)


def _add_own_vars(dev: Device, env: Env) -> Env:
    """Add what bus, class and type of a device say to the variables of its uevents.

    :return: the same list

    Source: drivers/base/core.c (dev_uevent)
    """
    for operation in (
        dev.bus.uevent if dev.bus else None,
        dev.class_.dev_uevent if dev.class_ else None,
        dev.type.uevent if dev.type else None,
    ):
        if operation is not None:
            operation(dev, env)
    return env


def _uevent_show(dev: Device, attr: Attribute) -> str:
    return "".join(f"{name}={value}\n" for name, value in _uevent_vars(dev))


def _uevent_store(dev: Device, attr: Attribute, buf: bytes) -> None:
    kobject_synth_uevent(_kobj(dev), buf.decode(errors="replace"))


_UEVENT = Attribute("uevent", 0o644, _uevent_show, _uevent_store)
_DEV = Attribute("dev", 0o444, lambda dev, attr: f"{MAJOR(dev.devt)}:{MINOR(dev.devt)}\n")


def _failing(code: int) -> Callable[..., str]:
    def show(dev: Device, attr: Attribute) -> str:
        raise OSError(code, "runtime power management is not in use")

    return show


def _control_store(dev: Device, attr: Attribute, buf: bytes) -> None:
    """Take "auto" and "on", without effect."""
    if not (sysfs_streq(buf, "auto") or sysfs_streq(buf, "on")):
        raise OSError(errno.EINVAL, f"{buf!r} is neither auto nor on")


_POWER = AttributeGroup(
    [
        Attribute("autosuspend_delay_ms", 0o644, _failing(errno.EIO), _failing(errno.EIO)),  # type: ignore[arg-type]
        Attribute("async", 0o644, lambda dev, attr: "disabled\n", lambda dev, attr, buf: None),
        Attribute("control", 0o644, lambda dev, attr: "auto\n", _control_store),
        Attribute("runtime_active_kids", 0o444, lambda dev, attr: "0\n"),
        Attribute("runtime_enabled", 0o444, lambda dev, attr: "disabled\n"),
        Attribute("runtime_usage", 0o444, lambda dev, attr: "0\n"),
        Attribute("runtime_active_time", 0o444, lambda dev, attr: "0\n"),
        Attribute("runtime_status", 0o444, lambda dev, attr: "unsupported\n"),
        Attribute("runtime_suspended_time", 0o444, lambda dev, attr: "0\n"),
    ],
    "power",
)
"""Source: drivers/base/power/sysfs.c"""


def device_add(dev: Device) -> int:
    """Make a device known to programs: directory, links, attributes, node and "add" uevent.

    :return: 0
    :raises OSError: EINVAL, it has no name, or its class or bus is not registered; EEXIST, the name
        is taken where it would be; nothing is left then

    Source: drivers/base/core.c
    """
    kobj = _kobj(dev)
    if dev.class_ is not None:
        _kobj(dev.class_)
    if dev.bus is not None and dev.bus.devices is None:
        raise OSError(errno.EINVAL, f"the bus {dev.bus.name} is not registered")
    kobj.parent = _place(dev)
    tree = device_tree()
    try:
        kobject_add(kobj)
        _fill(dev, kobj)
        dev.is_added = True
        if MAJOR(dev.devt):
            for listener in tree.node_listeners:
                listener(dev, True)
        elif tree.real is not None:
            tree.real.device_added(dev)
    except BaseException:
        dev.is_added = False
        _take_back(dev, kobj)
        raise
    if tree.real is None:  # else the real kernel does, when it makes the node
        kobject_uevent(kobj, KOBJ_ADD)
    return 0


def _fill(dev: Device, kobj: Kobject) -> None:
    kobj.uevent_vars = lambda: _uevent_vars(dev)
    sysfs_create_file(kobj, _UEVENT)
    groups: list[Group] = []
    if dev.class_ is not None:
        class_kobj = _kobj(dev.class_)
        kobj.subsystem = dev.class_.name
        sysfs_create_link(kobj, class_kobj, "subsystem")
        if dev.parent is not None and dev.parent.kobj is not None:
            sysfs_create_link(kobj, dev.parent.kobj, "device")
        sysfs_create_link(class_kobj, kobj, dev.name)
        groups += dev.class_.dev_groups
    if dev.type is not None:
        groups += dev.type.groups
    groups += dev.groups
    sysfs_create_groups(kobj, groups)
    if dev.bus is not None and dev.bus.devices is not None and dev.bus.kobj is not None:
        kobj.subsystem = dev.bus.name
        sysfs_create_groups(kobj, dev.bus.dev_groups)
        sysfs_create_link(dev.bus.devices, kobj, dev.name)
        if dev.class_ is None:
            sysfs_create_link(kobj, dev.bus.kobj, "subsystem")
    sysfs_create_group(kobj, _POWER)
    if MAJOR(dev.devt):
        sysfs_create_file(kobj, _DEV)
        number = f"{MAJOR(dev.devt)}:{MINOR(dev.devt)}"
        sysfs_create_link(device_tree().kobject("dev/char"), kobj, number)
    if dev.driver is not None:
        device_bind_driver(dev)


def _take_back(dev: Device, kobj: Kobject) -> None:
    tree = device_tree()
    if dev.driver is not None and dev.driver.kobj is not None:
        _remove_link_to(dev.driver.kobj, kobj, dev.name)
    if MAJOR(dev.devt):
        number = f"{MAJOR(dev.devt)}:{MINOR(dev.devt)}"
        _remove_link_to(tree.kobject("dev/char"), kobj, number)
    if dev.class_ is not None and dev.class_.kobj is not None:
        _remove_link_to(dev.class_.kobj, kobj, dev.name)
    if dev.bus is not None and dev.bus.devices is not None:
        _remove_link_to(dev.bus.devices, kobj, dev.name)
    kobject_del(kobj)
    if dev.glue is not None and not dev.glue.children and dev.glue.root is not None:
        dev.glue.root.remove(dev.glue)
    dev.glue = None


def _remove_link_to(kobj: Kobject, target: Kobject, name: str) -> None:
    """Remove a link unless it is another device's, as when adding this one failed."""
    link = kobj.sd.children.get(name)
    if link is not None and link.target is target.sd:
        sysfs_remove_link(kobj, name)


def device_register(dev: Device) -> int:
    """Prepare and add a device.

    :return: 0
    :raises OSError: as for `device_add`

    Source: drivers/base/core.c
    """
    device_initialize(dev)
    return device_add(dev)


def device_del(dev: Device) -> None:
    """Take a device away from programs: node, links, directory; "remove" is the last they hear.

    Source: drivers/base/core.c
    """
    if not dev.is_added:
        return
    dev.is_added = False
    kobj = _kobj(dev)
    tree = device_tree()
    if MAJOR(dev.devt):
        for listener in tree.node_listeners:
            listener(dev, False)
    elif tree.real is not None:
        tree.real.device_removed(dev)
    # Programs get the variables of the device as it was: the kernel, too, keeps them till the end.
    if tree.real is None:
        kobject_uevent(kobj, KOBJ_REMOVE)
    _take_back(dev, kobj)


def device_unregister(dev: Device) -> None:
    """Take a device away and let go of it.

    Source: drivers/base/core.c
    """
    device_del(dev)


def device_create(
    cls: Class, parent: Device | None, devt: int, drvdata: Any, fmt: str, *args: object
) -> Device:
    """Make a device of a class, and add it.

    :param parent: None for one in ``/sys/devices/virtual``
    :param devt: its number, 0 for no node
    :param fmt: its name, a format as for ``%`` if there are arguments
    :raises OSError: as for `device_add`

    Source: drivers/base/core.c
    """
    return device_create_with_groups(cls, parent, devt, drvdata, (), fmt, *args)


def device_create_with_groups(
    cls: Class,
    parent: Device | None,
    devt: int,
    drvdata: Any,
    groups: Sequence[Group],
    fmt: str,
    *args: object,
) -> Device:
    """Make a device of a class with attributes of its own, and add it.

    :raises OSError: as for `device_add`

    Source: drivers/base/core.c
    """
    dev = Device(class_=cls, parent=parent, devt=devt, groups=groups, driver_data=drvdata)
    dev_set_name(dev, fmt, *args)
    device_add(dev)
    return dev


def device_destroy(cls: Class, devt: int) -> None:
    """Remove the device of a class that has a number; nothing if there is none.

    Source: drivers/base/core.c
    """
    for dev in _devices_of(cls):
        if dev.devt == devt:
            device_unregister(dev)
            return


def _devices_of(cls: Class) -> Iterable[Device]:
    links = list(cls.kobj.sd.children.values()) if cls.kobj is not None else []
    for link in links:
        kobj = link.target.priv if isinstance(link.target, KernfsNode) else None
        if isinstance(kobj, Kobject) and isinstance(kobj.of, Device):
            yield kobj.of


def device_create_file(dev: Device, attr: Attribute) -> int:
    """Give a device an attribute.

    :return: 0
    :raises OSError: as for `sysfs_create_file`

    Source: drivers/base/core.c
    """
    return sysfs_create_file(_kobj(dev), attr)


def device_remove_file(dev: Device, attr: Attribute) -> None:
    """Take an attribute from a device.

    Source: drivers/base/core.c
    """
    sysfs_remove_file(_kobj(dev), attr)


def device_create_bin_file(dev: Device, attr: BinAttribute) -> int:
    """Give a device a binary attribute.

    :return: 0
    :raises OSError: as for `sysfs_create_bin_file`

    Source: drivers/base/core.c
    """
    return sysfs_create_bin_file(_kobj(dev), attr)


def _children(dev: Device) -> Iterator[Device]:
    """Give the devices right below one, those in a directory of a class between as well."""
    directories = [_kobj(dev).sd]
    while directories:
        for node in list(directories.pop().children.values()):
            if isinstance(node.priv, Kobject):
                if isinstance(node.priv.of, Device):
                    yield node.priv.of
                else:
                    directories.append(node)


def device_for_each_child(parent: Device, data: Any, fn: Callable[[Device, Any], int]) -> int:
    """Call a function with each child of a device, until it returns something but 0.

    :return: what it returned last

    Source: drivers/base/core.c
    """
    for child in _children(parent):
        result = fn(child, data)
        if result:
            return result
    return 0


def device_find_child(
    parent: Device, data: Any, match: Callable[[Device, Any], object]
) -> Device | None:
    """Give the first child of a device for which a function returns true.

    Source: drivers/base/core.c
    """
    return next((child for child in _children(parent) if match(child, data)), None)


def device_bind_driver(dev: Device) -> int:
    """Show in sysfs that a device is driven by ``dev.driver``.

    :return: 0
    :raises OSError: EINVAL, that is not set or not registered

    Source: drivers/base/dd.c
    """
    driver = dev.driver
    if driver is None or driver.kobj is None:
        raise OSError(errno.EINVAL, f"{dev.name} has no driver that is registered")
    sysfs_create_link(driver.kobj, _kobj(dev), dev.name)
    sysfs_create_link(_kobj(dev), driver.kobj, "driver")
    return 0


def root_device_register(name: str) -> Device:
    """Make a device right below ``/sys/devices`` that stands for no hardware: a parent for others.

    :raises OSError: EEXIST, the name is taken

    Source: drivers/base/core.c
    """
    dev = Device(name)
    device_add(dev)
    return dev


def root_device_unregister(root: Device) -> None:
    """Remove a device of `root_device_register`.

    Source: drivers/base/core.c
    """
    device_unregister(root)
