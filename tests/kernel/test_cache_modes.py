"""How pages are cached: RAM always as the kernel's own mapping of it is, registers never.

The page-table entries are read by a module of the tests, `ptes`, which $MAPDEV_PTES names: nothing
else tells. What memory shows is the same under each mode in an emulated machine.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE, Reply, Request
from mapdev.module.syscalls import delete_module, finit_module

from .daemon import Buffer, Daemon, answer, mapping, mmap_answer, not_in_uml
from .test_mmap import mapped

MODES = {"cached": uapi.CACHED, "uncached": uapi.UNCACHED, "writecombine": uapi.WRITECOMBINE}
PTES = Path("/proc/mapdev_ptes")
RAW = Path("/sys/module/mapdev/parameters/raw")
# A page where registers are: behind the HPET of a PC, whose own the kernel has mapped itself, in a
# mode that others get then; the clock (PL031) of qemu's aarch64 board.
REGISTERS = 0xFED01000 if platform.machine() == "x86_64" else 0x09010000
ALLOWED = "0xfed00000+8K" if platform.machine() == "x86_64" else "0x9010000+4K"

pytestmark = not_in_uml("cache modes")
all_modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@pytest.fixture(scope="module", autouse=True)
def ptes() -> Iterator[None]:
    """Have the module that shows page-table entries."""
    module = os.environ.get("MAPDEV_PTES")
    if not module:
        pytest.skip("MAPDEV_PTES does not name the module that shows page-table entries")
    finit_module(Path(module), "")
    yield
    delete_module("mapdev_ptes")


def caching(memory: int, size: int = PAGE) -> set[str]:
    """Return how the pages of this process at an address are cached."""
    with PTES.open("rb", buffering=0) as file:
        entries = [
            struct.unpack("=Q", os.pread(file.fileno(), 8, addr))[0]
            for addr in range(memory, memory + size, PAGE)
        ]
    assert all(entries), "a page is not there"
    return {_mode(entry) for entry in entries}


def _mode(entry: int) -> str:
    """Source: arch/x86/mm/pat/memtype.c, pat_bp_init; arch/arm64/include/asm/memory.h, MT_."""
    if platform.machine() == "x86_64":
        number = entry >> 3 & 3 | entry >> 7 - 2 & 4  # PWT, PCD, PAT
        return ["cached", "writecombine", "uncached-minus", "uncached"][number & 3]
    return ["cached", "cached", "writecombine", "uncached", "device"][entry >> 2 & 7]


def touch(pages: int = 1) -> set[str]:
    memory = mapped(pages)
    for at in range(0, pages * PAGE, PAGE):
        memory[at : at + 4]  # it comes by a fault
    return caching(_address(memory), pages * PAGE)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def maps_cached(buffer: Buffer, kind: int, mode: int) -> Callable[[Request], Reply]:
    def handle(request: Request) -> Reply:
        whole = mapping(request.vma.vm_start, buffer, kind=kind, cache=mode)
        return mmap_answer(request, whole, cache=mode)

    return handle


KINDS = {
    "pages": (uapi.BUF_PAGES, uapi.ALLOC_COMP),
    "contiguous": (uapi.BUF_CONTIG, 0),
    "vmalloc": (uapi.BUF_VMALLOC, 0),
}


@all_modes
@pytest.mark.parametrize("kind", [uapi.MAP_PFN, uapi.MAP_PAGE], ids=["frames", "pages"])
@pytest.mark.parametrize("buffer", KINDS)
def test_ram_is_cached_whatever_is_asked_for(
    daemon: Daemon, buffer: str, kind: int, mode: int
) -> None:
    """Another mode would contradict the kernel's own mapping, and show what was there before."""
    daemon.create()
    what, flags = KINDS[buffer]
    memory = daemon.alloc(4, what, flags=flags, cache=mode)
    handlers = {uapi.MMAP: maps_cached(memory, kind, mode)}
    assert daemon.run(handlers, partial(touch, 4)) == {"cached"}
    assert caching(_address(memory.memory), 4 * PAGE) == {"cached"}, "of the daemon's own mapping"


@all_modes
@pytest.mark.parametrize("kind", [uapi.MAP_PFN, uapi.MAP_PAGE], ids=["frames", "pages"])
def test_ram_that_comes_by_a_fault_is_cached(daemon: Daemon, kind: int, mode: int) -> None:
    daemon.create()
    memory = daemon.alloc(1, uapi.BUF_PAGES, cache=mode)
    flags = uapi.VM_PFNMAP if kind == uapi.MAP_PFN else 0

    def come(request: Request) -> Reply:
        return mmap_answer(request, set_flags=flags, vm_ops=uapi.VMOP_FAULT, cache=mode)

    def fault(request: Request) -> Reply:
        page = mapping(request.arg[0], memory, request.arg[2], 1, kind, cache=mode)
        return answer(request, 0, bytes(page))

    assert daemon.run({uapi.MMAP: come, uapi.FAULT: fault}, touch) == {"cached"}


@all_modes
def test_registers_are_cached_as_little_as_was_asked_for(mode: int) -> None:
    if ALLOWED not in RAW.read_text():
        pytest.skip(f"the module is not loaded with raw={ALLOWED}")
    with Daemon(features=uapi.FEATURE_PHYS) as daemon:
        daemon.create()
        registers = daemon.alloc(1, uapi.BUF_PHYS, phys=REGISTERS, cache=mode)
        found = daemon.run({uapi.MMAP: maps_cached(registers, uapi.MAP_PFN, mode)}, touch)
    if platform.machine() == "x86_64":
        # What the firmware says (MTRR) wins over "cached": the kernel makes it uncached-minus.
        wanted = {"writecombine"} if mode == uapi.WRITECOMBINE else {"uncached-minus"}
    else:
        wanted = {"writecombine"} if mode == uapi.WRITECOMBINE else {"device", "uncached"}
    assert found and found <= wanted
