"""Handles calls on a device's memory in another process: process_vm_writev, ptrace and their kin.

Pages of a PFN-mapped area are none that the kernel would give to others. Of areas that fault the
pages are brought in before, where the kernel would not wait for them.

Source: mm/process_vm_access.c, mm/memory.c (__access_remote_vm), mm/madvise.c (process_madvise)
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct

from mapdev.host.embedded.calls.advice import answer_of
from mapdev.host.embedded.calls.area import is_all_ours
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict, signed32
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import field_of, tgid_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.numbers import PAGE_SIZE, VM_PFNMAP

_IOVEC = struct.Struct("<QQ")
_MOST = 1024  # UIO_MAXIOV
_WORD = 8
_POKES = (4, 5)  # PTRACE_POKETEXT, PTRACE_POKEDATA
_OF_OTHERS = (3, 20, 21, 25)  # MADV_WILLNEED, COLD, PAGEOUT, COLLAPSE: what process_madvise takes
Ranges = list[tuple[int, int]]


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _vector(call: Call, addr: int, count: int) -> Ranges:
    """Read an array of struct iovec: (address, bytes) of each."""
    raw = call.read_user(addr, count * _IOVEC.size)
    return list(_IOVEC.iter_unpack(raw[: len(raw) // _IOVEC.size * _IOVEC.size]))


def _do_process_vm_writev(kernel: Subsystems, call: Call) -> int | Verdict:
    """Write what lies before the first page of a PFN-mapped area, if there is one."""
    pid, local, nr_local, remote, nr_remote, flags = call.args
    pid = signed32(pid)
    space = kernel.spaces.of(pid) if pid > 0 else None
    if space is None or flags or nr_local > _MOST or nr_remote > _MOST:
        return PASS_ON
    theirs = _vector(call, remote, nr_remote)
    good = _before_frames(space, theirs)
    if good is None:
        return PASS_ON
    ours = _vector(call, local, nr_local)
    wanted = min(sum(size for _, size in ours), good)
    if not wanted:
        if any(size for _, size in ours):
            raise _error(errno.EFAULT)
        return 0
    data = b"".join(call.take_data(addr, size) for addr, size in _first(ours, wanted))
    done = 0
    for addr, size in _first(theirs, len(data)):
        done += kernel.machine.write_user(pid, addr, data[done : done + size])
    return done


def _before_frames(space: MmAreas, ranges: Ranges) -> int | None:
    """Return how many bytes of `ranges` come before a PFN-mapped area, None if there is none."""
    before = 0
    for start, size in ranges:
        for area in space.overlapping(start, start + size) if size else ():
            if area.vm_flags & VM_PFNMAP:
                return before + max(0, area.vm_start - start)
        before += size
    return None


def _first(ranges: Ranges, size: int) -> Ranges:
    """Return those of `ranges` that hold the first `size` bytes."""
    found = []
    for start, length in ranges:
        part = min(length, size)
        if part:
            found.append((start, part))
        size -= part
    return found


def _do_ptrace(kernel: Subsystems, call: Call) -> Verdict:
    request, pid, addr = call.args[0], signed32(call.args[1]), call.args[2]
    space = kernel.spaces.of(pid) if pid > 0 else None
    area = space.find(addr) if space is not None else None
    if area is None or int(field_of(pid, b"TracerPid") or 0) not in (call.tid, tgid_of(call.tid)):
        return PASS_ON
    if area.vm_flags & VM_PFNMAP:
        if area.vm_ops is None or getattr(area.vm_ops, "access", None) is None:
            raise _error(errno.EIO)
        return PASS_ON
    with contextlib.suppress(OSError):
        kernel.mappings.bring_in(pid, addr, _WORD, request in _POKES)
    return PASS_ON


def _do_process_madvise(kernel: Subsystems, call: Call) -> int | Verdict:
    pidfd, vector, count, advice, flags = call.args[:5]
    if flags or count > _MOST or advice not in _OF_OTHERS:
        return PASS_ON
    pid = int(field_of(call.tid, b"Pid", f"fdinfo/{pidfd & 0xFFFFFFFF}") or 0)
    space = kernel.spaces.of(pid) if pid > 0 else None
    if space is None:
        return PASS_ON
    ranges = _vector(call, vector, count)
    done = 0
    for start, size in ranges:
        end = start + size
        if start % PAGE_SIZE or size % PAGE_SIZE or not is_all_ours(space, start, end):
            return PASS_ON
        code = max(answer_of(advice, area.vm_flags) or 0 for area in space.overlapping(start, end))
        if code:
            if done:
                break
            raise _error(code)
        done += size
    return done


HANDLERS: dict[str, Handler] = {
    "process_vm_writev": _do_process_vm_writev,
    "ptrace": _do_ptrace,
    "process_madvise": _do_process_madvise,
}
