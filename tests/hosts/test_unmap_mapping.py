"""unmap_mapping_range on areas without a fault operation: who touches them gets SIGBUS."""

import subprocess
from collections.abc import Callable

import pytest

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SHIFT,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    alloc_page,
    alloc_pages,
    get_order,
    memory,
    page_address,
    page_to_pfn,
    pfn_to_page,
    remap_pfn_range,
    unmap_mapping_range,
    vm_insert_page,
    vma_pages,
)

Client = Callable[..., str]
NPAGES = 8
PATIENCE = 60

TOUCHES = """
import signal
libc = ctypes.CDLL(None)
def dies(touch, *args):
    pid = os.fork()
    if pid == 0:
        touch(*args)
        os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def page(area, number): return area[number << 12]
def pages(area): return [dies(page, area, number) for number in range(8)]
fd = os.open('/dev/x', os.O_RDWR)
area = mmap.mmap(fd, 8 << 12)
def take(first, count): return fcntl.ioctl(fd, 0x7800 + first, count)
"""


class Frames(Driver):
    """Eight frames in a row, of which ioctl takes some out of all areas."""

    def probe(self) -> None:
        self.first = page_to_pfn(alloc_pages(GFP_KERNEL, get_order(NPAGES * PAGE_SIZE)))
        for number in range(NPAGES):
            memory(page_address(pfn_to_page(self.first + number)), 1)[0] = number + 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        size = vma.vm_end - vma.vm_start
        remap_pfn_range(vma, vma.vm_start, self.first + vma.vm_pgoff, size, vma.vm_page_prot)

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        first = cmd & 0xFF
        unmap_mapping_range(file.f_mapping, first << PAGE_SHIFT, arg << PAGE_SHIFT, 1)
        return first


class Single(Frames):
    """The same, by vm_insert_page."""

    def probe(self) -> None:
        self.pages = [alloc_page(GFP_KERNEL) for _ in range(NPAGES)]
        for number, page in enumerate(self.pages):
            memory(page_address(page), 1)[0] = number + 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        for number in range(vma_pages(vma)):
            page = self.pages[vma.vm_pgoff + number]
            vm_insert_page(vma, vma.vm_start + (number << PAGE_SHIFT), page)


both = pytest.mark.parametrize("kind", [Frames, Single])


@both
def test_range(mapdev: Host, client: Client, kind: type[Driver]) -> None:
    mapdev.add(kind, "/dev/x")
    client(
        TOUCHES
        + """
assert pages(area) == [0] * 8
assert take(2, 3) == 2  # pages 2, 3 and 4
bus = signal.SIGBUS
assert pages(area) == [0, 0, bus, bus, bus, 0, 0, 0]
assert [area[n << 12] for n in (0, 1, 5, 6, 7)] == [1, 2, 6, 7, 8]
assert take(7, 1) == 7
assert take(3, 1) == 3  # it is gone already
assert pages(area) == [0, 0, bus, bus, bus, 0, 0, bus]
again = mmap.mmap(fd, 3 << 12, offset=2 << 12)
assert [again[n << 12] for n in range(3)] == [3, 4, 5]
again.close()
assert take(0, 0) == 0
assert pages(area) == [bus] * 8
area.close()
os.close(fd)
"""
    )


def test_moved_split_and_forked(mapdev: Host, client: Client) -> None:
    mapdev.add(Frames, "/dev/x")
    client(
        TOUCHES
        + """
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_size_t]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def byte(addr): return ctypes.string_at(addr, 1)[0]
start = libc.mmap(None, 8 << 12, 3, 1, fd, 0)
bus, segv = signal.SIGBUS, signal.SIGSEGV
assert take(1, 2) == 1
assert libc.mprotect(start + 0x1000, 0x1000, 1) == 0
assert libc.mprotect(start + 0x2000, 0x1000, 0) == 0
assert [dies(byte, start + (n << 12)) for n in range(4)] == [0, bus, segv, 0]
assert libc.mprotect(start, 8 << 12, 3) == 0
assert [dies(byte, start + (n << 12)) for n in range(4)] == [0, bus, bus, 0]
moved = libc.mremap(start, 8 << 12, 8 << 12, 1)
assert libc.munmap(moved + 0x1000, 0x1000) == 0
assert [dies(byte, moved + (n << 12)) for n in range(4)] == [0, segv, bus, 0]
pid = os.fork()
if pid == 0:
    assert take(3, 1) == 3
    assert dies(byte, moved + 0x3000) == bus
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
os.close(os.open('/dev/null', os.O_RDWR))
assert dies(byte, moved + 0x3000) == bus
assert byte(moved) == 1
"""
    )


def test_other_programs(mapdev: Host, client: Client) -> None:
    """Another program finds it gone when it makes its next call."""
    mapdev.add(Frames, "/dev/x")
    code = (
        "import mmap, os, sys, threading, time\n"
        "fd = os.open('/dev/x', os.O_RDWR); area = mmap.mmap(fd, 8 << 12)\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print(area[0], flush=True); sys.stdin.readline()\n"
        "os.close(os.open('/dev/null', os.O_RDWR))\n"
        "print(area[0], flush=True)"
    )
    with mapdev.popen(
        ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        client("assert fcntl.ioctl(os.open('/dev/x', os.O_RDWR), 0x7800, 0) == 0")
        text, _ = other.communicate(b"\n", timeout=PATIENCE)
    assert text == b""
    assert other.returncode == -7  # SIGBUS
