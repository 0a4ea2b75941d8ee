"""Calls on mappings: mmap of a device, and what clients may do with the areas that come of it.

mmap runs in the client's own thread, stopped for the purpose: reserve the range, ask the driver,
map what it asked for run by run from physical memory, fill what it left out with pages beyond the
end of memory (a touch is SIGBUS, as in the kernel). For that the client is lent a descriptor of
physical memory, see `loan`.

Source: mm/mmap.c (do_mmap), mm/mremap.c
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict, signed32
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.inject import StoppedThread
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.loan import Loan, lend_to_caller, lend_to_helper
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.processes import is_single_threaded
from mapdev.host.embedded.tracee import ClientGone, NotStoppable
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE
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
    PAGE_SHIFT,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    VM_DONTCOPY,
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.vma import VmAreaStruct

_ULONG_MAX = (1 << 64) - 1
_LEGACY_MAP_MASK = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK
    | MAP_HUGETLB | ARCH.MAP_32BIT | MAP_FIXED_NOREPLACE
)  # fmt: skip
_PLACEMENT = MAP_FIXED | MAP_FIXED_NOREPLACE | ARCH.MAP_32BIT
MREMAP_DONTUNMAP = 4
MADV_DONTFORK = 10


def _error(code: int, text: str = "") -> OSError:
    return OSError(code, text or os.strerror(code))


def _do_mmap(kernel: Kernel, call: Call) -> int | Verdict:
    open_file = kernel.file(call, 4)
    if open_file is None:
        return PASS_ON
    if open_file.path_only:
        raise _error(errno.EBADF)
    addr, length, prot, flags, _, offset = call.args
    vma_flags = _check(open_file, length, prot, flags, offset)
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    vma = VmAreaStruct(0, length, offset >> PAGE_SHIFT, vma_flags, vm_file=open_file.file)
    try:
        with kernel.stopped(call) as thread:
            _map(kernel, call, thread, open_file, vma, addr, flags)
    except NotStoppable:
        kernel.say_once(
            "traced", call,
            f"is held by a debugger, so {open_file.device.node} can't be mapped in it; "
            "detach the debugger first",
        )  # fmt: skip
        raise _error(errno.EPERM) from None
    except ClientGone:
        pass
    return ANSWERED


def _check(open_file: OpenFile, length: int, prot: int, flags: int, offset: int) -> int:
    """Make the kernel's checks in the kernel's order; return the area's vm_flags.

    :raises OSError: EINVAL offset not page-aligned, length 0, unknown type, MAP_GROWSDOWN,
        MAP_HUGETLB; ENOMEM length wraps; EOVERFLOW offset plus length wraps; EOPNOTSUPP unknown
        flags with MAP_SHARED_VALIDATE; EACCES mode of the file; ENODEV no mmap operation.
    """
    if offset % PAGE_SIZE or flags & MAP_HUGETLB or not length:
        raise _error(errno.EINVAL)
    length = -(-length // PAGE_SIZE) * PAGE_SIZE
    if length > _ULONG_MAX:
        raise _error(errno.ENOMEM)
    if (offset >> PAGE_SHIFT) > (_ULONG_MAX - length) >> PAGE_SHIFT:
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
    vm_flags = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    for bit, vm_bit in ((PROT_READ, VM_READ), (PROT_WRITE, VM_WRITE), (PROT_EXEC, VM_EXEC)):
        vm_flags |= vm_bit if prot & bit else 0
    if kind != MAP_PRIVATE:
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not mode & FMODE_WRITE:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    return vm_flags


def _map(
    kernel: Kernel,
    call: Call,
    thread: StoppedThread,
    open_file: OpenFile,
    vma: VmAreaStruct,
    addr: int,
    flags: int,
) -> None:
    """Carry the mapping out in the stopped `thread`; its result is the address or an errno."""
    loan = None
    if is_single_threaded(call.tid):
        loan = lend_to_caller(kernel, call, thread, _may_be_written(vma))
    thread.stop()
    task = kernel.task(call)
    vma.vm_mm = task.mm
    try:
        placement = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags & _PLACEMENT
        length = vma.vm_end
        start = thread.syscall("mmap", addr, length, PROT_NONE, placement, _ULONG_MAX, 0)
        vma.vm_start, vma.vm_end = start, start + length
        try:
            kernel.dispatch.mmap(open_file.device, task, open_file.file, vma)
            if loan is None or loan.writable != _may_be_written(vma):
                if loan is not None:
                    loan.give_back()
                loan = lend_to_helper(kernel, thread, _may_be_written(vma))
            _carry_out(kernel, loan, vma, flags)
        except OSError:
            thread.syscall("munmap", start, length)
            raise
        kernel.mapped(open_file, loan.index, vma, task.tgid)
        thread.result = start
    except OSError as error:
        thread.result = -(error.errno or errno.EIO)
    finally:
        if loan is not None:
            loan.give_back()


def _may_be_written(vma: VmAreaStruct) -> bool:
    """Say whether a client may write to the device's memory through the area, now or later."""
    return vma.vm_flags & (VM_MAYWRITE | VM_MAYSHARE) == VM_MAYWRITE | VM_MAYSHARE


def _carry_out(kernel: Kernel, loan: Loan, vma: VmAreaStruct, flags: int) -> None:
    """Map the runs of frames that the driver asked for, and SIGBUS where it asked for none."""
    kind = MAP_SHARED if vma.vm_flags & VM_MAYSHARE else MAP_PRIVATE
    how = kind | MAP_FIXED | MAP_NORESERVE | flags & MAP_POPULATE
    prot = vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)  # the same bits as PROT_*
    end_of_memory = kernel.machine.nr_frames
    for start, end, pfn in _runs(vma, end_of_memory):
        try:
            loan.thread.syscall("mmap", start, end - start, prot, how, loan.number,
                                pfn << PAGE_SHIFT, descriptor=4)  # fmt: skip
        except OSError as error:
            if error.errno == errno.ENOMEM:
                kernel.log.error(
                    "%d: no room for another area in the client: a mapping of scattered frames "
                    "takes one area for each run of neighbours; raise vm.max_map_count (sysctl)",
                    loan.thread.tid,
                )
            raise
    if vma.vm_flags & VM_DONTCOPY:
        loan.thread.syscall("madvise", vma.vm_start, vma.vm_end - vma.vm_start, MADV_DONTFORK)


def _runs(vma: VmAreaStruct, end_of_memory: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, first frame) for all of the area in order, holes included."""
    at = vma.vm_start
    for run in sorted(vma.mapped):
        if run.addr > at:
            yield at, run.addr, end_of_memory
        at = run.addr + (run.nr_pages << PAGE_SHIFT)
        yield run.addr, at, run.pfn
    if at < vma.vm_end:
        yield at, vma.vm_end, end_of_memory


def _do_mremap(kernel: Kernel, call: Call) -> int | Verdict:
    """Refuse what would show a client frames beyond those that the driver mapped."""
    addr, old_length, new_length, flags = call.args[:4]
    vma = kernel.device_area(call, addr)
    if vma is None:
        return PASS_ON
    old_length, new_length = (
        -(-length // PAGE_SIZE) * PAGE_SIZE for length in (old_length, new_length)
    )
    if not old_length or flags & MREMAP_DONTUNMAP:
        raise _error(errno.EINVAL)
    if new_length > old_length:
        raise _error(errno.EFAULT if vma.vm_flags & VM_PFNMAP else errno.EINVAL)
    return PASS_ON


def _do_remap_file_pages(kernel: Kernel, call: Call) -> int | Verdict:
    """Refuse to point a device's area at other frames."""
    if kernel.device_area(call, call.args[0]) is None:
        return PASS_ON
    raise _error(errno.EINVAL)


def _do_io_uring_setup(kernel: Kernel, call: Call) -> int | Verdict:
    kernel.say_once("io_uring", call, "asked for io_uring, whose requests no host in user space "
                    "can see; it gets ENOSYS and has to use plain system calls")  # fmt: skip
    raise _error(errno.ENOSYS)


def _roots_may_differ(kernel: Kernel, call: Call) -> Verdict:
    """From now on a client may have another root, so paths are looked up in each client's own."""
    kernel.paths.roots_differ = True
    return PASS_ON


def _do_unshare(kernel: Kernel, call: Call) -> Verdict:
    clone_newns = 0x00020000
    return _roots_may_differ(kernel, call) if signed32(call.args[0]) & clone_newns else PASS_ON


HANDLERS: dict[str, Handler] = {
    "mmap": _do_mmap,
    "mremap": _do_mremap,
    "remap_file_pages": _do_remap_file_pages,
    "io_uring_setup": _do_io_uring_setup,
    "chroot": _roots_may_differ,
    "pivot_root": _roots_may_differ,
    "setns": _roots_may_differ,
    "unshare": _do_unshare,
}
