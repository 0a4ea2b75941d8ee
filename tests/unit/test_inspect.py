"""What `mapdev.inspect` says of live processes, against what they know of themselves."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapdev.inspect import (
    FrameFiles,
    LiveArea,
    MapsLine,
    PagemapEntry,
    find_sharers,
    flag_names,
    read_areas,
    read_maps,
    read_pagemap,
    read_pages,
    scan,
)
from mapdev.inspect import pagemap as pagemap_module
from mapdev.linux import PAGE_SIZE, VM_EXEC, VM_MAYREAD, VM_READ, VM_SHARED, VM_WRITE

MAY_SEE_FRAMES = os.access("/proc/kpageflags", os.R_OK)
needs_root = pytest.mark.skipif(not MAY_SEE_FRAMES, reason="frame numbers are for CAP_SYS_ADMIN")


def address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def area_at(areas: list[LiveArea], addr: int) -> LiveArea:
    return next(area for area in areas if area.vm_start <= addr < area.vm_end)


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    """Sixteen pages, the first and the last of them written."""
    memory = mmap.mmap(-1, 16 * PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0] = memory[15 * PAGE_SIZE] = 1
    yield memory


def lines() -> set[MapsLine]:
    return set(read_maps("self"))


def test_areas_are_those_of_maps() -> None:
    before = lines()
    areas = read_areas("self")
    both = before & lines()  # what did not change meanwhile
    assert both <= {area.line for area in areas}
    assert [area.vm_start for area in areas] == sorted(area.vm_start for area in areas)


def test_flags_are_spelt_out(memory: mmap.mmap, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(PAGE_SIZE))
    with (tmp_path / "file").open("r+b") as file:
        shared = mmap.mmap(file.fileno(), PAGE_SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
    areas = read_areas("self")
    found = next(area for area in areas if area.line.path == str(tmp_path / "file"))
    assert {"VM_READ", "VM_MAYREAD", "VM_SHARED", "VM_MAYSHARE"} <= set(found.flags)
    assert "VM_WRITE" not in found.flags
    assert found.vm_flags & (VM_READ | VM_SHARED | VM_MAYREAD) == VM_READ | VM_SHARED | VM_MAYREAD
    assert not found.vm_flags & (VM_WRITE | VM_EXEC)
    text = next(area for area in areas if "x" in area.line.perms)
    assert "VM_EXEC" in text.flags and text.sizes["Size"] == text.vm_end - text.vm_start
    shared.close()


def test_pagemap_knows_which_pages_are_there(memory: mmap.mmap) -> None:
    start = address(memory)
    end = start + 16 * PAGE_SIZE
    there = [(entry.addr - start) // PAGE_SIZE for entry in read_pagemap("self", start, end)]
    assert there == [0, 15]
    every = list(read_pagemap("self", start, end, all=True))
    assert [entry.is_present for entry in every] == [True, *[False] * 14, True]
    assert "present" in every[0].names and every[1].names in ((), ("soft-dirty",))
    assert (every[0].pfn is not None) == MAY_SEE_FRAMES and every[1].pfn is None


def test_scan_finds_the_same_pages(memory: mmap.mmap) -> None:
    start = address(memory)
    regions = scan("self", start, start + 16 * PAGE_SIZE)
    if regions is None:
        pytest.skip("the kernel has no PAGEMAP_SCAN (before 6.7)")
    assert [(region.start, region.end) for region in regions] == [
        (start, start + PAGE_SIZE),
        (start + 15 * PAGE_SIZE, start + 16 * PAGE_SIZE),
    ]
    assert all("PAGE_IS_PRESENT" in region.names for region in regions)


def test_a_scan_of_many_regions_is_complete() -> None:
    """More than fit into one answer of PAGEMAP_SCAN."""
    pages = 5000
    memory = mmap.mmap(-1, pages * PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, pages, 2):
        memory[page * PAGE_SIZE] = 1
    start = address(memory)
    found = [
        (entry.addr - start) // PAGE_SIZE
        for entry in read_pagemap("self", start, start + pages * PAGE_SIZE)
    ]
    assert found == list(range(0, pages, 2))


def test_without_pagemap_scan_each_entry_is_read(
    memory: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagemap_module, "_PAGEMAP_SCAN", 0x6600)  # ENOTTY, as before 6.7
    start = address(memory)
    assert scan("self", start, start + PAGE_SIZE) is None
    there = list(read_pagemap("self", start, start + 16 * PAGE_SIZE))
    assert [(entry.addr - start) // PAGE_SIZE for entry in there] == [0, 15]


def test_bits_of_an_entry() -> None:
    swapped = PagemapEntry(0x1000, 1 << 62 | 5 << 5 | 2)
    assert (swapped.pfn, swapped.swap, swapped.names) == (None, (2, 5), ("swapped",))
    hidden = PagemapEntry(0x1000, 1 << 63)
    assert (hidden.pfn, hidden.is_present) == (None, True)
    every = PagemapEntry(0, 1 << 63 | 1 << 61 | 1 << 56 | 1 << 57 | 1 << 55 | 1 << 58 | 77)
    assert every.pfn == 77 and every.names == (
        "present", "file/shared-anon", "exclusive", "uffd-wp", "guard", "soft-dirty"
    )  # fmt: skip


def test_names_of_kpageflags() -> None:
    assert flag_names(1 << 5 | 1 << 12 | 1 << 32) == ("LRU", "ANON", "RESERVED")
    assert flag_names(1 << 50) == ("bit 50",) and flag_names(0) == ()


@needs_root
def test_a_written_page_is_anonymous(memory: mmap.mmap) -> None:
    line = area_at(read_areas("self"), address(memory)).line
    start = address(memory)
    first, last = read_pages("self", line, start, start + 16 * PAGE_SIZE)
    for page in first, last:
        assert page.flags is not None and "ANON" in page.flags and page.offset is None
        assert page.mapcount == 1 and page.entry.is_exclusive


@needs_root
def test_frames_beyond_memory_have_no_flags() -> None:
    with FrameFiles() as files:
        found = files.of([0, 1, 1 << 40])
    assert found[1 << 40] == (0, 0) and set(found) == {0, 1, 1 << 40}


def test_pages_of_one_file_are_shared(tmp_path: Path) -> None:
    """Known without a privilege: one offset of one file has one frame."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3 * PAGE_SIZE)
    program = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'r+b') as file: m = mmap.mmap(file.fileno(), 0)\n"
        "m[2 * mmap.PAGESIZE]\nprint('ready', flush=True)\nsys.stdin.read()\n"
    )
    with path.open("r+b") as file:
        mine = mmap.mmap(file.fileno(), 0)
    assert mine[2 * PAGE_SIZE] == ord("x")
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        area = area_at(read_areas("self"), address(mine))
        addr = address(mine) + 2 * PAGE_SIZE
        (page,) = read_pages("self", area.line, addr, addr + PAGE_SIZE)
        assert page.offset == 2 * PAGE_SIZE
        found = find_sharers(os.getpid(), area.line, [page])[addr]
        assert other.pid in {sharer.pid for sharer in found}
        theirs = next(line for line in read_maps(other.pid) if line.path == str(path))
        assert theirs.start + 2 * PAGE_SIZE in {
            sharer.addr for sharer in found if sharer.pid == other.pid
        }
        if page.mapcount is not None:
            assert page.mapcount == 2 == len(found) + 1
        assert other.stdin is not None
        other.stdin.close()


@needs_root
def test_pages_are_shared_by_fork_until_they_are_written() -> None:
    memory = mmap.mmap(-1, 2 * PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0] = memory[PAGE_SIZE] = 1
    start = address(memory)
    program_done, child_done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        memory[PAGE_SIZE] = 2  # a copy from now on
        os.write(child_done[1], b"x")
        os.read(program_done[0], 1)
        os._exit(0)
    try:
        assert os.read(child_done[0], 1) == b"x"
        area = area_at(read_areas("self"), start)
        pages = read_pages("self", area.line, start, start + 2 * PAGE_SIZE)
        sharers = find_sharers(os.getpid(), area.line, pages)
        assert [(sharer.pid, sharer.addr) for sharer in sharers[start]] == [(child, start)]
        assert start + PAGE_SIZE not in sharers
        assert [page.mapcount for page in pages] == [2, 1]
    finally:
        os.write(program_done[1], b"x")
        os.waitpid(child, 0)
        for end in (*program_done, *child_done):
            os.close(end)


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(OSError, match=r"No such (process|file)"):
        read_areas(1 << 22)
    with pytest.raises(OSError, match=r"No such (process|file)"):
        list(read_pagemap(1 << 22, 0, PAGE_SIZE))
