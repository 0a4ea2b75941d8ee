"""A class device with attributes, for tests of what programs see of it in /sys."""

from __future__ import annotations

import errno
import os

from mapdev import Driver
from mapdev.linux import (
    __GFP_ZERO,
    BIN_ATTR,
    DEVICE_ATTR_RO,
    DEVICE_ATTR_RW,
    DEVICE_ATTR_WO,
    GFP_KERNEL,
    PAGE_SIZE,
    Attribute,
    AttributeGroup,
    BinAttribute,
    Device,
    File,
    VmAreaStruct,
    add_uevent_var,
    alloc_pages,
    memory,
    page_address,
    page_to_pfn,
    remap_pfn_range,
    sysfs_notify,
)

ZEROED = GFP_KERNEL | __GFP_ZERO  # here, since names with two underscores are private in a class


class Sensor(Driver):
    """A device with an attribute of each kind; `shown` and `stored` list what was asked of them."""

    dev_class = "sensor"
    dev_parent = "platform/sensor.0"
    dev_groups = (
        DEVICE_ATTR_RO("temp"),
        DEVICE_ATTR_RW("limit"),
        DEVICE_ATTR_WO("reset"),
        DEVICE_ATTR_RW("odd"),
        AttributeGroup([DEVICE_ATTR_RO("long")], "stats"),
        BIN_ATTR("raw", 0o600, size=16),
        BIN_ATTR("window", 0o600, size=PAGE_SIZE),
    )

    def probe(self) -> None:
        self.temperature = 21
        self.limit = b"50\n"
        self.raw = bytearray(16)
        self.shown = 0
        self.stored: list[bytes] = []
        self.text: object = "x" * 300
        self.failure: Exception | None = None
        self.page = alloc_pages(ZEROED, 0)
        self.memory = memory(page_address(self.page), PAGE_SIZE)

    def dev_uevent(self, dev: Device, env: list[tuple[str, str]]) -> None:
        add_uevent_var(env, "SENSOR_KIND", "fake")

    def temp_show(self, dev: Device, attr: Attribute) -> str:
        self.shown += 1
        return f"{self.temperature}\n"

    def limit_show(self, dev: Device, attr: Attribute) -> bytes:
        return self.limit

    def limit_store(self, dev: Device, attr: Attribute, buf: bytes) -> None:
        self.stored.append(buf)
        self.limit = buf
        assert dev.kobj
        sysfs_notify(dev.kobj, None, "limit")

    def reset_store(self, dev: Device, attr: Attribute, buf: bytes) -> int:
        self.stored.append(buf)
        return 2

    def odd_show(self, dev: Device, attr: Attribute) -> object:
        if self.failure is not None:
            raise self.failure
        return self.text

    def odd_store(self, dev: Device, attr: Attribute, buf: bytes) -> None:
        if self.failure is not None:
            raise self.failure

    def long_show(self, dev: Device, attr: Attribute) -> str:
        self.shown += 1
        return f"{self.shown:04}" + "0123456789" * 10

    def raw_read(self, dev: Device, attr: BinAttribute, pos: int, count: int) -> bytes:
        return bytes(self.raw[pos : pos + count])

    def raw_write(self, dev: Device, attr: BinAttribute, data: bytes, pos: int) -> None:
        self.raw[pos : pos + len(data)] = data

    def window_mmap(self, dev: Device, attr: BinAttribute, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_end - vma.vm_start != PAGE_SIZE or vma.vm_pgoff:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        pfn = page_to_pfn(self.page)
        remap_pfn_range(vma, vma.vm_start, pfn, PAGE_SIZE, vma.vm_page_prot)

    def read(self, file: File, count: int, pos: int) -> bytes:
        return b"sensor"[pos : pos + count]
