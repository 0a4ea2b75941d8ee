"""`Model` makes the device model of the drivers real: classes, devices, attributes, uevents.

`mapdev.linux` keeps the tree of devices in this process. What drivers put there goes to the module,
which has the kernel make it, and asks for attributes when somebody reads or writes them. Nobody
but the drivers sees the tree itself.

Objects: each class, bus, driver and device has a number of the module's, from its coming to its
going; each attribute a tag, which is the inode number of its name in the tree. Used under the
host's lock, but for `uevent` and notifications, which come in any thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile, new_file
from mapdev.host.core.sysfs import serve_attribute
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control
from mapdev.linux.device import Device as ModelDevice
from mapdev.linux.device import _add_own_vars
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.kobject import DeviceTree
from mapdev.linux.log import log
from mapdev.linux.sysfs import Attribute, AttributeNode

_PLATFORM = "platform"  # the bus, and the directory of its devices, which the kernel has
_MISC = "misc"
_KERNELS_OWN = frozenset(("uevent", "dev", "power", "subsystem", "device", "driver"))
_ACTIONS = ("add", "remove", "change", "move", "online", "offline", "bind", "unbind")


class Model:
    """Makes what is in a machine's device tree real; `mapdev.linux.context.RealModel`."""

    def __init__(self, control: Control, tree: DeviceTree) -> None:
        self._control = control
        self._ids: dict[Any, int] = {}
        self._attributes: dict[int, OpenFile] = {}  # by tag
        tree.real = self
        tree.root.watchers.append(self._name_changed)
        tree.root.notified.append(self._notified)

    # --- classes, buses, drivers ------------------------------------------------------------

    def _add(self, of: Any, kind: int, name: str, bus: int = 0) -> None:
        made = uapi.Object(kind=kind, bus=bus, name=_encoded(name, uapi.WORD_MAX))
        try:
            self._control.ioctl(uapi.IOC_OBJECT, made)
        except FileExistsError:
            what = ("class", "bus", "driver")[kind]
            raise FileExistsError(errno.EEXIST, f"the kernel has a {what} {name} already") from None
        self._ids[of] = made.id

    def _remove(self, of: Any) -> None:
        number = self._ids.pop(of, 0)
        if number:
            self._control.ioctl(uapi.IOC_FORGET, uapi.Id(id=number))

    def class_added(self, cls: Any) -> None:
        """Make a class."""
        self._add(cls, uapi.OBJECT_CLASS, cls.name)

    def class_removed(self, cls: Any) -> None:
        """Remove a class."""
        self._remove(cls)

    def bus_added(self, bus: Any) -> None:
        """Make a bus; that of platform devices is the kernel's."""
        if bus.name == _PLATFORM:
            self._ids[bus] = 0
        else:
            self._add(bus, uapi.OBJECT_BUS, bus.name)

    def bus_removed(self, bus: Any) -> None:
        """Remove a bus."""
        self._remove(bus)

    def driver_added(self, drv: Any) -> None:
        """Make the driver of a bus."""
        self._add(drv, uapi.OBJECT_DRIVER, drv.name, self._ids[drv.bus])

    def driver_removed(self, drv: Any) -> None:
        """Remove the driver of a bus."""
        self._remove(drv)

    # --- devices ----------------------------------------------------------------------------

    def device_added(self, dev: ModelDevice) -> None:
        """Make a device without a number."""
        if dev.name == _PLATFORM and not (dev.parent or dev.class_ or dev.bus):
            self._ids[dev] = 0
            return
        description = Description(self._ids, dev)
        create = uapi.Create(flags=uapi.CREATE_NO_NUMBER, model=description.address)
        try:
            self._control.ioctl(uapi.IOC_CREATE, create)
        except FileExistsError:
            raise FileExistsError(
                errno.EEXIST, f"the kernel has a device {dev.name} there already"
            ) from None
        self.know(dev, create.id, description)

    def device_removed(self, dev: ModelDevice) -> None:
        """Remove a device without a number."""
        number = self._ids.pop(dev, 0)
        if number:
            self._control.ioctl(uapi.IOC_DESTROY, uapi.Id(id=number))

    def describe(self, dev: ModelDevice, region: str) -> Description:
        """Return what the module is told of a device that is about to get a node."""
        return Description(self._ids, dev, region)

    def know(self, dev: ModelDevice, number: int, description: Description) -> None:
        """Know that the module has made a device."""
        self._ids[dev] = number
        for node in description.attributes:
            self._serve(node)

    def forget(self, dev: ModelDevice) -> None:
        """Know that a device with a node is gone."""
        self._ids.pop(dev, None)

    def uevent(self, dev: Any, action: str, envp: Sequence[str]) -> None:
        """Tell programs of a device; in any thread."""
        number = self._ids.get(dev)
        if not number or not isinstance(dev, ModelDevice):
            return
        variables, extra = _variables(dev), _strings(envp)
        uevent = uapi.Uevent(
            device=number, action=_ACTIONS.index(action), env_len=len(variables) - 1,
            extra_len=len(extra) - 1, env=ctypes.addressof(variables),
            extra=ctypes.addressof(extra),
        )  # fmt: skip
        with contextlib.suppress(FileNotFoundError):  # it has just gone
            self._control.ioctl(uapi.IOC_UEVENT, uevent)

    # --- attributes -------------------------------------------------------------------------

    def file_of(self, tag: int) -> OpenFile:
        """Return what stands for the open file in calls about an attribute.

        :raises OSError: ENODEV it is gone.
        """
        found = self._attributes.get(tag)
        if found is None:
            raise OSError(errno.ENODEV, "the attribute is gone")
        return found

    def _serve(self, node: KernfsNode) -> None:
        device = Device.of_name(node, serve_attribute(node))
        self._attributes[node.ino] = OpenFile(device, new_file(device, 0, FMODE_READ | FMODE_WRITE))

    def _name_changed(self, node: KernfsNode, is_new: bool) -> None:
        """Have an attribute of a device that is there come, or go."""
        if not is_new:
            gone = self._attributes.pop(node.ino, None)
            if gone is not None:
                gone.device.is_gone = True
                self._change(node, uapi.ATTR_REMOVE)
            return
        of = node.priv
        if not isinstance(of, AttributeNode) or (
            isinstance(of.kobj.of, ModelDevice) and of.kobj.of not in self._ids
        ):
            return  # its device comes later, with all that it has
        if isinstance(of.kobj.of, ModelDevice) and node.parent is of.kobj.sd:
            self._change(node, uapi.ATTR_ADD)
            self._serve(node)
        elif node.name not in _KERNELS_OWN:
            log.warning("%s is not shown: the kernel host has no attributes of classes and buses, "
                        "and no new groups of a device that is there", node.path)  # fmt: skip

    def _notified(self, node: KernfsNode) -> None:
        self._change(node, uapi.ATTR_NOTIFY)

    def _change(self, node: KernfsNode, kind: int) -> None:
        number = self._ids.get(node.priv.kobj.of)
        if number:
            change = uapi.AttrChange(device=number, kind=kind, attr=_attribute(node, ""))
            with contextlib.suppress(FileNotFoundError):
                self._control.ioctl(uapi.IOC_ATTR, change)


class Description:
    """A device as the module is told of it: struct mapdev_model, and what it points to.

    :ivar address: of the struct, as long as this object lives.
    :ivar attributes: the names of its attributes.
    :raises OSError: EINVAL it belongs to what the kernel can't have together.
    """

    def __init__(self, ids: dict[Any, int], dev: ModelDevice, region: str = "") -> None:
        if dev.class_ is not None and dev.bus is not None:
            raise OSError(errno.EINVAL, f"{dev.name}: on the kernel host a device has a class or a "
                          "bus, not both")  # fmt: skip
        found = [*_attributes_of(dev)]
        self.attributes = [node for node, _ in found]
        self._attrs = (uapi.Attribute * len(found))(*(_attribute(*one) for one in found))
        self._env = _variables(dev)
        on_platform = dev.bus is not None and dev.bus.name == _PLATFORM
        self._model = uapi.Model(
            flags=(uapi.MODEL_PLATFORM if on_platform else 0)
            | (0 if dev.devnode()[1] else uapi.MODEL_ANY_MODE),
            class_id=ids[dev.class_] if dev.class_ is not None else 0,
            bus=ids[dev.bus] if dev.bus is not None else 0,
            driver=ids[dev.driver] if dev.driver is not None else 0,
            parent=ids.get(dev.parent, 0),
            nr_attrs=len(found), env_len=len(self._env) - 1,
            attrs=ctypes.addressof(self._attrs), env=ctypes.addressof(self._env),
            name=_encoded(dev.name, uapi.NAME_MAX),
            type=_encoded(dev.type.name if dev.type is not None else "", uapi.WORD_MAX),
            region=_encoded(region, uapi.WORD_MAX),
        )  # fmt: skip
        self.address: int = ctypes.addressof(self._model)


def _attributes_of(dev: ModelDevice) -> Iterator[tuple[KernfsNode, str]]:
    """Give the attributes of a device, and the group that each is in."""
    assert dev.kobj is not None
    for node in dev.kobj.sd.children.values():
        if node.name in _KERNELS_OWN:
            continue
        if isinstance(node.priv, AttributeNode):
            yield node, ""
        elif node.is_directory and node.priv is None:
            for inner in node.children.values():
                yield inner, node.name


def _attribute(node: KernfsNode, group: str) -> uapi.Attribute:
    attr = node.priv.attr
    is_text = isinstance(attr, Attribute)
    reads, writes = (attr.show, attr.store) if is_text else (attr.read, attr.write)
    return uapi.Attribute(
        tag=node.ino, size=0 if is_text else attr.size, mode=stat.S_IMODE(node.mode),
        flags=(0 if is_text else uapi.ATTR_BINARY) | (uapi.ATTR_READ if reads else 0)
        | (uapi.ATTR_WRITE if writes else 0),
        name=_encoded(node.name, uapi.WORD_MAX), group=_encoded(group, uapi.WORD_MAX),
    )  # fmt: skip


def _variables(dev: ModelDevice) -> Any:
    """Return the variables of a device that the kernel does not give itself."""
    if dev.bus is not None and dev.bus.name == _PLATFORM:
        return _strings(())
    return _strings([f"{name}={value}" for name, value in _add_own_vars(dev, [])])


def _strings(texts: Sequence[str]) -> Any:
    """Return strings that end with NUL, and one NUL more."""
    return ctypes.create_string_buffer(b"".join(text.encode() + b"\0" for text in texts))


def _encoded(text: str, size: int) -> bytes:
    data = text.encode()
    if len(data) >= size:
        raise OSError(errno.ENAMETOOLONG, f"{text!r} is longer than {size - 1} bytes")
    return data
