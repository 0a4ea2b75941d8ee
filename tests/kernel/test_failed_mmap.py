"""mmap that fails half way: what it has mapped is nobody's before it is out of the page table.

Source: mm/mmap.c, mmap_region, unmap_and_free_vma
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
import time

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import COUNTERS, Buffer, Client, Daemon, mapping, opened

BULK = 1024  # pages of each of two buffers that are mapped many times over
TIMES = 500
TARGET = BULK * TIMES
PAGES = 2 * BULK * TIMES + 2
MAP_FIXED = 0x10


class _Watch(threading.Thread):
    """Writes to an address, and counts what still arrives there when the pages are no one's.

    A page fault would wait for the mmap that goes on: so all that it uses is there before, by a
    rehearsal, and it is told when to begin.

    :param begin: a pipe to read from before the first write.
    :param seen: a pipe that is told when that has arrived.
    :ivar late: writes that arrived after the count was down to that of the other buffers.
    """

    def __init__(self, address: int, begin: int, seen: int) -> None:
        super().__init__()
        self._address = address
        self._begin = begin
        self._seen = seen
        self.ready = threading.Event()
        self.stop = False
        self.late = 0

    def run(self) -> None:
        self._libc = ctypes.CDLL(None)
        scratch = ctypes.create_string_buffer(8)
        for _ in range(100):
            self._write(ctypes.c_void_p(ctypes.addressof(scratch)))
        self.late = 0
        target = ctypes.c_void_p(self._address)
        self.ready.set()
        os.read(self._begin, 1)
        while not self._write(target) and not self.stop:
            pass
        os.write(self._seen, b"x")
        while not self.stop:
            self._write(target)

    def _write(self, target: ctypes.c_void_p) -> bool:
        counter = os.open(COUNTERS / "pages", os.O_RDONLY)
        left = int(os.read(counter, 20))
        os.close(counter)
        # A store by the kernel: EFAULT, not a signal, where there is nothing.
        arrived = bool(self._libc.getrandom(target, ctypes.c_size_t(8), 0) == 8)
        self.late += arrived and left == 2 * BULK
        return arrived


def _client(begin: int, seen: int) -> tuple[int, int]:
    """Map over an inaccessible area; return the errno, and how many writes came too late."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    place = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE, prot=0)
    address = _address_of(place)
    watch = _Watch(address + TARGET * PAGE, begin, seen)
    watch.start()
    assert watch.ready.wait(60), "the thread does not run"
    with opened() as fd:
        got = libc.mmap(
            ctypes.c_void_p(address), ctypes.c_size_t(PAGES * PAGE), 3,
            mmap.MAP_SHARED | MAP_FIXED, fd, ctypes.c_long(0),
        )  # fmt: skip
        code = ctypes.get_errno() if got == ctypes.c_void_p(-1).value else 0
    watch.stop = True
    watch.join()
    return code, watch.late


def _address_of(area: mmap.mmap) -> int:
    """Return where an inaccessible area is."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, _, end = line.split()[0].partition("-")
            if int(end, 16) - int(start, 16) == len(area):
                return int(start, 16)
    raise AssertionError("the area is not there")


def _attempt(daemon: Daemon, row: Buffer, scattered: Buffer, delay: float) -> tuple[int, int]:
    """Free a buffer `delay` seconds after an mmap has begun that maps it first in the middle, then last."""
    target = daemon.alloc(1)
    read, write = os.pipe()
    begin, go = os.pipe()
    process = Client(lambda: _client(begin, write))
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.MMAP)
    start = request.vma.vm_start
    ms = [mapping(start + n * BULK * PAGE, row) for n in range(TIMES)]
    ms.append(mapping(start + TARGET * PAGE, target))
    behind = start + (TARGET + 1) * PAGE
    ms += [mapping(behind + n * BULK * PAGE, scattered) for n in range(TIMES)]
    ms.append(mapping(start + (PAGES - 1) * PAGE, target))
    data = bytes(uapi.Mmap(nr_mappings=len(ms))) + b"".join(map(bytes, ms))
    slot = daemon.init.nr_slots
    at = slot * daemon.init.slot_size
    daemon.payload[at : at + len(data)] = data
    assert daemon.reply(request, 0, slot=slot, len=len(data)) == 0
    time.sleep(delay)
    os.write(go, b"x")
    os.read(read, 1)
    target.free()
    daemon.serve({}, process)
    code, late = process.result()
    return code, late


def test_frames_are_given_back_after_they_are_unmapped(daemon: Daemon) -> None:
    """A buffer is freed once it is mapped, so that it can't be mapped again: no write is too late.

    Before it lie pages that are mapped fast, so that it takes a while until the kernel has unmapped
    them and comes to it; behind it pages that are mapped slowly, one by one.
    """
    daemon.create()
    row, scattered = daemon.alloc(BULK, uapi.BUF_CONTIG), daemon.alloc(BULK, uapi.BUF_VMALLOC)
    for delay in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) * 3:
        code, late = _attempt(daemon, row, scattered, delay)
        assert not late, f"{late} writes arrived in memory that was free"
        if code == errno.EINVAL:
            return
    raise AssertionError("each mmap was over before the buffer was freed")
