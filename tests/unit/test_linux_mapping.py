"""What remap_pfn_range and its relatives check, and what they note in the area."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import (
    GFP_COMP,
    GFP_KERNEL,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_READ,
    PROT_WRITE,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_FAULT_NOPAGE,
    VM_FAULT_SIGBUS,
    VM_IO,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Mapped,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_page,
    alloc_pages,
    dma_alloc_coherent,
    dma_mmap_coherent,
    free_pages,
    io_remap_pfn_range,
    kmalloc,
    page_to_phys,
    pfn_to_page,
    pgprot_noncached,
    pgprot_writecombine,
    remap_pfn_range,
    remap_vmalloc_range,
    virt_to_page,
    vm_flags_clear,
    vm_flags_set,
    vm_insert_page,
    vm_insert_pages,
    vm_iomap_memory,
    vm_map_pages,
    vma_pages,
    vmalloc,
    vmalloc_to_pfn,
    vmalloc_user,
    vmf_insert_pfn,
)
from mapdev.linux.context import Context
from mapdev.linux.mapping import CACHE_MASK, CACHE_UNCACHED, CACHE_WRITECOMBINE

pytestmark = pytest.mark.usefixtures("context")

START = 0x7F0000000000
RW = PROT_READ | PROT_WRITE
SHARED = VM_READ | VM_WRITE | VM_SHARED | VM_MAYWRITE
PRIVATE = VM_READ | VM_WRITE | VM_MAYWRITE


def area(pages: int = 8, flags: int = SHARED, pgoff: int = 0) -> VmAreaStruct:
    return VmAreaStruct(START, START + pages * PAGE_SIZE, pgoff, flags)


def at(page: int) -> int:
    return START + page * PAGE_SIZE


def fails(error: int, function: Callable[[], object], match: str | None = None) -> None:
    with pytest.raises(OSError, match=match) as caught:
        function()
    assert caught.value.errno == error


def test_area_describes_itself() -> None:
    vma = area()
    assert vma_pages(vma) == 8
    assert vma.vm_page_prot == RW
    assert area(flags=VM_READ).vm_page_prot == PROT_READ
    vm_flags_set(vma, VM_IO)
    vm_flags_clear(vma, VM_WRITE)
    assert vma.vm_flags == SHARED & ~VM_WRITE | VM_IO


def test_cache_modes_exclude_each_other() -> None:
    assert pgprot_noncached(RW) == RW | CACHE_UNCACHED
    assert pgprot_writecombine(pgprot_noncached(RW)) == RW | CACHE_WRITECOMBINE
    assert CACHE_MASK & RW == 0


# remap_pfn_range


def test_remap_whole() -> None:
    vma, page = area(), alloc_pages(3)
    remap_pfn_range(vma, START, page.pfn, 8 * PAGE_SIZE, vma.vm_page_prot)
    assert vma.mapped == [Mapped(START, page.pfn, 8, "pfn", RW)]
    assert vma.mapped[0].end == vma.vm_end
    flags = VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP
    assert vma.vm_flags == SHARED | flags


def test_remap_page_by_page_joins_neighbours() -> None:
    vma, page = area(), alloc_pages(3)
    for index in range(8):
        remap_pfn_range(vma, at(index), page.pfn + index, PAGE_SIZE, RW)
    assert vma.mapped == [Mapped(START, page.pfn, 8, "pfn", RW)]


def test_remap_keeps_what_is_no_neighbour_apart() -> None:
    vma, page = area(), alloc_pages(3)
    remap_pfn_range(vma, at(0), page.pfn, PAGE_SIZE, RW)
    remap_pfn_range(vma, at(1), page.pfn + 2, PAGE_SIZE, RW)
    remap_pfn_range(vma, at(2), page.pfn + 3, PAGE_SIZE, PROT_READ)
    remap_pfn_range(vma, at(4), page.pfn + 4, PAGE_SIZE, PROT_READ)
    assert [run.nr_pages for run in vma.mapped] == [1, 1, 1, 1]


def test_remap_rounds_the_size_up() -> None:
    vma, page = area(), alloc_pages(3)
    io_remap_pfn_range(vma, at(0), page.pfn, PAGE_SIZE + 1, pgprot_noncached(RW))
    assert vma.mapped == [Mapped(START, page.pfn, 2, "pfn", RW | CACHE_UNCACHED)]


@pytest.mark.parametrize(
    ("addr", "size", "match"),
    [
        (at(0) + 1, PAGE_SIZE, "not page-aligned"),
        (at(0), 0, "size 0"),
        (at(0), -PAGE_SIZE, "size -"),
        (at(0), 8 * PAGE_SIZE + 1, "not inside"),
        (at(8), PAGE_SIZE, "not inside"),
        (at(-1), PAGE_SIZE, "not inside"),
        (at(4), PAGE_SIZE, "mapped already"),
        (at(3), 2 * PAGE_SIZE, "mapped already"),
        (at(5), 2 * PAGE_SIZE, "mapped already"),
    ],
)
def test_remap_refuses_ranges(addr: int, size: int, match: str) -> None:
    vma, page = area(), alloc_pages(4)
    remap_pfn_range(vma, at(4), page.pfn, 2 * PAGE_SIZE, RW)
    noted = list(vma.mapped)
    fails(errno.EINVAL, lambda: remap_pfn_range(vma, addr, page.pfn, size, RW), match)
    assert vma.mapped == noted


def test_remap_private_writable_is_all_or_nothing() -> None:
    vma, page = area(2, PRIVATE, pgoff=0), alloc_pages(1)
    fails(errno.EINVAL, lambda: remap_pfn_range(vma, START, page.pfn, PAGE_SIZE, RW), "one piece")
    assert vma.vm_flags == PRIVATE
    remap_pfn_range(vma, START, page.pfn, 2 * PAGE_SIZE, RW)
    assert vma.vm_pgoff == page.pfn


def test_remap_private_readonly_may_be_in_parts() -> None:
    vma, page = area(2, VM_READ), alloc_pages(1)
    remap_pfn_range(vma, START, page.pfn, PAGE_SIZE, PROT_READ)
    assert vma.vm_pgoff == 0


def test_remap_wants_frames_of_this_device(context: Context, memory: PhysicalMemory) -> None:
    vma, page = area(), alloc_pages(2)

    def remap(pfn: int, pages: int) -> None:
        remap_pfn_range(vma, START, pfn, pages * PAGE_SIZE, RW)

    fails(errno.EINVAL, lambda: remap(memory.nr_frames, 1), "not a frame")
    fails(errno.EINVAL, lambda: remap(memory.nr_frames - 1, 2), "not a frame")
    fails(errno.EPERM, lambda: remap(0, 1), "not allocated")
    fails(errno.EPERM, lambda: remap(page.pfn, 8), "not allocated")
    context.owner = "other"
    fails(errno.EPERM, lambda: remap(page.pfn, 1), "belongs to 'device'")
    context.owner = "device"
    free_pages(page, 2)
    fails(errno.EPERM, lambda: remap(page.pfn, 1), "not allocated")
    assert vma.mapped == []


def test_remap_refuses_frames_that_are_held_back(memory: PhysicalMemory) -> None:
    page = alloc_page()
    hold = memory.hold([(page.pfn, 1)])
    free_pages(page, 0)
    fails(errno.EPERM, lambda: remap_pfn_range(area(), START, page.pfn, PAGE_SIZE, RW))
    memory.release(hold)


# vm_insert_page


def test_insert() -> None:
    vma, page = area(), alloc_page()
    vm_insert_page(vma, at(3) + 17, page)
    assert vma.mapped == [Mapped(at(3), page.pfn, 1, "page", RW)]
    assert vma.vm_flags == SHARED | VM_MIXEDMAP


def test_insert_checks() -> None:
    vma, page = area(), alloc_page()
    fails(errno.EFAULT, lambda: vm_insert_page(vma, vma.vm_end, page), "outside")
    fails(errno.EFAULT, lambda: vm_insert_page(vma, START - 1, page), "outside")
    vm_insert_page(vma, START, page)
    fails(errno.EBUSY, lambda: vm_insert_page(vma, START, alloc_page()), "mapped already")
    fails(errno.EINVAL, lambda: vm_insert_page(vma, at(1), virt_to_page(kmalloc(8))), "kmalloc")
    block = alloc_pages(1)
    tail = pfn_to_page(block.pfn + 1)
    fails(errno.EINVAL, lambda: vm_insert_page(vma, at(1), tail), "without __GFP_COMP")
    free_pages(page, 0)
    fails(errno.EINVAL, lambda: vm_insert_page(vma, at(1), page), "no references")
    remapped = area()
    remap_pfn_range(remapped, START, block.pfn, PAGE_SIZE, RW)
    fails(errno.EINVAL, lambda: vm_insert_page(remapped, at(1), block), "can't be mixed")


def test_insert_of_another_device(context: Context) -> None:
    page = alloc_page()
    context.owner = "other"
    fails(errno.EPERM, lambda: vm_insert_page(area(), START, page), "belongs to")


def compound(order: int) -> list[Page]:
    head = alloc_pages(GFP_KERNEL | GFP_COMP, order)
    return [pfn_to_page(head.pfn + index) for index in range(1 << order)]


def test_insert_pages() -> None:
    vma, pages = area(), compound(2)
    vm_insert_pages(vma, at(4), pages)
    assert vma.mapped == [Mapped(at(4), pages[0].pfn, 4, "page", RW)]
    fails(errno.EFAULT, lambda: vm_insert_pages(vma, at(6), compound(2)), "not inside")
    fails(errno.EBUSY, lambda: vm_insert_pages(vma, at(2), compound(2)), "mapped already")
    assert len(vma.mapped) == 2  # the pages before the one that failed


def test_map_pages() -> None:
    pages = compound(3)
    vma = area(4, pgoff=4)
    vm_map_pages(vma, pages)
    assert vma.mapped == [Mapped(START, pages[4].pfn, 4, "page", RW)]
    fails(errno.ENXIO, lambda: vm_map_pages(area(4, pgoff=5), pages), "past 8 pages")
    fails(errno.ENXIO, lambda: vm_map_pages(area(4, pgoff=8), pages))


def test_iomap_memory() -> None:
    start = page_to_phys(compound(3)[0])
    vma = area(4, pgoff=4)
    vm_iomap_memory(vma, start, 8 * PAGE_SIZE - 1)
    assert vma.mapped == [Mapped(START, (start >> PAGE_SHIFT) + 4, 4, "pfn", RW)]
    for length in (0, 7 * PAGE_SIZE):
        fails(errno.EINVAL, lambda: vm_iomap_memory(area(4, pgoff=4), start, length), "past")  # noqa: B023


# vmalloc, DMA and faults


def test_vmalloc_range() -> None:
    vma, addr = area(4), vmalloc_user(8 * PAGE_SIZE)
    remap_vmalloc_range(vma, addr, 3)
    shown = [run.pfn + index for run in vma.mapped for index in range(run.nr_pages)]
    assert shown == [vmalloc_to_pfn(addr + page * PAGE_SIZE) for page in range(3, 7)]
    assert vma.vm_flags == SHARED | VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP


def test_vmalloc_range_checks() -> None:
    addr = vmalloc_user(8 * PAGE_SIZE)
    fails(errno.EINVAL, lambda: remap_vmalloc_range(area(4), addr, 5), "past 8 pages")
    fails(errno.EINVAL, lambda: remap_vmalloc_range(area(4), addr, -1), "past 8 pages")
    fails(errno.EINVAL, lambda: remap_vmalloc_range(area(4), addr + PAGE_SIZE, 0), "starts at")
    plain = vmalloc(8 * PAGE_SIZE)
    fails(errno.EINVAL, lambda: remap_vmalloc_range(area(4), plain, 0), "vmalloc_user")


def test_dma() -> None:
    size = 5 * PAGE_SIZE
    addr, handle = dma_alloc_coherent(None, size)
    vma = area(4, pgoff=1)
    dma_mmap_coherent(None, vma, addr, handle, size)
    assert vma.mapped == [Mapped(START, (handle >> PAGE_SHIFT) + 1, 4, "pfn", RW)]
    late = area(4, pgoff=2)
    fails(errno.ENXIO, lambda: dma_mmap_coherent(None, late, addr, handle, size), "past")


def test_fault_with_a_frame() -> None:
    vma, page = area(), alloc_page()
    fails(errno.EINVAL, lambda: vmf_insert_pfn(vma, START, page.pfn), "not marked")
    vm_flags_set(vma, VM_PFNMAP)
    assert vmf_insert_pfn(vma, vma.vm_end, page.pfn) == VM_FAULT_SIGBUS
    assert vmf_insert_pfn(vma, at(2) + 5, page.pfn) == VM_FAULT_NOPAGE
    assert vmf_insert_pfn(vma, at(2), page.pfn) == VM_FAULT_NOPAGE
    assert vma.mapped == [Mapped(at(2), page.pfn, 1, "pfn", RW)]
    fails(errno.EPERM, lambda: vmf_insert_pfn(vma, START, 0), "not allocated")
    private = area(flags=PRIVATE | VM_PFNMAP)
    fails(errno.EINVAL, lambda: vmf_insert_pfn(private, START, page.pfn), "private")


def test_fault_knows_its_page() -> None:
    vma = area(pgoff=10)
    assert VmFault(vma, at(3) + 100).pgoff == 13


def test_operations_are_none_unless_given() -> None:
    closed: list[VmAreaStruct] = []
    operations = VmOperationsStruct(close=closed.append)
    vma = area()
    vma.vm_ops = operations
    assert operations.fault is None
    assert operations.close is not None
    operations.close(vma)
    assert closed == [vma]
