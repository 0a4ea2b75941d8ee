"""Takes pages out of areas without a fault operation, for `unmap_mapping_range`; revives workers.

Who touches such a page from then on gets SIGBUS: pages beyond the end of memory take their place.
Somebody in the process has to map them. A process with a worker has that at once. In any other one
the next thread that makes a call which is handed over starts a worker: the one whose call took the
pages away at the end of that call, those of other processes before theirs, which they make again.

`revive` is for a process whose memory another one had as well, which has ended, and the worker with
it: pages that are touched come again from its next call on that is handed over.

Used in the host's thread only.
"""

from __future__ import annotations

import contextlib

from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON
from mapdev.host.embedded.faults.start import start_fault_handler
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call

_WHY_NOT = "pages of its device don't come any more"
_WHY = "pages that its device has taken away stay in its areas"


def hide_before(kernel: Subsystems, call: Call) -> bool:
    """Hide what is due in the process of `call`; say whether its thread makes the call again."""
    space = kernel.spaces.of(call.tid)
    if space is None or space not in kernel.spaces.to_hide:
        return False
    try:
        with Injection(kernel.injector, call, _WHY, own=True) as injection:
            injection.repeats = True
            _hide(kernel, injection, space)
    except OSError:  # nobody may stop it, which was told
        kernel.spaces.to_hide.pop(space, None)
        return False
    return True


def revive(kernel: Subsystems, call: Call) -> bool:
    """Start a worker in a process that shared its memory with one that has ended, which had it.

    :return: whether the thread of `call` makes its call again.
    """
    space = kernel.spaces.of(call.tid)
    if space is None or space not in kernel.spaces.orphans:
        return False
    protected = kernel.spaces.orphans.pop(space)
    try:
        with Injection(kernel.injector, call, _WHY_NOT, own=True) as injection:
            injection.repeats = True
            if space.fault_handler is None:
                start_fault_handler(
                    kernel.injector, kernel.operations, injection.thread, space
                ).take_over(protected)
    except OSError:  # nobody may stop it, which was told
        return False
    return True


def hide_after(kernel: Subsystems, call: Call, result: object) -> object:
    """Hide what is due in the process of `call`, which is over; return what is left to answer."""
    space = kernel.spaces.of(call.tid)
    if space is None or space not in kernel.spaces.to_hide or result in (ANSWERED, PASS_ON):
        return result
    try:
        with Injection(kernel.injector, call, _WHY, own=True) as injection:
            assert isinstance(result, int)
            injection.result = result
            _hide(kernel, injection, space)
    except OSError:
        kernel.spaces.to_hide.pop(space, None)
        return result
    return ANSWERED


def _hide(kernel: Subsystems, injection: Injection, space: MmAreas) -> None:
    ranges = kernel.spaces.to_hide.pop(space)
    with contextlib.suppress(OSError):  # no more threads, or descriptors: they stay
        handler = space.fault_handler or start_fault_handler(
            kernel.injector, kernel.operations, injection.thread, space
        )
        for start, end in ranges:
            for area in space.overlapping(start, end):
                if not area.faults:
                    handler.hide(area, max(start, area.vm_start), min(end, area.vm_end))
