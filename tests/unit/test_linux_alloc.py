"""Pages, kmalloc, vmalloc and DMA memory as a driver sees them."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from itertools import pairwise

import pytest

from mapdev.host.embedded.memory import PhysicalMemory
from mapdev.linux import (
    GFP_COMP,
    GFP_KERNEL,
    MAX_ORDER,
    PAGE_SIZE,
    Page,
    PageBuddy,
    PageCompound,
    PageHead,
    PageReserved,
    PageSlab,
    PageTail,
    __free_page,
    __free_pages,
    __get_free_pages,
    alloc_page,
    alloc_pages,
    compound_head,
    compound_order,
    dma_alloc_coherent,
    dma_free_coherent,
    free_page,
    free_pages,
    get_page,
    get_zeroed_page,
    is_vmalloc_addr,
    kfree,
    kmalloc,
    ksize,
    kzalloc,
    memory,
    page_address,
    page_count,
    page_mapcount,
    page_size,
    page_to_pfn,
    page_to_phys,
    pfn_to_page,
    pfn_valid,
    phys_to_page,
    phys_to_virt,
    put_page,
    vfree,
    virt_to_page,
    virt_to_phys,
    vmalloc,
    vmalloc_to_page,
    vmalloc_to_pfn,
    vzalloc,
)
from mapdev.linux.context import Context

pytestmark = pytest.mark.usefixtures("context")


def fails(error: int, function: Callable[[], object], match: str) -> None:
    with pytest.raises(OSError, match=match) as caught:
        function()
    assert caught.value.errno == error


def test_page_and_its_addresses() -> None:
    page = alloc_page()
    pfn, addr = page_to_pfn(page), page_address(page)
    assert pfn_to_page(pfn) == page == virt_to_page(addr + 5)
    assert {page, pfn_to_page(pfn)} == {page}
    assert page != pfn
    assert page_to_phys(page) == pfn * PAGE_SIZE
    assert virt_to_phys(addr + 5) == pfn * PAGE_SIZE + 5
    assert phys_to_virt(pfn * PAGE_SIZE + 5) == addr + 5
    assert phys_to_page(pfn * PAGE_SIZE + 5) == page
    assert page.owner == "device"


def test_kernel_address_is_real() -> None:
    page = alloc_page()
    memory(page_address(page), 4)[:] = b"abcd"
    assert ctypes.string_at(page_address(page), 4) == b"abcd"


def test_bad_numbers_and_addresses() -> None:
    last = (64 << 20) // PAGE_SIZE - 1
    text = rf"pfn {last + 1:#x} is not a frame of this machine \(0 to {last:#x}\)"
    fails(errno.EINVAL, lambda: pfn_to_page(last + 1), text)
    fails(errno.EINVAL, lambda: pfn_to_page(-1), "pfn -0x1 is not a frame")
    fails(errno.EINVAL, lambda: virt_to_page(0x1000), "0x1000 is not a kernel address")
    assert pfn_valid(last)
    assert not pfn_valid(last + 1)


def test_vmalloc_address_is_not_in_the_direct_map() -> None:
    addr = vmalloc(2 * PAGE_SIZE)
    fails(errno.EINVAL, lambda: virt_to_page(addr), "use vmalloc_to_page")
    fails(errno.EINVAL, lambda: virt_to_phys(addr), "use vmalloc_to_page")
    assert is_vmalloc_addr(addr)
    assert not is_vmalloc_addr(page_address(vmalloc_to_page(addr)))


def test_frame_zero_is_reserved() -> None:
    assert PageReserved(pfn_to_page(0))
    fails(errno.EINVAL, lambda: __free_pages(pfn_to_page(0), 0), "reserved")


def test_block_is_aligned_and_in_a_row() -> None:
    for order in range(MAX_ORDER + 1):
        page = alloc_pages(GFP_KERNEL, order)
        assert page.pfn % (1 << order) == 0
        assert page.order == order
        __free_pages(page, order)
        assert PageBuddy(page)


def test_order_too_high() -> None:
    fails(errno.ENOMEM, lambda: alloc_pages(MAX_ORDER + 1), "order 11")


def test_block_without_compound_counts_at_its_head_only() -> None:
    page = alloc_pages(2)
    tail = pfn_to_page(page.pfn + 1)
    assert (page_count(page), page_count(tail)) == (1, 0)
    assert not PageCompound(page)
    fails(errno.EINVAL, lambda: get_page(tail), "without __GFP_COMP")


def test_compound_block_counts_as_one() -> None:
    page = alloc_pages(GFP_KERNEL | GFP_COMP, 2)
    tail = pfn_to_page(page.pfn + 3)
    assert PageHead(page)
    assert PageTail(tail)
    assert compound_head(tail) == page == compound_head(page)
    assert (compound_order(page), compound_order(tail)) == (2, 0)
    assert page_size(page) == 4 * PAGE_SIZE
    get_page(tail)
    assert page_count(page) == page_count(tail) == 2
    put_page(page)
    free_pages(page, 2)
    assert PageBuddy(tail)


def test_last_reference_frees(memory: PhysicalMemory) -> None:
    page = alloc_page()
    get_page(page)
    __free_page(page)
    assert page_count(page) == 1
    assert memory.counts().used == 1
    put_page(page)
    assert memory.counts().used == 0
    fails(errno.EINVAL, lambda: put_page(page), "not allocated")
    fails(errno.EINVAL, lambda: get_page(page), "not allocated")


def test_double_free_and_wrong_order() -> None:
    page = alloc_pages(3)
    inside = pfn_to_page(page.pfn + 1)
    fails(errno.EINVAL, lambda: __free_pages(page, 2), "4 pages freed .* where 8 were allocated")
    fails(errno.EINVAL, lambda: __free_pages(page, -1), "wrong length")
    fails(errno.EINVAL, lambda: __free_pages(inside, 0), "lies inside the allocation")
    __free_pages(page, 3)
    fails(errno.EINVAL, lambda: __free_pages(page, 3), "double free")


def test_pages_by_address() -> None:
    addr = __get_free_pages(GFP_KERNEL, 1)
    fails(errno.EINVAL, lambda: free_pages(addr + 1, 1), "not the start of a page")
    free_pages(addr, 1)
    zeroed = get_zeroed_page()
    assert bytes(memory(zeroed, PAGE_SIZE)) == bytes(PAGE_SIZE)
    free_page(zeroed)
    free_pages(0, 5)  # NULL


@pytest.mark.parametrize("order", [0, 2, 5])
def test_given_out_again_it_holds_zeros(order: int) -> None:
    page = alloc_pages(order)
    size = PAGE_SIZE << order
    memory(page_address(page), size)[:] = b"x" * size
    __free_pages(page, order)
    again = [alloc_page() for _ in range(300)]
    assert page.pfn in {one.pfn for one in again} or order > 0
    for one in [*again, alloc_pages(order)]:
        assert not any(memory(page_address(one), PAGE_SIZE))


def test_each_kind_is_freed_in_its_own_way() -> None:
    addr = vmalloc(PAGE_SIZE)
    page = vmalloc_to_page(addr)
    fails(errno.EINVAL, lambda: __free_pages(page, 0), "is freed by vfree")
    fails(errno.EINVAL, lambda: put_page(page), "vfree frees it")
    large, small = kmalloc(PAGE_SIZE), kmalloc(8)
    fails(errno.EINVAL, lambda: free_pages(large, 0), "is freed by kfree")
    fails(errno.EINVAL, lambda: put_page(virt_to_page(small)), "kfree frees it")
    fails(errno.EINVAL, lambda: kfree(page_address(alloc_page())), "is freed by free_pages")
    fails(errno.EINVAL, lambda: vfree(large), "no vmalloc area starts at")
    fails(errno.EINVAL, lambda: kfree(addr), "vmalloc address")


# kmalloc


@pytest.mark.parametrize("size", [1, 8, 9, 100, 192, 2048, 2049, PAGE_SIZE, 3 * PAGE_SIZE])
def test_kmalloc(size: int) -> None:
    addrs = [kmalloc(size) for _ in range(40)]
    usable = ksize(addrs[0])
    assert usable >= size
    spans = sorted((addr, addr + usable) for addr in addrs)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for number, addr in enumerate(addrs):
        assert addr % 8 == 0
        assert size < PAGE_SIZE or addr % PAGE_SIZE == 0
        assert PageSlab(virt_to_page(addr))
        memory(addr, size)[:] = bytes((number,)) * size
    for number, addr in enumerate(addrs):
        assert memory(addr, size) == bytes((number,)) * size
    for addr in addrs:
        kfree(addr)
    fails(errno.EINVAL, lambda: kfree(addrs[0]), "double free")


def test_kmalloc_is_contiguous_at_any_size(memory: PhysicalMemory) -> None:
    addr = kmalloc(17 << 20)
    assert ksize(addr) == 17 << 20
    memory.memory(addr, 17 << 20)[-1] = 1
    kfree(addr)


def test_kmalloc_of_nothing() -> None:
    assert kmalloc(0) == kmalloc(0) == 16
    assert ksize(16) == 0
    kfree(16)
    kfree(0)
    assert len(memory(16, 0)) == 0
    fails(errno.EINVAL, lambda: kmalloc(-1), "kmalloc of -1")


def test_kzalloc_after_use() -> None:
    first = kmalloc(64)
    keep = kmalloc(64)  # so that the page isn't freed
    memory(first, 64)[:] = b"x" * 64
    kfree(first)
    assert bytes(memory(kzalloc(64), 64)) == bytes(64)
    kfree(keep)


def test_kfree_inside() -> None:
    small, large = kmalloc(64), kmalloc(2 * PAGE_SIZE)
    fails(errno.EINVAL, lambda: kfree(small + 8), "no object starts")
    fails(errno.EINVAL, lambda: kfree(large + 8), "not the start")
    fails(errno.EINVAL, lambda: kfree(large + PAGE_SIZE), "lies inside")
    fails(errno.EINVAL, lambda: ksize(large + PAGE_SIZE), "no kmalloc'ed memory starts")


def test_devices_share_no_slab_page(context: Context) -> None:
    mine = kmalloc(8)
    context.owner = "other"
    assert virt_to_page(kmalloc(8)) != virt_to_page(mine)


# vmalloc and DMA


def test_vmalloc_shows_its_frames_in_a_row() -> None:
    pages = 16
    addr = vmalloc(pages * PAGE_SIZE)
    assert addr % PAGE_SIZE == 0
    view = memory(addr, pages * PAGE_SIZE)
    for index in range(pages):
        view[index * PAGE_SIZE] = index + 1
    frames = [vmalloc_to_page(addr + index * PAGE_SIZE + 9) for index in range(pages)]
    assert len(set(frames)) == pages
    assert [memory(page_address(page), 1)[0] for page in frames] == list(range(1, pages + 1))
    assert all(page_count(page) == 1 and page_mapcount(page) == 0 for page in frames)
    vfree(addr)
    fails(errno.EINVAL, lambda: vmalloc_to_pfn(addr), "in no vmalloc area")
    fails(errno.EINVAL, lambda: vfree(addr), "no vmalloc area starts")
    vfree(0)


def test_vmalloc_is_rounded_up_and_guarded() -> None:
    addr, after = vmalloc(PAGE_SIZE + 1), vmalloc(1)
    assert len(memory(addr, 2 * PAGE_SIZE)) == 2 * PAGE_SIZE
    fails(errno.EFAULT, lambda: memory(addr, 2 * PAGE_SIZE + 1), "is allocated")
    fails(errno.EFAULT, lambda: memory(addr + 2 * PAGE_SIZE, 1), "is allocated")
    fails(errno.EINVAL, lambda: vmalloc_to_page(addr + 2 * PAGE_SIZE), "in no vmalloc area")
    assert after >= addr + 3 * PAGE_SIZE
    fails(errno.EINVAL, lambda: vmalloc(0), "vmalloc of 0")


def test_vzalloc() -> None:
    addr = vmalloc(8 * PAGE_SIZE)
    memory(addr, 8 * PAGE_SIZE)[:] = b"x" * (8 * PAGE_SIZE)
    vfree(addr)
    for _ in range(40):
        assert not any(memory(vzalloc(8 * PAGE_SIZE), 8 * PAGE_SIZE))


def test_dma_memory() -> None:
    size = 3 * PAGE_SIZE
    addr, handle = dma_alloc_coherent(None, size)
    assert handle == virt_to_phys(addr)
    assert virt_to_phys(addr + size - 1) == handle + size - 1
    fails(errno.EINVAL, lambda: dma_free_coherent(None, size, addr, 0), "belong together")
    fails(
        errno.EINVAL, lambda: dma_free_coherent(None, PAGE_SIZE, addr, handle), "3 were allocated"
    )
    dma_free_coherent(None, size, addr, handle)
    fails(errno.EINVAL, lambda: dma_free_coherent(None, size, addr, handle), "double free")


def test_dma_memory_beyond_the_largest_block() -> None:
    size = (5 << 20) + 1
    addr, handle = dma_alloc_coherent(None, size)
    memory(addr, size)[-1] = 7
    dma_free_coherent(None, size, addr, handle)


# memory()


def test_memory_has_to_be_allocated() -> None:
    page = alloc_pages(1)
    addr = page_address(page)
    assert memory(addr, 2 * PAGE_SIZE).format == "B"
    __free_pages(page, 1)
    fails(errno.EFAULT, lambda: memory(addr, 1), "not all of")
    fails(errno.EFAULT, lambda: memory(0x1000, 1), "not all of")
    fails(errno.EINVAL, lambda: memory(addr, -1), "memory of -1")


def test_memory_stays_inside_a_small_object() -> None:
    addr = kmalloc(100)
    assert len(memory(addr + 28, 100)) == 100  # it has 128
    fails(errno.EFAULT, lambda: memory(addr + 29, 100), "not all of")
    kfree(addr)
    fails(errno.EFAULT, lambda: memory(addr, 1), "not all of")


def test_out_of_memory_says_so(memory: PhysicalMemory) -> None:
    before = memory.counts()
    fails(errno.ENOMEM, lambda: vmalloc(65 << 20), "out of memory")
    fails(errno.ENOMEM, lambda: kmalloc(64 << 20), "frames in a row wanted")
    fails(errno.ENOMEM, lambda: dma_alloc_coherent(None, 64 << 20), "frames in a row")
    assert memory.counts() == before


def test_pages_of_two_machines_differ() -> None:
    other = PhysicalMemory(1 << 20)
    assert Page(other, 5) != pfn_to_page(5)  # type: ignore[arg-type]
    other.close()
