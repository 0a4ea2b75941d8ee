"""Pages that appear when they are touched: the faults of one client's areas, asked of the driver.

What is not there yet is anonymous memory of which a userfaultfd tells us each touch. The driver
says which frame it shall be, and the client's `Agent` maps it there; then the thread that waits
goes on. Where the driver says SIGBUS, the thread is stepped over its instruction while there is a
page beyond the end of memory: the signal is the kernel's own, with the address as it was touched.

Objects: a `Pager` lives as long as its client's address space; it owns the `Agent` and the
`UserFault`. Each area has a description of memory of its own in the agent's table, so that its
`Lease` ends when the area does. Used in the host's thread only.

Source: mm/memory.c (do_read_fault, do_shared_fault, do_cow_fault, wp_page_shared)
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from mapdev.host.embedded.agent import Agent, Request, start_agent
from mapdev.host.embedded.areas import DeviceArea, MmAreas
from mapdev.host.embedded.inject import PTRACE_EVENT_STOP, PTRACE_SINGLESTEP, StoppedThread
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.processes import (
    comm_of,
    has_memory,
    is_in_user_mode,
    is_thread_of,
    live_threads,
)
from mapdev.host.embedded.surgery import may_be_written
from mapdev.host.embedded.tracee import (
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    ClientGone,
    NotStoppable,
    Tracee,
)
from mapdev.host.embedded.userfault import (
    MODE_MINOR,
    MODE_MISSING,
    MODE_WP,
    Fault,
    UserFault,
    make_in,
)
from mapdev.linux.mapping import finish_fault
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_EXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.page import put_page
from mapdev.linux.vma import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_INTERRUPTIBLE,
    FAULT_FLAG_KILLABLE,
    FAULT_FLAG_MKWRITE,
    FAULT_FLAG_USER,
    FAULT_FLAG_WRITE,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    Mapped,
    VmFault,
)

_ULONG_MAX = (1 << 64) - 1
_FLAGS = (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE
          | FAULT_FLAG_USER)  # fmt: skip
_FAILED = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV
MADV_DONTNEED, MADV_DONTFORK = 4, 10
_ENOUGH = 0.005  # seconds in which a thread that was woken touches its page again
_TRIES = 8  # how often a driver may answer VM_FAULT_RETRY where nobody else can be served meanwhile
_AROUND = 16  # pages that a driver's map_pages is asked for at once, as fault_around_bytes


class Pager:
    """Brings pages into one client's areas.

    :param space: the client's areas.
    :param agent: who maps in the client.
    :param userfault: who tells of touches.
    :ivar stale: pages that can't be touched for a moment, so that a system call fails.
    """

    def __init__(self, kernel: Kernel, space: MmAreas, agent: Agent, userfault: UserFault) -> None:
        self.agent = agent
        self._kernel = kernel
        self._space = space
        self._userfault = userfault
        self._numbers: dict[int, int] = {}  # descriptors in the agent, by lease
        self._protected: set[int] = set()  # pages of whose first write the driver will be told
        self.stale: deque[tuple[int, float]] = deque()
        self._exiting: set[int] = set()
        self._closed = False
        kernel.spaces.watch(userfault.fd, self.serve)
        kernel.spaces.watch(agent.tie.fileno(), self.close)  # it never speaks unasked

    # --- areas ------------------------------------------------------------------------------

    def adopt(self, area: DeviceArea) -> int:
        """Lend the agent memory for `area` and return the index of its lease."""
        leases = self._kernel.machine.leases
        description, index = leases.open_description(may_be_written(area))
        try:
            self._numbers[index] = self.agent.lend(description)
        finally:
            os.close(description)
        return index

    def fill(self, area: DeviceArea, start: int, end: int) -> None:
        """Map what is mapped in [`start`, `end`) of `area`, and have the rest ask when touched."""
        piece = area.piece(start, end)
        self._map(area, piece.mapped)
        self.protect(self.protected(start, end))
        self.reserve(area, piece.holes(start, end))

    def reserve(self, area: DeviceArea, holes: Iterable[tuple[int, int]]) -> None:
        """Have touches of `holes` ask the driver."""
        how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
        holes = list(holes)
        for start, end in holes:
            arguments = (start, end - start, _access(area), how, _ULONG_MAX, 0)
            self.agent.run([("mmap", arguments, 4), *_not_for_children(area, start, end)])
        for start, end in holes:
            self._userfault.register(start, end, MODE_MISSING)

    def inherit(self, parent: Pager) -> None:
        """Continue in a child that was just forked what `parent` did for its process."""
        for area in self._space:
            if area.faults:
                lease = self.adopt(area)
                self._kernel.mapped(lease, area, self._space.tgid, holds=False)
                self._space.rebind(area, lease)
                if not _is_copied_by_fork(area):
                    area.forget(area.vm_start, area.vm_end)
                self.reserve(area, area.holes(area.vm_start, area.vm_end))
        for page in parent._protected:
            there = self._space.find(page)
            if there is not None and there.is_mapped(page, page + PAGE_SIZE):
                self._protect(page, page + PAGE_SIZE)

    def forget(self, area: DeviceArea) -> None:
        """`area` is gone, or will be as soon as the client's call goes on."""
        self._protected -= self.protected(area.vm_start, area.vm_end)
        # From now on nobody answers there, so that nobody must wait: least of all we ourselves.
        self._userfault.unregister(area.vm_start, area.vm_end)
        self.let_go(area.lease)

    def let_go(self, lease: int) -> None:
        """Take the memory of a lease back if no area has it any more."""
        if lease in self._numbers and not any(area.lease == lease for area in self._space):
            self._in_client(self.agent.take_back, self._numbers.pop(lease))

    def protected(self, start: int, end: int) -> set[int]:
        """Return the pages of [`start`, `end`) of whose first write the driver will be told."""
        return {page for page in self._protected if start <= page < end}

    def protect(self, pages: Iterable[int]) -> None:
        """Have the driver be told of the next write to each of `pages`."""
        for page in pages:
            self._protect(page, page + PAGE_SIZE)

    def zap(self, area: DeviceArea, start: int, end: int) -> None:
        """Take the pages of [`start`, `end`) away: the next touch asks the driver again.

        Other threads may touch them meanwhile, and must not find anything else there. So they stay
        where they are, out of the page table and with all touches told, until the driver's next
        answer takes their place.
        """
        self._in_client(self._zap, area, start, end)

    def _zap(self, area: DeviceArea, start: int, end: int) -> None:
        gone = area.piece(start, end).mapped
        area.forget(start, end)
        self._protected -= self.protected(start, end)
        for run in gone:
            if not area.vm_flags & VM_MAYWRITE:  # the kernel refuses to tell of those
                self._renew(area, run.addr, run.end)
                continue
            self._userfault.register(run.addr, run.end, MODE_MISSING | MODE_MINOR)
            where = run.addr, run.end - run.addr
            self.agent.run([("munlock", where, None), ("madvise", (*where, MADV_DONTNEED), None)])

    def _renew(self, area: DeviceArea, start: int, end: int) -> None:
        """Fill [`start`, `end`) anew, which the client may touch in between."""
        self.fill(area, start, end)
        for first, last in area.holes(start, end):
            self.agent.run([("madvise", (first, last - first, MADV_DONTNEED), None)])

    def is_told_of(self, page: int) -> bool:
        """Say whether a touch of the page at address `page`, were it not there, would be told."""
        return self._userfault.is_told_of(page)

    def about_to_exit(self, tid: int) -> None:
        """Thread `tid` is about to end; after the last one nobody must keep the process."""
        live = live_threads(self._space.tgid) - {self.agent.tid}
        self._exiting = self._exiting & live | {tid}
        if live <= self._exiting:
            self.close()

    def close(self) -> None:
        """The client is gone, or has executed another program."""
        if not self._closed:
            self._closed = True
            self._kernel.spaces.forget(self._userfault.fd)
            self._kernel.spaces.forget(self.agent.tie.fileno())
            self._userfault.close()
            self.agent.close()

    # --- faults -----------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer the faults that have come."""
        for fault in self._userfault.read():
            if not self._closed:
                try:
                    self._in_client(self._answer, fault)
                except OSError as error:
                    self._give_up(error)

    def _in_client(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except ClientGone:
            self.close()
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.ENOENT):  # it ended meanwhile
                raise

    def _give_up(self, error: OSError) -> None:
        """End a client in which a page can't be mapped, as when memory is out: it can't go on."""
        if not has_memory(self._space.tgid):
            self.close()  # it has ended
            return
        self._kernel.say_of(
            "pages", self._space.tgid,
            f"touched a page of a device that can't be mapped in it, so it is killed: {error}. "
            "If it has too many areas, raise vm.max_map_count (sysctl)",
        )  # fmt: skip
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._space.tgid, signal.SIGKILL)

    def _answer(self, fault: Fault) -> None:
        page = fault.address & PAGE_MASK
        area = self._space.find(page)
        if area is None or not area.faults:
            self._userfault.unregister(page, page + PAGE_SIZE)  # gone while it was touched
            return
        task = self._task(fault.tid)
        if fault.is_protection:
            if not self._allow_write(area, page, task):
                self._send_sigbus(fault.tid, area, page)
        elif area.is_mapped(page, page + PAGE_SIZE):
            self._userfault.wake(page, page + PAGE_SIZE)  # another thread's fault was first
        elif not self.bring(area, page, fault.is_write, task):
            self._send_sigbus(fault.tid, area, page)

    def _task(self, tid: int) -> TaskStruct:
        # In another PID namespace than ours the number means somebody else.
        tgid = self._space.tgid
        pid = tid if is_thread_of(tid, tgid) else tgid
        return TaskStruct(pid, tgid, lambda: comm_of(pid))

    def bring(self, area: DeviceArea, page: int, is_write: bool, task: TaskStruct) -> bool:
        """Ask the driver for the page at address `page` and map it; False if the answer is no."""
        if area.lease not in self._kernel.machine.leases:
            raise ClientGone  # killed: its agent is gone already, this thread is about to go
        vmf = VmFault(area, page, _FLAGS | (FAULT_FLAG_WRITE if is_write else 0))
        area.fresh = []
        try:
            found = self._ask(area, vmf, is_write, task)
        finally:
            fresh, area.fresh = area.fresh, None
        for run in fresh:
            self._kernel.machine.leases.extend(area.lease, run)
        if vmf.page is not None:
            put_page(vmf.page)  # the mapping has a reference of its own now
        try:
            self._map(area, fresh)
        except OSError:
            for run in fresh:
                area.forget(run.addr, run.end)
            raise
        told = _is_told_of_writes(area)
        for run in fresh:
            if told and not (is_write and run.addr <= page < run.end):
                self._protect(run.addr, run.end)
            self._userfault.wake(run.addr, run.end)
        return found

    def _ask(self, area: DeviceArea, vmf: VmFault, is_write: bool, task: TaskStruct) -> bool:
        page, ops = vmf.address, area.vm_ops
        assert ops is not None
        if ops.map_pages is not None and not is_write:
            first, last = _around(area, vmf.pgoff)
            self._run(area, task, "vm_map_pages", ops.map_pages, vmf, first, last)
        if not area.is_mapped(page, page + PAGE_SIZE):
            answer = self._run(area, task, "vm_fault", _fault, vmf)
            if answer & _FAILED:
                vmf.page = None  # it stays with the driver
                return False
            if answer & VM_FAULT_NOPAGE:
                vmf.page = None  # not given to us
            if answer & VM_FAULT_RETRY:
                self._userfault.wake(page, page + PAGE_SIZE)
                return True
        if not area.is_mapped(page, page + PAGE_SIZE):
            self._kernel.log.error("%s: fault mapped nothing at %#x; the client gets SIGBUS",
                                   area.open_file.device.node, page)  # fmt: skip
            return False
        # Where writes can't be noticed later, each page counts as written when it comes.
        written = is_write or not self._userfault.can_protect
        if written and area.vm_flags & VM_SHARED and not self._mkwrite(area, page, task):
            refused = [run for run in area.fresh or () if run.addr <= page < run.end]
            for run in refused:
                area.forget(run.addr, run.end)
            area.fresh = [run for run in area.fresh or () if run not in refused]
            return False
        return True

    def _mkwrite(self, area: DeviceArea, page: int, task: TaskStruct) -> bool:
        """Tell the driver of the first write to a page; False if it does not allow it."""
        ops = area.vm_ops
        run = next(run for run in area.mapped if run.addr <= page < run.end)
        function = None if ops is None else (
            ops.page_mkwrite if run.kind == "page" else ops.pfn_mkwrite
        )  # fmt: skip
        if function is None:
            return True
        vmf = VmFault(area, page, _FLAGS | FAULT_FLAG_WRITE | FAULT_FLAG_MKWRITE)
        if run.kind == "page":
            vmf.page = self._kernel.machine.page(run.pfn + (page - run.addr >> PAGE_SHIFT))
        name = "vm_page_mkwrite" if run.kind == "page" else "vm_pfn_mkwrite"
        return not self._run(area, task, name, function, vmf) & _FAILED

    def _allow_write(self, area: DeviceArea, page: int, task: TaskStruct) -> bool:
        if area.is_mapped(page, page + PAGE_SIZE) and not self._mkwrite(area, page, task):
            return False
        self._protected.discard(page)
        self._userfault.write_protect(page, page + PAGE_SIZE, on=False)
        return True

    def _run(
        self,
        area: DeviceArea,
        task: TaskStruct,
        name: str,
        function: Callable[..., Any],
        *args: Any,
    ) -> int:
        device = area.open_file.device
        return self._kernel.dispatch.fault(device, task, name, function, *args)

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
                if page in self._protected and not self._allow_write(area, page, task):
                    return False
        return True

    def _bring_now(self, area: DeviceArea, page: int, is_write: bool, task: TaskStruct) -> bool:
        """Bring in a page that must be there afterwards: who asks can't be sent to ask again.

        What is there already is left alone: map_pages brings several.
        """
        for _ in range(_TRIES):
            if area.is_mapped(page, page + PAGE_SIZE):
                return True
            if not self.bring(area, page, is_write, task):
                return False
        return area.is_mapped(page, page + PAGE_SIZE)

    # --- in the client ----------------------------------------------------------------------

    def _map(self, area: DeviceArea, runs: Iterable[Mapped]) -> None:
        requests: list[Request] = []
        for run in runs:
            requests.append(self._mmap(area, run.addr, run.end, run.pfn))
            requests += _not_for_children(area, run.addr, run.end)
        self.agent.run(requests)

    def _mmap(self, area: DeviceArea, start: int, end: int, pfn: int) -> Request:
        how = (MAP_SHARED if area.vm_flags & VM_MAYSHARE else MAP_PRIVATE) | MAP_FIXED
        number = self._numbers[area.lease]
        arguments = (start, end - start, _access(area), how | MAP_NORESERVE, number,
                     pfn << PAGE_SHIFT)  # fmt: skip
        return "mmap", arguments, 4

    def _protect(self, start: int, end: int) -> None:
        if self._userfault.can_protect:
            self._userfault.register(start, end, MODE_WP)
            self._userfault.write_protect(start, end, on=True)
            self._protected.update(range(start, end, PAGE_SIZE))

    def _send_sigbus(self, tid: int, area: DeviceArea, page: int) -> None:
        """Let the thread that waits for `page` touch a page that never is there."""
        beyond = self._kernel.machine.nr_frames
        hole: list[Request] = [self._mmap(area, page, page + PAGE_SIZE, beyond)]
        thread = Tracee(tid)
        try:
            if not is_in_user_mode(tid):  # can't be stopped there; it will get EFAULT
                raise NotStoppable
            thread.seize()
        except NotStoppable:
            self.agent.run(hole)
            self._userfault.wake(page, page + PAGE_SIZE)
            self.stale.append((page, time.monotonic() + _ENOUGH))
            return
        except ClientGone:
            return
        self._step_into(thread, hole)
        self._renew(area, page, page + PAGE_SIZE)

    def _step_into(self, thread: Tracee, hole: list[Request]) -> None:
        """Let `thread` carry out the instruction at which it waits, with `hole` in its way."""
        thread.ptrace(PTRACE_INTERRUPT)
        status = thread.wait()
        if status >> 8 == PTRACE_EVENT_STOP:
            self.agent.run(hole)
            thread.ptrace(PTRACE_SINGLESTEP)
            status = thread.wait()
        is_signal = not status >> 8 and status != signal.SIGTRAP
        thread.ptrace(PTRACE_DETACH, 0, status if is_signal else 0)

    def renew(self) -> None:
        """Let touches ask the driver again where a page was missing inside a system call."""
        now = time.monotonic()
        while self.stale and self.stale[0][1] <= now:
            page, _ = self.stale.popleft()
            area = self._space.find(page)
            if area is not None and area.faults:
                self._in_client(self._renew, area, page, page + PAGE_SIZE)


def start_pager(
    kernel: Kernel, thread: StoppedThread, space: MmAreas, parent: Pager | None = None
) -> Pager:
    """Start a pager for `space`, in the stopped `thread` of its process.

    :param parent: the pager of the process that this one was forked from.
    :raises OSError: EPERM the machine does not allow it; EAGAIN, ENOMEM as for `start_agent`.
    """
    userfault = make_in(thread, space.tgid)
    try:
        agent = start_agent(kernel, thread, parent.agent.page if parent else 0)
    except BaseException:
        userfault.close()
        raise
    if not userfault.kernel_too:
        kernel.say_of(
            "userfaultfd", space.tgid,
            "touches pages of a device inside system calls with EFAULT if they are not there yet, "
            "since this machine allows no userfaultfd for them: run as root, or set "
            "vm.unprivileged_userfaultfd=1 (sysctl)",
        )  # fmt: skip
    space.pager = Pager(kernel, space, agent, userfault)
    return space.pager


def _fault(vmf: VmFault) -> int:
    """Run the fault operation of an area and take the page that it gives."""
    ops = vmf.vma.vm_ops
    if ops is None or ops.fault is None:
        return VM_FAULT_SIGBUS
    answer = ops.fault(vmf) or 0
    if isinstance(answer, int) and not answer & (_FAILED | VM_FAULT_NOPAGE | VM_FAULT_RETRY):
        finish_fault(vmf)
    return answer


def _access(area: DeviceArea) -> int:
    return area.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*


def _is_told_of_writes(area: DeviceArea) -> bool:
    ops = area.vm_ops
    return bool(
        ops is not None
        and (ops.page_mkwrite is not None or ops.pfn_mkwrite is not None)
        and area.vm_flags & VM_SHARED
    )


def _is_copied_by_fork(area: DeviceArea) -> bool:
    """Say whether a child has an area's pages at once, or has to fault for them.

    Source: mm/memory.c (vma_needs_copy)
    """
    return bool(area.vm_flags & (VM_PFNMAP | VM_MIXEDMAP) or not area.vm_flags & VM_MAYSHARE)


def _not_for_children(area: DeviceArea, start: int, end: int) -> list[Request]:
    if not area.vm_flags & VM_DONTCOPY:
        return []
    return [("madvise", (start, end - start, MADV_DONTFORK), None)]


def _around(area: DeviceArea, pgoff: int) -> tuple[int, int]:
    """Return the first and last page around `pgoff` that map_pages may map."""
    start = pgoff & ~(_AROUND - 1)
    last = area.vm_pgoff + (area.vm_end - area.vm_start >> PAGE_SHIFT) - 1
    return max(start, area.vm_pgoff), min(start + _AROUND - 1, last)
