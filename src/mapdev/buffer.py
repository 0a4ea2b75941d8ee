"""Kernel memory without a driver: `alloc` gives a buffer as Python and NumPy use them.

The memory is a host's: real pages where the kernel module is loaded, else pages of a machine in
user space. A buffer belongs to the process that made it, and is given back when it is closed.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

from mapdev.driver import parse_size
from mapdev.linux.context import Machine, current_context
from mapdev.linux.numbers import GFP_KERNEL, GFP_ZERO, PAGE_ALIGN, PAGE_SHIFT, PAGE_SIZE
from mapdev.linux.page import Page

__all__ = ["CACHE_MODES", "KernelBuffer", "alloc"]

CACHE_MODES = ("cached", "uncached", "writecombine")


class KernelBuffer:
    """Memory of a kernel; a context manager.

    NumPy takes it as it is: ``numpy.asarray(buffer)`` is a view of bytes.

    :ivar size: in bytes.
    :ivar address: the kernel's address of it.
    :ivar pages: its `Page` objects, in order.
    :ivar cache: how it is cached, one of `CACHE_MODES`.
    :ivar contiguous: its frames are in a row.
    """

    def __init__(
        self, machine: Machine, address: int, size: int, contiguous: bool, cache: str,
        free: Callable[[], None],
    ) -> None:  # fmt: skip
        self.size = size
        self.address = address
        self.contiguous = contiguous
        self.cache = cache
        numbers = (
            [machine.virt_to_pfn(address) + page for page in range(size >> PAGE_SHIFT)]
            if contiguous
            else [machine.vmalloc_to_pfn(address + at) for at in range(0, size, PAGE_SIZE)]
        )
        self.pages = [Page(machine, pfn) for pfn in numbers]
        self._free: Callable[[], None] | None = free
        # All views lead to this object, so it tells whether there are any.
        self._exporter: Any = (ctypes.c_ubyte * size).from_buffer(machine.memory(address, size))
        self._memory: memoryview | None = memoryview(self._exporter).cast("B")

    @property
    def memory(self) -> memoryview:
        """Its bytes, writable.

        :raises ValueError: it is closed.
        """
        if self._memory is None:
            raise ValueError("the buffer is closed")
        return self._memory

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self.memory)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy

        array = numpy.frombuffer(self.memory, numpy.uint8)
        if dtype is not None and array.dtype != dtype:
            array = array.astype(dtype)
        return array.copy() if copy else array

    @property
    def phys_addr(self) -> int:
        """Physical address of the first byte; what follows is behind it if it is contiguous."""
        return self.pages[0].pfn << PAGE_SHIFT

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        kind = "contiguous" if self.contiguous else "scattered"
        state = "closed" if self._free is None else f"at {self.phys_addr:#x}"
        return f"<KernelBuffer of {self.size} bytes, {kind}, {state}>"

    def close(self) -> None:
        """Give the memory back. May be called twice.

        :raises BufferError: there are views of it: slices of `memory`, NumPy arrays.
        """
        if self._free is None:
            return
        alive = weakref.ref(self._exporter)
        self._memory = self._exporter = None
        exporter = alive()
        if exporter is not None:
            self._exporter, self._memory = exporter, memoryview(exporter).cast("B")
            raise BufferError("there are views of the buffer: delete arrays and slices of it first")
        free, self._free = self._free, None
        free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def alloc(
    size: int | str, contiguous: bool = True, cache: str = "cached", kind: str | None = None
) -> KernelBuffer:
    """Allocate zeroed kernel memory.

    Inside ``with mapdev.host():`` it is that host's, and what programs map of it through a driver
    is the same memory.

    :param size: in bytes, or as ``64M``; rounded up to whole pages.
    :param contiguous: frames in a row, as devices need them, from alloc_pages or
        alloc_contig_pages; else scattered ones, from vmalloc.
    :param cache: how this process sees it, one of `CACHE_MODES`.
    :param kind: "kernel" or "embedded": whose memory; None: the kernel's if its module can be used.
    :raises OSError: ENOMEM, there is not so much memory (in a row); the kernel's can't be had.
    :raises ValueError: `cache` or `kind` is none.

    Fidelity: of an embedded host's memory, and of ordinary memory on x86, whose kernel keeps one
    mode for all mappings of a page, "uncached" and "writecombine" are noted without effect.
    """
    if cache not in CACHE_MODES:
        raise ValueError(f"cache is one of {', '.join(CACHE_MODES)}, not {cache!r}")
    size = PAGE_ALIGN(parse_size(size, "size"))
    now = current_context()
    machine, close = (
        (now.machine, None) if now is not None and kind is None else _machine(kind, size)
    )
    try:
        address, free = _allocate(machine, size, contiguous, CACHE_MODES.index(cache))
    except BaseException:
        if close is not None:
            close()
        raise

    def give_back() -> None:
        free()
        if close is not None:
            close()

    return KernelBuffer(machine, address, size, contiguous, cache, give_back)


def _machine(kind: str | None, size: int) -> tuple[Machine, Callable[[], None]]:
    if kind not in (None, "kernel", "embedded"):
        raise ValueError(f"kind is 'kernel' or 'embedded', not {kind!r}")
    if kind != "embedded":
        from mapdev.host.kernel.control import Control
        from mapdev.host.kernel.machine import KernelMachine

        try:
            control = Control()
        except OSError:
            if kind == "kernel":
                raise
        else:
            return KernelMachine(control), control.close
    from mapdev.host.embedded.memory import PhysicalMemory

    memory = PhysicalMemory(size + (16 << 20))
    return cast("Machine", memory), memory.close  # all of a machine that a buffer needs


def _allocate(
    machine: Machine, size: int, contiguous: bool, cache: int
) -> tuple[int, Callable[[], None]]:
    owner = None
    note = getattr(machine, "cache_next", None)  # the embedded host's memory has one mode
    if note is not None:
        note(cache)
    if not contiguous:
        address = machine.vmalloc(size, GFP_KERNEL | GFP_ZERO, owner)
        return address, lambda: machine.vfree(address)
    pages = size >> PAGE_SHIFT
    pfn = machine.alloc_contig(pages, GFP_KERNEL | GFP_ZERO, owner)
    return machine.page_address(pfn), lambda: machine.free_contig(pfn, pages)
