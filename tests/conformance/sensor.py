"""The reference device that has, besides its node, a device of a class with attributes.

What it is in C is in reference/sensor.c. Its unit, /sys/class/ref_class/ref_unit, is taken away and
comes back by the control device.
"""

from __future__ import annotations

from typing import Any

from mapdev.linux import (
    BIN_ATTR,
    DEVICE_ATTR,
    PAGE_SIZE,
    Attribute,
    AttributeGroup,
    BinAttribute,
    Class,
    Device,
    add_uevent_var,
    alloc_chrdev_region,
    class_register,
    class_unregister,
    device_create_with_groups,
    device_unregister,
    sysfs_notify,
    unregister_chrdev_region,
)

from .control import Operation
from .devices import bytes_of
from .plain import Bare

BIN_SIZE = 64
ENDLESS = 100  # bytes that the attribute without a size has


class Sensor(Bare):
    """Counts what its unit's attributes are asked; a result above 0 is that many bytes."""

    def probe(self) -> None:
        super().probe()
        self.cls = Class("ref_class", dev_uevent=self.describe)
        class_register(self.cls)
        self.number = alloc_chrdev_region(0, 1, "ref_class")
        self.groups = [
            AttributeGroup([
                DEVICE_ATTR("text", 0o644, self.text_show, self.text_store),
                DEVICE_ATTR("fixed", 0o444, self.fixed_show),
                DEVICE_ATTR("order", 0o200, None, self.text_store),
                BIN_ATTR("bytes", 0o644, self.bytes_read, self.bytes_write, BIN_SIZE),
                BIN_ATTR("endless", 0o444, self.endless_read),
            ]),
            AttributeGroup([DEVICE_ATTR("inner", 0o444, lambda dev, attr: "inner\n")], "group"),
        ]  # fmt: skip
        self.unit: Device | None = None
        self.exists(True)

    def remove(self) -> None:
        self.exists(False)
        class_unregister(self.cls)
        unregister_chrdev_region(self.number, 1)

    def exists(self, wanted: bool) -> None:
        """Make the unit, or take it away; it may be so already."""
        if wanted and self.unit is None:
            self.unit = device_create_with_groups(
                self.cls, None, self.number, None, self.groups, "ref_unit"
            )
        elif not wanted and self.unit is not None:
            device_unregister(self.unit)
            self.unit = None

    def describe(self, dev: Device, env: list[tuple[str, str]]) -> None:
        add_uevent_var(env, "REF_KIND", "reference")

    def text_show(self, dev: Device, attr: Attribute) -> str:
        self.count(Operation.SHOW)
        self.fail()
        if self.result:
            return "x" * self.result
        return f"{self.ran[Operation.SHOW]:04}0123456789abcdefghijklmnopqrstuvwxyz\n"

    def text_store(self, dev: Device, attr: Attribute, buf: bytes) -> int:
        self.count(Operation.STORE)
        self.asked = (len(buf), self.asked[1])
        bytes_of(self.pages[0])[: len(buf)] = buf
        assert dev.kobj is not None
        sysfs_notify(dev.kobj, None, "text")
        self.fail()
        return self.result or len(buf)

    def fixed_show(self, dev: Device, attr: Attribute) -> str:
        self.count(Operation.SHOW)
        return "fixed\n"

    def bytes_read(self, dev: Device, attr: BinAttribute, pos: int, count: int) -> Any:
        self.count(Operation.SHOW)
        self.asked = (count, pos)
        self.fail()
        return bytes(bytes_of(self.pages[1])[pos : pos + count])

    def bytes_write(self, dev: Device, attr: BinAttribute, data: bytes, pos: int) -> None:
        self.count(Operation.STORE)
        self.asked = (len(data), pos)
        self.fail()
        bytes_of(self.pages[1])[pos : pos + len(data)] = data

    def endless_read(self, dev: Device, attr: BinAttribute, pos: int, count: int) -> bytes:
        self.count(Operation.SHOW)
        self.asked = (count, pos)
        return b"e" * min(count, max(0, ENDLESS - pos), PAGE_SIZE)


DEVICES = {"sensor": Sensor}
