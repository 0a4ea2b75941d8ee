"""Handles mlockall and munlockall: notes which areas of devices are locked, and those to come.

The kernel locks the real areas, and has their pages come. Areas that a driver filled (VM_SPECIAL)
are never locked.

Source: mm/mlock.c (apply_mlockall_flags)
"""

from __future__ import annotations

import resource

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict
from mapdev.host.embedded.processes import has_capability, read_file
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import CAP_IPC_LOCK, MCL_FUTURE, MCL_ONFAULT, ULONG_MAX
from mapdev.linux.numbers import PAGE_SIZE, VM_LOCKED, VM_SPECIAL

_MCL_CURRENT = 1


def _do_mlockall(kernel: Subsystems, call: Call) -> Verdict:
    flags = call.args[0] & 0xFFFFFFFF
    if not flags or flags & ~7 or flags == MCL_ONFAULT or not _may_lock(call.tid, flags):
        return PASS_ON  # the kernel refuses it
    space = kernel.spaces.of(call.tid)
    if space is None and flags & MCL_FUTURE:
        space = kernel.spaces.make(call.task.tgid, kernel.operations)
    if space is not None:
        space.locks_new = flags & (MCL_FUTURE | MCL_ONFAULT) if flags & MCL_FUTURE else 0
        if flags & _MCL_CURRENT:
            space.change(call.task, 0, ULONG_MAX, _locked)
    return PASS_ON


def _may_lock(tid: int, flags: int) -> bool:
    limit = resource.prlimit(tid, resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY or has_capability(tid, CAP_IPC_LOCK):
        return True
    if not flags & _MCL_CURRENT:
        return bool(limit)
    return int(read_file(f"/proc/{tid}/statm").split()[0]) * PAGE_SIZE <= limit


def _do_munlockall(kernel: Subsystems, call: Call) -> Verdict:
    space = kernel.spaces.of(call.tid)
    if space is not None:
        space.locks_new = 0
        space.change(call.task, 0, ULONG_MAX, lambda flags: flags & ~VM_LOCKED)
    return PASS_ON


def _locked(flags: int) -> int:
    return flags if flags & VM_SPECIAL else flags | VM_LOCKED


HANDLERS: dict[str, Handler] = {"mlockall": _do_mlockall, "munlockall": _do_munlockall}
