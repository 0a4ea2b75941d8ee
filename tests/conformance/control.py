"""The control device of the reference devices: clients/control.h, written in Python.

It answers for all reference devices of one host: how often their operations ran, what their memory
holds, and what their operations shall return.
"""

from __future__ import annotations

import ctypes
import errno
from enum import IntEnum
from typing import TYPE_CHECKING

from mapdev import Driver, ioctl, linux
from mapdev.linux import _IOWR, PAGE_SHIFT, File, page_to_pfn

if TYPE_CHECKING:
    from .devices import Pages

NPAGES = 16  # REF_NPAGES


class Operation(IntEnum):
    """enum ref_operation: what the reference devices count."""

    OPEN = 0
    RELEASE = 1
    MMAP = 2
    VM_OPEN = 3
    VM_CLOSE = 4
    FAULT = 5
    MKWRITE = 6
    PFN_MKWRITE = 7
    FSYNC = 8
    MREMAP = 9
    MAY_SPLIT = 10
    MPROTECT = 11
    ACCESS = 12
    READ = 13
    WRITE = 14
    LLSEEK = 15
    IOCTL = 16
    FLUSH = 17
    FASYNC = 18
    SHOW = 19
    STORE = 20


class ApiUse(IntEnum):
    """enum ref_api_use: what the mmap operation of the device "api" does."""

    INSERT_TWICE = 1
    INSERT_AT_END = 2
    INSERT_SLAB = 3
    REMAP_UNALIGNED = 4
    REMAP_100_BYTES = 5
    INSERT_TOO_MANY = 6
    INSERT_TAIL = 7
    REMAP_PLAIN_VMALLOC = 8
    REMAP_NONCACHED = 9
    INSERT_ALL = 10
    REMAP_SLAB = 11


class Request(ctypes.Structure):
    """struct ref_request."""

    _fields_ = (
        ("device", ctypes.c_char * 24),
        ("offset", ctypes.c_uint64),
        ("value", ctypes.c_int64),
        ("pfn", ctypes.c_uint64),
        ("ran", ctypes.c_uint64 * len(Operation)),
        ("mmap_pgoff", ctypes.c_uint64),
        ("fault_pgoff", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("fault_flags", ctypes.c_uint64),
        ("open_flags", ctypes.c_uint64),
        ("file_flags", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("pos", ctypes.c_int64),
        ("command", ctypes.c_uint64),
        ("argument", ctypes.c_uint64),
    )


def _command(number: int) -> int:
    return _IOWR(ord("R"), number, Request)


class Control(Driver):
    """/dev/ref_ctl."""

    def probe(self, devices: dict[str, Pages]) -> None:
        self.devices = devices

    def _device(self, request: Request) -> Pages:
        device = self.devices.get(request.device.decode())
        if device is None:
            raise OSError(errno.ENOENT, f"no device {request.device!r}")
        return device

    @ioctl(_command(1), Request)
    def get(self, file: File, request: Request) -> None:
        device = self._device(request)
        request.ran[:] = device.ran
        request.mmap_pgoff = device.mmap_pgoff & (1 << 64) - 1
        request.fault_pgoff = device.fault_pgoff
        request.fault_address = device.fault_address
        request.fault_flags = device.fault_flags
        request.open_flags = device.open_flags
        request.file_flags = device.opened.f_flags if device.opened else 0
        request.count, request.pos = device.asked
        request.command, request.argument = device.command

    @ioctl(_command(2), Request)
    def reset(self, file: File, request: Request) -> None:
        device = self._device(request)
        device.reset()
        exists = getattr(device, "exists", None)
        if exists is not None:
            exists(True)

    @ioctl(_command(3), Request)
    def set_result(self, file: File, request: Request) -> None:
        self._device(request).result = request.value

    @ioctl(_command(4), Request)
    def zap(self, file: File, request: Request) -> None:
        opened = self._device(request).opened
        # Looked up here, since a host or a version of mapdev may not have it.
        unmap_mapping_range = getattr(linux, "unmap_mapping_range", None)
        if unmap_mapping_range is None:
            raise OSError(errno.ENOSYS, "mapdev.linux has no unmap_mapping_range")
        if opened is not None:
            unmap_mapping_range(opened.f_mapping, 0, 0, 1)

    @ioctl(_command(5), Request)
    def peek(self, file: File, request: Request) -> None:
        device = self._device(request)
        page, at = device.locate(request.offset)
        request.value = page[at]
        request.pfn = page_to_pfn(device.pages[request.offset >> PAGE_SHIFT])

    @ioctl(_command(6), Request)
    def poke(self, file: File, request: Request) -> None:
        page, at = self._device(request).locate(request.offset)
        page[at] = request.value & 0xFF

    @ioctl(_command(7), Request)
    def mask(self, file: File, request: Request) -> None:
        device = self._device(request)
        device.mask = request.value
        linux.wake_up_interruptible(device.queue)

    @ioctl(_command(8), Request)
    def unit(self, file: File, request: Request) -> None:
        exists = getattr(self._device(request), "exists", None)
        if exists is not None:
            exists(bool(request.value))
