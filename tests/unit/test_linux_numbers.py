"""Numbers agree with the system's, where Python knows them, and ioctl numbers with known ones."""

from __future__ import annotations

import ctypes
import mmap
import select

import pytest

from mapdev import linux


@pytest.mark.parametrize(
    "name", [name for name in linux.__all__ if name.startswith(("MAP_", "PROT_"))]
)
def test_mmap_numbers(name: str) -> None:
    system = getattr(mmap, name, None)
    if system is not None:
        assert getattr(linux, name) == system


@pytest.mark.parametrize("name", [name for name in linux.__all__ if name.startswith("EPOLL")])
def test_epoll_numbers(name: str) -> None:
    system = getattr(select, name, None)
    if system is not None:
        assert getattr(linux, name) == system


def test_page_align() -> None:
    page = linux.PAGE_SIZE
    assert page == mmap.PAGESIZE == 1 << linux.PAGE_SHIFT
    assert [linux.PAGE_ALIGN(size) for size in (0, 1, page, page + 1)] == [0, page, page, 2 * page]
    assert linux.offset_in_page(5 * page + 7) == 7


def test_get_order() -> None:
    page = linux.PAGE_SIZE
    sizes = (1, page, page + 1, 2 * page, 2 * page + 1, 1024 * page)
    assert [linux.get_order(size) for size in sizes] == [0, 0, 1, 1, 2, 10]
    with pytest.raises(OSError, match="get_order of 0"):
        linux.get_order(0)


def test_ioctl_numbers() -> None:
    assert linux._IO("F", 0x20) == 0x4620
    assert linux._IOR("E", 0x01, ctypes.c_int) == 0x80044501  # EVIOCGVERSION
    assert linux._IOW("T", 0x31, ctypes.c_int) == 0x40045431  # TIOCSPTLCK
    assert linux._IOWR("F", 0x12, 32) == 0xC0204612  # FBIOGET_VBLANK
    assert linux._IOR(0x46, 0x12, 32) == linux._IOR("F", 0x12, 32)


def test_ioctl_numbers_apart() -> None:
    cmd = linux._IOWR("F", 0x12, 32)
    parts = [part(cmd) for part in (linux._IOC_TYPE, linux._IOC_NR, linux._IOC_SIZE)]
    assert parts == [ord("F"), 0x12, 32]
    assert linux._IOC_DIR(cmd) == linux._IOC_READ | linux._IOC_WRITE
    assert linux._IOC_DIR(linux._IO("F", 1)) == linux._IOC_NONE


@pytest.mark.parametrize(
    ("fields", "name"),
    [((4, 1, 1, 0), "direction"), ((0, 256, 1, 0), "type"), ((0, 1, -1, 0), "number")],
)
def test_ioctl_field_that_does_not_fit(fields: tuple[int, int, int, int], name: str) -> None:
    with pytest.raises(OSError, match=f"ioctl {name}"):
        linux._IOC(*fields)


def test_ioctl_size_that_does_not_fit() -> None:
    with pytest.raises(OSError, match="ioctl size 16384 does not fit in 14 bits"):
        linux._IOR("F", 1, 1 << 14)
