"""`Areas` answers the module's requests about areas: mmap, page faults, ``vm_operations_struct``.

The kernel has the page tables. What an operation asks to be mapped is noted in its `VmAreaStruct`,
sent along with the reply, and forgotten. An area is known here while it has operations: without
any, nobody will ask.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from mapdev.host.core.device import Device
from mapdev.host.core.faults import Faults, is_refused
from mapdev.host.core.operations import Operations
from mapdev.host.kernel import request as at
from mapdev.host.kernel import uapi
from mapdev.host.kernel.buffers import Buffers
from mapdev.host.kernel.call import ANSWERED, KernelCall
from mapdev.host.kernel.control import Control
from mapdev.host.kernel.devices import Devices
from mapdev.host.kernel.machine import KernelMachine
from mapdev.linux.mapping import CACHE_UNCACHED, CACHE_WRITECOMBINE
from mapdev.linux.numbers import (
    PAGE_SHIFT,
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
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
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
    __slots__ = ("device", "request", "vma")

    def __init__(self, device: Device, vma: VmAreaStruct, request: int = 0) -> None:
        self.device = device
        self.vma = vma
        self.request = request  # the MMAP that made it; 0: it is a copy


class Areas:
    """Answers requests about areas; keeps those with operations, by the module's number."""

    def __init__(
        self, control: Control, operations: Operations, machine: KernelMachine, devices: Devices
    ) -> None:
        self._control = control
        self._operations = operations
        self._machine = machine
        self._devices = devices
        self._faults = Faults(operations)
        self._by_id: dict[int, _Area] = {}
        self.handlers: dict[int, Callable[[KernelCall], Any]] = {
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

    def mapped(self) -> list[tuple[int, Device, VmAreaStruct]]:
        """Return all areas that have operations, with their process and device."""
        return [
            (area.vma.vm_mm.task.tgid, area.device, area.vma)
            for area in self._by_id.values()
            if area.vma.vm_mm is not None
        ]

    # --- mmap -------------------------------------------------------------------------------

    def _mmap(self, call: KernelCall) -> object:
        task = call.task
        vma = VmAreaStruct(*_vma(call), vm_file=call.file.file, vm_mm=task.mm)
        before = vma.vm_flags
        self._operations.mmap(task, call.file, vma)
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
            self._by_id[call.got[at.AREA]] = _Area(call.file.device, vma, call.id)
        return self._answer(call, 0, bytes(head), mappings)

    def _answer(
        self, call: KernelCall, result: int, head: bytes, mappings: list[uapi.Mapping]
    ) -> object:
        data = head + b"".join(map(bytes, mappings))
        if not self._control.answer(call.id, result, data):
            self._by_id.pop(call.got[at.AREA], None)
            raise OSError(errno.ENOMEM, f"{len(mappings)} runs of pages are too many at once")
        return ANSWERED

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

    def _look_up(self, call: KernelCall) -> _Area:
        area = self._by_id[call.got[at.AREA]]
        _update(area.vma, call)
        area.vma.vm_mm = call.task.mm
        return area

    def _fault(self, call: KernelCall) -> object:
        area = self._look_up(call)
        vma = area.vma
        address, flags, _, first, last = call.got[at.ARG0 : at.ARG5]
        vmf = VmFault(vma, address, flags)
        offset = vma.vm_pgoff - (vma.vm_start >> PAGE_SHIFT)
        around = (first >> PAGE_SHIFT) + offset, (last >> PAGE_SHIFT) + offset - 1
        answer = self._faults.fault(area.device, call.task, vmf, *around)
        mappings = [] if is_refused(answer) else self._mappings(vma)
        vma.start_over()
        if vmf.page is not None:
            self._machine.put_page(vmf.page.pfn)  # the mapping has a reference of its own then
        if answer & VM_FAULT_RETRY:
            answer, mappings = VM_FAULT_NOPAGE, []  # to be tried again
        elif not is_refused(answer):
            answer &= ~VM_FAULT_NOPAGE  # it is there with the reply
        return self._answer(call, answer, b"", mappings)

    def _mkwrite(self, call: KernelCall) -> int:
        area = self._look_up(call)
        address, flags, _, pfn = call.got[at.ARG0 : at.ARG4]
        vmf = VmFault(area.vma, address, flags)
        if call.got[at.OP] == uapi.PAGE_MKWRITE:
            vmf.page = Page(self._machine, pfn)
        answer = self._faults.mkwrite(area.device, call.task, vmf)
        return VM_FAULT_NOPAGE if answer & VM_FAULT_RETRY else answer

    def _access(self, call: KernelCall) -> object:
        area = self._look_up(call)
        ops = area.vma.vm_ops
        assert ops is not None
        addr, size, write = call.got[at.ARG0 : at.ARG3]
        data = memoryview(bytearray(call.payload if write else size))
        count = self._operations.access(
            area.device, call.task, ops.access, area.vma, addr, data, write
        )
        self._control.answer(call.id, count, b"" if write else data[:count])
        return ANSWERED

    # --- an area's life ---------------------------------------------------------------------

    def _may_split(self, call: KernelCall) -> int:
        return self._run(call, "may_split", self._look_up(call).vma, call.got[at.ARG0])

    def _mremap(self, call: KernelCall) -> int:
        return self._run(call, "mremap", self._look_up(call).vma)

    def _mprotect(self, call: KernelCall) -> int:
        vma = self._look_up(call).vma
        return self._run(call, "mprotect", vma, *call.got[at.ARG0 : at.ARG3])

    def _run(self, call: KernelCall, name: str, *args: Any) -> int:
        area = self._by_id[call.got[at.AREA]]
        function = getattr(area.vma.vm_ops, name)
        self._operations.check(area.device, call.task, f"vm_{name}", function, *args)
        return 0

    def _opened(self, call: KernelCall) -> None:
        """A copy of an area, as vm_area_dup makes it before ``->open`` is called."""
        original = self._by_id.get(call.got[at.ARG0])
        if original is None:
            return
        before = original.vma
        vma = VmAreaStruct(*_vma(call), before.vm_page_prot, before.vm_file, call.task.mm)
        vma.vm_ops, vma.vm_private_data = before.vm_ops, before.vm_private_data
        self._by_id[call.got[at.AREA]] = _Area(original.device, vma)
        self._notify(original.device, call, "open", vma)

    def _closed(self, call: KernelCall) -> None:
        area = self._by_id.pop(call.got[at.AREA], None)
        if area is not None:
            _update(area.vma, call)
            self._notify(area.device, call, "close", area.vma)

    def undo(self, call: KernelCall, request: int) -> None:
        """Close the area that an MMAP made whose client had left when the answer came."""
        area = self._by_id.get(call.got[at.AREA])
        if area is not None and area.request == request:
            del self._by_id[call.got[at.AREA]]
            self._notify(area.device, call, "close", area.vma)

    def _notify(self, device: Device, call: KernelCall, name: str, vma: VmAreaStruct) -> None:
        function: Callable[[VmAreaStruct], None] | None = getattr(vma.vm_ops, name)
        if function is not None:
            self._operations.notify_area(device, call.task, f"vm_{name}", function, vma)

    def _aborted(self, call: KernelCall) -> None:
        """The module or the kernel refused what mmap asked for."""
        self._by_id.pop(call.got[at.AREA], None)


def _vma(call: KernelCall) -> tuple[int, int, int, int]:
    got = call.got
    return got[at.VM_START], got[at.VM_END], got[at.VM_PGOFF], got[at.VM_FLAGS]


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


def _update(vma: VmAreaStruct, call: KernelCall) -> None:
    vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_flags = _vma(call)
