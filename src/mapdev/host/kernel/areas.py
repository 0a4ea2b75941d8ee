"""Areas of our devices: mmap, page faults, and what becomes of an area in its life.

The kernel has the page tables. What an operation asks to be mapped is noted in its `VmAreaStruct`,
sent along with the reply, and forgotten. An area is known here while it has operations: without
any, nobody will ask.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from mapdev.host.device import Device
from mapdev.host.dispatch import Dispatcher
from mapdev.host.kernel import uapi
from mapdev.host.kernel.buffers import Buffers
from mapdev.host.kernel.control import Control, Request, Vma
from mapdev.host.kernel.files import Files, Handler
from mapdev.host.kernel.machine import KernelMachine
from mapdev.host.kernel.tasks import ClientTask
from mapdev.linux.log import log
from mapdev.linux.mapping import CACHE_UNCACHED, CACHE_WRITECOMBINE, do_fault
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
)
from mapdev.linux.page import Page
from mapdev.linux.vma import (
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    Kind,
    VmAreaStruct,
    VmFault,
)

_MAY_SET = VM_IO | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | VM_PFNMAP | VM_MIXEDMAP
_MAY_CLEAR = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
_KINDS = {"pfn": uapi.MAP_PFN, "page": uapi.MAP_PAGE, "vmalloc": uapi.MAP_PAGE}
_OPERATIONS = {
    "fault": uapi.VMOP_FAULT,
    "page_mkwrite": uapi.VMOP_PAGE_MKWRITE,
    "pfn_mkwrite": uapi.VMOP_PFN_MKWRITE,
    "may_split": uapi.VMOP_MAY_SPLIT,
    "mremap": uapi.VMOP_MREMAP,
    "mprotect": uapi.VMOP_MPROTECT,
    "access": uapi.VMOP_ACCESS,
    "map_pages": uapi.VMOP_FAULT | uapi.VMOP_AROUND,
}


class _Area:
    __slots__ = ("device", "vma")

    def __init__(self, device: Device, vma: VmAreaStruct) -> None:
        self.device = device
        self.vma = vma


class Areas:
    """All areas with operations, by the module's number."""

    def __init__(
        self, control: Control, dispatch: Dispatcher, machine: KernelMachine, files: Files
    ) -> None:
        self._control = control
        self._dispatch = dispatch
        self._machine = machine
        self._files = files
        self._by_id: dict[int, _Area] = {}
        self.handlers: dict[int, Handler] = {
            uapi.MMAP: self._mmap,
            uapi.FAULT: self._fault,
            uapi.PAGE_MKWRITE: self._mkwrite,
            uapi.PFN_MKWRITE: self._mkwrite,
            uapi.MAY_SPLIT: self._may_split,
            uapi.MREMAP: self._mremap,
            uapi.MPROTECT: self._mprotect,
            uapi.ACCESS: self._access,
            uapi.VMA_OPEN: self._opened,
            uapi.VMA_CLOSE: self._closed,
            uapi.VMA_ABORT: self._aborted,
        }

    def known(self, number: int) -> VmAreaStruct | None:
        """Return an area by the module's number."""
        area = self._by_id.get(number)
        return area.vma if area is not None else None

    # --- mmap -------------------------------------------------------------------------------

    def _mmap(self, request: Request, task: ClientTask) -> None:
        open_file = self._files.of(request)
        vma = VmAreaStruct(*request.vma, vm_file=open_file.file, vm_mm=task.mm)
        before = vma.vm_flags
        self._dispatch.mmap(open_file.device, task, open_file.file, vma)
        mappings = self._mappings(vma)
        operations = _operations(vma)
        head = uapi.Mmap(
            set_flags=vma.vm_flags & ~before & _MAY_SET,
            clear_flags=before & ~vma.vm_flags & _MAY_CLEAR,
            vm_ops=operations,
            cache=_cache(vma.vm_page_prot),
            nr_mappings=len(mappings),
        )
        vma.start_over()
        if operations:
            self._by_id[request.area] = _Area(open_file.device, vma)
        self._answer(request, 0, bytes(head), mappings)

    def _answer(
        self, request: Request, result: int, head: bytes, mappings: list[uapi.Mapping]
    ) -> None:
        data = head + b"".join(map(bytes, mappings))
        if not self._control.answer(request.id, result, data):
            self._by_id.pop(request.area, None)
            raise OSError(errno.ENOMEM, f"{len(mappings)} runs of pages are too many at once")

    def _mappings(self, vma: VmAreaStruct) -> list[uapi.Mapping]:
        """Return what the driver asked for, in the fewest mappings, by ascending address."""
        found: list[uapi.Mapping] = []
        last: tuple[int, ...] = ()
        for addr, pfn, nr_pages, kind, prot in sorted(vma.mapped):
            for buffer, page, count in _pieces(self._machine.buffers, pfn, nr_pages, kind):
                key = buffer, _KINDS[kind], _cache(prot), page, addr
                if found and key == last:
                    found[-1].nr_pages += count
                else:
                    found.append(uapi.Mapping(
                        addr=addr, pgoff=page, nr_pages=count, buffer=buffer, kind=_KINDS[kind],
                        cache=_cache(prot)))  # fmt: skip
                addr += count << PAGE_SHIFT
                last = *key[:3], page + count, addr
        return found

    # --- faults -----------------------------------------------------------------------------

    def _look_up(self, request: Request, task: ClientTask) -> _Area:
        area = self._by_id[request.area]
        _update(area.vma, request.vma)
        area.vma.vm_mm = task.mm
        return area

    def _fault(self, request: Request, task: ClientTask) -> None:
        area = self._look_up(request, task)
        vma = area.vma
        address, flags, _, first, last = request.arg[:5]
        vmf = VmFault(vma, address, flags)
        answer = self._ask(area, vmf, task, first, last)
        mappings = self._mappings(vma)
        vma.start_over()
        if vmf.page is not None:
            self._machine.put_page(vmf.page.pfn)  # the mapping has a reference of its own then
        if answer & VM_FAULT_RETRY:
            answer = VM_FAULT_NOPAGE  # to be tried again
        elif not answer & VM_FAULT_ERROR:
            answer &= ~VM_FAULT_NOPAGE  # it is there with the reply
        if answer & (VM_FAULT_ERROR | VM_FAULT_NOPAGE):
            mappings = []
        self._answer(request, answer, b"", mappings)

    def _ask(self, area: _Area, vmf: VmFault, task: ClientTask, first: int, last: int) -> int:
        vma, page = area.vma, vmf.address & -PAGE_SIZE
        ops = vma.vm_ops
        assert ops is not None
        if ops.map_pages is not None and not vmf.flags & FAULT_FLAG_WRITE:
            offset = vma.vm_pgoff - (vma.vm_start >> PAGE_SHIFT)
            start, end = (first >> PAGE_SHIFT) + offset, (last >> PAGE_SHIFT) + offset - 1
            self._run(area, task, "vm_map_pages", ops.map_pages, vmf, start, end)
            if vma.is_mapped(page, page + PAGE_SIZE):
                return VM_FAULT_NOPAGE
        answer = self._run(area, task, "vm_fault", do_fault, vmf)
        if answer & (VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY):
            vmf.page = None  # not given to us
        if not answer & (VM_FAULT_ERROR | VM_FAULT_RETRY) and not vma.is_mapped(
            page, page + PAGE_SIZE
        ):
            log.error("%s: fault mapped nothing at %#x; the client gets SIGBUS",
                      area.device.node, page)  # fmt: skip
            return VM_FAULT_SIGBUS
        return answer

    def _mkwrite(self, request: Request, task: ClientTask) -> None:
        area = self._look_up(request, task)
        ops = area.vma.vm_ops
        assert ops is not None
        address, flags, _, pfn = request.arg[:4]
        vmf = VmFault(area.vma, address, flags)
        if request.op == uapi.PAGE_MKWRITE:
            vmf.page = Page(self._machine, pfn)
            answer = self._run(area, task, "vm_page_mkwrite", ops.page_mkwrite, vmf)
        else:
            answer = self._run(area, task, "vm_pfn_mkwrite", ops.pfn_mkwrite, vmf)
        self._control.answer(request.id, answer)

    def _run(self, area: _Area, task: ClientTask, name: str, function: Any, *args: Any) -> int:
        return self._dispatch.fault(area.device, task, name, function, *args)

    def _access(self, request: Request, task: ClientTask) -> None:
        area = self._look_up(request, task)
        ops = area.vma.vm_ops
        assert ops is not None
        addr, size, write = request.arg[:3]
        data = memoryview(bytearray(task.payload if write else size))
        count = self._dispatch.access(area.device, task, ops.access, area.vma, addr, data, write)
        self._control.answer(request.id, count, b"" if write else data[:count])

    # --- an area's life ---------------------------------------------------------------------

    def _may_split(self, request: Request, task: ClientTask) -> None:
        self._call(request, task, "may_split", self._look_up(request, task).vma, request.arg[0])

    def _mremap(self, request: Request, task: ClientTask) -> None:
        self._call(request, task, "mremap", self._look_up(request, task).vma)

    def _mprotect(self, request: Request, task: ClientTask) -> None:
        vma = self._look_up(request, task).vma
        self._call(request, task, "mprotect", vma, *request.arg[:3])

    def _call(self, request: Request, task: ClientTask, name: str, *args: Any) -> None:
        area = self._by_id[request.area]
        function = getattr(area.vma.vm_ops, name)
        self._dispatch.run(area.device, task, f"vm_{name}", function, *args)
        self._control.answer(request.id, 0)

    def _opened(self, request: Request, task: ClientTask) -> None:
        """A copy of an area, as vm_area_dup makes it before ``->open`` is called."""
        original = self._by_id.get(request.arg[0])
        if original is None:
            return
        before = original.vma
        vma = VmAreaStruct(*request.vma, before.vm_page_prot, before.vm_file, task.mm)
        vma.vm_ops, vma.vm_private_data = before.vm_ops, before.vm_private_data
        self._by_id[request.area] = _Area(original.device, vma)
        self._notify(original.device, task, "open", vma)

    def _closed(self, request: Request, task: ClientTask) -> None:
        area = self._by_id.pop(request.area, None)
        if area is not None:
            _update(area.vma, request.vma)
            self._notify(area.device, task, "close", area.vma)

    def _notify(self, device: Device, task: ClientTask, name: str, vma: VmAreaStruct) -> None:
        function: Callable[[VmAreaStruct], None] | None = getattr(vma.vm_ops, name)
        if function is not None:
            self._dispatch.notify_area(device, task, f"vm_{name}", function, vma)

    def _aborted(self, request: Request, task: ClientTask) -> None:
        """The module or the kernel refused what mmap asked for."""
        self._by_id.pop(request.area, None)


def _pieces(buffers: Buffers, pfn: int, nr_pages: int, kind: Kind) -> list[tuple[int, int, int]]:
    """Give what frames in a row are in: number of the buffer, page of it, number of pages."""
    if kind == "vmalloc":
        buffer = buffers.of_area(pfn << PAGE_SHIFT)
        assert buffer is not None  # what was checked a moment ago
        return [(buffer.id, pfn - (buffer.address >> PAGE_SHIFT), nr_pages)]
    try:
        return [(buffer.id, page, count) for buffer, page, count in buffers.pieces(pfn, nr_pages)]
    except KeyError:
        raise OSError(errno.EPERM, f"pfn {pfn:#x} is in no buffer") from None


def _operations(vma: VmAreaStruct) -> int:
    if vma.vm_ops is None:
        return 0
    bits = uapi.VMOP_NOTICES  # so that we know when the area is gone
    for name, bit in _OPERATIONS.items():
        if getattr(vma.vm_ops, name) is not None:
            bits |= bit
    return bits


def _cache(prot: int) -> int:
    if prot & CACHE_WRITECOMBINE:
        return uapi.WRITECOMBINE
    return uapi.UNCACHED if prot & CACHE_UNCACHED else uapi.CACHED


def _update(vma: VmAreaStruct, now: Vma) -> None:
    vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_flags = now
