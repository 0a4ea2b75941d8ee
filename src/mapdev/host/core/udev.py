"""`Udev` does for this host's devices what the udev daemon does: data base, links, its own events.

When a device comes, its entry in ``/run/udev/data`` appears, so that libraries take it as
initialized, and the links that its driver declares (`Device.links`) appear below ``/dev``. Then
those who listen to udev get the event, with the properties that the driver declares. The events are
handed to `UeventSockets`, which has the sockets of programs.

Objects: an entry for each device of a class or bus, from its "add" to its "remove" event. Used
under the host's lock; events of kernel threads come in theirs.

Source: systemd's src/libsystemd/sd-device (device-private.c, device-monitor.c), as file formats
"""

from __future__ import annotations

import stat
import struct
import time
from collections.abc import Callable, Iterable

from mapdev.linux.device import Device
from mapdev.linux.fs import MAJOR, MINOR
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.kobject import KOBJ_REMOVE, DeviceTree, Kobject, Uevent

__all__ = ["KERNEL", "UDEV", "Udev", "bloom", "hash32", "udev_message"]

KERNEL, UDEV = 1, 2  # multicast groups of NETLINK_KOBJECT_UEVENT
_DATA, _CONTROL = "/run/udev/data", "/run/udev/control"
_MAGIC = 0xFEEDCAFE
_HEADER_SIZE = 40  # of struct monitor_netlink_header

Deliver = Callable[[bytes, int], None]
"""Gives a message to all sockets that listen to a group."""


class Udev:
    """The udev database of the devices of one machine.

    :param tree: the machine's.
    :param deliver: see `Deliver`.
    """

    def __init__(self, tree: DeviceTree, deliver: Deliver) -> None:
        self._tree = tree
        self._deliver = deliver
        self._entries: dict[str, tuple[KernfsNode, ...]] = {}  # by DEVPATH
        self._since: dict[str, int] = {}  # when it was initialized, in microseconds
        tree.listeners.append(self._happened)

    def _happened(self, event: Uevent) -> None:
        self._deliver(event.message(), KERNEL)
        dev = self._device(event.devpath)
        if dev is None:
            return
        if event.devpath not in self._entries and event.action != KOBJ_REMOVE:
            self._since[event.devpath] = time.monotonic_ns() // 1000
            self._entries[event.devpath] = tuple(self._make(dev, event.devpath))
        elif event.action == KOBJ_REMOVE:
            for node in self._entries.pop(event.devpath, ()):
                self._tree.root.prune(node)
        variables = [*event.variables, *self._additions(dev, event)]
        self._deliver(udev_message(variables, dev.tags), UDEV)
        if event.action == KOBJ_REMOVE:
            self._since.pop(event.devpath, None)

    def _device(self, devpath: str) -> Device | None:
        node = self._tree.root.find(f"/sys{devpath}")
        kobj = node.priv if node is not None else None
        of = kobj.of if isinstance(kobj, Kobject) else None
        return of if isinstance(of, Device) else None

    def _make(self, dev: Device, devpath: str) -> Iterable[KernfsNode]:
        """Make the entry of a device, and its links."""
        root = self._tree.root
        data = root.directory(_DATA)
        if root.find(_CONTROL) is None:
            root.add(root.directory("/run/udev"), KernfsNode("control", stat.S_IFSOCK | 0o600))
        name = _entry_name(dev)
        if name not in data.children:
            text = KernfsNode(name, stat.S_IFREG | 0o644, priv=lambda: self._text(dev, devpath))
            yield root.add(data, text)
        for tag in dev.tags:
            tagged = root.directory(f"/run/udev/tags/{tag}")
            if name not in tagged.children:
                empty = KernfsNode(name, stat.S_IFREG | 0o444, priv=lambda: b"")
                yield root.add(tagged, empty)
        target = dev.devnode()[0]
        for link in dev.links if MAJOR(dev.devt) else ():
            directory, _, last = f"/dev/{link}".rpartition("/")
            above = root.directory(directory)
            if last not in above.children:
                up = "../" * (directory.count("/") - 1)
                yield root.add(
                    above, KernfsNode(last, stat.S_IFLNK | 0o777, target=f"{up}{target}")
                )

    def _text(self, dev: Device, devpath: str) -> bytes:
        """Return the entry of a device in udev's data base."""
        lines = [f"S:{link}" for link in dev.links]
        lines.append(f"I:{self._since.get(devpath, 1)}")
        lines += [f"E:{name}={value}" for name, value in dev.properties.items()]
        lines += [f"{kind}:{tag}" for kind in "GQ" for tag in dev.tags]
        lines.append("V:1")
        return "".join(f"{line}\n" for line in lines).encode()

    def _additions(self, dev: Device, event: Uevent) -> Iterable[tuple[str, str]]:
        """Return what udev adds to the variables of an event."""
        yield "USEC_INITIALIZED", str(self._since.get(event.devpath, 1))
        yield from dev.properties.items()
        if dev.links and MAJOR(dev.devt):
            yield "DEVLINKS", " ".join(f"/dev/{link}" for link in dev.links)
        if dev.tags:
            tags = f":{':'.join(dev.tags)}:"
            yield "TAGS", tags
            yield "CURRENT_TAGS", tags


def _entry_name(dev: Device) -> str:
    if MAJOR(dev.devt):
        return f"c{MAJOR(dev.devt)}:{MINOR(dev.devt)}"
    assert dev.kobj is not None
    return f"+{dev.kobj.subsystem}:{dev.name}"


def udev_message(variables: Iterable[tuple[str, str]], tags: Iterable[str]) -> bytes:
    """Return an event as the udev daemon sends it to libudev's monitors."""
    values = dict(variables)
    if "DEVNAME" in values:
        values["DEVNAME"] = f"/dev/{values['DEVNAME']}"
    properties = b"".join(f"{name}={value}".encode() + b"\0" for name, value in values.items())
    tag_bits = 0
    for tag in tags:
        tag_bits |= bloom(tag)
    header = struct.pack(
        "8s", b"libudev"
    ) + struct.pack(">I", _MAGIC) + struct.pack(
        "=III", _HEADER_SIZE, _HEADER_SIZE, len(properties)
    ) + struct.pack(
        ">IIII", hash32(values.get("SUBSYSTEM", "")), hash32(values.get("DEVTYPE", "")),
        tag_bits >> 32, tag_bits & 0xFFFFFFFF,
    )  # fmt: skip
    return header + properties


def hash32(text: str) -> int:
    """Return the hash (MurmurHash2, seed 0) by which filters of libudev know a string; 0 for none.

    Source: https://github.com/aappleby/smhasher, in the public domain
    """
    data = text.encode()
    if not data:
        return 0
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    value = len(data)
    whole = len(data) & ~3
    for (part,) in struct.iter_unpack("<I", data[:whole]):
        part = part * factor & mask
        part = (part ^ part >> 24) * factor & mask
        value = value * factor & mask ^ part
    rest = data[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    return value ^ value >> 15


def bloom(tag: str) -> int:
    """Return the bits of a tag in the filter of libudev, 64 of them."""
    value = hash32(tag)
    bits = 0
    for shift in (0, 6, 12, 18):
        bits |= 1 << (value >> shift & 63)
    return bits
