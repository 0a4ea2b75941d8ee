"""The pages mapped so far in one client's fault-driven areas; a userfaultfd reports all others.

What is not mapped yet is anonymous memory, registered with that userfaultfd.
The client's `Worker` maps frames over it. Each area has a description of memory of its own in the
worker's table, so that its `Lease` ends when the area does. `UserfaultHandler` answers touches.

Objects: a `ClientPageTable` lives as long as its client's address space; it owns the `Worker` and
the `Userfault`. Used in the host's thread only.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.embedded.faults.userfault import (
    MODE_MINOR,
    MODE_MISSING,
    MODE_WP,
    PROTECT,
    REGISTER,
    UFFDIO_REGISTER,
    UFFDIO_WAKE,
    UFFDIO_WRITEPROTECT,
    WAKE_RANGE,
    Userfault,
)
from mapdev.host.embedded.inject.batch import CALL, Request
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.inject.tracee import ClientGone, NotStoppable
from mapdev.host.embedded.inject.worker import Worker
from mapdev.host.embedded.mm.fault_handler import FaultHandler
from mapdev.host.embedded.mm.remote_mmap import may_be_written
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import live_threads, tgid_of
from mapdev.host.numbers import MADV_DONTFORK, MADV_DONTNEED, ULONG_MAX
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_EXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_PFNMAP,
    VM_READ,
    VM_WRITE,
)
from mapdev.linux.vma import Mapped

_MMAP, _IOCTL, _EXIT_GROUP = (NUMBER_OF[name] for name in ("mmap", "ioctl", "exit_group"))


class ClientPageTable:
    """Maps, protects and zaps the pages of one client's fault-driven areas.

    :param injector: makes calls in clients.
    :param space: the client's areas.
    :param worker: the thread that maps in the client.
    :param userfault: reports touches of pages that are not mapped.
    """

    def __init__(
        self, injector: Injector, space: MmAreas, worker: Worker, userfault: Userfault
    ) -> None:
        self.worker = worker
        self._mappings = injector.mappings
        self._watcher = injector.mappings.watcher
        self._space = space
        self._userfault = userfault
        self._numbers: dict[int, int] = {}  # descriptors in the worker, by lease
        self._protected: set[int] = set()  # write-protected pages: the first write asks the driver
        self._exiting: set[int] = set()
        self._closed = False
        self._mark = injector.secret << 32
        self._wakes = worker.lend(userfault.fd)  # the userfaultfd's number in the worker
        self._watcher.watch(worker.socket.fileno(), self._heard)

    @property
    def page(self) -> int:
        """The address of the worker's two pages in the client."""
        return self.worker.page

    def make_way(self, start: int, end: int) -> None:
        """Take the worker's pages out of [`start`, `end`).

        :raises OSError: ENOMEM they can be nowhere else.
        """
        self._in_client(self.worker.move, start, end)

    def stand_in(self) -> StoppedThread:
        """Return a new thread of the client, stopped, for calls that another can't make.

        :raises OSError: EPERM a debugger holds the worker, EAGAIN no more threads are allowed.
        """
        try:
            return self.worker.stand_in()
        except NotStoppable:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from None

    def _heard(self) -> None:
        """The worker speaks unasked: something that was posted has failed, or it has ended."""
        try:
            error = self.worker.failure()
        except ClientGone:
            if self._space.is_shared and not self._closed:
                self._mappings.spaces.worker_ended(self._space)
            self.close()
        else:
            if error is not None:
                self.worker.failed(error)

    def settle(self) -> None:
        """Have all in the client as it is noted here."""
        if self.worker.has_posts:
            self._in_client(self.worker.settle)

    def adopt(self, area: DeviceArea) -> int:
        """Lend the worker memory for `area` and return the index of its lease."""
        leases = self._mappings.leases
        description, index = leases.open_description(may_be_written(area))
        try:
            self._numbers[index] = self.worker.lend(description)
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
            arguments = (start, end - start, _access(area), how, ULONG_MAX, 0)
            self.worker.run([("mmap", arguments, 4), *_not_for_children(area, start, end)])
        for start, end in holes:
            self._userfault.register(start, end, MODE_MISSING)
            if self._space.locks_new:  # by mlockall, so that pages came with the mapping
                where = start, end - start
                self.worker.run([
                    ("munlock", where, None), ("madvise", (*where, MADV_DONTNEED), None)
                ])  # fmt: skip

    def inherit(self, parent: FaultHandler) -> None:
        """Continue in a child that was just forked what `parent` did for its process."""
        for area in self._space:
            if area.faults:
                lease = self.adopt(area)
                self._mappings.mapped(lease, area, self._space.tgid, holds=False)
                self._space.rebind(area, lease)
                if not _is_copied_by_fork(area):
                    area.forget(area.vm_start, area.vm_end)
                self.reserve(area, area.holes(area.vm_start, area.vm_end))
        for page in parent.protected(0, ULONG_MAX):
            there = self._space.find(page)
            if there is not None and there.is_mapped(page, page + PAGE_SIZE):
                self._protect(page, page + PAGE_SIZE)

    def take_over(self, protected: Iterable[int]) -> None:
        """Continue in a process what the worker of another one with the same memory did."""
        for area in self._space:
            if area.faults:
                lease = self.adopt(area)
                self._mappings.mapped(lease, area, self._space.tgid, holds=False)
                self._space.rebind(area, lease)
                self.reserve(area, area.holes(area.vm_start, area.vm_end))
        self.protect(protected)

    def forget(self, area: DeviceArea) -> None:
        """`area` is gone, or will be as soon as the client's call goes on."""
        self._protected -= self.protected(area.vm_start, area.vm_end)
        # From now on nobody answers there, so that nobody must wait: least of all we ourselves.
        self._userfault.unregister(area.vm_start, area.vm_end)
        self.let_go(area.lease)

    def let_go(self, lease: int) -> None:
        """Take the memory of a lease back if no area has it any more."""
        if lease in self._numbers and not any(area.lease == lease for area in self._space):
            self._in_client(self.worker.take_back, self._numbers.pop(lease))

    def protected(self, start: int, end: int) -> set[int]:
        """Return write-protected pages of [`start`, `end`), whose first write asks the driver."""
        return {page for page in self._protected if start <= page < end}

    def protect(self, pages: Iterable[int]) -> None:
        """Write-protect each of `pages`, so that the next write asks the driver."""
        for page in pages:
            self._protect(page, page + PAGE_SIZE)

    def zap(self, area: DeviceArea, start: int, end: int) -> None:
        """Take the pages of [`start`, `end`) away: the next touch asks the driver again.

        Other threads may touch them meanwhile, and must not find anything else there. So they stay
        where they are, out of the page table and with all touches told, until the driver's next
        answer takes their place. A thread that waits for leave to write such a page touches it
        again.
        """
        self._in_client(self._zap, area, start, end)

    def _zap(self, area: DeviceArea, start: int, end: int) -> None:
        if self.worker.has_posts:
            self.worker.settle()  # what is still to be mapped is not there to be taken away
        gone = area.piece(start, end).mapped
        area.forget(start, end)
        self._protected -= self.protected(start, end)
        for run in gone:
            if not area.vm_flags & VM_MAYWRITE:  # the kernel refuses to tell of those
                self._renew(area, run.addr, run.end)
                continue
            self._userfault.register(run.addr, run.end, MODE_MISSING | MODE_MINOR)
            where = run.addr, run.end - run.addr
            self.worker.run([("munlock", where, None), ("madvise", (*where, MADV_DONTNEED), None)])
            self._wake(run.addr, run.end)

    def hide(self, area: DeviceArea, start: int, end: int) -> None:
        """Take the pages of [`start`, `end`) away for good: the next touch is SIGBUS.

        Pages beyond the end of memory take their place, as for those that a driver leaves out.
        """
        self._in_client(self._hide_for_good, area, start, end)

    def _hide_for_good(self, area: DeviceArea, start: int, end: int) -> None:
        gone = area.piece(start, end).mapped
        description, _ = self._mappings.leases.open_description(may_be_written(area))
        try:
            number = self.worker.lend(description)
        finally:
            os.close(description)
        for run in gone:
            arguments = (run.addr, run.end - run.addr, _access(area), _how(area), number,
                         self._mappings.nr_frames << PAGE_SHIFT)  # fmt: skip
            more = _not_for_children(area, run.addr, run.end)
            self.worker.run([("mmap", arguments, 4), *more])
        self.worker.take_back(number)
        area.forget(start, end)

    def _renew(self, area: DeviceArea, start: int, end: int) -> None:
        """Fill [`start`, `end`) anew, which the client may touch in between."""
        self.fill(area, start, end)
        for first, last in area.holes(start, end):
            self.worker.run([("madvise", (first, last - first, MADV_DONTNEED), None)])

    def is_told_of(self, page: int) -> bool:
        """Say whether the userfaultfd would report a touch of `page`, an address, if unmapped."""
        return self._userfault.is_told_of(page)

    def about_to_exit(self, tid: int, code: int) -> None:
        """Thread `tid` is about to end; after the last one the process does, by `code`.

        A process has the status of the thread that ends last (Linux 6.0), which is the worker.
        """
        live = live_threads(tgid_of(self.worker.tid)) - {self.worker.tid}
        if tid not in live:
            return  # of another process that has the same memory
        self._exiting = self._exiting & live | {tid}
        if live <= self._exiting:
            with contextlib.suppress(ClientGone):
                self.worker.post(CALL.pack(_EXIT_GROUP, code, 0, 0, 0, 0, 0), bytes(8))
            if self._space.is_shared:
                self._mappings.spaces.worker_ended(self._space)
            self.close()

    def close(self) -> None:
        """The client is gone, or has executed another program."""
        if not self._closed:
            self._closed = True
            self._watcher.unwatch(self._userfault.fd)
            self._watcher.unwatch(self.worker.socket.fileno())
            self._userfault.close()
            self.worker.close()

    def _in_client(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except ClientGone:
            self.close()
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.ENOENT):  # it ended meanwhile
                raise

    # --- in the client ----------------------------------------------------------------------

    def _map(self, area: DeviceArea, runs: Iterable[Mapped]) -> None:
        requests: list[Request] = []
        for run in runs:
            requests.append(self._mmap(area, run.addr, run.end, run.pfn))
            requests += _not_for_children(area, run.addr, run.end)
        self.worker.run(requests)

    def _post(self, area: DeviceArea, runs: Sequence[Mapped]) -> None:
        """Map `runs` and let those who wait there go on, some time soon."""
        mark, access, how = self._mark, _access(area), _how(area)
        number = self._numbers[area.lease] | mark
        calls = [
            CALL.pack(_MMAP, addr, nr_pages << PAGE_SHIFT, access, how, number, pfn << PAGE_SHIFT)
            for addr, pfn, nr_pages, _, _ in runs
        ]
        where = self.worker.behind(len(runs) + 1)
        calls.append(CALL.pack(_IOCTL, self._wakes | mark, UFFDIO_WAKE, where, 0, 0, mark))
        start, end = runs[0].addr, runs[-1].end
        if len(runs) > 1:
            start, end = min(run.addr for run in runs), max(run.end for run in runs)
        self.worker.post(b"".join(calls), WAKE_RANGE.pack(start, end - start))

    def _mmap(self, area: DeviceArea, start: int, end: int, pfn: int) -> Request:
        number = self._numbers[area.lease]
        arguments = (start, end - start, _access(area), _how(area), number, pfn << PAGE_SHIFT)
        return "mmap", arguments, 4

    def _protect(self, start: int, end: int) -> None:
        if not self._userfault.can_protect:
            return
        if self.worker.has_posts:
            self._post_ioctl(UFFDIO_REGISTER, REGISTER.pack(start, end - start, MODE_WP, 0))
            self._post_ioctl(UFFDIO_WRITEPROTECT, PROTECT.pack(start, end - start, 1))
        else:
            self._userfault.register(start, end, MODE_WP)
            self._userfault.write_protect(start, end, on=True)
        self._protected.update(range(start, end, PAGE_SIZE))

    def _wake(self, start: int, end: int) -> None:
        """Let those who wait in [`start`, `end`) go on, when the worker has mapped what is there.

        That may take long if a debugger holds the worker; they would touch it again and again.
        """
        if self.worker.has_posts:
            self._post_ioctl(UFFDIO_WAKE, WAKE_RANGE.pack(start, end - start))
        else:
            self._userfault.wake(start, end)

    def _post_ioctl(self, request: int, data: bytes) -> None:
        """Have the worker make a request of the userfaultfd after what it has to do already."""
        where, mark = self.worker.behind(1), self._mark
        self.worker.post(CALL.pack(_IOCTL, self._wakes | mark, request, where, 0, 0, mark), data)


def _how(area: DeviceArea) -> int:
    kind = MAP_SHARED if area.vm_flags & VM_MAYSHARE else MAP_PRIVATE
    return kind | MAP_FIXED | MAP_NORESERVE


def _access(area: DeviceArea) -> int:
    return area.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*


def _is_copied_by_fork(area: DeviceArea) -> bool:
    """Say whether a child has an area's pages at once, or has to fault for them.

    Source: mm/memory.c (vma_needs_copy)
    """
    return bool(area.vm_flags & (VM_PFNMAP | VM_MIXEDMAP) or not area.vm_flags & VM_MAYSHARE)


def _not_for_children(area: DeviceArea, start: int, end: int) -> list[Request]:
    if not area.vm_flags & VM_DONTCOPY:
        return []
    return [("madvise", (start, end - start, MADV_DONTFORK), None)]
