"""Reads a description of devices, in the text format of umockdev, into a host's device tree.

Each device is a block of lines, the first of which is ``P: /devices/...``. ``N:`` is its node (with
``=HEX``, what can be read from it), ``S:`` a link to that, ``E:`` a variable of its uevents, ``A:``
an attribute, ``H:`` one in hexadecimal, ``L:`` a symbolic link. The devices appear at the paths
that the description gives. A node is served by the driver that a host has there already; by one
that gives its content, if there is some; else opening it fails with ENXIO.

Source: umockdev's README, "Device descriptions", as the description of the format
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import NamedTuple

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.core.registration import Registration
from mapdev.host.loading import DriverError
from mapdev.linux import device as model
from mapdev.linux import device_class
from mapdev.linux.cdev import Cdev, alloc_chrdev_region, cdev_add
from mapdev.linux.fs import MKDEV, File
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.kobject import DeviceTree, add_uevent_var
from mapdev.linux.sysfs import Attribute, AttributeGroup, BinAttribute, Group

__all__ = ["Description", "add_devices", "parse"]

_BUSES = {
    "usb", "pci", "platform", "i2c", "spi", "hid", "acpi", "pnp", "scsi", "serio", "virtio", "mmc",
    "sdio", "gpio", "iio", "mdio_bus", "nvmem", "thunderbolt",
}  # fmt: skip
_MADE_HERE = ("uevent", "dev", "subsystem", "device", "power", "driver")
_OF_THE_NODE = (
    "DEVPATH", "SUBSYSTEM", "MAJOR", "MINOR", "DEVNAME", "DEVTYPE", "DRIVER", "DEVLINKS", "TAGS",
    "CURRENT_TAGS", "USEC_INITIALIZED",
)  # fmt: skip


class Description(NamedTuple):
    """One device of a file.

    :ivar attributes: content by name, bytes for those that came as hexadecimal.
    """

    path: str
    node: str | None
    content: bytes | None
    links: tuple[str, ...]
    variables: dict[str, str]
    attributes: dict[str, str | bytes]
    targets: dict[str, str]


def parse(text: str) -> list[Description]:
    """Return the devices that a text describes, in its order.

    :raises DriverError: a line has another form.
    """
    found: list[Description] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        kind, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        try:
            if not colon:
                raise ValueError("no colon")
            if kind == "P":
                if not value.startswith("/devices/"):
                    raise ValueError("a path begins with /devices/")
                found.append(Description(value.rstrip("/"), None, None, (), {}, {}, {}))
            elif not found:
                raise ValueError("a device begins with P:")
            else:
                found[-1] = _with(found[-1], kind, value)
        except ValueError as error:
            raise DriverError(f"line {number}: {line!r:.80}: {error}") from None
    return found


def _with(device: Description, kind: str, value: str) -> Description:
    """Return the description with one line more."""
    name, equals, rest = value.partition("=")
    if kind == "N":
        content = bytes.fromhex(rest) if equals else None
        return device._replace(node=name.removeprefix("/dev/"), content=content)
    if kind == "S":
        return device._replace(links=(*device.links, value.removeprefix("/dev/")))
    if kind not in ("E", "A", "H", "L"):
        raise ValueError("there are P, N, S, E, A, H and L")
    if not equals:
        raise ValueError("it has no =")
    if kind == "E":
        device.variables[name] = rest
    elif kind == "A":
        device.attributes[name] = _unescaped(rest)
    elif kind == "H":
        device.attributes[name] = bytes.fromhex(rest)
    else:
        device.targets[name] = rest
    return device


def _unescaped(text: str) -> str:
    """Return text in which a backslash stands before n for a newline, before others for them."""
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)


class _Content(Driver):
    """A node of which something can be read."""

    name = "content"

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return what is there."""
        return self._content[pos : pos + count]


def add_devices(
    descriptions: Sequence[Description],
    tree: DeviceTree,
    registration: Registration,
    devices: Sequence[Device],
) -> None:
    """Add devices to the tree, parents first.

    :param devices: those that the host has, whose drivers serve the nodes with their names.
    :raises DriverError: a path or a node is taken.
    """
    made: dict[str, model.Device] = {}
    there = {device.node: device for device in devices}
    for description in sorted(descriptions, key=lambda one: one.path.count("/")):
        try:
            made[description.path] = _add(description, tree, registration, made, there)
        except OSError as error:
            raise DriverError(f"{description.path}: {error.strerror or error}") from None


def _add(
    of: Description,
    tree: DeviceTree,
    registration: Registration,
    made: dict[str, model.Device],
    there: dict[str, Device],
) -> model.Device:
    above, _, name = of.path.rpartition("/")
    subsystem = of.variables.get("SUBSYSTEM", "")
    is_bus = "/bus/" in of.targets.get("subsystem", "") or (
        subsystem in _BUSES and "/class/" not in of.targets.get("subsystem", "")
    )
    dev = model.Device(
        name, parent=_nearest(above, made), groups=_groups(of), type=_type(of),
        class_=_class(tree, subsystem) if subsystem and not is_bus else None,
        bus=_bus(tree, subsystem) if subsystem and is_bus else None,
    )  # fmt: skip
    dev.place = tree.kobject(above.strip("/"))
    dev.links = of.links
    dev.tags = tuple(filter(None, of.variables.get("TAGS", "").split(":")))
    if of.node is not None and subsystem != "block":
        existing = there.get(f"/dev/{of.node}")
        major, minor = (int(of.variables.get(key, 0)) for key in ("MAJOR", "MINOR"))
        dev.devt = MKDEV(major, minor) if major else alloc_chrdev_region(0, 1, name)
        if existing is not None:
            existing.inode.i_rdev = dev.devt
            registration.adopt(dev, existing)
        elif of.content is not None:
            cdev_add(Cdev(_Content(of.content)), dev.devt, 1)
    driver = of.variables.get("DRIVER")
    if driver and dev.bus is not None:
        dev.driver = registration.bus_driver(dev.bus, driver)
    model.device_add(dev)
    assert dev.kobj is not None
    for link, target in of.targets.items():
        if link not in _MADE_HERE and link not in dev.kobj.sd.children:
            tree.root.add(dev.kobj.sd, KernfsNode(link, stat.S_IFLNK | 0o777, target=target))
    return dev


def _nearest(path: str, made: dict[str, model.Device]) -> model.Device | None:
    while path:
        if path in made:
            return made[path]
        path = path.rpartition("/")[0]
    return None


def _class(tree: DeviceTree, name: str) -> device_class.Class:
    found: device_class.Class = tree.classes.get(name) or device_class.class_create(name)
    return found


def _bus(tree: DeviceTree, name: str) -> device_class.BusType:
    found = tree.buses.get(name)
    if found is None:
        found = device_class.BusType(name)
        device_class.bus_register(found)
    bus: device_class.BusType = found
    return bus


def _type(of: Description) -> device_class.DeviceType:
    def uevent(dev: model.Device, env: device_class.Env) -> None:
        for name, value in of.variables.items():
            if name not in _OF_THE_NODE:
                add_uevent_var(env, name, value)

    def devnode(dev: model.Device) -> tuple[str | None, int | None]:
        return of.node, 0o666

    return device_class.DeviceType(of.variables.get("DEVTYPE", ""), (), uevent, devnode)


def _groups(of: Description) -> list[Group]:
    """Return the attributes of a device, by the directories that they are in."""
    groups: dict[str, list[Attribute | BinAttribute]] = {}
    for path, content in of.attributes.items():
        directory, _, name = path.rpartition("/")
        if path.partition("/")[0] not in _MADE_HERE and "/" not in directory:
            groups.setdefault(directory, []).append(_attribute(name, content))
    return [AttributeGroup(attrs, directory or None) for directory, attrs in groups.items()]


def _attribute(name: str, content: str | bytes) -> Attribute | BinAttribute:
    """Return an attribute that keeps what is written to it."""
    value = content.encode() if isinstance(content, str) else content

    def store(of: object, attr: Attribute, buf: bytes) -> None:
        nonlocal value
        value = buf

    if isinstance(content, bytes):
        return BinAttribute(
            name, 0o444, len(value), lambda of, attr, pos, count: value[pos : pos + count]
        )
    return Attribute(name, 0o644, lambda of, attr: value, store)
