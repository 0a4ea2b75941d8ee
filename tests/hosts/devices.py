"""Drivers for the tests: each does one thing, and notes what was asked of it."""

import errno
import threading
from collections import deque
from typing import Any

from pace import patience

from mapdev import Driver, parse_size
from mapdev.linux import (
    __GFP_ZERO,
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    File,
    Inode,
    VmAreaStruct,
    WaitQueueHead,
    alloc_pages,
    current,
    fixed_size_llseek,
    get_order,
    memory,
    page_address,
    page_to_pfn,
    remap_pfn_range,
    vma_pages,
    wait_event_interruptible,
    wake_up,
)

ZEROED = GFP_KERNEL | __GFP_ZERO  # Python would mangle the name inside a class


class Buffer(Driver):
    """Contiguous memory to read, write, seek and map; `calls` lists the operations that ran."""

    def probe(self, size: int | str = "64K") -> None:
        self.calls: list[str] = []
        self.areas: list[VmAreaStruct] = []
        self.size = PAGE_ALIGN(parse_size(size))
        self.page = alloc_pages(ZEROED, get_order(self.size))
        self.bytes = memory(page_address(self.page), self.size)

    def open(self, inode: Inode, file: File) -> None:
        self.calls.append("open")

    def release(self, inode: Inode, file: File) -> None:
        self.calls.append("release")

    def read(self, file: File, count: int, pos: int) -> memoryview:
        self.calls.append("read")
        return self.bytes[pos : pos + count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.calls.append("write")
        if pos >= self.size and data:
            raise OSError(errno.ENOSPC, "past the end")
        data = data[: self.size - pos]
        self.bytes[pos : pos + len(data)] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        return fixed_size_llseek(file, offset, whence, self.size)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.calls.append("mmap")
        if vma.vm_pgoff + vma_pages(vma) > self.size >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, "past the end")
        pfn = page_to_pfn(self.page) + vma.vm_pgoff
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)
        self.areas.append(vma)

    def text(self, size: int = 16, at: int = 0) -> bytes:
        """What the memory holds at `at`, up to the first zero byte."""
        return bytes(self.bytes[at : at + size]).rstrip(b"\0")


class Bare(Driver):
    """A driver without any operation."""


class Failing(Driver):
    """Every operation fails with what `failure` says."""

    failure: BaseException = OSError(errno.ENXIO, "no such thing")

    def read(self, file: File, count: int, pos: int) -> bytes:
        raise self.failure

    def write(self, file: File, data: bytes, pos: int) -> int:
        raise self.failure

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        raise self.failure

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        raise self.failure


class Who(Driver):
    """Tells who asks: `seen` is (pid, tgid, comm) of each reader."""

    def probe(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def read(self, file: File, count: int, pos: int) -> bytes:
        task = current()
        self.seen.append((task.pid, task.tgid, task.comm))
        return b""


class Items(Driver):
    """Hands out items, one a read; a reader waits for the next one.

    `tried` is released whenever a read runs, `gone` whenever a file is released.
    """

    def probe(self) -> None:
        self.items: deque[bytes] = deque()
        self.queue = WaitQueueHead()
        self.tried = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)
        self.reads = 0

    def release(self, inode: Inode, file: File) -> None:
        self.gone.release()

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.reads += 1
        self.tried.release()
        wait_event_interruptible(self.queue, lambda: self.items)
        return self.items.popleft()

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.put(data)
        return len(data)

    def put(self, *items: bytes) -> None:
        """Have something to read; in any thread."""
        self.items.extend(items)
        wake_up(self.queue)

    def await_reads(self, count: int = 1) -> None:
        """Return when `count` more reads have run."""
        for _ in range(count):
            assert self.tried.acquire(timeout=patience(30)), "nobody reads"

    def await_release(self) -> None:
        """Return when one more file has been released."""
        assert self.gone.acquire(timeout=patience(30)), "no release"
