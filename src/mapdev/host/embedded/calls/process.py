"""Handles fork and clone, which copy a client's areas to another process, and the end of threads.

A process that maps no device forks at full speed but for the question. One that does is stopped for
it: the child is held before its first instruction, while its areas are counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct

from mapdev.host.embedded.arch import NAME_OF
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Handler, Verdict
from mapdev.host.embedded.client import EmbeddedClient
from mapdev.host.embedded.faults.start import start_fault_handler
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.mm.fault_handler import FaultHandler
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import CLONE_UNTRACED, CLONE_VFORK, CLONE_VM

# With these the child is not ours to hold, and a parent that waits for it would keep us waiting.
_UNFIT = CLONE_VFORK | CLONE_UNTRACED
_CLONE_ARGS = struct.Struct("<Q")  # struct clone_args begins with the flags


def _do_fork(kernel: Subsystems, call: Call) -> Verdict:
    space = kernel.spaces.of(call.tid)
    if space is None or not len(space):
        return PASS_ON
    name, args = NAME_OF[call.nr], call.args[:5]
    if name == "clone":
        args[0] &= ~_UNFIT
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
    if kernel.spaces.of(call.tid) is None:
        return PASS_ON
    try:
        flags = _CLONE_ARGS.unpack(
            kernel.machine.read_user(call.tid, call.args[0], _CLONE_ARGS.size)
        )[0]
    except (OSError, struct.error):
        return PASS_ON
    if flags & CLONE_VM:
        return PASS_ON
    if not flags & _UNFIT:
        return _do_fork(kernel, call)
    kernel.machine.write_user(call.tid, call.args[0], _CLONE_ARGS.pack(flags & ~_UNFIT))
    try:
        return _do_fork(kernel, call)
    finally:
        with contextlib.suppress(OSError):
            kernel.machine.write_user(call.tid, call.args[0], _CLONE_ARGS.pack(flags))


def _do_exit(kernel: Subsystems, call: Call) -> Verdict:
    """Let the worker end with the last of the client's own threads, as a process does then."""
    space = kernel.spaces.of(call.tid)
    if space is not None and space.fault_handler is not None:
        space.fault_handler.about_to_exit(call.tid)
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "fork": _do_fork,
    "clone": _do_fork,
    "clone3": _do_clone3,
    "exit": _do_exit,
}
