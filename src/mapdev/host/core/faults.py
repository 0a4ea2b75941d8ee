"""`Faults` calls a driver's map_pages, fault, page_mkwrite, pfn_mkwrite in the kernel's order.

`Faults` decides which operations of a `vm_operations_struct` run and what their answers mean. How a
page is put into a page table, and how a program gets its signal, is the host's business. Used under
the host's lock.

Source: mm/memory.c (do_read_fault, do_shared_fault, do_cow_fault, do_page_mkwrite)
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from mapdev.host.core.device import Device
from mapdev.host.core.operations import Operations
from mapdev.linux.log import log
from mapdev.linux.mapping import do_fault
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE
from mapdev.linux.vma import (
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_HWPOISON,
    VM_FAULT_HWPOISON_LARGE,
    VM_FAULT_LOCKED,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VmFault,
)

__all__ = ["FaultSignal", "Faults", "is_refused", "signal_of"]

BUS_ADRERR, BUS_MCEERR_AR = 2, 4
SEGV_MAPERR = 1


class FaultSignal(NamedTuple):
    """The signal that a program gets for a touch that the driver refused.

    :ivar signo: its number.
    :ivar code: its si_code.
    :ivar addr_lsb: the lowest valid bit of its address, for BUS_MCEERR_AR; else 0.
    """

    signo: int
    code: int
    addr_lsb: int = 0


def is_refused(answer: int) -> bool:
    """Say whether a fault was answered by an error: VM_FAULT_SIGBUS and its like."""
    return bool(answer & VM_FAULT_ERROR)


def signal_of(answer: int) -> FaultSignal | None:
    """Return the signal for a touch in user mode that was answered so; None: touch it again.

    In kernel mode, within a system call, each of these errors is EFAULT.

    Source: arch/x86/mm/fault.c (mm_fault_error, do_sigbus)
    """
    if answer & VM_FAULT_OOM:
        return None  # pagefault_out_of_memory() has the program try again
    if answer & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE):
        return FaultSignal(signal.SIGBUS, BUS_MCEERR_AR, PAGE_SHIFT)
    if answer & VM_FAULT_SIGSEGV and not answer & VM_FAULT_SIGBUS:
        return FaultSignal(signal.SIGSEGV, SEGV_MAPERR)
    return FaultSignal(signal.SIGBUS, BUS_ADRERR)


class Faults:
    """Runs the operations of a driver that answer page faults."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._unlocked: set[Device] = set()  # those of which that was said
        self._out_of_memory: set[Device] = set()  # likewise

    def fault(
        self, device: Device, task: TaskStruct, vmf: VmFault, first: int, last: int
    ) -> int:  # fmt: skip
        """Ask for the page that was touched: by map_pages, if it is only read, then by fault.

        What the driver maps is noted in ``vmf.vma``.

        :param first: file page (as ``vmf.pgoff``) of the first that map_pages may map.
        :param last: the last one.
        :return: VM_FAULT_NOPAGE the page is mapped; VM_FAULT_RETRY touch it again; or bits of
            VM_FAULT_ERROR, see `signal_of`.
        """
        vma, ops = vmf.vma, vmf.vma.vm_ops
        assert ops is not None
        page = vmf.address & -PAGE_SIZE
        if ops.map_pages is not None and not vmf.flags & FAULT_FLAG_WRITE:
            answer = self._operations.fault(
                device, task, "vm_map_pages", ops.map_pages, vmf, first, last
            )
            if answer & VM_FAULT_ERROR:
                return self._refused(device, answer)
            if vma.is_mapped(page, page + PAGE_SIZE):
                return VM_FAULT_NOPAGE
            if answer:
                return VM_FAULT_RETRY  # fault is asked only if that said nothing, as in the kernel
        answer = self._operations.fault(device, task, "vm_fault", do_fault, vmf)
        if answer & (VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY):
            vmf.page = None  # not given to the kernel: it stays with the driver
        if answer & VM_FAULT_RETRY:
            return VM_FAULT_RETRY
        if answer & VM_FAULT_ERROR:
            return self._refused(device, answer)
        if vma.is_mapped(page, page + PAGE_SIZE):
            return VM_FAULT_NOPAGE
        return VM_FAULT_RETRY  # VM_FAULT_NOPAGE without a page: as in C, it is touched again

    def mkwrite(self, device: Device, task: TaskStruct, vmf: VmFault) -> int:
        """Tell the driver of the first write to a page.

        That is page_mkwrite if ``vmf.page`` is set, else pfn_mkwrite.

        :return: 0 the page may be written, or there is no such operation; VM_FAULT_RETRY touch it
            again; or bits of VM_FAULT_ERROR.

        Source: mm/memory.c (do_page_mkwrite)
        """
        ops = vmf.vma.vm_ops
        if ops is None:
            return 0
        name = "page_mkwrite" if vmf.page is not None else "pfn_mkwrite"
        function = getattr(ops, name)
        if function is None:
            return 0
        answer = self._operations.fault(device, task, f"vm_{name}", function, vmf)
        if answer & VM_FAULT_ERROR:
            return self._refused(device, answer)
        if answer & VM_FAULT_NOPAGE:
            return VM_FAULT_RETRY
        if name == "page_mkwrite" and not answer & VM_FAULT_LOCKED:
            if device not in self._unlocked:
                self._unlocked.add(device)
                log.error(
                    "%s: page_mkwrite did not return VM_FAULT_LOCKED. The kernel takes a page of a "
                    "driver for truncated then, and the program touches it again, for ever: call "
                    "lock_page(vmf.page) and return VM_FAULT_LOCKED", device.node,
                )  # fmt: skip
            return VM_FAULT_RETRY
        return 0

    def _refused(self, device: Device, answer: int) -> int:
        """Say once, as the kernel does, that a program tries again for want of memory."""
        if answer & VM_FAULT_OOM and device not in self._out_of_memory:
            self._out_of_memory.add(device)
            log.error(
                "%s: a fault was answered by VM_FAULT_OOM: there is no memory for the page. The "
                "program touches it again, until there is; give the host more (--memory)",
                device.node,
            )
        return answer
