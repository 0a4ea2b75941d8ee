"""Putting frames into a process's area: remap_pfn_range, vm_insert_page and their relatives.

Each checks its arguments as the kernel does, or gives an errno where the kernel would crash, and
then notes in the area what is wanted; the host carries it out after the operation. Nothing is noted
when a check fails. Whose frames they are is checked too: a driver can map its own only.
"""

import errno
from collections.abc import Sequence

from mapdev.linux.context import Context, FrameState, context
from mapdev.linux.fs import AddressSpace
from mapdev.linux.log import log
from mapdev.linux.numbers import (
    PAGE_ALIGN,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_USERMAP,
)
from mapdev.linux.page import Page, PG_slab
from mapdev.linux.vma import (
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VmAreaStruct,
    VmFault,
    is_cow_mapping,
    vm_flags_set,
    vma_pages,
)
from mapdev.linux.vmalloc import vmalloc_to_page

__all__ = [
    "CACHE_MASK", "CACHE_UNCACHED", "CACHE_WRITECOMBINE", "do_fault", "finish_fault",
    "io_remap_pfn_range", "pgprot_noncached", "pgprot_writecombine", "remap_pfn_range",
    "remap_vmalloc_range", "unmap_mapping_range", "vm_insert_page", "vm_insert_pages",
    "vm_iomap_memory", "vm_map_pages", "vmf_insert_pfn",
]  # fmt: skip

# mapdev's own: how a mapping is cached, as two bits above the PROT_* bits of a protection.
CACHE_UNCACHED = 1 << 16
CACHE_WRITECOMBINE = 1 << 17
CACHE_MASK = CACHE_UNCACHED | CACHE_WRITECOMBINE


def pgprot_noncached(prot: int) -> int:
    """Make a protection uncached, as for registers.

    Source: include/linux/pgtable.h
    Fidelity: noted, without effect on the embedded host, whose frames are ordinary cached memory.
    """
    return prot & ~CACHE_MASK | CACHE_UNCACHED


def pgprot_writecombine(prot: int) -> int:
    """Make a protection write-combining, as for framebuffers.

    Source: include/linux/pgtable.h
    Fidelity: as for `pgprot_noncached`.
    """
    return prot & ~CACHE_MASK | CACHE_WRITECOMBINE


def _own_frames(what: str, pfn: int, nr_pages: int) -> None:
    """Check that frames are allocated to the device whose code runs."""
    now = context()
    state = now.machine.frame(pfn)
    if nr_pages > 1:
        now.machine.frame(pfn + nr_pages - 1)  # so that a bad end is EINVAL whatever the frames are
    at, end = pfn, pfn + nr_pages
    while True:
        _check_own(what, now, at, state)
        at = state.head + state.nr_pages
        if at >= end:
            return
        state = now.machine.frame(at)


def _check_own(what: str, now: Context, pfn: int, state: FrameState) -> None:
    if state.nr_pages == 0:
        raise OSError(errno.EPERM, f"{what}: pfn {pfn:#x} is not allocated")
    if state.owner != now.owner:
        raise OSError(errno.EPERM, f"{what}: pfn {pfn:#x} belongs to {state.owner!r}")


def _invalid(what: str, why: str, error: int = errno.EINVAL) -> OSError:
    return OSError(error, f"{what}: {why}")


def remap_pfn_range(vma: VmAreaStruct, addr: int, pfn: int, size: int, prot: int) -> int:
    """Map frames in a row; for use in an mmap operation.

    Sets VM_IO, VM_PFNMAP, VM_DONTEXPAND and VM_DONTDUMP. The memory can't be used for O_DIRECT and
    the like: see `vm_insert_page`.

    :param vma: the area
    :param addr: the first user address, page-aligned
    :param pfn: the first frame
    :param size: bytes, rounded up to whole pages
    :param prot: usually ``vma.vm_page_prot``
    :return: 0
    :raises OSError: EINVAL, the address is not aligned, the size is 0, the range is not inside the
        area or in part mapped already, a frame does not exist, or the area is private and writable
        and the range is not all of it; EPERM, a frame is not allocated to this device

    Source: mm/memory.c
    Fidelity: the kernel crashes at size 0 and over something mapped, corrupts memory past the area,
    and maps any frame. With a private writable area it puts ``pfn`` into ``vm_pgoff``, as here.
    """
    what = "remap_pfn_range"
    if addr & ~PAGE_MASK:
        raise _invalid(what, f"address {addr:#x} is not page-aligned")
    if size <= 0:
        raise _invalid(what, f"size {size}")
    size = PAGE_ALIGN(size)
    end = addr + size
    if addr < vma.vm_start or end > vma.vm_end:
        raise _invalid(what, f"{addr:#x} to {end:#x} is not inside {vma!r}")
    private = is_cow_mapping(vma.vm_flags)
    if private and (addr != vma.vm_start or end != vma.vm_end):
        raise _invalid(what, "a private writable mapping has to be mapped in one piece")
    if vma.is_mapped(addr, end):
        raise _invalid(what, f"something in {addr:#x} to {end:#x} is mapped already")
    _own_frames(what, pfn, size >> PAGE_SHIFT)
    if private:
        vma.vm_pgoff = pfn
    vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP)
    vma.record(addr, pfn, size >> PAGE_SHIFT, "pfn", prot)
    return 0


def io_remap_pfn_range(vma: VmAreaStruct, addr: int, pfn: int, size: int, prot: int) -> int:
    """Map frames in a row that are a device's own memory; otherwise as `remap_pfn_range`.

    :param vma: the area
    :param addr: the first user address, page-aligned
    :param pfn: the first frame
    :param size: bytes, rounded up to whole pages
    :param prot: usually ``pgprot_noncached(vma.vm_page_prot)``
    :return: 0
    :raises OSError: as for `remap_pfn_range`

    Source: include/linux/mm.h
    """
    remap_pfn_range(vma, addr, pfn, size, prot)
    return 0


def vm_iomap_memory(vma: VmAreaStruct, start: int, length: int) -> int:
    """Map a device's own memory into a whole area, from the page at offset ``vma.vm_pgoff`` on.

    :param vma: the area
    :param start: physical address of the memory, in bytes
    :param length: of the memory, in bytes, rounded up to pages
    :return: 0
    :raises OSError: EINVAL, the area reaches past the memory; else as for `remap_pfn_range`

    Source: mm/memory.c
    """
    length += start & ~PAGE_MASK
    pages = PAGE_ALIGN(length) >> PAGE_SHIFT
    if length <= 0 or vma.vm_pgoff > pages or vma_pages(vma) > pages - vma.vm_pgoff:
        raise _invalid("vm_iomap_memory", f"{vma!r} reaches past {pages} pages")
    pfn = (start >> PAGE_SHIFT) + vma.vm_pgoff
    io_remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)
    return 0


def _check_insertable(what: str, page: Page) -> None:
    if not isinstance(page, Page):
        raise _invalid(what, f"{page!r:.60} is no page: alloc_page, virt_to_page... give one")
    state = page.state
    if state.refcount == 0:
        raise _invalid(
            what,
            f"pfn {page.pfn:#x} has no references: it is free, or part of a block that was "
            "allocated without __GFP_COMP",
        )
    _check_own(what, context(), page.pfn, state)
    if state.flags & 1 << PG_slab:
        raise _invalid(what, f"pfn {page.pfn:#x} is kmalloc'ed: use alloc_pages or vmalloc")


def vm_insert_page(vma: VmAreaStruct, addr: int, page: Page) -> int:
    """Map a page; for use in an mmap operation.

    Sets VM_MIXEDMAP. The mapping counts in the page's reference count and mapcount, and the memory
    can be used for O_DIRECT and the like.

    :param vma: the area
    :param addr: a user address in it
    :param page: an allocated page, not from `kmalloc`
    :return: 0
    :raises OSError: EFAULT, the address is outside of the area; EBUSY, it is mapped already;
        EINVAL, the page is free, kmalloc'ed or has no reference count of its own, or the area was
        filled by `remap_pfn_range`; EPERM, the page is not allocated to this device

    Source: mm/memory.c
    Fidelity: kernels before 6.14 take kmalloc'ed memory of more than two pages.
    """
    _check_insert("vm_insert_page", vma, addr, page)
    vma.vm_flags |= VM_MIXEDMAP
    vma.record(addr & PAGE_MASK, page.pfn, 1, "page", vma.vm_page_prot)
    return 0


def _check_insert(what: str, vma: VmAreaStruct, addr: int, page: Page) -> None:
    if not vma.vm_start <= addr < vma.vm_end:
        raise _invalid(what, f"{addr:#x} is outside of {vma!r}", errno.EFAULT)
    _check_insertable(what, page)
    if vma.vm_flags & VM_PFNMAP:
        raise _invalid(what, f"{vma!r} was filled by remap_pfn_range, which can't be mixed")
    addr &= PAGE_MASK
    if vma.is_mapped(addr, addr + PAGE_SIZE):
        raise _invalid(what, f"{addr:#x} is mapped already", errno.EBUSY)


def vm_insert_pages(vma: VmAreaStruct, addr: int, pages: Sequence[Page]) -> int:
    """Map several pages at addresses in a row.

    :param vma: the area
    :param addr: the first user address
    :param pages: as for `vm_insert_page`
    :return: 0
    :raises OSError: EFAULT, the range is not inside the area; else as for `vm_insert_page`, after
        which the pages before the bad one are mapped

    Source: mm/memory.c
    Fidelity: in C the number of pages is passed by reference and tells how many are left.
    """
    end = addr + (len(pages) << PAGE_SHIFT)
    if addr < vma.vm_start or end > vma.vm_end:
        raise _invalid(
            "vm_insert_pages", f"{addr:#x} to {end:#x} is not inside {vma!r}", errno.EFAULT
        )
    for index, page in enumerate(pages):
        vm_insert_page(vma, addr + (index << PAGE_SHIFT), page)
    return 0


def vm_map_pages(vma: VmAreaStruct, pages: Sequence[Page]) -> int:
    """Map pages into a whole area, from the page at offset ``vma.vm_pgoff`` on.

    :param vma: the area
    :param pages: all pages of the buffer
    :return: 0
    :raises OSError: ENXIO, the area reaches past the pages; else as for `vm_insert_page`

    Source: mm/memory.c
    """
    end = vma.vm_pgoff + vma_pages(vma)
    if vma.vm_pgoff >= len(pages) or end > len(pages):
        raise _invalid("vm_map_pages", f"{vma!r} reaches past {len(pages)} pages", errno.ENXIO)
    vm_insert_pages(vma, vma.vm_start, pages[vma.vm_pgoff : end])
    return 0


def remap_vmalloc_range(vma: VmAreaStruct, addr: int, pgoff: int) -> int:
    """Map memory from `vmalloc_user` into a whole area; for use in an mmap operation.

    Sets VM_DONTEXPAND and VM_DONTDUMP, and VM_MIXEDMAP as `vm_insert_page`.

    :param vma: the area, which is filled completely
    :param addr: what `vmalloc_user` gave
    :param pgoff: where in that memory to begin, in pages; often ``vma.vm_pgoff``
    :return: 0
    :raises OSError: EINVAL, no vmalloc'ed memory starts there, it isn't from `vmalloc_user`, or it
        ends before the area does; else as for `vm_insert_page`

    Source: mm/vmalloc.c
    """
    what = "remap_vmalloc_range"
    now = context()
    flags = now.machine.vmalloc_flags(addr)
    if not flags & VM_USERMAP:
        raise _invalid(what, f"{addr:#x} is not from vmalloc_user")
    nr_pages = now.machine.vmalloc_size(addr) >> PAGE_SHIFT
    if pgoff < 0 or pgoff + vma_pages(vma) > nr_pages:
        raise _invalid(what, f"{vma!r} from page {pgoff} on reaches past {nr_pages} pages")
    start = addr + (pgoff << PAGE_SHIFT)
    if vma.is_mapped(vma.vm_start, vma.vm_end):
        for offset in range(0, vma.vm_end - vma.vm_start, PAGE_SIZE):  # up to that
            vm_insert_page(vma, vma.vm_start + offset, vmalloc_to_page(start + offset))
    _check_insert(what, vma, vma.vm_start, vmalloc_to_page(start))  # true of one, true of all
    kind, runs = now.machine.vmalloc_runs(addr, pgoff, vma_pages(vma))
    vma.vm_flags |= VM_MIXEDMAP
    vma.record_runs(vma.vm_start, runs, kind, vma.vm_page_prot)
    vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP)
    return 0


def vmf_insert_pfn(vma: VmAreaStruct, addr: int, pfn: int) -> int:
    """Map a frame; for use in a fault operation of an area marked VM_PFNMAP or VM_MIXEDMAP.

    :param vma: the area of the fault
    :param addr: the user address of the fault
    :param pfn: the frame
    :return: VM_FAULT_NOPAGE, also when it is mapped already; VM_FAULT_SIGBUS, the address is
        outside of the area
    :raises OSError: EINVAL, the area is not marked, has both marks, or is private, writable and
        VM_PFNMAP (the kernel crashes), or there is no such frame; EPERM, the frame is not allocated
        to this device

    Source: mm/memory.c
    """
    what = "vmf_insert_pfn"
    marks = vma.vm_flags & (VM_PFNMAP | VM_MIXEDMAP)
    if marks not in (VM_PFNMAP, VM_MIXEDMAP):
        raise _invalid(what, f"{vma!r} is not marked VM_PFNMAP, or VM_MIXEDMAP")
    if marks == VM_PFNMAP and is_cow_mapping(vma.vm_flags):
        raise _invalid(what, f"{vma!r} is private and writable")
    if not vma.vm_start <= addr < vma.vm_end:
        return VM_FAULT_SIGBUS
    _own_frames(what, pfn, 1)
    addr &= PAGE_MASK
    if not vma.is_mapped(addr, addr + PAGE_SIZE):
        vma.record(addr, pfn, 1, "pfn", vma.vm_page_prot)
    return VM_FAULT_NOPAGE


def do_fault(vmf: VmFault) -> int:
    """Ask an area's fault operation, and map the page that it gives; the host calls it.

    :return: what the operation answered, VM_FAULT_SIGBUS where there is none
    :raises OSError: as for `finish_fault`, and whatever the operation raises

    Source: mm/memory.c
    """
    ops = vmf.vma.vm_ops
    if ops is None or ops.fault is None:
        return VM_FAULT_SIGBUS
    answer = ops.fault(vmf) or 0
    nothing = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY
    if isinstance(answer, int) and not answer & nothing:
        try:
            finish_fault(vmf)
        except OSError as error:  # a mistake of the driver, which answers no call that would tell
            log.error("%s; the client gets SIGBUS", error.strerror)
            return VM_FAULT_SIGBUS
    return answer


def finish_fault(vmf: VmFault) -> None:
    """Map the page that a fault operation left in ``vmf.page``; see `do_fault`.

    :raises OSError: EINVAL, there is no page, or it is free or kmalloc'ed; EPERM, it is not
        allocated to this device

    Source: mm/memory.c
    """
    what = "finish_fault"
    if vmf.page is None:
        raise _invalid(what, "the fault operation set no page and did not answer VM_FAULT_NOPAGE")
    _check_insertable(what, vmf.page)
    vma, addr = vmf.vma, vmf.address & PAGE_MASK
    if not vma.is_mapped(addr, addr + PAGE_SIZE):
        vma.record(addr, vmf.page.pfn, 1, "page", vma.vm_page_prot)


def unmap_mapping_range(
    mapping: AddressSpace, holebegin: int, holelen: int, even_cows: int = 1
) -> None:
    """Take pages of a device out of all areas that map them: the next touch is a fault again.

    :param mapping: ``file.f_mapping`` or ``inode.i_mapping``
    :param holebegin: offset in the device's file, in bytes, rounded down to a page
    :param holelen: bytes, rounded up to pages; 0 means to the end
    :param even_cows: private copies go too (in the kernel)

    Source: mm/memory.c
    Fidelity: private copies always go.
    """
    context().machine.unmap_mapping_range(mapping.host, holebegin, holelen)
