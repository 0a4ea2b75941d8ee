"""Handles mmap of a device, and system calls that would evade it, such as io_uring_setup.

mmap runs in the client's own thread, stopped for the purpose: reserve the range, ask the driver,
map what it asked for run by run from physical memory, fill what it left out with pages beyond the
end of memory (a touch is SIGBUS, as in the kernel). For that the client gets a descriptor of
physical memory, see `memory_fd`.

Source: mm/mmap.c (do_mmap), mm/mremap.c
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict, signed32
from mapdev.host.embedded.faults.start import start_fault_handler
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.inject.batch import SIZE
from mapdev.host.embedded.inject.injection import CalledAgain, Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.inject.tracee import ClientGone
from mapdev.host.embedded.mm.remote_mmap import (
    PlaceTaken,
    map_frames,
    may_be_written,
    places,
    reserve,
    reserve_somewhere,
)
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.processes import read_file, tracer_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.gate import CAREFUL
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import (
    CLONE_NEWNS,
    MADV_DONTFORK,
    MCL_ONFAULT,
    MLOCK_ONFAULT,
    ULONG_MAX,
)
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE
from mapdev.linux.log import log
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_DENYWRITE,
    MAP_EXECUTABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    MAP_TYPE,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_DONTCOPY,
    VM_EXEC,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
)

_LEGACY_MAP_MASK = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK
    | MAP_HUGETLB | ARCH.MAP_32BIT | MAP_FIXED_NOREPLACE
)  # fmt: skip
_PLACEMENT = MAP_FIXED | MAP_FIXED_NOREPLACE | ARCH.MAP_32BIT | MAP_LOCKED


def _error(code: int, text: str = "") -> OSError:
    return OSError(code, text or os.strerror(code))


def _do_mmap(kernel: Subsystems, call: Call) -> int | Verdict:
    addr, length, prot, flags, _, offset = call.args
    open_file = None if flags & MAP_ANONYMOUS else kernel.files.of(call, 4)
    if _replaces(flags):
        make_way(kernel, call, addr, length)
    if open_file is None:
        _replace(kernel, call)
        return PASS_ON
    if open_file.path_only:
        raise _error(errno.EBADF)
    space = kernel.spaces.of(call.tid)
    locks_new = space.locks_new if space is not None else 0
    vma_flags = _check(open_file, length, prot, flags | (MAP_LOCKED if locks_new else 0), offset)
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    vma = DeviceArea(open_file, 0, length, offset >> PAGE_SHIFT, vma_flags)
    why = f"{open_file.device.node} can't be mapped in it"
    with Injection(kernel.injector, call, why, later=True) as injection:
        injection.result = _Mapping(kernel, call, injection).run(vma, addr, flags)
    return ANSWERED


def _replaces(flags: int) -> bool:
    """Say whether a mapping takes the place of what is there: both flags mean that it does not."""
    return flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == MAP_FIXED


def make_way(kernel: Subsystems, call: Call, addr: int, length: int) -> None:
    """Take the host's own memory out of a range where the client maps something else.

    :raises OSError: ENOMEM it can be nowhere else.
    """
    space = kernel.spaces.of(call.tid)
    end = addr + (length + PAGE_SIZE - 1 & PAGE_MASK)
    if space is None or addr % PAGE_SIZE or end > kernel.window.task_size:
        return  # the kernel refuses it
    if not space.hides(addr, end):
        return
    if space.batch and addr < space.batch + SIZE and space.batch < end:
        space.give_up_batch()
    if not space.hides(addr, end) or space.fault_handler is None:
        return
    try:
        space.fault_handler.make_way(addr, end)
    except OSError as error:
        text = (
            f"wants to map something at {addr:#x}, where the host's worker is, which can be "
            f"nowhere else ({error}): it gets ENOMEM"
        )
        kernel.messages.say_once("hidden", call.tid, text)
        raise _error(errno.ENOMEM) from None


def _replace(kernel: Subsystems, call: Call) -> None:
    """Another mapping takes the place of what a device may have there (MAP_FIXED)."""
    addr, length, _, flags = call.args[:4]
    space = kernel.spaces.of(call.tid) if _replaces(flags) else None
    if space is not None and not addr % PAGE_SIZE:
        space.check_not_sealed(addr, addr + length)
        space.unmap(call.task, addr, addr + length + PAGE_SIZE - 1 & PAGE_MASK)


def _check(open_file: OpenFile, length: int, prot: int, flags: int, offset: int) -> int:
    """Make the kernel's checks in the kernel's order; return the area's vm_flags.

    :raises OSError: EINVAL offset not page-aligned, length 0, unknown type, MAP_GROWSDOWN,
        MAP_HUGETLB; ENOMEM length wraps; EOVERFLOW offset plus length wraps; EOPNOTSUPP unknown
        flags with MAP_SHARED_VALIDATE; EACCES mode of the file; ENODEV no mmap operation.
    """
    if offset % PAGE_SIZE or flags & MAP_HUGETLB or not length:
        raise _error(errno.EINVAL)
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    if length > ULONG_MAX:
        raise _error(errno.ENOMEM)
    if (offset >> PAGE_SHIFT) > (ULONG_MAX - length) >> PAGE_SHIFT:
        raise _error(errno.EOVERFLOW)
    kind = flags & MAP_TYPE
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE):
        raise _error(errno.EINVAL)
    if kind == MAP_SHARED_VALIDATE and flags & ~_LEGACY_MAP_MASK:
        raise _error(errno.EOPNOTSUPP)
    mode = open_file.file.f_mode
    if kind != MAP_PRIVATE and prot & PROT_WRITE and not mode & FMODE_WRITE:
        raise _error(errno.EACCES)
    if not mode & FMODE_READ:
        raise _error(errno.EACCES)
    if not open_file.device.driver.has("mmap"):
        raise _error(errno.ENODEV)
    if flags & MAP_GROWSDOWN:
        raise _error(errno.EINVAL)
    vm_flags = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | (VM_LOCKED if flags & MAP_LOCKED else 0)
    for bit, vm_bit in ((PROT_READ, VM_READ), (PROT_WRITE, VM_WRITE), (PROT_EXEC, VM_EXEC)):
        vm_flags |= vm_bit if prot & bit else 0
    if kind != MAP_PRIVATE:
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not mode & FMODE_WRITE:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    return vm_flags


class _Mapping:
    """One mmap call, carried out in its thread."""

    def __init__(self, kernel: Subsystems, call: Call, injection: Injection) -> None:
        self._kernel = kernel
        self._call = call
        self._injection = injection
        self._task: TaskStruct = call.task
        self._space: MmAreas = kernel.spaces.make(self._task.tgid, kernel.operations)

    def run(self, vma: DeviceArea, addr: int, flags: int) -> int:
        """Map `vma`, which has no address yet, and return its address."""
        space, length = self._space, vma.vm_end
        place = None
        if not addr and not flags & _PLACEMENT and self._need_not_reserve():
            place = self._free_place(length)
        if place is not None:
            start = self._map_in_window(vma, place, flags)
        else:
            start = self._map_where_there_is_room(vma, addr, flags)
        end = start + length
        space.seen = space.seen and self._kernel.window.holds(start, end)
        is_locked = vma.vm_flags & VM_LOCKED and not space.locks_new & MCL_ONFAULT
        if is_locked or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
            with contextlib.suppress(OSError):  # as in the kernel, whoever touches it will know
                self._kernel.mappings.populate(self._call.tid, start, end)
        if vma.vm_flags & VM_LOCKED:
            # What is not there yet must not be asked for by a thread for which we wait.
            with contextlib.suppress(OSError):
                self._injection.thread.syscall("mlock2", start, length, MLOCK_ONFAULT)
        space.merge(start, end)
        return start

    def _need_not_reserve(self) -> bool:
        """Say whether a place in the window that is free can't but be had.

        No other thread may be there to take it, and no limit on address space that the kernel would
        check before it asks the driver.
        """
        injection = self._injection
        return self._space.is_tidy and injection.is_alone and injection.has_no_limit

    def _free_place(self, length: int) -> int | None:
        """Return where in the window nothing is, for all we know; None if no place is known.

        What the process has there itself is looked at once: sanitizers have their shadow there, and
        all of a process may be there (personality(2), ADDR_COMPAT_LAYOUT).
        """
        window, space = self._kernel.window, self._space
        if space.room_end is None:
            if tracer_of(self._call.tid):
                return None  # so that it is stopped, if it can be, before the driver is asked
            space.room_end = _end_of_room(self._call.tid, window)
        place = next(iter(places(window, space, length)), None)
        return place if place is not None and place + length <= space.room_end else None

    def _map_in_window(self, vma: DeviceArea, place: int, flags: int) -> int:
        """Map at a place that is free, for all we know; if it isn't, where there is room.

        The driver is asked before the thread is stopped, and once.
        """
        new = vma.piece(0, vma.vm_end, place)
        new.vm_mm = self._task.mm
        self._ask(new)
        with _closed_unless_mapped(self._space, self._task, new):
            try:
                self._show(new, flags, is_reserved=False)
            except PlaceTaken:
                self._space.is_tidy = False
                self._show_elsewhere(new, flags)
        self._space.insert(new)
        return new.vm_start

    def _show_elsewhere(self, vma: DeviceArea, flags: int) -> None:
        """Show what the driver asked for at another address than it was told."""
        thread, length = self._injection.thread, vma.vm_end - vma.vm_start
        vma.move_to(reserve_somewhere(self._kernel.window, self._space, thread, length))
        try:
            self._show(vma, flags, is_reserved=True)
        except OSError:
            thread.syscall("munmap", vma.vm_start, length)
            raise

    def _map_where_there_is_room(self, vma: DeviceArea, addr: int, flags: int) -> int:
        """Reserve the range first, so that its address is known, then map."""
        injection, space, task, length = self._injection, self._space, self._task, vma.vm_end
        vma.vm_mm = task.mm
        if injection.is_alone:
            injection.memory_fd(may_be_written(vma))  # while the call is pending
        if _replaces(flags) and not addr % PAGE_SIZE:
            space.check_not_sealed(addr, addr + length)
            space.isolate(task, addr, addr + length)  # a driver may refuse that: first of all, then
        start = _place(self._kernel, space, injection.thread, addr, length, flags)
        vma.vm_start, vma.vm_end = start, start + length
        try:
            space.unmap(task, start, start + length)
            if not _extend(space, vma):
                self._ask(vma)
                with _closed_unless_mapped(space, task, vma):
                    self._show(vma, flags, is_reserved=True)
                space.insert(vma)
        except OSError:
            injection.thread.syscall("munmap", start, length)
            raise
        return start

    def _ask(self, vma: DeviceArea) -> None:
        """Ask the driver what `vma` shall show."""
        self._kernel.operations.mmap(self._task, vma.open_file, vma)
        if vma.vm_flags & VM_SPECIAL:
            vma.vm_flags &= ~VM_LOCKED

    def _show(self, vma: DeviceArea, flags: int, is_reserved: bool) -> None:
        """Map in the client what the driver asked for.

        :raises PlaceTaken: something else is there; not if `is_reserved`.
        """
        if vma.faults:
            self._map_what_faults(vma, is_reserved)
        else:
            self._map_frames(vma, flags & MAP_POPULATE, is_reserved)
        if vma.vm_flags & VM_DONTCOPY:
            length = vma.vm_end - vma.vm_start
            self._injection.thread.syscall("madvise", vma.vm_start, length, MADV_DONTFORK)

    def _map_frames(self, vma: DeviceArea, flags: int, is_reserved: bool) -> None:
        """Map what the driver asked for, and count that."""

        def count(lease: int) -> None:
            vma.lease = lease
            self._kernel.mappings.mapped(lease, vma, self._task.tgid)

        try:
            map_frames(self._injection, vma, flags, not is_reserved, count)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                log.error(
                    "%d: no room for another area in the client: a mapping of scattered frames "
                    "takes one area for each run of neighbours; raise vm.max_map_count (sysctl)",
                    self._call.tid,
                )
            raise

    def _map_what_faults(self, vma: DeviceArea, is_reserved: bool) -> None:
        """Map what the driver asked for; pages that it left out are asked of it when touched."""
        kernel, space, thread = self._kernel, self._space, self._injection.thread
        start, length = vma.vm_start, vma.vm_end - vma.vm_start
        if not is_reserved:
            try:
                reserve(thread, start, length, MAP_FIXED_NOREPLACE)
            except OSError as error:
                if error.errno == errno.EEXIST:
                    raise PlaceTaken(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                raise
        try:
            fault_handler = space.fault_handler or start_fault_handler(
                kernel.injector, kernel.operations, thread, space
            )
            vma.lease = fault_handler.adopt(vma)
            kernel.mappings.mapped(vma.lease, vma, self._task.tgid)
            fault_handler.fill(vma, start, vma.vm_end)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error(
                    "%s can't be mapped in process %d: a device whose pages are mapped as they are "
                    "touched takes one descriptor for each process, here and in the process, and "
                    "none is left (%s); see `ulimit -Hn`",
                    vma.open_file.device.node, self._task.tgid, error.strerror,
                )  # fmt: skip
            if not is_reserved:
                thread.syscall("munmap", start, length)
            raise


def _extend(space: MmAreas, vma: DeviceArea) -> bool:
    """Let the area before `vma` reach over it, if the kernel would; False if it would not."""
    start, fault_handler = vma.vm_start, space.fault_handler
    extended = space.extend(vma) if fault_handler is not None else None
    if extended is None or fault_handler is None:
        return False
    try:
        fault_handler.fill(extended, start, vma.vm_end)
    except OSError:
        extended.vm_end = start
        raise
    return True


@contextlib.contextmanager
def _closed_unless_mapped(space: MmAreas, task: TaskStruct, vma: DeviceArea) -> Iterator[None]:
    """Tell a driver whose mmap has succeeded of the area's end, should it not come to be.

    In the kernel nothing can fail any more by then; a client that is killed is closed the area.
    """
    try:
        yield
    except (OSError, ClientGone, CalledAgain):
        if space.fault_handler is not None:
            space.fault_handler.forget(vma)
        space.tell(task, vma, "close")
        raise


def _end_of_room(tid: int, window: Window) -> int:
    """Return where the room in the window ends that a process has not used itself."""
    for line in read_file(f"/proc/{tid}/maps").splitlines():
        start, _, rest = line.partition(b"-")
        if int(rest.partition(b" ")[0], 16) > window.first:
            return max(window.first, min(int(start, 16), window.last))
    return window.last


def _place(
    kernel: Subsystems, space: MmAreas, thread: StoppedThread, addr: int, length: int, flags: int
) -> int:
    """Reserve room where the client wants it, or in the window if it does not care."""
    flags &= _PLACEMENT
    if addr or flags & ~MAP_LOCKED:
        return reserve(thread, addr, length, flags)
    return reserve_somewhere(kernel.window, space, thread, length, flags)


def _do_remap_file_pages(kernel: Subsystems, call: Call) -> int | Verdict:
    """Map other pages of a device over a part of its area: as mmap does with MAP_FIXED.

    A call of a thread of the host's own is kept.

    :raises OSError: EINVAL no shared area that may be written, `prot` is not 0, or the range wraps
        or leaves the area; whatever the driver's mmap operation raises.

    Source: mm/mmap.c (remap_file_pages)
    """
    if kernel.injector.recruits.pending and kernel.injector.recruits.arrives(call, call.task.tgid):
        return ANSWERED
    start, size, prot, pgoff, flags, _ = call.args
    start, size = start & PAGE_MASK, size & PAGE_MASK
    if not kernel.mappings.shows_device(call.tid, start):
        return PASS_ON
    space = kernel.spaces.of(call.tid)
    area = space.find(start) if space is not None else None
    if area is None or prot or not size or start + size > area.vm_end:
        raise _error(errno.EINVAL)
    if pgoff + (size >> PAGE_SHIFT) > ULONG_MAX >> PAGE_SHIFT or not area.vm_flags & VM_SHARED:
        raise _error(errno.EINVAL)
    how = MAP_SHARED | MAP_FIXED | MAP_POPULATE | flags & MAP_NONBLOCK
    how |= MAP_LOCKED if area.vm_flags & VM_LOCKED else 0
    access = area.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*
    vma_flags = _check(area.open_file, size, access, how, pgoff << PAGE_SHIFT)
    vma = DeviceArea(area.open_file, 0, size, pgoff, vma_flags)
    why = f"{area.open_file.device.node} can't be mapped in it"
    with Injection(kernel.injector, call, why, later=True) as injection:
        _Mapping(kernel, call, injection).run(vma, start, how)
        injection.result = 0
    return ANSWERED


def _do_io_uring_setup(kernel: Subsystems, call: Call) -> int | Verdict:
    kernel.messages.say_once(
        "io_uring", call.tid,
        "asked for io_uring, whose requests no host in user space can see; it gets ENOSYS and has "
        "to use plain system calls",
    )  # fmt: skip
    raise _error(errno.ENOSYS)


def _roots_may_differ(kernel: Subsystems, call: Call) -> Verdict:
    """From now on a client may have another root, so paths are looked up in each client's own."""
    kernel.paths.roots_differ = True
    if kernel.gate is not None:
        kernel.gate.add_state(CAREFUL, False)
    return PASS_ON


def _do_unshare(kernel: Subsystems, call: Call) -> Verdict:
    return _roots_may_differ(kernel, call) if signed32(call.args[0]) & CLONE_NEWNS else PASS_ON


HANDLERS: dict[str, Handler] = {
    "mmap": _do_mmap,
    "remap_file_pages": _do_remap_file_pages,
    "io_uring_setup": _do_io_uring_setup,
    "pivot_root": _roots_may_differ,
    "setns": _roots_may_differ,
    "unshare": _do_unshare,
}
