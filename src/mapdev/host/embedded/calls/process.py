"""Handles fork and clone, which copy a client's areas to another process, and the end of threads.

A process that maps no device forks at full speed but for the question. One that does is stopped for
it: the child is held before its first instruction, while its areas are counted.

clone writes numbers into the caller's memory. While it does so nobody could answer a fault there:
the host waits for the call itself. So pages for the parent's numbers are brought in before, and the
child's is written by the host when the child has a fault handler.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from typing import NamedTuple

from mapdev.host.embedded.arch import ARCH, NAME_OF
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict
from mapdev.host.embedded.client import EmbeddedClient
from mapdev.host.embedded.faults.start import start_fault_handler
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.mm.fault_handler import FaultHandler
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import (
    CLONE_CHILD_CLEARTID,
    CLONE_CHILD_SETTID,
    CLONE_NEWPID,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_THREAD,
    CLONE_UNTRACED,
    CLONE_VFORK,
    CLONE_VM,
)

# With these the child is not ours to hold, and a parent that waits for it would keep us waiting.
_UNFIT = CLONE_VFORK | CLONE_UNTRACED
_CLONE_ARGS = struct.Struct("<4Q")  # flags, and the addresses of pidfd, child_tid and parent_tid
_PID = struct.Struct("<i")


class _Clone(NamedTuple):
    """What a call asks for: flags, and where the kernel shall write numbers."""

    flags: int
    pidfd: int
    child_tid: int
    parent_tid: int


def _do_fork(kernel: Subsystems, call: Call) -> Verdict:
    space = kernel.spaces.of(call.tid)
    if space is None:
        return PASS_ON
    wanted = _Clone(CLONE_VM if NAME_OF[call.nr] == "vfork" else 0, 0, 0, 0)
    if NAME_OF[call.nr] == "clone":
        flags, child_tid = call.args[0], call.args[ARCH.CLONE_CHILD_TID]
        wanted = _Clone(flags, call.args[2], child_tid, call.args[2])
    if wanted.flags & CLONE_VM:
        return _share(kernel, call, space, wanted)
    if not len(space):
        return PASS_ON
    flags = _prepare(kernel, call, space, wanted)
    return _fork(kernel, call, space, wanted, flags)


def _share(kernel: Subsystems, call: Call, space: MmAreas, wanted: _Clone) -> Verdict:
    """Note that another thread or process will have the same memory.

    The page of its number is brought in: when it ends, its faults are reported no more.
    """
    if not wanted.flags & CLONE_THREAD:
        space.is_shared = True
    if wanted.flags & CLONE_CHILD_CLEARTID:
        with contextlib.suppress(OSError):
            kernel.mappings.bring_in(call.tid, wanted.child_tid, _PID.size, True)
    return PASS_ON


def _prepare(kernel: Subsystems, call: Call, space: MmAreas, wanted: _Clone) -> int:
    """Bring in pages for what the kernel will write in the parent; return the flags to clone with.

    :raises OSError: EFAULT the driver gives no page for the pidfd. Of other numbers the kernel does
        not mind.

    Source: kernel/fork.c (kernel_clone, copy_process)
    """
    flags = wanted.flags & ~_UNFIT
    if space.fault_handler is None:
        return flags
    if flags & CLONE_PIDFD:
        kernel.mappings.bring_in(call.tid, wanted.pidfd, _PID.size, True)
    if flags & CLONE_PARENT_SETTID:
        try:
            kernel.mappings.bring_in(call.tid, wanted.parent_tid, _PID.size, True)
        except OSError:
            flags &= ~CLONE_PARENT_SETTID
    area = space.find(wanted.child_tid)
    return flags & ~CLONE_CHILD_SETTID if area is not None and area.faults else flags


def _fork(kernel: Subsystems, call: Call, space: MmAreas, wanted: _Clone, flags: int) -> Verdict:
    name, args = NAME_OF[call.nr], call.args[:5]
    if name == "clone":
        args[0] = flags
    faults = any(area.faults for area in space)
    why = "it can't fork" if faults else "the device mappings of its children are not followed"
    try:
        injection = Injection(kernel.injector, call, why, own=True).__enter__()
    except PermissionError:
        if faults:
            raise  # nobody would bring pages into the child, which would see others
        return PASS_ON
    with injection:
        injection.result, child = injection.thread.fork(name, *args)
        with child:
            task = EmbeddedClient(kernel.machine, child.tid)
            copy = kernel.spaces.fork(space, call.task, task)
            if space.fault_handler is not None:
                _start_fault_handler(kernel, child, copy, space.fault_handler)
            if wanted.flags & ~flags & CLONE_CHILD_SETTID:
                pid = 1 if flags & CLONE_NEWPID else injection.result
                with contextlib.suppress(OSError):  # the kernel does not mind either
                    kernel.machine.write_user(child.tid, wanted.child_tid, _PID.pack(pid))
    return ANSWERED


def _start_fault_handler(
    kernel: Subsystems, child: StoppedThread, space: MmAreas, parent: FaultHandler
) -> None:
    """Bring pages into a child too; without it would find other things there, so it must not run.

    :raises OSError: EAGAIN, ENOMEM, EMFILE: then it is dead, and fork has failed.
    """
    try:
        start_fault_handler(kernel.injector, kernel.operations, child, space, parent).inherit(
            parent
        )
    except OSError:
        os.kill(child.tid, signal.SIGKILL)
        raise


def _do_clone3(kernel: Subsystems, call: Call) -> Verdict:
    space = kernel.spaces.of(call.tid)
    if space is None:
        return PASS_ON
    where = call.args[0]
    try:
        raw = kernel.machine.read_user(call.tid, where, _CLONE_ARGS.size)
        wanted = _Clone(*_CLONE_ARGS.unpack(raw))
    except (OSError, struct.error):
        return PASS_ON
    if wanted.flags & CLONE_VM:
        return _share(kernel, call, space, wanted)
    if not len(space):
        return PASS_ON
    flags = _prepare(kernel, call, space, wanted)
    if flags == wanted.flags:
        return _fork(kernel, call, space, wanted, flags)
    kernel.machine.write_user(call.tid, where, _CLONE_ARGS.pack(*wanted._replace(flags=flags)))
    try:
        return _fork(kernel, call, space, wanted, flags)
    finally:
        with contextlib.suppress(OSError):
            kernel.machine.write_user(call.tid, where, raw)


def _do_exit(kernel: Subsystems, call: Call) -> Verdict:
    """Let the worker end with the last of the client's own threads, as a process does then."""
    space = kernel.spaces.of(call.tid)
    if space is not None and space.fault_handler is not None:
        space.fault_handler.about_to_exit(call.tid, call.args[0])
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "fork": _do_fork,
    "vfork": _do_fork,
    "clone": _do_fork,
    "clone3": _do_clone3,
    "exit": _do_exit,
}
