"""The gallery's drivers called as a host calls them, on the machine's memory, without a client."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from mapdev.driver import Driver
from mapdev.drivers import _fb_types as fb
from mapdev.drivers.contiguous import Contiguous
from mapdev.drivers.echo import Echo
from mapdev.drivers.framebuffer import Framebuffer
from mapdev.drivers.registers import Register, Registers
from mapdev.drivers.ticker import Ticker
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import (
    EPOLLIN,
    EPOLLOUT,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    File,
    Inode,
    VmAreaStruct,
)
from mapdev.linux.context import Context, enter, reset

START = 0x7F00_0000_0000
SHARED = VM_READ | VM_WRITE | VM_SHARED | VM_MAYWRITE


@pytest.fixture
def probe(memory: PhysicalMemory) -> Iterator[Any]:
    """Set a driver up and run what follows as its code."""
    tokens = []

    def set_up(cls: type[Driver], **params: Any) -> Any:
        driver = cls()
        tokens.append(enter(Context(memory, driver)))  # type: ignore[arg-type]
        driver.probe(**params)
        return driver

    yield set_up
    for token in reversed(tokens):
        reset(token)


@pytest.fixture
def ticking(probe: Any) -> Iterator[Any]:
    """A ticker, stopped at the end."""
    ticker = probe(Ticker, hz="1000")
    yield ticker
    ticker.remove()


@contextmanager
def fails(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as failure:
        yield
    assert failure.value.errno == number


def area(pages: int, pgoff: int = 0, flags: int = SHARED) -> VmAreaStruct:
    return VmAreaStruct(START, START + pages * PAGE_SIZE, pgoff, flags)


def open_file(driver: Driver) -> File:
    return File(Inode(), driver)


@pytest.mark.parametrize("cls", [Contiguous, Vmalloc])
class TestBuffers:
    def test_read_and_write(self, probe: Any, cls: type[Driver]) -> None:
        device = probe(cls, size="10K")
        file = open_file(device)
        assert device.size % PAGE_SIZE == 0
        assert bytes(device.read(file, device.size, 0)) == bytes(device.size)
        assert device.write(file, b"hello", 100) == 5
        assert bytes(device.read(file, 7, 99)) == b"\0hello\0"
        assert device.write(file, b"abcdef", device.size - 4) == 4
        assert bytes(device.read(file, 100, device.size - 4)) == b"abcd"
        assert bytes(device.read(file, 100, device.size)) == b""
        assert bytes(device.read(file, 100, device.size + 100)) == b""
        with fails(errno.ENOSPC):
            device.write(file, b"x", device.size)
        with fails(errno.EFBIG):
            device.write(file, b"x", device.size + 1)

    def test_llseek(self, probe: Any, cls: type[Driver]) -> None:
        device = probe(cls)
        file = open_file(device)
        assert device.llseek(file, 100, SEEK_SET) == file.f_pos == 100
        assert device.llseek(file, -50, SEEK_CUR) == 50
        assert device.llseek(file, 0, SEEK_END) == device.size
        with fails(errno.EINVAL):
            device.llseek(file, 1, SEEK_END)

    def test_mmap_of_a_part(self, probe: Any, cls: type[Driver]) -> None:
        device = probe(cls, size=16 * PAGE_SIZE)
        whole, part = area(16), area(3, pgoff=5)
        device.mmap(open_file(device), whole)
        device.mmap(open_file(device), part)
        assert frames(part) == frames(whole)[5:8]
        assert whole.vm_flags & VM_PFNMAP

    @pytest.mark.parametrize(("pages", "pgoff"), [(17, 0), (1, 16), (2, 15), (1, 1 << 40)])
    def test_mmap_past_the_end(self, probe: Any, cls: type[Driver], pages: int, pgoff: int) -> None:
        device = probe(cls, size=16 * PAGE_SIZE)
        with fails(errno.EINVAL):
            device.mmap(open_file(device), area(pages, pgoff))

    def test_too_large(self, probe: Any, cls: type[Driver], memory: PhysicalMemory) -> None:
        before = memory.counts().used
        with fails(errno.ENOMEM):
            probe(cls, size="1G")
        assert memory.counts().used == before


def frames(vma: VmAreaStruct) -> list[int]:
    return [run.pfn + number for run in vma.mapped for number in range(run.nr_pages)]


def test_contiguous_is_one_run(probe: Any) -> None:
    vma = area(16)
    device = probe(Contiguous, size=16 * PAGE_SIZE)
    device.mmap(open_file(device), vma)
    assert len(vma.mapped) == 1


def test_vmalloc_is_scattered(probe: Any) -> None:
    vma = area(16)
    device = probe(Vmalloc, size=16 * PAGE_SIZE)
    device.mmap(open_file(device), vma)
    assert all(second != first + 1 for first, second in pairwise(frames(vma)))


def test_private_and_writable(probe: Any) -> None:
    """remap_pfn_range allows it for a whole area only, so that page by page it fails."""
    private = VM_READ | VM_WRITE | VM_MAYWRITE
    device = probe(Contiguous, size=16 * PAGE_SIZE)
    device.mmap(open_file(device), area(16, flags=private))
    device = probe(Vmalloc, size=16 * PAGE_SIZE)
    with fails(errno.EINVAL):
        device.mmap(open_file(device), area(16, flags=private))


class Timer(Registers):
    registers: ClassVar = {
        "CTRL": Register(0x0, reset=0x81),
        "BYTE": Register(0x5, reset=0xFF, width=8),
        "WIDE": Register(0x8, width=64),
    }


def test_registers_by_name_and_by_address(probe: Any) -> None:
    timer = probe(Timer, base="0x10000000", size="64K")
    file = open_file(timer)
    assert (timer["CTRL"], timer["BYTE"], timer["WIDE"]) == (0x81, 0xFF, 0)
    timer["WIDE"] = 1 << 63
    assert bytes(timer.read(file, 8, 0x1000_0008)) == bytes(7) + b"\x80"
    assert timer.write(file, b"\x01\x02\x03\x04more", 0x1000_0000) == 8
    assert timer["CTRL"] == 0x04030201
    assert len(timer.read(file, 100, 0x1000_FFF0)) == 16
    for nowhere in (0, 0x0FFF_FFFF, 0x1001_0000):
        with fails(errno.EFAULT):
            timer.read(file, 4, nowhere)
    with pytest.raises(KeyError):
        timer["NONE"]
    timer.reset()
    assert (timer["CTRL"], timer["WIDE"]) == (0x81, 0)


def test_registers_seek_like_dev_mem(probe: Any) -> None:
    timer = probe(Timer)
    file = open_file(timer)
    assert timer.llseek(file, timer.base, SEEK_SET) == timer.base
    assert timer.llseek(file, 4, SEEK_CUR) == timer.base + 4
    with fails(errno.EINVAL):
        timer.llseek(file, 0, SEEK_END)
    with fails(errno.EOVERFLOW):
        timer.llseek(file, -1, SEEK_SET)


def test_registers_map_at_the_physical_address(probe: Any) -> None:
    timer = probe(Timer, size=4 * PAGE_SIZE)
    first = timer.base >> PAGE_SHIFT
    whole, part = area(4, first), area(1, first + 2)
    timer.mmap(open_file(timer), whole)
    timer.mmap(open_file(timer), part)
    assert frames(part) == frames(whole)[2:3]
    for pages, pgoff in ((1, first - 1), (2, first - 1), (6, first), (1, first + 4), (1, 0)):
        with fails(errno.EINVAL):
            timer.mmap(open_file(timer), area(pages, pgoff))


def test_registers_base_is_a_page(probe: Any) -> None:
    with fails(errno.EINVAL):
        probe(Registers, base=0x1234)


def test_framebuffer_tells_its_mode(probe: Any) -> None:
    screen = probe(Framebuffer, width="100", height="50", bpp="24")
    fix, var = fb.FbFixScreeninfo(), fb.FbVarScreeninfo()
    screen.get_fscreeninfo(open_file(screen), fix)
    screen.get_vscreeninfo(open_file(screen), var)
    assert (fix.line_length, fix.smem_len, fix.smem_start & (PAGE_SIZE - 1)) == (
        300,
        PAGE_ALIGN(30000),
        0,
    )
    assert (var.xres, var.yres, var.yres_virtual, var.red.offset) == (100, 50, 100, 16)


def test_framebuffer_without_such_a_format(probe: Any) -> None:
    for wrong in ({"bpp": 8}, {"width": 4}, {"height": 0}):
        with fails(errno.EINVAL):
            probe(Framebuffer, **wrong)


def test_framebuffer_pans(probe: Any) -> None:
    screen = probe(Framebuffer, width=64, height=48)
    file = open_file(screen)
    screen.data[64 * 48 * 4 :] = b"\x10\x20\x30\xff" * ((screen.size - 64 * 48 * 4) // 4)
    var = fb.FbVarScreeninfo(yoffset=24)
    screen.pan_display(file, var)
    image = screen.image()
    assert (image.getpixel((0, 23)), image.getpixel((0, 24))) == ((0, 0, 0), (0x30, 0x20, 0x10))
    for x, y, vmode in ((1, 0, 0), (0, 49, 0), (0, 0xFFFFFFFF, 0), (0, 1, fb.FB_VMODE_YWRAP)):
        with fails(errno.EINVAL):
            screen.pan_display(file, fb.FbVarScreeninfo(xoffset=x, yoffset=y, vmode=vmode))
    assert screen.var.yoffset == 24


def test_framebuffer_changes_its_mode(probe: Any) -> None:
    screen = probe(Framebuffer, width=64, height=48)
    file = open_file(screen)
    screen.pan_display(file, fb.FbVarScreeninfo(yoffset=8))
    wanted = fb.FbVarScreeninfo(32, 16, bits_per_pixel=16, vmode=fb.FB_VMODE_CONUPDATE)
    screen.put_vscreeninfo(file, wanted)
    assert (wanted.xres_virtual, wanted.yres_virtual, wanted.yoffset) == (32, 24, 8)
    assert (screen.var.green.length, screen.fix.line_length) == (6, 64)
    assert screen.image().size == (32, 16)
    with fails(errno.ENOMEM):
        screen.put_vscreeninfo(file, fb.FbVarScreeninfo(1 << 31, 1 << 31, bits_per_pixel=32))
    assert screen.var.xres == 32


@pytest.mark.parametrize(
    ("bpp", "pixel"), [(16, b"\x1f\xf8"), (24, b"\xff\0\xff"), (32, b"\xff\0\xff\0")]
)
def test_framebuffer_saves_what_is_shown(
    probe: Any, tmp_path: Path, bpp: int, pixel: bytes
) -> None:
    screen = probe(Framebuffer, width=9, height=8, bpp=bpp)
    screen.data[: len(pixel)] = pixel
    screen.save(tmp_path / "screen")
    with Image.open(tmp_path / "screen") as saved:
        assert (saved.format, saved.size) == ("PNG", (9, 8))
        assert [saved.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 255), (0, 0, 0)]
    screen.blank(open_file(screen), 1)
    assert screen.image().getcolors() == [(72, (0, 0, 0))]
    screen.blank(open_file(screen), 0)
    assert screen.image().getpixel((0, 0)) == (255, 0, 255)


class TestEcho:
    def test_first_in_first_out(self, probe: Any) -> None:
        device = probe(Echo, size="8")
        file = open_file(device)
        assert device.write(file, b"abc", 0) == 3
        assert device.write(file, b"defghij", 0) == 5  # what fits
        assert device.read(file, 2, 0) == b"ab"
        assert device.read(file, 100, 0) == b"cdefgh"
        assert device.read(file, 0, 0) == b""
        assert device.write(file, b"", 0) == 0

    def test_waiting(self, probe: Any) -> None:
        device = probe(Echo, size=2)
        file = open_file(device)
        with fails(errno.EAGAIN):
            device.read(file, 1, 0)
        device.write(file, b"xy", 0)
        with fails(errno.EAGAIN):
            device.write(file, b"z", 0)
        assert bytes(device.fifo) == b"xy"

    def test_poll(self, probe: Any) -> None:
        device = probe(Echo, size=2)
        file = open_file(device)
        ready = [device.poll(file) & (EPOLLIN | EPOLLOUT)]
        for _ in range(2):
            device.write(file, b"x", 0)
            ready.append(device.poll(file) & (EPOLLIN | EPOLLOUT))
        assert ready == [EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLIN]
        assert file.poll_queues == {device.readers, device.writers}


class TestTicker:
    def test_ticks(self, ticking: Any) -> None:
        file = open_file(ticking)
        ticking.open(Inode(), file)
        while not ticking.poll(file):
            pass
        count = ticking.count
        assert count > 0
        assert int(ticking.read(file, 100, 0)) >= count

    def test_a_tick_is_read_once(self, ticking: Any) -> None:
        ticking.remove()  # the clock stands
        file = open_file(ticking)
        ticking.open(Inode(), file)
        assert ticking.poll(file) == 0
        with fails(errno.EAGAIN):
            ticking.read(file, 100, 0)

    def test_mmap(self, ticking: Any) -> None:
        vma = area(1, flags=VM_READ | VM_SHARED | VM_MAYWRITE)
        ticking.mmap(open_file(ticking), vma)
        assert [run.nr_pages for run in vma.mapped] == [1]
        assert not vma.vm_flags & VM_MAYWRITE
        with fails(errno.EPERM):
            ticking.mmap(open_file(ticking), area(1))
        with fails(errno.EINVAL):
            ticking.mmap(open_file(ticking), area(2))

    @pytest.mark.parametrize("hz", [0, -1, "1001"])
    def test_bad_rates(self, probe: Any, hz: Any) -> None:
        with fails(errno.EINVAL):
            probe(Ticker, hz=hz)
