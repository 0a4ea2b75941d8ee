"""`AddressSpaces` tracks each client process that maps devices, from its first mapping to its end.

An address space begins with a process's first mapping of a device, or with the fork of one that
has some, and ends with the process (its pidfd says when) or when it executes a program. That nobody
announces: from the call on, `tick` looks every now and then, and whoever asks for the space looks
first, whether it is another one now.

Used in the host's thread only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mapdev.host.core.operations import Operations
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.libc import shares_memory
from mapdev.host.embedded.mm.lifetime import Leases
from mapdev.host.embedded.mm.space_index import SpaceIndex
from mapdev.host.embedded.processes import field_of, tgid_of
from mapdev.host.embedded.watcher import Watcher
from mapdev.host.numbers import ULONG_MAX
from mapdev.inspect.maps import MapsLine, read_maps
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import VM_EXEC, VM_READ, VM_WRITE

if TYPE_CHECKING:
    from mapdev.host.embedded.mm.vma import DeviceArea
    from mapdev.host.embedded.mm.vma_tree import MmAreas

_LONGEST_EXEC = 10.0  # seconds; one that fails leaves all as it was
_ACCESS = {"r": VM_READ, "w": VM_WRITE, "x": VM_EXEC}


class _Exec:
    """A process that is about to execute a program.

    An open /proc/PID/maps stays with the address space that the process had when it was opened, and
    is empty once that has no user: one short read tells.
    """

    def __init__(self, tid: int, tgid: int) -> None:
        self.tid = tid
        self.until = time.monotonic() + _LONGEST_EXEC
        self._fd = os.open(f"/proc/{tgid}/maps", os.O_RDONLY | os.O_CLOEXEC)

    def is_done(self) -> bool:
        """Say whether the address space is gone."""
        try:
            return not os.pread(self._fd, 1, 0)
        except OSError:
            return True

    def close(self) -> None:
        """Look no more."""
        os.close(self._fd)


class AddressSpaces:
    """Keeps the device areas (`MmAreas`) of each process that maps devices.

    :param leases: the mappings that areas show.
    :param watcher: watches descriptors.
    :param ended: called when an address space has ended.
    :param is_frames: says whether an area shows physical memory.
    :ivar orphans: spaces whose worker has ended while another process had the same memory, with the
        pages that were write-protected.
    :ivar to_hide: ranges that were taken away, and that nobody in the process has hidden yet.
    """

    def __init__(
        self,
        leases: Leases,
        watcher: Watcher,
        ended: Callable[[], None],
        is_frames: Callable[[MapsLine], bool],
    ) -> None:
        self._is_frames = is_frames
        self._leases = leases
        self._watcher = watcher
        self._ended = ended
        self.by_tgid: dict[int, MmAreas] = {}
        self._index: SpaceIndex[MmAreas] = SpaceIndex()
        self._pidfds: dict[int, int] = {}
        self._executing: dict[int, _Exec] = {}
        self.orphans: dict[MmAreas, set[int]] = {}
        self.to_hide: dict[MmAreas, list[tuple[int, int]]] = {}

    def of(self, tid: int) -> MmAreas | None:
        """Return the address space of the process of thread `tid`, if it maps any device."""
        return self.at(self.tgid_of(tid)) if self.by_tgid else None

    def tgid_of(self, tid: int) -> int:
        """Return the process of thread `tid`; nothing is read for the main thread of one here."""
        return tid if tid in self.by_tgid else tgid_of(tid)

    def at(self, tgid: int) -> MmAreas | None:
        """Return the address space of process `tgid`, if it maps any device."""
        execing = self._executing.get(tgid)
        if execing is not None and execing.is_done():
            self._end(tgid)
        space = self.by_tgid.get(tgid)
        if space is None:
            space = self._shared_with(tgid)
        if space is not None and space.fault_handler is not None:
            space.fault_handler.settle()  # so that what is done now is done to what is noted here
        return space

    def _shared_with(self, tgid: int) -> MmAreas | None:
        """Return the address space that process `tgid` has in common with another, if it has."""
        for space in self._index.shared:
            if shares_memory(tgid, space.tgid):
                return space
        return None

    def mapped(self, tid: int, start: int, end: int) -> OpenFile | None:
        """Return what the area from `start` to `end` of the process of `tid` shows, if a device."""
        space = self.of(tid)
        area = space.find(start) if space is not None else None
        is_it = area is not None and (area.vm_start, area.vm_end) == (start, end)
        return area.open_file if area is not None and is_it else None

    def make(self, tgid: int, operations: Operations) -> MmAreas:
        """Return the address space of process `tgid`, a new one if there is none.

        :param operations: tells drivers of changes to their areas.
        """
        from mapdev.host.embedded.mm.vma_tree import MmAreas  # here, for a quick start

        space = self.at(tgid)
        if space is None:
            parent = int(field_of(tgid, b"PPid") or 0)
            is_shared = parent > 0 and shares_memory(tgid, parent)
            space = MmAreas(parent if is_shared else tgid, operations, self._leases)
            space.is_shared = is_shared
            self._add(space)
        return space

    def fork(self, parent: MmAreas, task: TaskStruct, child: TaskStruct) -> MmAreas:
        """Process `task` has forked, and its areas with it; return those of `child`.

        :raises OSError: EMFILE we may have no more descriptors.
        """
        space = parent.fork(task, child)
        self._add(space)
        return space

    def __iter__(self) -> Iterator[MmAreas]:
        return iter(list(self.by_tgid.values()))

    def _add(self, space: MmAreas) -> None:
        tgid = space.tgid
        if tgid in self.by_tgid:
            self._end(tgid)  # that of an earlier process with this number
        try:
            pidfd = os.pidfd_open(tgid)
        except OSError as error:
            space.end()
            if error.errno == errno.ESRCH:
                return  # it has ended
            raise
        self.by_tgid[tgid] = space
        space.index = self._index
        self._pidfds[tgid] = pidfd
        self._watcher.watch(pidfd, lambda: self._process_ended(tgid))

    def _process_ended(self, tgid: int) -> None:
        """End the address space of process `tgid`, unless another process has the same memory."""
        space = self.by_tgid[tgid]
        heir = self._heir(space) if space.is_shared else 0
        if not heir:
            self._end(tgid)
            return
        self._forget(tgid)
        self.worker_ended(space)
        space.tgid = heir
        self._add(space)

    def worker_ended(self, space: MmAreas) -> None:
        """Know that a worker has ended, with one of several processes that had the memory."""
        handler, space.fault_handler = space.fault_handler, None
        if handler is not None:
            if any(area.faults for area in space):
                self.orphans[space] = handler.protected(0, ULONG_MAX)
            handler.close()

    def _heir(self, space: MmAreas) -> int:
        """Return a process that has the memory of one that has ended, 0 if there is none.

        Forks have areas at the same places, but they are known.
        """
        places = {area.vm_start for area in space}
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in self.by_tgid and int(name) != os.getpid():
                lines = _lines(int(name))
                if any(line.start in places and self._is_frames(line) for line in lines):
                    return int(name)
        return 0

    def _forget(self, tgid: int) -> None:
        self.by_tgid.pop(tgid).index = None
        self._forget_exec(tgid)
        pidfd = self._pidfds.pop(tgid)
        self._watcher.unwatch(pidfd)
        os.close(pidfd)

    def _end(self, tgid: int) -> None:
        space = self.by_tgid[tgid]
        self._forget(tgid)
        self.to_hide.pop(space, None)
        self.orphans.pop(space, None)
        space.end()
        self._ended()

    def close(self) -> None:
        """All processes have ended."""
        for tgid in list(self.by_tgid):
            self._end(tgid)

    # --- exec -------------------------------------------------------------------------------

    def about_to_exec(self, tid: int) -> None:
        """Thread `tid` will execute a program, which ends its address space if it succeeds."""
        space = self.of(tid)
        if space is not None and self.tgid_of(tid) == space.tgid:
            self._forget_exec(space.tgid)
            with contextlib.suppress(OSError):  # it has been killed: its pidfd will tell
                self._executing[space.tgid] = _Exec(tid, space.tgid)

    def calls(self, tid: int) -> None:
        """Thread `tid` makes a call: what it wanted to execute it does by now, or could not."""
        if not self._executing:
            return
        for tgid, execing in list(self._executing.items()):
            if execing.tid == tid:
                if execing.is_done():
                    self._end(tgid)
                else:
                    self._forget_exec(tgid)

    def _forget_exec(self, tgid: int) -> None:
        execing = self._executing.pop(tgid, None)
        if execing is not None:
            execing.close()

    @property
    def needs_tick(self) -> bool:
        """Whether a `tick` is due soon."""
        return bool(self._index.stale or self._executing)

    def tick(self) -> None:
        """Do what has to be done some time after something else."""
        now = time.monotonic()
        for tgid, execing in list(self._executing.items()):
            if execing.is_done():
                self._end(tgid)
            elif now > execing.until:
                self._forget_exec(tgid)
        for space in list(self._index.stale):
            if space.fault_handler is not None:
                space.fault_handler.renew()
            space.note_stale()

    def __len__(self) -> int:
        return len(self.by_tgid)

    @property
    def needs_all_calls(self) -> bool:
        """Whether calls matter that are on no device: they may end or need what we know."""
        return bool(self._executing or self._index.faulting or self.to_hide or self.orphans)

    @property
    def have_fault_handlers(self) -> bool:
        """Whether any process has areas whose pages come when they are touched."""
        return bool(self._index.faulting)

    @property
    def unseen(self) -> bool:
        """Whether any process has areas at which its calls are not handed over."""
        return bool(self._index.unseen)

    # --- areas outside of the window --------------------------------------------------------

    def refresh(self) -> list[MmAreas]:
        """Find out what clients did to areas at which their calls are not handed over.

        :return: the address spaces that have such.
        """
        unseen = list(self._index.unseen)
        for space in unseen:
            if space.fault_handler is not None:
                # A page that its worker maps meanwhile would be neither yet to come nor there.
                space.fault_handler.settle()
            lines = _lines(space.tgid)
            for area in space:
                _refresh(space, area, [
                    line for line in lines
                    if line.start < area.vm_end and area.vm_start < line.end
                    and (self._is_frames(line) or _is_yet_to_come(space, area, line))
                ])  # fmt: skip
        return unseen


def _lines(tgid: int) -> list[MapsLine]:
    try:
        return read_maps(tgid)
    except OSError:
        return []


def _is_yet_to_come(space: MmAreas, area: DeviceArea, line: MapsLine) -> bool:
    """Say whether what `line` shows in `area` are pages that come when they are touched."""
    if not area.faults or line.inode or space.fault_handler is None:
        return False
    return space.fault_handler.is_told_of(max(area.vm_start, line.start))


def _refresh(space: MmAreas, area: DeviceArea, left: list[MapsLine]) -> None:
    """Make `area` what is `left` of it."""
    at, end = area.vm_start, area.vm_end
    for first, last, perms in _joined(left):
        if first > at:
            space.unmap(None, at, first)
        start, at = max(first, at), min(last, end)
        access = sum(bit for letter, bit in _ACCESS.items() if letter in perms)
        space.change(None, start, at, _with_access(access))
    if at < end:
        space.unmap(None, at, end)


def _joined(lines: list[MapsLine]) -> list[tuple[int, int, str]]:
    """Return start, end and permissions; neighbours with the same are one: one area had both."""
    joined: list[tuple[int, int, str]] = []
    for line in lines:
        start = line.start
        if joined and joined[-1][1:] == (start, line.perms):
            start = joined.pop()[0]
        joined.append((start, line.end, line.perms))
    return joined


def _with_access(access: int) -> Callable[[int], int]:
    """Give areas `access`, but for what the open file does not allow (the VM_MAY* bits).

    Pages yet to come are anonymous memory, which a client may have made writable.
    """
    every = sum(_ACCESS.values())
    return lambda flags: flags & ~every | access & flags >> 4
