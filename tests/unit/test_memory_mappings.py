"""The memfd, the direct map and the vmalloc range as the system sees them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import PAGE_SHIFT, PAGE_SIZE

MIB = 1 << 20


def permissions_at(addr: int) -> str:
    """What /proc says of an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions = line.split()[:2]
        start, end = (int(text, 16) for text in span.split("-"))
        if start <= addr < end:
            return permissions
    return "none"


def nr_areas() -> int:
    """Count our areas of memory machines; Python's own come and go, with this very text."""
    return Path("/proc/self/maps").read_text().count("/memfd:mapdev")


def nr_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_file_is_sparse_and_sealed(memory: PhysicalMemory) -> None:
    status = os.fstat(memory.fd)
    assert status.st_size == memory.size
    assert status.st_blocks == 0
    seals = fcntl.fcntl(memory.fd, fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)


def test_file_direct_map_and_area_are_one_memory(memory: PhysicalMemory) -> None:
    addr = memory.vmalloc(PAGE_SIZE, 0, None)
    pfn = memory.vmalloc_to_pfn(addr)
    memory.memory(addr, PAGE_SIZE)[7:10] = b"abc"
    assert ctypes.string_at(memory.page_address(pfn) + 7, 3) == b"abc"
    assert os.pread(memory.fd, 3, (pfn << PAGE_SHIFT) + 7) == b"abc"


def test_freed_memory_goes_back_to_the_system(memory: PhysicalMemory) -> None:
    addr = memory.kmalloc(4 * MIB, 0, None)
    memory.memory(addr, 4 * MIB)[:] = b"x" * (4 * MIB)
    assert os.fstat(memory.fd).st_blocks * 512 == 4 * MIB
    memory.kfree(addr)
    assert os.fstat(memory.fd).st_blocks == 0


def test_area_has_a_guard_page_on_both_sides(memory: PhysicalMemory) -> None:
    addr = memory.vmalloc(3 * PAGE_SIZE, 0, None)
    next_addr = memory.vmalloc(PAGE_SIZE, 0, None)
    assert next_addr == addr + 4 * PAGE_SIZE
    found = [permissions_at(addr + page * PAGE_SIZE) for page in range(-1, 6)]
    assert found == ["---p", *["rw-s"] * 3, "---p", "rw-s", "---p"]


def test_guard_page_stops_a_stray_write() -> None:
    program = (
        "import ctypes\n"
        "from mapdev.host.embedded.memory import PhysicalMemory\n"
        "memory = PhysicalMemory(1 << 20)\n"
        "addr = memory.vmalloc(1, 0, None)\n"
        "ctypes.memset(addr, 1, memory.vmalloc_size(addr))\n"
        "print('inside', flush=True)\n"
        "ctypes.memset(addr + memory.vmalloc_size(addr), 1, 1)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    assert result.stdout == b"inside\n"
    assert result.returncode == -signal.SIGSEGV


def test_frames_in_a_row_are_one_mapping() -> None:
    memory = PhysicalMemory(256 * MIB)
    before = nr_areas()
    addr = memory.vmalloc(200 * MIB, 0, None)
    assert 1000 < nr_areas() - before <= 16384 + 3
    memory.memory(addr, 200 * MIB)[-1] = 1
    last = memory.vmalloc_to_pfn(addr + 200 * MIB - 1)
    assert ctypes.string_at(memory.page_address(last) + PAGE_SIZE - 1, 1) == b"\1"
    memory.vfree(addr)
    assert nr_areas() - before <= 3
    assert memory.counts().used == 0
    memory.close()


def test_no_neighbours_up_to_64_mib() -> None:
    memory = PhysicalMemory(128 * MIB)
    addr = memory.vmalloc(64 * MIB, 0, None)
    pfns = [memory.vmalloc_to_pfn(addr + offset) for offset in range(0, 64 * MIB, PAGE_SIZE)]
    assert not [pfn for pfn, after in pairwise(pfns) if abs(pfn - after) == 1]
    memory.vfree(addr)
    memory.close()


def test_stale_view_of_an_area_is_harmless(memory: PhysicalMemory) -> None:
    addr = memory.vmalloc(2 * PAGE_SIZE, 0, None)
    view = memory.memory(addr, 2 * PAGE_SIZE)
    pfn = memory.vmalloc_to_pfn(addr)
    view[0] = 5
    memory.vfree(addr)
    assert view[0] == 0
    view[0] = 6  # nobody's
    assert ctypes.string_at(memory.page_address(pfn), 1) != b"\6"


def test_addresses_are_reused_late() -> None:
    memory = PhysicalMemory(1 * MIB)
    span = memory._vmalloc.end - memory._vmalloc.start
    first = memory.vmalloc(PAGE_SIZE, 0, None)
    memory.vfree(first)
    seen = set()
    for _ in range(2 * span // (64 * PAGE_SIZE)):
        addr = memory.vmalloc(63 * PAGE_SIZE, 0, None)
        seen.add(addr)
        memory.memory(addr, 1)[0] = 1
        memory.vfree(addr)
    assert len(seen) >= span // (64 * PAGE_SIZE) - 2
    assert nr_areas() < 1000
    memory.close()


def test_gap_has_to_hold_the_guard_page_too(memory: PhysicalMemory) -> None:
    before, gap, after = (memory.vmalloc(PAGE_SIZE, 0, None) for _ in range(3))
    memory.vfree(gap)
    memory._vmalloc._cursor = before
    assert memory.vmalloc(2 * PAGE_SIZE, 0, None) > after
    memory._vmalloc._cursor = before
    assert memory.vmalloc(PAGE_SIZE, 0, None) == gap


def test_addresses_may_run_out() -> None:
    memory = PhysicalMemory(1 * MIB)
    space = memory._vmalloc
    with pytest.raises(OSError, match="no room for") as caught:
        space._find(space.end - space.start)
    assert caught.value.errno == errno.ENOMEM
    memory.close()


def test_failed_mapping_loses_nothing(
    memory: PhysicalMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapdev.host.embedded.memory import vmalloc

    real, calls = vmalloc._map, []

    def failing(*arguments: int) -> None:
        calls.append(arguments)
        if len(calls) == 6:
            raise OSError(errno.ENOMEM, "vm.max_map_count")
        real(*arguments)

    monkeypatch.setattr(vmalloc, "_map", failing)
    with pytest.raises(OSError, match="max_map_count"):
        memory.vmalloc(16 * PAGE_SIZE, 0, None)
    assert memory.counts().used == 0
    assert memory.vmalloc(PAGE_SIZE, 0, None) == memory._vmalloc.start + PAGE_SIZE


def test_views_outlive_the_machine() -> None:
    memory = PhysicalMemory(1 * MIB)
    direct = memory.memory(memory.kmalloc(PAGE_SIZE, 0, None), PAGE_SIZE)
    area = memory.memory(memory.vmalloc(PAGE_SIZE, 0, None), PAGE_SIZE)
    direct[0], area[0] = 1, 2
    memory.close()
    assert (direct[0], area[0]) == (1, 2)


def test_closed_machine_leaves_no_descriptor_and_no_mapping() -> None:
    PhysicalMemory(1 * MIB).close()
    descriptors, areas = nr_descriptors(), nr_areas()
    for _ in range(20):
        memory = PhysicalMemory(1 * MIB)
        memory.vmalloc(5 * PAGE_SIZE, 0, None)
        memory.close()
        del memory
    assert nr_descriptors() == descriptors
    assert nr_areas() <= areas + 10


def test_unpunched_memory_is_cleared_by_hand(
    memory: PhysicalMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(memory._store), "punch", lambda *_: False)
    pfn = memory.alloc_contig(64, 0, None)
    memory.memory(memory.page_address(pfn), 64 * PAGE_SIZE)[:] = b"x" * 64 * PAGE_SIZE
    memory.free_contig(pfn, 64)
    again = memory.alloc_contig(64, 0, None)
    assert again == pfn
    assert not any(memory.memory(memory.page_address(again), 64 * PAGE_SIZE))
