"""Declares the module's interface, module/mapdev.h, in ctypes, under the header's names.

Written by hand, without its prefix; a test compares it with what a C compiler makes of the header.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_char, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from fcntl import ioctl as ioctl  # keeps the interpreter's lock if the structure is over 1 KiB

from mapdev.linux.errnos import ERESTARTSYS as ERESTARTSYS

ABI = 1 << 16 | 4
NO_SLOT = 0xFFFFFFFF
INLINE = 256
PAGE = 4096

FEATURE_CONTIG, FEATURE_PHYS, FEATURE_SHOW, FEATURE_MODEL = 1, 2, 4, 8

(HAS_READ, HAS_WRITE, HAS_LLSEEK, HAS_IOCTL, HAS_POLL, HAS_MMAP, HAS_FSYNC, HAS_FLUSH,
 HAS_FASYNC) = (1 << n for n in range(9))  # fmt: skip
HAS_ALL = 0x1FF
CREATE_ANON, CREATE_NO_NUMBER = 1, 2

OBJECT_CLASS, OBJECT_BUS, OBJECT_DRIVER = range(3)
ATTR_BINARY, ATTR_READ, ATTR_WRITE = 1, 2, 4
ATTR_ADD, ATTR_REMOVE, ATTR_NOTIFY = range(3)
MODEL_PLATFORM, MODEL_ANY_MODE = 1, 2
ATTRS_MAX, ENV_MAX, WORD_MAX, NAME_MAX = 128, 2048, 64, 128

BUF_PAGES, BUF_CONTIG, BUF_VMALLOC, BUF_PHYS = range(4)
CACHED, UNCACHED, WRITECOMBINE = range(3)
ALLOC_COMP, ALLOC_ATOMIC = 1, 2

POLL_EVENTS = 0x27FF
SHOW_KEEP, SHOW_WAKE = 1, 2

PAGE_RESERVED, PAGE_HEAD, PAGE_TAIL, PAGE_SLAB, PAGE_BUDDY, PAGE_BUFFER = (1 << n for n in range(6))

NONE, OPEN, READ, WRITE, LLSEEK, IOCTL, POLL, FSYNC, MMAP, FLUSH, FASYNC = range(11)
FAULT, PAGE_MKWRITE, PFN_MKWRITE, MAY_SPLIT, MREMAP, MPROTECT, ACCESS = range(16, 23)
ATTR_SHOW, ATTR_STORE, BIN_READ, BIN_WRITE = range(24, 28)
RELEASE, VMA_OPEN, VMA_CLOSE, VMA_ABORT, INTERRUPT, GONE = range(32, 38)
RESULT = 48

COMPAT, ARG_COPIED, ARG_WRITABLE = 1, 2, 4

REPLY_DONE, REPLY_WAIT = 0, 1
COPY_FROM, COPY_TO, AREAS, INSTALL = range(8, 12)
REPLY_POS, REPLY_NONSEEKABLE, REPLY_STREAM, REPLY_SHOW, REPLY_ASYNC = 1, 2, 4, 8, 16

(VMOP_FAULT, VMOP_PAGE_MKWRITE, VMOP_PFN_MKWRITE, VMOP_MAY_SPLIT, VMOP_MREMAP, VMOP_MPROTECT,
 VMOP_NOTICES, VMOP_AROUND, VMOP_ACCESS) = (1 << n for n in range(9))  # fmt: skip
MAP_PFN, MAP_PAGE = 0, 1

NEXT_NOWAIT, NEXT_URGENT, NEXT_REPLY = 1, 2, 4

VM_WRITE, VM_SHARED, VM_MAYWRITE = 0x2, 0x8, 0x20
VM_PFNMAP, VM_IO, VM_DONTCOPY = 0x400, 0x4000, 0x20000
VM_DONTEXPAND, VM_DONTDUMP, VM_MIXEDMAP = 0x40000, 0x4000000, 0x10000000


class Init(Structure):
    """struct mapdev_init."""

    _fields_ = (
        ("size", c_uint32), ("abi", c_uint32), ("features", c_uint64), ("timeout_ms", c_uint32),
        ("slot_size", c_uint32), ("nr_slots", c_uint32), ("nr_reply_slots", c_uint32),
        ("payload_offset", c_uint64), ("payload_size", c_uint64), ("max_pages", c_uint64),
        ("reserved", c_uint64 * 4),
    )  # fmt: skip


class Create(Structure):
    """struct mapdev_create."""

    _fields_ = (
        ("flags", c_uint32), ("has", c_uint32), ("mode", c_uint32), ("uid", c_uint32),
        ("gid", c_uint32), ("major", c_uint32), ("minor", c_uint32), ("id", c_uint32),
        ("name", c_char * NAME_MAX), ("model", c_uint64), ("reserved", c_uint64),
    )  # fmt: skip


class Object(Structure):
    """struct mapdev_object."""

    _fields_ = (
        ("kind", c_uint32), ("bus", c_uint32), ("id", c_uint32), ("reserved", c_uint32),
        ("name", c_char * WORD_MAX),
    )  # fmt: skip


class Attribute(Structure):
    """struct mapdev_attribute."""

    _fields_ = (
        ("tag", c_uint64), ("size", c_uint64), ("mode", c_uint32), ("flags", c_uint32),
        ("name", c_char * WORD_MAX), ("group", c_char * WORD_MAX),
    )  # fmt: skip


class Model(Structure):
    """struct mapdev_model."""

    _fields_ = (
        ("flags", c_uint32), ("class_id", c_uint32), ("bus", c_uint32), ("driver", c_uint32),
        ("parent", c_uint32), ("nr_attrs", c_uint32), ("env_len", c_uint32),
        ("reserved", c_uint32), ("attrs", c_uint64), ("env", c_uint64), ("name", c_char * NAME_MAX),
        ("type", c_char * WORD_MAX), ("region", c_char * WORD_MAX),
    )  # fmt: skip


class AttrChange(Structure):
    """struct mapdev_attr_change."""

    _fields_ = (("device", c_uint32), ("kind", c_uint32), ("attr", Attribute))


class Uevent(Structure):
    """struct mapdev_uevent."""

    _fields_ = (
        ("device", c_uint32), ("action", c_uint32), ("env_len", c_uint32), ("extra_len", c_uint32),
        ("env", c_uint64), ("extra", c_uint64),
    )  # fmt: skip


class Id(Structure):
    """struct mapdev_destroy, mapdev_free."""

    _fields_ = (("id", c_uint32), ("reserved", c_uint32))


class Wake(Structure):
    """struct mapdev_wake."""

    _fields_ = (("file", c_uint64), ("device", c_uint32), ("mask", c_uint32))


class Show(Structure):
    """struct mapdev_show."""

    _fields_ = (
        ("file", c_uint64), ("flags", c_uint32), ("mask", c_uint32), ("woken", c_uint32),
        ("reserved", c_uint32),
    )  # fmt: skip


class Signal(Structure):
    """struct mapdev_signal."""

    _fields_ = (("file", c_uint64), ("sig", c_uint32), ("band", c_uint32))


class Unmap(Structure):
    """struct mapdev_unmap."""

    _fields_ = (
        ("device", c_uint32), ("even_cows", c_uint32), ("start", c_uint64), ("len", c_uint64),
    )  # fmt: skip


class Alloc(Structure):
    """struct mapdev_alloc."""

    _fields_ = (
        ("kind", c_uint32), ("flags", c_uint32), ("nr_pages", c_uint64), ("phys", c_uint64),
        ("cache", c_uint32), ("id", c_uint32), ("pfn", c_uint64), ("address", c_uint64),
        ("mmap_offset", c_uint64), ("reserved", c_uint64 * 2),
    )  # fmt: skip


class Pfns(Structure):
    """struct mapdev_pfns."""

    _fields_ = (
        ("id", c_uint32), ("reserved", c_uint32), ("pgoff", c_uint64), ("count", c_uint64),
        ("pfns", c_uint64),
    )  # fmt: skip


class Page(Structure):
    """struct mapdev_page."""

    _fields_ = (
        ("pfn", c_uint64), ("flags", c_uint32), ("order", c_uint32), ("refcount", c_int32),
        ("mapcount", c_int32), ("head", c_uint64), ("address", c_uint64), ("raw_flags", c_uint64),
        ("buffer", c_uint32), ("reserved", c_uint32), ("nr_frames", c_uint64),
    )  # fmt: skip


class Vma(Structure):
    """struct mapdev_vma."""

    _fields_ = (
        ("vm_start", c_uint64), ("vm_end", c_uint64), ("vm_pgoff", c_uint64),
        ("vm_flags", c_uint64),
    )  # fmt: skip


class Request(Structure):
    """struct mapdev_request."""

    _fields_ = (
        ("id", c_uint64), ("op", c_uint32), ("flags", c_uint32), ("device", c_uint32),
        ("pid", c_uint32), ("tgid", c_uint32), ("f_flags", c_uint32), ("file", c_uint64),
        ("area", c_uint64), ("vma", Vma), ("arg", c_uint64 * 6), ("len", c_uint32),
        ("slot", c_uint32), ("data", c_uint8 * INLINE),
    )  # fmt: skip


class AreaInfo(Structure):
    """struct mapdev_area_info."""

    _fields_ = (
        ("vma", Vma), ("area", c_uint64), ("file", c_uint64), ("ino", c_uint64),
        ("dev", c_uint32), ("name", c_uint32),
    )  # fmt: skip


class Reply(Structure):
    """struct mapdev_reply."""

    _fields_ = (
        ("id", c_uint64), ("kind", c_uint32), ("flags", c_uint32), ("result", c_int64),
        ("addr", c_uint64), ("pos", c_uint64), ("len", c_uint32), ("slot", c_uint32),
        ("error", c_int32), ("mask", c_uint32), ("data", c_uint8 * INLINE),
    )  # fmt: skip


class Mmap(Structure):
    """struct mapdev_mmap."""

    _fields_ = (
        ("set_flags", c_uint64), ("clear_flags", c_uint64), ("vm_ops", c_uint32),
        ("cache", c_uint32), ("nr_mappings", c_uint32), ("reserved", c_uint32),
    )  # fmt: skip


class Mapping(Structure):
    """struct mapdev_mapping."""

    _fields_ = (
        ("addr", c_uint64), ("pgoff", c_uint64), ("nr_pages", c_uint64), ("buffer", c_uint32),
        ("kind", c_uint16), ("cache", c_uint16),
    )  # fmt: skip


class Next(Structure):
    """struct mapdev_next."""

    _fields_ = (
        ("flags", c_uint32), ("timeout_ms", c_int32), ("only", c_uint64), ("reply", Reply),
        ("request", Request),
    )  # fmt: skip


class Alive(Structure):
    """struct mapdev_alive."""

    _fields_ = (("id", c_uint64),)


def _ioc(direction: int, number: int, argument: type[Structure] | None) -> int:
    size = ctypes.sizeof(argument) if argument else 0
    return direction << 30 | size << 16 | ord("m") << 8 | number


_NO, _W, _WR = 0, 1, 3
IOC_INIT = _ioc(_WR, 0x80, Init)
IOC_NEXT = _ioc(_WR, 0x81, Next)
IOC_CREATE = _ioc(_WR, 0x82, Create)
IOC_DESTROY = _ioc(_W, 0x83, Id)
IOC_ALLOC = _ioc(_WR, 0x84, Alloc)
IOC_FREE = _ioc(_W, 0x85, Id)
IOC_PFNS = _ioc(_W, 0x86, Pfns)
IOC_PAGE = _ioc(_WR, 0x87, Page)
IOC_WAKE = _ioc(_W, 0x88, Wake)
IOC_UNMAP = _ioc(_W, 0x89, Unmap)
IOC_ALIVE = _ioc(_W, 0x8A, Alive)
IOC_KICK = _ioc(_NO, 0x8B, None)
IOC_SHOW = _ioc(_W, 0x8C, Show)
IOC_OBJECT = _ioc(_WR, 0x8D, Object)
IOC_FORGET = _ioc(_W, 0x8E, Id)
IOC_ATTR = _ioc(_W, 0x8F, AttrChange)
IOC_UEVENT = _ioc(_W, 0x90, Uevent)
IOC_SIGNAL = _ioc(_W, 0x91, Signal)


def signed(value: int) -> int:
    """Return what a __u64 is as an __s64."""
    return value - (1 << 64) if value >> 63 else value
