"""Changing a client's address space from outside, in the middle of one of its calls.

A `Surgery` is a context manager around a call that waits: the calling thread is stopped and made to
carry out what is needed (`StoppedThread.syscall`), and lends a hand to whoever maps physical memory
(`Loan`). At its end the thread returns from its call with `result`; an OSError inside the block
becomes the call's errno. If the client dies in the middle, the block is left and nobody is told.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from mapdev.host.embedded.areas import MmAreas
from mapdev.host.embedded.inject import StoppedThread
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.loan import Loan, lend_to_caller, lend_to_helper
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.processes import is_single_threaded
from mapdev.host.embedded.tracee import ClientGone, NotStoppable
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE_SHIFT,
    PROT_NONE,
    VM_EXEC,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
)
from mapdev.linux.vma import VmAreaStruct

_ULONG_MAX = (1 << 64) - 1
_GAPS = [1 << 20, 1 << 24, 1 << 28, 1 << 32]  # bytes to the area before: no neighbours by chance
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2


class Surgery:
    """The thread of `call`, stopped, with what it takes to map memory in its process.

    :param why: what can't be done if the thread can't be stopped, for the log.
    :param writable: lend memory for writable mappings from the start; None if none will be needed.
    :raises OSError: EPERM another tracer holds the thread.
    """

    def __init__(self, kernel: Kernel, call: Call, why: str, writable: bool | None = None) -> None:
        self.result = -errno.EIO  # unless the block says otherwise before it loses the client
        self._kernel = kernel
        self._call = call
        self._why = why
        self._writable = writable
        self._loan: Loan | None = None
        self.thread: StoppedThread = kernel.stopped(call)

    def __enter__(self) -> Self:
        try:
            self.thread.__enter__()
        except NotStoppable:
            text = f"is held by a debugger, so {self._why}; detach the debugger first"
            self._kernel.say_once("traced", self._call, text)
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from None
        try:
            if self._writable is not None and is_single_threaded(self._call.tid):
                self._loan = lend_to_caller(self._kernel, self._call, self.thread, self._writable)
            self.thread.stop()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, OSError):
            self.result = -(error.errno or errno.EIO)
        try:
            if self._loan is not None:
                self._loan.give_back()
            self.thread.result = self.result
            self.thread.__exit__(kind, error, trace)
        except ClientGone:
            return True
        return isinstance(error, OSError | ClientGone)

    def loan(self, writable: bool) -> Loan:
        """Return physical memory to map from, writable or not, for the rest of the block."""
        if self._loan is not None and self._loan.writable != writable:
            self._loan.give_back()
            self._loan = None
        if self._loan is None:
            self._loan = lend_to_helper(self._kernel, self.thread, writable)
        return self._loan


def reserve(thread: StoppedThread, addr: int, length: int, flags: int) -> int:
    """Make an inaccessible area and return its address; `flags` say where it may be.

    :raises OSError: as mmap(2): ENOMEM, EEXIST, EPERM, EAGAIN.
    """
    how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags
    return thread.syscall("mmap", addr, length, PROT_NONE, how, _ULONG_MAX, 0, descriptor=4)


def reserve_somewhere(
    kernel: Kernel, space: MmAreas, thread: StoppedThread, length: int, flags: int = 0
) -> int:
    """Make an inaccessible area in the window, or where there is room; return its address.

    :raises OSError: as mmap(2): ENOMEM, EPERM, EAGAIN.
    """
    window = kernel.window
    above = max(window.first, space.highest(window.last))
    for gap in _GAPS:
        if above + gap + length > window.last:
            break
        try:
            return reserve(thread, above + gap, length, flags | MAP_FIXED_NOREPLACE)
        except OSError as error:  # of what a munmap is about to end we know no more
            if error.errno != errno.EEXIST:
                raise
    return reserve(thread, 0, length, flags)


def map_frames(loan: Loan, vma: VmAreaStruct, end_of_memory: int, flags: int = 0) -> None:
    """Map all of `vma` in the client: the runs that are noted in it, and SIGBUS elsewhere.

    :param end_of_memory: the first frame that there is not: a touch of its mapping is SIGBUS.
    :param flags: MAP_POPULATE or 0.
    """
    for start, end, pfn in _runs(vma, end_of_memory):
        map_run(loan, vma, start, end, pfn, flags)


def map_run(loan: Loan, vma: VmAreaStruct, start: int, end: int, pfn: int, flags: int = 0) -> None:
    """Map frames from `pfn` on at [`start`, `end`), with the protection of `vma`."""
    kind = MAP_SHARED if vma.vm_flags & VM_MAYSHARE else MAP_PRIVATE
    how = kind | MAP_FIXED | MAP_NORESERVE | flags
    prot = vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*
    loan.thread.syscall("mmap", start, end - start, prot, how, loan.number, pfn << PAGE_SHIFT,
                        descriptor=4)  # fmt: skip


def move_pieces(thread: StoppedThread, pieces: Iterable[tuple[int, int]], shift: int) -> None:
    """Move real areas by `shift` bytes, each to where something inaccessible is in its way."""
    for start, end in pieces:
        length = end - start
        how = MREMAP_MAYMOVE | MREMAP_FIXED
        thread.syscall("mremap", start, length, length, how, start + shift)


def may_be_written(vma: VmAreaStruct) -> bool:
    """Say whether a client may write to the device's memory through the area, now or later."""
    return vma.vm_flags & (VM_MAYWRITE | VM_MAYSHARE) == VM_MAYWRITE | VM_MAYSHARE


def _runs(vma: VmAreaStruct, end_of_memory: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, first frame) for all of the area in order, holes included."""
    at = vma.vm_start
    for run in sorted(vma.mapped):
        if run.addr > at:
            yield at, run.addr, end_of_memory
        at = run.end
        yield run.addr, at, run.pfn
    if at < vma.vm_end:
        yield at, vma.vm_end, end_of_memory
