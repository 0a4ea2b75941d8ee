"""Handles page faults of one client: asks the driver for the page and has it mapped.

What is not mapped yet is anonymous memory, each touch of which a userfaultfd reports. The driver
says which frame it shall be, and the client's `Worker` maps it there; then the thread that waits
goes on. Where the driver says SIGBUS, the thread is stepped over its instruction while there is a
page beyond the end of memory: the signal is the kernel's own, with the address as it was touched.

Objects: a `UserfaultHandler` lives as long as its client's address space. Used in the host's thread
only.

Source: mm/memory.c (do_read_fault, do_shared_fault, do_cow_fault, wp_page_shared)
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque

from mapdev.host.core.faults import BUS_ADRERR, Faults, FaultSignal, is_refused, signal_of
from mapdev.host.core.operations import Operations
from mapdev.host.embedded.faults.page_table import ClientPageTable
from mapdev.host.embedded.faults.userfault import (
    Fault,
    Userfault,
)
from mapdev.host.embedded.inject.batch import Request
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.thread import PTRACE_EVENT_STOP, PTRACE_SINGLESTEP, StoppedThread
from mapdev.host.embedded.inject.tracee import (
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    ClientGone,
    NotStoppable,
    Tracee,
)
from mapdev.host.embedded.inject.worker import start_worker
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import (
    has_memory,
    is_in_user_mode,
    is_thread_of,
)
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_SHARED,
)
from mapdev.linux.page import Page, put_page
from mapdev.linux.vma import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_INTERRUPTIBLE,
    FAULT_FLAG_KILLABLE,
    FAULT_FLAG_MKWRITE,
    FAULT_FLAG_ORIG_PTE_VALID,
    FAULT_FLAG_USER,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_RETRY,
    Mapped,
    VmFault,
)

_FLAGS = (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE
          | FAULT_FLAG_USER)  # fmt: skip
_ENOUGH = 0.005  # seconds in which a thread that was woken touches its page again
_TRIES = 8  # how often a driver may answer VM_FAULT_RETRY where nobody else can be served meanwhile
_TABLE = 1 << 21  # bytes that the pages of one page table have
_AROUND = 16  # pages that a driver's map_pages is asked for at once, as fault_around_bytes


class UserfaultHandler(ClientPageTable):
    """Handles page faults of one client.

    :param operations: calls the driver.
    :param thread: a stopped thread of the client, in which its worker is started.
    :param page: the memory of its parent's worker, of which it has a copy, or 0.
    :ivar stale: pages that can't be touched for a moment, so that a system call fails.
    """

    def __init__(
        self,
        injector: Injector,
        operations: Operations,
        space: MmAreas,
        userfault: Userfault,
        thread: StoppedThread,
        page: int,
    ) -> None:
        worker = start_worker(injector, thread, page, self._give_up)
        try:
            super().__init__(injector, space, worker, userfault)
        except BaseException:
            worker.close()
            raise
        self._messages = injector.messages
        self._operations = operations
        self._mappings = injector.mappings
        self._faults = Faults(operations)
        self.stale: deque[tuple[int, float]] = deque()
        self._shares_numbers: bool | None = None  # with us: whether it is in our PID namespace
        self._watcher.watch(userfault.fd, self.serve)

    def serve(self) -> None:
        """Answer the faults that have come."""
        for fault in self._userfault.read():
            if not self._closed:
                try:
                    self._in_client(self._answer, fault)
                except OSError as error:
                    self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """End a client in which a page can't be mapped, as when memory is out: it can't go on."""
        if not has_memory(self._space.tgid):
            self.close()  # it has ended
            return
        self._messages.say_of(
            "pages", self._space.tgid,
            f"touched a page of a device that can't be mapped in it, so it is killed: {error}. "
            "If it has too many areas, raise vm.max_map_count (sysctl)",
        )  # fmt: skip
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._space.tgid, signal.SIGKILL)

    def _answer(self, fault: Fault) -> None:
        page = fault.address & PAGE_MASK
        if not self._space.seen and not self._mappings.window.holds(page, page + PAGE_SIZE):
            self._mappings.refresh()  # its access may have changed since
        area = self._space.find(page)
        if area is None or not area.faults:
            self._userfault.unregister(page, page + PAGE_SIZE)  # gone while it was touched
            return
        task = self._task(fault.tid)
        if fault.is_protection:
            self._refuse(fault.tid, area, page, self._allow_write(area, page, task))
        elif area.is_mapped(page, page + PAGE_SIZE):
            self._wake(page, page + PAGE_SIZE)  # another thread's fault was first
        else:
            self._refuse(fault.tid, area, page, self.bring(area, page, fault.is_write, task))

    def _task(self, tid: int) -> TaskStruct:
        # In another PID namespace than ours the number means somebody else.
        tgid = self._space.tgid
        if self._shares_numbers is None:
            self._shares_numbers = is_thread_of(tid, tgid)
        pid = tid if self._shares_numbers else tgid
        return self._mappings.client(pid, tgid)

    def bring(
        self, area: DeviceArea, page: int, is_write: bool, task: TaskStruct, wait: bool = False
    ) -> int:
        """Ask the driver for the page at address `page` and map it.

        :param wait: until it is mapped; else only those who touch it have to wait.
        :return: as `Faults.fault` and `Faults.mkwrite`.
        """
        if area.lease not in self._mappings.leases:
            raise ClientGone  # killed: its worker is gone already, this thread is about to go
        flags = _FLAGS | (FAULT_FLAG_WRITE if is_write else 0)
        if self._has_table(page):
            flags |= FAULT_FLAG_ORIG_PTE_VALID
        vmf = VmFault(area, page, flags)
        area.fresh = []
        try:
            answer = self._ask(area, vmf, is_write, task)
        finally:
            fresh, area.fresh = area.fresh, None
        if fresh:
            self._mappings.leases.extend(area.lease, fresh)
        if vmf.page is not None:
            put_page(vmf.page)  # the mapping has a reference of its own now
        told = _is_told_of_writes(area)
        if wait or told or area.vm_flags & VM_DONTCOPY or len(fresh) > _AROUND:
            self._map_now(area, fresh, page if is_write else None, told)
        elif fresh:
            self._post(area, fresh)
        return answer

    def _has_table(self, page: int) -> bool:
        """Say whether a page has been mapped that is in the same page table as `page`."""
        start = page & -_TABLE
        return any(
            area.is_mapped(max(start, area.vm_start), min(start + _TABLE, area.vm_end))
            for area in self._space.overlapping(start, start + _TABLE)
        )

    def _map_now(
        self, area: DeviceArea, fresh: list[Mapped], written: int | None, told: bool
    ) -> None:
        """Map what a fault has brought, and let those who wait for it go on.

        :param written: a page that is being written, of which the driver knows.
        :param told: it is to know of writes to the others.
        """
        try:
            self._map(area, fresh)
        except OSError:
            for run in fresh:
                area.forget(run.addr, run.end)
            raise
        for run in fresh:
            if told and not (written is not None and run.addr <= written < run.end):
                self._protect(run.addr, run.end)
            self._wake(run.addr, run.end)

    def _ask(self, area: DeviceArea, vmf: VmFault, is_write: bool, task: TaskStruct) -> int:
        page = vmf.address
        answer = self._faults.fault(area.open_file.device, task, vmf, *_around(area, vmf.pgoff))
        if answer & (VM_FAULT_ERROR | VM_FAULT_RETRY):
            return answer
        # Where writes can't be noticed later, each page counts as written when it comes.
        written = is_write or not self._userfault.can_protect
        if written and area.vm_flags & VM_SHARED and (answer := self._mkwrite(area, page, task)):
            refused = [run for run in area.fresh or () if run.addr <= page < run.end]
            for run in refused:
                area.forget(run.addr, run.end)
            area.fresh = [run for run in area.fresh or () if run not in refused]
            return answer
        return 0

    def _mkwrite(self, area: DeviceArea, page: int, task: TaskStruct) -> int:
        """Tell the driver of the first write to a page; see `Faults.mkwrite`."""
        run = next(run for run in area.mapped if run.addr <= page < run.end)
        vmf = VmFault(area, page, _FLAGS | FAULT_FLAG_WRITE | FAULT_FLAG_MKWRITE)
        if run.kind == "page":
            vmf.page = Page(self._operations.machine, run.pfn + (page - run.addr >> PAGE_SHIFT))
        return self._faults.mkwrite(area.open_file.device, task, vmf)

    def _allow_write(self, area: DeviceArea, page: int, task: TaskStruct) -> int:
        """Let a page be written for the first time, if the driver allows it; its answer."""
        if page not in self._protected or not area.is_mapped(page, page + PAGE_SIZE):
            return VM_FAULT_RETRY  # taken away while it was touched, or allowed to another thread
        if answer := self._mkwrite(area, page, task):
            return answer
        self._protected.discard(page)
        self._userfault.write_protect(page, page + PAGE_SIZE, on=False)
        return 0

    def bring_in(
        self, start: int, end: int, is_write: bool, task: TaskStruct, area: DeviceArea
    ) -> bool:
        """Bring in all pages of [`start`, `end`) of `area`; False if one can't be had."""
        for first, last in list(area.holes(start & PAGE_MASK, end + PAGE_SIZE - 1 & PAGE_MASK)):
            for page in range(first, last, PAGE_SIZE):
                if not self._bring_now(area, page, is_write, task):
                    return False
        if is_write and self._protected:
            for page in range(start & PAGE_MASK, end, PAGE_SIZE):
                if page in self._protected and not self._allow_write_now(area, page, task):
                    return False
        return True

    def _allow_write_now(self, area: DeviceArea, page: int, task: TaskStruct) -> bool:
        for _ in range(_TRIES):
            answer = self._allow_write(area, page, task)
            if not answer & VM_FAULT_RETRY:
                return not answer
        return False

    def _bring_now(self, area: DeviceArea, page: int, is_write: bool, task: TaskStruct) -> bool:
        """Bring in a page that must be there afterwards: who asks can't be sent to ask again.

        What is there already is left alone: map_pages brings several.
        """
        for _ in range(_TRIES):
            if area.is_mapped(page, page + PAGE_SIZE):
                return True
            if is_refused(self.bring(area, page, is_write, task, wait=True)):
                return False
        return area.is_mapped(page, page + PAGE_SIZE)

    def _refuse(self, tid: int, area: DeviceArea, page: int, answer: int) -> None:
        """Have the thread that waits for `page` see the driver's answer, unless it has the page."""
        if is_refused(answer):
            what = signal_of(answer)
            if not is_in_user_mode(tid):
                self._fail_in_kernel(area, page)
                return
            if what is not None:
                self._send_signal(tid, area, page, what)
                return
            answer = VM_FAULT_RETRY
        if answer & VM_FAULT_RETRY:
            self._wake(page, page + PAGE_SIZE)

    def _hole(self, area: DeviceArea, page: int) -> list[Request]:
        """Return a call that maps a page beyond the end of memory: a touch of it is SIGBUS."""
        return [self._mmap(area, page, page + PAGE_SIZE, self._mappings.nr_frames)]

    def _fail_in_kernel(self, area: DeviceArea, page: int) -> None:
        """Let the system call that waits for `page` fail with EFAULT; nobody can stop it there."""
        self.worker.run(self._hole(area, page))
        self._wake(page, page + PAGE_SIZE)
        self.stale.append((page, time.monotonic() + _ENOUGH))
        self._space.note_stale()

    def _send_signal(self, tid: int, area: DeviceArea, page: int, what: FaultSignal) -> None:
        """Let the thread that waits for `page` touch a page that never is there."""
        thread = Tracee(tid)
        try:
            thread.seize()
        except NotStoppable:
            self._fail_in_kernel(area, page)
            return
        except ClientGone:
            return
        self._step_into(thread, self._hole(area, page), what)
        self._renew(area, page, page + PAGE_SIZE)

    def _step_into(self, thread: Tracee, hole: list[Request], what: FaultSignal) -> None:
        """Let `thread` carry out the instruction at which it waits, with `hole` in its way.

        The SIGBUS that comes of it is the kernel's own, with the address as it was touched. If the
        driver asked for another signal, number and code are exchanged before it is delivered.
        """
        thread.ptrace(PTRACE_INTERRUPT)
        status = thread.wait()
        if status >> 8 == PTRACE_EVENT_STOP:
            self.worker.run(hole)
            thread.ptrace(PTRACE_SINGLESTEP)
            status = thread.wait()
        is_signal = not status >> 8 and status != signal.SIGTRAP
        if status == signal.SIGBUS and what.code != BUS_ADRERR:
            thread.change_signal(*what)
            status = what.signo
        thread.ptrace(PTRACE_DETACH, 0, status if is_signal else 0)

    def renew(self) -> None:
        """Let touches ask the driver again where a page was missing inside a system call."""
        now = time.monotonic()
        while self.stale and self.stale[0][1] <= now:
            page, _ = self.stale.popleft()
            area = self._space.find(page)
            if area is not None and area.faults:
                self._in_client(self._renew, area, page, page + PAGE_SIZE)


def _is_told_of_writes(area: DeviceArea) -> bool:
    ops = area.vm_ops
    return bool(
        ops is not None
        and (ops.page_mkwrite is not None or ops.pfn_mkwrite is not None)
        and area.vm_flags & VM_SHARED
    )


def _around(area: DeviceArea, pgoff: int) -> tuple[int, int]:
    """Return the first and last page around `pgoff` that map_pages may map."""
    start = pgoff & ~(_AROUND - 1)
    last = area.vm_pgoff + (area.vm_end - area.vm_start >> PAGE_SHIFT) - 1
    return max(start, area.vm_pgoff), min(start + _AROUND - 1, last)
