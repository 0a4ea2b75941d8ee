"""`Buffers` is the table of this session's kernel memory, by kernel address and by frame.

A `Buffer` exists from its allocation until it is freed here; the module keeps its pages for as long
as anybody maps them. Its memory is mapped into this process when it is first looked at. Nobody
else's memory is ever in the table.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from bisect import bisect_right, insort
from collections.abc import Iterable
from typing import Any

from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control
from mapdev.linux.context import Owner
from mapdev.linux.numbers import MAP_FIXED, PAGE_SHIFT, PAGE_SIZE

_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                  ctypes.c_int64)  # fmt: skip


class Buffer:
    """One allocation.

    :ivar use: for what: "pages", "contiguous", "kmalloc" or "vmalloc".
    :ivar pfns: its frames, in order; a range where they are in a row.
    :ivar address: where the kernel has it.
    :ivar references: those of the driver to single pages (get_page), by frame.
    :ivar is_freed: the allocation was given up, and only such references keep it.
    """

    def __init__(self, control: Control, alloc: uapi.Alloc, use: str, owner: Owner) -> None:
        self.id: int = alloc.id
        self.use = use
        self.owner = owner
        self.nr_pages: int = alloc.nr_pages
        self.is_compound = bool(alloc.flags & uapi.ALLOC_COMP)
        self.address: int = alloc.address
        self.vm_flags = 0
        self.references: dict[int, int] = {}
        self.is_freed = False
        self.pfns: Any = range(alloc.pfn, alloc.pfn + alloc.nr_pages)
        if use == "vmalloc":
            self.pfns = _frames_of(control, alloc)
        self._where = control.fd, alloc.mmap_offset
        self._memory: mmap.mmap | None = None
        self._view: memoryview | None = None

    @property
    def pfn(self) -> int:
        """The first frame."""
        first: int = self.pfns[0]
        return first

    @property
    def size(self) -> int:
        """In bytes."""
        return self.nr_pages << PAGE_SHIFT

    @property
    def view(self) -> memoryview:
        """Its memory."""
        if self._view is None:
            fd, offset = self._where
            self._memory = _map(fd, self.size, offset)
            self._view = memoryview(self._memory)
        return self._view

    def let_go(self) -> None:
        """Unmap the memory here, unless somebody has a view of it, which then keeps it."""
        self._view = self._memory = None

    def take_back(self) -> None:
        """Unmap the memory here. Views that are left have a copy of it, and keep no frame.

        A driver that is over may be kept, with its views, by a cycle, a traceback or a test for as
        long as the process lives; in C its memory would be anybody's by now.
        """
        view, memory = self._view, self._memory
        self._view = self._memory = None
        if view is None or memory is None:
            return
        try:
            view.release()
            memory.close()
        except BufferError:
            _replace(memory, self.size)


def _map(fd: int, size: int, offset: int) -> mmap.mmap:
    """Map `size` bytes of a file, unmapped with the last view of them.

    Not ``mmap.mmap(fd, ...)``, which keeps a descriptor of its own for as long: a driver with many
    buffers would run out of them, and the session would not end when its descriptor is closed.

    :raises OSError: what mmap answers.
    """
    memory = mmap.mmap(-1, size)
    here = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if _mmap(here, size, protection, mmap.MAP_SHARED | MAP_FIXED, fd, offset) != here:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return memory


def _replace(memory: mmap.mmap, size: int) -> None:
    """Have a mapping show a copy of what it shows, which is this process's own.

    :raises OSError: what mmap answers.
    """
    here = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    data = ctypes.string_at(here, size)
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if _mmap(here, size, protection, flags | MAP_FIXED, -1, 0) != here:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    ctypes.memmove(here, data, size)


def _frames_of(control: Control, alloc: uapi.Alloc) -> Any:
    frames = (ctypes.c_uint64 * alloc.nr_pages)()
    pfns = uapi.Pfns(id=alloc.id, count=alloc.nr_pages, pfns=ctypes.addressof(frames))
    control.ioctl(uapi.IOC_PFNS, pfns)
    return frames


class Buffers:
    """Keeps all buffers of a session, by kernel address and by frame."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.by_id: dict[int, Buffer] = {}
        self._rows: list[tuple[int, int]] = []  # first frame, id: of those in a row
        self._scattered: dict[int, tuple[Buffer, int]] = {}  # by frame: page of a vmalloc'ed one
        self._areas: list[tuple[int, int]] = []  # address, id: vmalloc'ed ones

    def alloc(self, kind: int, nr_pages: int, use: str, owner: Owner, flags: int = 0,
              **fields: int) -> Buffer:  # fmt: skip
        """Allocate a buffer.

        :param kind: ``uapi.BUF_*``.
        :raises OSError: ENOMEM, EDQUOT what the session may have is used up, as the module says.
        """
        alloc = uapi.Alloc(kind=kind, nr_pages=nr_pages, flags=flags, **fields)
        self._control.ioctl(uapi.IOC_ALLOC, alloc)
        buffer = Buffer(self._control, alloc, use, owner)
        self.by_id[buffer.id] = buffer
        if use == "vmalloc":
            insort(self._areas, (buffer.address, buffer.id))
            self._scattered.update((pfn, (buffer, at)) for at, pfn in enumerate(buffer.pfns))
        else:
            insort(self._rows, (buffer.pfn, buffer.id))
        return buffer

    def take_back(self, buffer: Buffer) -> None:
        """Give a buffer up whose owner is over."""
        buffer.take_back()
        self.free(buffer)

    def free(self, buffer: Buffer) -> None:
        """Give a buffer up."""
        del self.by_id[buffer.id]
        if buffer.use == "vmalloc":
            self._areas.remove((buffer.address, buffer.id))
            for pfn in buffer.pfns:
                del self._scattered[pfn]
        else:
            self._rows.remove((buffer.pfn, buffer.id))
        buffer.let_go()
        self._control.ioctl(uapi.IOC_FREE, uapi.Id(id=buffer.id))

    def of_frame(self, pfn: int) -> tuple[Buffer, int] | None:
        """Return the buffer that a frame is in, and which page of it that is."""
        found = self._scattered.get(pfn)
        if found is None:
            at = bisect_right(self._rows, (pfn, 1 << 32)) - 1
            if at >= 0:
                buffer = self.by_id[self._rows[at][1]]
                if pfn < buffer.pfn + buffer.nr_pages:
                    return buffer, pfn - buffer.pfn
        return found

    def of_area(self, addr: int) -> Buffer | None:
        """Return the vmalloc'ed buffer that an address lies in."""
        at = bisect_right(self._areas, (addr, 1 << 32)) - 1
        if at >= 0:
            buffer = self.by_id[self._areas[at][1]]
            if addr < buffer.address + buffer.size:
                return buffer
        return None

    def pieces(self, pfn: int, nr_pages: int) -> Iterable[tuple[Buffer, int, int]]:
        """Give what frames in a row are in: buffer, page of it, number of pages.

        :raises KeyError: one is in none.
        """
        end = pfn + nr_pages
        while pfn < end:
            found = self.of_frame(pfn)
            if found is None:
                raise KeyError(pfn)
            buffer, at = found
            count = 1
            if buffer.use != "vmalloc":
                count = min(end - pfn, buffer.nr_pages - at)
            yield buffer, at, count
            pfn += count


def pages_for(size: int) -> int:
    """Return how many pages `size` bytes take."""
    return (size + PAGE_SIZE - 1) >> PAGE_SHIFT
